"""Receive the requests of one port: write each down, let its fault strike, send the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import web

from .answers import Answer, FileBody
from .fault_actions import reset_connection, send_part, spoilt_answer
from .watching import Exchange

if TYPE_CHECKING:
    from .faults import Fault
    from .request_log import Entry
    from .world import World

Respond: TypeAlias = "Callable[[web.BaseRequest, Entry], Awaitable[Answer]]"


_HARMLESS: Final = frozenset({None, "delay", "drop_answer", "truncate"})
"""Faults that leave the answer as it was meant."""


class Reception:
    """Owns what waits on behalf of the requests of one port.

    Args:
        world: What the emulator remembers.

        origin: What the request log calls this port.

        respond: Answers a request that meets no fault, or is not stopped by it.

        streams: Whether a request's body may be too large to be read before it is answered.
    """

    def __init__(
        self, world: World, *, origin: str, respond: Respond, streams: Callable[[str], bool]
    ) -> None:
        self._world = world
        self._origin = origin
        self._respond = respond
        self._streams = streams
        self._stopping = asyncio.Event()
        self._delayed: set[asyncio.Task[Answer]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request: what aiohttp's server calls."""
        entry = self._world.log.open(
            origin=self._origin,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body_bytes=request.content_length or 0,
        )
        fault = self._world.faults.strike(request.method, request.path)
        try:
            if fault is None:
                return await self._answer(request, entry)
            entry.fault = fault.action
            return await self._suffer(fault, request, entry)
        finally:
            self._tell(entry)

    async def stop(self) -> None:
        """Wake whatever waits, and end what goes on for clients who left."""
        self._stopping.set()
        delayed = list(self._delayed)
        for task in delayed:
            task.cancel()
        if delayed:
            await asyncio.wait(delayed)

    async def send(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        """Send an answer that nobody remembers."""
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

    async def _answer(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        return await self.send(request, await self._ask(request, entry))

    async def _ask(self, request: web.BaseRequest, entry: Entry) -> Answer:
        answer = await self._respond(request, entry)
        entry.status = answer.status
        entry.answer = answer
        return answer

    def _tell(self, entry: Entry) -> None:
        answer, entry.answer = entry.answer, None
        for watch in self._world.setting.watches:
            exchange = Exchange(
                request=self._world.log.record(entry),
                body=answer.body if answer and isinstance(answer.body, bytes) else None,
                is_genuine=not self._world.has_altered_jobs and entry.fault in _HARMLESS,
            )
            watch(exchange)

    async def _suffer(
        self, fault: Fault, request: web.BaseRequest, entry: Entry
    ) -> web.StreamResponse:
        match fault.action:
            case "status" | "html" | "garbage":
                answer = spoilt_answer(fault)
                entry.status = answer.status
                return await self.send(request, answer)
            case "hang":
                await self._wait(fault.seconds)
            case "drop_answer":
                await self._ask(request, entry)
                entry.status = None
            case "delay":
                return await self.send(request, await self._ask_late(fault, request, entry))
            case "truncate":
                answer = await self._ask(request, entry)
                return await send_part(request, self._headers(answer), answer, fault.bytes)
            case _:  # reset
                entry.body_bytes = await _read_part(request, fault.bytes)
        return reset_connection(request)

    async def _ask_late(self, fault: Fault, request: web.BaseRequest, entry: Entry) -> Answer:
        """Answer after a while, and do the work also for a client who has left meanwhile."""
        if self._streams(request.path):
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
        """Wait *seconds* of the loop's time, less if the emulator stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _headers(self, answer: Answer) -> dict[str, str]:
        clock = self._world.clock
        return {
            "Content-Type": answer.content_type,
            "Date": clock.http_date(clock.now()),
            **answer.headers,
        }


async def _read_part(request: web.BaseRequest, size: int) -> int:
    """Read *size* bytes of the body; gives how many there were, if fewer."""
    left = size
    while left > 0 and (chunk := await request.content.read(left)):
        left -= len(chunk)
    return size - left
