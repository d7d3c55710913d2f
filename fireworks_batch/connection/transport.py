"""Sends requests to the API and the storage: calls with repeats, and transfers in pieces."""

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
from fireworks_batch.models.texts import Secret
from fireworks_batch.wire.answers import Answer, read_refusal, redirect_reason, retry_after
from fireworks_batch.wire.requests import Request

__all__ = ["Transport"]

_log = logging.getLogger("fireworks_batch.http")

_LONGEST_REFUSAL: Final = 64 * 1024

# Control characters and spaces, for which aiohttp raises ValueError.
_NOT_IN_URL: Final = re.compile(r"[\x00-\x20\x7f]").search


class Transport:
    """Sends requests to the API, and opens transfers, over a session that it does not own."""

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
        """Make a transport; nothing is opened before the first request.

        Args:
            session: The session that sends.
            options: The options of the client.
            keys: Has the API key.
            user_agent: The value of the header User-Agent.
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
        """Send a request, with repeats by the retry policy.

        Args:
            request: The request. If it is not repeatable, it is repeated only after a 429.

        Returns:
            The 2xx answer.

        Raises:
            APIStatusError: The server refuses, or refused the last repeat.
            RateLimitError: The server asks for a longer wait than the policy allows.
            TransportError: There was no usable answer to the last repeat.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        repeats = self.repeats(request)
        return await repeats.run(partial(self.send_once, request, repeats=repeats))

    async def send_once(
        self, request: Request, *, pause: float | None = None, repeats: CallRepeats | None = None
    ) -> Answer:
        """Send a request once, as soon as the gate is open and a connection is free.

        Args:
            request: The request.
            pause: Seconds for which a 429 without a Retry-After closes the gate. None means that
                such a 429 does not close the gate.
            repeats: The repeats that this request is part of, whose budget is charged for the wait
                at the gate; None for a single request.

        Returns:
            The 2xx answer.

        Raises:
            APIStatusError: The server refuses.
            RateLimitError: The gate stays closed for longer than the budget of *repeats*.
            TransportError: There was no usable answer.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        if repeats is not None:
            repeats.spend_on_gate()
        url = f"{self._options.base_url}{request.path}"
        answer = await self._session.fetch(
            request,
            f"{url}?{request.query}" if request.query else url,
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
        return read_refusal(request, answer, now=self._wall())

    # --- Repeats --------------------------------------------------------------------------------

    def repeats(self, request: Request) -> CallRepeats:
        """Return the repeats of one call or one transfer.

        Args:
            request: The request, which is named in errors, and says whether it is repeatable.
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
        """Open a transfer once; its body is sent or read piece by piece.

        The whole transfer has no time limit. ``transfer_timeout`` limits the time in which nothing
        is sent or received, also if the iterator in ``data`` is slow. A transfer holds one of
        ``max_connections`` places until the end of the block. It is never repeated, not even by
        aiohttp, because only the caller knows whether ``data`` can be read again.

        A request to the API's own origin has the API key and the client's headers, and passes the
        gate: it waits for as long as the server asked, and a 429 closes the gate. A request to any
        other origin, or to a signed URL, has only ``headers`` and a User-Agent, and does not pass
        the gate.

        Args:
            method: The HTTP method.

            url: An absolute URL, sent unchanged, so that a signature stays valid. The URL is https,
                unless the API is on this machine or ``allow_insecure_http`` is set. The URL has no
                credentials.

            headers: Headers to send, which replace the client's own. aiohttp adds an
                Accept-Encoding if there is none; give ``identity`` for a file that may be resumed.
                aiohttp also adds a Content-Length or chunks.

            data: Bytes, an async iterator of bytes, or a payload or form of aiohttp. It is not
                closed here. An iterator is sent in chunks, unless ``headers`` has a Content-Length.

            is_signed: Whether the URL has a signature. A request to a signed URL never has the key,
                not even at the API's origin: a gateway may hand out URLs of its own for the
                storage.

        Yields:
            The answer, with any status but a redirect, before its body is read. The answer may come
            before the whole body is sent.

        Raises:
            TransportError: There was no answer, the answer was a redirect or broke off, or the URL
                cannot be used.
            RequestTimeoutError: Nothing was sent or received for ``transfer_timeout`` seconds.
            ClientStateError: The client is closed, or belongs to another loop.
            Exception: An error of the iterator in ``data``, unchanged.
        """
        url = Secret(url)  # before anything can raise
        place, problem = _place_of(url, allows_http=self._options.allows_http)
        if problem:
            raise TransportError(f"{method}: the URL of the transfer{problem}")
        what = f"{method} {place}"
        at_api = not is_signed and place.origin() == self._base.origin()
        fixed = self._fixed_headers if at_api else {"User-Agent": self._user_agent}
        async with self._session.stream(
            what,
            method,
            url,
            headers=_overlaid(fixed, headers or {}),
            body=None if data is None else Body(data),
            at_api=at_api,
        ) as stream:
            self._heed(what, stream)
            yield stream

    def _heed(self, what: str, stream: Stream) -> None:
        """Close the gate after a 429 of the API, and refuse a redirect."""
        if stream.at_api and stream.status == 429:
            asked = retry_after(stream.headers, now=self._wall())
            hold = self._options.retry.first_rate_limit_delay if asked is None else asked
            now = _now()
            self._session.gate.close(now + hold, now=now)
        if 300 <= stream.status < 400:
            location = self._keys.scrub(stream.headers.get("location", ""))
            reason = redirect_reason(location, at_api=stream.at_api)
            raise TransportError(f"{what}: {stream.status}: {reason}")

    async def refusal(self, request: Request, stream: Stream) -> APIStatusError | None:
        """Read the error in a transfer's answer; return None if the answer is a success.

        Args:
            request: The request, which is named in the error.
            stream: The answer, whose body is read here.

        Raises:
            TransportError: The answer broke off.
        """
        body = bytearray()
        while len(body) < _LONGEST_REFUSAL and (piece := await stream.read()):
            body += piece
        answer = Answer(status=stream.status, headers=stream.headers, body=bytes(body))
        error = self._refusal(request, self._keys.scrubbed(answer))
        if error is not None and not stream.at_api:
            error.from_storage, error.from_api = True, False
        return error


def _now() -> float:
    return asyncio.get_running_loop().time()


def _overlaid(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return headers, replaced by others of the same name; case does not matter."""
    named = {name.lower() for name in others}
    kept = {name: value for name, value in headers.items() if name.lower() not in named}
    return {**kept, **others}


def _place_of(url: str, *, allows_http: bool) -> tuple[URL, str]:
    """Return a transfer's URL without its query, which may be a signature, and what is wrong.

    Nothing is raised here, because a traceback with local variables would show the query.
    """
    nowhere = URL(), " is not an absolute http(s) URL"
    try:
        target = URL(url, encoded=True)
        place = target.origin().with_path(target.raw_path, encoded=True)
        is_usable = place.scheme in {"http", "https"} and place.port is not None
    except ValueError:  # yarl checks the port only when it is read
        return nowhere
    if not is_usable or _NOT_IN_URL(url):
        return nowhere
    if "@" in target.raw_authority:  # aiohttp would send them
        return place, f", to {place.host}, has a user or password in it"
    if place.scheme == "http" and not allows_http:
        return place, (
            f", to {place.host}, is http, which would show the rows on the way, and "
            "allow_insecure_http is not set"
        )
    return place, ""
