"""The API key is seen by the API's own origin, and nowhere else."""

import asyncio
import logging
import traceback

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fireworks_batch import (
    BatchClient,
    ConfigurationError,
    FireworksBatchError,
    PollPolicy,
    RetryPolicy,
)
from fireworks_batch.connection.credentials import KeySource

KEY = "fw_very_secret_key"
ONCE = RetryPolicy(max_attempts=1, initial_delay=0, rate_limit_budget=0)


@pytest.fixture
async def server():
    """Answers each path in a way of its own; counts what it was asked on /target."""
    state = {"target": 0}

    async def answer(request):
        match request.path.rpartition("/")[2]:
            case "echo":
                body = {"code": 16, "message": f"bad key {KEY}"}
                return web.json_response(body, status=401)
            case "redirect":
                raise web.HTTPFound(f"http://{request.host}/target?key={KEY}")
            case "target":
                state["target"] += 1
                return web.Response()
            case "reset":
                request.transport.abort()
                return web.Response()
            case "garbage":
                return web.Response(text="<html>no JSON</html>", content_type="text/html")
            case "hang":
                await asyncio.sleep(30)
        return web.json_response({}, status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as running:
        running.state = state
        yield running


def make(server, **options) -> BatchClient:
    """A client of the server that repeats nothing."""
    return BatchClient(
        **{
            "api_key": KEY,
            "account_id": "acme",
            "base_url": str(server.make_url("")).rstrip("/"),
            "retry": ONCE,
            "request_timeout": 10,
            **options,
        }
    )


def everything(error: BaseException) -> str:
    """What a crash reporter would send: the chain, with the locals of all frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format()) + repr(error) + repr(error.__dict__)


@pytest.mark.parametrize("job", ["echo", "redirect", "reset", "garbage", "hang", "other"])
async def test_no_error_shows_the_key(server, caplog, job):
    """Not in its text, its attributes, its traceback with locals, or any log at DEBUG."""
    caplog.set_level(logging.DEBUG)
    async with make(server, request_timeout=0.1 if job == "hang" else 10) as client:
        with pytest.raises(FireworksBatchError) as caught:
            await client.jobs.get(job)
        shown = repr(client) + str(vars(client))
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in everything(error)
    assert KEY not in caplog.text
    assert KEY not in shown


async def test_a_redirect_is_not_followed(server):
    """The error names its host only, and its target is never asked."""
    async with make(server) as client:
        with pytest.raises(FireworksBatchError, match=r"a redirect to 127\.0\.0\.1, not"):
            await client.jobs.get("redirect")
    assert server.state["target"] == 0


async def test_a_key_in_a_waits_error_is_masked_too(server):
    """The error that ends a wait carries the reference and not the key."""
    async with make(server, poll=PollPolicy(initial_interval=0.01)) as client:
        with pytest.raises(FireworksBatchError) as caught:
            await client.jobs.wait_until_terminal("echo")
    assert caught.value.ref is not None
    assert KEY not in everything(caught.value)


async def test_cancellation_shows_no_key(server):
    """A cancelled request's traceback goes through aiohttp's frames; their locals are masked."""
    async with make(server, request_timeout=5) as client:
        task = asyncio.create_task(client.jobs.get("hang"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert KEY not in everything(caught.value)


async def test_a_key_function_that_fails_keeps_its_text_to_itself(server):
    """What it raised may hold the key."""

    def ask() -> str:
        raise ValueError(f"vault said {KEY}")

    async with make(server, api_key=ask) as client:
        with pytest.raises(FireworksBatchError, match="raised ValueError when first") as caught:
            await client.jobs.get("other")
    assert KEY not in everything(caught.value)


MALFORMED = [f"{KEY} {KEY}", f"{KEY}\nX-Evil: 1", f"{KEY}é"]


@pytest.mark.parametrize("key", MALFORMED)
def test_a_malformed_key_is_refused_unseen(key):
    """The text says what is wrong with it, and not what it is."""
    with pytest.raises(ConfigurationError, match="the API key has white space or") as caught:
        BatchClient(api_key=key)
    assert KEY not in everything(without_our_frame(caught.value))


@pytest.mark.parametrize("key", [*MALFORMED, KEY.encode()])
async def test_a_malformed_key_of_a_function_is_refused_unseen(key):
    """The same, when it is asked for."""
    source = KeySource(lambda: key)
    with pytest.raises(ConfigurationError, match=r"the API key (has|is bytes)") as caught:
        await source.bearer()
    assert KEY not in everything(without_our_frame(caught.value))


def without_our_frame(error: BaseException) -> BaseException:
    """The error as the library raised it: the caller's own locals are the caller's business."""
    return error.with_traceback(error.__traceback__.tb_next)


@pytest.mark.parametrize(
    "options",
    [
        {"request_timeout": 0},
        {"account_id": "a/b"},
        {"base_url": "nowhere"},
        {"headers": {"X": 3}},
        {"poll": 3},
    ],
)
@pytest.mark.parametrize("source", ["argument", "environment", "file"])
def test_a_refused_configuration_shows_no_key(monkeypatch, home, options, source):
    """Wherever the key came from, no local of ours shows it."""
    if source == "environment":
        monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    if source == "file":
        store(home, f"api_key = {KEY}\n".encode())
    given = {"api_key": KEY} if source == "argument" else {}
    with pytest.raises(ConfigurationError) as caught:
        BatchClient(**given, **options)
    assert KEY not in everything(without_our_frame(caught.value))


@pytest.mark.parametrize("name", ["BATCH_TIME_SCALE", "BASE_URL", "ACCOUNT_ID"])
def test_a_malformed_variable_shows_no_other(monkeypatch, name):
    """The key stands beside it in the environment."""
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setenv(f"FIREWORKS_{name}", "%/")
    with pytest.raises(ConfigurationError, match="%/") as caught:
        BatchClient()
    assert KEY not in everything(without_our_frame(caught.value))


def store(home, text: bytes) -> None:
    """Write the vendor's file."""
    (home / ".fireworks").mkdir()
    (home / ".fireworks" / "auth.ini").write_bytes(text)


@pytest.mark.parametrize(
    "text",
    [
        f"api_key = {KEY}\nno assignment\n".encode(),
        f"api_key = {KEY}\naccount_id = a/b\n".encode(),
        f"api_key = {KEY} # mine\n".encode(),
        f"other_key = {KEY}\n".encode(),
        f"api_key = {KEY}\n".encode() + b"\xff",
    ],
)
def test_a_malformed_file_shows_nothing_of_itself(home, text):
    """Neither in the error nor in what it came from."""
    store(home, text)
    with pytest.raises(ConfigurationError) as caught:
        BatchClient()
    assert KEY not in everything(without_our_frame(caught.value))
