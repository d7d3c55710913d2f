"""The one place that talks HTTP: the session, its limits, its repeats, and its errors.

Foreign exceptions are raised anew, outside their ``except`` and without a cause: what aiohttp
raises can show the request's headers, and so the key, in its repr and in its frames' locals.
"""

import asyncio
import logging
import ssl as ssl_module
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import aiohttp
import attrs
from yarl import URL

from fireworks_batch import http
from fireworks_batch.calls import Request
from fireworks_batch.errors import (
    APIStatusError,
    ClientStateError,
    RequestTimeoutError,
    TransportError,
)
from fireworks_batch.http import Answer
from fireworks_batch.keys import KeySource
from fireworks_batch.pacing import Gate
from fireworks_batch.policies import RetryPolicy
from fireworks_batch.retrying import Repeats, is_429

__all__ = ["Stream", "Transport", "TransportOptions"]

_log = logging.getLogger("fireworks_batch.http")

# A wait looks once a minute at least: keep its connection, and its TLS handshake, until then.
_KEEP_ALIVE: Final = 75.0
_CHUNK: Final = 256 * 1024

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class TransportOptions:
    """How a client talks; `BatchClient` documents each of them."""

    base_url: str
    user_agent: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    session: aiohttp.ClientSession | None
    retry: RetryPolicy
    request_timeout: float
    connect_timeout: float
    transfer_timeout: float
    max_connections: int
    max_requests_per_minute: float | None
    max_body_bytes: int
    proxy: str | bool | None = attrs.field(repr=False)
    ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool
    trace_configs: Sequence[aiohttp.TraceConfig]


class Transport:
    """Owns the HTTP session, unless it is borrowed, and ends with `aclose`.

    Belongs to the event loop that it is first used on.
    """

    def __init__(
        self,
        options: TransportOptions,
        *,
        keys: KeySource,
        draw: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        """Make it; nothing is opened before the first request.

        Args:
            options: How to talk.
            keys: Who knows the API key.
            draw: Returns a random number from 0 up to 1, for jitter.
            wall: Returns the time of day, aware, for a Retry-After that is a date.
        """
        self._options = options
        self._keys = keys
        self._draw = draw
        self._wall = wall
        self._base = URL(options.base_url)
        rate = options.max_requests_per_minute
        self._gate = Gate(60.0 / rate if rate else 0.0)
        self._slots = asyncio.Semaphore(options.max_connections)
        self._waiting = 0
        self._session = options.session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sleepers: set[asyncio.Future[None]] = set()
        self._limits: set[asyncio.Timeout] = set()
        self._proxies: dict[tuple[str, str], str | None] = {}
        self._is_closed = False

    # --- Its life -------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._is_closed

    @property
    def is_open(self) -> bool:
        """Whether it holds a session of its own."""
        return not self._is_closed and self._owns_session and self._session is not None

    @property
    def base_url(self) -> str:
        """The API's URL, without ``/v1``."""
        return self._options.base_url

    @property
    def _owns_session(self) -> bool:
        return self._options.session is None

    def now(self) -> float:
        """Return the moment on the running loop's clock, in seconds."""
        return asyncio.get_running_loop().time()

    async def aclose(self) -> None:
        """Close the session if it is its own, and wake whoever sleeps or waits for an answer.

        Raises:
            ClientStateError: It belongs to another event loop.
        """
        if self._is_closed:
            return
        self._bind()
        self._is_closed = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_exception(_closed())
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(self.now())
        for _ in range(self._waiting):
            self._slots.release()
        if self._session is not None and self._owns_session:
            await self._session.close()

    def abandon(self) -> None:
        """Let go of a session that nobody closed, so that the only warning of it is our own."""
        if self._session is not None and self._owns_session:
            self._session.detach()

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientStateError(
                "this client belongs to the event loop that it was first used on; "
                "make one client for each loop"
            )

    def _ready(self) -> aiohttp.ClientSession:
        """Return the session, made at its first use since that needs a running loop."""
        if self._is_closed:
            raise _closed()
        self._bind()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._options.max_connections, keepalive_timeout=_KEEP_ALIVE
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=list(self._options.trace_configs),
            )
        if self._session.closed:
            raise ClientStateError("the session that this client borrowed is closed")
        return self._session

    async def sleep_until(self, moment: float) -> None:
        """Wait for a moment on the loop's clock, with one timer and no task.

        Raises:
            ClientStateError: The client was closed, before or meanwhile.
        """
        if self._is_closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        if moment <= loop.time():
            return
        sleeper = loop.create_future()
        timer = loop.call_at(moment, _wake, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleepers.discard(sleeper)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Stand in line for one of ``max_connections``."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            self._ready()
            yield
        finally:
            self._slots.release()

    def gate_opens_at(self) -> float:
        """Return the moment before which nothing is sent, on the loop's clock."""
        return self._gate.opens_at

    # --- Calls ----------------------------------------------------------------------------------

    async def send(self, request: Request) -> Answer:
        """Send a call, and repeat it as the retry policy says.

        Args:
            request: What to send; one that is not repeatable is repeated after a 429 only.

        Returns:
            The 2xx answer.

        Raises:
            APIStatusError: The server says no, or said so at the last attempt.
            RateLimitError: The server asks to wait longer than the policy does.
            TransportError: There was no usable answer at the last attempt.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        repeats = Repeats(request, self._options.retry, self._draw)
        while True:
            repeats.spend_on_gate(self._gate.hold(self.now()))
            try:
                return await self.send_once(request)
            except (APIStatusError, TransportError) as exc:
                error = exc
            again_at = self.now() + repeats.wait_after(error)
            _log.debug("%s: again at %.3f, after: %s", request, again_at, error)
            if is_429(error):
                self._gate.close(again_at)
            else:
                await self.sleep_until(again_at)

    async def send_once(self, request: Request, *, pause: float | None = None) -> Answer:
        """Send a call once, as soon as the gate is open and a connection is free.

        Args:
            request: What to send.
            pause: Seconds for which a 429 without a Retry-After closes the gate.

        Returns:
            The 2xx answer.

        Raises:
            APIStatusError: The server says no.
            TransportError: There was no usable answer.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        session = self._ready()
        answer = await self._exchange_in_turn(session, request)
        error = http.read_refusal(request, answer, now=self._wall(), scrub=self._keys.scrub)
        if error is None:
            return answer
        hold = pause if error.retry_after is None else error.retry_after
        if is_429(error) and hold is not None:
            self._gate.close(self.now() + hold)
        raise error

    async def _exchange_in_turn(self, session: aiohttp.ClientSession, request: Request) -> Answer:
        await self.sleep_until(self._gate.reserve(self.now()))
        while True:
            await self.sleep_until(self._gate.opens_at)
            async with self._slot():
                # The gate may have closed while this call stood in line.
                if not self._gate.hold(self.now()):
                    return await self._bounded(
                        str(request), "request_timeout", self._exchange(session, request)
                    )

    async def _exchange(self, session: aiohttp.ClientSession, request: Request) -> Answer:
        headers = await self._headers(has_body=request.body is not None)
        url = self._url(request)
        async with self._open(session, request.method, url, headers, request.body) as response:
            body = await self._read(request, response)
        _log.debug("%s: %d, %d bytes", request, response.status, len(body))
        return Answer(status=response.status, headers=response.headers, body=body)

    async def _headers(self, *, has_body: bool) -> dict[str, str]:
        kind = {"Content-Type": "application/json"} if has_body else {}
        return {
            "User-Agent": self._options.user_agent,
            "Accept": "application/json",
            **kind,
            **self._options.headers,
            "Authorization": await self._keys.bearer(),
        }

    def _url(self, request: Request) -> URL:
        url = f"{self._options.base_url}{request.path}"
        return URL(f"{url}?{request.query}" if request.query else url, encoded=True)

    def _open(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        data: Any,
    ) -> Any:
        connect = self._options.connect_timeout
        return session.request(
            method,
            url,
            headers=headers,
            data=data,
            allow_redirects=False,
            raise_for_status=False,
            proxy=self._proxy(url),
            ssl=self._options.ssl,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect),
        )

    def _proxy(self, url: URL) -> str | None:
        """Return the proxy for a URL: the one given, or the environment's; never its netrc's."""
        if isinstance(self._options.proxy, str):
            return self._options.proxy
        if self._options.proxy is False:
            return None
        origin = url.scheme, url.host or ""
        if origin not in self._proxies:
            self._proxies[origin] = _environment_proxy(*origin)
        return self._proxies[origin]

    async def _read(self, request: Request, response: aiohttp.ClientResponse) -> bytes:
        most = self._options.max_body_bytes
        body = bytearray()
        while chunk := await response.content.readany():
            body += chunk
            if len(body) > most:
                raise TransportError(
                    f"{request}: the answer is larger than max_body_bytes ({most:,} bytes)"
                )
        return bytes(body)

    # --- Transfers ------------------------------------------------------------------------------

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> AsyncIterator["Stream"]:
        """Open a transfer, once: its body is read, or sent, piece by piece.

        Args:
            method: The HTTP method.
            url: An absolute URL. The API key goes to the API's own origin and nowhere else.
            headers: All headers to send, but for User-Agent and Authorization.
            data: What to send, in any form that aiohttp takes.

        Yields:
            The answer, whatever its status, its body still to be read.

        Raises:
            TransportError: There was no answer, or it broke off, or nothing moved for
                ``transfer_timeout`` seconds.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        session = self._ready()
        target = URL(url, encoded=True)
        what = f"{method} {target.origin()}{target.path}"
        async with self._slot():
            sent = {"User-Agent": self._options.user_agent, **(headers or {})}
            if target.origin() == self._base.origin():
                sent["Authorization"] = await self._keys.bearer()
            bounded = partial(self._bounded, what, "transfer_timeout")
            response = await bounded(self._open(session, method, target, sent, data))
            try:
                yield Stream(response, bounded)
            finally:
                # Nothing is awaited here; a connection whose body was not read is closed.
                response.release()

    # --- Limits and errors ----------------------------------------------------------------------

    async def _bounded(self, what: str, limit_name: str, step: Awaitable[_T]) -> _T:
        """Take a step that a limit of time ends, or the closing of the client."""
        seconds: float = getattr(self._options, limit_name)
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits.add(limit)
                try:
                    return await step
                finally:
                    self._limits.discard(limit)
        except aiohttp.ConnectionTimeoutError:
            error = self._late(what, "connect_timeout")
        except TimeoutError:
            error = self._late(what, limit_name)
        except (aiohttp.ClientError, OSError, EOFError) as exc:
            error = TransportError(self._keys.scrub(f"{what}: {type(exc).__name__}: {exc}"))
        raise _closed() if self._is_closed else error

    def _late(self, what: str, limit_name: str) -> TransportError:
        seconds: float = getattr(self._options, limit_name)
        return RequestTimeoutError(f"{what}: no whole answer within {limit_name} ({seconds:g} s)")


class Stream:
    """The answer to a transfer: its body is read piece by piece."""

    def __init__(
        self, response: aiohttp.ClientResponse, bounded: Callable[[Awaitable[bytes]], Any]
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
        piece: bytes = await self._bounded(self._response.content.read(size))
        return piece


def _closed() -> ClientStateError:
    return ClientStateError("the client is closed")


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def _environment_proxy(scheme: str, host: str) -> str | None:
    """Read HTTP(S)_PROXY and NO_PROXY, which takes long enough to do it once for a host."""
    proxy = urllib.request.getproxies_environment().get(scheme)
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy
