"""What an upload sends: a file's pieces, checked while they are read to be what was surveyed."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

from fireworks_batch.errors import LocalFileError
from fireworks_batch.local_io import begin, ended
from fireworks_batch.sources import SourceFile
from fireworks_batch.survey import Survey

__all__ = ["Content"]

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
