"""Calls of the API: each a JSON request with its repeats, behind the one gate of the account."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import aiohttp
from yarl import URL

from fireworks_batch import http
from fireworks_batch.calls import Request
from fireworks_batch.errors import APIStatusError, TransportError
from fireworks_batch.http import Answer
from fireworks_batch.keys import KeySource
from fireworks_batch.pacing import Gate
from fireworks_batch.retrying import Repeats, is_429
from fireworks_batch.session import Session, TransportOptions

__all__ = ["Sender", "overlaid"]

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
        return http.read_refusal(request, answer, now=self._wall(), scrub=self._keys.scrub)

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
