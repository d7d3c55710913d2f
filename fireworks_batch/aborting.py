"""What becomes of jobs under way when a run is given up: left, or deleted in the time there is."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from fireworks_batch.errors import FireworksBatchError, JobConflictError, NotFoundError

__all__ = ["Abort"]

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
        left: dict[str, str] = dict.fromkeys(
            self._under_way, f"no answer within {self._longest:g} s"
        )
        await _to_the_end(self._delete_all(left))
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

    async def _delete_all(self, left: dict[str, str]) -> None:
        async with asyncio.timeout(self._longest), asyncio.TaskGroup() as group:
            for job_id in tuple(left):
                group.create_task(self._delete_one(job_id, left))

    async def _delete_one(self, job_id: str, left: dict[str, str]) -> None:
        if self._delete is None:
            return
        try:
            await self._delete_sent(job_id, self._delete)
        except FireworksBatchError as error:
            left[job_id] = str(error)
            return
        del left[job_id]

    async def _delete_sent(self, job_id: str, delete: Callable[[str], Awaitable[object]]) -> None:
        """Delete a job, also one whose creation was sent, and given up before it was answered."""
        if await _was_there(job_id, delete) or self._under_way[job_id]:
            return
        # The server may deal with what was sent on another connection after this.
        await asyncio.sleep(self._pause)
        await _was_there(job_id, delete)


async def _was_there(job_id: str, delete: Callable[[str], Awaitable[object]]) -> bool:
    """Delete a job, and return whether there was one."""
    try:
        await delete(job_id)
    except NotFoundError as refusal:
        if not refusal.from_api:
            raise  # what a proxy does not find may well run on
        return False
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
