"""Take a request through log, fault, key, limit and endpoint, and answer it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .account_endpoints import AccountEndpoints
from .answers import Answer, answer_json
from .clock import SECOND, Instant
from .control import ControlError
from .control_endpoints import ControlEndpoints, refuse_control
from .fault_actions import reset_connection, send_part, spoilt_answer
from .job_endpoints import JobEndpoints
from .refusals import RefusalError, edge_refusal, status_body
from .routing import Call, Router

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .faults import Fault
    from .request_log import Entry
    from .world import World

CONTROL_PREFIX: Final = "/_emulator/"


class Gateway:
    """Owns the routes; answers requests by what the world remembers."""

    def __init__(self, world: World) -> None:
        rules = world.setting.rules
        status = int(rules.wrong_method_status)
        self._world = world
        self._rules = rules
        self._stopping = asyncio.Event()
        self._delayed: set[asyncio.Task[Answer]] = set()
        self._control = Router(wrong_method_status=405)
        self._api = Router(wrong_method_status=status)
        ControlEndpoints(world).add_to(self._control)
        JobEndpoints(world).add_to(self._api)
        AccountEndpoints(world).add_to(self._api)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request: what aiohttp's server calls."""
        if request.path.startswith(CONTROL_PREFIX):
            return self._respond(await self._answer_control(request))
        entry = self._world.log.open(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body_bytes=request.content_length or 0,
        )
        fault = self._world.faults.strike(request.method, request.path)
        if fault is None:
            return self._respond(await self._answer(request, entry))
        entry.fault = fault.action
        return await self._suffer(fault, request, entry)

    async def stop(self) -> None:
        """Wake whatever waits, and end what goes on for clients who left."""
        self._stopping.set()
        delayed = list(self._delayed)
        for task in delayed:
            task.cancel()
        if delayed:
            await asyncio.wait(delayed)

    async def _suffer(
        self, fault: Fault, request: web.BaseRequest, entry: Entry
    ) -> web.StreamResponse:
        match fault.action:
            case "status" | "html" | "garbage":
                answer = spoilt_answer(fault)
                entry.status = answer.status
                return self._respond(answer)
            case "hang":
                await self._wait(fault.seconds)
            case "drop_answer":
                await self._answer(request, entry)
                entry.status = None
            case "delay":
                return self._respond(await self._answer_late(fault, request, entry))
            case "truncate":
                answer = await self._answer(request, entry)
                return await send_part(request, self._headers(answer), answer, fault.bytes)
            case _:  # reset
                pass
        return reset_connection(request)

    async def _answer_late(self, fault: Fault, request: web.BaseRequest, entry: Entry) -> Answer:
        """Answer after a while, and do the work also for a client who has left meanwhile."""
        await request.read()

        async def work() -> Answer:
            await self._wait(fault.seconds)
            return await self._answer(request, entry)

        task = asyncio.create_task(work())
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)
        return await asyncio.shield(task)

    async def _wait(self, seconds: float | None) -> None:
        """Wait *seconds* of the loop's time, less if the emulator stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _answer(self, request: web.BaseRequest, entry: Entry) -> Answer:
        try:
            answer = await self._dispatch(request, entry)
        except RefusalError as error:
            answer = error.answer()
        entry.status = answer.status
        return answer

    async def _dispatch(self, request: web.BaseRequest, entry: Entry) -> Answer:
        if not self._has_key(request.headers):
            return edge_refusal(
                int(self._rules.bad_key_status),
                "The API key you provided is invalid.",
                self._world.request_id(),
            )
        wait = self._world.limit.take(self._world.clock.now())
        if wait:
            return self._refuse_for_now(wait)
        endpoint, places = self._api.find(request.method, request.path)
        self._check_account(places.get("account"))
        body = b""
        if request.body_exists:
            body = await request.read()
            entry.body_bytes = len(body)
        return await endpoint(Call(request.query, body, places))

    async def _answer_control(self, request: web.BaseRequest) -> Answer:
        try:
            endpoint, places = self._control.find(request.method, request.path)
            return await endpoint(Call(request.query, await request.read(), places))
        except ControlError as error:
            return refuse_control(error)
        except RefusalError as error:
            return error.answer()

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        key = self._world.setting.api_key
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        return (scheme.lower() == "bearer" and given == key) or headers.get("X-Api-Key") == key

    def _check_account(self, account_id: str | None) -> None:
        if account_id is None or self._world.setting.has_account(account_id):
            return
        if self._rules.foreign_account == "404":
            raise RefusalError("NOT_FOUND", "resource not found")
        raise RefusalError("PERMISSION_DENIED", f"no access to account {account_id!r}")

    def _refuse_for_now(self, wait: Instant) -> Answer:
        clock = self._world.clock
        seconds = max(1, math.ceil(wait / SECOND / clock.speed))
        headers = {}
        if self._rules.retry_after == "seconds":
            headers = {"Retry-After": str(seconds)}
        elif self._rules.retry_after == "date":
            headers = {"Retry-After": clock.http_date(clock.now() + seconds * SECOND)}
        body = status_body("RESOURCE_EXHAUSTED", "rate limit exceeded")
        return answer_json(body, status=429, headers=headers)

    def _headers(self, answer: Answer) -> dict[str, str]:
        clock = self._world.clock
        return {
            "Content-Type": answer.content_type,
            "Date": clock.http_date(clock.now()),
            **answer.headers,
        }

    def _respond(self, answer: Answer) -> web.Response:
        return web.Response(body=answer.body, status=answer.status, headers=self._headers(answer))
