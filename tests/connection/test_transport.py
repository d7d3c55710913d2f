"""What is sent, which failure becomes which error, and what the transport's limits do."""

import asyncio
import gc
import gzip
import tracemalloc

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from clients import client_of
from yarl import URL

import fireworks_batch as fb
from fireworks_batch import BatchClient, RetryPolicy
from fireworks_batch.connection.pace import Gate
from fireworks_batch.connection.repeats import CallRepeats
from fireworks_batch.wire.requests import Request

BASE = "https://api.example"
JOB_URL = f"{BASE}/v1/accounts/acme/batchInferenceJobs/nightly"
JOB = {"name": "accounts/acme/batchInferenceJobs/nightly", "state": "JOB_STATE_RUNNING"}
ONCE = RetryPolicy(max_attempts=1, rate_limit_budget=0)
AIOHTTP = tuple(map(int, aiohttp.__version__.split(".")[:2]))
JOB_PATH = "*/batchInferenceJobs/*"


def make(**options) -> BatchClient:
    """A client of a server that aioresponses plays."""
    return BatchClient(
        **{"api_key": "fw_key", "account_id": "acme", "base_url": BASE, "retry": ONCE, **options}
    )


def job_gets(emulator) -> int:
    """GETs of jobs that arrived."""
    return sum("/batchInferenceJobs/" in request.path for request in emulator.requests())


# --- What is sent -------------------------------------------------------------------------------


async def test_a_get_sends_what_the_api_needs(responses):
    """Bearer, User-Agent, Accept and our headers; no body, and redirects are not followed."""
    responses.get(JOB_URL, payload=JOB)
    async with make(headers={"X-Team": "eval"}) as client:
        job = await client.jobs.get("nightly")
    assert job.name == JOB["name"]
    ((method, url), (call,)) = next(iter(responses.requests.items()))
    assert ("GET", URL(JOB_URL)) == (method, url)
    sent = call.kwargs["headers"]
    assert sent["Authorization"] == "Bearer fw_key"
    assert sent["User-Agent"].startswith(f"fireworks-batch/{fb.__version__} Python/3.")
    assert sent["User-Agent"].endswith(f" aiohttp/{aiohttp.__version__}")
    assert sent["X-Team"] == "eval"
    assert call.kwargs["allow_redirects"] is False
    assert call.kwargs["data"] is None


async def test_a_header_is_sent_once_however_it_is_spelt(odd_server):
    """The caller's User-Agent stands in the place of ours."""
    async with make(base_url=odd_server.url, headers={"user-AGENT": "mine/1"}) as client:
        assert (await client.jobs.get("agent")).display_name == "mine"


async def test_a_read_mask_goes_in_camel_case_with_the_name(responses):
    """Paths are translated, each once."""
    url = f"{JOB_URL}?readMask=name,jobProgress.percent,state"
    responses.get(url, payload=JOB)
    async with make() as client:
        mask = ["job_progress.percent", "state", "name", "state"]
        assert (await client.jobs.get("nightly", read_mask=mask)).state == "RUNNING"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, fb.BadRequestError),
        (401, fb.AuthenticationError),
        (402, fb.AccountSuspendedError),
        (403, fb.PermissionDeniedError),
        (404, fb.NotFoundError),
        (409, fb.ConflictError),
        (412, fb.AccountSuspendedError),
        (422, fb.BadRequestError),
        (429, fb.RateLimitError),
        (500, fb.ServerError),
        (503, fb.ServerError),
    ],
)
async def test_a_status_becomes_its_error(responses, status, error):
    """With status, code and reason."""
    responses.get(JOB_URL, status=status, payload={"code": 3, "message": "no", "details": []})
    async with make() as client:
        with pytest.raises(error, match=f"'?nightly'?.*{status} INVALID_ARGUMENT: no") as no:
            await client.jobs.get("nightly")
    assert (status, "INVALID_ARGUMENT", "no") == (
        no.value.status,
        no.value.code,
        no.value.message,
    )


@pytest.mark.parametrize(
    ("foreign", "error", "text"),
    [
        (aiohttp.ClientConnectionError("gone"), fb.TransportError, "ClientConnectionError: gone"),
        (aiohttp.ServerDisconnectedError(), fb.TransportError, "ServerDisconnectedError"),
        (aiohttp.ClientPayloadError("short"), fb.TransportError, "ClientPayloadError: short"),
        (aiohttp.ConnectionTimeoutError(), fb.RequestTimeoutError, "connect_timeout (10 s)"),
        (TimeoutError(), fb.RequestTimeoutError, "request_timeout (60 s)"),
        (OSError("no route"), fb.TransportError, "OSError: no route"),
        (UnicodeError("label too long"), fb.TransportError, "UnicodeError: label too long"),
        (aiohttp.ClientError("two\n  lines"), fb.TransportError, "ClientError: two lines"),
        (
            aiohttp.ClientError("cannot write to https://user:pw@x.example/a?sig=secret, sorry"),
            fb.TransportError,
            "ClientError: cannot write to https://x.example/a?… sorry",
        ),
    ],
)
async def test_a_foreign_exception_becomes_ours(responses, foreign, error, text):
    """Without a cause or a context, which could show the request."""
    responses.get(JOB_URL, exception=foreign)
    async with make() as client:
        with pytest.raises(error) as caught:
            await client.jobs.get("nightly")
    assert text in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_an_address_without_a_server_is_named(unused_tcp_port):
    """The error says what was not reached, and why; a proxy is told from the API."""
    place = f"127.0.0.1:{unused_tcp_port}"
    for options, said in (
        ({"base_url": f"http://{place}"}, f"nothing was reached at {place}"),
        ({"proxy": f"http://{place}"}, f"the proxy was not reached at {place}"),
    ):
        async with make(**options) as client:
            with pytest.raises(fb.TransportError) as caught:
                await client.jobs.get("nightly")
        assert str(caught.value) == (
            f"GET /v1/accounts/acme/batchInferenceJobs/nightly: {said}: Connection refused"
        )


async def test_a_borrowed_session_does_not_judge_statuses(emulator):
    """Its raise_for_status would hide what the API says."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        client_of(emulator, session=session, retry=ONCE) as client,
    ):
        with pytest.raises(fb.NotFoundError, match="404 NOT_FOUND: resource not found"):
            await client.jobs.get("nowhere")


async def test_neither_netrc_nor_cookies_are_sent(odd_server, monkeypatch, tmp_path):
    """What is stored elsewhere for the host would stand beside the key, or in its place."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with make(base_url=odd_server.url) as client:
        await client.jobs.get("cookie")
        job = await client.jobs.get("cookie")
        assert job.display_name == "Bearer fw_key, no cookie"
        storage = odd_server.url.replace("127.0.0.1", "localhost")
        (tmp_path / "netrc").write_text("machine localhost login me password secret\n")
        async with client._api.transport.stream("GET", f"{storage}/auth") as stream:
            assert await stream.read() == b"none"


async def test_ssl_is_passed_on(responses):
    """To each request, of a borrowed session too."""
    responses.get(JOB_URL, payload=JOB)
    async with make(ssl=False) as client:
        await client.jobs.get("nightly")
    ((call,),) = responses.requests.values()
    assert call.kwargs["ssl"] is False


# --- Repeats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["status", "reset", "truncate"])
async def test_a_get_is_repeated(emulator, client, action):
    """Two failures, and the third attempt is good."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault(
        action, times=2, path=JOB_PATH, **({"status": 503} if action == "status" else {})
    )
    assert (await client.jobs.get("nightly")).state == "RUNNING"
    assert job_gets(emulator) == 3


async def test_attempts_without_delay_are_as_many_as_one_likes():
    """A doubled nothing is nothing."""
    request = Request(method="GET", path="/v1/accounts", repeatable=True)
    eager = RetryPolicy(max_attempts=1100, initial_delay=0)
    moments, attempts = [], []

    async def sleep_until(moment):
        moments.append(moment)

    async def attempt():
        attempts.append(None)
        raise fb.TransportError("reset")

    repeats = CallRepeats(
        request, eager, Gate(), clock=lambda: 7.0, sleep_until=sleep_until, draw=lambda: 0.5
    )
    with pytest.raises(fb.TransportError):
        await repeats.run(attempt)
    assert (len(attempts), set(moments)) == (1100, {7.0})


async def test_attempts_are_counted(emulator, client):
    """Four requests, and no more."""
    emulator.add_fault("status", status=500, times=None)
    with pytest.raises(fb.ServerError, match="500"):
        await client.jobs.get("nightly")
    assert job_gets(emulator) == 4


async def test_a_refusal_is_not_repeated(emulator, client):
    """404 is the API's final word."""
    with pytest.raises(fb.NotFoundError):
        await client.jobs.get("nowhere")
    assert job_gets(emulator) == 1


async def test_a_rate_limit_uses_up_no_attempts(emulator, client):
    """Six 429s, and the call succeeds."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("status", status=429, headers={"Retry-After": "0.01"}, times=6)
    assert (await client.jobs.get("nightly")).state == "RUNNING"
    assert job_gets(emulator) == 7


async def test_a_rate_limit_beyond_the_budget_is_raised_at_once(emulator, client):
    """With the seconds to wait; and the next call is not even sent."""
    emulator.add_fault("status", status=429, headers={"Retry-After": "50"})
    with pytest.raises(fb.RateLimitError) as caught:
        await client.jobs.get("nightly")
    assert caught.value.retry_after == 50
    with pytest.raises(fb.RateLimitError, match="not sent: the server asked this account to wait"):
        await client.jobs.get("another")
    assert job_gets(emulator) == 1


async def test_a_rate_limit_that_asks_for_nothing_has_an_end(emulator, client):
    """Retry-After: 0, for ever: a hundred repeats at most."""
    emulator.add_fault("status", status=429, headers={"Retry-After": "0"}, times=None)
    with pytest.raises(fb.RateLimitError):
        await client.jobs.get("nightly")
    assert 90 <= job_gets(emulator) <= 101


# --- Limits -------------------------------------------------------------------------------------


def job_answer(request, **members):
    """Show the job that was asked for."""
    return web.json_response({**JOB, "name": request.path.removeprefix("/v1/"), **members})


async def agent(request):
    """Say who asks."""
    agents = request.headers.getall("User-Agent")
    return job_answer(request, displayName="&".join(agents).partition("/1")[0])


async def cookie(request):
    """Say which credentials came, and set a cookie."""
    said = f"{request.headers['Authorization']}, {request.headers.get('Cookie', 'no cookie')}"
    answer = job_answer(request, displayName=said)
    answer.set_cookie("session", "abc")
    return answer


async def auth(request):
    """Say which key came."""
    return web.Response(text=request.headers.get("Authorization", "none"))


BOMB = gzip.compress(b" " * 2**24)


async def bomb(_request):
    """Send 16 kilobytes that unpack to 16 megabytes."""
    return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})


@pytest.fixture
async def odd_server():
    """Trickles, bombs, and counts how many it serves at once."""
    seen = {"now": 0, "most": 0}

    async def answer(request):
        seen["now"] += 1
        seen["most"] = max(seen["most"], seen["now"])
        try:
            return await kinds[request.path.rpartition("/")[2]](request)
        finally:
            seen["now"] -= 1

    async def trickle(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.01)
        return response

    async def slow(request):
        await asyncio.sleep(0.01)
        return job_answer(request)

    kinds = {
        "cookie": cookie,
        "agent": agent,
        "trickle": trickle,
        "bomb": bomb,
        "slow": slow,
        "auth": auth,
    }
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        server.seen = seen
        server.url = str(server.make_url("")).rstrip("/")
        yield server


async def test_the_request_timeout_covers_the_body(odd_server):
    """A body that trickles is no answer."""
    async with make(base_url=odd_server.url, request_timeout=0.05) as client:
        with pytest.raises(fb.RequestTimeoutError, match=r"within request_timeout \(0.05 s\)"):
            await client.jobs.get("trickle")


async def test_the_body_cap_counts_after_decompression(odd_server):
    """Kilobytes that unpack to megabytes are refused while they are unpacked."""
    tracemalloc.start()
    try:
        async with make(base_url=odd_server.url, max_body_bytes=10_000) as client:
            with pytest.raises(fb.TransportError, match=r"max_body_bytes \(10,000 bytes\)"):
                await client.jobs.get("bomb")
        if AIOHTTP >= (3, 14):  # older ones unpack at once what comes at once
            assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("borrowed", [False, True])
async def test_connections_never_exceed_their_number(odd_server, borrowed):
    """Owned and borrowed alike; and a borrowed session is not closed."""
    async with aiohttp.ClientSession() as session:
        lent = {"session": session} if borrowed else {}
        async with (
            make(base_url=odd_server.url, max_connections=3, **lent) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(30):
                group.create_task(client.jobs.get("slow"))
        assert not session.closed
    assert odd_server.seen["most"] == 3


async def test_requests_are_spaced(odd_server):
    """6,000 a minute are ten milliseconds apart."""
    loop = asyncio.get_running_loop()
    async with make(base_url=odd_server.url, max_requests_per_minute=6000) as client:
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(11):
                group.create_task(client.jobs.get("slow"))
    assert loop.time() - began >= 0.1


async def test_who_leaves_the_line_leaves_no_gap(odd_server):
    """A hundred cancelled calls do not hold up the next one, at a request a second."""
    async with make(base_url=odd_server.url, max_requests_per_minute=60) as client:
        await client.jobs.get("slow")
        began = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(client.jobs.get("slow")) for _ in range(100)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert (await client.jobs.get("slow")).state == "RUNNING"
    assert asyncio.get_running_loop().time() - began < 30


async def test_closing_wakes_those_whom_the_rate_holds_back(odd_server):
    """All of them, though they stand in line one behind the other."""
    client = make(base_url=odd_server.url, max_requests_per_minute=1)
    await client.jobs.get("slow")
    tasks = [asyncio.create_task(client.jobs.get("slow")) for _ in range(50)]
    await asyncio.sleep(0.01)
    await client.aclose()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert str(result) == "the client is closed"


# --- Life ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("borrowed", [False, True])
async def test_closing_wakes_those_who_wait(odd_server, borrowed):
    """In flight and in line, each ends with ClientStateError."""
    async with aiohttp.ClientSession() as session:
        lent = {"session": session} if borrowed else {}
        client = make(base_url=odd_server.url, max_connections=1, **lent)
        tasks = [asyncio.create_task(client.jobs.get("trickle")) for _ in range(3)]
        await asyncio.sleep(0.05)
        await client.aclose()
        await client.aclose()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 0.8)
        assert ["the client is closed"] * 3 == [str(result) for result in results]
        with pytest.raises(fb.ClientStateError, match="the client is closed"):
            await client.jobs.get("slow")


async def test_closing_wakes_those_in_line_behind_a_transfer(odd_server):
    """Whose place is not free before its block ends, whenever that is."""
    client = make(base_url=odd_server.url, max_connections=1)
    async with client._api.transport.stream("GET", f"{odd_server.url}/trickle"):
        tasks = [asyncio.create_task(client.jobs.get("slow")) for _ in range(3)]
        await asyncio.sleep(0.01)
        await client.aclose()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert str(result) == "the client is closed"


async def test_closing_wakes_the_whole_line_at_once(odd_server):
    """A thousand calls in line end within a few turns of the loop, as a few do."""
    client = make(base_url=odd_server.url, max_connections=1)
    tasks = [asyncio.create_task(client.jobs.get("trickle")) for _ in range(1000)]
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(client.aclose())
    for _ in range(20):
        await asyncio.sleep(0)
    assert {str(task.exception()) for task in tasks if task.done()} == {"the client is closed"}
    assert all(task.done() for task in tasks)
    await closing


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_read_that_meets_a_closed_connection_says_that_the_client_is_closed(is_closed):
    """If the client is closed, that is; otherwise the error stays what it is."""
    client = make(base_url="http://127.0.0.1:9")

    async def read():
        if is_closed:
            await client.aclose()
        raise RuntimeError("Connection closed.")  # as aiohttp's StreamReader does

    with pytest.raises(RuntimeError) as raised:
        await client._api.session._limited("GET /", "request_timeout", read)
    assert str(raised.value) == ("the client is closed" if is_closed else "Connection closed.")
    await client.aclose()


async def test_closing_wakes_those_whom_gate_and_transfer_hold_back(odd_server):
    """One call sleeps at the gate, one stands behind it, and storage has the only connection."""
    client = make(base_url=odd_server.url, max_connections=1)
    now = asyncio.get_running_loop().time()
    client._api.session.gate.close(now + 0.2, now=now)
    calls = [client._api.transport.send_once(Request(method="GET", path="/slow")) for _ in range(2)]
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0.01)
    url = f"{odd_server.url}/trickle"
    async with client._api.transport.stream("GET", url, is_signed=True):
        await client.aclose()
        await asyncio.wait(tasks, timeout=0.5)
        assert [task.done() for task in tasks] == [True, True]
    for task in tasks:
        assert str(task.exception()) == "the client is closed"


async def test_a_closed_client_reads_no_further(odd_server):
    """A transfer through a borrowed session, which stays open, ends all the same."""
    async with aiohttp.ClientSession() as session:
        client = make(base_url=odd_server.url, session=session)
        async with client._api.transport.stream("GET", f"{odd_server.url}/trickle") as stream:
            assert await stream.read()
            await client.aclose()
            with pytest.raises(fb.ClientStateError, match="the client is closed"):
                await stream.read()


async def test_cancellation_lands_while_a_body_is_read(odd_server):
    """Within ten turns of the loop; the next request finds a free connection."""
    async with make(base_url=odd_server.url, max_connections=1) as client:
        task = asyncio.create_task(client.jobs.wait_until_terminal("trickle"))
        while not odd_server.seen["now"]:
            await asyncio.sleep(0.001)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert task.cancelled()
        assert (await client.jobs.get("slow")).state == "RUNNING"


async def test_a_client_belongs_to_its_loop(odd_server):
    """Used on another one it says so."""
    async with make(base_url=odd_server.url) as client:
        await client.jobs.get("slow")
        with pytest.raises(fb.ClientStateError, match="the event loop that it was first used on"):
            await asyncio.to_thread(asyncio.run, client.jobs.get("slow"))


async def test_a_client_belongs_to_its_loop_while_it_looks_up_its_account(odd_server):
    """A call on another loop does not wait for the look-up of the first one."""
    url = f"{odd_server.url}/trickle"
    async with (
        make(base_url=odd_server.url, account_id=None, max_connections=1) as client,
        client._api.transport.stream("GET", url, is_signed=True),
    ):
        first = asyncio.create_task(client.jobs.get("slow"))
        await asyncio.sleep(0.01)
        on_another = asyncio.wait_for(client.jobs.get("slow"), 0.5)
        with pytest.raises(fb.ClientStateError, match="event loop that it was first used on"):
            await asyncio.to_thread(asyncio.run, on_another)
        first.cancel()
        await asyncio.wait([first])


async def test_a_borrowed_session_belongs_to_its_loop_too():
    """One that was made on another loop would wait for ever."""

    async def lend() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = await asyncio.to_thread(asyncio.run, lend())
    async with make(session=session) as client:
        with pytest.raises(fb.ClientStateError, match="borrowed belongs to another event loop"):
            await client.jobs.get("slow")
        with pytest.raises(fb.ClientStateError, match="borrowed belongs to another event loop"):
            await client.jobs.wait_until_terminal("slow")
    session.detach()


@pytest.mark.parametrize("waits_for", ["gate", "key"])
async def test_a_borrowed_session_may_be_closed_while_a_call_waits(odd_server, waits_for):
    """At the gate or for the key: that is told, and not as an error of aiohttp's."""
    session = aiohttp.ClientSession()

    async def key():
        if waits_for == "key":
            await session.close()
        return "fw_key"

    async with make(base_url=odd_server.url, session=session, api_key=key) as client:
        now = asyncio.get_running_loop().time()
        client._api.session.gate.close(now + 0.05, now=now)
        request = Request(method="GET", path="/slow")
        task = asyncio.create_task(client._api.transport.send_once(request))
        await asyncio.sleep(0.01)
        if waits_for == "gate":
            await session.close()
        with pytest.raises(fb.ClientStateError, match="that this client borrowed is closed"):
            await task


async def test_a_client_does_not_survive_a_fork(odd_server, monkeypatch):
    """A child that goes on using the parent's connections is told to make a client of its own."""
    async with make(base_url=odd_server.url) as client:
        await client.jobs.get("slow")
        with monkeypatch.context() as child:
            child.setattr("os.getpid", lambda: -1)
            with pytest.raises(fb.ClientStateError, match="used before the process was forked"):
                await client.jobs.get("slow")


async def test_a_client_never_closed_is_named(odd_server):
    """One ResourceWarning, by its account and host."""
    client = make(base_url=odd_server.url, headers={"Connection": "close"})
    await client.jobs.get("slow")
    with pytest.warns(ResourceWarning, match="<BatchClient of account 'acme' on http.* was never"):
        del client
        gc.collect()


async def test_a_proxy_of_the_environment_is_used(odd_server, monkeypatch):
    """Unless NO_PROXY or proxy=False says otherwise, or the API is on this machine."""
    monkeypatch.setenv("HTTP_PROXY", odd_server.url)
    plain = {"base_url": "http://jobs.example", "allow_insecure_http": True}
    async with make(**plain) as client:
        assert (await client.jobs.get("slow")).state == "RUNNING"
    async with make(**plain, proxy=odd_server.url) as client:
        assert (await client.jobs.get("slow")).state == "RUNNING"
    async with make(base_url=odd_server.url, proxy=False) as client:
        assert (await client.jobs.get("slow")).state == "RUNNING"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with make(base_url=odd_server.url) as client:
        assert (await client.jobs.get("slow")).state == "RUNNING"
