"""Files of requests or results, read in blocks of whole lines."""

import errno
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
from fireworks_batch.models.errors import ConfigurationError, InputRowsError, LocalFileError

__all__ = ["LONGEST_LINE", "Block", "check_path", "open_lines", "read_blocks"]

_MIB: Final = 1024 * 1024

LONGEST_LINE: Final = 16 * _MIB
"""Most bytes of a row of requests. While a row is parsed, no other thread runs. A row of this size
takes about 25 ms (measured).

A request may have images of 10 MB together, in base64 (documented in the vendor's guide to vision
models). Other requests are much smaller.
"""


@attrs.frozen
class Block:
    """Whole lines of a file, unchanged. The last line of the file may have no line end."""

    data: bytes
    """The lines."""

    start: int
    """Where the lines begin, in decompressed bytes from the beginning of the file."""

    is_too_long: bool = False
    """Whether the block stands for one line that is too long to be a row; it then has no data."""

    @property
    def end(self) -> int:
        """Where the lines end, in decompressed bytes from the beginning of the file."""
        return self.start + len(self.data)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the lines, with their line ends."""
        return iter(io.BytesIO(self.data))


def check_path(requests: Path) -> Path:
    """Return the path of a file that may hold requests.

    Raises:
        ConfigurationError: The file's name does not end in ``.jsonl`` or ``.jsonl.gz``, or the file
            is a pipe or a device.
        LocalFileError: The file cannot be opened, or is a directory.
    """
    name = str(requests)
    if "\0" not in name and requests.is_dir():
        raise LocalFileError(f"cannot read {name!r}: it is a directory", errno=errno.EISDIR)
    if not requests.name.endswith((".jsonl", ".jsonl.gz")) or "\0" in name:
        raise ConfigurationError(
            f"requests must be a file that ends in .jsonl or .jsonl.gz, not {name!r}"
        )
    with reported("read", name):
        mode = requests.stat().st_mode
    # Checked before the file is opened, since opening a pipe waits for its writer.
    if not stat.S_ISREG(mode):
        raise ConfigurationError(
            f"{name!r} is a pipe or a device, and requests are read more than once: give the rows "
            "as an iterable of mappings"
        )
    open_lines(requests).close()
    return requests


def open_lines(path: Path) -> IO[bytes]:
    """Open a file of lines; a file whose name ends in ``.gz`` is decompressed.

    Raises:
        LocalFileError: The file cannot be opened.
    """
    with reported("read", str(path)):
        if path.name.endswith(".gz"):
            return io.BufferedReader(gzip.open(path), _MIB)
        return path.open("rb")


def read_blocks(
    file: IO[bytes], *, size: int = _MIB, longest: int | None = None
) -> Iterator[Block]:
    """Yield the lines of a file in blocks; a byte order mark at its beginning is left out.

    Args:
        file: The open file, at the start of a line.
        size: Least bytes of a block. The last line of a block is read to its end.
        longest: Most bytes of a line, approximately; None for no limit. A longer line is yielded as
            a block without data. While the line is skipped, further blocks without data are
            yielded, so that the reader can stop.

    Raises:
        InputRowsError: The compressed data is damaged.
        LocalFileError: The file cannot be read.
    """
    name = str(getattr(file, "name", "the requests"))
    with reported("read", name):
        try:
            yield from _blocks(file, size, longest)
        except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise InputRowsError(
                f"cannot read {name!r} to its end: the compressed data is damaged: {exc}"
            ) from None


def _blocks(file: IO[bytes], size: int, longest: int | None) -> Iterator[Block]:
    start = file.tell()
    while data := file.read(size):
        tail = b"" if data.endswith(b"\n") else file.readline(-1 if longest is None else longest)
        is_too_long = len(tail) == longest and not tail.endswith(b"\n")
        data += tail
        if not start and data.startswith(BOM_UTF8):
            start, data = len(BOM_UTF8), data[len(BOM_UTF8) :]
        end = data.rfind(b"\n") + 1 if is_too_long else len(data)
        if end:
            yield Block(data[:end], start)
            start += end
        if is_too_long:
            length = len(data) - end
            while piece := file.readline(size):
                length += len(piece)
                if piece.endswith(b"\n"):
                    break
                yield Block(b"", start)
            yield Block(b"", start, is_too_long=True)
            start += length
