"""Ctrl-C and SIGTERM: they cancel the work that a command guards, as an exception it can catch."""

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
    """A signal asked this process to end."""


class Interrupts:
    """Cancels the innermost guarded work at each signal."""

    def __init__(self) -> None:
        """Start with no work."""
        self._work: asyncio.Task[Any] | None = None
        self._is_interrupted = False
        self._reports = False

    @property
    def is_reported(self) -> bool:
        """Whether a signal came, and the command itself reports on the jobs."""
        return self._is_interrupted and self._reports

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals; outside the main thread, where no handler can be set, do nothing."""
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

    async def guard(self, work: Coroutine[Any, Any, _T], *, reports: bool = False) -> _T:
        """Run some work to its end.

        Args:
            work: The work.
            reports: Whether the caller reports on the jobs after a signal.

        Raises:
            InterruptedByUserError: A signal came, and the work has ended after its cancellation.
        """
        outer, inner = self._work, asyncio.ensure_future(work)
        self._work, self._is_interrupted, self._reports = inner, False, reports
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
