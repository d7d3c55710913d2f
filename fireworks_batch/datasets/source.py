"""The source of an upload: a file, bytes, or an iterable's content, read twice in threads."""

import asyncio
import errno
import hashlib
import io
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from fireworks_batch.datasets.claim import Measure, Survey
from fireworks_batch.files.threads import begin, ended, off_loop, reported, write_all
from fireworks_batch.models.errors import ConfigurationError, LocalFileError

__all__ = ["Content", "Source", "SourceFile"]

Source: TypeAlias = str | os.PathLike[str] | bytes | AsyncIterable[bytes]
"""A file's path, the content as bytes, or an async iterable of bytes that are cut anywhere."""

_PIECE: Final = 1024 * 1024  # bytes in one step of storing or sending
_SURVEY_PIECE: Final = 256 * 1024
_SURVEYED_AT_ONCE: Final = 16  # pieces of one step: a step takes milliseconds, cancelling is quick


class SourceFile:
    """A source as a file, open inside ``async with``; it is surveyed first, then sent."""

    def __init__(self, source: Source) -> None:
        """Check the source; nothing is opened yet.

        Args:
            source: A path, bytes, or an async iterable of bytes.

        Raises:
            ConfigurationError: The source is none of these.
        """
        self._source = source
        self._file: Any = None
        self._lock = threading.Lock()
        self.name: str = _name(source)
        """The source in the words of the caller, for the text of an error."""

    async def __aenter__(self) -> Self:
        """Open the file, or make a temporary file for the content of an iterable.

        Raises:
            ConfigurationError: The path names a pipe or a device.
            LocalFileError: The file cannot be opened, or is a directory; or the temporary file
                cannot be made.
        """
        await off_loop(self._open, undo=lambda _: self._close())
        return self

    async def __aexit__(self, *_: object) -> None:
        await off_loop(self._close)

    @property
    def base_name(self) -> str:
        """The name of the source without folders; empty if the source has no name."""
        return Path(self._source).name if isinstance(self._source, str | os.PathLike) else ""

    def _open(self) -> None:
        if isinstance(self._source, bytes):
            self._file = io.BytesIO(self._source)
        elif isinstance(self._source, AsyncIterable):
            with reported("write", tempfile.gettempdir()):
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see `_close`
        else:
            self._open_path(self._source)

    def _open_path(self, path: str | os.PathLike[str]) -> None:
        with reported("read", os.fspath(path)):
            # Checked before the file is opened, since opening a pipe waits for its writer.
            mode = Path(path).stat().st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, "it is a directory")
            if not stat.S_ISREG(mode):
                raise ConfigurationError(
                    f"{self.name} is a pipe or a device, which cannot be read twice: give its "
                    "content as an async iterator, which is stored in a temporary file"
                )
            self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - see `_close`

    def _close(self) -> None:
        """Close the file, as soon as no other thread reads it."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    async def survey(self) -> Measure:
        """Read the source to its end, in bounded memory, and store the content of an iterable.

        Raises:
            ConfigurationError: The iterable yields something other than bytes.
            LocalFileError: The file cannot be read, or the temporary file cannot be written.
            Exception: The iterable raised the error.
        """
        survey = Survey()
        if isinstance(self._source, AsyncIterable):
            await self._spool(self._source, survey)
            return survey.measure
        while await off_loop(self._survey_on, survey):
            pass
        return survey.measure

    async def _spool(self, pieces: AsyncIterable[bytes], survey: Survey) -> None:
        buffer = bytearray()
        async for piece in pieces:
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise ConfigurationError(
                    f"{self.name} must be pieces of bytes, not of {type(piece).__name__}"
                )
            buffer += piece
            if len(buffer) >= _PIECE:
                await off_loop(self._store, bytes(buffer), survey)
                buffer.clear()
        await off_loop(self._store, bytes(buffer), survey)

    def _store(self, data: bytes, survey: Survey) -> None:
        with self._lock, reported("write", tempfile.gettempdir()):
            write_all(self._file, data)
        for start in range(0, len(data), _SURVEY_PIECE):
            survey.update(data[start : start + _SURVEY_PIECE])

    def _survey_on(self, survey: Survey) -> bool:
        for _ in range(_SURVEYED_AT_ONCE):
            piece = self.read_at(survey.size, _SURVEY_PIECE)
            if not piece:
                return False
            survey.update(piece)
        return True

    def read_at(self, offset: int, size: int) -> bytes:
        """Return at most *size* bytes from an offset on, no bytes at the end; blocks the thread.

        Raises:
            LocalFileError: The file cannot be read.
        """
        with self._lock, reported("read", self.name):
            self._file.seek(offset)
            piece: bytes = self._file.read(size)
            return piece


def _name(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        path: object = os.fspath(source)
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigurationError(f"{path!r} cannot be the path of a file")
        return repr(path) if len(path) <= 400 else f"{path[:100]!r}…"
    if isinstance(source, bytes):
        return f"the content ({len(source):,} bytes)"
    if isinstance(source, AsyncIterable):
        return "the content of the iterator"
    raise ConfigurationError(
        "a dataset is uploaded from a path, bytes, or an async iterable of bytes, not from "
        f"{type(source).__name__}"
    )


class Content(AsyncIterator[bytes]):
    """The body of one upload request; it reads the next piece while a piece is sent.

    The last piece is sent only if all bytes are the bytes that were measured. So a file that
    changes during the upload is never sent to its end. This is not a generator, because a generator
    that is left early needs clean-up.
    """

    def __init__(
        self,
        file: SourceFile,
        measure: Measure,
        tell: Callable[[int], None],
        *,
        head: bytes = b"",
        tail: bytes = b"",
    ) -> None:
        """Prepare the body; nothing is read yet.

        Args:
            file: The content.
            measure: The size and the hash that the content must have.
            tell: Called with the number of bytes of the file that were handed out so far.
            head: Sent before the content.
            tail: Sent after the content.
        """
        self.length: int = len(head) + measure.size + len(tail)
        """The number of bytes in all."""
        self._file = file
        self._measure = measure
        self._tell = tell
        self._head = head
        self._tail = tail
        self._read = self._sent = 0
        self._hash = hashlib.sha256()
        self._ahead: asyncio.Future[bytes] | None = None

    async def __anext__(self) -> bytes:
        if self._head:
            piece, self._head = self._head, b""
            return piece
        if self._sent < self._measure.size:
            return await self._next()
        if self._tail:
            piece, self._tail = self._tail, b""
            return piece
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        step = self._ahead or begin(self._read_on)
        self._ahead = None
        piece = await ended(step)
        self._tell(self._sent)
        self._sent += len(piece)
        if self._read < self._measure.size:
            self._ahead = begin(self._read_on)
        return piece

    def _read_on(self) -> bytes:
        size = self._measure.size
        piece = self._file.read_at(self._read, _PIECE)
        self._read += len(piece)
        self._hash.update(piece)
        if piece and self._read < size:
            return piece
        is_same = self._read == size and self._hash.hexdigest() == self._measure.digest
        if is_same and not self._file.read_at(size, 1):
            return piece
        raise LocalFileError(
            f"{self._file.name} was changed while it was uploaded, so that the upload does not "
            "count: upload it again when nothing writes to it"
        )
