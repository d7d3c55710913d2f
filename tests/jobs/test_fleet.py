"""Many jobs at once: over real HTTP against the emulator, on a virtual clock."""

import asyncio
import gc
import random
import sys

import pytest

from fireworks_batch import (
    AuthenticationError,
    BatchClient,
    ClientStateError,
    ConfigurationError,
    JobOutcome,
    JobPhase,
    JobProgress,
    JobSnapshot,
    JobState,
    NotFoundError,
    PollPolicy,
    WaitTimeoutError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.snapshot import FleetProgress, add_up
from fireworks_batch.typing import JobFleet, JobOutcomes

STEADY = PollPolicy(initial_interval=60, max_interval=60)


def now() -> float:
    """The virtual moment."""
    return asyncio.get_running_loop().time()


def course(*states, seconds=60.0):
    """Phases of equal length; the last one stays."""
    return [{"state": state, "seconds": seconds} for state in states]


def watched(client) -> int:
    """Jobs that are polled."""
    return sum(len(poller._followers.subjects) for poller in client._pollers._pollers.values())


def script(emulator, count=12, seconds=None) -> list[str]:
    """Jobs that end one after the other: the last one first."""
    ids = [f"job-{number}" for number in range(count)]
    for number, job_id in enumerate(ids):
        last = "FAILED" if number == 3 else "COMPLETED"
        length = seconds or 60 * (count - number)
        emulator.script_job(job_id, phases=course("PENDING", "RUNNING", last, seconds=length))
    return ids


# --- Iterating ----------------------------------------------------------------------------------


def test_a_fleet_yields_each_jobs_snapshots_and_its_end_once(in_virtual_time):
    """What became of a job is data; the last snapshot of each is its terminal one."""

    async def scenario(emulator, client):
        ids, seen = script(emulator), {}
        fleet = client.jobs.watch(ids)
        async for snapshot in fleet:
            seen.setdefault(snapshot.job.id, []).append(snapshot)
        assert set(seen) == set(ids)
        for snapshots in seen.values():
            assert [one.job.is_terminal for one in snapshots].index(True) == len(snapshots) - 1
            assert snapshots[0].previous_state is None
            assert snapshots[0].changed
            numbers = [one.number for one in snapshots]
            assert numbers == list(range(1, len(numbers) + 1))
        assert seen["job-3"][-1].job.state == "FAILED"
        assert [outcome.job.id for outcome in fleet.outcomes.values()] == ids
        assert watched(client) == 0
        with pytest.raises(StopAsyncIteration):
            await anext(fleet)

    in_virtual_time(scenario)


def test_changes_only_leaves_out_what_shows_nothing_new(in_virtual_time):
    """Three states, three snapshots, for each job."""

    async def scenario(emulator, client):
        ids = script(emulator, 6, seconds=600)
        rows = [
            (snapshot.job.id, snapshot.job.state)
            async for snapshot in client.jobs.watch(ids, changes_only=True)
            if snapshot.job.state != "RUNNING"
        ]
        return len(rows), len(set(rows))

    assert in_virtual_time(scenario) == (12, 12)


def test_a_slow_reader_gets_the_newest_snapshot_of_each_job(in_virtual_time):
    """One for each job, however many polls there were; passed over changes count as changes."""

    async def scenario(emulator, client):
        ids = script(emulator, 5, seconds=60)
        fleet = client.jobs.watch(ids, poll=PollPolicy(initial_interval=15, max_interval=3600))
        first = [await anext(fleet) for _ in ids]
        assert {one.job.state for one in first} == {JobState.PENDING}
        await asyncio.sleep(900)
        last = [snapshot async for snapshot in fleet]
        assert len(last) == len(ids)
        assert all(one.job.is_terminal and one.changed for one in last)
        assert {one.previous_state for one in last} == {JobState.PENDING}
        return {one.number > 5 for one in last}

    assert in_virtual_time(scenario) == {True}


def test_a_last_snapshot_costs_the_same_however_many_jobs_have_ended(in_virtual_time):
    """Four times the jobs take about four times the calls of functions."""

    async def scenario(emulator, client):
        calls = []
        for count in (20, 80):
            ids = [f"of-{count}-{number}" for number in range(count)]
            for job_id in ids:
                emulator.script_job(job_id, phases=["COMPLETED"])
            fleet = client.jobs.watch(ids)
            await anext(fleet)
            await asyncio.sleep(30)
            assert len(fleet.outcomes) == count
            seen = []
            sys.setprofile(lambda _, event, __, seen=seen: seen.append(event))
            try:
                last = [snapshot async for snapshot in fleet]
            finally:
                sys.setprofile(None)
            assert len(last) == count - 1
            calls.append(seen.count("call"))
        return calls[1] / calls[0]

    assert in_virtual_time(scenario) < 6


def test_polls_go_on_for_a_while_and_then_pause_until_asked(in_virtual_time):
    """For max_interval after somebody asked; then nothing is sent, and nothing is held."""

    async def scenario(emulator, client):
        ids = script(emulator, 5, seconds=36_000)
        fleet = client.jobs.watch(ids, poll=PollPolicy(initial_interval=10, max_interval=45))
        await anext(fleet)
        assert watched(client) == 5
        await asyncio.sleep(44)
        assert watched(client) == 5
        await asyncio.sleep(2)
        assert watched(client) == 0
        sent = len(emulator.requests())
        await asyncio.sleep(3600)
        assert len(emulator.requests()) == sent
        for _ in ids:
            await anext(fleet)
        assert watched(client) == 5
        await fleet.aclose()
        return watched(client)

    assert in_virtual_time(scenario) == 0


def test_a_fleet_that_is_forgotten_is_gone_at_once(in_virtual_time):
    """`break` and no reference to it: no job is polled any more."""

    async def scenario(emulator, client):
        ids = script(emulator, 8)
        async for _ in client.jobs.watch(ids):
            break
        gc.collect()
        return watched(client)

    assert in_virtual_time(scenario) == 0


@pytest.mark.parametrize("handle", [JobFleet, JobOutcomes])
def test_a_handle_that_was_never_made_goes_silently(monkeypatch, handle):
    """A call of the class, or a copy that fails, makes a handle without a watch."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    handle()
    gc.collect()
    assert not complaints


def test_cancelling_a_reader_stops_the_polls(in_virtual_time):
    """And the fleet can be read on: wait_for around one step cuts the step only."""

    async def scenario(emulator, client):
        ids = script(emulator, 5, seconds=600)
        fleet = client.jobs.watch(ids, changes_only=True)
        for _ in ids:
            await anext(fleet)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(fleet), 5)
        assert watched(client) == 0
        snapshot = await anext(fleet)
        await fleet.aclose()
        return str(snapshot.job.state)

    assert in_virtual_time(scenario) == "RUNNING"


def test_jobs_can_be_added_while_it_runs(in_virtual_time):
    """A job that is watched already is left as it is."""

    async def scenario(emulator, client):
        ids = script(emulator, 4)
        fleet = client.jobs.watch(ids[:2])
        async for snapshot in fleet:
            for job_id in ids:
                fleet.add(job_id)
            assert snapshot.job.id in ids
        return [ref.job_id for ref in fleet.refs], list(fleet.outcomes)

    refs, ended = in_virtual_time(scenario)
    assert refs == ended == ["job-0", "job-1", "job-2", "job-3"]


def test_a_job_named_twice_counts_once(in_virtual_time):
    """In whatever forms; in the place of the first."""

    async def scenario(emulator, client):
        ids = script(emulator, 2)
        fleet = client.jobs.watch([*ids, client.jobs.ref("job-0"), await client.jobs.get("job-1")])
        return list(await fleet)

    assert in_virtual_time(scenario) == ["job-0", "job-1"]


async def test_two_accounts_jobs_of_one_id_are_refused(emulator):
    """The outcomes by id could not tell them apart."""
    async with BatchClient(api_key="k", base_url=emulator.base_url) as client:
        names = [f"accounts/{account}/batchInferenceJobs/nightly" for account in ("a", "b")]
        with pytest.raises(ConfigurationError, match="two jobs have the id 'nightly', in accounts"):
            client.jobs.watch(names)


@pytest.mark.parametrize("jobs", [["a/b"], [7], "nightly/x"])
async def test_a_bad_job_is_refused_at_the_call(client, jobs):
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        client.jobs.watch(jobs)


@pytest.mark.parametrize("way", ["watch", "as_completed"])
async def test_one_job_is_no_iterable_of_jobs(client, way):
    """Nor is an async iterator; the error says what would be right, before anything is sent."""

    async def listed():
        yield "nightly"

    watch, iterator = getattr(client.jobs, way), listed()
    for jobs in ("nightly", b"nightly", BatchInferenceJob(name="x"), 7, None, iterator):
        with pytest.raises(ConfigurationError, match=r"jobs must be a list .* give \[job\] for"):
            watch(jobs)
    await iterator.aclose()
    assert isinstance(client.jobs.watch(one for one in ["a", "b"]), JobFleet)
    assert isinstance(client.jobs.watch({"a": 1, "b": 2}), JobFleet)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"poll": 7}])
async def test_bad_options_are_refused_at_the_call(client, options):
    """As those of a single wait."""
    with pytest.raises(ConfigurationError):
        client.jobs.watch([], **options)
    with pytest.raises(ConfigurationError):
        client.jobs.as_completed([], **options)


async def test_a_fleet_of_no_jobs_is_at_its_end(client):
    """Whichever way it is asked."""
    assert [snapshot async for snapshot in client.jobs.watch([])] == []
    assert await client.jobs.watch([]) == {}
    assert [outcome async for outcome in client.jobs.as_completed([])] == []


# --- Outcomes ----------------------------------------------------------------------------------


def test_awaiting_a_fleet_gives_the_outcomes_in_the_order_given(in_virtual_time):
    """By job id; none is raised."""

    async def scenario(emulator, client):
        ids = script(emulator, 6)
        outcomes = await client.jobs.watch([*ids, "nowhere"])
        assert list(outcomes) == [*ids, "nowhere"]
        assert outcomes["job-3"].unwrap().state == "FAILED"
        assert outcomes["nowhere"].job is None
        with pytest.raises(NotFoundError) as caught:
            outcomes["nowhere"].unwrap()
        assert caught.value.ref == outcomes["nowhere"].ref
        return watched(client)

    assert in_virtual_time(scenario) == 0


def test_a_wait_that_fails_gives_one_last_snapshot_with_its_error(in_virtual_time):
    """Of a job that was seen, and of one that never was; the others go on."""

    async def scenario(emulator, client):
        ids = script(emulator, 4, seconds=300)
        emulator.script_job("stuck", phases=["PENDING"])
        last = {}
        async for snapshot in client.jobs.watch([*ids, "stuck", "nowhere"], timeout=2000):
            assert last.get(snapshot.job.id) is None or last[snapshot.job.id].error is None
            last[snapshot.job.id] = snapshot
        assert all(last[job_id].error is None for job_id in ids)
        assert isinstance(last["stuck"].error, WaitTimeoutError)
        assert last["stuck"].job.state == "PENDING"
        assert last["stuck"].job.model
        assert isinstance(last["nowhere"].error, NotFoundError)
        assert last["nowhere"].number == 0

    in_virtual_time(scenario)


def test_as_completed_gives_outcomes_as_they_come(in_virtual_time):
    """The last job ends first; a wait that fails is an outcome like the others."""

    async def scenario(emulator, client):
        ids = script(emulator, 5)
        order = [
            outcome.ref.job_id
            async for outcome in client.jobs.as_completed([*ids, "nowhere"], poll=STEADY)
        ]
        return order, watched(client)

    order, left = in_virtual_time(scenario)
    assert order == ["nowhere", "job-4", "job-3", "job-2", "job-1", "job-0"]
    assert left == 0


def test_a_fleet_can_be_iterated_over_and_then_awaited(in_virtual_time):
    """But not by two tasks at once."""

    async def scenario(emulator, client):
        ids = script(emulator, 3)
        fleet = client.jobs.watch(ids)
        await anext(fleet)
        reader = asyncio.ensure_future(fleet)
        await asyncio.sleep(1)
        with pytest.raises(ClientStateError, match="is being read by another task"):
            await fleet
        return list(await reader)

    assert in_virtual_time(scenario) == ["job-0", "job-1", "job-2"]


def in_a_group(fleet):
    """A task group that waits for a fleet."""

    async def run():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(fleet, name="fleet")
        return task.result()

    return run()


async def gathered(fleet):
    """What gather gives of one."""
    return (await asyncio.gather(fleet))[0]


WAYS = {
    "create_task": asyncio.create_task,
    "TaskGroup": in_a_group,
    "gather": gathered,
    "wait_for": lambda fleet: asyncio.wait_for(fleet, 10_000),
    "shield": asyncio.shield,
    "ensure_future": asyncio.ensure_future,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_fleet_is_a_coroutine(in_virtual_time, way):
    """Whatever takes one takes it."""

    async def scenario(emulator, client):
        ids = script(emulator, 3)
        return list(await WAYS[way](client.jobs.watch(ids)))

    assert in_virtual_time(scenario) == ["job-0", "job-1", "job-2"]


def test_a_fleet_can_be_awaited_by_one_task_after_the_other(in_virtual_time):
    """Two at once cannot; the first one does not suffer from the second."""

    async def scenario(emulator, client):
        fleet = client.jobs.watch(script(emulator, 3))
        first = asyncio.create_task(fleet)
        await asyncio.sleep(1)
        second = asyncio.create_task(fleet)
        await asyncio.wait([second])
        assert isinstance(second.exception(), ClientStateError)
        assert "is being read by another task" in str(second.exception())
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        assert watched(client) == 0
        third, fourth = await asyncio.create_task(fleet), await asyncio.create_task(fleet)
        assert third == fourth == await fleet
        return list(third)

    assert in_virtual_time(scenario) == ["job-0", "job-1", "job-2"]


def test_a_fleets_task_that_is_cancelled_before_it_begins_has_done_nothing(in_virtual_time):
    """No request, no warning; the fleet is good for another one."""

    async def scenario(emulator, client):
        fleet = client.jobs.watch(script(emulator, 2))
        task = asyncio.create_task(fleet)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert emulator.requests() == []
        fleet.close()
        return len(await fleet)

    assert in_virtual_time(scenario) == 2


# --- What concerns all --------------------------------------------------------------------------


def test_a_refused_key_ends_all_at_once(in_virtual_time):
    """It is raised, and no job is polled any more."""

    async def scenario(emulator, client):
        ids = script(emulator, 10, seconds=6000)
        body = {"error": {"message": "bad key", "code": "UNAUTHORIZED"}}
        emulator.add_fault("status", status=401, body=body, path="*", after=3, times=None)
        with pytest.raises(AuthenticationError, match="bad key"):
            async for _ in client.jobs.watch(ids):
                pass
        return watched(client)

    assert in_virtual_time(scenario) == 0


@pytest.mark.parametrize(("times", "is_refused"), [(1, False), (2, True)])
def test_a_key_that_was_good_for_others_must_be_refused_twice(in_virtual_time, times, is_refused):
    """A hiccup at the first poll of a job that comes later ends nothing."""

    async def scenario(emulator, client):
        ids = script(emulator, 5, seconds=600)
        # Without jitter the others are not polled when the late job is: no page shows its end.
        fleet = client.jobs.watch(ids, poll=PollPolicy(jitter=0))
        task = asyncio.create_task(fleet)
        await asyncio.sleep(100)
        body = {"error": {"message": "bad key", "code": "UNAUTHORIZED"}}
        emulator.add_fault("status", status=401, body=body, path="*/late", times=times)
        emulator.script_job("late", phases=["COMPLETED"])
        fleet.add("late")
        await asyncio.wait([task])
        if is_refused:
            assert isinstance(task.exception(), AuthenticationError)
        else:
            assert task.result()["late"].unwrap().is_success
        return watched(client)

    assert in_virtual_time(scenario) == 0


@pytest.mark.parametrize("way", ["iterate", "await", "as_completed"])
def test_closing_the_client_is_raised(in_virtual_time, way):
    """At once, whichever way the fleet is read."""

    async def scenario(emulator, client):
        ids = script(emulator, 8, seconds=6000)

        async def read():
            match way:
                case "iterate":
                    async for _ in client.jobs.watch(ids):
                        pass
                case "await":
                    await client.jobs.watch(ids)
                case _:
                    async for _ in client.jobs.as_completed(ids):
                        pass

        task = asyncio.create_task(read())
        await asyncio.sleep(20)
        await client.aclose()
        await asyncio.wait([task])
        assert isinstance(task.exception(), ClientStateError)
        return watched(client)

    assert in_virtual_time(scenario) == 0


@pytest.mark.parametrize("way", ["iterate", "await", "create_task", "as_completed"])
async def test_a_fleet_belongs_to_its_clients_loop(emulator, client, way):
    """On another one, in a thread, it is refused, and goes on polling on its own."""
    script(emulator, 3, seconds=600_000)
    fleet = client.jobs.watch(["job-0", "job-1", "job-2"], poll=STEADY)
    for _ in range(3):
        await anext(fleet)

    async def elsewhere():
        match way:
            case "iterate":
                await anext(fleet)
            case "await":
                await fleet
            case "create_task":
                await asyncio.create_task(fleet)
            case _:
                await anext(client.jobs.as_completed(["job-0"]))

    with pytest.raises(ClientStateError, match="belongs to the event loop that it was first used"):
        await asyncio.to_thread(asyncio.run, elsewhere())
    assert watched(client) == 3
    await fleet.aclose()


def test_closing_a_fleet_ends_its_reader(in_virtual_time):
    """Who iterates comes to the end; who awaits is told."""

    async def scenario(emulator, client):
        ids = script(emulator, 3, seconds=6000)
        fleet, other = client.jobs.watch(ids, changes_only=True), client.jobs.watch(ids)
        reader = asyncio.ensure_future(collect(fleet))
        waiter = asyncio.ensure_future(other)
        await asyncio.sleep(20)
        await fleet.aclose()
        await other.aclose()
        await asyncio.wait([reader, waiter])
        assert len(reader.result()) == 3
        assert isinstance(waiter.exception(), ClientStateError)
        with pytest.raises(ClientStateError, match="is closed"):
            fleet.add("another")
        return watched(client)

    assert in_virtual_time(scenario) == 0


async def collect(fleet: JobFleet) -> list[JobSnapshot]:
    """All that a fleet yields."""
    return [snapshot async for snapshot in fleet]


def test_the_account_is_looked_up_once(in_virtual_time):
    """Under the rules of a poll: lost answers are no end."""

    async def scenario(emulator, client):
        ids = script(emulator, 5)
        emulator.add_fault("status", status=503, times=2, path="/v1/accounts")
        fleet = client.jobs.watch(ids)
        assert fleet.refs == ()
        outcomes = await fleet
        assert [ref.job_id for ref in fleet.refs] == ids
        asked = [one for one in emulator.requests() if one.path == "/v1/accounts"]
        return len(outcomes), len(asked)

    assert in_virtual_time(scenario, client={"account_id": None}) == (5, 3)


def test_a_job_that_comes_while_the_account_is_looked_up_is_watched(in_virtual_time):
    """Its account is that of the others."""

    async def scenario(emulator, client):
        ids = script(emulator, 3)
        emulator.add_fault("delay", seconds=5, path="/v1/accounts")
        fleet = client.jobs.watch(ids[:2])
        task = asyncio.create_task(fleet)
        await asyncio.sleep(1)
        fleet.add(ids[2])
        return list(await task)

    assert in_virtual_time(scenario, client={"account_id": None}) == ["job-0", "job-1", "job-2"]


@pytest.mark.parametrize("way", ["a reader waits", "polls linger"])
def test_a_job_whose_account_is_not_known_yet_can_come_later(in_virtual_time, way):
    """The account is looked up for it, though the jobs before named theirs."""

    async def scenario(emulator, client):
        ids = script(emulator, 2)
        fleet = client.jobs.watch([f"accounts/acme/batchInferenceJobs/{ids[0]}"])
        if way == "a reader waits":
            task = asyncio.ensure_future(fleet)
            await asyncio.sleep(5)
        else:
            await anext(fleet)
            task = fleet
        fleet.add(ids[1])
        async with asyncio.timeout(3600):
            return [outcome.unwrap().id for outcome in (await task).values()]

    assert in_virtual_time(scenario, client={"account_id": None}) == ["job-0", "job-1"]


def test_closing_a_fleet_ends_the_look_up_of_its_account(in_virtual_time):
    """The reader comes to the end at once, though no look-up succeeds."""

    async def scenario(emulator, client):
        emulator.add_fault("status", status=503, path="/v1/accounts", times=None)
        fleet = client.jobs.watch(["job-0"])
        step = asyncio.ensure_future(anext(fleet))
        await asyncio.sleep(20)
        began = now()
        await fleet.aclose()
        await fleet.aclose()
        await asyncio.wait([step])
        assert now() - began < 0.1
        assert isinstance(step.exception(), StopAsyncIteration)

    in_virtual_time(scenario, client={"account_id": None})


def test_steps_that_are_cut_do_not_renew_the_patience_with_the_account(in_virtual_time):
    """The wait ends by its timeout, though no step takes as long; then the fleet is at its end."""

    async def scenario(emulator, client):
        script(emulator, 2)
        emulator.add_fault("status", status=503, path="/v1/accounts", times=None)
        fleet, began = client.jobs.watch(["job-0", "job-1"], timeout=100), now()
        with pytest.raises(WaitTimeoutError):
            while now() < began + 200:
                try:
                    await asyncio.wait_for(anext(fleet), 7)
                except WaitTimeoutError:
                    raise
                except TimeoutError:
                    continue
        assert now() == pytest.approx(began + 100, abs=8)
        with pytest.raises(StopAsyncIteration):
            await anext(fleet)

    in_virtual_time(scenario, client={"account_id": None})


def test_a_storm_of_fleets_leaves_nothing_behind(in_virtual_time):
    """Left at random moments, in every way."""

    async def scenario(emulator, client):
        rng = random.Random(4)
        ids = script(emulator, 40, seconds=3000)

        async def one(number):
            await asyncio.sleep(rng.uniform(0, 200))
            fleet = client.jobs.watch(rng.sample(ids, 15))
            if number % 3:
                task = asyncio.ensure_future(collect(fleet))
                await asyncio.sleep(rng.uniform(0, 90))
                task.cancel()
                await asyncio.wait([task])
            else:
                async for _ in fleet:
                    if rng.random() < 0.1:
                        break

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(one(number))
        gc.collect()
        poller = client._pollers.of("acme")
        return watched(client), poller._timer, poller._wakening, len(poller._followers.polls())

    assert in_virtual_time(scenario) == (0, None, None, 0)


# --- Progress -----------------------------------------------------------------------------------


def snapshot(state: str, *, rate=None, **counters) -> JobSnapshot:
    """A snapshot of a job with counters."""
    return JobSnapshot(
        job=BatchInferenceJob(
            name="accounts/acme/batchInferenceJobs/job",
            state=JobState(state),
            job_progress=JobProgress(**counters) if counters else None,
        ),
        previous_state=None,
        changed=True,
        number=1,
        observed_at=None,
        elapsed=0.0,
        unchanged_for=0.0,
        percent=None,
        rate=rate,
        eta=None,
    )


def test_progress_adds_up():
    """Jobs by phase, rows, the rate of those that run, and the time to the last row."""
    rows = {"total_input_requests": 100, "total_processed_requests": 40, "failed_requests": 2}
    found = add_up(
        [
            snapshot("RUNNING", rate=2.0, **rows),
            snapshot("RUNNING", rate=1.0, **rows),
            snapshot("PENDING"),
            snapshot("COMPLETED", rate=9.0, **rows),
            None,
        ],
        failed=1,
    )
    assert found == FleetProgress(
        queued=1,
        running=2,
        terminal=1,
        unseen=1,
        failed=1,
        rows_total=300,
        rows_done=120,
        rows_failed=6,
        rate=3.0,
        eta=40.0,
    )
    assert found.jobs == 5


def test_progress_names_each_phase():
    """A phase that is added to the table needs a field."""
    for phase in JobPhase:
        assert hasattr(FleetProgress(), phase.value)


def test_progress_of_a_fleet_that_is_done(in_virtual_time):
    """All terminal, all rows counted, nothing left."""

    async def scenario(emulator, client):
        fleet = client.jobs.watch(script(emulator, 4))
        assert fleet.progress.unseen == 4
        await fleet
        return fleet.progress

    found = in_virtual_time(scenario)
    assert (found.terminal, found.jobs, found.rows_done, found.eta) == (4, 4, 350, 0.0)


def test_an_outcome_without_a_job_says_so():
    """Nobody makes one; it is still an error of ours."""
    with pytest.raises(ClientStateError, match="neither a job nor an error"):
        JobOutcome(None).unwrap()
