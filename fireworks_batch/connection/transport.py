"""What is sent, to the API and to storage: calls with their repeats, transfers piece by piece."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final

from yarl import URL

from fireworks_batch.connection.configuration import ClientOptions
from fireworks_batch.connection.credentials import KeySource
from fireworks_batch.connection.repeats import CallRepeats, is_429
from fireworks_batch.connection.session import Session
from fireworks_batch.connection.streams import Body, Stream
from fireworks_batch.models.errors import APIStatusError, TransportError
from fireworks_batch.wire.answers import Answer, read_refusal, redirect_reason, retry_after
from fireworks_batch.wire.requests import Request

__all__ = ["Transport"]

_log = logging.getLogger("fireworks_batch.http")

_LONGEST_REFUSAL: Final = 64 * 1024

# Control characters and spaces, of which aiohttp says a ValueError.
_NOT_IN_URL: Final = re.compile(r"[\x00-\x20\x7f]").search


class Transport:
    """Sends calls of the API, and opens transfers, over a session that it does not own."""

    def __init__(
        self,
        session: Session,
        options: ClientOptions,
        *,
        keys: KeySource,
        user_agent: str,
        draw: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        """Make it; nothing is opened before the first request.

        Args:
            session: What it sends with.
            options: How to talk.
            keys: Knows the API key.
            user_agent: Who asks.
            draw: Returns a random number from 0 up to 1, for jitter.
            wall: Returns the time of day, aware, for a Retry-After that is a date.
        """
        self._session = session
        self._options = options
        self._keys = keys
        self._user_agent = user_agent
        self._draw = draw
        self._wall = wall
        self._base = URL(options.base_url)
        accepts = {"User-Agent": user_agent, "Accept": "application/json"}
        self._fixed_headers = _overlaid(accepts, options.headers)
        self._json_headers = {**self._fixed_headers, "Content-Type": "application/json"}

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
        repeats = self.repeats(request)
        return await repeats.run(partial(self.send_once, request, repeats=repeats))

    async def send_once(
        self, request: Request, *, pause: float | None = None, repeats: CallRepeats | None = None
    ) -> Answer:
        """Send a call once, as soon as the gate is open and a connection is free.

        Args:
            request: What to send.
            pause: Seconds for which a 429 without a Retry-After closes the gate; None: not at all.
            repeats: What pays for the time at the gate, if this is one attempt of several.

        Returns:
            The 2xx answer.

        Raises:
            APIStatusError: The server says no.
            RateLimitError: The gate stays closed for longer than *repeats* can pay for.
            TransportError: There was no usable answer.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        if repeats is not None:
            repeats.spend_on_gate()
        url = f"{self._options.base_url}{request.path}"
        answer = await self._session.fetch(
            request,
            URL(f"{url}?{request.query}" if request.query else url, encoded=True),
            headers=self._fixed_headers if request.body is None else self._json_headers,
        )
        _log.debug("%s: %d, %d bytes", request, answer.status, len(answer.body))
        error = None if 200 <= answer.status < 300 else self._refusal(request, answer)
        if error is None:
            return answer
        hold = pause if error.retry_after is None else error.retry_after
        if is_429(error) and hold is not None:
            now = _now()
            self._session.gate.close(now + hold, now=now)
        raise error

    def _refusal(self, request: Request, answer: Answer) -> APIStatusError | None:
        return read_refusal(request, answer, now=self._wall(), scrub=self._keys.scrub)

    # --- Repeats --------------------------------------------------------------------------------

    def repeats(self, request: Request) -> CallRepeats:
        """Return what one call, or one transfer, may cost in repeats.

        Args:
            request: What is repeated, to be named; and whether it may be.
        """
        return CallRepeats(
            request,
            self._options.retry,
            self._session.gate,
            clock=asyncio.get_running_loop().time,
            sleep_until=self._session.sleep_until,
            draw=self._draw,
        )

    # --- Transfers ------------------------------------------------------------------------------

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
        after that. It is never repeated, not even by aiohttp: the caller can say whether ``data``
        can be had again.

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
        target = _target(method, url)
        what = f"{method} {target.origin()}{target.raw_path}"
        is_ours = not is_signed and target.origin() == self._base.origin()
        ours = self._fixed_headers if is_ours else {"User-Agent": self._user_agent}
        async with self._session.stream(
            what,
            method,
            target,
            headers=_overlaid(ours, headers or {}),
            body=None if data is None else Body(data),
            at_api=is_ours,
        ) as stream:
            self._heed(what, stream)
            yield stream

    def _heed(self, what: str, stream: Stream) -> None:
        """Close the gate after a 429 of the API's, and refuse a redirect."""
        if stream.at_api and stream.status == 429:
            asked = retry_after(stream.headers, now=self._wall())
            hold = self._options.retry.first_rate_limit_delay if asked is None else asked
            now = _now()
            self._session.gate.close(now + hold, now=now)
        if 300 <= stream.status < 400:
            reason = redirect_reason(stream.headers.get("location", ""), at_api=stream.at_api)
            raise TransportError(f"{what}: {stream.status}: {reason}")

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
        error = self._refusal(request, answer)
        if error is not None and not stream.at_api:
            error.from_storage, error.from_api = True, False
        return error


def _now() -> float:
    return asyncio.get_running_loop().time()


def _overlaid(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return headers and others, which win, however their names are spelt."""
    named = {name.lower() for name in others}
    kept = {name: value for name, value in headers.items() if name.lower() not in named}
    return {**kept, **others}


def _target(method: str, url: str) -> URL:
    """Read the URL of a transfer, without telling its query, which is a signature."""
    try:
        target = URL(url, encoded=True)
        target.origin()
        target.explicit_port  # noqa: B018  # is read only now, and may be out of range
    except ValueError:
        target = URL()
    if target.scheme in {"http", "https"} and not _NOT_IN_URL(url):
        return target
    raise TransportError(f"{method}: the URL of the transfer is no absolute http(s) URL")
