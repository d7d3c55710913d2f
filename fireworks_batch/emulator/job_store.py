"""Keep the jobs of all accounts; performs no I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from .refusals import RefusalError

if TYPE_CHECKING:
    from .clock import Instant
    from .jobs import Job

_SEQUENCE = attrgetter("origin.sequence")


class JobStore:
    """Owns the jobs, by account and id, in the order of their creation."""

    def __init__(self, *, keeps_tombstones: bool) -> None:
        self._keeps_tombstones = keeps_tombstones
        self._jobs: dict[str, dict[str, Job]] = {}
        self._leaving: list[Job] = []
        self._listed: dict[str, list[Job]] = {}

    def add(self, job: Job) -> None:
        """Keep a job; one of the same id, which must be gone, is forgotten."""
        origin = job.origin
        jobs = self._jobs.setdefault(origin.account_id, {})
        jobs.pop(origin.job_id, None)
        jobs[origin.job_id] = job
        self._listed.pop(origin.account_id, None)

    def find(self, account_id: str, job_id: str, now: Instant) -> Job | None:
        """Give a job, None if there is none or it is gone."""
        job = self._jobs.get(account_id, {}).get(job_id)
        if job is None or (job.is_gone(now) and not self._keeps_tombstones):
            return None
        return job

    def get(self, account_id: str, job_id: str, now: Instant) -> Job:
        """Give a job.

        Raises:
            RefusalError: There is none (404).
        """
        job = self.find(account_id, job_id, now)
        if job is None:
            raise RefusalError("NOT_FOUND", "resource not found")
        return job

    def delete(self, job: Job, now: Instant) -> None:
        """Delete a job."""
        job.delete(now)
        self._leaving.append(job)

    def listed(self, account_id: str, now: Instant) -> Sequence[Job]:
        """Give an account's jobs that are not gone, oldest first; not to be changed."""
        self._forget_gone(now)
        if account_id not in self._listed:
            jobs = self._jobs.get(account_id, {}).values()
            self._listed[account_id] = [job for job in jobs if not job.is_gone(now)]
        return self._listed[account_id]

    def forget_work(self) -> None:
        """Let all jobs only say what they do from now on."""
        for jobs in self._jobs.values():
            for job in jobs.values():
                job.work = None

    def _forget_gone(self, now: Instant) -> None:
        gone = [job for job in self._leaving if job.is_gone(now)]
        for job in gone:
            self._leaving.remove(job)
            self._listed.pop(job.origin.account_id, None)
            if not self._keeps_tombstones:
                self._forget(job)

    def _forget(self, job: Job) -> None:
        jobs = self._jobs[job.origin.account_id]
        if jobs.get(job.origin.job_id) is job:
            del jobs[job.origin.job_id]


def jobs_after(jobs: Sequence[Job], sequence: int) -> Sequence[Job]:
    """Give those of *jobs*, oldest first, that were made after *sequence*."""
    return jobs[bisect_right(jobs, sequence, key=_SEQUENCE) :]


def jobs_before(jobs: Sequence[Job], sequence: int) -> Sequence[Job]:
    """Give those of *jobs*, oldest first, that were made before *sequence*."""
    return jobs[: bisect_left(jobs, sequence, key=_SEQUENCE)]
