"""Listings of jobs and datasets over real HTTP."""

import itertools
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from clients import client_of

from fireworks_batch import BatchClient, ConfigurationError, NotFoundError, ResponseDecodeError
from fireworks_batch.emulator import Emulator

JOBS = "/v1/accounts/acme/batchInferenceJobs"


def ids(count: int) -> list[str]:
    """The ids of so many jobs."""
    return [f"job-{number:03d}" for number in range(count)]


@pytest.fixture(params=["empty_token", "no_token"])
async def emulator(request):
    """Five jobs; the last page ends in either of the two documented ways."""
    assume = {"end_of_pages": request.param}
    async with Emulator(speed=60_000, account_id="acme", assume=assume) as running:
        for job_id in ids(5):
            running.script_job(job_id)
        yield running


@pytest.mark.parametrize("page_size", [1, 2, 5, 200])
async def test_all_pages_are_listed(client, page_size):
    """Every job once, in the server's order."""
    assert [job.id async for job in client.jobs.list(page_size=page_size)] == ids(5)


async def test_a_page_is_asked_for_when_it_is_needed(client, emulator):
    """Making a listing sends nothing, and stopping early asks for no more."""
    listing = client.jobs.list(page_size=2)
    assert emulator.requests() == []
    async for job in listing:
        if job.id == "job-001":
            break

    assert len(emulator.requests()) == 1


async def test_all_parameters_are_sent_on_every_page(client, emulator):
    """They must be the same on each page, or the token is refused."""
    listing = client.jobs.list(
        page_size=2, filter='display_name=""', order_by="create_time desc", read_mask=["state"]
    )
    found = [job async for job in listing]

    assert [job.id for job in found] == ids(5)[::-1]
    assert {job.model for job in found} == {""}
    assert len({(r.query["filter"], r.query["orderBy"]) for r in emulator.requests()}) == 1


async def test_pages_are_repeated_when_they_fail(client, emulator):
    """A page is a plain GET."""
    emulator.add_fault("status", status=503, after=1, times=2)
    emulator.add_fault("truncate", after=2)
    assert [job.id async for job in client.jobs.list(page_size=2)] == ids(5)


async def test_pages_that_go_in_a_circle_are_refused(client, emulator):
    """A token that comes again would never end."""
    name = "accounts/acme/batchInferenceJobs/x"
    body = {"batchInferenceJobs": [{"name": name, "state": "RUNNING"}], "nextPageToken": "again"}
    emulator.add_fault("status", status=200, times=None, body=body)
    with pytest.raises(ResponseDecodeError, match="the listing repeats a page"):
        _ = [job async for job in client.jobs.list()]

    assert len(emulator.requests()) == 2


@pytest.fixture
async def endless():
    """A server whose pages have ever new tokens and no job; by a filter, each thousandth has."""
    asked = []

    async def answer(request):
        asked.append(request)
        token = str(len(asked)) * (2000 if request.query.get("filter") == "long" else 1)
        name = f"accounts/acme/batchInferenceJobs/job-{len(asked)}"
        has_job = request.query.get("filter") == "sparse" and len(asked) % 1000 == 0
        items = [{"name": name, "state": "JOB_STATE_RUNNING"}] if has_job else []
        return web.json_response({"batchInferenceJobs": items, "nextPageToken": token})

    app = web.Application()
    app.router.add_get(JOBS, answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with BatchClient(api_key="fw_key", account_id="acme", base_url=url) as client:
            yield client, asked


async def test_a_listing_that_does_not_end_is_refused(endless):
    """A thousand empty pages in a row: no filter leaves so many."""
    client, asked = endless
    with pytest.raises(ResponseDecodeError, match="1,000 pages in a row had no items"):
        await anext(client.jobs.list())

    assert len(asked) == 1000


async def test_empty_pages_are_counted_in_a_row(endless):
    """A job after each 999 of them, and the listing goes on."""
    client, asked = endless
    listing = client.jobs.list(filter="sparse")
    found = [(await anext(listing)).id for _ in range(2)]

    assert found == ["job-1000", "job-2000"]
    assert len(asked) == 2000


async def test_a_token_that_no_url_can_hold_is_refused(endless):
    """It is not kept, nor sent back."""
    client, asked = endless
    with pytest.raises(ResponseDecodeError, match="nextPageToken: 6,000 characters, more than"):
        await anext(client.jobs.list(filter="long"))

    assert len(asked) == 100


async def test_one_unreadable_job_does_not_lose_the_page(client, emulator, caplog):
    """What can be read of it is given, what has no name is left out; both are logged."""
    caplog.set_level(logging.WARNING, "fireworks_batch.http")
    good = {"name": "accounts/acme/batchInferenceJobs/good", "state": "JOB_STATE_RUNNING"}
    half = good | {"name": "accounts/acme/batchInferenceJobs/half", "waitingOnCapacity": "no"}
    emulator.add_fault(
        "status",
        status=200,
        body={"batchInferenceJobs": [{"state": "JOB_STATE_RUNNING"}, half, "?", good]},
    )
    found = [job.id async for job in client.jobs.list()]

    assert found == ["half", "good"]
    assert [r.message.rpartition("; this item of the listing is ")[2] for r in caplog.records] == [
        "left out",
        "kept, without these members",
        "left out",
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"page_size": 0}, "page_size must be a whole number from 1 to 200, not 0"),
        ({"page_size": 201}, "page_size must be a whole number from 1 to 200, not 201"),
        ({"page_size": True}, "page_size must be a whole number from 1 to 200, not True"),
        ({"filter": 5}, "filter must be a string, not 5"),
        ({"order_by": ["name"]}, "order_by must be a string, not ['name']"),
        ({"filter": "\ud800"}, "filter '\\ud800' has a character that UTF-8 cannot write"),
        ({"read_mask": "state"}, "read_mask must be a list of paths, as in ['state'], not 'state'"),
    ],
)
def test_malformed_questions_are_refused_at_the_call(options, text):
    """Before any request, of jobs and datasets alike."""
    client = BatchClient(api_key="fw_key", account_id="acme")
    for resource in (client.jobs, client.datasets):
        with pytest.raises(ConfigurationError) as caught:
            resource.list(**options)
        assert text == str(caught.value)


async def test_a_listing_can_be_gone_on_with(client):
    """It is an iterator: what was read is not read again."""
    listing = client.jobs.list(page_size=2)
    first = [job.id for job, _ in zip([await anext(listing)], itertools.count(), strict=False)]
    rest = [job.id async for job in listing]

    assert first + rest == ids(5)


async def test_a_refusal_is_raised(emulator):
    """An account that is not there cannot be listed."""
    emulator.add_fault("status", status=404, body={"code": 5, "message": "no", "details": []})
    async with client_of(emulator) as client:
        with pytest.raises(NotFoundError, match="404 NOT_FOUND: no"):
            await anext(client.jobs.list())
