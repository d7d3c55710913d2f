"""An object of ours as a coroutine: what asyncio drives step by step."""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, NoReturn, TypeVar

__all__ = ["Driven", "current_task"]

_T = TypeVar("_T")


class Driven(Coroutine[Any, Any, _T]):
    """A coroutine that is an object with more to it.

    With ``__await__`` alone it would be refused by ``create_task``, ``TaskGroup.create_task`` and
    ``asyncio.run``. Each task that drives it anew begins anew, if `_begun` lets it.
    """

    _coroutine: Coroutine[Any, Any, _T] | None = None
    _driver: asyncio.Task[Any] | None = None

    @abstractmethod
    def _begun(self) -> Coroutine[Any, Any, _T]:
        """Return a new coroutine that does the work, or raise why there is none."""

    @abstractmethod
    def _refuse(self) -> NoReturn:
        """Raise that it is in use."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._begun().__await__()

    def send(self, value: Any, /) -> Any:
        """Advance the work, as an event loop does: the coroutine protocol."""
        coroutine = self._running()
        try:
            return coroutine.send(value)
        except BaseException:
            self._driver = None
            raise

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise inside the work, as cancelling a task does: the coroutine protocol."""
        error = typ if isinstance(typ, BaseException) else _exception(typ, val)
        coroutine = self._running()
        try:
            return coroutine.throw(error if tb is None else error.with_traceback(tb))
        except BaseException:
            self._driver = None
            raise

    def close(self) -> None:
        """End the work; what it is about is not touched."""
        if self._coroutine is not None:
            self._coroutine.close()

    def _running(self) -> Coroutine[Any, Any, _T]:
        """Return what is driven, which two tasks cannot do at once."""
        coroutine, task = self._coroutine, current_task()
        if coroutine is None or inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
            coroutine = self._coroutine = self._begun()
            self._driver = task
        elif self._driver is not task:
            self._refuse()
        return coroutine


def current_task() -> asyncio.Task[Any] | None:
    """Return the task that is running; None where none is, nor a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _exception(typ: type[BaseException], value: object) -> BaseException:
    if isinstance(value, BaseException):
        return value
    return typ() if value is None else typ(value)
