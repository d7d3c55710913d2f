"""Blocking work, done in threads, and errors that name the file."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from fireworks_batch.models.errors import LocalFileError

__all__ = ["ahead", "all_of", "begin", "ended", "off_loop", "reported", "write_all"]

_T = TypeVar("_T")
_Part = TypeVar("_Part")
_P = ParamSpec("_P")
_Ts = TypeVarTuple("_Ts")


async def off_loop(
    work: Callable[[*_Ts], _T],
    *args: *_Ts,
    stop: Callable[[], None] | None = None,
    undo: Callable[[_T], object] | None = None,
) -> _T:
    """Run a short piece of blocking work in a thread, and return its result.

    A thread cannot be cancelled. So a cancellation of the task is raised only when the work has
    ended, and clean-up code never runs at the same time as the work. Therefore the work should be
    short.

    Args:
        work: The function that blocks.
        args: The arguments of the function.
        stop: Called when the task is cancelled, to end the work sooner.
        undo: Called with the result if the task was cancelled, for example to close a file.
    """
    return await ended(begin(work, *args), stop=stop, undo=undo)


def begin(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
    """Begin work in a thread; `ended` waits for the end."""
    step = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    step.add_done_callback(_retrieve)
    return step


def _retrieve(step: asyncio.Future[_T]) -> None:
    """Read the error of the work, so that asyncio does not log an error that was never read."""
    if not step.cancelled():
        step.exception()


async def ahead(
    parts: AsyncGenerator[_Part, None], work: Callable[[_Part], _T]
) -> AsyncGenerator[tuple[_Part, _T], None]:
    """Do blocking work on each part in a thread, and yield the parts with their results, in order.

    While the caller has a result, the work on the next part goes on. No work is under way when the
    generator has ended.
    """
    steps: deque[tuple[_Part, asyncio.Future[_T]]] = deque()
    try:
        async for part in parts:
            steps.append((part, begin(work, part)))
            if len(steps) > 1:
                await asyncio.wait([steps[0][1]])
                done, step = steps.popleft()
                yield done, step.result()
        while steps:
            await asyncio.wait([steps[0][1]])
            done, step = steps.popleft()
            yield done, step.result()
    finally:
        if steps:
            await asyncio.wait([step for _, step in steps])
        await parts.aclose()


async def ended(
    step: asyncio.Future[_T],
    *,
    stop: Callable[[], None] | None = None,
    undo: Callable[[_T], object] | None = None,
) -> _T:
    """Wait for work that `begin` has begun, and return its result.

    A cancellation of the task is raised only when the work has ended.

    Args:
        step: The work.
        stop: Called when the task is cancelled, to end the work sooner.
        undo: Called with the result if the task was cancelled, for example to close a file.
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
    """Replace an error of the system by an error that names the file and the reason.

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
        raise LocalFileError(
            f"cannot {verb} {path!r}: not the name of a file: {exc.reason}"
        ) from exc


def write_all(file: Any, data: bytes | bytearray) -> None:
    """Write all data to an unbuffered file, whose `write` may write only a part; blocks."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += file.write(view[done:])


async def all_of(works: Iterable[Callable[[], Coroutine[Any, Any, _T]]]) -> list[_T]:
    """Run coroutine functions at once; the first failure cancels the others, and is raised.

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
