"""One piece of work for all who want it at once."""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from fireworks_batch.errors import FireworksBatchError

__all__ = ["Shared", "own"]

_T = TypeVar("_T")
_Error = TypeVar("_Error", bound=BaseException)


class Shared(Generic[_T]):
    """Work that is done once for all who want it while it is under way, its failure too.

    Whoever leaves, cancelled, strands nobody; the last one to leave ends the work.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        self._task: asyncio.Task[_T] | None = None
        self._waiting = 0

    async def get(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what the work gives; of several callers at once, one has theirs done.

        Args:
            work: Begins it.

        Raises:
            Exception: What the work raised; an error of ours as a copy for each caller.
        """
        while True:
            task = self._joined(work)
            try:
                await asyncio.wait([task])
            finally:
                await self._left(task)
            if not task.cancelled():
                break  # else somebody has ended it who does not wait for it
        error = task.exception()
        if error is not None:
            raise own(error)
        return task.result()

    def _joined(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> asyncio.Task[_T]:
        if self._task is None or self._task.done():
            self._task, self._waiting = asyncio.create_task(work()), 0
        self._waiting += 1
        return self._task

    async def _left(self, task: asyncio.Task[_T]) -> None:
        if task is not self._task:
            return
        self._waiting -= 1
        if not self._waiting:
            self._task = None
            task.cancel()
            # It is gone before whoever was cancelled is; its error, if it has one, is nobody's.
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()


def own(error: _Error) -> _Error:
    """Return an error for one of those whom it is told: a copy of it, if it is ours."""
    return copy.copy(error) if isinstance(error, FireworksBatchError) else error
