"""Work that blocks, done in threads; and errors that name the file that could not be used."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
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

    A thread cannot be cancelled. So a cancellation is raised when the work has ended, and clean-up
    code never meets a thread that still works. The work should therefore be short.

    Args:
        work: The function that blocks.
        args: The arguments of the function.
        stop: Called when the task is cancelled, to end the work sooner.
        undo: Called with the result when the task was cancelled: closes what was opened.
    """
    return await ended(begin(work, *args), stop=stop, undo=undo)


def begin(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
    """Begin work in a thread; `ended` waits for it."""
    step = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    step.add_done_callback(_retrieve)
    return step


def _retrieve(step: asyncio.Future[_T]) -> None:
    """Read the error of work that may never be waited for, so that asyncio does not log it."""
    if not step.cancelled():
        step.exception()


async def ended(
    step: asyncio.Future[_T],
    *,
    stop: Callable[[], None] | None = None,
    undo: Callable[[_T], object] | None = None,
) -> _T:
    """Return the result of work that was begun, when the work has ended.

    A cancellation, too, is raised when the work has ended.

    Args:
        step: The work.
        stop: Called when the task is cancelled, to end the work sooner.
        undo: Called with the result when the task was cancelled: closes what was opened.
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
    """Raise an error that names the file, and the reason, in place of the system's error.

    Args:
        verb: What is done with the file: ``"read"``.
        path: The path of the file.

    Raises:
        LocalFileError: The system raised an error.
    """
    try:
        yield
    except LocalFileError:
        raise  # this error names its file already
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


async def all_of(works: Iterable[Callable[[], Coroutine[Any, Any, _T]]]) -> list[_T]:
    """Run coroutine functions at the same time; the first failure ends the others, and is raised.

    Returns:
        The results, in the order of the functions.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in works]
    except BaseExceptionGroup as failures:
        failure = _first(failures)
    else:
        return [task.result() for task in tasks]
    raise failure


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
