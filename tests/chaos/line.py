"""A line between a client and an emulator without sockets: each request is a call of a function.

What happens above the sockets of both is real; hundreds of scenarios fit into a second.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from fireworks_batch import BatchClient
from fireworks_batch.emulator import Emulator
from fireworks_batch.emulator.http.routing import Router

_STORAGE: Final = 2
_API: Final = 1
MOST_REQUESTS: Final = 3000
"""More is a client that asks without end."""


class EndlessError(Exception):
    """A client asks and asks."""


@attrs.define
class Said:
    """What the emulator says to a request."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class Line:
    """An emulator that listens nowhere, and what its answers meet on their way.

    Make it within a running loop. A subclass changes what is said in `pass_on`.
    """

    def __init__(self, **options: Any) -> None:
        """Make it.

        Args:
            options: Those of the emulator.
        """
        self.emulator = Emulator(account_id="acme", **options)
        self.emulator._port = _API
        world = self.world = self.emulator._known_world = self.emulator._wake_world()
        world.datasets.port = _STORAGE
        api, storage = world.api_port(Router(wrong_method_status=405)), world.storage_port()
        self._ports = {_API: api, _STORAGE: storage}
        self.count = 0
        """How many requests there were."""

    async def close(self) -> None:
        """End the work of the emulator, and remove its files."""
        await self.world.workshop.stop()
        self.world.clear_datasets()

    def client(self, **options: Any) -> BatchClient:
        """Make a client at the other end."""
        usual = {
            "api_key": self.emulator.api_key,
            "account_id": "acme",
            "base_url": f"http://127.0.0.1:{_API}",
            "proxy": False,
        }
        client = BatchClient(**{**usual, **options})
        session: Any = client._api.session
        session._open = self._opened
        return client

    def _opened(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002  # as the client's own does
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: Any,
        *,
        proxy: str | None,  # noqa: ARG002
    ) -> "_Opening":
        return _Opening(self, str(method), URL(url, encoded=True), headers, data)

    async def answer(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Said:
        """Answer a request.

        Raises:
            aiohttp.ClientError: There is nobody at the URL.
            EndlessError: There were too many.
        """
        self.count += 1
        if self.count > MOST_REQUESTS:
            raise EndlessError(f"{self.count} requests")
        port = self._ports.get(url.port or 0)
        if port is None or url.host != "127.0.0.1" or url.scheme != "http":
            raise aiohttp.ClientConnectionError(f"there is nobody at {url.host}")
        await self.delay()
        request = _request(method, url, headers, body)
        entry = port._log.open(
            origin=port._site.origin,
            method=method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body_bytes=len(body),
        )
        answer = await port._ask(request, entry)
        whole = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body.chunks())
        headers = CIMultiDict(port._headers(answer))
        headers["Content-Length"] = str(len(whole))
        said = Said(answer.status, headers, whole)
        self.pass_on(method, url, said)
        return said

    async def delay(self) -> None:
        """Let time pass before a request arrives, or lose the request; here neither.

        Raises:
            aiohttp.ClientError: The request is lost.
        """

    def pass_on(self, method: str, url: URL, said: Said) -> None:
        """Change what is said; here nothing."""


class _Peer(BaseProtocol):
    """Stands for the connection of a request."""

    ssl_context = None
    peername = None
    sockname = None
    max_field_size = 8190
    max_headers = 128


def _request(method: str, url: URL, headers: Mapping[str, str], body: bytes) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    peer: Any = _Peer(loop)
    payload = aiohttp.StreamReader(peer, 2**20, loop=loop)
    if body:
        payload.feed_data(body)
    payload.feed_eof()
    all_of_them = CIMultiDict({"Host": f"{url.host}:{url.port}", **headers})
    message = RawRequestMessage(
        method,
        url.raw_path_qs,
        aiohttp.HttpVersion11,
        CIMultiDictProxy(all_of_them),
        (),
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
        url=URL(url.raw_path_qs, encoded=True),
    )
    nobody: Any = None
    return web.BaseRequest(message, payload, peer, nobody, nobody, loop, client_max_size=0)


class _Opening:
    """A request that is awaited, or entered, as aiohttp's own is."""

    def __init__(self, line: Line, *request: Any) -> None:
        self._line = line
        self._request = request

    def __await__(self) -> Any:
        return self._answer().__await__()

    async def __aenter__(self) -> "_Response":
        return await self._answer()

    async def __aexit__(self, *_: object) -> None:
        pass

    async def _answer(self) -> "_Response":
        method, url, headers, data = self._request
        if isinstance(data, aiohttp.Payload):
            writer = _Collector()
            await data.write(writer)
            data = bytes(writer.all)
        return _Response(await self._line.answer(method, url, headers, data or b""))


class _Collector(AbstractStreamWriter):
    """Takes what a body writes."""

    def __init__(self) -> None:
        self.all = bytearray()

    async def write(self, chunk: Any) -> None:
        self.all += chunk

    async def write_eof(self, chunk: bytes = b"") -> None:
        self.all += chunk

    async def drain(self) -> None:
        pass

    def enable_compression(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def enable_chunking(self) -> None:
        raise NotImplementedError

    async def write_headers(self, status_line: str, headers: Any) -> None:
        raise NotImplementedError


class _Response:
    """An answer whose body is there already."""

    def __init__(self, said: Said) -> None:
        self.status = said.status
        self.headers = CIMultiDictProxy(said.headers)
        self.content = self
        self._left = memoryview(said.body)

    async def read(self, size: int) -> bytes:
        piece, self._left = self._left[:size], self._left[size:]
        return bytes(piece)

    async def readany(self) -> bytes:
        return await self.read(len(self._left))

    def release(self) -> None:
        pass
