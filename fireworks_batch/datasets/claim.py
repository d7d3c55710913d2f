"""Whether content has to be uploaded, and which dataset id and file name it gets.

Performs no I/O.
"""

import hashlib
import re
from codecs import BOM_UTF8
from itertools import islice
from typing import Final

import attrs

from fireworks_batch.models.dataset import Dataset, Limits
from fireworks_batch.models.errors import (
    APIStatusError,
    ConfigurationError,
    DatasetConflictError,
    InputRowsError,
)
from fireworks_batch.models.states import EncryptionState

__all__ = [
    "Claim",
    "Measure",
    "Survey",
    "check_measure",
    "content_id",
    "file_name",
    "is_done",
    "stored_name",
    "uploaded_by_another",
]

_DIGITS: Final = 40  # 160 bits of the hash, so that two contents never have the same id

# The vendor's own tools name files like this: a lower-case suffix, no folder.
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.jsonl", re.ASCII).fullmatch


@attrs.frozen
class Measure:
    """The size, rows and hash of content, found before it is sent and checked while it is sent."""

    size: int
    """Number of bytes."""

    rows: int
    """Number of rows, which are lines that are not blank."""

    digest: str
    """The SHA-256 of the bytes, in hexadecimal."""


class Survey:
    r"""Counts the rows and bytes of content, and hashes it, in pieces that are cut anywhere.

    A row is a line that is not blank. A line ends with ``\n``, or at the end of the file.
    """

    def __init__(self) -> None:
        """Begin without content."""
        self.size: int = 0
        """Number of bytes so far."""
        self._hash = hashlib.sha256()
        self._ended_rows = 0
        self._is_in_row = False
        self._start = b""

    def update(self, piece: bytes) -> None:
        """Add the next piece. This takes a few milliseconds at most for 256 KiB."""
        self._hash.update(piece)
        self._count(self._without_bom(piece))
        self.size += len(piece)

    @property
    def rows(self) -> int:
        """Number of rows so far, including a row that has not ended yet."""
        return self._ended_rows + self._is_in_row

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def measure(self) -> Measure:
        """The size, rows and hash so far."""
        return Measure(self.size, self.rows, self.digest)

    def _without_bom(self, piece: bytes) -> bytes:
        """Leave out a byte order mark, which does not belong to a row."""
        if self.size >= len(BOM_UTF8):
            return piece
        start = (self._start + piece)[: len(BOM_UTF8)]
        known, self._start = len(self._start), start
        if start == BOM_UTF8:
            # Earlier pieces had the first bytes of the mark, which were taken for a row.
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


@attrs.frozen(kw_only=True)
class Claim:
    """Content to be uploaded, and the id of its dataset."""

    dataset_id: str
    """The last segment of the dataset's resource name."""

    takes_ready: bool
    """Whether a READY dataset of the id counts as the content, without a check. This is so if the
    id derives from the content, or if the caller says ``reuse=True``. Several processes may then
    upload at once."""

    source: str
    """The content in the words of the caller, for the text of an error."""

    rows: int | None = None
    """Number of rows of the content; None before the content is read."""


def content_id(measure: Measure) -> str:
    """Return the dataset id of content; the same bytes have the same id in every process."""
    return f"d-{measure.digest[:_DIGITS]}"


def file_name(source: str, dataset_id: str) -> str:
    """Return the name of the file in the dataset: the source's name, if the server accepts it.

    Args:
        source: The name of the source, without folders; empty if the source has no name.
        dataset_id: The id of the dataset; otherwise the file is named after it.
    """
    return source if _FILE_NAME(source) else f"{dataset_id}.jsonl"


def stored_name(source: str, claim: Claim) -> str:
    """Return the name of the file in the dataset.

    Several processes may upload the same content at once. They use the same name: with two names a
    dataset might keep two files, and so each row twice, or lose the first file.

    Args:
        source: The name of the source, without folders; empty if the source has no name.
        claim: The content, and the id of its dataset.
    """
    return file_name("" if claim.takes_ready else source, claim.dataset_id)


def check_measure(measure: Measure, limits: Limits, source: str) -> None:
    """Refuse content that the server would refuse.

    Args:
        measure: The size and the rows of the content.
        limits: The most rows and bytes of a dataset.
        source: The content in the words of the caller.

    Raises:
        InputRowsError: There is no row, or there are more rows or bytes than the limits allow.
    """
    if not measure.rows:
        what = "is empty" if not measure.size else f"has {measure.size:,} bytes and no row in them"
        raise InputRowsError(f"{source} {what}: a dataset needs at least one line of JSON")
    if measure.size > limits.max_bytes:
        raise InputRowsError(
            f"{source} has {measure.size:,} bytes; a dataset may have {limits.max_bytes:,} "
            "(Limits.max_bytes): upload it in parts, as several datasets"
        )
    if limits.max_rows is not None and measure.rows > limits.max_rows:
        raise InputRowsError(
            f"{source} has {measure.rows:,} rows; a dataset may have {limits.max_rows:,} "
            "(Limits.max_rows): upload it in parts, as several datasets"
        )


def is_done(claim: Claim, found: Dataset) -> bool:
    """Return whether the dataset of the claim's id is uploaded already.

    A dataset that is still UPLOADING belongs to an unfinished upload. The upload is continued if
    the dataset was created for the same number of rows.

    Args:
        claim: The content, and the id of its dataset.
        found: The dataset of that id.

    Raises:
        ConfigurationError: The dataset is encrypted with a key of the customer, and needs an
            upload.
        DatasetConflictError: The dataset is READY, and its id does not derive from the content. Or
            the dataset was created for another number of rows.
    """
    if found.is_ready:
        if claim.takes_ready:
            return True
        raise _taken(claim, "is READY")
    if found.encryption_state == EncryptionState.CMEK:
        raise ConfigurationError(
            f"dataset {claim.dataset_id!r} is encrypted with a key of the customer (CMEK): nothing "
            "was uploaded, since the vendor's own client refuses such uploads, too"
        )
    if claim.rows is not None and claim.rows != found.example_count:
        raise DatasetConflictError(
            f"dataset {claim.dataset_id!r} was created for {found.example_count:,} rows, and "
            f"{claim.source} has {claim.rows:,}: delete it, or choose another id"
        )
    return False


def uploaded_by_another(claim: Claim, refusal: APIStatusError) -> DatasetConflictError:
    """Return the error for a refusal which says that another client uploaded the dataset."""
    return _taken(claim, f"was uploaded by another client at the same time ({refusal})")


def _taken(claim: Claim, what: str) -> DatasetConflictError:
    return DatasetConflictError(
        f"dataset {claim.dataset_id!r} {what}: its content is not known. Pass reuse=True to use "
        f"it in place of {claim.source}, leave dataset_id out for an id that derives from the "
        "content, or choose another id"
    )
