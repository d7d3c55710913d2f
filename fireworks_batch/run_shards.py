"""One job's worth of rows of a run, from its file to its end."""

from collections.abc import Sequence

import attrs

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.input_files import ShardFile
from fireworks_batch.reporting import Ended
from fireworks_batch.run_ids import generation_of
from fireworks_batch.states import JobState
from fireworks_batch.submission import Submission
from fireworks_batch.submitting import ShardSubmission

__all__ = ["Shard", "check_same_rows", "shards_of"]


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
