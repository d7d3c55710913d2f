"""What holds every test's emulators to the contract does notice."""

import json
import re

import pytest
from answer_schemas import SCHEMAS, problem_in

from fireworks_batch.emulator import Emulator, Exchange, RecordedRequest

JOBS = "/v1/accounts/acme/batchInferenceJobs"


def exchange(body, *, method="GET", path=f"{JOBS}/nightly", query=(), **members):
    """Make up an exchange."""
    request = RecordedRequest(
        n=1,
        time="",
        origin=members.get("origin", "api"),
        method=method,
        path=path,
        query=dict(query),
        headers=members.get("headers", {}),
        body_bytes=0,
        status=members.get("status", 200),
        fault=None,
    )
    return Exchange(
        request=request,
        body=json.dumps(body).encode(),
        is_genuine=members.get("is_genuine", True),
    )


@pytest.fixture
async def job(bench):
    """A job as the emulator shows it."""
    await bench.create()
    bench.clock.advance(600)
    return await bench.job()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"createTime": "2026-09-14T09:00:00Z"}, "data.createTime must match pattern"),
        ({"newMember": 1}, "data must not contain {'newMember'} properties"),
        ({"status": {"code": 0, "message": ""}}, "data.status.code must be string, not 0"),
        ({"jobProgress": {"percent": 101}}, "data.jobProgress cannot be validated"),
        ({"waitingOnCapacity": None}, "data.waitingOnCapacity must be boolean, not None"),
        ({"outputDatasetId": "out"}, "data.outputDatasetId must match pattern"),
    ],
)
async def test_a_changed_member_is_a_problem(job, change, problem):
    """Its type, its text, its being there at all."""
    assert problem_in(exchange(job)) is None
    assert problem in problem_in(exchange(job | change))


async def test_every_member_of_a_job_must_be_there(job):
    """Unless a mask hides it."""
    for name in job:
        rest = {other: value for other, value in job.items() if other != name}
        assert f"data must contain ['{name}'] properties" in problem_in(exchange(rest))
        assert problem_in(exchange(rest, query={"readMask": "name"})) is None


async def test_what_a_test_did_itself_is_no_problem(job):
    """Refusals, faults and fields laid over a job are not held against the emulator."""
    for members in ({"status": 404}, {"is_genuine": False}):
        assert problem_in(exchange({}, **members)) is None


def test_an_answer_that_nobody_described_is_a_problem():
    """A new call needs a schema."""
    assert problem_in(exchange({}, path="/v1/news")) == "no schema for GET /v1/news"


def test_a_key_on_a_signed_url_is_a_problem():
    """Whatever is answered."""
    headers = {"Authorization": "***"}
    seen = exchange({}, origin="storage", path="/x", headers=headers, status=400)
    assert problem_in(seen) == "Authorization on GET /x"
    assert problem_in(exchange({}, origin="storage", path="/x")) is None


async def test_a_watch_sees_every_exchange(make_bench):
    """Answered or not, within its `with` and not beyond."""
    seen = []
    with Emulator.watched(seen.append):
        pass
    async with make_bench() as unseen:
        await unseen.api.get(JOBS)
    assert seen == []
    with Emulator.watched(seen.append):
        async with make_bench() as bench:
            await bench.create()
            bench.emulator.add_fault("status", status=500)
            await bench.api.get(f"{JOBS}/nightly")
            bench.emulator.script_job("nightly", fields={"state": "odd"})
            await bench.api.get(f"{JOBS}/nightly")
    assert [(e.request.method, e.request.status, e.is_genuine) for e in seen] == [
        ("POST", 200, True),
        ("GET", 500, False),
        ("GET", 200, False),
    ]
    assert b"batchInferenceJobs/nightly" in seen[0].body


def test_each_call_has_a_schema_of_its_own():
    """No path is described twice for a method."""
    for method, pattern in SCHEMAS:
        example = pattern.replace("[^/:]+", "x").replace("[^/]+", "x")
        found = [key for key in SCHEMAS if key[0] == method and re.fullmatch(key[1], example)]
        assert found == [(method, pattern)]
