"""What a file of rows holds, found out in one reading: its rows, its size, its hash.

Performs no I/O.
"""

import hashlib
from codecs import BOM_UTF8
from itertools import islice

__all__ = ["Survey"]


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
