"""The handles of many jobs: their snapshots as they come, and their outcomes."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn, Self

from fireworks_batch.jobs.wait import Driven
from fireworks_batch.jobs.watch import Watch
from fireworks_batch.models.errors import ClientStateError
from fireworks_batch.models.job import JobLike
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import FleetProgress, JobOutcome, JobSnapshot

__all__ = ["JobFleet", "JobOutcomes"]


class JobFleet(Driven[dict[str, JobOutcome]], AsyncIterator[JobSnapshot]):
    """Watches many jobs: iterate over it for their snapshots, or await it for their outcomes.

    ``async for`` yields a snapshot for each successful poll of any of them. For a slow reader the
    newest snapshot of each job is kept, and the last one of a job is never lost. If the wait for a
    job failed, the last snapshot of the job has ``error`` set. Jobs never end each other: what is
    raised concerns all of them, as a key that is refused, or the closing of the client.

    Awaiting it returns the outcomes by job id, in the order in which the jobs were given. It is a
    coroutine, so that ``create_task``, ``TaskGroup.create_task`` and ``gather`` take it; one task
    at a time can use it, in either way, and again in the other.

    The jobs are polled while a snapshot is waited for, and for the policy's ``max_interval`` after
    that; then polling pauses until the next snapshot is asked for. So leaving the loop leaves
    nothing behind.

    Made by ``client.jobs.watch()``.
    """

    _watch: Watch

    @classmethod
    def _made(cls, watch: Watch) -> Self:
        """Return the handle of a watch."""
        self = cls()
        self._watch = watch
        return self

    @property
    def refs(self) -> tuple[JobRef, ...]:
        """The jobs, in the order given; empty until their account is known."""
        return self._watch.refs

    @property
    def outcomes(self) -> dict[str, JobOutcome]:
        """The outcomes so far, by job id, in the order in which the jobs were given."""
        return self._watch.outcomes

    @property
    def progress(self) -> FleetProgress:
        """Where the jobs stand together, by the newest snapshot of each."""
        return self._watch.progress

    def __repr__(self) -> str:
        return repr(self._watch)

    def add(self, job: JobLike) -> None:
        """Watch another job; a job that is watched already is left as it is.

        Args:
            job: Id, resource name, reference, or a job fetched before.

        Raises:
            ConfigurationError: The job is malformed, belongs to another account or host, or has
                the id of a job of another account that is watched.
            ClientStateError: The fleet was closed.
        """
        self._watch.add(job)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobSnapshot:
        snapshot = await self._watch.next_snapshot()
        if snapshot is None:
            raise StopAsyncIteration
        return snapshot

    def _begun(self) -> Coroutine[Any, Any, dict[str, JobOutcome]]:
        return self._to_the_end()

    async def _to_the_end(self) -> dict[str, JobOutcome]:
        return await self._watch.all_outcomes()

    def _refuse(self) -> NoReturn:
        raise ClientStateError(f"{self!r} is being read by another task")

    async def aclose(self) -> None:
        """Stop watching; an iteration comes to its end. The remote jobs are not touched."""
        self._watch.close()

    def __del__(self) -> None:
        if "_watch" in vars(self):  # a copy that failed has none
            self._watch.pause()


class JobOutcomes(AsyncIterator[JobOutcome]):
    """The outcomes of many jobs, in the order in which they end: ``client.jobs.as_completed()``."""

    _watch: Watch
    _number = 0

    @classmethod
    def _made(cls, watch: Watch) -> Self:
        """Return the handle of a watch."""
        self = cls()
        self._watch = watch
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobOutcome:
        outcome = await self._watch.next_outcome(self._number)
        if outcome is None:
            raise StopAsyncIteration
        self._number += 1
        return outcome

    async def aclose(self) -> None:
        """Stop waiting. The remote jobs are not touched."""
        self._watch.close()

    def __del__(self) -> None:
        if "_watch" in vars(self):  # a copy that failed has none
            self._watch.pause()
