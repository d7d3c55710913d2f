"""The gateway of the API: it checks key, request limit and account, and calls the endpoint."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from fireworks_batch.emulator.clock import SECOND, Instant
from fireworks_batch.emulator.http.answers import Answer, answer_json
from fireworks_batch.emulator.http.refusals import RefusalError, edge_refusal, status_body
from fireworks_batch.emulator.http.request_log import Entry
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.http.uploads import Upload
from fireworks_batch.emulator.setting import Setting

_MINUTE: Final = 60 * SECOND


class RateLimit:
    """A limit of requests in any emulated minute. Refused requests do not count."""

    def __init__(self, requests_per_minute: int | None) -> None:
        self._most = requests_per_minute
        self._taken: deque[Instant] = deque()

    def reset(self) -> None:
        """Forget the requests so far."""
        self._taken.clear()

    def take(self, now: Instant) -> Instant:
        """Return 0 if a request may pass, or the emulated time until the next request may pass."""
        if self._most is None:
            return 0
        while self._taken and self._taken[0] <= now - _MINUTE:
            self._taken.popleft()
        if len(self._taken) < self._most:
            self._taken.append(now)
            return 0
        return self._taken[0] + _MINUTE - now


class Gateway:
    """Answers the requests to the API's port.

    Args:
        setting: What all parts of the emulator share.

        limit: The account's request limit.

        router: The routes of the API.
    """

    origin = "api"

    def __init__(self, setting: Setting, limit: RateLimit, router: Router) -> None:
        self._setting = setting
        self._rules = setting.rules
        self._limit = limit
        self._router = router

    def streams(self, path: str) -> bool:
        """Whether a body sent to *path* may be too large to be read before the answer is made."""
        return path.endswith(":upload")

    async def answer(self, request: web.BaseRequest, entry: Entry) -> Answer:
        """Answer one request.

        Raises:
            RefusalError: The server would refuse the request.
        """
        if not self._has_key(request.headers):
            return edge_refusal(
                int(self._rules.bad_key_status),
                "The API key you provided is invalid.",
                self._setting.request_id(),
            )
        is_counted = self._rules.limited_calls == "all"
        wait = self._limit.take(self._setting.clock.now()) if is_counted else 0
        if wait:
            return self._refuse_for_now(wait)
        endpoint, places = self._router.find(request.method, request.path)
        self._check_account(places.get("account"))
        body, upload = b"", None
        if self.streams(request.path):
            upload = Upload(request, entry)
        elif request.body_exists:
            body = await request.read()
            entry.body_bytes = len(body)
        return await endpoint(Call(request.query, body, places, request.url.host or "", upload))

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        key = self._setting.api_key
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        return (scheme.lower() == "bearer" and given == key) or headers.get("X-Api-Key") == key

    def _check_account(self, account_id: str | None) -> None:
        if account_id is None or self._setting.has_account(account_id):
            return
        if self._rules.foreign_account == "404":
            raise RefusalError("NOT_FOUND", "resource not found")
        raise RefusalError("PERMISSION_DENIED", f"no access to account {account_id!r}")

    def _refuse_for_now(self, wait: Instant) -> Answer:
        clock = self._setting.clock
        seconds = max(1, math.ceil(wait / SECOND / clock.speed))
        headers = {}
        if self._rules.retry_after == "seconds":
            headers = {"Retry-After": str(seconds)}
        elif self._rules.retry_after == "date":
            headers = {"Retry-After": clock.http_date(clock.now() + seconds * SECOND)}
        body = status_body("RESOURCE_EXHAUSTED", "rate limit exceeded")
        return answer_json(body, status=429, headers=headers)
