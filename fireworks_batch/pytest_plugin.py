"""Fixtures for tests of code that uses this library: an emulator, and a client of the emulator.

Switch the fixtures on in the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["fireworks_batch.pytest_plugin"]

A test that asks for ``fireworks_emulator`` can run your code unchanged. The API key, the account,
the base URL and the time scale are set in the environment, where `BatchClient` finds them. The
emulator runs in its own thread. So the test may be synchronous, or a test of any async plugin.
"""

import asyncio
import contextlib
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import pytest

from fireworks_batch.client import BatchClient
from fireworks_batch.emulator import Emulator

__all__ = ["fireworks_client", "fireworks_emulator", "fireworks_emulator_options"]


_T = TypeVar("_T")


_P = ParamSpec("_P")


_pytest_asyncio = sys.modules.get("pytest_asyncio")


# The strict mode of pytest-asyncio needs its own decorator for an async fixture. AnyIO takes the
# decorator of pytest.
_async_fixture: Callable[[Callable[..., Any]], Callable[..., Any]] = (
    _pytest_asyncio.fixture if _pytest_asyncio else pytest.fixture
)


# A job of an hour takes six seconds of a test, and a slow machine still keeps up.
_SPEED = 600.0


@pytest.fixture(scope="session")
def fireworks_emulator_options() -> Mapping[str, Any]:
    """Return the arguments of the `Emulator`: ``{"speed": 600.0}``.

    Define a fixture of the same name in your ``conftest.py`` to change them, for instance
    ``return {"speed": 1200.0, "assume": {"retry_after": "seconds"}}``. The scope is the session.
    """
    return {"speed": _SPEED}


@pytest.fixture
def fireworks_emulator(
    _fireworks_emulator_server: "_EmulatorElsewhere",
    fireworks_emulator_options: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Emulator:
    """Return the running emulator, without jobs and datasets, and set the environment to it.

    ``FIREWORKS_API_KEY``, ``FIREWORKS_ACCOUNT_ID`` and ``FIREWORKS_BASE_URL`` name the emulator.
    ``FIREWORKS_BATCH_TIME_SCALE`` is 1 divided by its speed. All four are reset after the test.
    One emulator serves the whole session: each test finds it empty. The test may call its methods
    from any thread, and await its coroutines in the test's own event loop.
    """
    emulator = _fireworks_emulator_server
    _result(_begin_anew(emulator), emulator.home)
    monkeypatch.setenv("FIREWORKS_API_KEY", emulator.api_key)
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", emulator.account_id)
    monkeypatch.setenv("FIREWORKS_BASE_URL", emulator.base_url)
    scale = 1 / fireworks_emulator_options.get("speed", 1.0)
    monkeypatch.setenv("FIREWORKS_BATCH_TIME_SCALE", repr(scale))
    return emulator


@_async_fixture
async def fireworks_client(fireworks_emulator: Emulator) -> AsyncIterator[BatchClient]:
    """Yield a `BatchClient` of the emulator, and close the client after the test.

    The fixture is asynchronous. It needs pytest-asyncio.
    """
    client = BatchClient(base_url=fireworks_emulator.base_url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture(scope="session")
def _fireworks_emulator_server(
    fireworks_emulator_options: Mapping[str, Any],
) -> Iterator["_EmulatorElsewhere"]:
    """Yield one server for all tests. A new server for each test would take too long."""
    with _loop_in_a_thread() as loop:
        emulator = _EmulatorElsewhere(loop, **fireworks_emulator_options)
        _result(emulator.__aenter__(), loop)
        try:
            yield emulator
        finally:
            _result(emulator.__aexit__(None, None, None), loop)


class _EmulatorElsewhere(Emulator):
    """An emulator whose public methods run in the thread of its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(**options)
        self.home = loop

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not inspect.ismethod(value):
            return value
        home = super().__getattribute__("home")
        return _carried(value, home) if _running_loop() is not home else value


async def _begin_anew(emulator: Emulator) -> None:
    """Forget everything. The restart drops requests that the last test has sent late."""
    await emulator.stop()
    await emulator.start()
    emulator.reset()


def _carried(method: Callable[_P, Any], home: asyncio.AbstractEventLoop) -> Callable[_P, Any]:
    async def carry(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        return method(*args, **kwargs)

    def call(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        return _result(carry(*args, **kwargs), home)

    def call_async(*args: _P.args, **kwargs: _P.kwargs) -> Awaitable[Any]:
        future = asyncio.run_coroutine_threadsafe(method(*args, **kwargs), home)
        return asyncio.wrap_future(future)

    return call_async if inspect.iscoroutinefunction(method) else call


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _result(work: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()


@contextlib.contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="fireworks-emulator", daemon=True)
        thread.start()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
