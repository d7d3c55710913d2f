"""Contents on disk. They are written once, and read as often as wanted."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import attrs

_CHUNK: Final = 1024 * 1024


@attrs.frozen
class StoredFile:
    """A content that never changes."""

    path: Path
    size: int
    md5: str
    """The MD5 hash of the content, in base64."""

    generation: int
    """The number of the content (``x-goog-generation``). A changed object has another number."""

    @property
    def etag(self) -> str:
        """The entity tag, with its quotes."""
        return f'"{self.generation:x}-{self.md5}"'

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the content, with their line ends."""
        with self.path.open("rb") as file:
            yield from file


class FileStore:
    """Owns a temporary directory. It is made when it is needed, and removed with the store."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._count = 0

    def create(self) -> FileWriter:
        """Begin a new content."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="fireworks-emulator-"))
            weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._count += 1
        return FileWriter(self._directory / str(self._count), self._count)

    def store(self, chunks: Iterable[bytes]) -> StoredFile:
        """Store a content that is in memory or in another file."""
        with self.create() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.finish()

    def clear(self) -> None:
        """Remove everything."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


class FileWriter:
    """Writes one content. An unfinished content is removed at the end of the ``with``."""

    def __init__(self, path: Path, generation: int) -> None:
        self._path = path
        self._generation = generation
        self._file: BinaryIO | None = path.open("wb")
        self._hash = hashlib.md5(usedforsecurity=False)
        self._is_finished = False
        self.size: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.pause()
        if not self._is_finished:
            remove(self._path)

    def write(self, chunk: bytes) -> None:
        """Append to the content. This runs on the loop: a write to the cache takes microseconds."""
        if self._file is None:
            self._file = self._path.open("ab")
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def pause(self) -> None:
        """Close the file until the next write."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> StoredFile:
        """Close the file, and return the content."""
        self.pause()
        self._is_finished = True
        md5 = base64.b64encode(self._hash.digest()).decode()
        return StoredFile(self._path, self.size, md5, self._generation)


def file_chunks(path: Path) -> Iterator[bytes]:
    """Yield the chunks of a file that does not belong to the store."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def remove(path: Path) -> None:
    """Remove a file. On Windows, a file that is being read is removed with its directory later."""
    with contextlib.suppress(OSError):
        path.unlink()
