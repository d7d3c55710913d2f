"""The API key is seen by the API's own origin, and nowhere else."""

import asyncio
import itertools
import json
import logging
import traceback

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fireworks_batch import (
    BatchClient,
    ConfigurationError,
    FireworksBatchError,
    Limits,
    PollPolicy,
    RetryPolicy,
)
from fireworks_batch.connection.credentials import KeySource
from fireworks_batch.wire.requests import Request

KEY = "fw_very_secret_key"
PASSWORD = "hunter2"
PROXY = f"socks5://me:{PASSWORD}@proxy.example:3128"
REQUEST = Request(method="GET", path="/x")
ONCE = RetryPolicy(max_attempts=1, initial_delay=0, rate_limit_budget=0)
JOB = {
    "name": "accounts/acme/batchInferenceJobs/member",
    "state": f"JOB_STATE_{KEY}",
    "displayName": f"of {KEY}",
    "status": {"code": "INTERNAL", "message": f"no {KEY}"},
    "labels": {KEY: [KEY]},
}
PAGE = {"batchInferenceJobs": [JOB, JOB | {"state": [KEY]}], "nextPageToken": ""}
WRONG = JOB | {"state": "JOB_STATE_RUNNING", "displayName": [KEY]}
SPELLINGS = {
    "plain": json.dumps,
    "numbers": lambda job: json.dumps(job).replace("v", r"\u0076").replace("_k", r"\u005f\u006B"),
    "first letter": lambda job: json.dumps(job).replace(KEY, r"\u0066" + KEY[1:]),
}


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


@pytest.fixture
async def echoing():
    """Answers each path with the key; members are spelled as the test says, URLs are its own."""
    state = {"spelling": "plain", "urls": {}}
    answers = {
        "echo": lambda _: web.json_response({"code": 16, "message": f"bad key {KEY}"}, status=401),
        "host": lambda _: web.Response(status=302, headers={"location": f"http://{KEY}/target"}),
        "header": lambda _: web.json_response({}, status=400, headers={"x-request-id": KEY}),
        "wrong": lambda _: web.json_response(WRONG),
        "own": lambda request: web.Response(text=request.headers["Authorization"], status=400),
        "member": lambda _: web.Response(
            text=SPELLINGS[state["spelling"]](JOB), headers={"x-request-id": KEY}
        ),
        "batchInferenceJobs": lambda _: web.json_response(PAGE),
    }

    async def answer(request):
        if request.path.endswith("Endpoint"):
            sizes = (await request.json())["filenameToSize"] if request.can_read_body else {}
            urls = {**state["urls"], **dict.fromkeys(sizes, state["urls"]["a"])}
            return web.json_response({"filenameToSignedUrls": urls})
        if request.path.endswith("/datasets/rows"):
            return web.json_response({"name": "accounts/acme/datasets/rows", "state": "UPLOADING"})
        await asyncio.sleep(0.01)
        return answers[request.path.rpartition("/")[2]](request)

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


@pytest.mark.parametrize("job", ["echo", "host", "header", "wrong"])
async def test_no_error_shows_a_key_that_the_server_echoes(echoing, job):
    """In its message, in a header, in the host of a redirect, or where a member is of a wrong type.

    What can be read of the answer has none either.
    """
    async with make(echoing) as client:
        with pytest.raises(FireworksBatchError, match=r"\*\*\*|400") as caught:
            await client.jobs.get(job)
    assert KEY not in everything(caught.value)
    assert "***" in repr(vars(caught.value))


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_model_shows_the_key(echoing, caplog, spelling):
    """The rest of an answer that echoes it is as the server sent it."""
    caplog.set_level(logging.DEBUG)
    echoing.state["spelling"] = spelling
    async with make(echoing) as client:
        job = await client.jobs.get("member")
        snapshot = await anext(aiter(client.jobs.wait_until_terminal("member")))
    assert (job.display_name, job.state, job.status.message) == ("of ***", "***", "no ***")
    assert job.extra == {"labels": {"***": ["***"]}}
    assert snapshot.job == job
    assert KEY not in repr(job) + repr(snapshot) + caplog.text + str(caplog.records[-1].__dict__)


async def test_no_listing_shows_the_key(echoing, caplog):
    """Neither an item, nor what the log says of one that cannot be read."""
    async with make(echoing) as client:
        jobs = [job async for job in client.jobs.list()]
    assert [job.display_name for job in jobs] == ["of ***"]
    assert "left out" in caplog.text
    assert KEY not in repr(jobs) + caplog.text


async def test_keys_that_rotate_are_scrubbed_from_late_answers(echoing):
    """Each request has a key of its own, and the answer to one comes after others were sent."""
    numbers = itertools.count()
    async with make(echoing, api_key=lambda: f"fw_number_{next(numbers):04}_x") as client:
        asking = [client.jobs.get("own") for _ in range(15)]
        errors = await asyncio.gather(*asking, return_exceptions=True)
    assert next(numbers) == 15
    assert "fw_number" not in "".join(map(everything, errors))


async def test_a_word_in_place_of_a_key_stays_in_the_data(echoing):
    """A server of tests may take any: data that happen to hold it are what was sent."""
    async with make(echoing, api_key="member") as client:
        assert (await client.jobs.get("member")).id == "member"


async def test_no_transfer_shows_the_key(echoing):
    """An upload goes through the API, too, and reads its refusal by itself."""
    async with make(echoing) as client:
        transport, url = client._api.transport, f"{client._api.base_url}/v1/"
        for path in ("echo", "header"):
            async with transport.stream("POST", url + path, data=b"x") as stream:
                error = await transport.refusal(REQUEST, stream)
            assert KEY not in everything(error)
            assert "***" in everything(error)
        with pytest.raises(FireworksBatchError, match=r"a redirect to \*\*\*, not") as caught:
            async with transport.stream("POST", url + "host", data=b"x"):
                pass
    assert KEY not in everything(caught.value)


# --- Signed URLs, and proxies -------------------------------------------------------------------

SIGNATURE = "X-Goog-Signature=5ecret"


@pytest.mark.parametrize(
    "place", ["/echo", "/redirect", "/reset", "/hang", "ftp://x.example/y", "http://x:4o/y", "?"]
)
async def test_no_error_of_a_transfer_shows_the_signature(server, place):
    """Not in its text, and not among the locals of its traceback: who has the URL has the file."""
    url = f"{server.make_url(place) if place[0] == '/' else place}?{SIGNATURE}"

    async def transfer(client, secret):
        async with client._api.transport.stream("GET", secret(), is_signed=True) as stream:
            raise await client._api.transport.refusal(REQUEST, stream)

    async with make(server, transfer_timeout=0.1 if place == "/hang" else 10) as client:
        with pytest.raises(FireworksBatchError) as caught:
            await transfer(client, lambda: url)
    assert SIGNATURE not in everything(without_our_frame(caught.value))


async def test_no_download_or_upload_shows_the_signature(echoing, tmp_path):
    """The whole way, from the answer with the URLs to the end of the attempts."""
    signed = f"{echoing.make_url('/echo')}?{SIGNATURE}"
    async with make(echoing) as client:
        for urls in ({"a": signed}, {"a": signed, "b": [signed]}, {"a": [signed]}):
            echoing.state["urls"] = urls
            with pytest.raises(FireworksBatchError) as caught:
                await client.datasets.download("rows", tmp_path)
            assert SIGNATURE not in everything(without_our_frame(caught.value))
            with pytest.raises(FireworksBatchError) as caught:
                await client.datasets.upload(
                    b'{"a": 1}\n', dataset_id="rows", reuse=True, limits=Limits(max_upload_bytes=1)
                )
            assert SIGNATURE not in everything(without_our_frame(caught.value))


async def test_a_malformed_proxy_shows_neither_itself_nor_the_signature(server, monkeypatch):
    """A proxy of the environment for storage is read when storage is asked."""
    async with make(server) as client:
        monkeypatch.setenv("HTTPS_PROXY", PROXY)
        url = f"https://storage.example/a?{SIGNATURE}"
        with pytest.raises(ConfigurationError, match="HTTPS_PROXY of the environment") as caught:
            async with client._api.transport.stream("GET", url, is_signed=True):
                pass
    shown = everything(without_our_frame(caught.value))
    assert SIGNATURE not in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize("source", ["argument", "environment"])
@pytest.mark.parametrize("scheme", ["socks5://", ""])
def test_a_refused_proxy_shows_no_password(monkeypatch, source, scheme):
    """Not in the text, nor among the locals of the traceback."""
    proxy = scheme + PROXY.partition("://")[2] + " "
    given = {"proxy": proxy} if source == "argument" else {}
    monkeypatch.setenv("HTTPS_PROXY", "" if given else proxy)
    with pytest.raises(ConfigurationError, match=r"proxy must be|HTTPS_PROXY of") as caught:
        BatchClient(api_key=KEY, **given)
    assert PASSWORD not in everything(without_our_frame(caught.value))


async def test_an_error_behind_a_proxy_shows_no_password(server):
    """A client that uses it works, and its errors do not show it either."""
    proxy = f"http://me:{PASSWORD}@{server.host}:{server.port}"
    options = {"base_url": "http://jobs.example", "allow_insecure_http": True}
    async with make(server, proxy=proxy, **options) as client:
        with pytest.raises(FireworksBatchError, match="bad key") as caught:
            await client.jobs.get("echo")
        assert PASSWORD not in everything(without_our_frame(caught.value))
        with pytest.raises(FireworksBatchError) as caught:
            await client.jobs.get("reset")
    assert PASSWORD not in everything(without_our_frame(caught.value))


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
        with pytest.raises(FireworksBatchError, match="raised ValueError when it was") as caught:
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
