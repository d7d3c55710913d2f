"""What is uploaded: a file, bytes, or an iterator's content; read twice, in threads."""

import asyncio
import hashlib
import io
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from fireworks_batch.datasets.claim import Survey
from fireworks_batch.files.threads import begin, ended, off_loop, reported, write_all
from fireworks_batch.models.errors import ConfigurationError, LocalFileError

__all__ = ["Content", "Source", "SourceFile", "opened"]


Source: TypeAlias = str | os.PathLike[str] | bytes | AsyncIterable[bytes]
"""A file's path, its bytes, or an async iterable of pieces of it, however they are cut."""


_SPOOL_PIECE: Final = 1024 * 1024


_SURVEY_PIECE: Final = 256 * 1024


_SURVEYED_AT_ONCE: Final = 16  # pieces of a step: a few milliseconds, so that cancelling is quick


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator["SourceFile"]:
    """Open what is to be uploaded; nothing of it is read yet.

    Args:
        source: A path, bytes, or an async iterable of bytes.

    Raises:
        ConfigurationError: It is none of these.
        LocalFileError: The file cannot be opened, or no temporary one be made.
    """
    file = SourceFile(source)
    try:
        await off_loop(file.open)
        yield file
    finally:
        await off_loop(file.close)


class SourceFile:
    """A file that is read twice: surveyed, then sent."""

    def __init__(self, source: Source) -> None:
        """Take what it is made of; nothing is opened before `open`.

        Raises:
            ConfigurationError: It cannot be uploaded.
        """
        self._source = source
        self._file: Any = None
        self._lock = threading.Lock()
        self.name = _name(source)
        """What the caller calls it, for an error's text."""

    @property
    def base_name(self) -> str:
        """The last part of its path; empty if it has none."""
        return Path(self._source).name if isinstance(self._source, str | os.PathLike) else ""

    def open(self) -> None:
        """Open it, or make the temporary file; blocks.

        Raises:
            ConfigurationError: It is a directory, a pipe or a device.
            LocalFileError: It cannot be opened.
        """
        if isinstance(self._source, bytes):
            self._file = io.BytesIO(self._source)
        elif isinstance(self._source, AsyncIterable):
            with reported("write", tempfile.gettempdir()):
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see `close`
        else:
            self._open_path(self._source)

    def _open_path(self, path: str | os.PathLike[str]) -> None:
        with reported("read", os.fspath(path)):
            # Looked at before it is opened, since opening a pipe waits for whoever writes to it.
            if not stat.S_ISREG(Path(path).stat().st_mode):
                raise ConfigurationError(
                    f"{self.name} is no regular file and cannot be read twice: give its content "
                    "as an async iterator, which is stored in a temporary file"
                )
            self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - see `close`

    def close(self) -> None:
        """Close it, when a reading that goes on in another thread has ended; blocks."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    async def survey(self) -> Survey:
        """Read it through, in bounded memory; what an iterator brings is stored meanwhile.

        Raises:
            ConfigurationError: The iterator brings something else than bytes.
            LocalFileError: It cannot be read, or the temporary file not be written.
            Exception: What the iterator raises.
        """
        survey = Survey()
        if isinstance(self._source, AsyncIterable):
            await self._spool(self._source, survey)
            return survey
        while await off_loop(self._survey_on, survey):
            pass
        return survey

    async def _spool(self, pieces: AsyncIterable[bytes], survey: Survey) -> None:
        buffer = bytearray()
        async for piece in pieces:
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise ConfigurationError(
                    f"{self.name} must be pieces of bytes, not of {type(piece).__name__}"
                )
            buffer += piece
            if len(buffer) >= _SPOOL_PIECE:
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
        """Return bytes from an offset on, at most so many, none at the end; blocks.

        Raises:
            LocalFileError: It cannot be read.
        """
        with self._lock, reported("read", self.name):
            self._file.seek(offset)
            piece: bytes = self._file.read(size)
            return piece


def _name(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        path: object = os.fspath(source)
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigurationError(f"{path!r} is no path of a file")
        return repr(path) if len(path) <= 400 else f"{path[:100]!r}…"
    if isinstance(source, bytes):
        return f"the content ({len(source):,} bytes)"
    if isinstance(source, AsyncIterable):
        return "the content of the iterator"
    raise ConfigurationError(
        "a dataset is uploaded from a path, bytes, or an async iterable of bytes, not from "
        f"{type(source).__name__}"
    )


_PIECE: Final = 1024 * 1024


class Content:
    """The body of an upload, of known length; each iteration over it starts anew.

    The last piece is held back until the whole is known to be what was surveyed: a file that was
    changed meanwhile is never sent to its end.
    """

    def __init__(
        self,
        file: SourceFile,
        survey: Survey,
        *,
        tell: Callable[[int], None],
        head: bytes = b"",
        tail: bytes = b"",
    ) -> None:
        """Take what is sent.

        Args:
            file: The content.
            survey: What it was when it was read first.
            tell: Is told how many bytes of the file are on their way.
            head: What is sent before it.
            tail: What is sent after it.
        """
        self.file = file
        self.survey = survey
        self.tell = tell
        self.head = head
        self.tail = tail

    @property
    def length(self) -> int:
        """Bytes of it."""
        return len(self.head) + self.survey.size + len(self.tail)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self)


class _Pieces(AsyncIterator[bytes]):
    """One reading of a content, a piece ahead of what is sent.

    Not a generator: left in the middle, it needs no clean-up.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self._offset = 0
        self._sent = 0
        self._ahead: asyncio.Future[bytes] | None = None
        self._hash = hashlib.sha256()
        self._head = content.head
        self._tail = content.tail

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._head:
            piece, self._head = self._head, b""
            return piece
        if self._sent < self._content.survey.size:
            return await self._next()
        if self._tail:
            piece, self._tail = self._tail, b""
            return piece
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        step = self._ahead or begin(self._read)
        self._ahead = None
        piece = await ended(step)
        self._content.tell(self._sent)
        self._sent += len(piece)
        if self._offset < self._content.survey.size:
            self._ahead = begin(self._read)
        return piece

    def _read(self) -> bytes:
        file, survey = self._content.file, self._content.survey
        piece = file.read_at(self._offset, _PIECE)
        self._offset += len(piece)
        self._hash.update(piece)
        if piece and self._offset < survey.size:
            return piece
        is_same = self._offset == survey.size and self._hash.hexdigest() == survey.digest
        if is_same and not file.read_at(survey.size, 1):
            return piece
        raise LocalFileError(
            f"{file.name} was changed while it was uploaded: nothing of it counts as uploaded; "
            "upload it again when it changes no more"
        )
