"""Shards: the rows of one job of a run, their file, and the attempts to run them."""

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
    """The path of the file."""

    rows: int
    """The number of rows of the file."""

    bytes: int
    """The size of the file in bytes. Its last line has a line end."""

    sha256: str
    """The SHA-256 digest of the file, in hexadecimal."""

    first_line: int
    """The line of the caller's requests that has the first row. Lines are counted from 1."""

    last_line: int
    """The line of the caller's requests that has the last row."""

    stamp: tuple[int, int]
    """The size and the time of change of the file, when it was read."""

    def check_unchanged(self) -> None:
        """Refuse the file if it was changed after it was read.

        Raises:
            ConfigurationError: The file was changed or removed.
        """
        if file_stamp(self.path) != self.stamp:
            raise ConfigurationError(
                f"{str(self.path)!r} was changed after it was checked: call again when "
                "nothing writes to it"
            )


def file_stamp(path: Path) -> tuple[int, int]:
    """Return the size and the time of change of a file; zeros if there is no such file."""
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
    """The id of the shard, its rows, and their lines in the requests."""

    first: int
    """The position of the first row of the shard among all rows of the requests, from 1."""

    chain: Chain
    """The attempts of the shard."""

    file: ShardFile | None = None
    """The rows of the shard; None if the requests are not at hand."""

    gaps: set[int] = attrs.field(factory=set)
    """The attempt numbers below the newest without a job, whose outputs were asked for."""

    leaving: set[int] = attrs.field(factory=set)
    """The attempt numbers of jobs that are being deleted."""

    uploaded: set[str] = attrs.field(factory=set)
    """The ids of the input datasets that this call has uploaded, or found."""

    @property
    def base(self) -> str:
        """The id of the shard. The ids of all its jobs begin with it."""
        return self.submitted.base_id

    @property
    def last(self) -> int:
        """The position of the last row of the shard among all rows of the requests."""
        return self.first + self.submitted.rows - 1

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts of the shard, the oldest first."""
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
            is_old: Whether the job existed before this call, as far as this call knows.
            rows: Rows of the job's input; None if the number is not known. Then the rows of the
                shard are an upper bound.
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
        """Take note that the job of an attempt is gone. The attempt counts as never made."""
        attempts = {at: each for at, each in self.chain.attempts.items() if at != number}
        self.chain = attrs.evolve(self.chain, attempts=attempts)

    def free(self, number: int) -> None:
        """Take note that the deletion of a job is done. Its attempt number can be used again."""
        self.leaving.discard(number)
        self.gaps.discard(number)
        self.chain = attrs.evolve(self.chain, highest=number - 1)

    def block(self, number: int) -> None:
        """Take note that an attempt number and all lower numbers cannot be used."""
        self.chain = attrs.evolve(self.chain, highest=max(self.chain.highest, number))

    def open_gaps(self) -> list[int]:
        """Return the attempt numbers without a job whose outputs were not asked for yet."""
        numbers = range(self.chain.next_number)
        return [
            each for each in numbers if each not in self.chain.attempts and each not in self.gaps
        ]


def check_same_rows(files: Sequence[ShardFile], submission: Submission) -> None:
    """Refuse rows that differ from the rows of a submission, byte for byte.

    Args:
        files: The rows of each shard, checked and split by the rules of the submission.
        submission: What was submitted.

    Raises:
        ConfigurationError: A row differs.
    """
    rows = sum(file.rows for file in files)
    if rows != submission.rows:
        raise ConfigurationError(
            f"good rows in the requests: {rows}, rows in the submission: {submission.rows}; "
            "pass the requests that were submitted"
        )
    # The number of rows is the same. So another number of shards shows in an earlier digest.
    for file, shard in zip(files, submission.shards, strict=False):
        if file.sha256 != shard.sha256:
            raise ConfigurationError(
                f"lines {file.first_line} to {file.last_line} of the requests differ from those of "
                f"shard {shard.base_id!r}: pass the requests that were submitted, unchanged"
            )
