"""Which request meets which fault, and what then happens to it."""

import asyncio
import socket

import aiohttp
import pytest

from fireworks_batch.emulator.http.faults import ACTIONS, Fault, FaultBook, read_fault
from fireworks_batch.emulator.members import ControlError

JOBS = "/v1/accounts/acme/batchInferenceJobs"


def strikes(*faults: Fault, requests: list[tuple[str, str]], seed: int = 0) -> list[str | None]:
    """Give the action that each request meets."""
    book = FaultBook(seed)
    for fault in faults:
        book.add(fault)
    struck = [book.strike(method, path) for method, path in requests]
    return [fault and fault.action for fault in struck]


# Matching


@pytest.mark.parametrize(
    ("method", "pattern", "path", "expected"),
    [
        (None, "*", "/", True),
        (None, "/v1/*", "/v1/accounts/a/b", True),
        (None, "/v1/accounts/*/batchInferenceJobs/*", "/v1/accounts/a/batchInferenceJobs/j", True),
        (None, "/v1/accounts/*/batchInferenceJobs/*", "/v1/accounts/a/batchInferenceJobs", False),
        (None, "/v1", "/v1/accounts", False),
        (None, "*/j?", "/jobs/j1", True),
        ("GET", "*", "/", True),
        ("POST", "*", "/", False),
    ],
)
def test_a_fault_is_for_a_method_and_a_glob(method, pattern, path, expected):
    """The whole path must match; a star does not stop at a slash."""
    met = strikes(Fault(action="reset", method=method, path=pattern), requests=[("GET", path)])
    assert met == ["reset" if expected else None]


@pytest.mark.parametrize(
    ("times", "after", "expected"),
    [
        (1, 0, [1, 0, 0, 0]),
        (2, 0, [1, 1, 0, 0]),
        (None, 0, [1, 1, 1, 1]),
        (1, 2, [0, 0, 1, 0]),
        (None, 3, [0, 0, 0, 1]),
    ],
)
def test_a_fault_strikes_so_often_after_so_many(times, after, expected):
    """Once by default; None is for ever; the first ones may get away."""
    fault = Fault(action="reset", times=times, after=after)
    assert [bool(met) for met in strikes(fault, requests=[("GET", "/")] * 4)] == expected


def test_the_first_fault_that_strikes_wins():
    """A fault that is spent, or does not strike yet, leaves the request to the next."""
    met = strikes(
        Fault(action="reset", after=1),
        Fault(action="hang", times=2),
        Fault(action="html", method="POST"),
        requests=[("GET", "/"), ("GET", "/"), ("POST", "/"), ("POST", "/"), ("GET", "/")],
    )
    assert met == ["hang", "reset", "hang", "html", None]


def test_other_requests_do_not_count():
    """Only requests that match get away or use a fault up."""
    fault = Fault(action="reset", path="/a", after=1)
    requests = [("GET", "/b"), ("GET", "/a"), ("GET", "/b"), ("GET", "/a")]
    assert strikes(fault, requests=requests) == [None, None, None, "reset"]


def test_a_probable_fault_is_determined_by_the_seed():
    """One seed gives one sequence, about as often as it should; misses are not counted."""
    fault = Fault(action="reset", times=None, probability=0.25)
    first, again, other = (strikes(fault, requests=[("GET", "/")] * 400, seed=s) for s in (1, 1, 2))
    assert first == again != other
    assert 60 < sum(met is not None for met in first) < 140
    once = Fault(action="reset", probability=0.25)
    assert strikes(once, requests=[("GET", "/")] * 400).count("reset") == 1
    assert set(strikes(Fault(action="reset", probability=0.0), requests=[("GET", "/")] * 9)) == {
        None
    }


# Reading


@pytest.mark.parametrize("action", ACTIONS)
def test_only_the_action_is_required(action):
    """Everything else has a default, some by the action."""
    fault = read_fault({"action": action})
    assert (fault.method, fault.path, fault.times, fault.after) == (None, "*", 1, 0)
    assert (fault.probability, fault.body, dict(fault.headers)) == (1.0, None, {})
    assert fault.bytes == (0 if action == "reset" else 100)
    assert fault.status == {"html": 502, "garbage": 200}.get(action, 503)
    assert fault.seconds == (0.5 if action == "delay" else None)


def test_null_is_not_given_but_for_times():
    """In JSON, null is the default, and for ever as `times`."""
    nulls = dict.fromkeys(["method", "path", "after", "status", "headers", "body", "seconds"])
    assert read_fault({"action": "status"} | nulls) == Fault(action="status")
    assert read_fault({"action": "status", "times": None}).times is None


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, f"action: None is not one of {', '.join(ACTIONS)}"),
        (
            {"action": "stauts"},
            f"action: 'stauts' is not one of {', '.join(ACTIONS)}; did you mean 'status'?",
        ),
        ({"action": "explode"}, f"action: 'explode' is not one of {', '.join(ACTIONS)}"),
        ({"method": 3}, "method: 3 is not a text"),
        ({"method": "GET /"}, "method: 'GET /' is not an HTTP method"),
        ({"path": ""}, "path: '' is not a text"),
        ({"times": 0}, "times: 0 is not a whole number of 1 or more"),
        ({"times": 1.5}, "times: 1.5 is not a whole number of 1 or more"),
        ({"times": True}, "times: True is not a whole number of 1 or more"),
        ({"after": -1}, "after: -1 is not a whole number of 0 or more"),
        ({"probability": 1.1}, "probability: 1.1 is not a number from 0 to 1"),
        ({"probability": float("nan")}, "probability: nan is not a number from 0 to 1"),
        ({"status": 99}, "status: 99 is not a whole number from 200 to 599"),
        ({"status": "503"}, "status: '503' is not a whole number from 200 to 599"),
        ({"headers": []}, "headers: [] is not an object"),
        ({"headers": {"a": 1}}, "headers.a: 1 is not a text without line breaks"),
        (
            {"headers": {"a": "x\r\nb: c"}},
            "headers.a: 'x\\r\\nb: c' is not a text without line breaks",
        ),
        ({"body": {1}}, "body: {1} is not JSON or a text"),
        ({"bytes": -1}, "bytes: -1 is not a whole number of 0 or more"),
        ({"seconds": "1"}, "seconds: '1' is not a number of 0 or more"),
        ({"seconds": float("inf")}, "seconds: inf is not a number of 0 or more"),
    ],
)
def test_a_member_that_cannot_be_used_is_named(members, message):
    """The error names the member, its value, and what was wanted."""
    given = members if "action" in members or not members else {"action": "status"} | members
    with pytest.raises(ControlError) as caught:
        read_fault(given)
    assert str(caught.value) == message


def test_an_unknown_member_of_a_fault_is_named():
    """A misspelt member does not pass silently."""
    with pytest.raises(ControlError, match=r"^time: 3 is not known here; known: .*\btimes\b"):
        read_fault({"action": "status", "time": 3})


# Acting


def last(bench) -> tuple[int | None, str | None]:
    """Give status and fault of the last request."""
    recorded = bench.emulator.requests()[-1]
    return recorded.status, recorded.fault


async def exchange(bench, path: str = f"{JOBS}/nightly", method: str = "GET") -> bytes:
    """Send one request on a socket and read until the server closes it."""
    host, _, port = bench.emulator.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = bench.emulator.api_key
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    )
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("body", "expected", "content_type"),
    [
        (None, b'{"code":14,"message":"emulated 503","details":[]}', "application/json"),
        ({"a": [1]}, b'{"a":[1]}', "application/json"),
        ("<Error/>", b"<Error/>", "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
async def test_a_status_is_answered_instead(bench, body, expected, content_type):
    """Status, headers and body are as told; afterwards all is well."""
    await bench.create()
    bench.emulator.add_fault("status", status=503, headers={"Retry-After": "7"}, body=body)
    reply = await bench.api.get(f"{JOBS}/nightly")
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (
        503,
        expected,
        content_type,
    )
    assert (reply.headers["Retry-After"], last(bench)) == ("7", (503, "status"))
    assert (await bench.api.get(f"{JOBS}/nightly")).status == 200


@pytest.mark.parametrize(
    ("status", "code"), [(400, 3), (401, 16), (404, 5), (412, 9), (429, 8), (520, 2)]
)
async def test_a_status_without_a_body_explains_itself(bench, status, code):
    """The service's own error object, with the code that goes with the status."""
    bench.emulator.add_fault("status", status=status)
    reply = await bench.api.get(JOBS)
    assert (reply.status, reply.json["code"]) == (status, code)


async def test_a_faulty_request_does_no_work(bench):
    """A status instead of a create makes no job."""
    bench.emulator.add_fault("status", method="POST")
    assert (await bench.create()).status == 503
    assert (await bench.api.get(f"{JOBS}/nightly")).status == 404


@pytest.mark.parametrize(("status", "title"), [(None, "502 Bad Gateway"), (403, "403 Forbidden")])
async def test_a_page_is_answered_instead(bench, status, title):
    """HTML as a proxy or front end sends it."""
    bench.emulator.add_fault("html", status=status)
    reply = await bench.api.get(JOBS)
    assert (str(reply.status), reply.headers["Content-Type"]) == (title[:3], "text/html")
    assert f"<h1>{title}</h1>".encode() in reply.body


async def test_a_page_of_an_unknown_status(bench):
    """A status without a name is its own title."""
    bench.emulator.add_fault("html", status=520)
    assert b"<title>520</title>" in (await bench.api.get(JOBS)).body


async def test_garbage_is_answered_instead(bench):
    """200, called JSON, and not even text."""
    bench.emulator.add_fault("garbage")
    async with (
        aiohttp.ClientSession() as session,
        session.get(bench.emulator.base_url + JOBS) as response,
    ):
        assert (response.status, response.content_type) == (200, "application/json")
        with pytest.raises(UnicodeDecodeError):
            await response.json()


async def test_a_reset_is_a_reset(bench):
    """Not an end of the stream: the socket reports an error, and nothing was answered."""
    bench.emulator.add_fault("reset")
    with pytest.raises(ConnectionResetError):
        await exchange(bench)
    assert last(bench) == (None, "reset")


async def test_a_truncated_answer_promises_more_than_it_sends(bench):
    """The whole length in the header, so many bytes of the real body, and the end."""
    await bench.create()
    whole = await bench.api.get(f"{JOBS}/nightly")
    bench.emulator.add_fault("truncate", bytes=30)
    head, _, body = (await exchange(bench)).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(whole.body)}".encode() in head
    assert (body, last(bench)) == (whole.body[:30], (200, "truncate"))


@pytest.mark.parametrize(("size", "missing"), [(10**6, 1), (0, None)])
async def test_a_truncated_answer_is_never_whole(bench, size, missing):
    """At least one byte is missing, at most all of them."""
    await bench.create()
    whole = (await bench.api.get(f"{JOBS}/nightly")).body
    bench.emulator.add_fault("truncate", bytes=size)
    head, _, body = (await exchange(bench)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(body) == (len(whole) - missing if missing else 0)


async def test_an_answer_that_is_dropped_was_worked_for(bench):
    """The job is made, the connection reset."""
    bench.emulator.add_fault("drop_answer", method="POST")
    with pytest.raises(aiohttp.ClientError):
        await bench.create()
    assert last(bench) == (None, "drop_answer")
    assert (await bench.job())["state"] == "JOB_STATE_VALIDATING"


async def test_a_hanging_request_is_never_answered(bench):
    """It is in the log while it hangs, and until the client leaves."""
    bench.emulator.add_fault("hang")
    request = asyncio.create_task(exchange(bench))
    while not bench.emulator.requests():
        await asyncio.sleep(0)
    done, _ = await asyncio.wait([request], timeout=0.05)
    assert not done
    request.cancel()
    await asyncio.wait([request])
    assert last(bench) == (None, "hang")


async def test_a_hanging_request_may_be_closed_after_a_while(bench):
    """After its seconds the connection is reset."""
    bench.emulator.add_fault("hang", seconds=0.01)
    with pytest.raises(ConnectionResetError):
        await exchange(bench)


async def test_a_delayed_answer_comes_late_and_whole(bench):
    """It waits in the loop's time and then goes on as always."""
    bench.emulator.add_fault("delay", seconds=0.05)
    loop = asyncio.get_running_loop()
    start = loop.time()
    reply = await bench.create()
    assert (reply.status, last(bench)) == (200, (200, "delay"))
    assert loop.time() - start >= 0.05


async def test_delayed_work_is_done_for_a_client_who_has_left(bench):
    """A create that nobody waits for any more still makes its job, later."""
    bench.emulator.add_fault("delay", method="POST", seconds=0.5)
    create = asyncio.create_task(bench.create())
    while not bench.emulator.requests():
        await asyncio.sleep(0)
    for _ in range(20):  # the body is read as well
        await asyncio.sleep(0)
    create.cancel()
    await asyncio.wait([create])
    assert create.cancelled()
    async with asyncio.timeout(5):
        while (await bench.api.get(f"{JOBS}/nightly")).status == 404:
            await asyncio.sleep(0.005)
    assert bench.emulator.requests()[0].status == 200


async def test_faults_never_touch_the_control_protocol(bench):
    """Whatever is set up can be taken down."""
    bench.emulator.add_fault("reset", times=None)
    assert (await bench.api.delete("/_emulator/faults")).status == 200
    assert (await bench.api.get(JOBS)).status == 200


async def test_faults_come_before_the_key(bench):
    """A proxy in the way does not ask for a key."""
    bench.emulator.add_fault("html")
    reply = await bench.api.get(JOBS, headers={"Authorization": ""})
    assert reply.status == 502


async def test_the_rest_of_a_connection_is_not_harmed(bench):
    """Two requests sent at once on one socket: the delayed one is answered first."""
    bench.emulator.add_fault("delay", seconds=0.01)
    host, _, port = bench.emulator.base_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as raw:
        reader, writer = await asyncio.open_connection(sock=raw)
        request = "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer fw_emulator\r\n{}\r\n"
        writer.write(request.format("/v1/accounts", "").encode())
        writer.write(request.format("/nowhere", "Connection: close\r\n").encode())
        answers = await reader.read()
        writer.close()
    assert answers.index(b"200 OK") < answers.index(b"404 Not Found")
