"""Batch inference jobs: the endpoints, and the wait."""

from collections.abc import Sequence
from typing import TypeAlias

from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.policies import JOB_WINDOW, JobWindow, PollPolicy
from fireworks_batch.waiting import JobWait

__all__ = ["JobLike", "Jobs"]

JobLike: TypeAlias = str | JobRef | BatchInferenceJob
"""A job's id, its resource name, a reference to it, or the job as fetched before."""


class Jobs:
    """The account's batch inference jobs."""

    def ref(self, job: JobLike) -> JobRef:
        """Return a reference to a job, without asking the server."""
        raise NotImplementedError

    async def get(self, job: JobLike, *, read_mask: Sequence[str] = ()) -> BatchInferenceJob:
        """Fetch one job."""
        raise NotImplementedError

    def wait_until_terminal(
        self,
        job: JobLike,
        *,
        timeout: float | JobWindow | None = JOB_WINDOW,
        poll: PollPolicy | None = None,
        changes_only: bool = False,
    ) -> JobWait:
        """Follow a job until it can change no more."""
        raise NotImplementedError
