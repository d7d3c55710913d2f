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

from fireworks_batch.files.threads import reported
from fireworks_batch.models.errors import ConfigurationError, InputRowsError

__all__ = ["LONGEST_LINE", "Block", "check_path", "open_lines", "read_blocks"]


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
