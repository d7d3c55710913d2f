"""One HTTP session, owned or borrowed: its loop, its places, its gate, its limits of time.

Errors of aiohttp are raised anew, outside their ``except`` and without a cause: they can show the
headers of the request, and so the key, in their repr and in the locals of their frames.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import aiohttp
from yarl import URL

from fireworks_batch.connection.configuration import ClientOptions, Proxies
from fireworks_batch.connection.credentials import KeySource
from fireworks_batch.connection.pace import Gate
from fireworks_batch.connection.streams import Body, Stream
from fireworks_batch.models.errors import ClientStateError, RequestTimeoutError, TransportError
from fireworks_batch.models.texts import Secret
from fireworks_batch.wire.answers import Answer
from fireworks_batch.wire.requests import Request

__all__ = ["Session"]

# A wait polls once a minute at least: keep its connection, and its TLS handshake, until then.
_KEEP_ALIVE: Final = 75.0

# In a text: a URL's user and password, and its query, which is a signature.
_USER: Final = re.compile(r"(\w://)[^/\s'\"@]+@").sub
_QUERY: Final = re.compile(r"(\w://[^\s'\"?]*)\?[^\s'\"]*").sub

_T = TypeVar("_T")


class Session:
    """One aiohttp session, and all tasks that wait for something of it.

    A request takes one of ``max_connections`` places at a moment at which the gate lets it pass,
    and gives the place back at its end.

    Belongs to the event loop that it is first used on. Owns the aiohttp session unless it is
    borrowed, and ends with `aclose`.
    """

    def __init__(self, options: ClientOptions, keys: KeySource) -> None:
        """Make it; nothing is opened before the first request.

        Args:
            options: How to talk.
            keys: Knows the API key.
        """
        self._options = options
        self._keys = keys
        self._proxies = Proxies(setting=options.proxy)
        self._api_proxy = self._proxies.proxy_for(URL(options.base_url))
        connect = options.connect_timeout
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        rate = options.max_requests_per_minute
        self.gate: Gate = Gate(60.0 / rate if rate else 0.0)
        """When the next request of the account may go out."""
        self._line = asyncio.Semaphore(1)
        self._places = asyncio.Semaphore(options.max_connections)
        self._waiting: Counter[asyncio.Semaphore] = Counter()
        self._session = options.session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._sleepers: set[asyncio.Future[None]] = set()
        self._limits: set[asyncio.Timeout] = set()
        self.is_closed: bool = False
        """Whether `aclose` was called."""

    # --- Its life -------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it holds an aiohttp session of its own."""
        return not self.is_closed and self._owns_session and self._session is not None

    @property
    def _owns_session(self) -> bool:
        return self._options.session is None

    async def aclose(self, wake: Callable[[], None]) -> None:
        """Close the session if it is its own, and end all that waits for something of it.

        Args:
            wake: Ends what waits elsewhere; called before anything is waited for.

        Raises:
            ClientStateError: It belongs to another event loop.
        """
        if self.is_closed:
            return
        loop = self._bind()
        self.is_closed = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_exception(_closed())
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(loop.time())
        for semaphore in self._waiting.elements():
            semaphore.release()
        wake()
        if self._session is not None and self._owns_session:
            await self._session.close()

    def abandon(self) -> None:
        """Let go of a session that was never closed, so that the only warning of it is our own."""
        if self._session is not None and self._owns_session:
            self._session.detach()

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._process = loop, os.getpid()
        elif self._loop is not loop:
            raise ClientStateError(
                "this client belongs to the event loop that it was first used on; "
                "make one client for each loop"
            )
        elif self._process != os.getpid():
            raise ClientStateError(
                "this client was used before the process was forked, and shares its connections "
                "with the parent; make a new one"
            )
        return loop

    def _check_open(self) -> None:
        if self.is_closed:
            raise _closed()

    def ready(self) -> aiohttp.ClientSession:
        """Return the aiohttp session, made at its first use since that needs a running loop.

        Raises:
            ClientStateError: It is closed, or belongs to another loop.
        """
        self._check_open()
        if self._loop is None:
            _check_lent(self._session)
        self._bind()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._options.max_connections, keepalive_timeout=_KEEP_ALIVE
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=list(self._options.trace_configs),
            )
        _check_usable(self._session)
        return self._session

    # --- Requests -------------------------------------------------------------------------------

    async def fetch(self, request: Request, url: str, *, headers: Mapping[str, str]) -> Answer:
        """Send a call of the API as soon as its turn comes, and read the whole answer.

        Args:
            request: What to send; it is named in the text of an error.
            url: Where to, sent as it is.
            headers: To send, besides the key.

        Returns:
            The answer, whatever its status.

        Raises:
            TransportError: There was no usable answer, or it is too large.
            RequestTimeoutError: There was none within ``request_timeout``.
            ClientStateError: The client was closed, before or meanwhile.
        """
        session = self.ready()
        await self._take_turn()
        try:
            return await self._limited(
                request,
                "request_timeout",
                partial(self._exchange, session, request, url, headers),
            )
        finally:
            self._places.release()

    async def _exchange(
        self, session: aiohttp.ClientSession, request: Request, url: str, headers: Mapping[str, str]
    ) -> Answer:
        with_key = {**headers, "Authorization": await self._keys.bearer()}
        opened = self._open(
            session, request.method, url, with_key, request.body, proxy=self._api_proxy
        )
        async with opened as response:
            body, most = bytearray(), self._options.max_body_bytes
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > most:
                    raise TransportError(
                        f"{request}: the answer is larger than max_body_bytes ({most:,} bytes)"
                    )
        return self._keys.scrubbed(
            Answer(status=response.status, headers=response.headers, body=bytes(body))
        )

    @asynccontextmanager
    async def stream(
        self,
        what: str,
        method: str,
        url: Secret,
        *,
        headers: Mapping[str, str],
        body: Body | None,
        at_api: bool,
    ) -> AsyncIterator[Stream]:
        """Send one request, and yield the answer, its body still to be read.

        Args:
            what: Names the request in the text of an error.
            method: The HTTP method.
            url: Sent as it is. A URL of yarl's would show its query among a traceback's locals.
            headers: To send.
            body: What to send.
            at_api: Whether the request goes to the API, and so carries the key and waits for the
                gate.

        Raises:
            TransportError: There was no answer.
            RequestTimeoutError: Nothing moved for ``transfer_timeout`` seconds.
            ClientStateError: The client is closed, or belongs to another loop.
            Exception: What the body raised while it was read, as it is.
        """
        session = self.ready()
        await (self._take_turn() if at_api else self._acquire(self._places))

        async def begin() -> aiohttp.ClientResponse:
            key = {"Authorization": await self._keys.bearer()} if at_api else {}
            proxy = self._proxies.proxy_for(URL(url, encoded=True).origin())
            response: aiohttp.ClientResponse = await self._open(
                session, method, url, {**headers, **key}, body, proxy=proxy
            )
            return response

        try:
            response = await self._begun(what, begin, body)
            try:
                bounded = partial(self._limited, what, "transfer_timeout")
                yield Stream(response, bounded, at_api=at_api)
            finally:
                # Nothing is awaited here; a connection whose body was not read is closed.
                response.release()
        finally:
            self._places.release()

    async def _begun(
        self,
        what: str,
        begin: Callable[[], Awaitable[aiohttp.ClientResponse]],
        body: Body | None,
    ) -> aiohttp.ClientResponse:
        try:
            return await self._limited(what, "transfer_timeout", begin, body)
        except TransportError:
            # The connection failed because the data did.
            if body is None or body.error is None:
                raise
            error = body.error
        raise error

    def _open(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | Body | None,
        *,
        proxy: str | None,
    ) -> Any:
        """Begin a request, redirects not followed; await it, or enter it, for the answer."""
        # Both may have been closed while the request waited for its turn or for the key.
        self._check_open()
        _check_usable(session)
        return session.request(
            method if method == "GET" else _SentOnce(method),
            URL(url, encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
            raise_for_status=False,
            proxy=proxy,
            ssl=self._options.ssl,
            timeout=self._timeout,
        )

    # --- Whose turn it is -----------------------------------------------------------------------

    async def _take_turn(self) -> None:
        """Take one of ``max_connections``, at a moment at which the gate lets a request pass."""
        # One at a time: a task that leaves the line, cancelled, leaves no gap in it.
        await self._acquire(self._line)
        try:
            loop = asyncio.get_running_loop()
            while True:
                await self._acquire(self._places)
                if self.gate.let_pass(loop.time()):
                    return
                self._places.release()
                await self.sleep_until(self.gate.passes_at)
        finally:
            self._line.release()

    async def _acquire(self, semaphore: asyncio.Semaphore) -> None:
        """Wait for the line, or for one of ``max_connections``; closing wakes all at once.

        Raises:
            ClientStateError: The client was closed meanwhile.
        """
        self._waiting[semaphore] += 1
        try:
            await semaphore.acquire()
        finally:
            self._waiting[semaphore] -= 1
        if self.is_closed:
            semaphore.release()
            raise _closed()

    async def sleep_until(self, moment: float) -> None:
        """Wait for a moment on the loop's clock, with one timer and no task.

        Raises:
            ClientStateError: The client was closed, before or meanwhile.
        """
        self._check_open()
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

    # --- Limits of time -------------------------------------------------------------------------

    async def _limited(
        self,
        what: object,
        limit_name: str,
        step: Callable[[], Awaitable[_T]],
        body: Body | None = None,
    ) -> _T:
        """Take a step that a limit of time ends, or the closing of the client.

        Args:
            what: Names the request in the text of an error.
            limit_name: The option that has the limit, in seconds.
            step: Begins what is waited for.
            body: What it sends, if the limit begins anew with each piece that went out.

        Raises:
            TransportError: There was no usable answer.
            RequestTimeoutError: There was none in time.
            ClientStateError: The client was closed, before or meanwhile.
        """
        self._check_open()
        seconds: float = getattr(self._options, limit_name)
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits.add(limit)
                if body is not None:
                    body.on_piece = partial(self._prolong, limit, seconds)
                try:
                    return await step()
                finally:
                    self._limits.discard(limit)
        except aiohttp.ConnectionTimeoutError:
            error = self._late(what, "connect_timeout")
        except TimeoutError:
            error = self._late(what, limit_name)
        # A name of a host that IDNA cannot spell is a UnicodeError.
        except (aiohttp.ClientError, OSError, EOFError, UnicodeError) as exc:
            error = TransportError(self._keys.scrub(f"{what}: {type(exc).__name__}: {_text(exc)}"))
        self._check_open()
        raise error

    def _prolong(self, limit: asyncio.Timeout, seconds: float) -> None:
        # An answer may come, and end the step, before the body is out.
        if limit in self._limits and not (limit.expired() or self.is_closed):
            limit.reschedule(asyncio.get_running_loop().time() + seconds)

    def _late(self, what: object, limit_name: str) -> TransportError:
        seconds: float = getattr(self._options, limit_name)
        return RequestTimeoutError(f"{what}: no whole answer within {limit_name} ({seconds:g} s)")


def _check_lent(session: aiohttp.ClientSession | None) -> None:
    """Refuse a borrowed session of another loop, whose timers and sockets would never wake."""
    # aiohttp deprecated the public attribute, and gives no other.
    lent: Any = getattr(session, "_loop", None)
    if lent not in {None, asyncio.get_running_loop()}:
        raise ClientStateError(
            "the session that this client borrowed belongs to another event loop; "
            "lend it one that was made on this loop"
        )


def _check_usable(session: aiohttp.ClientSession) -> None:
    if session.closed:
        raise ClientStateError("the session that this client borrowed is closed")


def _text(exc: Exception) -> str:
    """Return an error's text on one line, without what is secret in a URL: user and query."""
    text = _USER(r"\1", " ".join(str(exc).split()))
    return _QUERY(r"\1?…", text)


def _closed() -> ClientStateError:
    return ClientStateError("the client is closed")


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class _SentOnce(str):
    """A method that aiohttp does not find among those that it repeats by itself.

    It repeats once what it takes for idempotent, when the connection breaks. For a GET that is
    welcome, but the 404 of a DELETE means another thing if an earlier one was sent, and of the data
    of an upload there may be nothing left to send; and there is no option for it.
    """

    __slots__ = ()

    def __hash__(self) -> int:
        return ~super().__hash__()

    def upper(self) -> "_SentOnce":
        return self
