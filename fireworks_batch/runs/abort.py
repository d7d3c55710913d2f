"""What becomes of jobs under way when a run is given up: left, or deleted in the time there is."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fireworks_batch.connection.api import if_there
from fireworks_batch.models.errors import FireworksBatchError, JobConflictError

__all__ = ["Abort", "delete_jobs"]


_log = logging.getLogger("fireworks_batch.run")


# Seconds that giving up may take.
_LONGEST: Final = 20.0


# Seconds after which a request that was sent before has been dealt with, or was never received.
_PAUSE: Final = 1.0


class Abort:
    """Knows the jobs under way, and deals with them if the block ends badly."""

    def __init__(
        self,
        delete: Callable[[str], Awaitable[object]] | None,
        *,
        longest: float = _LONGEST,
        pause: float = _PAUSE,
    ) -> None:
        """Begin.

        Args:
            delete: Deletes a job by its id; None to leave jobs alone.
            longest: Seconds that giving up may take.
            pause: Seconds until a job that was being created is looked for again.
        """
        self._delete = delete
        self._longest = longest
        self._pause = pause
        self._under_way: dict[str, bool] = {}

    def begin(self, job_id: str, *, is_there: bool) -> None:
        """Take note of a job that is under way, or is about to be created."""
        self._under_way[job_id] = is_there

    def end(self, job_id: str) -> None:
        """Take note that a job has ended."""
        self._under_way.pop(job_id, None)

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Add to whatever ends the block what became of the jobs."""
        try:
            yield
        except BaseException as exc:
            if isinstance(exc, JobConflictError) and exc.ref is not None:
                self.end(exc.ref.job_id)  # it is somebody else's
            if self._under_way:
                said = await self._give_up()
                _log.warning("the run is given up: %s", said)
                exc.add_note(said)
            raise

    async def _give_up(self) -> str:
        if self._delete is None:
            return self._left()
        ids = ", ".join(self._under_way)
        left: dict[str, str] = {}
        await _to_the_end(
            delete_jobs(
                self._delete, self._under_way, left, longest=self._longest, pause=self._pause
            )
        )
        if not left:
            return f"jobs were deleted (on_abort='delete'): {ids}"
        reasons = "; ".join(f"{job_id}: {reason}" for job_id, reason in left.items())
        return f"jobs could not be deleted and may run on: {reasons}"

    def _left(self) -> str:
        there, maybe = (
            ", ".join(job_id for job_id, is_there in self._under_way.items() if is_there is wanted)
            for wanted in (True, False)
        )
        said = f"jobs run on, and the same call finds them again: {there}" if there else ""
        unknown = f"jobs were being created, and may be there: {maybe}" if maybe else ""
        return "; ".join(filter(None, (said, unknown)))


async def delete_jobs(
    delete: Callable[[str], Awaitable[object]],
    jobs: Mapping[str, bool],
    left: dict[str, str],
    *,
    longest: float = _LONGEST,
    pause: float = _PAUSE,
) -> None:
    """Delete jobs in the time there is.

    Args:
        delete: Deletes a job by its id.
        jobs: Their ids, each with whether it is known to be there; else its creation may have been
            sent, and be dealt with late.
        left: Gets those that may run on, with the reason, also if this is cancelled.
        longest: Seconds that it may take.
        pause: Seconds until a job that was being created is looked for again.
    """
    left.update(dict.fromkeys(jobs, f"no answer within {longest:g} s"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest), asyncio.TaskGroup() as group:
            for job_id, is_there in jobs.items():
                group.create_task(_delete_one(delete, job_id, is_there, left, pause))


async def _delete_one(
    delete: Callable[[str], Awaitable[object]],
    job_id: str,
    is_there: bool,  # noqa: FBT001 - one of `delete_jobs`
    left: dict[str, str],
    pause: float,
) -> None:
    try:
        was_there = await if_there(_deleted(delete, job_id))
        if not (was_there or is_there):
            # The server may deal with what was sent on another connection after this.
            await asyncio.sleep(pause)
            await if_there(_deleted(delete, job_id))
    except FireworksBatchError as error:
        left[job_id] = str(error)
        return
    del left[job_id]


async def _deleted(delete: Callable[[str], Awaitable[object]], job_id: str) -> bool:
    await delete(job_id)
    return True


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that has a time limit of its own, whoever cancels this task meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.warning("giving up did not come to its end: %r", error)
