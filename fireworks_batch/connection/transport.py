"""The one place that talks HTTP: the calls of `sending`, and transfers, piece by piece."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final

import aiohttp
from yarl import URL

from fireworks_batch.connection.credentials import KeySource
from fireworks_batch.connection.pace import Gate
from fireworks_batch.connection.repeats import Repeats, is_429
from fireworks_batch.connection.session import Session, TransportOptions
from fireworks_batch.connection.streams import Body, Stream
from fireworks_batch.models.errors import APIStatusError, TransportError
from fireworks_batch.wire.answers import Answer, read_refusal, redirect_reason, retry_after
from fireworks_batch.wire.requests import Request

__all__ = ["Sender", "Transport", "overlaid"]


_log = logging.getLogger("fireworks_batch.http")


class Sender:
    """Sends calls, with repeats by `send` or without them by `send_once`.

    Belongs to the event loop that it is first used on, and ends with `aclose`.
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
        accepts = {"User-Agent": options.user_agent, "Accept": "application/json"}
        self._fixed_headers = overlaid(accepts, options.headers)
        rate = options.max_requests_per_minute
        self._gate = Gate(60.0 / rate if rate else 0.0)
        self._line = asyncio.Lock()
        self._session = Session(options, keys.scrub)

    # --- Its life -------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._session.is_closed

    @property
    def is_open(self) -> bool:
        """Whether it holds a session of its own."""
        return self._session.is_open

    @property
    def base_url(self) -> str:
        """The API's URL, without ``/v1``."""
        return self._options.base_url

    def now(self) -> float:
        """Return the moment on the running loop's clock, in seconds."""
        return asyncio.get_running_loop().time()

    async def aclose(self, wake: Callable[[], None] = lambda: None) -> None:
        """Close the session if it is its own, and wake whoever sleeps or waits for an answer.

        Args:
            wake: Wakes whoever waits elsewhere; called before anything is waited for.

        Raises:
            ClientStateError: It belongs to another event loop.
        """
        await self._session.aclose(wake)

    def abandon(self) -> None:
        """Let go of a session that nobody closed, so that the only warning of it is our own."""
        self._session.abandon()

    async def sleep_until(self, moment: float) -> None:
        """Wait for a moment on the loop's clock, with one timer and no task.

        Raises:
            ClientStateError: The client was closed, before or meanwhile.
        """
        await self._session.sleep_until(moment)

    def check(self) -> None:
        """Raise unless something could be sent now.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
        """
        self._session.ready()

    def spacing(self) -> float:
        """Return the seconds between two requests that a rate demands; 0 if there is none."""
        return self._gate.spacing

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
                self._gate.close(again_at, now=self.now())
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
        self._session.ready()
        answer = await self._exchange_in_turn(request)
        error = self._refusal(request, answer)
        if error is None:
            return answer
        hold = pause if error.retry_after is None else error.retry_after
        if is_429(error) and hold is not None:
            now = self.now()
            self._gate.close(now + hold, now=now)
        raise error

    def _refusal(self, request: Request, answer: Answer) -> APIStatusError | None:
        return read_refusal(request, answer, now=self._wall(), scrub=self._keys.scrub)

    async def _exchange_in_turn(self, request: Request) -> Answer:
        await self._take_turn()
        try:
            return await self._session.bounded(
                str(request), "request_timeout", partial(self._exchange, request)
            )
        finally:
            self._session.release()

    async def _take_turn(self) -> None:
        """Take one of ``max_connections``, at a moment at which the gate lets a request pass."""
        if self._gate.spacing:
            # One at a time: who leaves the line, cancelled, leaves no gap in it.
            async with self._line:
                await self._pass_gate()
        else:
            await self._pass_gate()

    async def _pass_gate(self) -> None:
        while True:
            await self._session.sleep_until(self._gate.passes_at)
            await self._session.acquire()
            # The gate may have closed while this call stood in line.
            if self._gate.let_pass(self.now()):
                return
            self._session.release()

    async def _exchange(self, request: Request) -> Answer:
        headers = await self._headers(has_body=request.body is not None)
        url = self._url(request)
        opened = self._session.open(request.method, url, headers=headers, data=request.body)
        async with opened as response:
            body = await self._read(request, response)
        _log.debug("%s: %d, %d bytes", request, response.status, len(body))
        return Answer(status=response.status, headers=response.headers, body=body)

    async def _headers(self, *, has_body: bool) -> dict[str, str]:
        kind = {"Content-Type": "application/json"} if has_body else {}
        return {**self._fixed_headers, **kind, **await self._authorization()}

    async def _authorization(self) -> dict[str, str]:
        return {"Authorization": await self._keys.bearer()}

    def _url(self, request: Request) -> URL:
        url = f"{self._options.base_url}{request.path}"
        return URL(f"{url}?{request.query}" if request.query else url, encoded=True)

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


def overlaid(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return headers and others, which win, however their names are spelt."""
    named = {name.lower() for name in others}
    kept = {name: value for name, value in headers.items() if name.lower() not in named}
    return {**kept, **others}


_LONGEST_REFUSAL: Final = 64 * 1024


class Transport(Sender):
    """Sends what a client has to send: `send`, `send_once`, `stream`.

    Belongs to the event loop that it is first used on, and ends with `aclose`.
    """

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        is_signed: bool = False,
    ) -> AsyncIterator[Stream]:
        """Open a transfer, once: its body is sent, or read, piece by piece.

        It has no limit of time but one on standing still, ``transfer_timeout``, which begins anew
        with each piece that goes out or comes in; a piece that the iterator in ``data`` is slow to
        give counts too. It holds one of ``max_connections`` to the end of the block, and nothing
        after that. It is never repeated, not even by aiohttp: whoever calls can say whether
        ``data`` can be had again.

        To the API's own origin go the API key and the client's headers, and such a request passes
        the gate, as a call does: it waits there for as long as the server asked, and a 429 closes
        it. To any other origin, and to a signed URL, go ``headers`` and a User-Agent, and there is
        no gate.

        Args:
            method: The HTTP method.

            url: An absolute URL, sent as it is: a signature stays good.

            headers: To send; they come before ours. aiohttp adds an Accept-Encoding unless there
                is one (``identity`` for what is to be continued by its bytes), and a
                Content-Length or chunks.

            data: Bytes, an async iterator of bytes, or any payload or form of aiohttp's. It is not
                closed here. An iterator is sent in chunks unless ``headers`` has its
                Content-Length.

            is_signed: Whether the URL has its signature, and so gets no key, whatever its origin:
                a gateway may hand out URLs of its own for the storage's.

        Yields:
            The answer, whatever its status, its body still to be read; it may come before all was
            sent. A redirect is no answer.

        Raises:
            TransportError: There was no answer, or a redirect, or it broke off, or the URL cannot
                be used.
            RequestTimeoutError: Nothing moved for ``transfer_timeout`` seconds.
            ClientStateError: The client is closed, or belongs to another loop.
            Exception: What ``data`` raised while it was read, as it is.
        """
        self._session.ready()
        target = _target(method, url)
        what = f"{method} {target.origin()}{target.raw_path}"
        is_ours = not is_signed and target.origin() == self._base.origin()
        await (self._take_turn() if is_ours else self._session.acquire())
        try:
            body = None if data is None else Body(data)
            begin = partial(self._begin, method, target, headers or {}, body, is_ours=is_ours)
            response = await self._sent(what, begin, body)
            try:
                self._heed(what, response, is_ours=is_ours)
                yield Stream(response, partial(self._session.bounded, what, "transfer_timeout"))
            finally:
                # Nothing is awaited here; a connection whose body was not read is closed.
                response.release()
        finally:
            self._session.release()

    async def _begin(
        self,
        method: str,
        target: URL,
        headers: Mapping[str, str],
        body: Body | None,
        *,
        is_ours: bool,
    ) -> aiohttp.ClientResponse:
        sent = overlaid({"User-Agent": self._options.user_agent}, headers)
        if is_ours:
            sent = {**overlaid(self._fixed_headers, headers), **await self._authorization()}
        response: aiohttp.ClientResponse = await self._session.open(
            method, target, headers=sent, data=body
        )
        return response

    async def _sent(
        self,
        what: str,
        begin: Callable[[], Awaitable[aiohttp.ClientResponse]],
        body: Body | None,
    ) -> aiohttp.ClientResponse:
        try:
            return await self._session.bounded(what, "transfer_timeout", begin, body)
        except TransportError:
            # The connection failed because the data did.
            if body is None or body.error is None:
                raise
            error = body.error
        raise error

    def _heed(self, what: str, response: aiohttp.ClientResponse, *, is_ours: bool) -> None:
        """Close the gate after a 429 of the API's, and refuse a redirect."""
        if is_ours and response.status == 429:
            asked = retry_after(response.headers, now=self._wall())
            hold = self._options.retry.first_rate_limit_delay if asked is None else asked
            now = self.now()
            self._gate.close(now + hold, now=now)
        if 300 <= response.status < 400:
            reason = redirect_reason(response.headers.get("location", ""), at_api=is_ours)
            raise TransportError(f"{what}: {response.status}: {reason}")

    async def refusal(self, request: Request, stream: Stream) -> APIStatusError | None:
        """Read what a transfer's answer says no with; None if it says yes.

        Args:
            request: What was asked, to be named.
            stream: The answer; its body is used up.

        Raises:
            TransportError: The answer broke off.
        """
        body = bytearray()
        while len(body) < _LONGEST_REFUSAL and (piece := await stream.read()):
            body += piece
        answer = Answer(status=stream.status, headers=stream.headers, body=bytes(body))
        return self._refusal(request, answer)

    def repeats(self, request: Request) -> Repeats:
        """Return what a transfer may cost that `pause` is to repeat."""
        return Repeats(request, self._options.retry, self._draw)

    async def pause(self, repeats: Repeats, error: APIStatusError | TransportError) -> None:
        """Wait until a transfer may be tried again.

        Args:
            repeats: What it may still cost.
            error: What the last attempt failed with.

        Raises:
            FireworksBatchError: The error, if it is not to be repeated.
            ClientStateError: The client was closed.
        """
        wait = repeats.wait_after(error)
        if is_429(error):
            repeats.spend_on_gate(wait)
        await self.sleep_until(self.now() + wait)


def _target(method: str, url: str) -> URL:
    """Read the URL of a transfer, without telling its query, which is a signature."""
    try:
        target = URL(url, encoded=True)
        target.origin()
    except ValueError:
        target = URL()
    if target.scheme in {"http", "https"}:
        return target
    raise TransportError(f"{method}: the URL of the transfer is no absolute http(s) URL")
