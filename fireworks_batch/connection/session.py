"""One HTTP session, owned or borrowed, with its event loop, its gate and its time limits.

Errors of aiohttp can show the headers of the request, and so the key, in their repr and in the
local variables of their frames. So they are replaced by new errors, which are raised outside
``except`` and without a cause.
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

# A wait polls at least once a minute. Its connection is kept until then, to save a TLS handshake.
_KEEP_ALIVE: Final = 75.0

# The secret parts of a URL in a text: user and password, and the query, which may be a signature.
_USER: Final = re.compile(r"(\w://)[^/\s'\"@]+@").sub
_QUERY: Final = re.compile(r"(\w://[^\s'\"?]*)\?[^\s'\"]*").sub

_T = TypeVar("_T")


class Session:
    """One aiohttp session, and all tasks that wait for it.

    A request takes one of ``max_connections`` places when the gate lets it pass, and gives the
    place back at its end.

    A session belongs to the event loop on which it is first used. It owns its aiohttp session,
    unless that is borrowed. `aclose` ends it.
    """

    def __init__(self, options: ClientOptions, keys: KeySource) -> None:
        """Make the session; nothing is opened before the first request.

        Args:
            options: The options of the client.
            keys: Has the API key.
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

    # --- Open and close -------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the session has made an aiohttp session, and has not closed it."""
        return not self.is_closed and self._owns_session and self._session is not None

    @property
    def _owns_session(self) -> bool:
        return self._options.session is None

    async def aclose(self, wake: Callable[[], None]) -> None:
        """Close an aiohttp session that is not borrowed, and end all tasks that wait.

        Args:
            wake: Ends the waits of other rooms; called before anything is awaited here.

        Raises:
            ClientStateError: The session belongs to another event loop.
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
        """Detach an aiohttp session that was never closed, so that aiohttp does not warn too."""
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
        """Return the aiohttp session. It is made here at its first use: that needs a running loop.

        Raises:
            ClientStateError: The session is closed, or belongs to another loop.
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
        """Send a request to the API when its turn comes, and read the whole answer.

        Args:
            request: The request, which is named in the text of an error.
            url: The URL, sent unchanged.
            headers: Headers to send, besides the key.

        Returns:
            The answer, with any status.

        Raises:
            TransportError: There was no usable answer, or the answer is too large.
            RequestTimeoutError: There was no whole answer within ``request_timeout``.
            ClientStateError: The client was closed, before or during the request.
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
        """Send one request, and yield the answer before its body is read.

        Args:
            what: The name of the request, for the text of an error.
            method: The HTTP method.
            url: The URL, sent unchanged. It is not a yarl URL, whose query a traceback with local
                variables would show.
            headers: Headers to send.
            body: The body to send; None for no body.
            at_api: Whether the request goes to the API. It then has the key, and waits for the
                gate.

        Raises:
            TransportError: There was no answer.
            RequestTimeoutError: Nothing was sent or received for ``transfer_timeout`` seconds.
            ClientStateError: The client is closed, or belongs to another loop.
            Exception: An error of the body's own iterator, unchanged.
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
                # Nothing is awaited here. If the body was not read, the connection is closed.
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
            # The connection failed because the iterator of the body failed.
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
        """Begin a request without following redirects; await or enter the result for the answer."""
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

    # --- Turns of requests ----------------------------------------------------------------------

    async def _take_turn(self) -> None:
        """Take one of ``max_connections`` places when the gate lets a request pass."""
        # One task at a time waits for the gate, so that a cancelled task leaves no gap in the line.
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
        """Wait for the line, or for one of ``max_connections`` places.

        Raises:
            ClientStateError: The client was closed during the wait.
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
            ClientStateError: The client was closed, before or during the sleep.
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

    # --- Time limits ----------------------------------------------------------------------------

    async def _limited(
        self,
        what: object,
        limit_name: str,
        step: Callable[[], Awaitable[_T]],
        body: Body | None = None,
    ) -> _T:
        """Await a step, which ends at a time limit, or when the client is closed.

        Args:
            what: The name of the request, for the text of an error.
            limit_name: The option that has the limit, in seconds.
            step: Returns what to await.
            body: The body that the step sends, if the limit begins again after each piece.

        Raises:
            TransportError: There was no usable answer.
            RequestTimeoutError: There was no answer within the limit.
            ClientStateError: The client was closed, before or during the step.
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
        # A host name that IDNA cannot encode raises UnicodeError.
        except (aiohttp.ClientError, OSError, EOFError, UnicodeError) as exc:
            error = TransportError(self._keys.scrub(f"{what}: {_reason(exc)}"))
        except RuntimeError:
            # aiohttp raises it where a connection is read that `aclose` has closed.
            self._check_open()
            raise
        self._check_open()
        raise error

    def _prolong(self, limit: asyncio.Timeout, seconds: float) -> None:
        # The answer may come, and end the step, before the whole body is sent.
        if limit in self._limits and not (limit.expired() or self.is_closed):
            limit.reschedule(asyncio.get_running_loop().time() + seconds)

    def _late(self, what: object, limit_name: str) -> TransportError:
        seconds: float = getattr(self._options, limit_name)
        return RequestTimeoutError(
            f"{what}: no complete answer within {limit_name} ({seconds:g} s)"
        )


def _check_lent(session: aiohttp.ClientSession | None) -> None:
    """Refuse a borrowed session of another loop: its timers and sockets would never wake up."""
    # aiohttp deprecated the public attribute, and has no replacement.
    lent: Any = getattr(session, "_loop", None)
    if lent not in {None, asyncio.get_running_loop()}:
        raise ClientStateError(
            "the session that this client borrowed belongs to another event loop; "
            "pass a session that was made on this loop"
        )


def _check_usable(session: aiohttp.ClientSession) -> None:
    if session.closed:
        raise ClientStateError("the session that this client borrowed is closed")


def _reason(exc: Exception) -> str:
    """Return why there was no answer, on one line, without the secret parts of URLs."""
    text = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, aiohttp.ClientConnectorError) and not isinstance(
        exc, aiohttp.ClientSSLError
    ):
        number = exc.os_error.errno or 0  # below 0 if the name of the host was not found
        why = os.strerror(number) if number > 0 else exc.os_error.strerror or exc.os_error
        is_proxy = isinstance(exc, aiohttp.ClientProxyConnectionError)
        what = "the proxy was not reached" if is_proxy else "nothing was reached"
        text = f"{what} at {exc.host}:{exc.port}: {why}"
    text = _USER(r"\1", " ".join(text.split()))
    return _QUERY(r"\1?…", text)


def _closed() -> ClientStateError:
    return ClientStateError("the client is closed")


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class _SentOnce(str):
    """An HTTP method that aiohttp does not repeat by itself.

    aiohttp repeats an idempotent request once if the connection breaks, and has no option against
    this. For a GET the repeat is welcome. The 404 of a DELETE has another meaning if an earlier
    DELETE was sent. The data of an upload may be used up before a repeat.
    """

    __slots__ = ()

    def __hash__(self) -> int:
        return ~super().__hash__()

    def upper(self) -> "_SentOnce":
        return self
