"""Whose a dataset's id is: what is uploaded under it, and what is done about what is there.

Performs no I/O.
"""

import enum
import hashlib
import re
from codecs import BOM_UTF8
from itertools import islice
from typing import Final

import attrs

from fireworks_batch.models.dataset import Dataset, Limits
from fireworks_batch.models.errors import (
    APIStatusError,
    DatasetConflictError,
    InputRowsError,
    LocalFileError,
)

__all__ = [
    "Claim",
    "Step",
    "Survey",
    "check_digest",
    "check_survey",
    "content_id",
    "file_name",
    "next_step",
    "storage_name",
    "uploaded_by_another",
]


class Survey:
    r"""Rows, bytes and SHA-256 of what it is fed, piece by piece, wherever the pieces end.

    A row is a line, ended by ``\n`` or by the end of the file, that is not blank.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.size = 0
        """Bytes so far."""
        self._hash = hashlib.sha256()
        self._ended_rows = 0
        self._is_in_row = False
        self._start = b""

    def update(self, piece: bytes) -> None:
        """Take the next piece. One of 256 KiB takes a few milliseconds at the most."""
        self._hash.update(piece)
        self._count(self._without_bom(piece))
        self.size += len(piece)

    @property
    def rows(self) -> int:
        """Rows so far, one that is not yet ended included."""
        return self._ended_rows + self._is_in_row

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    def _without_bom(self, piece: bytes) -> bytes:
        """Leave out a byte order mark: a file of nothing else holds no row."""
        if self.size >= len(BOM_UTF8):
            return piece
        start = (self._start + piece)[: len(BOM_UTF8)]
        known, self._start = len(self._start), start
        if start == BOM_UTF8:
            # What of the mark came in earlier pieces looked like the start of a row.
            self._is_in_row = False
            return piece[len(BOM_UTF8) - known :]
        return piece

    def _count(self, piece: bytes) -> None:
        lines = piece.split(b"\n")
        self._is_in_row = self._is_in_row or _has_content(lines[0])
        if len(lines) == 1:
            return
        blank = sum(map(bytes.isspace, islice(lines, 1, len(lines) - 1)))
        empty = lines.count(b"") - (not lines[0]) - (not lines[-1])
        self._ended_rows += self._is_in_row + len(lines) - 2 - blank - empty
        self._is_in_row = _has_content(lines[-1])


def _has_content(line: bytes) -> bool:
    return bool(line) and not line.isspace()


# What the vendor's own tools name so: lower-case ending, no folder.
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.jsonl", re.ASCII).fullmatch


_DIGITS: Final = 40  # 160 bits of the hash: enough that no two contents meet


class Step(enum.Enum):
    """What is to be done about a dataset."""

    UPLOAD = enum.auto()
    DONE = enum.auto()


@attrs.frozen(kw_only=True)
class Claim:
    """What is to be uploaded, and under which id."""

    dataset_id: str
    """The last segment of the dataset's resource name."""

    is_content_id: bool
    """Whether the id derives from the content, so that READY means: this very content."""

    reuse: bool
    """Whether a READY dataset of a given id is taken for it, unseen."""

    source: str
    """What the caller calls the content, for the text of an error."""

    rows: int | None = None
    """Rows of the content; None before it was read."""


def content_id(survey: Survey) -> str:
    """Return the id of a content: the same bytes have the same one, in every process."""
    return f"d-{survey.digest[:_DIGITS]}"


def file_name(source: str, dataset_id: str) -> str:
    """Return the name of the file in the dataset: the source's own where it may be used."""
    return source if _FILE_NAME(source) else f"{dataset_id}.jsonl"


def storage_name(source: str, claim: Claim) -> str:
    """Return the name of the file in the dataset, if it goes to storage.

    Whoever asks for an upload URL by another name takes the file of the one before out of the
    dataset. So where several may upload the same content at once, all of them use one name.
    """
    is_shared = claim.is_content_id or claim.reuse
    return f"{claim.dataset_id}.jsonl" if is_shared else file_name(source, claim.dataset_id)


def check_digest(survey: Survey, sha256: str | None, source: str) -> None:
    """Refuse content that is not what the caller's id was made for.

    What is sent later is compared with the survey, so that nothing else comes to its end.

    Raises:
        LocalFileError: It has another digest.
    """
    if sha256 is not None and survey.digest != sha256:
        raise LocalFileError(
            f"{source} was changed before it was uploaded: nothing of it was sent; "
            "call again when it changes no more"
        )


def check_survey(survey: Survey, limits: Limits, source: str) -> None:
    """Refuse what the server would refuse.

    Raises:
        InputRowsError: There is no row, or more than the limits allow.
    """
    if not survey.rows:
        what = "is empty" if not survey.size else f"has {survey.size:,} bytes and no row in them"
        raise InputRowsError(f"{source} {what}: a dataset needs at least one line of JSON")
    if survey.size > limits.max_bytes:
        raise InputRowsError(
            f"{source} has {survey.size:,} bytes; a dataset may have {limits.max_bytes:,} "
            "(Limits.max_bytes): upload it in parts, as several datasets"
        )
    if limits.max_rows is not None and survey.rows > limits.max_rows:
        raise InputRowsError(
            f"{source} has {survey.rows:,} rows; a dataset may have {limits.max_rows:,} "
            "(Limits.max_rows): upload it in parts, as several datasets"
        )


def next_step(claim: Claim, found: Dataset) -> Step:
    """Decide about a dataset that bears the claim's id.

    One that is still UPLOADING is what an upload leaves that did not come to its end: it is gone
    on with, if its creator declared as many rows.

    Raises:
        DatasetConflictError: It is READY, with an id that says nothing about its content, or was
            declared with another number of rows.
    """
    if found.is_ready:
        if claim.is_content_id or claim.reuse:
            return Step.DONE
        raise _taken(claim, "is READY")
    if claim.rows is not None and claim.rows != found.example_count:
        raise DatasetConflictError(
            f"dataset {claim.dataset_id!r} was created for {found.example_count:,} rows, and "
            f"{claim.source} has {claim.rows:,}: delete it, or choose another id"
        )
    return Step.UPLOAD


def uploaded_by_another(claim: Claim, refusal: APIStatusError) -> DatasetConflictError:
    """Return what a refusal means that came since the dataset is uploaded, and not by us."""
    return _taken(claim, f"was uploaded by somebody else meanwhile ({refusal})")


def _taken(claim: Claim, what: str) -> DatasetConflictError:
    return DatasetConflictError(
        f"dataset {claim.dataset_id!r} {what}: it may hold anything. Pass reuse=True to take it "
        f"for {claim.source}, leave dataset_id out for an id that derives from the content, or "
        "choose another"
    )
