"""Which jobs of a run are on the server: one listing for all shards, else a GET of each id.

Nothing is remembered on this machine. The id of a job says which rows the job runs. So the same
call finds the jobs after a crash, and in another process at the same time.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from fireworks_batch.connection.api import if_there
from fireworks_batch.files.threads import all_of
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.errors import (
    AccountSuspendedError,
    APIStatusError,
    AuthenticationError,
    ResponseDecodeError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.runs.shards import Shard
from fireworks_batch.runs.spec import attempt_id, attempt_of, is_of_name
from fireworks_batch.wire.answers import is_transient

__all__ = ["Persist", "Search", "get_job"]


_log = logging.getLogger("fireworks_batch.run")


_T = TypeVar("_T")


_PAGE: Final = 200


# Most jobs that a search reads: 25 pages.
_MOST_JOBS: Final = 25 * _PAGE


# After so many attempt numbers in a row without a job, no higher number is asked for. One is not
# enough, since people delete jobs.
_MOST_FREE: Final = 4


# Most ids that a warning names.
_NAMED: Final = 5


class Persist(Protocol):
    """Repeats a step until it succeeds, is refused, or has failed for ``failure_budget``."""

    async def __call__(self, what: str, step: Callable[[], Awaitable[_T]], /) -> _T:
        """Return what the step returns."""
        ...


class Search:
    """One search for the jobs of all shards of a run."""

    def __init__(self, jobs: Jobs, persist: Persist, *, name: str) -> None:
        """Begin.

        Args:
            jobs: The account's jobs.
            persist: Repeats a step that fails, for a limited time.
            name: The name of the run; empty if the run has no name.
        """
        self._jobs = jobs
        self._persist = persist
        self._name = name
        self._of_name: list[str] = []
        self._is_ordered = False

    async def run(self, shards: Sequence[Shard], *, asks_each: bool = False) -> None:
        """Find jobs, and add them to their shards.

        Args:
            shards: The shards.
            asks_each: Whether ids are asked for one by one if the whole listing has no job of
                their shard.
        """
        by_base = {shard.base: shard for shard in shards}
        is_whole = await self._list(by_base)
        self._warn(shards)
        works = [
            partial(self._ask, shard)
            for shard in shards
            if (not is_whole and self._needs_gets(shard))
            or (asks_each and not shard.chain.attempts)
        ]
        await all_of(works)

    async def _list(self, shards: dict[str, Shard]) -> bool:
        """Read the listing, newest jobs first. Return whether all jobs of the account were read."""
        for order in ("create_time desc", None):
            self._is_ordered = order is not None
            try:
                return await self._persist("listing jobs", partial(self._read, order, shards))
            except (AuthenticationError, AccountSuspendedError):
                raise
            except (APIStatusError, ResponseDecodeError) as error:
                if is_transient(error) and not isinstance(error, ResponseDecodeError):
                    raise
                _log.info("jobs cannot be listed (order %r): %s", order, error)
        return False

    async def _read(self, order: str | None, shards: dict[str, Shard]) -> bool:
        count, of_name = 0, []
        async for job in self._jobs.list(order_by=order, page_size=_PAGE):
            for job_id in (job.id, job.display_name):
                found = attempt_of(job_id)
                if found is not None and found[0] in shards:
                    self._take(shards[found[0]], found[1], job)
                    break
                if found is not None and self._name and is_of_name(self._name, found[0]):
                    of_name.append(job.id)
                    break
            count += 1
            if count >= _MOST_JOBS:
                self._of_name = of_name
                return False
        self._of_name = of_name
        return True

    @staticmethod
    def _take(shard: Shard, number: int, job: BatchInferenceJob) -> None:
        """Add a job to its shard.

        A server that chooses ids itself may have two jobs of one attempt number. The job with the
        id that was asked for is preferred.
        """
        there = shard.chain.attempts.get(number)
        if there is None or job.id in {there.job.id, attempt_id(shard.base, number)}:
            shard.take(number, job)

    def _warn(self, shards: Iterable[Shard]) -> None:
        """Warn of other jobs under the same name, before more jobs are created."""
        if self._of_name and any(not shard.chain.attempts for shard in shards):
            more = len(self._of_name) - _NAMED
            _log.warning(
                "there are jobs under name=%r with other rows, another split, another model or "
                "other parameters: this call creates jobs beside them (%s%s)",
                self._name,
                ", ".join(self._of_name[:_NAMED]),
                f" and {more} more" if more > 0 else "",
            )

    def _needs_gets(self, shard: Shard) -> bool:
        return not (self._is_ordered and shard.chain.attempts) or bool(shard.open_gaps())

    async def _ask(self, shard: Shard) -> None:
        """Ask for the ids of a shard, one by one, until several in a row have no job."""
        number = free = 0
        known = {*shard.chain.attempts}
        only_gaps = self._is_ordered and bool(known)
        while free < _MOST_FREE and not (only_gaps and number > max(known)):
            if number not in known:
                get = partial(get_job, self._jobs, attempt_id(shard.base, number))
                job = await self._persist("looking for a job", get)
                if job is not None:
                    shard.take(number, job)
                free = free + 1 if job is None and number > max(known, default=-1) else 0
            number += 1


async def get_job(jobs: Jobs, job_id: str) -> BatchInferenceJob | None:
    """Fetch a job. The name and the state are enough: other members may be unreadable.

    Args:
        jobs: The account's jobs.
        job_id: The id of the job.

    Returns:
        The job; None if there is no such job.
    """
    try:
        return await if_there(jobs.get(job_id))
    except ResponseDecodeError as error:
        if error.partial is None:
            raise
        _log.warning("%s; these members have their defaults, and the rest was read", error)
        partial_job: BatchInferenceJob = error.partial
        return partial_job
