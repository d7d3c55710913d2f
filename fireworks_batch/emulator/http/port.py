"""One port: it logs each request, lets a fault strike it, and sends the answer."""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from fireworks_batch.emulator.http.answers import Answer, FileBody, answer_json
from fireworks_batch.emulator.http.faults import Fault, FaultBook
from fireworks_batch.emulator.http.refusals import RefusalError
from fireworks_batch.emulator.http.request_log import Entry, Exchange, RequestLog, Watch
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.members import ControlError
from fireworks_batch.emulator.setting import Setting

CONTROL_PREFIX: Final = "/_emulator/"
_HARMLESS: Final = frozenset({None, "delay", "drop_answer", "truncate"})
"""The faults that do not change the content of an answer."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Site(Protocol):
    """The part of the emulator that answers the requests to a port."""

    origin: str
    """The name of the port in the request log."""

    def streams(self, path: str) -> bool:
        """Whether a body sent to *path* may be too large to be read before the answer is made."""
        ...

    async def answer(self, request: web.BaseRequest, entry: Entry) -> Answer:
        """Answer a request."""
        ...


class Port:
    """Owns a listening socket, its connections, and the requests that wait, until `stop`.

    Args:
        setting: What all parts of the emulator share.

        log: The log of requests.

        faults: The faults that strike requests.

        site: Answers the requests.

        watches: The functions that get each request and its answer.

        control: The routes of the control protocol; None if this port has none. Control requests
            are not logged, and no fault strikes them.
    """

    def __init__(
        self,
        setting: Setting,
        log: RequestLog,
        faults: FaultBook,
        site: Site,
        *,
        watches: Sequence[Watch],
        control: Router | None = None,
    ) -> None:
        self._setting = setting
        self._log = log
        self._faults = faults
        self._site = site
        self._watches = watches
        self._control = control
        self._host = ""
        self._runner: web.ServerRunner | None = None
        self._stopping = asyncio.Event()
        self._delayed: set[asyncio.Task[Answer]] = set()

    async def start(self, host: str, number: int) -> int:
        """Listen.

        Returns:
            The number of the port. The system chooses it if *number* is 0.

        Raises:
            OSError: The port cannot be opened.
        """
        make_request = partial(web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=0)
        server = web.Server(
            self._handle,
            request_factory=make_request,
            handler_cancellation=True,
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, number).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._host = host
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Wake the requests that wait, close every connection, and stop listening."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        # A connection that was just accepted gets its handler in the next turns of the loop. A
        # connection without a handler would not be closed.
        for _ in range(5):
            await asyncio.sleep(0)
        await self._wake()
        for connection in runner.server.connections if runner.server else ():
            connection.force_close()  # a request under way is cut off
        await runner.cleanup()

    async def _wake(self) -> None:
        """Wake the requests that wait, and cancel requests whose clients have left."""
        self._stopping.set()
        delayed = list(self._delayed)
        for task in delayed:
            task.cancel()
        if delayed:
            await asyncio.wait(delayed)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request of aiohttp's server."""
        if self._control is not None and request.path.startswith(CONTROL_PREFIX):
            answer = await _answer_control(self._control, request, self._host)
            return await self._send(request, answer)
        entry = self._log.open(
            origin=self._site.origin,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body_bytes=request.content_length or 0,
        )
        fault = self._faults.strike(request.method, request.path)
        try:
            if fault is None:
                return await self._send(request, await self._ask(request, entry))
            entry.fault = fault.action
            return await self._suffer(fault, request, entry)
        finally:
            self._tell(entry)

    async def _ask(self, request: web.BaseRequest, entry: Entry) -> Answer:
        try:
            answer = await self._site.answer(request, entry)
        except RefusalError as error:
            answer = error.answer()
        entry.status = answer.status
        entry.answer = answer
        return answer

    def _tell(self, entry: Entry) -> None:
        answer, entry.answer = entry.answer, None
        for watch in self._watches:
            exchange = Exchange(
                request=self._log.record(entry),
                body=answer.body if answer and isinstance(answer.body, bytes) else None,
                is_genuine=not self._setting.has_altered_jobs and entry.fault in _HARMLESS,
            )
            watch(exchange)

    async def _suffer(
        self, fault: Fault, request: web.BaseRequest, entry: Entry
    ) -> web.StreamResponse:
        match fault.action:
            case "status" | "html" | "garbage":
                answer = fault.answer()
                entry.status = answer.status
                return await self._send(request, answer)
            case "hang":
                await self._wait(fault.seconds)
            case "drop_answer":
                await self._ask(request, entry)
                entry.status = None
            case "delay":
                return await self._send(request, await self._ask_late(fault, request, entry))
            case "truncate":
                return await self._send_part(request, await self._ask(request, entry), fault.bytes)
            case _:  # reset
                entry.body_bytes = await _read_part(request, fault.bytes)
        return _reset_connection(request)

    async def _ask_late(self, fault: Fault, request: web.BaseRequest, entry: Entry) -> Answer:
        """Answer after a delay, even if the client has left meanwhile."""
        if self._site.streams(request.path):
            await self._wait(fault.seconds)
            return await self._ask(request, entry)
        await request.read()

        async def work() -> Answer:
            await self._wait(fault.seconds)
            return await self._ask(request, entry)

        task = asyncio.create_task(work())
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)
        return await asyncio.shield(task)

    async def _wait(self, seconds: float | None) -> None:
        """Wait for *seconds* of the loop's time, or until the emulator stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _send(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        headers = self._headers(answer)
        if isinstance(answer.body, bytes):
            return web.Response(body=answer.body, status=answer.status, headers=headers)
        response = web.StreamResponse(status=answer.status, headers=headers)
        if isinstance(answer.body, FileBody):
            response.content_length = len(answer.body)
        await response.prepare(request)
        with contextlib.closing(answer.body.chunks()) as chunks:
            for chunk in chunks:
                await response.write(chunk)
        return response

    async def _send_part(
        self, request: web.BaseRequest, answer: Answer, size: int
    ) -> web.StreamResponse:
        """Announce the whole body, send at most *size* bytes of it, and close the connection."""
        body = answer.source
        response = web.StreamResponse(status=answer.status, headers=self._headers(answer))
        response.content_length = len(body)
        response.force_close()
        await response.prepare(request)
        part = body.first(max(0, min(size, len(body) - 1)))
        with contextlib.closing(part.chunks()) as chunks:
            for chunk in chunks:
                await response.write(chunk)
        return response

    def _headers(self, answer: Answer) -> dict[str, str]:
        clock = self._setting.clock
        return {
            "Content-Type": answer.content_type,
            "Date": clock.http_date(clock.now()),
            **answer.headers,
        }


def http_origin(host: str, port: int) -> str:
    """Return the URL of a port, without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_host(header: str, host: str) -> bool:
    """Whether a ``Host`` header names an emulator that listens on *host*.

    *host*, ``localhost`` and loopback addresses do. If other machines reach *host*, any IP address
    does. Another name may be a trick of a foreign page ("DNS rebinding").
    """
    try:
        name = urlsplit(f"//{header}").hostname
        if name is None:
            return False
        if name == host.lower() or is_loopback(name):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return not is_loopback(host)


def _check_caller(request: web.BaseRequest, host: str) -> None:
    """Refuse a control request from a page of another site.

    Control requests need no API key, and a browser sends them for any page.

    Raises:
        RefusalError: ``Host`` or ``Origin`` is not the emulator's own (403).
    """
    named = request.headers.getall("Host", [])
    if len(named) != 1 or not is_own_host(named[0], host):
        raise RefusalError("PERMISSION_DENIED", f"Host {', '.join(named)!r} is not the emulator's")
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{named[0]}".lower():
        raise RefusalError("PERMISSION_DENIED", f"Origin {origin!r} is not the emulator's")


async def _answer_control(router: Router, request: web.BaseRequest, host: str) -> Answer:
    try:
        _check_caller(request, host)
        endpoint, places = router.find(request.method, request.path)
        return await endpoint(Call(request.query, await request.read(), places))
    except ControlError as error:
        body = {"field": error.field, "value": error.value, "message": str(error)}
        return answer_json({"error": body}, status=400)
    except RefusalError as error:
        return error.answer()


async def _read_part(request: web.BaseRequest, size: int) -> int:
    """Read at most *size* bytes of the body, and return their number."""
    remaining = size
    while remaining > 0 and (chunk := await request.content.read(remaining)):
        remaining -= len(chunk)
    return size - remaining


def _reset_connection(request: web.BaseRequest) -> web.Response:
    """Reset the connection. The response satisfies aiohttp's server, and is not sent."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
    response = web.Response()
    response.force_close()
    return response
