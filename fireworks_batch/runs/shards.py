"""One job's worth of rows of a run, from its file to its end."""

from collections.abc import Sequence
from pathlib import Path

import attrs

from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.states import JobState
from fireworks_batch.results.report import AdoptedJob
from fireworks_batch.runs.generations import runs_all
from fireworks_batch.runs.spec import generation_of
from fireworks_batch.runs.submission import Submission, SubmittedJob

__all__ = [
    "Ended",
    "Shard",
    "ShardFile",
    "ShardSubmission",
    "check_same_rows",
    "file_stamp",
    "shards_of",
]


@attrs.frozen(kw_only=True)
class ShardFile:
    """The input of one job, on disk, ready to be uploaded."""

    path: Path
    """Where it is."""

    rows: int
    """Its rows."""

    bytes: int
    """Its length; its last line has its end."""

    sha256: str
    """The digest of that."""

    first_line: int
    """Where its first row stands in the caller's input, from 1."""

    last_line: int
    """Where its last row stands there."""

    stamp: tuple[int, int]
    """Size and time of change of the file as it was read."""

    def check_unchanged(self) -> None:
        """Refuse the file if it is not what was read.

        Raises:
            ConfigurationError: It was changed or removed since.
        """
        if file_stamp(self.path) != self.stamp:
            raise ConfigurationError(
                f"{str(self.path)!r} was changed after it was checked: call again with a file "
                "that nobody writes to"
            )


def file_stamp(path: Path) -> tuple[int, int]:
    """Return the size and the time of change of a file; zeros if there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@attrs.frozen(kw_only=True)
class Ended:
    """A job of a run at its end."""

    submitted: SubmittedJob
    """The job, and its rows."""

    job: BatchInferenceJob
    """As it ended."""

    number: int
    """Its place among all jobs of the run."""

    has_rows: bool = False
    """Whether there were results to fetch."""

    is_retry: bool = False
    """Whether its rows are those that did not come the first time."""

    @property
    def is_whole(self) -> bool:
        """Whether its input is all of the rows, and not the rest that those before have left."""
        return runs_all(self.job, self.submitted.dataset_id)


@attrs.frozen(kw_only=True)
class ShardSubmission:
    """A job that the server has."""

    submitted: SubmittedJob
    """The job, and its rows."""

    job: BatchInferenceJob
    """As it was found, or created."""

    adopted: AdoptedJob | None = None
    """Set if it had ended before."""


@attrs.define
class Shard:
    """Rows that are one job, or the jobs that continue it."""

    number: int
    """Its place in the run."""

    file: ShardFile
    """Its rows."""

    first: int
    """The position of its first row among all rows of the requests, from 1."""

    attempt: int = 0
    """0 for rows as they were given, n for those that are sent again for the nth time."""

    sent: ShardSubmission | None = None
    """Its newest job, once the server has it."""

    is_under_way: bool = False
    """Whether its newest job was submitted, as opposed to being submitted."""

    ends: list[Ended] = attrs.field(factory=list)
    """How its jobs ended, the oldest first."""

    @property
    def last(self) -> int:
        """The position of its last row."""
        return self.first + self.file.rows - 1

    @property
    def generation(self) -> int:
        """The generation of its newest job; 0 as long as the server has none."""
        return generation_of(self.sent.submitted.job_id) if self.sent else 0

    @property
    def state(self) -> JobState:
        """How its newest job ended."""
        return self.ends[-1].job.state


def shards_of(files: Sequence[ShardFile], *, first: int = 0, attempt: int = 0) -> list[Shard]:
    """Return the shards of files of rows, in their order.

    Args:
        files: The rows of each job.
        first: The number of the first shard.
        attempt: For the how-manieth time the rows are sent again.
    """
    position, shards = 1, []
    for number, file in enumerate(files, first):
        shards.append(Shard(number, file, position, attempt))
        position += file.rows
    return shards


def check_same_rows(files: Sequence[ShardFile], submission: Submission) -> None:
    """Refuse rows that are not those of a submission, byte for byte.

    Args:
        files: The rows of each job, checked and split as those of the submission were.
        submission: What was submitted.

    Raises:
        ConfigurationError: They are others.
    """
    rows = sum(file.rows for file in files)
    if rows != submission.rows:
        raise ConfigurationError(
            f"the requests have {rows} good rows, and the submission has {submission.rows}: "
            "they are not those that were submitted"
        )
    # As many rows in all: more or fewer jobs than there were differ in one of those before.
    for file, job in zip(files, submission.jobs, strict=False):
        if file.sha256 != job.sha256:
            raise ConfigurationError(
                f"lines {file.first_line} to {file.last_line} of the requests are not what job "
                f"{job.job_id!r} was given, byte for byte: they are not those that were submitted"
            )
