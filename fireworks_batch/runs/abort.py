"""What happens to jobs under way when a run is given up: they run on, or they are deleted."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from fireworks_batch.connection.api import if_there
from fireworks_batch.models.errors import FireworksBatchError

__all__ = ["Abort"]


_log = logging.getLogger("fireworks_batch.run")


# Most seconds that the deletion of the jobs may take.
_LONGEST: Final = 20.0


class Abort:
    """Knows the jobs under way. If the run fails, names these jobs or deletes them."""

    def __init__(
        self, delete: Callable[[str], Awaitable[object]] | None, *, longest: float = _LONGEST
    ) -> None:
        """Begin without jobs.

        Args:
            delete: Deletes a job by its id. None lets the jobs run on.
            longest: Most seconds that the deletion of the jobs may take.
        """
        self._delete = delete
        self._longest = longest
        self._made: dict[str, None] = {}
        self._found: dict[str, None] = {}
        self._asked_for: dict[str, None] = {}

    def ask(self, job_id: str) -> None:
        """Take note that the request to create a job is about to be sent."""
        self._asked_for[job_id] = None

    def begin(self, job_id: str, *, is_made: bool) -> None:
        """Take note of a job that runs.

        Args:
            job_id: The id of the job.
            is_made: Whether the server has told this run that it created the job. A job that was
                found may belong to another caller, and is never deleted.
        """
        (self._made if is_made else self._found)[job_id] = None

    def has_made(self, job_id: str) -> bool:
        """Whether this run has created a job that has not ended."""
        return job_id in self._made

    def end(self, job_id: str) -> None:
        """Take note that a job has ended, or was not created."""
        for jobs in (self._made, self._found, self._asked_for):
            jobs.pop(job_id, None)

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Tell what became of the jobs, in a note on the exception that ends the block."""
        try:
            yield
        except BaseException as exc:
            if said := await self._give_up():
                _log.warning("the run was given up: %s", said)
                exc.add_note(said)
            raise

    async def _give_up(self) -> str:
        parts: list[str] = []
        running = [*self._found, *(self._made if self._delete is None else ())]
        if self._delete is not None and self._made:
            parts.append(await self._delete_made(self._delete))
        if running:
            parts.append(f"jobs run on, and the same call finds them again: {', '.join(running)}")
        if self._asked_for:
            maybe = ", ".join(self._asked_for)
            parts.append(f"jobs were being created, and may be there: {maybe}")
        return "; ".join(parts)

    async def _delete_made(self, delete: Callable[[str], Awaitable[object]]) -> str:
        left = dict.fromkeys(self._made, f"no answer within {self._longest:g} s")
        await _to_the_end(self._delete_all(delete, left))
        if not left:
            return f"jobs were deleted (on_abort='delete'): {', '.join(self._made)}"
        reasons = "; ".join(f"{job_id}: {reason}" for job_id, reason in left.items())
        return f"jobs could not be deleted and may run on: {reasons}"

    async def _delete_all(
        self, delete: Callable[[str], Awaitable[object]], left: dict[str, str]
    ) -> None:
        async def delete_one(job_id: str) -> None:
            try:
                await if_there(delete(job_id))
            except FireworksBatchError as error:
                left[job_id] = str(error)
            else:
                del left[job_id]

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._longest), asyncio.TaskGroup() as group:
                for job_id in self._made:
                    group.create_task(delete_one(job_id))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work to its end, even if this task is cancelled meanwhile.

    The work has its own time limit.
    """
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.warning("the jobs of a run that was given up were not all handled: %r", error)
