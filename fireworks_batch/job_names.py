"""What may stand for a job, and where it is: an id, a resource name, a reference, or the job."""

from typing import TypeAlias

from fireworks_batch.account import Account
from fireworks_batch.errors import ConfigurationError
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobName, JobRef, parse_job_name

__all__ = ["JobLike", "JobNames"]

JobLike: TypeAlias = str | JobRef | BatchInferenceJob
"""A job's id, its resource name, a reference to it, or the job as fetched before."""


class JobNames:
    """Reads what stands for a job, for a client of one account and host."""

    def __init__(self, account: Account, base_url: str) -> None:
        """Take whose jobs they are, and where the client's API is."""
        self._account = account
        self._base_url = base_url

    def read(self, job: JobLike) -> JobName:
        """Return the job's id, and its account where that was said.

        Raises:
            ConfigurationError: It is malformed, or belongs to another account or host.
        """
        name = self._parse(job)
        if name.account_id and self._account.id and name.account_id != self._account.id:
            raise ConfigurationError(
                f"job {name.job_id!r} belongs to account {name.account_id!r}; this client's is "
                f"{self._account.id!r}"
            )
        return name

    def _parse(self, job: JobLike) -> JobName:
        match job:
            case JobRef():
                if job.base_url != self._base_url:
                    raise ConfigurationError(
                        f"{job!r} belongs to another host; this client's is {self._base_url}"
                    )
                return JobName(job.account_id, job.job_id)
            case BatchInferenceJob():
                return parse_job_name(job.name)
            case _:
                return parse_job_name(job)

    def ref(self, name: JobName) -> JobRef | None:
        """Return a reference to a job; None while its account is not known."""
        account_id = name.account_id or self._account.id
        return JobRef(account_id, name.job_id, self._base_url) if account_id else None
