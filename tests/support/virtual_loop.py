"""An event loop on which nothing takes time, and on which everything happens in the same order."""

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Jumping(selectors.DefaultSelector):
    """Does not wait: where nothing has happened, the loop's time moves to its next timer."""

    seconds = 0.0
    pace = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if self.pace:
            begun = time.monotonic()
            events = super().select(timeout and timeout / self.pace)
            self.seconds += (time.monotonic() - begun) * self.pace
            return events
        self.seconds += 1e-6  # a turn of the loop takes some time: a sleep of nothing is over
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            return super().select(None)
        events = super().select(0)  # what was just written to a socket may have arrived by now
        if not events:
            self.seconds += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is virtual, for a server and its clients in one process.

    Work in threads is done at once on the loop, so that its order never varies.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Give the virtual time."""
        return self._jumping.seconds

    def jump(self, seconds: float) -> None:
        """Let so many seconds pass during which the loop does nothing."""
        self._jumping.seconds += seconds

    @contextmanager
    def paced(self, pace: float) -> Iterator[None]:
        """Let time pass, so many seconds in a real one: for clients in another process."""
        self._jumping.pace = pace
        try:
            yield
        finally:
            self._jumping.pace = 0.0

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # noqa: ARG002
        """Call a function now, and give its result as a future."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except StopIteration as error:
            future.set_exception(RuntimeError(repr(error)))
        except Exception as error:  # noqa: BLE001  # it is the future's
            future.set_exception(error)
        return future
