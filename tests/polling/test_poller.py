"""One poller under all polls: over real HTTP against the emulator, on a virtual clock."""

import asyncio
import contextlib
import contextvars
import random
from collections import Counter
from itertools import pairwise

import attrs
import pytest

from fireworks_batch import (
    APIStatusError,
    AuthenticationError,
    ClientStateError,
    JobGoneError,
    NotFoundError,
    PollPolicy,
    ResponseDecodeError,
    TransportError,
    WaitTimeoutError,
)
from fireworks_batch.polling.approach import ORDER
from fireworks_batch.polling.poller import Poller

EVEN = PollPolicy(jitter=0)
STEADY = PollPolicy(initial_interval=60, max_interval=60)
LISTING = "*/batchInferenceJobs"
JOB = "*/batchInferenceJobs/*"
REFUSAL = {"code": 7, "message": "no", "details": []}


def now() -> float:
    """The virtual moment."""
    return asyncio.get_running_loop().time()


def pages(emulator, since=0) -> list:
    """Requests for a page of the listing."""
    return [one for one in emulator.requests(since) if one.path.endswith("/batchInferenceJobs")]


def gets(emulator, since=0) -> list:
    """Requests for one job."""
    return [one for one in emulator.requests(since) if "/batchInferenceJobs/" in one.path]


async def script(emulator, count, phases=None, *, prefix="job") -> list[str]:
    """Make jobs, one after the other, and return their ids."""
    ids = [f"{prefix}-{number}" for number in range(count)]
    for job_id in ids:
        emulator.script_job(job_id, phases=phases or ["PENDING"])
        await asyncio.sleep(0.001)
    return ids


def course(*states, seconds=60.0):
    """Phases of equal length; the last one stays."""
    return [{"state": state, "seconds": seconds} for state in states]


def left_behind(client) -> list:
    """What a client's pollers still hold."""
    held = []
    for poller in client._pollers._pollers.values():
        held += [*poller._followers.subjects, *poller._tasks, *poller._for_get]
        held += [poller._gets] * (poller._gets > 0) + [poller] * poller._is_paging
        held += [one for one in (poller._timer, poller._wakening) if one is not None]
    return held


async def wait_all(client, ids, **options):
    """Wait for all jobs, each with a wait of its own."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.jobs.wait_until_terminal(one, **options)) for one in ids]
    return [task.result() for task in tasks]


async def watch_for(client, ids, seconds, **options):
    """Wait for all jobs for so long, and leave."""
    tasks = [asyncio.create_task(client.jobs.wait_until_terminal(one, **options)) for one in ids]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return tasks


# --- GETs ---------------------------------------------------------------------------------------


def another(emulator, **options) -> None:
    """Answer a GET of one job with another job, which has ended."""
    name = "accounts/acme/batchInferenceJobs/another"
    body = {"name": name, "state": "JOB_STATE_FAILED"}
    emulator.add_fault("status", status=200, body=body, path=JOB, **options)


def test_an_answer_about_another_job_is_a_failed_poll(in_virtual_time):
    """The wait goes on, and its job's own end ends it."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=course("PENDING", "COMPLETED"))
        another(emulator, times=2)
        wait = client.jobs.wait_until_terminal("nightly")
        seen = [(one.job.id, str(one.job.state), one.failures) async for one in wait]
        return seen[0], seen[-1]

    first, last = in_virtual_time(scenario)
    assert first == ("nightly", "PENDING", 2)
    assert last == ("nightly", "COMPLETED", 0)


def test_a_fleet_takes_no_other_jobs_outcome(in_virtual_time):
    """An answer about another job costs the fleet one poll."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=course("PENDING", "COMPLETED"))
        another(emulator)
        (outcome,) = (await client.jobs.watch(["nightly"])).values()
        return outcome.ref.job_id, outcome.unwrap().state

    assert in_virtual_time(scenario) == ("nightly", "COMPLETED")


@pytest.mark.parametrize("mask", [(), ("state",)])
def test_get_refuses_an_answer_about_another_job(in_virtual_time, mask):
    """And names both; so does whatever gets a job first, as results do."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=["COMPLETED"])
        another(emulator, times=2)
        with pytest.raises(ResponseDecodeError, match=r"'nightly', not 'accounts/.*/another'"):
            await client.jobs.get("nightly", read_mask=mask)
        with pytest.raises(ResponseDecodeError, match="another job"):
            async with client.results("nightly"):
                pass

    in_virtual_time(scenario)


def test_two_waits_on_one_job_share_its_polls(in_virtual_time):
    """Begun together, they cost what one costs."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=course("PENDING", "COMPLETED", seconds=120))
        first, second = await wait_all(client, ["nightly", "nightly"], poll=EVEN)
        assert first.is_success
        assert second.is_success
        return len(gets(emulator))

    assert in_virtual_time(scenario) == 5


def test_a_poll_is_never_older_than_it_was_due(in_virtual_time):
    """A GET that is under way does not answer a wait that begins after it was sent."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=["PENDING"])
        emulator.add_fault("delay", seconds=2, path=JOB)
        first = asyncio.create_task(client.jobs.wait_until_terminal("nightly", timeout=50))
        await asyncio.sleep(1)
        emulator.script_job("nightly", phases=["COMPLETED"])
        second = await client.jobs.wait_until_terminal("nightly")
        await first
        return second.is_success, len(gets(emulator))

    assert in_virtual_time(scenario) == (True, 2)


def test_a_cancelled_wait_does_not_strand_who_joined_it(in_virtual_time):
    """The GET that both wait for goes on for the other one."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=["COMPLETED"])
        emulator.add_fault("delay", seconds=2, path=JOB)
        first, second = (
            asyncio.create_task(client.jobs.wait_until_terminal("nightly")) for _ in range(2)
        )
        await asyncio.sleep(1)
        first.cancel()
        job = await second
        assert first.cancelled()
        return job.is_success, len(gets(emulator)), left_behind(client)

    assert in_virtual_time(scenario) == (True, 1, [])


def test_each_of_two_waits_has_an_error_of_its_own(in_virtual_time):
    """What one poll failed with is raised in both, and is not the same object."""

    async def scenario(_, client):
        tasks = [asyncio.create_task(client.jobs.wait_until_terminal("nowhere")) for _ in "ab"]
        await asyncio.wait(tasks)
        return [task.exception() for task in tasks]

    first, second = in_virtual_time(scenario)
    assert isinstance(first, NotFoundError)
    assert first is not second
    assert str(first) == str(second)
    assert first.ref == second.ref


def test_a_hanging_get_holds_up_nobody_else(in_virtual_time):
    """Each wait keeps its own time."""

    async def scenario(emulator, client):
        emulator.script_job("deaf", phases=["PENDING"])
        emulator.script_job("nightly", phases=course("PENDING", "COMPLETED"))
        emulator.add_fault("hang", path="*/deaf", times=None, seconds=1000)
        deaf = asyncio.create_task(client.jobs.wait_until_terminal("deaf", timeout=40))
        began = now()
        await client.jobs.wait_until_terminal("nightly", poll=EVEN)
        assert now() - began < 80
        with pytest.raises(WaitTimeoutError):
            await deaf
        return round(now() - began)

    assert in_virtual_time(scenario) < 80


def test_an_awaited_wait_is_woken_by_its_end_only(in_virtual_time):
    """Its task takes as many steps however long it takes."""

    async def scenario(emulator, client):
        emulator.script_job("nightly", phases=course("PENDING", "COMPLETED", seconds=36_000))
        wait, steps = client.jobs.wait_until_terminal("nightly"), 0

        class Counting:
            def __await__(self):
                nonlocal steps
                iterator = wait.__await__()
                while True:
                    try:
                        waited = next(iterator)
                    except StopIteration as done:
                        return done.value
                    steps += 1
                    yield waited

        job = await Counting()
        assert len(gets(emulator)) > 500
        assert wait.last_snapshot.number == len(gets(emulator))
        return job.is_success, steps

    assert in_virtual_time(scenario) == (True, 1)


def test_polls_are_made_in_a_context_of_their_own(in_virtual_time):
    """What a caller keeps in context variables is not kept alive, nor seen, by the poller."""
    variable = contextvars.ContextVar("variable", default="none")

    async def scenario(emulator, client):
        seen = []
        poller = client._pollers.of("acme")
        ask = poller._ask

        async def spy(*arguments):
            seen.append(variable.get())
            return await ask(*arguments)

        poller._ask = spy
        emulator.script_job("nightly", phases=["COMPLETED"])
        variable.set("mine")
        await client.jobs.wait_until_terminal("nightly")
        return seen

    assert in_virtual_time(scenario) == ["none"]


@pytest.mark.parametrize("where", ["_begin_polls", "_ask", "_read_pages"])
def test_a_bug_of_the_poller_reaches_everybody(in_virtual_time, monkeypatch, where):
    """Nobody waits for ever on a poller that broke, and nothing is left of it."""

    async def scenario(emulator, client):
        ids = await script(emulator, 9)

        def fail(*_):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(client._pollers.of("acme"), where, fail)
        if where == "_ask":
            ids = ids[:2]
        tasks = [asyncio.create_task(client.jobs.wait_until_terminal(job)) for job in ids]
        await asyncio.wait(tasks)
        assert {type(task.exception()) for task in tasks} == {ZeroDivisionError}
        return left_behind(client)

    assert in_virtual_time(scenario) == []


def test_a_timer_that_fires_early_costs_no_poll(in_virtual_time):
    """Jobs that had to stand in line are not asked for at a moment before they were due."""

    async def scenario(emulator, client):
        ids = await script(emulator, 30)
        await client.jobs.watch(ids, timeout=1)  # there is no listing
        # Else this test would have no end where it fails.
        emulator.add_fault("hang", path=JOB, after=200, times=None, seconds=100)
        # The last poll is due at 102.896463 and 1e-14 then: this loop's clock knows microseconds.
        await asyncio.sleep(101.996463 - now())
        since = len(emulator.requests())
        fleet = await client.jobs.watch(ids, timeout=1, poll=STEADY)
        assert {type(outcome.error) for outcome in fleet.values()} == {WaitTimeoutError}
        return max(Counter(one.path for one in gets(emulator, since)).values())

    assert in_virtual_time(scenario, emulator={"assume": {"list_support": "refuse"}}) == 2


# --- Pages --------------------------------------------------------------------------------------


def test_many_waits_cost_a_few_requests(in_virtual_time):
    """Forty waits of their own, an hour long: a page a round."""

    async def scenario(emulator, client):
        ids = await script(emulator, 40)
        tasks = await watch_for(client, ids, 3600, poll=STEADY)
        assert all(task.cancelled() for task in tasks)
        return len(pages(emulator)), len(gets(emulator)), left_behind(client)

    listed, got, left = in_virtual_time(scenario)
    assert 50 <= listed <= 62
    assert got == 0
    assert left == []


def test_an_iterated_wait_gets_its_polls_from_pages_too(in_virtual_time):
    """And what is known of its job is not forgotten between two polls: later ones are masked."""

    async def scenario(emulator, client):
        ids = await script(emulator, 20)

        async def iterate(job_id):
            async for snapshot in client.jobs.wait_until_terminal(job_id, poll=STEADY):
                assert snapshot.job.model == "accounts/fireworks/models/demo-8b"

        tasks = [asyncio.create_task(iterate(job_id)) for job_id in ids]
        await asyncio.sleep(1200)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        masked = [bool(one.query.get("readMask")) for one in pages(emulator)]
        return len(gets(emulator)), masked[:1], set(masked[1:]), left_behind(client)

    assert in_virtual_time(scenario) == (0, [False], {True}, [])


SWITCHES = [
    {"default_order": order, "order_field_names": names, "masked_answer": answer}
    for order in ("oldest_first", "newest_first")
    for names in ("both", "created_time", "create_time")
    for answer in ("emit_unpopulated", "populated_only")
] + [
    {"mask_support": "ignore"},
    {"mask_support": "refuse"},
    {"list_support": "refuse"},
    {"end_of_pages": "no_token"},
    {"page_tokens": "expiring"},
    {"deleted_job": "tombstone"},
    {"deleted_job": "archived"},
]


@pytest.mark.parametrize("assume", SWITCHES, ids=lambda one: "-".join(one.values()))
def test_the_outcomes_are_the_same_whatever_the_server_does(in_virtual_time, assume):
    """Each job ends with its true outcome, and each snapshot shows a whole job."""

    async def scenario(emulator, client):
        rng = random.Random(5)
        ids = await script(emulator, 12)
        for number, job_id in enumerate(ids):
            states = ["PENDING", "RUNNING", ("COMPLETED", "FAILED", "EXPIRED")[number % 3]]
            emulator.script_job(job_id, phases=course(*states, seconds=60 * rng.randint(1, 9)))
        outcomes = {}
        async for snapshot in client.jobs.watch(ids):
            assert snapshot.job.model == "accounts/fireworks/models/demo-8b"
            assert snapshot.job.create_time is not None
            outcomes[snapshot.job.id] = str(snapshot.job.state)
        assert len(pages(emulator)) < 100
        return list(outcomes.values()) and Counter(outcomes.values())

    found = in_virtual_time(scenario, emulator={"assume": assume})
    assert found == {"COMPLETED": 4, "FAILED": 4, "EXPIRED": 4}


@pytest.mark.parametrize("order", ["oldest_first", "newest_first"])
@pytest.mark.parametrize("names", ["both", "create_time"])
def test_an_order_that_shows_new_jobs_first_is_found(in_virtual_time, monkeypatch, order, names):
    """By the answers' own times: the jobs that are watched are on the first page then."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 20)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 20)

    async def scenario(emulator, client):
        await script(emulator, 30, ["COMPLETED"], prefix="old")
        ids = await script(emulator, 12)
        await watch_for(client, ids, 1200, poll=STEADY)
        last = pages(emulator)[-1]
        return last.query["orderBy"], len(pages(emulator)), len(gets(emulator))

    assume = {"default_order": order, "order_field_names": names}
    found, listed, got = in_virtual_time(scenario, emulator={"assume": assume})
    assert found == ORDER
    assert listed < 25
    assert got == 0


@pytest.mark.parametrize("order", ["oldest_first", "newest_first"])
def test_a_server_that_refuses_the_order_is_asked_in_its_own(in_virtual_time, monkeypatch, order):
    """With the newest jobs first that is as good; else it costs no more than GETs do."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 20)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 20)

    async def scenario(emulator, client):
        await script(emulator, 30, ["COMPLETED"], prefix="old")
        ids = await script(emulator, 12)
        await watch_for(client, ids, 1200, poll=STEADY)
        assert "orderBy" not in pages(emulator)[-1].query
        return len(pages(emulator)), len(gets(emulator))

    assume = {"default_order": order, "order_field_names": "created_time"}
    listed, got = in_virtual_time(scenario, emulator={"assume": assume})
    if order == "newest_first":
        assert listed < 25
        assert got == 0
    else:
        assert listed + got <= 12 * 21


@pytest.mark.parametrize("order", ["oldest_first", "newest_first"])
def test_a_long_history_is_not_read(in_virtual_time, order, monkeypatch):
    """Where no order helps, a few jobs among many pages are asked for one by one."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 10)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 10)

    async def scenario(emulator, client):
        await script(emulator, 300, ["COMPLETED"], prefix="old")
        ids = await script(emulator, 8)
        await watch_for(client, ids, 600, poll=STEADY)
        return len(pages(emulator)), len(gets(emulator))

    assume = {"default_order": order, "order_field_names": "created_time"}
    listed, got = in_virtual_time(scenario, emulator={"assume": assume})
    if order == "newest_first":
        assert 9 <= listed <= 13
        assert got == 0
    else:
        assert listed <= 4  # one of them was refused
        assert 60 <= got <= 100


def test_jobs_on_late_pages_are_found_once_they_are_worth_it(in_virtual_time, monkeypatch):
    """Many jobs behind a few pages: the pages are cheaper than the GETs, and are read."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 10)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 10)

    async def scenario(emulator, client):
        await script(emulator, 30, ["COMPLETED"], prefix="old")
        ids = await script(emulator, 40)
        await watch_for(client, ids, 600, poll=STEADY)
        return len(pages(emulator)), len(gets(emulator))

    listed, got = in_virtual_time(
        scenario, emulator={"assume": {"order_field_names": "created_time"}}
    )
    assert 60 <= listed <= 90
    assert got <= 40


def test_a_job_that_the_listing_misses_is_asked_for_by_get(in_virtual_time):
    """A job that is gone is found out by its own 404s, while the others go on."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        tasks = [
            asyncio.create_task(client.jobs.wait_until_terminal(job_id, poll=EVEN))
            for job_id in ids
        ]
        await asyncio.sleep(100)
        await client.jobs.delete(ids[3])
        await asyncio.sleep(600)
        ended = [task for task in tasks if task.done()]
        assert ended == [tasks[3]]
        with pytest.raises(JobGoneError):
            tasks[3].result()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    in_virtual_time(scenario)


def test_jobs_that_a_late_listing_missed_are_looked_for_again(in_virtual_time):
    """After a few GETs they are found, and cost a page a round."""

    async def scenario(emulator, client):
        ids = await script(emulator, 12)
        emulator.add_fault("status", status=200, body={"batchInferenceJobs": []}, path=LISTING)
        await watch_for(client, ids, 3600, poll=STEADY)
        return len(pages(emulator)), len(gets(emulator))

    listed, got = in_virtual_time(scenario)
    assert 15 * 12 <= got <= 20 * 12  # the page that is read for the first shows the last ones too
    assert 40 <= listed <= 100


def test_a_page_that_is_read_for_others_shows_those_who_were_missed(in_virtual_time):
    """At once: they need no GET of their own then."""

    async def scenario(emulator, client):
        ids = await script(emulator, 12)
        missed = {f"accounts/acme/batchInferenceJobs/{job_id}" for job_id in ids[:2]}
        names = [f"accounts/acme/batchInferenceJobs/{job_id}" for job_id in ids]
        items = [{"name": one, "state": "JOB_STATE_PENDING"} for one in names if one not in missed]
        page = {"batchInferenceJobs": items, "nextPageToken": ""}
        emulator.add_fault("status", status=200, body=page, path=LISTING)
        await watch_for(client, ids, 1200, poll=STEADY)
        return len(gets(emulator))

    assert in_virtual_time(scenario) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_a_refused_listing_is_no_refusal_of_a_job(in_virtual_time, status):
    """GETs take over, for good, and each job ends as it should."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10, course("PENDING", "COMPLETED", seconds=300))
        emulator.add_fault("status", status=status, body=REFUSAL, path=LISTING, times=None)
        jobs = await wait_all(client, ids)
        assert all(job.is_success for job in jobs)
        return len(pages(emulator))

    assert in_virtual_time(scenario) == (2 if status == 400 else 1)


def test_a_page_that_fails_is_repeated_in_place(in_virtual_time, monkeypatch):
    """Late pages do not starve, and no poll fails by it."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 10)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 10)

    async def scenario(emulator, client):
        ids = await script(emulator, 40)
        waits = [client.jobs.wait_until_terminal(job_id, poll=STEADY) for job_id in ids]
        tasks = [asyncio.create_task(wait) for wait in waits]
        emulator.add_fault("status", status=503, path=LISTING, after=2, times=2)
        await asyncio.sleep(30)
        assert {wait.last_snapshot.number for wait in waits} == {1}
        assert {wait.failures for wait in waits} == {0}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return len(pages(emulator)), len(gets(emulator))

    assert in_virtual_time(scenario) == (6, 0)


def test_a_page_that_comes_at_last_leaves_jobs_to_gets(in_virtual_time):
    """A failure before that is no failed poll of other jobs, nor doubt of listings."""

    async def scenario(emulator, client):
        ids = await script(emulator, 9)
        ids.append("hidden")
        emulator.script_job("hidden", phases=["PENDING"])
        names = [f"accounts/acme/batchInferenceJobs/{job_id}" for job_id in ids[:9]]
        items = [{"name": one, "state": "JOB_STATE_PENDING"} for one in names]
        page = {"batchInferenceJobs": items, "nextPageToken": ""}
        emulator.add_fault("status", status=503, path=LISTING, times=2)
        emulator.add_fault("status", status=200, body=page, path=LISTING)
        waits = [client.jobs.wait_until_terminal(job_id, poll=STEADY) for job_id in ids]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(20)
        assert {wait.failures for wait in waits} == {0}
        assert {wait.last_snapshot.number for wait in waits} == {1}
        assert not client._pollers.of("acme")._approach.is_doubted
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return len(pages(emulator)), len(gets(emulator))

    assert in_virtual_time(scenario) == (3, 1)


def test_a_wait_that_is_cut_says_what_kept_it(in_virtual_time):
    """A page was refused for an hour, and is not lost before: the error tells that."""

    async def scenario(emulator, client):
        ids = await script(emulator, 9)
        emulator.add_fault("status", status=429, headers={"Retry-After": "3600"}, path=LISTING)
        outcomes = await client.jobs.watch(ids, timeout=100)
        return {str(outcome.error).split(";")[1] for outcome in outcomes.values()}

    (reason,) = in_virtual_time(scenario)
    assert "the last poll failed: GET /v1/accounts/acme/batchInferenceJobs: 429" in reason


def test_a_page_token_that_has_expired_costs_another_listing(in_virtual_time, monkeypatch):
    """And no GETs; if it is refused again, those that are left are asked for one by one."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 10)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 10)

    async def scenario(emulator, client):
        ids = await script(emulator, 40)
        found = []
        for times in (1, 2):
            body = {"code": 3, "message": "invalid page token", "details": []}
            since = len(emulator.requests())
            for number in range(times):
                after = 2 + 2 * number
                emulator.add_fault("status", status=400, body=body, path=LISTING, after=after)
            tasks = [asyncio.create_task(client.jobs.wait_until_terminal(one)) for one in ids]
            await asyncio.sleep(8)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            found.append((len(pages(emulator, since)), len(gets(emulator, since))))
        return found

    assert in_virtual_time(scenario) == [(7, 0), (6, 20)]


def test_an_outage_costs_a_few_requests_a_round(in_virtual_time):
    """Each wait counts its failed polls, by its own budget, though hardly anything is sent."""

    async def scenario(emulator, client):
        ids = await script(emulator, 40)
        emulator.add_fault("status", status=503, path="*", times=None)
        waits = [client.jobs.wait_until_terminal(job_id, poll=STEADY) for job_id in ids]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(600)
        assert {wait.failures for wait in waits} <= {7, 8, 9, 10, 11}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return len(emulator.requests())

    assert in_virtual_time(scenario) <= 35


def test_a_listing_out_of_order_does_not_end_the_waits(in_virtual_time):
    """It fails for hours; GETs bring the jobs to their ends."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10, course("PENDING", "COMPLETED", seconds=7200))
        emulator.add_fault("status", status=503, path=LISTING, times=None)
        jobs = await wait_all(client, ids)
        return all(job.is_success for job in jobs)

    assert in_virtual_time(scenario)


@pytest.mark.parametrize("status", [401, 403])
def test_a_bad_key_costs_two_requests(in_virtual_time, status):
    """One page and one GET tell all waits, each with an error and a reference of its own."""

    async def scenario(emulator, client):
        ids = await script(emulator, 30)
        body = {"error": {"message": "bad key", "code": "UNAUTHORIZED"}}
        emulator.add_fault("status", status=status, body=body, path="*", times=None)
        tasks = [asyncio.create_task(client.jobs.wait_until_terminal(job_id)) for job_id in ids]
        await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks]
        assert {type(error) for error in errors} == {AuthenticationError}
        assert [error.ref.job_id for error in errors] == ids
        return len(emulator.requests())

    assert in_virtual_time(scenario) == 2


def test_one_retry_after_is_obeyed_by_all(in_virtual_time):
    """A page's 429 holds everything back; then the polls go on, as few as before."""

    async def scenario(emulator, client):
        ids = await script(emulator, 30, course("PENDING", "COMPLETED", seconds=600))
        emulator.add_fault("status", status=429, headers={"Retry-After": "100"}, path=LISTING)
        task = asyncio.create_task(wait_all(client, ids))
        await asyncio.sleep(99)
        assert len(emulator.requests()) == 1
        jobs = await task
        return all(job.is_success for job in jobs), len(emulator.requests()) < 40

    assert in_virtual_time(scenario) == (True, True)


def test_pages_that_meet_429s_hold_nothing_for_longer_than_the_interval(in_virtual_time):
    """Each closes the gate for the policy's interval, doubled up to the longest one, no more."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        emulator.add_fault("status", status=429, path=LISTING, times=3)
        waits = [client.jobs.wait_until_terminal(job_id, poll=STEADY) for job_id in ids]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(170)
        assert {wait.last_snapshot for wait in waits} == {None}
        await asyncio.sleep(45)
        assert {wait.last_snapshot.number for wait in waits} == {1}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return len(emulator.requests())

    assert in_virtual_time(scenario) == 4


def test_masks_are_given_up_where_a_masked_answer_lacks_the_state(in_virtual_time):
    """For the client's life; no snapshot is ever made of such an answer."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        task = asyncio.create_task(watch_for(client, ids, 600, poll=STEADY))
        await asyncio.sleep(10)
        names = [f"accounts/acme/batchInferenceJobs/{job_id}" for job_id in ids]
        items = [{"name": name, "state": ""} for name in names]
        body = {"batchInferenceJobs": items, "nextPageToken": ""}
        emulator.add_fault("status", status=200, body=body, path=LISTING)
        await task
        masked = [bool(one.query.get("readMask")) for one in pages(emulator)]
        return masked[:2], set(masked[2:])

    assert in_virtual_time(scenario) == ([False, True], {False})


@pytest.mark.parametrize(
    "odd", [{"name": ["a"]}, {"name": {}}, {"name": 7}, {"state": 7}, {"state": {}}]
)
@pytest.mark.parametrize("is_masked", [False, True])
def test_an_item_whose_name_or_state_is_no_string_costs_a_get(in_virtual_time, odd, is_masked):
    """That job is asked for by GET; the others need nothing more."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        task = asyncio.create_task(watch_for(client, ids, 600, poll=STEADY))
        if is_masked:
            await asyncio.sleep(10)
        names = [f"accounts/acme/batchInferenceJobs/{job_id}" for job_id in ids]
        items = [{"name": name, "state": "JOB_STATE_PENDING"} for name in names]
        items[3] = {**items[3], **odd}
        body = {"batchInferenceJobs": items, "nextPageToken": ""}
        emulator.add_fault("status", status=200, body=body, path=LISTING)
        waits = await task
        assert all(wait.cancelled() for wait in waits)
        asked = [one.path.rpartition("/")[2] for one in gets(emulator)]
        masked = [bool(one.query.get("readMask")) for one in pages(emulator)]
        return asked, all(masked[2:])

    assert in_virtual_time(scenario) == (["job-3"], True)


def test_a_job_that_was_made_anew_is_read_anew(in_virtual_time):
    """While nobody polled: its masked answer is not laid over the job that is gone."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        fleet = client.jobs.watch(ids, poll=STEADY)
        for _ in range(25):
            await anext(fleet)
        await asyncio.sleep(100)
        await client.jobs.delete(ids[3], wait=True)
        fields = {"model": "accounts/fireworks/models/other"}
        emulator.script_job(ids[3], phases=["RUNNING"], fields=fields)
        since = len(emulator.requests())
        models = {}
        for _ in range(25):
            snapshot = await anext(fleet)
            models[snapshot.job.id] = snapshot.job.model
        await fleet.aclose()
        assert any("readMask" in one.query for one in pages(emulator, since))
        return models.pop(ids[3]), set(models.values()), len(gets(emulator, since))

    model = "accounts/fireworks/models/{}".format
    assert in_virtual_time(scenario) == (model("other"), {model("demo-8b")}, 1)


def test_many_waits_for_one_job_are_one_poll_of_it(in_virtual_time):
    """However many they are: it is one job, and not a page full of them."""

    async def scenario(emulator, client):
        ids = await script(emulator, 4)
        seldom = PollPolicy(initial_interval=3600, max_interval=3600)
        others = asyncio.create_task(watch_for(client, ids[:3], 700, poll=seldom))
        await asyncio.sleep(10)
        since = len(emulator.requests())
        await watch_for(client, ids[3:] * 8, 630, poll=attrs.evolve(STEADY, jitter=0))
        await others
        return len(pages(emulator, since)), len(gets(emulator, since))

    assert in_virtual_time(scenario) == (0, 11)


def test_a_listing_that_hangs_holds_nobody_up_for_long(in_virtual_time):
    """A page that gets no answer in time is not asked for again while everybody waits."""

    async def scenario(emulator, client):
        ids = await script(emulator, 12)
        others = asyncio.create_task(watch_for(client, ids[1:], 300, poll=STEADY))
        await asyncio.sleep(1)
        emulator.add_fault("hang", path=LISTING, times=None, seconds=1000)
        await asyncio.sleep(75)  # they have been due for a moment, and their page hangs
        began = now()
        async for snapshot in client.jobs.wait_until_terminal(ids[0], timeout=120):
            assert snapshot.number == 1
            break
        waited = now() - began
        await others
        return waited

    assert in_virtual_time(scenario) < 60


# --- Rest ---------------------------------------------------------------------------------------


def test_jobs_that_are_out_of_step_cost_eight_rounds_a_minute(in_virtual_time):
    """Begun one a second, and polled four times a minute, they are seen together soon."""

    async def scenario(emulator, client):
        ids = await script(emulator, 15)
        poll = PollPolicy(initial_interval=15, growth=1, jitter=0)
        fleet = client.jobs.watch(ids[:1], poll=poll)
        following = asyncio.ensure_future(fleet)
        for job_id in ids[1:]:
            await asyncio.sleep(1)
            fleet.add(job_id)
        await asyncio.sleep(60)
        since = len(emulator.requests())
        await asyncio.sleep(600)
        following.cancel()
        await asyncio.wait([following])
        return len(emulator.requests()) - since

    assert in_virtual_time(scenario) < 90  # eighty, and the ends of the ten minutes


def test_a_first_poll_is_made_at_once_in_a_gap(in_virtual_time):
    """Though a round over many jobs has just been made."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        tasks = [asyncio.create_task(client.jobs.wait_until_terminal(one)) for one in ids[1:]]
        await asyncio.sleep(1)
        assert pages(emulator)
        began = now()
        async for snapshot in client.jobs.wait_until_terminal(ids[0]):
            assert snapshot.number == 1
            break
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return now() - began

    assert in_virtual_time(scenario) < 0.5


def test_a_few_jobs_are_each_looked_at_when_they_are_due(in_virtual_time):
    """Three waits that are out of step ask for their jobs by GETs of their own, in time."""

    async def scenario(emulator, client):
        ids = await script(emulator, 3)
        began, tasks = now(), []
        for job_id in ids:
            wait = client.jobs.wait_until_terminal(job_id, poll=EVEN)
            tasks.append(asyncio.create_task(wait))
            await asyncio.sleep(2)
        moments = {}
        while now() < began + 30:
            for one in gets(emulator):
                moments.setdefault(one.n, (now() - began, one.path[-5:]))
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert not pages(emulator)
        return [(round(moment), job_id) for moment, job_id in list(moments.values())[3:]]

    assert in_virtual_time(scenario) == [(15, "job-0"), (17, "job-1"), (19, "job-2")]


def test_jobs_that_no_page_shows_have_no_gap(in_virtual_time):
    """Their GETs cannot be made together, so that there is nothing to wait for between them."""

    async def scenario(emulator, client):
        ids = await script(emulator, 250)
        nothing = {"batchInferenceJobs": []}
        emulator.add_fault("status", times=None, status=200, body=nothing, path=LISTING)
        poll = PollPolicy(initial_interval=60, jitter=0)
        seconds = []
        async for snapshot in client.jobs.watch(ids, poll=poll):
            if snapshot.number == 2:
                seconds.append(now())
            if len(seconds) == len(ids):
                break
        return seconds[-1] - seconds[0]

    assert in_virtual_time(scenario) < 5


def test_a_job_that_no_page_shows_is_looked_at_when_it_is_due(in_virtual_time):
    """Nothing is won if its GET waits for those of the others, however few are due at once."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        nothing = {"batchInferenceJobs": []}
        emulator.add_fault("status", times=None, status=200, body=nothing, path=LISTING)
        moments = {job_id: [] for job_id in ids}
        async for snapshot in client.jobs.watch(ids, poll=STEADY):
            moments[snapshot.job.id].append(now())
            if snapshot.number == 12:
                break
        return max(after - before for one in moments.values() for before, after in pairwise(one))

    assert in_virtual_time(scenario) < 66.5  # an interval, and a tenth of it for jitter


# --- Ends in sight ------------------------------------------------------------------------------


def follow_ends(in_virtual_time, *, is_adaptive):
    """Watch forty jobs that end together; return the requests, those for one job, and the lag."""

    async def scenario(emulator, client):
        states = course("RUNNING", "COMPLETED", seconds=900)
        ids, began = await script(emulator, 40, states), now()
        ended = {}
        async for snapshot in client.jobs.watch(ids, poll=PollPolicy(adaptive=is_adaptive)):
            if snapshot.job.is_terminal:
                ended[snapshot.job.id] = now() - began - 900
            if len(ended) == 40:
                break
        found = pages(emulator)
        minutes = Counter(one.time[:16] for one in found[2:])
        return max(minutes.values()), len(found), len(gets(emulator)), max(ended.values())

    return in_virtual_time(scenario, emulator={"tick": 0})


def test_all_ends_in_sight_at_once_cost_eight_rounds_a_minute(in_virtual_time):
    """Polls that are brought forward go together in pages, as all others do."""
    rounds, sent, single, lag = follow_ends(in_virtual_time, is_adaptive=True)
    _, base, base_single, _ = follow_ends(in_virtual_time, is_adaptive=False)
    assert rounds <= 8
    assert single <= base_single
    assert sent <= base + 8
    assert lag <= 15


def test_one_end_in_sight_brings_no_more_rounds_for_the_others(in_virtual_time):
    """The interval that says how long a poll waits for others stays the base one."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        emulator.script_job("nightly", phases=course("RUNNING", "COMPLETED", seconds=900))
        polls = Counter()
        async for snapshot in client.jobs.watch([*ids, "nightly"], poll=PollPolicy()):
            polls[snapshot.job.id] += 1
            if snapshot.job.is_terminal:
                break
        return polls

    polls = in_virtual_time(scenario, emulator={"tick": 0})
    base = 900 / 60 + 4  # the first four come sooner
    assert polls.pop("nightly") <= base + 12
    assert max(polls.values()) <= base


# --- Politeness ---------------------------------------------------------------------------------


def test_ten_requests_a_minute_are_enough_for_many_jobs(in_virtual_time):
    """Eight rounds at most, so that nothing is refused, and each job is seen every 90 s."""

    async def scenario(emulator, client):
        rng = random.Random(3)
        ids = await script(emulator, 60)
        for job_id in ids:
            states = ("PENDING", "RUNNING", "COMPLETED")
            emulator.script_job(job_id, phases=course(*states, seconds=60 * rng.randint(2, 20)))
        last, widest = dict.fromkeys(ids, now()), 0.0
        async for snapshot in client.jobs.watch(ids):
            job_id = snapshot.job.id
            widest, last[job_id] = max(widest, now() - last[job_id]), now()
        statuses = [one.status for one in emulator.requests()]
        return widest, statuses.count(429)

    widest, refused = in_virtual_time(scenario, emulator={"requests_per_minute": 10})
    assert widest <= 90
    assert refused == 0


@pytest.mark.parametrize(
    ("count", "path", "account_id"),
    [
        (1, "*/job-0", "acme"),
        (2, "*/job-0", "acme"),
        (8, LISTING, "acme"),
        (1, "/v1/accounts", None),
    ],
)
def test_a_policy_that_polls_seldom_closes_the_gate_for_no_hour(
    in_virtual_time, count, path, account_id
):
    """A 429 without a Retry-After holds nobody back for longer than a policy of theirs says."""

    async def scenario(emulator, client):
        ids = await script(emulator, count, course("PENDING", "COMPLETED", seconds=60))
        emulator.add_fault("status", status=429, path=path)
        seldom = PollPolicy(initial_interval=3600, max_interval=3600)
        other = asyncio.create_task(client.jobs.wait_until_terminal(ids[0], poll=seldom))
        began = now()
        await wait_all(client, ids[-7:], poll=EVEN)
        waited = now() - began
        other.cancel()
        await asyncio.wait([other])
        return waited

    assert in_virtual_time(scenario, client={"account_id": account_id}) < 200


def test_gets_keep_to_a_rate_that_was_learned(in_virtual_time):
    """Without listings, ten requests a minute are asked for evenly, and seldom refused."""

    async def scenario(emulator, client):
        ids = await script(emulator, 20)
        await watch_for(client, ids, 3600, poll=STEADY)
        statuses = [one.status for one in emulator.requests()]
        return statuses.count(429) / len(statuses), len(statuses)

    options = {"requests_per_minute": 10, "assume": {"list_support": "refuse"}}
    refused, sent = in_virtual_time(scenario, emulator=options)
    assert refused < 0.03
    assert sent > 400


def test_a_rate_that_was_given_is_never_exceeded(in_virtual_time):
    """max_requests_per_minute holds for polls as for all else."""

    async def scenario(emulator, client):
        ids = await script(emulator, 30)
        began = now()
        await watch_for(client, ids, 1200, poll=STEADY)
        return len(emulator.requests()) / (now() - began) * 60

    options = {"list_support": "refuse"}
    assert (
        in_virtual_time(
            scenario, emulator={"assume": options}, client={"max_requests_per_minute": 6}
        )
        <= 6.1
    )


def test_a_listing_that_is_well_again_is_found_so_in_time(in_virtual_time):
    """At a slow rate its jobs are not asked for one by one, for long, because it failed before."""

    async def scenario(emulator, client):
        ids = await script(emulator, 100)
        emulator.add_fault("status", status=503, path=LISTING, times=5)
        waits = [client.jobs.wait_until_terminal(job_id, poll=STEADY) for job_id in ids]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(400)
        seen = [wait.last_snapshot.number for wait in waits if wait.last_snapshot]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return len(seen), min(seen, default=0) >= 3, len(gets(emulator)) < 30

    client = {"max_requests_per_minute": 10}
    assert in_virtual_time(scenario, client=client) == (100, True, True)


def test_the_polls_are_not_looked_at_after_each_get(in_virtual_time, monkeypatch):
    """To look at n polls after each of n GETs would take n squared."""
    looks = []
    begin = Poller._begin
    monkeypatch.setattr(
        Poller, "_begin", lambda self, now: (looks.append(now), begin(self, now))[1]
    )

    async def scenario(emulator, client):
        ids = await script(emulator, 80, ["COMPLETED"])
        await client.jobs.watch(ids)
        return len(gets(emulator)), len(looks)

    polls, looked = in_virtual_time(scenario, emulator={"assume": {"list_support": "refuse"}})
    assert polls == 80
    assert looked < 8


def test_unlisted_jobs_keep_no_page_waiting(in_virtual_time):
    """At a slow rate those that are asked for one by one take turns with the others' page."""

    async def scenario(emulator, client):
        await script(emulator, 40)
        ids = await script(emulator, 60, prefix="listed")
        names = [f"accounts/acme/batchInferenceJobs/{job_id}" for job_id in ids]
        items = [{"name": one, "state": "JOB_STATE_PENDING"} for one in names]
        page = {"batchInferenceJobs": items, "nextPageToken": ""}
        emulator.add_fault("status", status=200, body=page, path=LISTING, times=None)
        hidden = [f"job-{number}" for number in range(40)]
        waits = {
            job_id: client.jobs.wait_until_terminal(job_id, poll=STEADY) for job_id in hidden + ids
        }
        tasks = [asyncio.create_task(wait) for wait in waits.values()]
        await asyncio.sleep(1800)
        numbers = {job_id: wait.last_snapshot.number for job_id, wait in waits.items()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        listed = min(numbers[job_id] for job_id in ids)
        return listed > 15, min(numbers[job_id] for job_id in hidden) > 3

    client = {"max_requests_per_minute": 10}
    assert in_virtual_time(scenario, client=client) == (True, True)


# --- Leaving ------------------------------------------------------------------------------------


def test_a_storm_of_waits_leaves_nothing_behind(in_virtual_time):
    """Begun and cancelled at random moments, with requests under way and without."""

    async def scenario(emulator, client):
        rng = random.Random(11)
        ids = await script(emulator, 50)
        emulator.add_fault("delay", seconds=0.7, path="*", probability=0.3, times=None)

        async def one(job_id):
            await asyncio.sleep(rng.uniform(0, 100))
            task = asyncio.create_task(client.jobs.wait_until_terminal(job_id))
            await asyncio.sleep(rng.choice([0, rng.uniform(0, 1), rng.uniform(0, 60)]))
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        async with asyncio.TaskGroup() as group:
            for number in range(1000):
                group.create_task(one(ids[number % len(ids)]))
        await asyncio.sleep(0)
        return left_behind(client)

    assert in_virtual_time(scenario) == []


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("turns", range(6))
def test_who_leaves_in_any_turn_of_the_loop_blocks_nobody(in_virtual_time, count, turns):
    """Even if a request's task was made and has not begun: others get their polls."""

    async def scenario(emulator, client):
        ids = await script(emulator, count, ["COMPLETED"])
        for _ in range(12):
            tasks = [asyncio.create_task(client.jobs.wait_until_terminal(one)) for one in ids]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        jobs = await wait_all(client, ids, timeout=60)
        await asyncio.sleep(0)
        return len(jobs), left_behind(client)

    assert in_virtual_time(scenario) == (count, [])


@pytest.mark.parametrize("after", [0.0, 0.5, 3.0, 20.0])
def test_closing_the_client_wakes_everybody(in_virtual_time, after):
    """In the middle of a page, of GETs, or between two polls; with nothing left of it."""

    async def scenario(emulator, client):
        ids = await script(emulator, 20)
        emulator.add_fault("delay", seconds=2, path="*", times=None)
        tasks = [asyncio.create_task(client.jobs.wait_until_terminal(job_id)) for job_id in ids]
        await asyncio.sleep(after)
        began = now()
        await client.aclose()
        for _ in range(3):
            await asyncio.sleep(0)
        assert now() - began < 0.1
        assert {type(task.exception()) for task in tasks} == {ClientStateError}
        assert [task.exception().ref.job_id for task in tasks] == ids
        with pytest.raises(ClientStateError, match="the client is closed"):
            await client.jobs.wait_until_terminal(ids[0])
        return left_behind(client)

    assert in_virtual_time(scenario) == []


@pytest.mark.parametrize("account_id", ["acme", None])
@pytest.mark.parametrize("turns", range(0, 14, 2))
def test_closing_the_client_in_any_turn_of_the_loop_wakes_everybody(
    in_virtual_time, turns, account_id
):
    """Waits and fleets, before their first request, in it, and after it."""

    async def scenario(emulator, client):
        ids = await script(emulator, 9)

        async def iterate():
            async for _ in client.jobs.watch(ids):
                pass

        works = [client.jobs.wait_until_terminal(one) for one in ids]
        works += [client.jobs.watch(ids), iterate(), client.jobs.wait_until_terminal("nowhere")]
        tasks = [asyncio.create_task(work) for work in works]
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.aclose()
        await asyncio.wait(tasks, timeout=1)
        assert {type(task.exception()) for task in tasks} == {ClientStateError}
        return left_behind(client)

    assert in_virtual_time(scenario, client={"account_id": account_id}) == []


def test_the_last_departure_ends_everything_within_a_turn(in_virtual_time):
    """No request goes on for nobody."""

    async def scenario(emulator, client):
        ids = await script(emulator, 10)
        emulator.add_fault("hang", path="*", times=None, seconds=500)
        tasks = [asyncio.create_task(client.jobs.wait_until_terminal(job_id)) for job_id in ids]
        await asyncio.sleep(1)
        assert left_behind(client)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        return [one for one in left_behind(client) if not isinstance(one, asyncio.Task)]

    assert in_virtual_time(scenario) == []


# --- Chaos --------------------------------------------------------------------------------------


@pytest.mark.once
def test_chaos_changes_no_outcome(in_virtual_time, monkeypatch):
    """Each route fails a third of the time, jobs are deleted, pages shift: all end truly, once."""
    monkeypatch.setattr("fireworks_batch.polling.schedule.PAGE_SIZE", 60)
    monkeypatch.setattr("fireworks_batch.polling.approach.PAGE_SIZE", 60)

    async def scenario(emulator, client):
        rng = random.Random(2)
        truth = {job_id: rng.choice(["COMPLETED", "FAILED", "EXPIRED"]) for job_id in ids}
        await script(emulator, len(ids))
        for job_id, state in truth.items():
            states = ("PENDING", "RUNNING", state)
            emulator.script_job(job_id, phases=course(*states, seconds=60 * rng.randint(2, 15)))
        faults = [("status", {"status": 503}), ("status", {"status": 429}), ("reset", {})]
        for action, options in [*faults, ("truncate", {"bytes": 300})]:
            emulator.add_fault(action, probability=0.085, times=None, path="/v1/*", **options)
        doomed = rng.sample(ids, 20)
        task = asyncio.create_task(meddle(emulator, client, doomed))
        outcomes = await client.jobs.watch(ids)
        await task
        await asyncio.sleep(0)
        assert list(outcomes) == ids
        for job_id, outcome in outcomes.items():
            if job_id in doomed:
                # Never seen before it was deleted, gone under way, or at its end before that.
                is_gone = isinstance(outcome.error, JobGoneError | NotFoundError)
                assert is_gone or outcome.unwrap().is_terminal
            else:
                assert str(outcome.unwrap().state) == truth[job_id]
        return left_behind(client)

    ids = [f"job-{number}" for number in range(300)]
    assert in_virtual_time(scenario) == []


async def meddle(emulator, client, doomed):
    """Delete jobs, and make others, while pages are read."""
    for number, job_id in enumerate(doomed):
        await asyncio.sleep(17)
        emulator.script_job(f"new-{number}", phases=["PENDING"])
        with contextlib.suppress(APIStatusError, TransportError):
            await client.jobs.delete(job_id)
