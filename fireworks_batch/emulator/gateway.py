"""Take a request to the API through key, limit and endpoint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .account_endpoints import AccountEndpoints
from .answers import Answer, answer_json
from .clock import SECOND, Instant
from .control import ControlError
from .control_endpoints import ControlEndpoints, refuse_control
from .dataset_endpoints import DatasetEndpoints
from .dataset_splitting import DatasetSplitting
from .dataset_transfers import DatasetTransfers
from .job_endpoints import JobEndpoints
from .reception import Reception
from .refusals import RefusalError, edge_refusal, status_body
from .routing import Call, Router
from .uploads import Upload
from .workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .request_log import Entry
    from .world import World

CONTROL_PREFIX: Final = "/_emulator/"
_UPLOAD: Final = ":upload"
_DATASETS: Final = "/datasets"


class Gateway:
    """Owns the routes; answers requests by what the world remembers."""

    def __init__(self, world: World) -> None:
        rules = world.setting.rules
        status = int(rules.wrong_method_status)
        self._world = world
        self._rules = rules
        self._control = Router(wrong_method_status=405)
        self._api = Router(wrong_method_status=status)
        self._workshop = Workshop(world)
        ControlEndpoints(world, self._workshop).add_to(self._control)
        for endpoints in (
            JobEndpoints(world, self._workshop),
            DatasetEndpoints(world),
            DatasetTransfers(world),
            DatasetSplitting(world),
            AccountEndpoints(world),
        ):
            endpoints.add_to(self._api)
        self._reception = Reception(
            world,
            origin="api",
            respond=self._respond,
            streams=lambda path: path.endswith(_UPLOAD),
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle one request: what aiohttp's server calls."""
        if request.path.startswith(CONTROL_PREFIX):
            return await self._reception.send(request, await self._answer_control(request))
        return await self._reception.handle(request)

    async def stop(self) -> None:
        """Wake whatever waits, and end what goes on for clients who left."""
        await self._reception.stop()
        await self._workshop.stop()

    async def _respond(self, request: web.BaseRequest, entry: Entry) -> Answer:
        try:
            return await self._dispatch(request, entry)
        except RefusalError as error:
            return error.answer()

    async def _dispatch(self, request: web.BaseRequest, entry: Entry) -> Answer:
        if not self._has_key(request.headers):
            return edge_refusal(
                int(self._rules.bad_key_status),
                "The API key you provided is invalid.",
                self._world.request_id(),
            )
        is_counted = self._rules.limited_calls == "all"
        wait = self._world.limit.take(self._world.clock.now()) if is_counted else 0
        if wait:
            return self._refuse_for_now(wait)
        endpoint, places = self._api.find(request.method, request.path)
        self._check_account(places.get("account"))
        if _DATASETS in request.path:  # some of them are made by jobs
            await self._workshop.catch_up_account(places["account"])
        if request.path.endswith(_UPLOAD):
            return await endpoint(self._call(request, places, upload=Upload(request, entry)))
        body = b""
        if request.body_exists:
            body = await request.read()
            entry.body_bytes = len(body)
        return await endpoint(self._call(request, places, body))

    async def _answer_control(self, request: web.BaseRequest) -> Answer:
        try:
            endpoint, places = self._control.find(request.method, request.path)
            return await endpoint(self._call(request, places, await request.read()))
        except ControlError as error:
            return refuse_control(error)
        except RefusalError as error:
            return error.answer()

    def _call(
        self,
        request: web.BaseRequest,
        places: Mapping[str, str],
        body: bytes = b"",
        *,
        upload: Upload | None = None,
    ) -> Call:
        return Call(request.query, body, places, request.url.host or "", upload)

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
