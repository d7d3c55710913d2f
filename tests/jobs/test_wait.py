"""The wait, over real HTTP against the emulator, on a virtual clock."""

import asyncio
import contextlib
import functools
import gc
import inspect
import math
import time
import warnings
from datetime import timedelta
from itertools import pairwise

import aiohttp
import attrs
import pytest
from virtual_loop import VirtualLoop

from fireworks_batch import (
    AccountSuspendedError,
    AuthenticationError,
    BadRequestError,
    BatchClient,
    ClientStateError,
    ConfigurationError,
    JobGoneError,
    JobStalledError,
    JobState,
    NotFoundError,
    PollFailureError,
    PollPolicy,
    UnknownStateError,
    WaitTimeoutError,
)
from fireworks_batch.emulator import Emulator

EVEN = PollPolicy(jitter=0)
API_ERROR = {"code": 5, "message": "resource not found", "details": []}
JOB_PATH = "*/batchInferenceJobs/*"


def virtual(test):
    """Run a test on a virtual clock: emulator, client and all are made on a loop of its own."""
    wanted = inspect.signature(test).parameters

    async def scenario(**arguments):
        async with Emulator(account_id="acme") as emulator:
            options = {"api_key": emulator.api_key, "base_url": emulator.base_url, "poll": EVEN}
            async with BatchClient(account_id="acme", **options) as client:
                made = {"emulator": emulator, "client": client}
                await test(**arguments, **{name: made[name] for name in made if name in wanted})

    @functools.wraps(test)
    def run(**arguments):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(scenario(**arguments))

    left = [wanted[name] for name in wanted if name not in {"emulator", "client"}]
    run.__signature__ = inspect.Signature(left)
    return run


def now() -> float:
    """The virtual moment."""
    return asyncio.get_running_loop().time()


def polls(emulator) -> int:
    """GETs of jobs that arrived at the server."""
    return sum("/batchInferenceJobs/" in request.path for request in emulator.requests())


def course(*states, seconds=60.0):
    """Phases of equal length; the last one stays."""
    return [{"state": state, "seconds": seconds} for state in states]


# --- Rules 1 to 3: when to poll -----------------------------------------------------------------


@virtual
async def test_a_terminal_first_answer_ends_the_wait_at_once(emulator, client):
    """One poll, no waiting, the terminal snapshot is the only one."""
    emulator.script_job("done", phases=["COMPLETED"])
    began = now()
    snapshots = [snapshot async for snapshot in client.jobs.wait_until_terminal("done")]
    assert [JobState.COMPLETED] == [snapshot.job.state for snapshot in snapshots]
    assert polls(emulator) == 1
    assert now() - began < 1


@virtual
async def test_a_job_is_followed_through_its_states(emulator, client):
    """Snapshots show the states in order, the terminal one exactly once and last."""
    emulator.script_job(
        "nightly",
        phases=course("VALIDATING", "PENDING", "CREATING", "RUNNING", "COMPLETED", seconds=120),
        rows=100,
        failed_rows=3,
    )
    wait = client.jobs.wait_until_terminal("nightly")
    snapshots = [snapshot async for snapshot in wait]
    states = list(dict.fromkeys(snapshot.job.state for snapshot in snapshots))
    assert ["VALIDATING", "PENDING", "CREATING", "RUNNING", "COMPLETED"] == states
    assert [snapshot.job.is_terminal for snapshot in snapshots].index(True) == len(snapshots) - 1
    assert [snapshot.number for snapshot in snapshots] == list(range(1, len(snapshots) + 1))
    assert snapshots[-1].percent == 100.0
    assert snapshots[-1].job.job_progress.failed_requests == 3
    assert snapshots[0].previous_state is None
    assert snapshots[0].changed
    assert wait.last_snapshot is snapshots[-1]
    assert wait.next_poll is None


@virtual
async def test_the_interval_grows_to_its_largest(emulator, client):
    """15 s, then times 1.5 after each poll that shows the same, up to 60 s."""
    emulator.script_job("idle", phases=["PENDING"])
    moments = []
    async for _ in client.jobs.wait_until_terminal("idle"):
        moments.append(now())
        if len(moments) == 7:
            break
    gaps = [round(later - earlier, 1) for earlier, later in pairwise(moments)]
    assert [15.0, 22.5, 33.8, 50.6, 60.0, 60.0] == gaps


@virtual
async def test_the_end_is_seen_right_after_the_tick(emulator, client):
    """A server that writes once a minute is polled half a second to three seconds behind that."""
    phases = [*course("VALIDATING", "PENDING", "CREATING"), *course("RUNNING", seconds=1800)]
    for number, pause in enumerate((0.0, 7.0, 23.0, 41.0)):
        job_id, began = f"nightly-{number}", now()
        emulator.script_job(job_id, phases=[*phases, {"state": "COMPLETED"}], rows=1000)
        await asyncio.sleep(pause)
        await client.jobs.wait_until_terminal(job_id, poll=PollPolicy())
        assert 1980 < now() - began < 1983.1


async def ends_at_any_moment(poll):
    """Return how late the ends of some jobs are seen, and how many polls they took."""
    async with (
        Emulator(account_id="acme", tick=0) as server,
        BatchClient(api_key=server.api_key, account_id="acme", base_url=server.base_url) as client,
    ):
        lags = []
        for number, seconds in enumerate((305.0, 1234.0, 3600.0, 7777.0)):
            phases = course("RUNNING", "COMPLETED", seconds=seconds)
            server.script_job(f"job-{number}", phases=phases, rows=900)
            began = now()
            await client.jobs.wait_until_terminal(f"job-{number}", poll=poll)
            lags.append(now() - began - seconds)
        return lags, polls(server)


@virtual
async def test_the_end_in_sight_is_polled_for():
    """A job that ends at any moment is seen within seconds, for five polls more."""
    lags, sent = await ends_at_any_moment(PollPolicy(jitter=0))
    _, base = await ends_at_any_moment(PollPolicy(jitter=0, adaptive=False))
    assert 0 <= min(lags)
    assert max(lags) <= 5.5
    assert sent <= base + 4 * 5


@virtual
async def test_next_poll_tells_the_truth(emulator, client):
    """Also where the poll is brought forward, or moved to the server's tick."""
    emulator.script_job(
        "nightly", phases=course("PENDING", "RUNNING", "COMPLETED", seconds=300), rows=1000
    )
    wait = client.jobs.wait_until_terminal("nightly", poll=PollPolicy())
    told, moments = [], []
    async for snapshot in wait:
        moments.append(now())
        if wait.next_poll is not None:
            told.append((wait.next_poll - snapshot.observed_at).total_seconds())
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(gaps) > 8
    assert told == pytest.approx(gaps, abs=0.1)


@virtual
async def test_a_fixed_policy_polls_at_one_interval(emulator, client):
    """Whatever the counters and the server's writes would say."""
    emulator.script_job("nightly", phases=course("RUNNING", "COMPLETED", seconds=600), rows=1000)
    moments = []
    async for _ in client.jobs.wait_until_terminal("nightly", poll=PollPolicy.fixed(25)):
        moments.append(now())
    assert {round(later - earlier, 1) for earlier, later in pairwise(moments)} == {25.0}


@virtual
async def test_ten_requests_a_minute_are_enough_for_a_wait(emulator, client):
    """The polls for an end in sight meet no 429."""
    options = {"account_id": "acme", "requests_per_minute": 10}
    for tick in (0, 60):
        async with (
            Emulator(**options, tick=tick) as server,
            BatchClient(api_key=server.api_key, account_id="acme", base_url=server.base_url) as one,
        ):
            for number, seconds in enumerate((130.0, 333.0, 1000.0, 2500.0)):
                phases = course("RUNNING", "COMPLETED", seconds=seconds)
                server.script_job(f"job-{number}", phases=phases, rows=50)
                await one.jobs.wait_until_terminal(f"job-{number}")
                await asyncio.sleep(60)
            assert {one.status for one in server.requests()} == {200}


@virtual
async def test_a_snapshot_tells_the_time(emulator, client):
    """Since the wait began, and since something visible changed."""
    emulator.script_job("nightly", phases=course("PENDING", "CREATING", seconds=50))
    told = []
    async for snapshot in client.jobs.wait_until_terminal("nightly"):
        told.append((snapshot.job.state, round(snapshot.elapsed), round(snapshot.unchanged_for)))
        if len(told) == 5:
            break
    assert [
        ("PENDING", 0, 0),
        ("PENDING", 15, 15),
        ("PENDING", 38, 38),
        ("CREATING", 71, 0),
        ("CREATING", 86, 15),
    ] == told


@virtual
async def test_what_cannot_be_read_is_told_and_logged_once(emulator, client, caplog):
    """A job of which name and state are readable is a successful poll."""
    emulator.script_job("nightly", phases=["PENDING"], fields={"createTime": "yesterday"})
    problems = []
    async for snapshot in client.jobs.wait_until_terminal("nightly"):
        problems.append(snapshot.problems)
        if len(problems) == 3:
            break
    assert all("createTime" in found for (found,) in problems)
    said = [r.getMessage() for r in caplog.records if "createTime" in r.getMessage()]
    assert len(said) == 1
    assert "the rest was read" in said[0]


@virtual
async def test_time_in_the_loop_body_counts_toward_the_interval(emulator, client):
    """A body of ten seconds leaves five of an interval of fifteen."""
    emulator.script_job("idle", phases=["PENDING"])
    moments = []
    async for _ in client.jobs.wait_until_terminal("idle"):
        moments.append(now())
        if len(moments) == 2:
            break
        await asyncio.sleep(10)
    assert round(moments[1] - moments[0], 1) == 15.0


@pytest.mark.once
@pytest.mark.parametrize("moving", [False, True], ids=["steady", "moving counters"])
@virtual
async def test_a_day_costs_at_most_1500_requests(emulator, moving):
    """Whether the counters move or not; and a day on the virtual clock takes moments."""
    emulator.script_job(
        "day",
        phases=[
            {"state": "RUNNING" if moving else "PENDING", "seconds": 86_000},
            {"state": "COMPLETED"},
        ],
        rows=1_000_000,
    )
    began = now()
    async with BatchClient(
        api_key=emulator.api_key, account_id="acme", base_url=emulator.base_url
    ) as client:
        await client.jobs.wait_until_terminal("day")
    assert now() - began >= 86_000
    assert 1_300 <= polls(emulator) <= 1_500


@virtual
async def test_changes_only_leaves_out_what_shows_nothing_new(emulator, client):
    """Two states, two snapshots, the terminal one among them."""
    emulator.script_job("nightly", phases=course("PENDING", "COMPLETED", seconds=600))
    wait = client.jobs.wait_until_terminal("nightly", changes_only=True)
    assert ["PENDING", "COMPLETED"] == [snapshot.job.state async for snapshot in wait]


@virtual
async def test_retry_after_is_a_floor(emulator, client):
    """The next poll comes no earlier than the server asks, and soon after that."""
    emulator.script_job("nightly", phases=["COMPLETED"])
    emulator.add_fault("status", status=503, headers={"Retry-After": "200"}, path=JOB_PATH)
    began = now()
    await client.jobs.wait_until_terminal("nightly")
    assert 200 <= now() - began < 201


@virtual
async def test_429s_without_retry_after_double_the_pause(emulator, client):
    """15 s, 30 s, 60 s, and no more than the largest interval after that."""
    emulator.script_job("nightly", phases=["COMPLETED"])
    emulator.add_fault("status", status=429, times=4, path=JOB_PATH)
    began = now()
    await client.jobs.wait_until_terminal("nightly")
    assert round(now() - began, 1) == 15 + 30 + 60 + 60


@virtual
async def test_one_429_slows_the_other_waits_of_the_client(emulator, client):
    """A second wait does not poll while the gate is closed."""
    emulator.script_job("first", phases=["COMPLETED"])
    emulator.script_job("second", phases=["COMPLETED"])
    emulator.add_fault("status", status=429, headers={"Retry-After": "100"}, path="*/first")
    began = now()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.jobs.wait_until_terminal("first"))
        await asyncio.sleep(1)
        group.create_task(client.jobs.wait_until_terminal("second"))
    assert now() - began >= 100
    assert polls(emulator) == 3


@virtual
async def test_a_429_that_does_not_say_how_long_slows_the_others_too(emulator, client):
    """For the interval of the wait that met it."""
    emulator.script_job("first", phases=["COMPLETED"])
    emulator.script_job("second", phases=["COMPLETED"])
    emulator.add_fault("status", status=429, path="*/first")
    began = now()
    async with asyncio.TaskGroup() as group:
        group.create_task(client.jobs.wait_until_terminal("first"))
        await asyncio.sleep(1)
        await group.create_task(client.jobs.wait_until_terminal("second"))
        assert now() - began >= 15
    assert polls(emulator) == 3


# --- Rule 4: a wait cannot die early ------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "options"),
    [
        *(("status", {"status": status}) for status in (408, 425, 429, 500, 502, 503, 504, 520)),
        ("status", {"status": 409}),
        ("status", {"status": 302, "headers": {"Location": "https://elsewhere.example/"}}),
        ("html", {"status": 403}),
        ("html", {"status": 404}),
        ("reset", {}),
        ("truncate", {"bytes": 40}),
        ("garbage", {}),
        ("hang", {"seconds": 1000}),
        ("drop_answer", {}),
    ],
)
@virtual
async def test_what_is_not_the_apis_refusal_only_costs_a_poll(emulator, client, action, options):
    """Two failed polls, then the truth; the snapshot says how many were lost, and why."""
    emulator.script_job("nightly", phases=["COMPLETED"])
    emulator.add_fault(action, times=2, path=JOB_PATH, **options)
    wait = client.jobs.wait_until_terminal("nightly")
    snapshots = [snapshot async for snapshot in wait]
    assert len(snapshots) == 1
    # aiohttp itself repeats a GET once on a dropped connection that was kept alive.
    assert 1 <= snapshots[0].failures <= 2
    assert snapshots[0].last_error is not None
    assert wait.failures == 0
    assert wait.last_error is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, AccountSuspendedError),
        (412, AccountSuspendedError),
    ],
)
@virtual
async def test_the_apis_own_refusal_ends_the_wait(emulator, client, status, error):
    """At once before a good answer, with the reference on the error."""
    emulator.script_job("nightly", phases=["COMPLETED"])
    emulator.add_fault("status", status=status, body={"code": 3, "message": "no"}, path=JOB_PATH)
    with pytest.raises(error, match="no") as caught:
        await client.jobs.wait_until_terminal("nightly")
    assert caught.value.ref == client.jobs.ref("nightly")
    assert polls(emulator) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
@virtual
async def test_after_a_good_answer_a_refusal_must_come_twice(emulator, client, status):
    """One 401, 403 or 404 between successful polls is a hiccup."""
    emulator.script_job("nightly", phases=course("PENDING", "COMPLETED", seconds=180))
    body = {"code": 5, "message": "no"}
    emulator.add_fault("status", status=status, body=body, after=1, path=JOB_PATH)
    job = await client.jobs.wait_until_terminal("nightly")
    assert job.is_success


@virtual
async def test_a_job_that_goes_is_gone(emulator, client):
    """404 twice after a successful poll: the error says so and carries the last snapshot."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("status", status=404, body=API_ERROR, after=1, times=2, path=JOB_PATH)
    with pytest.raises(JobGoneError, match="'nightly': not found any more, it was last seen RUNN"):
        await client.jobs.wait_until_terminal("nightly")


@virtual
async def test_a_job_that_is_not_there_yet_has_its_grace(emulator, client):
    """404 before it was seen: polled during not_found_grace, then NotFoundError."""
    began = now()
    with pytest.raises(NotFoundError, match="404 NOT_FOUND: resource not found") as caught:
        await client.jobs.wait_until_terminal("nowhere")
    assert round(now() - began, 1) == 30
    assert str(caught.value.ref) == "accounts/acme/batchInferenceJobs/nowhere"


@virtual
async def test_a_job_that_is_not_there_is_told_at_once(emulator, client, caplog):
    """The first poll is a warning that says for how long; a reader of the wait sees it too."""
    wait = client.jobs.wait_until_terminal("nowhere")
    waiting = asyncio.create_task(wait)
    await asyncio.sleep(1)
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert warning.getMessage() == "there is no job 'nowhere' so far; waiting up to 30 s for it"
    assert (type(wait.last_error), wait.last_snapshot) == (NotFoundError, None)
    assert str(wait.last_error).startswith("there is no job 'nowhere' in account 'acme' (404 ")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@virtual
@pytest.mark.parametrize(
    ("path", "fault"),
    [(JOB_PATH, {"body": "<html>no such page</html>"}), ("/v1/accounts", {"body": API_ERROR})],
    ids=["of a proxy", "for the account"],
)
async def test_a_404_that_is_not_about_the_job_is_not_told_as_a_missing_job(
    emulator, client, caplog, path, fault
):
    """A 404 of a proxy, or of the request for the account, is one failed poll like any other."""
    emulator.script_job("nightly", phases=["COMPLETED"])
    emulator.add_fault("status", status=404, times=2, path=path, **fault)
    async with BatchClient(api_key=emulator.api_key, base_url=emulator.base_url) as other:
        assert (await other.jobs.wait_until_terminal("nightly")).is_success
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert warning.getMessage().startswith("job 'nightly': a poll failed (1 in a row)")


@virtual
async def test_a_job_that_appears_within_the_grace_is_followed(emulator, client):
    """A wait may begin before the job can be read."""
    wait = asyncio.create_task(client.jobs.wait_until_terminal("late"))
    await asyncio.sleep(10)
    emulator.script_job("late", phases=["COMPLETED"])
    assert (await wait).is_success


@virtual
async def test_the_failure_budget_ends_a_wait(emulator, client):
    """An outage of an hour ends it; a job that was seen RUNNING may run on."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("status", status=503, times=None, path=JOB_PATH, after=1)
    began = now()
    with pytest.raises(PollFailureError, match="polls in a row failed over 1 h") as caught:
        await client.jobs.wait_until_terminal("nightly")
    assert 3600 <= now() - began <= 3720
    assert "it was last seen RUNNING; the last poll failed: " in str(caught.value)
    assert "the job was not touched and may run on" in str(caught.value)
    assert caught.value.last_error is not None


@virtual
async def test_a_wait_without_a_server_says_that_nothing_was_reached(emulator, client):
    """The error names the address, and does not say that a job runs which no poll has seen."""
    await emulator.stop()
    with pytest.raises(PollFailureError) as caught:
        await client.jobs.wait_until_terminal("nightly")
    text, place = str(caught.value), emulator.base_url.removeprefix("http://")
    assert text.startswith("job 'nightly': ")
    assert f": nothing was reached at {place}: Connection refused; this wait has not seen" in text
    assert "no poll succeeded" in text
    assert "run on" not in text


@virtual
async def test_a_wait_that_saw_its_job_queued_does_not_say_that_it_runs(emulator, client):
    """What was PENDING may never run: the error only says that the job was not touched."""
    emulator.script_job("nightly", phases=["PENDING"])
    with pytest.raises(WaitTimeoutError) as caught:
        await client.jobs.wait_until_terminal("nightly", timeout=100)
    assert "it was last seen PENDING; the job was not touched; wait for it" in str(caught.value)


@virtual
async def test_a_process_that_was_stopped_has_seen_no_outage(emulator, client):
    """A laptop that slept for ten hours, five failed polls before and after: the wait goes on."""
    emulator.script_job("nightly", phases=["RUNNING"])
    emulator.add_fault("status", status=503, times=10, path=JOB_PATH)
    wait = client.jobs.wait_until_terminal("nightly", timeout=100_000)
    task = asyncio.create_task(anext(aiter(wait)))
    await asyncio.sleep(200)
    assert 3 < polls(emulator) < 8
    asyncio.get_running_loop()._jumping.seconds += 36_000
    assert (await task).failures == 10


@virtual
async def test_429s_never_spend_the_budget(emulator, client):
    """Two hours of rate limits, and the wait goes on."""
    emulator.script_job("nightly", phases=["COMPLETED"])
    emulator.add_fault("status", status=429, times=130, path=JOB_PATH)
    began = now()
    assert (await client.jobs.wait_until_terminal("nightly")).is_success
    assert now() - began > 7000


# --- Rule 5: a wait cannot hang -----------------------------------------------------------------


@virtual
async def test_a_timeout_is_hard_and_takes_a_last_poll(emulator, client):
    """100 s mean 100 s, and a poll is started five seconds before."""
    emulator.script_job("nightly", phases=["PENDING"])
    began = now()
    moments = []
    wait = client.jobs.wait_until_terminal("nightly", timeout=100)
    with pytest.raises(WaitTimeoutError, match="not terminal after 2 min, it was last seen PEND"):
        async for _ in wait:
            moments.append(now() - began)
    assert round(now() - began, 1) == 100
    assert round(moments[-1], 1) == 95


@virtual
async def test_a_timeout_cuts_a_request_in_flight(emulator, client):
    """A server that does not answer cannot make the wait longer."""
    emulator.script_job("nightly", phases=["PENDING"])
    emulator.add_fault("hang", seconds=1000, path=JOB_PATH)
    began = now()
    with pytest.raises(TimeoutError):
        await client.jobs.wait_until_terminal("nightly", timeout=20)
    assert round(now() - began, 1) == 20


@virtual
async def test_the_jobs_own_expiry_bounds_the_default_wait(emulator, client):
    """A job that the server forgets to expire is given up an hour after its expiry time."""
    ends = emulator.now() + timedelta(hours=2)
    emulator.script_job("stuck", phases=["PENDING"], fields={"expireTime": ends.isoformat()})
    began = now()
    with pytest.raises(WaitTimeoutError, match="not terminal after 3 h"):
        await client.jobs.wait_until_terminal("stuck")
    assert abs(now() - began - 3 * 3600) < 2  # the Date header counts whole seconds


@virtual
async def test_a_stalled_job_is_given_up_with_a_hint(emulator, client):
    """PENDING for ever: the error says what may be wrong with the model."""
    emulator.script_job("stuck", phases=["PENDING"])
    poll = attrs.evolve(EVEN, stall_after=600)
    began = now()
    with pytest.raises(JobStalledError, match="a model or router that cannot serve batch jobs"):
        await client.jobs.wait_until_terminal("stuck", poll=poll)
    assert round(now() - began) == 600


@virtual
async def test_an_unknown_state_is_passed_on_and_polled_on(emulator, client):
    """A state that nobody has heard of is yielded, and does not end the wait."""
    emulator.script_job("nightly", phases=course("FROBNICATING", "COMPLETED"))
    states = [s.job.state async for s in client.jobs.wait_until_terminal("nightly")]
    assert states[0] == JobState("FROBNICATING")
    assert states[-1] == JobState.COMPLETED


@virtual
async def test_an_unknown_state_budget_ends_the_wait(emulator, client):
    """If it is set, and spent."""
    emulator.script_job("odd", phases=["FROBNICATING"])
    poll = attrs.evolve(EVEN, unknown_state_budget=300)
    with pytest.raises(UnknownStateError, match="unknown to this release for 5 min"):
        await client.jobs.wait_until_terminal("odd", poll=poll)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, 10**400, "60", True])
@virtual
async def test_a_bad_timeout_is_refused_at_the_call(client, timeout):
    """Before any request, naming the value and what would be right."""
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds above 0"):
        client.jobs.wait_until_terminal("nightly", timeout=timeout)


@virtual
async def test_an_unknown_state_that_has_ended_ends_the_wait(emulator, client):
    """Where the server says when it ended, at two polls a largest interval apart."""
    end = {"endTime": "2026-01-01T00:00:00Z"}
    emulator.script_job("odd", phases=["FROBNICATED"], fields={"lifecycle": end})
    began = now()
    with pytest.raises(UnknownStateError, match="FROBNICATED"):
        await client.jobs.wait_until_terminal("odd")
    assert round(now() - began) == 60


@pytest.mark.parametrize(("hours", "lasts"), [(2, 3 * 3600), (-5, 3600)], ids=["ahead", "passed"])
@virtual
async def test_a_scaled_wait_scales_the_jobs_expiry(monkeypatch, hours, lasts):
    """With FIREWORKS_BATCH_TIME_SCALE at a hundredth, and a server a hundred times as fast."""
    monkeypatch.setenv("FIREWORKS_BATCH_TIME_SCALE", "0.01")
    async with Emulator(account_id="acme", speed=100) as fast:
        ends = fast.now() + timedelta(hours=hours)
        fast.script_job("stuck", phases=["PENDING"], fields={"expireTime": ends.isoformat()})
        # One poll has to do: from many the deadline would be right in the end, scaled or not.
        fast.add_fault("status", status=429, after=1, times=None, path=JOB_PATH)
        began = now()
        async with BatchClient(
            api_key=fast.api_key, account_id="acme", base_url=fast.base_url
        ) as scaled:
            with pytest.raises(WaitTimeoutError):
                await scaled.jobs.wait_until_terminal("stuck")
        assert abs(now() - began - lasts / 100) < 2


# --- Rule 6: outcomes are data ------------------------------------------------------------------


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "DELETED"])
@virtual
async def test_what_became_of_the_job_is_never_raised(emulator, client, state):
    """Each terminal state is a final job."""
    emulator.script_job("nightly", phases=[state])
    assert (await client.jobs.wait_until_terminal("nightly")).state == state


# --- Every way to await -------------------------------------------------------------------------


@virtual
async def test_a_wait_is_awaited_in_every_way(emulator, client):
    """await, create_task, TaskGroup, gather and wait_for give the final job."""
    emulator.script_job("done", phases=["COMPLETED"])

    def wait():
        return client.jobs.wait_until_terminal("done")

    async with asyncio.TaskGroup() as group:
        grouped = group.create_task(wait())
    jobs = [
        await wait(),
        await asyncio.create_task(wait()),
        grouped.result(),
        *await asyncio.gather(wait(), wait()),
        await asyncio.wait_for(wait(), 10),
    ]
    assert all(job.is_success for job in jobs)
    assert len(jobs) == 6


@virtual
async def test_a_wait_is_used_once(emulator, client):
    """A second await, or an iteration after it, is a ClientStateError."""
    emulator.script_job("done", phases=["COMPLETED"])
    wait = client.jobs.wait_until_terminal("done")
    await wait
    with pytest.raises(ClientStateError, match="was used already"):
        await wait
    with pytest.raises(ClientStateError, match="was used already"):
        aiter(wait)
    iterated = client.jobs.wait_until_terminal("done")
    async for _ in iterated:
        pass
    with pytest.raises(ClientStateError, match="was used already"):
        await iterated


@virtual
async def test_two_cannot_iterate_at_once(emulator, client):
    """The second is refused, and the first goes on."""
    emulator.script_job("done", phases=["COMPLETED"])
    wait = client.jobs.wait_until_terminal("done")
    first = asyncio.create_task(wait.__anext__())
    await asyncio.sleep(0)
    with pytest.raises(ClientStateError, match="was used already"):
        await anext(wait)
    with pytest.raises(ClientStateError, match="was used already"):
        await wait.aclose()
    assert (await first).job.is_success


@virtual
async def test_two_tasks_cannot_drive_one_wait(emulator, client):
    """The second is refused, and the first goes on; so is one that comes afterwards."""
    emulator.script_job("nightly", phases=course("PENDING", "COMPLETED"))
    wait = client.jobs.wait_until_terminal("nightly")
    first = asyncio.create_task(wait)
    await asyncio.sleep(1)
    with pytest.raises(ClientStateError, match="was used already"):
        await asyncio.create_task(wait)
    assert (await first).is_success
    with pytest.raises(ClientStateError, match="was used already"):
        await asyncio.create_task(wait)


@virtual
async def test_a_wait_is_closed_and_thrown_into_as_a_coroutine_is(emulator, client):
    """Before its first step and after it, by what an event loop and a debugger call."""
    emulator.script_job("done", phases=["COMPLETED"])
    fresh, thrown, begun = (client.jobs.wait_until_terminal("done") for _ in range(3))
    fresh.close()
    with pytest.raises(LookupError, match="x"):
        thrown.throw(LookupError("x"))
    begun.send(None)
    begun.close()
    begun.close()
    for used in (fresh, thrown, begun):
        with pytest.raises(ClientStateError, match="was used already"):
            await used
    wrong = client.jobs.wait_until_terminal("done")
    with pytest.raises(TypeError, match="can't send non-None value"):
        wrong.send(1)
    wrong.close()


@virtual
async def test_a_wait_never_used_is_a_warning(client):
    """It names the job."""
    wait = client.jobs.wait_until_terminal("forgotten")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del wait
        gc.collect()
    assert ["<JobWait for 'forgotten'> was never awaited or iterated over"] == [
        str(warning.message) for warning in caught
    ]
    assert caught[0].category is RuntimeWarning


@virtual
async def test_closing_a_wait_ends_its_iteration(emulator, client):
    """aclose() is idempotent and silences the warning."""
    emulator.script_job("idle", phases=["PENDING"])
    wait = client.jobs.wait_until_terminal("idle")
    async for _ in wait:
        await wait.aclose()
    await wait.aclose()
    assert polls(emulator) == 1


# --- Rule 7: cancellation -----------------------------------------------------------------------


def leftovers() -> set[asyncio.Task]:
    """Tasks of the client; the emulator's are the server's own."""
    return {
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and "JobWait" in repr(task)
    }


async def turns(task, most=10) -> int:
    """Turns of the loop until a task is done."""
    for turn in range(most + 1):
        if task.done():
            return turn
        await asyncio.sleep(0)
    raise AssertionError("not done within ten turns of the loop")


@pytest.mark.parametrize("after", [0.0, 0.5, 20.0], ids=["at once", "asking", "sleeping"])
@virtual
async def test_cancellation_lands_at_once_and_leaves_nothing(emulator, client, after):
    """Within ten turns of the loop, without the clock moving."""
    emulator.script_job("idle", phases=["PENDING"])
    emulator.add_fault("hang", seconds=0.9, times=None, path=JOB_PATH)
    task = asyncio.create_task(client.jobs.wait_until_terminal("idle"))
    await asyncio.sleep(after)
    moment = now()
    task.cancel()
    assert await turns(task) <= 10
    assert task.cancelled()
    assert now() - moment < 0.05
    assert not leftovers()


@contextlib.asynccontextmanager
async def unready():
    """A server that takes connections and never shakes hands."""
    writers = []

    async def listen(_reader, writer):
        writers.append(writer)

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()


@virtual
async def test_cancellation_lands_while_connecting(emulator):
    """Within ten turns of the loop, without the clock moving; the connection's place is free."""
    async with (
        unready() as url,
        BatchClient(
            api_key="fw_key", account_id="acme", base_url=url, poll=EVEN, max_connections=1
        ) as client,
    ):
        task = asyncio.create_task(client.jobs.wait_until_terminal("idle"))
        waiting = asyncio.create_task(client.jobs.wait_until_terminal("in-line"))
        await asyncio.sleep(5)
        moment = now()
        for cancelled in (waiting, task):
            cancelled.cancel()
            assert await turns(cancelled) <= 10
            assert cancelled.cancelled()
        assert now() - moment < 0.05
        assert not leftovers()
        async with client._api.transport.stream(
            "GET", f"{emulator.base_url}/v1/accounts"
        ) as stream:
            assert stream.status


@virtual
async def test_a_connection_that_never_comes_costs_a_poll(emulator):
    """connect_timeout, and not request_timeout, ends it; the wait goes on."""
    async with (
        unready() as url,
        BatchClient(
            api_key="fw_key", account_id="acme", base_url=url, poll=EVEN, connect_timeout=3
        ) as client,
    ):
        wait = client.jobs.wait_until_terminal("idle", timeout=30)
        with pytest.raises(WaitTimeoutError):
            await wait
        assert "no complete answer within connect_timeout (3 s)" in str(wait.last_error)
        assert wait.failures == 2


@virtual
async def test_breaking_out_leaves_nothing_to_finalise(emulator, client):
    """Between two snapshots no request, timer or task is held."""
    emulator.script_job("idle", phases=["PENDING"])
    wait = client.jobs.wait_until_terminal("idle")
    async for _ in wait:
        break
    await asyncio.sleep(300)
    assert polls(emulator) == 1
    assert not leftovers()


@virtual
async def test_an_interrupted_iteration_can_go_on(emulator, client):
    """wait_for around one step cuts the poll, not the wait."""
    emulator.script_job("nightly", phases=course("PENDING", "COMPLETED"))
    steps = aiter(client.jobs.wait_until_terminal("nightly"))
    assert (await anext(steps)).job.state == "PENDING"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(steps), 5)
    assert (await anext(steps)).number == 2
    await steps.aclose()


@pytest.mark.parametrize("state", ["PENDING", "COMPLETED"])
@virtual
async def test_no_turn_of_the_loop_loses_a_snapshot(emulator, client, state):
    """A step that is cancelled as its answer comes leaves the snapshot to the next step."""
    emulator.script_job("nightly", phases=[state])
    for most in range(60):
        wait = client.jobs.wait_until_terminal("nightly")
        step = asyncio.ensure_future(anext(wait))
        for _ in range(most):
            await asyncio.sleep(0)
        step.cancel()
        await asyncio.wait([step])
        snapshot = await anext(wait) if step.cancelled() else step.result()
        assert (snapshot.number, snapshot.job.state) == (1, state)
        await wait.aclose()


@virtual
async def test_closing_the_client_wakes_its_waits(emulator, client):
    """Sleeping or asking, each ends with ClientStateError at once, and carries its reference."""
    emulator.script_job("idle", phases=["PENDING"])
    emulator.script_job("deaf", phases=["PENDING"])
    emulator.add_fault("hang", seconds=50, path="*/deaf")
    tasks = [asyncio.create_task(client.jobs.wait_until_terminal(job)) for job in ("idle", "deaf")]
    await asyncio.sleep(5)
    moment = now()
    await client.aclose()
    for task in tasks:
        await turns(task)
        with pytest.raises(ClientStateError, match="the client is closed") as caught:
            task.result()
        assert caught.value.ref is not None
    assert now() - moment < 0.05


@virtual
async def test_500_waits_share_one_client(emulator):
    """All end, with never more connections than max_connections, and leave nothing behind."""
    asking, most, made = 0, 0, 0
    trace = aiohttp.TraceConfig()

    async def begin(*_):
        nonlocal asking, most
        asking += 1
        most = max(most, asking)

    async def end(*_):
        nonlocal asking
        asking -= 1

    async def connect(*_):
        nonlocal made
        made += 1

    trace.on_request_start.append(begin)
    trace.on_request_end.append(end)
    trace.on_connection_create_end.append(connect)
    for number in range(500):
        emulator.script_job(f"job-{number}", phases=course("PENDING", "COMPLETED"))
    emulator.add_fault("status", status=501, times=None, path="*/batchInferenceJobs")
    async with BatchClient(
        api_key=emulator.api_key,
        account_id="acme",
        base_url=emulator.base_url,
        max_connections=7,
        trace_configs=[trace],
    ) as client:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(client.jobs.wait_until_terminal(f"job-{number}"))
                for number in range(500)
            ]
        assert all(task.result().is_success for task in tasks)
        session = client._api.session
        assert not session._sleepers
        assert not session._limits
        assert session._places._value == 7
    assert (7, 7) == (most, made)
    assert not leftovers()


@virtual
async def test_a_missing_account_is_looked_up_under_the_same_rules(emulator):
    """A lookup that fails is a failed poll; then the reference is known."""
    emulator.script_job("done", phases=["COMPLETED"])
    emulator.add_fault("status", status=503, times=2, path="/v1/accounts")
    async with BatchClient(
        api_key=emulator.api_key, base_url=emulator.base_url, poll=EVEN
    ) as client:
        wait = client.jobs.wait_until_terminal("done")
        assert wait.ref is None
        assert (await wait).is_success
        assert str(wait.ref) == "accounts/acme/batchInferenceJobs/done"
        assert client.account_id == "acme"


@virtual
async def test_next_poll_is_readable(emulator, client):
    """It is a time of day, as far ahead as the interval."""
    emulator.script_job("idle", phases=["PENDING"])
    wait = client.jobs.wait_until_terminal("idle")
    assert wait.next_poll is None
    async for snapshot in wait:
        ahead = (wait.next_poll - snapshot.observed_at).total_seconds()
        break
    assert 14.9 < ahead < 15.1


def test_next_poll_is_readable_without_a_loop():
    """After the loop has ended, and in another thread."""

    async def one_step():
        async with (
            Emulator(account_id="acme") as emulator,
            BatchClient(
                api_key=emulator.api_key, account_id="acme", base_url=emulator.base_url
            ) as client,
        ):
            emulator.script_job("idle", phases=["PENDING"])
            wait = client.jobs.wait_until_terminal("idle")
            await anext(wait)
            return wait

    wait = asyncio.run(one_step())
    assert (wait.next_poll - wait.last_snapshot.observed_at).total_seconds() > 10


@virtual
async def test_a_cancelled_await_has_no_next_poll(emulator, client):
    """It cannot go on."""
    emulator.script_job("idle", phases=["PENDING"])
    wait = client.jobs.wait_until_terminal("idle")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait, 5)
    assert wait.last_snapshot is not None
    assert wait.next_poll is None


def test_a_wait_runs_without_a_loop_of_ones_own(monkeypatch):
    """asyncio.run takes it."""

    async def serve(ready, done):
        async with Emulator(account_id="acme", speed=60_000) as emulator:
            emulator.script_job("done", phases=["COMPLETED"])
            ready.set_result(emulator.base_url)
            await asyncio.to_thread(done.wait)

    import concurrent.futures  # noqa: PLC0415 - for this test only
    import threading  # noqa: PLC0415

    ready: concurrent.futures.Future[str] = concurrent.futures.Future()
    done = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve(ready, done)))
    thread.start()
    try:
        client = BatchClient(
            api_key="fw_emulator",
            account_id="acme",
            base_url=ready.result(10),
            headers={"Connection": "close"},
        )
        assert asyncio.run(client.jobs.wait_until_terminal("done")).is_success
        with pytest.warns(ResourceWarning, match="<BatchClient of account 'acme' .* never closed"):
            del client
            gc.collect()
    finally:
        done.set()
        thread.join()


@virtual
async def test_a_day_of_waiting_takes_moments(emulator, client):
    """A thousand polls on the virtual clock, in a few real seconds at most."""
    emulator.script_job("idle", phases=["PENDING"])
    began = time.perf_counter()
    with pytest.raises(WaitTimeoutError):
        await client.jobs.wait_until_terminal("idle", timeout=60_000)
    assert polls(emulator) >= 1000
    assert time.perf_counter() - began < 20
