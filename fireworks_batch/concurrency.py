"""Several things at the same time, of which the first failure is raised as itself."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

__all__ = ["all_of"]

_T = TypeVar("_T")


async def all_of(works: Iterable[Callable[[], Awaitable[_T]]]) -> list[_T]:
    """Do all of it at the same time; the first failure ends the rest, and is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(work)) for work in works]
    except BaseExceptionGroup as failures:
        failure = _first(failures)
    else:
        return [task.result() for task in tasks]
    raise failure


async def _awaited(work: Callable[[], Awaitable[_T]]) -> _T:
    return await work()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
