"""Keys, paths, methods, accounts, limits and dates, over HTTP."""

import io
import json
import re

import pytest

JOBS = "/v1/accounts/acme/batchInferenceJobs"


def refused(code: int, message: str) -> dict:
    """Give the gateway's error object."""
    return {"code": code, "message": message, "details": []}


# Keys


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong", "Basic fw_emulator", "fw_emulator"]
)
@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/x", "/v1/accounts", "/verifyApiKey", "/nowhere"])
async def test_without_the_key_the_edge_refuses(bench, authorization, path):
    """Whatever the path: 403, an envelope, and the request's id."""
    reply = await bench.api.get(path, headers={"Authorization": authorization})
    assert (reply.status, reply.json["error"]) == (
        403,
        {
            "message": "The API key you provided is invalid.",
            "param": None,
            "code": "UNAUTHORIZED",
            "type": "error",
        },
    )
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", reply.json["request_id"])


async def test_a_bad_key_may_be_401(make_bench):
    """The documents' status, by assumption."""
    async with make_bench(assume={"bad_key_status": "401"}) as bench:
        reply = await bench.api.get(JOBS, headers={"Authorization": "Bearer x"})
        assert reply.status == 401


async def test_the_key_may_come_in_a_header_of_its_own(bench):
    """X-Api-Key is accepted as well."""
    headers = {"Authorization": "", "X-Api-Key": "fw_emulator"}
    assert (await bench.api.get(JOBS, headers=headers)).status == 200


async def test_the_key_is_what_the_emulator_was_told(make_bench):
    """Another key opens another emulator."""
    async with make_bench(api_key="fw_other") as bench:
        assert (bench.emulator.api_key, (await bench.api.get(JOBS)).status) == ("fw_other", 200)


# Paths and methods


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", JOBS + "/", f"{JOBS}/a/b", "/v1/accounts/acme", "/v2/accounts"],
)
async def test_an_unknown_path_is_not_found(bench, path):
    """In the gateway's own words."""
    reply = await bench.api.get(path)
    assert (reply.status, reply.json) == (404, refused(5, "Not Found"))


@pytest.mark.parametrize(("position", "status"), [("501", 501), ("405", 405)])
@pytest.mark.parametrize(
    ("method", "path"), [("PUT", JOBS), ("PATCH", f"{JOBS}/x"), ("POST", "/v1/accounts")]
)
async def test_a_wrong_method_is_not_implemented(make_bench, position, status, method, path):
    """The gateway's default is 501; elsewhere it is 405."""
    async with make_bench(assume={"wrong_method_status": position}) as bench:
        reply = await bench.api.send(method, path)
        assert (reply.status, reply.json) == (status, refused(12, "Method Not Allowed"))


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("404", refused(5, "Not Found")),
        ("405", refused(12, "Method Not Allowed")),
        ("501", refused(12, "Method Not Allowed")),
    ],
)
async def test_there_is_no_cancel(make_bench, position, expected):
    """POST to :cancel is refused, and the job goes on."""
    async with make_bench(assume={"cancel_status": position}) as bench:
        await bench.create()
        reply = await bench.api.post(f"{JOBS}/nightly:cancel", json={})
        assert (str(reply.status), reply.json) == (position, expected)
        assert (await bench.job())["state"] == "JOB_STATE_VALIDATING"


# Accounts


async def test_the_key_opens_its_account(bench):
    """GET /v1/accounts lists it, with the members that clients read."""
    reply = await bench.api.get("/v1/accounts?pageSize=2")
    account = reply.json.pop("accounts")[0]
    assert reply.json == {"nextPageToken": "", "totalSize": 1}
    assert (account["name"], account["state"], account["suspendState"]) == (
        "accounts/acme",
        "READY",
        "UNSUSPENDED",
    )


async def test_a_key_may_open_several_accounts_or_none(make_bench):
    """What is listed is what the emulator was told."""
    async with make_bench(accounts=()) as bench:
        assert (await bench.api.get("/v1/accounts")).json["accounts"] == []
    async with make_bench(accounts=("b", "a", "c")) as bench:
        reply = await bench.api.get("/v1/accounts?pageSize=2&readMask=name")
        assert [account["name"] for account in reply.json["accounts"]] == [
            "accounts/b",
            "accounts/a",
        ]
        query = {"pageSize": "2", "readMask": "name", "pageToken": reply.json["nextPageToken"]}
        reply = await bench.api.get("/v1/accounts", params=query)
        assert [account["name"] for account in reply.json["accounts"]] == ["accounts/c"]
        assert reply.json["nextPageToken"] == ""
        assert (await bench.api.get("/v1/accounts/c/batchInferenceJobs")).status == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"orderBy": "name"}, ["a", "b"]),
        ({"filter": 'display_name="b"'}, ["b"]),
        ({}, ["b", "a"]),
    ],
)
async def test_accounts_may_be_ordered_and_filtered(make_bench, query, expected):
    """A list of accounts is a list like any other."""
    async with make_bench(accounts=("b", "a")) as bench:
        reply = await bench.api.get("/v1/accounts", params=query)
        assert [account["displayName"] for account in reply.json["accounts"]] == expected


async def test_an_unknown_mask_field_of_an_account_is_refused(bench):
    """Accounts have fields of their own."""
    reply = await bench.api.get("/v1/accounts?readMask=jobProgress")
    assert reply.json == refused(3, "invalid read mask path: 'jobProgress'")


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("403", refused(7, "no access to account 'globex'")),
        ("404", refused(5, "resource not found")),
    ],
)
async def test_an_account_that_the_key_does_not_open(make_bench, position, expected):
    """It is forbidden, or not there."""
    async with make_bench(assume={"foreign_account": position}) as bench:
        reply = await bench.api.get("/v1/accounts/globex/batchInferenceJobs")
        assert (str(reply.status), reply.json) == (position, expected)


async def test_accounts_keep_their_jobs_apart(make_bench):
    """One id may be taken in two accounts."""
    async with make_bench(accounts=("acme", "globex")) as bench:
        bench.emulator.script_job("nightly", rows=1)
        name = bench.emulator.script_job("nightly", rows=2, account_id="globex")
        assert name == "accounts/globex/batchInferenceJobs/nightly"
        reply = await bench.api.get(f"/v1/{name}")
        assert (reply.json["name"], reply.json["createdBy"]) == (name, "dev@globex.example")
        reply = await bench.api.get("/v1/accounts/globex/batchInferenceJobs")
        assert reply.json["totalSize"] == 1


async def test_a_key_is_checked_by_a_header(bench):
    """/verifyApiKey names the account in a header."""
    reply = await bench.api.get("/verifyApiKey")
    assert (reply.status, reply.headers["x-fireworks-account-id"]) == (200, "acme")


# Time


async def test_every_answer_is_dated_in_emulated_time(make_bench):
    """The Date header and now() run on the clock, so many times as fast."""
    async with make_bench(speed=600) as bench:
        bench.clock.advance(6.5)
        dates = [
            (await bench.api.get(path)).headers["Date"] for path in (JOBS, "/x", "/v1/accounts")
        ]
        assert dates == ["Mon, 14 Sep 2026 10:05:00 GMT"] * 3
        assert bench.emulator.now().isoformat() == "2026-09-14T10:05:00+00:00"


async def test_speed_moves_jobs(make_bench):
    """A minute passes in a tenth of a second at 600."""
    async with make_bench(speed=600) as bench:
        await bench.create()
        bench.clock.advance(0.0999)
        assert (await bench.job())["state"] == "JOB_STATE_VALIDATING"
        bench.clock.advance(0.0001)
        assert (await bench.job())["state"] == "JOB_STATE_PENDING"


# Limits


async def test_requests_are_limited_in_an_emulated_minute(make_bench):
    """The third of two is refused, until a minute has passed since the first."""
    async with make_bench(requests_per_minute=2, speed=10) as bench:
        assert (await bench.api.get(JOBS)).status == 200
        bench.clock.advance(3)
        assert (await bench.api.get(JOBS)).status == 200
        bench.clock.advance(2.9)
        reply = await bench.api.get(JOBS)
        assert (reply.status, reply.json) == (429, refused(8, "rate limit exceeded"))
        assert "Retry-After" not in reply.headers
        bench.clock.advance(0.1)
        assert (await bench.api.get(JOBS)).status == 200
        assert (await bench.api.get(JOBS)).status == 429


@pytest.mark.parametrize(
    ("position", "speed", "expected"),
    [
        ("seconds", 1, "60"),
        ("seconds", 7, "9"),
        ("seconds", 600, "1"),
        ("date", 1, "Mon, 14 Sep 2026 09:01:00 GMT"),
        ("date", 7, "Mon, 14 Sep 2026 09:00:09 GMT"),
    ],
)
async def test_a_limit_may_say_how_long(make_bench, position, speed, expected):
    """Real seconds until the next request may come, or that much after the answer's date."""
    rules = {"retry_after": position}
    async with make_bench(requests_per_minute=1, speed=speed, assume=rules) as bench:
        await bench.api.get(JOBS)
        assert (await bench.api.get(JOBS)).headers["Retry-After"] == expected


async def test_only_requests_with_a_key_count(make_bench):
    """Neither the edge's refusals nor the control protocol use up the limit."""
    async with make_bench(requests_per_minute=1) as bench:
        await bench.api.get(JOBS, headers={"Authorization": "Bearer x"})
        await bench.api.get("/_emulator/requests")
        assert (await bench.api.get(JOBS)).status == 200


async def test_a_large_body_is_read(bench):
    """A body may be larger than aiohttp's usual mebibyte."""
    body = {"model": "accounts/a/models/m", "inputDatasetId": "accounts/acme/datasets/d"}
    text = json.dumps(body | {"systemPrompt": "x" * 3_000_000}).encode()
    reply = await bench.api.post(JOBS, data=io.BytesIO(text))
    assert len(reply.json["systemPrompt"]) == 3_000_000
    assert bench.emulator.requests()[-1].body_bytes == len(text)
