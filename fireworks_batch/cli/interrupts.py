"""Ctrl-C and SIGTERM, as an exception in the one place that can act on it."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any, Final, TypeVar

__all__ = ["InterruptedByUserError", "Interrupts"]

_T = TypeVar("_T")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class InterruptedByUserError(Exception):
    """Somebody wants this process to end."""


class Interrupts:
    """Cancels the innermost work that a `guard` runs when a signal comes, and again at each."""

    def __init__(self) -> None:
        """Start with no work."""
        self._work: asyncio.Task[Any] | None = None
        self._is_interrupted = False
        self._are_told = False

    @property
    def are_told(self) -> bool:
        """Whether one came, and whoever guards the work says what becomes of it."""
        return self._is_interrupted and self._are_told

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals over; off the main thread there are none to take."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def handle(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._interrupt)

        # Not the loop's own add_signal_handler, which Windows does not have.
        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def guard(self, work: Coroutine[Any, Any, _T], *, are_told: bool = False) -> _T:
        """Run some work to its end.

        Args:
            work: The work.
            are_told: Whether the caller says what becomes of it when it is interrupted.

        Raises:
            InterruptedByUserError: A signal came; the work was cancelled, and has ended.
        """
        outer, inner = self._work, asyncio.ensure_future(work)
        self._work, self._is_interrupted, self._are_told = inner, False, are_told
        try:
            return await inner
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
        finally:
            self._work = outer
        raise InterruptedByUserError

    def _interrupt(self) -> None:
        if self._work is not None:
            self._is_interrupted = True
            self._work.cancel()
