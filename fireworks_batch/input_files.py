"""Files of requests, read in blocks of whole lines, and written, each block in one go."""

import gzip
import io
import stat
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import attrs

from fireworks_batch.errors import ConfigurationError, InputRowsError
from fireworks_batch.local_io import reported

__all__ = [
    "LONGEST_LINE",
    "Block",
    "ShardFile",
    "check_path",
    "file_stamp",
    "open_lines",
    "read_blocks",
]

_MIB: Final = 1024 * 1024
LONGEST_LINE: Final = 16 * _MIB
"""Most bytes of a row. It is parsed whole, and no other thread runs meanwhile: for some 25 ms.

A request may hold images of 10 MB together, in base64, by the vendor's guide to vision models;
nothing else comes near.
"""


@attrs.frozen
class Block:
    """Whole lines, as they stand in the file; the very last one may lack its line end."""

    data: bytes
    """The lines."""

    first_line: int
    """The number of the first one, from 1."""

    start: int
    """Where they begin, in bytes (after decompression)."""

    is_too_long: bool = False
    """Whether it stands for one line that is too long to be a row; no data of it is kept."""


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


def check_path(requests: Path) -> Path:
    """Return the path of a file that may hold requests.

    Raises:
        ConfigurationError: Its name has another ending, or it is a pipe or a device.
        LocalFileError: It cannot be opened.
    """
    if not requests.name.endswith((".jsonl", ".jsonl.gz")) or "\0" in str(requests):
        raise ConfigurationError(
            f"requests must be a file that ends in .jsonl or .jsonl.gz, not {str(requests)!r}"
        )
    with reported("read", str(requests)):
        mode = requests.stat().st_mode
    # Looked at before it is opened, since opening a pipe waits for whoever writes to it.
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ConfigurationError(
            f"{str(requests)!r} is no regular file, and is read more than once: give its rows as "
            "an iterable of mappings"
        )
    open_lines(requests).close()
    return requests


def open_lines(path: Path) -> IO[bytes]:
    """Open a file of lines, whose name says whether it is compressed.

    Raises:
        LocalFileError: It cannot be opened.
    """
    with reported("read", str(path)):
        if path.name.endswith(".gz"):
            return io.BufferedReader(gzip.open(path), _MIB)
        return path.open("rb")


def read_blocks(
    file: IO[bytes], *, size: int = _MIB, longest: int | None = None
) -> Iterator[Block]:
    """Yield a file's lines in blocks of about a size; a byte order mark is left out.

    Args:
        file: Open at its beginning.
        size: Bytes to read at a time.
        longest: Most bytes of a line, about: of one that is longer, only that it was there is told,
            and blocks come that hold nothing. None for any length.

    Raises:
        InputRowsError: The compressed data is damaged.
    """
    line, start, rest, dropped = 1, 0, b"", 0
    while data := _read(file, size):
        if not (start or rest or dropped) and data.startswith(BOM_UTF8):
            start, data = len(BOM_UTF8), data[len(BOM_UTF8) :]
        if dropped or (longest is not None and len(rest) > longest):
            end = data.find(b"\n") + 1
            dropped, rest = dropped + len(rest) + (end or len(data)), b""
            if not end:
                yield Block(b"", line, start)  # so that nobody waits for long
                continue
            yield Block(b"", line, start, is_too_long=True)
            line, start, dropped, data = line + 1, start + dropped, 0, data[end:]
        end = data.rfind(b"\n") + 1
        if not end:
            rest += data
            continue
        whole, rest = rest + data[:end], data[end:]
        yield Block(whole, line, start)
        line += whole.count(b"\n")
        start += len(whole)
    if rest or dropped:
        yield Block(rest, line, start, is_too_long=dropped > 0)


def _read(file: IO[bytes], size: int) -> bytes:
    try:
        return file.read(size)
    except (OSError, EOFError, zlib.error) as exc:
        name = str(getattr(file, "name", "the requests"))
        raise InputRowsError(f"cannot read {name!r} to its end: {exc}") from None
