"""Work that blocks, done in a thread, and what the system's refusals are called."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from fireworks_batch.models.errors import LocalFileError

__all__ = ["all_of", "begin", "ended", "off_loop", "reported", "write_all"]


_T = TypeVar("_T")


_P = ParamSpec("_P")


_Ts = TypeVarTuple("_Ts")


async def off_loop(
    work: Callable[[*_Ts], _T],
    *args: *_Ts,
    stop: Callable[[], None] | None = None,
    undo: Callable[[_T], object] | None = None,
) -> _T:
    """Run a short piece of work in a thread, to its end.

    A thread cannot be cancelled. So cancelling waits for the work, and whoever cleans up after it
    finds nobody still at it: work should be short.

    Args:
        work: What blocks.
        args: Its arguments.
        stop: Called when it is given up, to end it sooner.
        undo: Called with what came of it when it is given up: closes what was opened.
    """
    return await ended(begin(work, *args), stop=stop, undo=undo)


def begin(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
    """Begin what `off_loop` does; wait for it with `ended`, or leave it to itself."""
    step = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    step.add_done_callback(_retrieve)
    return step


def _retrieve(step: asyncio.Future[_T]) -> None:
    """Look at an error that nobody may come back for."""
    if not step.cancelled():
        step.exception()


async def ended(
    step: asyncio.Future[_T],
    *,
    stop: Callable[[], None] | None = None,
    undo: Callable[[_T], object] | None = None,
) -> _T:
    """Return the result of work that was begun, when it has ended; as `off_loop`.

    Args:
        step: The work.
        stop: Called when it is given up, to end it sooner.
        undo: Called with what came of it when it is given up: closes what was opened.
    """
    cancellation: asyncio.CancelledError | None = None
    while not step.done():
        try:
            await asyncio.wait([step])
        except asyncio.CancelledError as exc:
            cancellation = exc
            if stop is not None:
                stop()
    if cancellation is None:
        return step.result()
    if step.exception() is None and undo is not None:
        undo(step.result())
    raise cancellation


@contextmanager
def reported(verb: str, path: str) -> Iterator[None]:
    """Name the file that something failed with, and why.

    Args:
        verb: What is done with it.
        path: Its path.

    Raises:
        LocalFileError: In place of what the system raised.
    """
    try:
        yield
    except LocalFileError:
        raise  # it has a name already
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise LocalFileError(f"cannot {verb} {path!r}: {reason}", errno=exc.errno) from exc
    except UnicodeEncodeError as exc:
        raise LocalFileError(f"cannot {verb} {path!r}: no name of a file: {exc.reason}") from exc


def write_all(file: Any, data: bytes | bytearray) -> None:
    """Write to an unbuffered file, which may take less than it is given; blocks."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += file.write(view[done:])


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
