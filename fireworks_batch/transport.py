"""The one place that talks HTTP: the calls of `sending`, and transfers, piece by piece."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import aiohttp
from yarl import URL

from fireworks_batch import http
from fireworks_batch.calls import Request
from fireworks_batch.errors import APIStatusError, TransportError
from fireworks_batch.http import Answer
from fireworks_batch.retrying import Repeats, is_429
from fireworks_batch.sending import Sender, overlaid
from fireworks_batch.transfers import Body, Stream

__all__ = ["Transport"]

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
            asked = http.retry_after(response.headers, now=self._wall())
            hold = self._options.retry.first_rate_limit_delay if asked is None else asked
            now = self.now()
            self._gate.close(now + hold, now=now)
        if 300 <= response.status < 400:
            reason = http.redirect_reason(response.headers.get("location", ""), at_api=is_ours)
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
