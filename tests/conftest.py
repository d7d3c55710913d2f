"""What all tests share: a clean environment, an emulator, a client, and virtual time."""

import asyncio
import inspect
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import aioresponses.core
import pytest
from aiohttp import ClientResponse
from answer_schemas import problem_in
from clients import client_of
from hypothesis import HealthCheck, settings
from virtual_loop import VirtualLoop

from fireworks_batch import BatchClient
from fireworks_batch.emulator import Emulator, RowFailureError

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


def pytest_sessionstart() -> None:
    """Nobody makes an event loop by asking for one: as on Python 3.14, it is an error."""
    asyncio.set_event_loop(None)
    tempfile.gettempdir()  # is asked for once: what a test says later is for its processes


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory):
    """No setting of the machine reaches a test.

    One directory is the home of all tests: to make and remove one for each takes longer than most
    of them.
    """
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("FIREWORKS_") or name.upper().endswith("_PROXY"):
                patch.delenv(name)
        patch.setenv("HOME", home)
        patch.setenv("TMPDIR", home)  # of processes, which may be killed
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk():
    """No test can see what fsync does, which takes milliseconds each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Give a home directory of the test's own, in which it may write."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def _contract(request):
    """Each answer of each emulator keeps the contract, and no key goes to a signed URL."""
    problems = []

    def watch(exchange):
        problem = problem_in(exchange)
        if problem is not None:
            problems.append(problem)

    with Emulator.watched(watch):
        yield
    if request.node.get_closest_marker("breaks_contract") is None:
        assert problems == []
    else:
        assert problems != []


class _ResponseWithWriter(ClientResponse):
    """Supplies what aiohttp 3.14 asks for and aioresponses does not give."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def responses(monkeypatch):
    """aioresponses, on any supported aiohttp."""
    if "stream_writer" in inspect.signature(ClientResponse.__init__).parameters:
        monkeypatch.setattr(aioresponses.core, "ClientResponse", _ResponseWithWriter)
    with aioresponses.aioresponses() as mock:
        yield mock


def _answer(_: str, body: Mapping[str, Any]) -> str:
    """Say what the last message says; a row that says "fail" fails."""
    content = body["messages"][-1]["content"]
    if content == "fail":
        raise RowFailureError("the row says so")
    return content


@pytest.fixture(scope="session")
def fireworks_emulator_options():
    """The emulator of the plugin that we ship, which several tests use, five times as fast."""
    return {"speed": 3000.0, "responder": _answer}


@pytest.fixture
def full_disk():
    """Give a context in which no file of this process grows beyond so many bytes.

    It has to be over when the test is: pytest itself may be writing into a large file.
    """
    resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")

    @contextmanager
    def limited(size):
        _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def in_virtual_time():
    """Run a scenario with an emulator and a client of its own, on a loop whose time is virtual."""

    def run(scenario, *, emulator=None, client=None):
        async def main():
            async with Emulator(**{"account_id": "acme", **(emulator or {})}) as server:
                options = {"api_key": server.api_key, "base_url": server.base_url}
                options |= {"account_id": "acme", **(client or {})}
                async with BatchClient(**options) as made:
                    return await scenario(server, made)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main())

    return run


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator a thousand times as fast as the real server."""
    async with Emulator(speed=60_000, account_id="acme") as running:
        yield running


@pytest.fixture
async def client(emulator) -> AsyncIterator[BatchClient]:
    """The usual one."""
    async with client_of(emulator) as made:
        yield made
