"""A transfer: a body too large for memory, read piece by piece."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import aiohttp

__all__ = ["Stream"]

_CHUNK: Final = 256 * 1024


class Stream:
    """The answer to a transfer: its body is read piece by piece."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        bounded: Callable[[Callable[[], Awaitable[bytes]]], Any],
    ) -> None:
        """Wrap an answer; made by `Transport.stream`."""
        self._response = response
        self._bounded = bounded
        self.status = response.status
        """The HTTP status."""
        self.headers: Mapping[str, str] = response.headers
        """Case-insensitive."""

    async def read(self, size: int = _CHUNK) -> bytes:
        """Return the next piece of the body, at most so many bytes; empty at its end.

        Raises:
            TransportError: The body broke off, or nothing came for ``transfer_timeout`` seconds.
        """
        piece: bytes = await self._bounded(partial(self._response.content.read, size))
        return piece
