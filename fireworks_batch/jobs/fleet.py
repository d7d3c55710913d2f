"""The handles of a wait for many jobs: one for snapshots, one for outcomes."""

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
    """The wait for many jobs: iterate over it for snapshots, or await it for outcomes.

    ``async for`` yields a snapshot for each successful poll of any job. If the reader is slow, only
    the newest snapshot of each job is kept. The last snapshot of a job is always yielded. If the
    wait for one job fails, the last snapshot of this job has ``error`` set, and the waits for the
    other jobs go on. An error that is raised concerns all jobs: the key is refused, for example, or
    the client was closed.

    ``await`` returns the outcomes by job id, in the order in which the jobs were given. The fleet
    is a coroutine, so that ``create_task``, ``TaskGroup.create_task`` and ``gather`` accept it. A
    fleet can be used several times and in both ways, by one task at a time.

    The jobs are polled while a task waits for a snapshot, and for the policy's ``max_interval``
    after that. Then polling pauses until a snapshot is asked for again. So a loop over the fleet
    can be left at any time, and nothing has to be closed.

    A fleet is made by ``client.jobs.watch()``.
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
        """The progress of all jobs together, from the newest snapshot of each job."""
        return self._watch.progress

    def __repr__(self) -> str:
        return repr(self._watch)

    def add(self, job: JobLike) -> None:
        """Add a job to the fleet; nothing happens if the fleet has the job already.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

        Raises:
            ConfigurationError: The job is malformed, or belongs to another account or host. Or the
                fleet has a job of the same id in another account.
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
        """Stop waiting, and end an iteration. The remote jobs are not changed."""
        self._watch.close()

    def __del__(self) -> None:
        if "_watch" in vars(self):  # a failed copy has no watch
            self._watch.pause()


class JobOutcomes(AsyncIterator[JobOutcome]):
    """An async iterator over the outcomes of many jobs, in the order in which the jobs end.

    Made by ``client.jobs.as_completed()``.
    """

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
        """Stop waiting. The remote jobs are not changed."""
        self._watch.close()

    def __del__(self) -> None:
        if "_watch" in vars(self):  # a failed copy has no watch
            self._watch.pause()
