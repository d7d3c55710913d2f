"""The control protocol and the request log."""

import asyncio

import pytest

from fireworks_batch.emulator import RecordedRequest
from fireworks_batch.emulator.clock import EmulatedClock
from fireworks_batch.emulator.http.port import is_own_host
from fireworks_batch.emulator.http.request_log import RequestLog, mask_credentials

JOBS = "/v1/accounts/acme/batchInferenceJobs"
NO_KEY = {"Authorization": ""}


async def control(bench, method: str, path: str, **options):
    """Send a control request, without a key."""
    return await bench.api.send(method, f"/_emulator/{path}", headers=NO_KEY, **options)


# Jobs


async def test_a_job_is_made_by_its_script(bench):
    """All members at once; the answer is the job."""
    script = {
        "phases": [
            {"state": "RUNNING", "seconds": 90.5, "waiting_on_capacity": True},
            {"state": "JOB_STATE_FAILED", "seconds": None},
        ],
        "rows": 10,
        "failed_rows": 3,
        "status": {"code": "ABORTED", "message": "x"},
        "time_limit_seconds": 86400,
        "fields": {"displayName": "y"},
    }
    reply = await control(bench, "POST", "jobs/nightly", json=script)
    assert (reply.status, reply.json) == (200, await bench.job())
    assert (reply.json["state"], reply.json["waitingOnCapacity"], reply.json["displayName"]) == (
        "JOB_STATE_RUNNING",
        True,
        "y",
    )
    bench.clock.advance(120)
    assert (await bench.job())["status"] == script["status"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"rows": null, "phases": null}'])
async def test_every_member_of_a_script_is_optional(bench, body):
    """A script of nothing makes a job with the default phases."""
    reply = await control(bench, "POST", "jobs/nightly", data=body)
    assert (reply.status, reply.json["state"]) == (200, "JOB_STATE_VALIDATING")
    bench.clock.advance(480)
    job = await bench.job()
    assert (job["state"], job["jobProgress"]["outputRows"]) == ("JOB_STATE_COMPLETED", 100)


async def test_a_job_that_is_there_goes_on_by_a_new_script(bench):
    """The new phases show at once, what was done stays done, and the creation as well."""
    await bench.create(displayName="mine")
    bench.clock.advance(330)
    before = await bench.job()
    script = {"phases": ["RUNNING", "COMPLETED"], "failed_rows": 10}
    await control(bench, "POST", "jobs/nightly", json=script)
    after = await bench.job()
    assert (before["jobProgress"]["totalProcessedRequests"], after["displayName"]) == (40, "mine")
    assert after["jobProgress"]["totalProcessedRequests"] == 50
    assert after["createTime"] == before["createTime"]
    assert after["lifecycle"] == before["lifecycle"]
    bench.clock.advance(89)
    assert (await bench.job())["state"] == "JOB_STATE_RUNNING"
    bench.clock.advance(1)
    end = await bench.job()
    assert (end["state"], end["jobProgress"]["failedRequests"]) == ("JOB_STATE_COMPLETED", 10)


async def test_a_script_without_phases_leaves_the_course(bench):
    """Rows and time limit change, the phases go on as they were."""
    await bench.create()
    bench.clock.advance(100)
    bench.emulator.script_job("nightly", rows=7, time_limit_seconds=300)
    bench.clock.advance(140)
    job = await bench.job()
    assert (job["state"], job["expireTime"]) == ("JOB_STATE_RUNNING", "2026-09-14T09:05:00.000000Z")
    bench.clock.advance(60)
    job = await bench.job()
    assert (job["state"], job["jobProgress"]["totalInputRequests"]) == ("JOB_STATE_EXPIRED", 7)


async def test_a_script_shows_between_two_ticks(bench):
    """What was seen a moment ago does not stick."""
    await bench.create()
    await bench.job()
    bench.clock.advance(1)
    bench.emulator.script_job("nightly", phases=["PAUSED"])
    assert (await bench.job())["state"] == "JOB_STATE_PAUSED"
    bench.emulator.script_job("nightly", fields={"state": "odd"})
    assert (await bench.job())["state"] == "odd"


async def test_a_deleted_job_is_made_anew_by_a_script(bench):
    """A script for a job on its way out makes a new one."""
    await bench.create()
    await bench.api.delete(f"{JOBS}/nightly")
    bench.clock.advance(5)
    bench.emulator.script_job("nightly", phases=["RUNNING"])
    bench.clock.advance(1000)
    job = await bench.job()
    assert (job["state"], job["createTime"][17:19]) == ("JOB_STATE_RUNNING", "05")


@pytest.mark.parametrize(
    ("job_id", "script", "field", "message"),
    [
        ("Nightly", {}, "job id", "job id: 'Nightly' is not an id: a-z, 0-9 and -, a letter first"),
        ("j", [], "body", "body: [] is not an object"),
        ("j", {"phases": []}, "phases", "phases: [] is not a list of at least one phase"),
        (
            "j",
            {"phases": [{"state": "RUNNING", "seconds": "60"}]},
            "phases[0].seconds",
            "phases[0].seconds: '60' is not a number of 0 or more",
        ),
        ("j", {"rows": -1}, "rows", "rows: -1 is not a whole number from 0 to 2.14748e+09"),
        ("j", {"rows": 1.5}, "rows", "rows: 1.5 is not a whole number from 0 to 2.14748e+09"),
        (
            "j",
            {"rows": 3, "failed_rows": 4},
            "failed_rows",
            "failed_rows: 4 is not at most rows, 3",
        ),
        ("j", {"status": "bad"}, "status", "status: 'bad' is not an object"),
        ("j", {"status": {"code": 3}}, "status.code", "status.code: 3 is not a text"),
        ("j", {"status": {"message": 3}}, "status.message", "status.message: 3 is not a text"),
        (
            "j",
            {"status": {"text": "x"}},
            "status.text",
            "status.text: 'x' is not known here; known: code, message",
        ),
        (
            "j",
            {"time_limit_seconds": 0},
            "time_limit_seconds",
            "time_limit_seconds: 0 is not a number from 0.001 to 3.16224e+07",
        ),
        ("j", {"fields": []}, "fields", "fields: [] is not an object"),
        (
            "j",
            {"account_id": "globex"},
            "account_id",
            "account_id: 'globex' is not one of acme",
        ),
        (
            "j",
            {"row": 3},
            "row",
            (
                "row: 3 is not known here; known: account_id, phases, rows, failed_rows, output,"
                " status, time_limit_seconds, fields; did you mean 'rows'?"
            ),
        ),
    ],
)
async def test_a_script_that_cannot_be_used_is_refused(bench, job_id, script, field, message):
    """The member and its value are named, nothing is made; in Python the same is a ValueError."""
    reply = await control(bench, "POST", f"jobs/{job_id}", json=script)
    assert (reply.status, reply.json["error"]["message"]) == (400, message)
    assert reply.json["error"]["field"] == field
    assert (await bench.api.get(JOBS)).json["totalSize"] == 0
    if isinstance(script, dict) and "row" not in script:
        with pytest.raises(ValueError, match=r" is not ") as caught:
            bench.emulator.script_job(job_id, **script)
        assert str(caught.value) == message


# Faults


async def test_faults_are_set_up_one_or_many_and_cleared(bench):
    """A mapping or a list; the order counts; DELETE takes them down."""
    one = {"action": "status", "status": 500}
    many = [{"action": "status", "status": 501}, {"action": "status", "status": 502}]
    for body, added in ((one, 1), (many, 2)):
        reply = await control(bench, "POST", "faults", json=body)
        assert (reply.status, reply.json) == (200, {"added": added})
    assert [(await bench.api.get(JOBS)).status for _ in range(2)] == [500, 501]
    assert (await control(bench, "DELETE", "faults")).json == {}
    assert (await bench.api.get(JOBS)).status == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            b'{"action": "status", "status": 700}',
            {
                "field": "status",
                "value": 700,
                "message": "status: 700 is not a whole number from 200 to 599",
            },
        ),
        (
            b'[{"action": "reset"}, {"action": "reset", "times": 0}]',
            {
                "field": "[1].times",
                "value": 0,
                "message": "[1].times: 0 is not a whole number of 1 or more",
            },
        ),
        (b"3", {"field": "body", "value": 3, "message": "body: 3 is not an object"}),
        (b"{", {"field": "body", "value": "{", "message": "body: '{' is not JSON"}),
    ],
)
async def test_faults_that_cannot_be_used_are_refused(bench, body, error):
    """All or none: one bad fault in a list sets up none."""
    reply = await control(bench, "POST", "faults", data=body)
    assert (reply.status, reply.json) == (400, {"error": error})
    assert (await bench.api.get(JOBS)).status == 200


async def test_a_fault_in_python_is_checked_as_well(bench):
    """The same error as over HTTP."""
    with pytest.raises(ValueError, match=r"^seconds: -1 is not a number of 0 or more$"):
        bench.emulator.add_fault("delay", seconds=-1)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "faults", 405), ("POST", "nothing", 404)]
)
async def test_what_the_control_protocol_does_not_have(bench, method, path, status):
    """Other paths and methods are refused."""
    assert (await control(bench, method, path)).status == status


# Log


async def test_every_request_is_recorded(bench):
    """Number, emulated time, what was asked, how large, what was answered, which fault."""
    bench.clock.advance(1.5)
    await bench.create(displayName="x")
    bench.emulator.add_fault("status", status=503)
    await bench.api.get(f"{JOBS}/nightly?readMask=name,state&x=%20y")
    create, get = bench.emulator.requests()
    assert (create.n, create.time, create.method, create.path) == (
        1,
        "2026-09-14T09:00:01.500000Z",
        "POST",
        JOBS,
    )
    assert (create.query, create.status, create.fault) == (
        {"batchInferenceJobId": "nightly"},
        200,
        None,
    )
    assert create.body_bytes == int(create.headers["content-length"]) > 0
    assert (get.n, get.path, get.query) == (
        2,
        f"{JOBS}/nightly",
        {"readMask": "name,state", "x": " y"},
    )
    assert (get.status, get.fault, get.body_bytes) == (503, "status", 0)


async def test_the_log_over_http_is_the_same(bench):
    """As JSON, from a number on; control requests are not in it."""
    for path in ("/a", "/b", "/c"):
        await bench.api.get(path)
    reply = await control(bench, "GET", "requests?since=1")
    records = reply.json["requests"]
    assert [record["path"] for record in records] == ["/b", "/c"]
    assert [RecordedRequest(**record) for record in records] == bench.emulator.requests(since=1)
    assert bench.emulator.requests(since=3) == bench.emulator.requests(since=99) == []
    everything = (await control(bench, "GET", "requests")).json["requests"]
    assert [record["n"] for record in everything] == [1, 2, 3]


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "1" * 16, "1" * 5000])
async def test_a_log_from_no_number_is_refused(bench, since):
    """The parameter is checked, however long it is."""
    reply = await control(bench, "GET", f"requests?since={since}")
    message = f"since: '{since}' is not a whole number from 0 to 1e+15"
    error = {"field": "since", "value": since, "message": message}
    assert (reply.status, reply.json) == (400, {"error": error})


async def test_no_key_is_ever_in_the_log(bench):
    """Not the right one, not a wrong one, in neither header, in Python or over HTTP."""
    await bench.api.get(JOBS)
    await bench.api.get(JOBS, headers={"Authorization": "fw_secret", "X-Api-Key": "fw_secret"})
    first, second = bench.emulator.requests()
    assert first.headers["authorization"] == "Bearer ***"
    assert (second.headers["Authorization"], second.headers["x-api-key"]) == ("***", "***")
    text = (await control(bench, "GET", "requests")).body + repr([first, second]).encode()
    assert b"fw_" not in text


async def test_a_header_of_any_bytes_is_shown(bench):
    """What is no UTF-8 is replaced, and no later look at the log fails because of it."""
    host, _, port = bench.emulator.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Odd: \xff\xc3\xa9\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()
    (record,) = (await control(bench, "GET", "requests")).json["requests"]
    assert record["headers"]["X-Odd"] == "\ufffdé"


def test_recorded_headers_are_found_in_any_case():
    """They keep the spelling that was sent, and are found by every other."""
    headers = mask_credentials({"User-Agent": "x", "AUTHORIZATION": "Bearer k"})
    assert (headers["user-agent"], headers["Authorization"]) == ("x", "Bearer ***")
    assert dict(headers) == {"User-Agent": "x", "AUTHORIZATION": "Bearer ***"}
    assert "accept" not in headers


def test_only_the_newest_requests_are_kept(epoch):
    """The numbers go on, the oldest are forgotten."""
    log = RequestLog(EmulatedClock(lambda: 0.0, speed=1.0, epoch=epoch), capacity=3)
    for _ in range(5):
        log.open(method="GET", path="/", query={}, headers={}, body_bytes=0)
    assert [record.n for record in log.since(0)] == [3, 4, 5]
    assert [record.n for record in log.since(4)] == [5]


# Who may use it


async def test_pages_of_other_sites_have_no_control(bench):
    """Neither under the emulator's address, nor under a name of theirs that leads to it."""
    origin = bench.emulator.base_url
    foreign = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": origin.replace("http:", "https:")},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "[", "Origin": "http://["},
        {"Host": ""},
    ]
    bench.emulator.script_job("nightly")
    for headers in foreign:
        for method, path in (("POST", "reset"), ("GET", "requests"), ("OPTIONS", "reset")):
            reply = await bench.api.send(method, f"/_emulator/{path}", headers=headers)
            assert (reply.status, reply.json["code"]) == (403, 7), headers
    assert (await bench.job())["name"].endswith("/nightly")
    assert (await bench.api.post("/_emulator/reset", headers={"Origin": origin})).status == 200


@pytest.mark.parametrize(
    ("header", "host", "expected"),
    [
        ("127.0.0.1:8123", "127.0.0.1", True),
        ("localhost:8123", "127.0.0.1", True),
        ("LOCALHOST", "::1", True),
        ("[::1]:8123", "127.0.0.1", True),
        ("192.168.1.5:8123", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example:8123", "127.0.0.1", False),
        ("192.168.1.5:8123", "0.0.0.0", True),  # noqa: S104
        ("192.168.1.5:8123", "::", True),
        ("emulator:8123", "0.0.0.0", False),  # noqa: S104
        ("emulator:8123", "Emulator", True),
        ("127.0.0.1:8123", "emulator", True),
        ("", "", False),
        ("[", "127.0.0.1", False),
    ],
)
def test_names_of_the_emulator(header, host, expected):
    """Its own, those of this machine, and addresses where other machines may use it."""
    assert is_own_host(header, host) is expected


# Reset


async def test_a_reset_forgets_all_but_the_time(bench):
    """No jobs, faults or requests, numbers from 1; the same ids are made up again."""
    first = (await bench.create()).json
    bench.emulator.add_fault("status", times=None)
    bench.clock.advance(3)
    assert (await control(bench, "POST", "reset")).json == {}
    assert bench.emulator.requests() == []
    assert bench.emulator.now().second == 3
    assert (await bench.api.get(f"{JOBS}/nightly")).status == 404
    assert bench.emulator.requests()[0].n == 1
    assert (await bench.create()).json["outputDatasetId"] == first["outputDatasetId"]


async def test_a_reset_gives_the_account_its_requests_back(make_bench):
    """The limit begins anew."""
    async with make_bench(requests_per_minute=1) as bench:
        await bench.api.get(JOBS)
        bench.emulator.reset()
        assert (await bench.api.get(JOBS)).status == 200
