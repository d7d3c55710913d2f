"""The HTTP session, owned or borrowed: its loop, its places, its limits of time, and its errors.

Foreign exceptions are raised anew, outside their ``except`` and without a cause: what aiohttp
raises can show the request's headers, and so the key, in its repr and in its frames' locals.
"""

import asyncio
import os
import re
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import aiohttp
import attrs
from yarl import URL

from fireworks_batch.connection.configuration import Proxies
from fireworks_batch.connection.streams import Body
from fireworks_batch.models.errors import ClientStateError, RequestTimeoutError, TransportError
from fireworks_batch.models.policies import RetryPolicy

__all__ = ["Session", "TransportOptions"]


_T = TypeVar("_T")


# A wait looks once a minute at least: keep its connection, and its TLS handshake, until then.
_KEEP_ALIVE: Final = 75.0


# In a text: a URL's user and password, and its query, which is a signature.
_USER: Final = re.compile(r"(\w://)[^/\s'\"@]+@").sub


_QUERY: Final = re.compile(r"(\w://[^\s'\"?]*)\?[^\s'\"]*").sub


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


class Session:
    """One aiohttp session, and everybody who waits for something of it.

    Belongs to the event loop that it is first used on. Owns the session unless it is borrowed,
    and ends with `aclose`.
    """

    def __init__(self, options: TransportOptions, scrub: Callable[[str], str]) -> None:
        """Make it; nothing is opened before the first request.

        Args:
            options: How to talk.
            scrub: Takes secrets out of the text of an error.
        """
        self._options = options
        self._scrub = scrub
        self._proxies = Proxies(setting=options.proxy)
        self._proxies.proxy_for(URL(options.base_url))  # what is wrong with it is said at once
        connect = options.connect_timeout
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)
        self._slots = asyncio.Semaphore(options.max_connections)
        self._waiting = 0
        self._session = options.session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._sleepers: set[asyncio.Future[None]] = set()
        self._limits: set[asyncio.Timeout] = set()
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
    def _owns_session(self) -> bool:
        return self._options.session is None

    async def aclose(self, wake: Callable[[], None]) -> None:
        """Close the session if it is its own, and wake whoever sleeps or waits for an answer.

        Args:
            wake: Wakes whoever waits elsewhere; called before anything is waited for.

        Raises:
            ClientStateError: It belongs to another event loop.
        """
        if self._is_closed:
            return
        loop = self._bind()
        self._is_closed = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_exception(_closed())
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(loop.time())
        for _ in range(self._waiting):
            self._slots.release()
        wake()
        if self._session is not None and self._owns_session:
            await self._session.close()

    def abandon(self) -> None:
        """Let go of a session that nobody closed, so that the only warning of it is our own."""
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

    def ready(self) -> aiohttp.ClientSession:
        """Return the session, made at its first use since that needs a running loop.

        Raises:
            ClientStateError: It is closed, or belongs to another loop.
        """
        if self._is_closed:
            raise _closed()
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
        if self._session.closed:
            raise ClientStateError("the session that this client borrowed is closed")
        return self._session

    # --- Waiting for something of it ------------------------------------------------------------

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

    async def acquire(self) -> None:
        """Stand in line for one of ``max_connections``, which `release` gives back.

        Raises:
            ClientStateError: The client was closed, before or meanwhile.
        """
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            self.ready()
        except ClientStateError:
            self.release()
            raise

    def release(self) -> None:
        """Give a connection's place to the next in line."""
        self._slots.release()

    def open(self, method: str, url: URL, *, headers: Mapping[str, str], data: Any = None) -> Any:
        """Send a request, redirects not followed; await it, or enter it, for the answer."""
        return self.ready().request(
            method if method == "GET" else _SentOnce(method),
            url,
            headers=headers,
            data=data,
            allow_redirects=False,
            raise_for_status=False,
            proxy=self._proxies.proxy_for(url),
            ssl=self._options.ssl,
            timeout=self._timeout,
        )

    async def bounded(
        self,
        what: str,
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
        if self._is_closed:
            raise _closed()
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
            error = TransportError(self._scrub(f"{what}: {type(exc).__name__}: {_text(exc)}"))
        raise _closed() if self.is_closed else error

    def _prolong(self, limit: asyncio.Timeout, seconds: float) -> None:
        # An answer may come, and end the step, before the body is out.
        if limit in self._limits and not (limit.expired() or self._is_closed):
            limit.reschedule(asyncio.get_running_loop().time() + seconds)

    def _late(self, what: str, limit_name: str) -> TransportError:
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
