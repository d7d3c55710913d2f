"""The rows of one job of a run: their file, and the attempts to run them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.runs.chain import Attempt, Chain, is_withdrawn
from fireworks_batch.runs.submission import Submission, SubmittedShard

__all__ = [
    "Shard",
    "ShardFile",
    "check_same_rows",
    "file_stamp",
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


@attrs.define
class Shard:
    """The rows of one job of a run, and what is known of the attempts to run them."""

    number: int
    """The place of the shard in the run, from 0."""

    submitted: SubmittedShard
    """Its id, its rows, and their lines in the requests."""

    first: int
    """The position of its first row among all rows of the requests, from 1."""

    chain: Chain
    """Its attempts."""

    file: ShardFile | None = None
    """Its rows; None if the requests are not at hand."""

    gaps: set[int] = attrs.field(factory=set)
    """The numbers below the newest whose jobs are not there, and whose outputs were asked for."""

    leaving: set[int] = attrs.field(factory=set)
    """The numbers of jobs that are being deleted."""

    uploaded: set[str] = attrs.field(factory=set)
    """The ids of the input datasets that this call has uploaded, or found."""

    @property
    def base(self) -> str:
        """The id that all its jobs begin with."""
        return self.submitted.base_id

    @property
    def last(self) -> int:
        """The position of its last row."""
        return self.first + self.submitted.rows - 1

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Its attempts, the oldest first."""
        return [each for _, each in sorted(self.chain.attempts.items())]

    def take(
        self,
        number: int,
        job: BatchInferenceJob,
        *,
        is_old: bool = True,
        rows: int | None = None,
    ) -> None:
        """Take a job that was found, or created.

        Args:
            number: The number of the attempt.
            job: The job, as it is now.
            is_old: Whether the job was there before this call, as far as is known.
            rows: Rows of its input; None if that is not known: at most those of the shard.
        """
        self.block(number)
        if is_withdrawn(job):
            self.leaving.add(number)
            return
        before = self.chain.attempts.get(number)
        if before is None:
            attempt = Attempt(
                number=number,
                job=job,
                rows=rows or self.submitted.rows,
                is_previous=is_old and job.is_terminal,
            )
        else:
            attempt = attrs.evolve(before, job=job)
        self.put(attempt)

    def put(self, attempt: Attempt) -> None:
        """Replace what is known of an attempt."""
        attempts: Mapping[int, Attempt] = {**self.chain.attempts, attempt.number: attempt}
        self.chain = attrs.evolve(self.chain, attempts=attempts)

    def withdraw(self, number: int) -> None:
        """Take note that the job of an attempt is gone: it counts as never made."""
        attempts = {at: each for at, each in self.chain.attempts.items() if at != number}
        self.chain = attrs.evolve(self.chain, attempts=attempts)

    def free(self, number: int) -> None:
        """Take note that a job is gone that was being deleted: its number can be used again."""
        self.leaving.discard(number)
        self.gaps.discard(number)
        self.chain = attrs.evolve(self.chain, highest=number - 1)

    def block(self, number: int) -> None:
        """Take note that a number cannot be used, nor any below it."""
        self.chain = attrs.evolve(self.chain, highest=max(self.chain.highest, number))

    def open_gaps(self) -> list[int]:
        """Return the numbers without a job whose outputs were not asked for yet."""
        numbers = range(self.chain.next_number)
        return [
            each for each in numbers if each not in self.chain.attempts and each not in self.gaps
        ]


def check_same_rows(files: Sequence[ShardFile], submission: Submission) -> None:
    """Refuse rows that are not those of a submission, byte for byte.

    Args:
        files: The rows of each shard, checked and split as those of the submission were.
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
    # With as many rows in all, another number of shards shows in a shard before the last.
    for file, shard in zip(files, submission.shards, strict=False):
        if file.sha256 != shard.sha256:
            raise ConfigurationError(
                f"lines {file.first_line} to {file.last_line} of the requests are not those of "
                f"shard {shard.base_id!r}, byte for byte: they are not those that were submitted"
            )
