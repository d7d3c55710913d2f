"""What the server was given, in a form that another process can go on with.

Performs no I/O.
"""

import re
from typing import Any, Final, Self

import attrs

from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.names import JobRef, check_id, read_stored, write_stored
from fireworks_batch.models.states import JobState
from fireworks_batch.results.report import AdoptedJob
from fireworks_batch.runs.request_rows import RowRules

__all__ = ["Submission", "SubmittedJob"]


_VERSION: Final = 1


_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch


@attrs.frozen(kw_only=True)
class SubmittedJob:
    """One job of a run, and where its rows come from."""

    job_id: str
    """The job."""

    dataset_id: str
    """Its input."""

    rows: int
    """Rows of its input."""

    bytes: int
    """The length of its input."""

    sha256: str
    """The digest of its input, with an end to its last line, in hexadecimal."""

    first_line: int
    """Where its first row stands in the requests, from 1."""

    last_line: int
    """Where its last row stands there."""

    earlier: tuple[str, ...] = ()
    """Jobs of the same rows that ended before with some of them done: those count too."""

    @property
    def job_ids(self) -> tuple[str, ...]:
        """All jobs whose rows count, the oldest first."""
        return (*self.earlier, self.job_id)


@attrs.frozen(kw_only=True, repr=False)
class Submission:
    """What the server was given, and all that is needed to collect it, in another process too.

    Holds no secret and no rows: a few hundred bytes for each job.
    """

    account_id: str
    """The account's id."""

    base_url: str
    """The API that the jobs live on, without ``/v1``."""

    name: str
    """The run's name; empty if it has none."""

    model: str
    """The model's resource name, which rows were checked not to contradict."""

    has_system_prompt: bool = False
    """Whether the jobs have a system prompt, which rows of token ids cannot take."""

    limits: Limits = Limits()  # noqa: RUF009 - frozen
    """What one job takes: by them the rows were split, and those too large left out."""

    jobs: tuple[SubmittedJob, ...]
    """The jobs, in the order of their rows."""

    adopted: tuple[AdoptedJob, ...] = ()
    """Those of them that had ended before they were submitted."""

    skipped: int = 0
    """Bad rows that were left out."""

    @property
    def rows(self) -> int:
        """Rows in all jobs."""
        return sum(job.rows for job in self.jobs)

    @property
    def rules(self) -> RowRules:
        """What rows had not to contradict."""
        return RowRules(model=self.model, has_system_prompt=self.has_system_prompt)

    @property
    def refs(self) -> tuple[JobRef, ...]:
        """References to the jobs, in the order of their rows."""
        return tuple(JobRef(self.account_id, job.job_id, self.base_url) for job in self.jobs)

    def to_json(self) -> str:
        """Return the submission as a JSON object on one line, with its version."""
        return write_stored(attrs.asdict(self), version=_VERSION)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The JSON object.

        Raises:
            ConfigurationError: It is not such an object, or of a newer version.
        """
        members = read_stored(text, "submission", version=_VERSION)
        try:
            return cls(
                account_id=check_id("account id", members["account_id"]),
                base_url=_of(str, members["base_url"]),
                name=_of(str, members["name"]),
                model=_of(str, members["model"]),
                has_system_prompt=_flag(members["has_system_prompt"]),
                limits=Limits(**members["limits"]),
                jobs=tuple(map(_submitted, members["jobs"])),
                adopted=tuple(map(_adopted, members["adopted"])),
                skipped=_of(int, members["skipped"]),
            )
        except (KeyError, TypeError) as exc:
            reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise ConfigurationError(f"not a stored submission: {reason}")

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Submission{name}, {self.rows} rows in {len(self.jobs)} jobs>"


def _of(wanted: type[Any], value: Any) -> Any:
    if isinstance(value, wanted) and not isinstance(value, bool):
        return value
    raise TypeError(f"expected a {wanted.__name__}, not {value!r}")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(f"expected a bool, not {value!r}")


def _digest(value: Any) -> str:
    if isinstance(value, str) and _SHA256(value):
        return value
    raise TypeError(f"expected a SHA-256 in hexadecimal, not {value!r}")


def _submitted(members: Any) -> SubmittedJob:
    numbers = {
        name: _of(int, members[name]) for name in ("rows", "bytes", "first_line", "last_line")
    }
    return SubmittedJob(
        job_id=check_id("job id", members["job_id"]),
        dataset_id=check_id("dataset id", members["dataset_id"]),
        sha256=_digest(members["sha256"]),
        earlier=tuple(check_id("job id", job_id) for job_id in members["earlier"]),
        **numbers,
    )


def _adopted(members: Any) -> AdoptedJob:
    age = members["age"]
    return AdoptedJob(
        job_id=check_id("job id", members["job_id"]),
        state=JobState(_of(str, members["state"])),
        age=None if age is None else float(_of(int | float, age)),  # type: ignore[arg-type]
    )
