"""An emulator on a clock that only a test moves, and a client that knows nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import attrs
import pytest

from fireworks_batch.emulator import Emulator

EPOCH = datetime(2026, 9, 14, 9, 0, tzinfo=UTC)
JOBS = "/v1/accounts/acme/batchInferenceJobs"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def read(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@attrs.frozen
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any


class Api:
    """Sends requests as anybody might."""

    def __init__(self, session: aiohttp.ClientSession, key: str | None) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        options["headers"] = self._headers | options.get("headers", {})
        async with self._session.request(method, path, **options) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return Reply(
                response.status,
                response.headers,
                body,
                await response.json() if is_json else None,
            )

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.send("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Reply:
        return await self.send("POST", path, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.send("DELETE", path, **options)


@attrs.frozen
class Bench:
    """An emulator, its clock, and a client with its key."""

    emulator: Emulator
    clock: Clock
    api: Api

    async def job(self, job_id: str = "nightly", **query: str) -> dict[str, Any]:
        reply = await self.api.get(f"{JOBS}/{job_id}", params=query)
        assert reply.status == 200, reply.body
        return reply.json

    async def create(self, job_id: str = "nightly", **members: Any) -> Reply:
        body = {
            "model": "accounts/fireworks/models/demo-8b",
            "inputDatasetId": "accounts/acme/datasets/reviews",
        }
        query = {"batchInferenceJobId": job_id}
        return await self.api.post(JOBS, params=query, json=body | members)


@asynccontextmanager
async def open_bench(**settings: Any) -> AsyncIterator[Bench]:
    """Run an emulator on a clock of the test's own, with a plain HTTP client beside it."""
    clock = Clock()
    # Most tests are about jobs alone; those about rows say otherwise.
    assume = {"input_dataset": "unchecked"} | settings.pop("assume", {})
    settings = {"clock": clock.read, "epoch": EPOCH, "assume": assume} | settings
    async with (
        Emulator(**settings) as emulator,
        aiohttp.ClientSession(emulator.base_url) as session,
    ):
        yield Bench(emulator, clock, Api(session, emulator.api_key))


@pytest.fixture
def make_bench() -> Callable[..., AbstractAsyncContextManager[Bench]]:
    """Open benches with settings of their own."""
    return open_bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Open a bench with the default settings."""
    async with open_bench() as opened:
        yield opened


@pytest.fixture
def epoch() -> datetime:
    """Give the emulated time at which benches begin."""
    return EPOCH


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()
