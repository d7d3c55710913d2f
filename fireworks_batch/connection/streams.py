"""Transfers: bodies that are too large for memory, sent or read piece by piece."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

__all__ = ["Body", "Stream"]


_CHUNK: Final = 256 * 1024


class Body(aiohttp.Payload):
    """The body that a transfer sends; it reports each piece that was sent."""

    def __init__(self, data: Any) -> None:
        """Wrap the data to send.

        Args:
            data: Bytes, an async iterator of bytes, or a payload or form of aiohttp.
        """
        is_whole = isinstance(data, bytes | bytearray | memoryview)
        self._pieces = _Bytes(data) if is_whole else _payload(data)
        super().__init__(data, headers=self._pieces.headers)
        self.on_piece: Callable[[], None] = _nothing
        """Called after each piece that was sent."""
        self.error: Exception | None = None
        """The error of the data's own iterator; None without an error."""

    @property
    def size(self) -> int | None:
        """The number of bytes. None if unknown; the body is then sent in chunks."""
        return self._pieces.size

    @property
    def autoclose(self) -> bool:
        """Whether the body needs no closing; always True."""
        return True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        """Raise TypeError, since a transfer is never whole in memory."""
        raise TypeError("the body of a transfer cannot be decoded")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body; aiohttp calls this."""
        told = _Writer(writer, self)
        try:
            await self._pieces.write(told)
        except Exception as exc:
            if exc is not told.error:
                self.error = exc
            raise


class _Bytes(aiohttp.Payload):
    """Bytes of any length. The payload of aiohttp would warn of large ones."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__(data)
        self._size = memoryview(data).nbytes

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._value)


def _payload(data: Any) -> aiohttp.Payload:
    whole = data() if isinstance(data, aiohttp.FormData) else data
    return aiohttp.get_payload(whole, disposition=None)


class _Writer(AbstractStreamWriter):
    """Sends in pieces of limited size, and reports each piece to the body."""

    def __init__(self, writer: AbstractStreamWriter, body: Body) -> None:
        self._writer = writer
        self._body = body
        self.error: Exception | None = None

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        try:
            if len(chunk) <= _CHUNK:
                await self._writer.write(chunk)
                self._body.on_piece()
                return
            whole = memoryview(chunk).cast("B")
            for start in range(0, len(whole), _CHUNK):
                await self._writer.write(whole[start : start + _CHUNK])
                self._body.on_piece()
        except Exception as exc:
            self.error = exc
            raise

    async def write_eof(self, chunk: bytes = b"") -> None:
        await self._writer.write_eof(chunk)

    async def drain(self) -> None:
        await self._writer.drain()

    def enable_compression(self, *args: Any, **kwargs: Any) -> None:
        self._writer.enable_compression(*args, **kwargs)

    def enable_chunking(self) -> None:
        self._writer.enable_chunking()

    async def write_headers(self, status_line: str, headers: Any) -> None:
        await self._writer.write_headers(status_line, headers)


def _nothing() -> None:
    pass


class Stream:
    """The answer to a transfer, whose body is read piece by piece."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        bounded: Callable[[Callable[[], Awaitable[bytes]]], Any],
        *,
        at_api: bool,
    ) -> None:
        """Wrap an answer; called by `Session.stream`."""
        self._response = response
        self._bounded = bounded
        self.at_api: bool = at_api
        """Whether the API answered; False for the storage."""
        self.status: int = response.status
        """The HTTP status."""
        self.headers: Mapping[str, str] = response.headers
        """The headers; their names are case-insensitive."""

    async def read(self, size: int = _CHUNK) -> bytes:
        """Return the next piece of the body; empty at the end of the body.

        Args:
            size: Most bytes of the piece.

        Raises:
            TransportError: The body broke off, or nothing came for ``transfer_timeout`` seconds.
            ClientStateError: The client was closed, before or during the reading.
        """
        piece: bytes = await self._bounded(partial(self._response.content.read, size))
        return piece
