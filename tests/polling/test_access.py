"""The account, looked up by many at once: over real HTTP, on a virtual clock."""

import asyncio

import pytest

from fireworks_batch import (
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    PollFailureError,
    PollPolicy,
    ServerError,
    WaitTimeoutError,
)

ACCOUNTS = "/v1/accounts"
STRANGER = {"account_id": None}
STEADY = PollPolicy(initial_interval=60, max_interval=60)


def asked(emulator) -> int:
    """Requests for the accounts."""
    return sum(one.path == ACCOUNTS for one in emulator.requests())


def left_behind(client) -> list:
    """What looking the account up still holds."""
    account, pollers = client._api.account, client._pollers
    shared = [account._polls, account._calls]
    held = [held for one in shared for held in (*one._callers, one._task) if held is not None]
    return held + pollers._pauses


def begin(client, ids, **options) -> list:
    """Wait for each job in a task of its own."""
    wait = client.jobs.wait_until_terminal
    return [asyncio.create_task(wait(job_id, **options)) for job_id in ids]


def script(emulator, count, *states) -> list[str]:
    """Jobs of equal courses, half an hour a state."""
    ids = [f"job-{number}" for number in range(count)]
    for job_id in ids:
        emulator.script_job(job_id, phases=[{"state": one, "seconds": 1800} for one in states])
    return ids


# --- Waits --------------------------------------------------------------------------------------


def test_a_thousand_waits_look_the_account_up_together(in_virtual_time):
    """While that fails they ask as often as one would, and each counts its own failed polls."""

    async def scenario(emulator, client):
        ids = script(emulator, 1000, "COMPLETED")
        emulator.add_fault("status", status=503, path=ACCOUNTS, times=None)
        waits = [client.jobs.wait_until_terminal(job_id) for job_id in ids]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(300)
        requests = asked(emulator)
        assert {wait.failures for wait in waits} <= {requests - 1, requests}
        errors = [wait.last_error for wait in waits]
        assert {type(error) for error in errors} == {ServerError}
        assert len(set(map(id, errors))) == len(errors)
        emulator.clear_faults()
        await asyncio.gather(*tasks)
        return requests, left_behind(client)

    requests, left = in_virtual_time(scenario, client=STRANGER)
    assert 6 <= requests <= 10
    assert left == []


def test_a_look_up_that_is_cut_short_strands_nobody(in_virtual_time):
    """Whoever began it is cancelled, or its time runs out; the others get its answer."""

    async def scenario(emulator, client):
        ids = script(emulator, 4, "COMPLETED")
        emulator.add_fault("delay", seconds=10, path=ACCOUNTS)
        first, *others = begin(client, ids[:1], timeout=50) + begin(client, ids[1:])
        hasty = begin(client, ids[:1], timeout=5)[0]
        await asyncio.sleep(1)
        first.cancel()
        jobs = await asyncio.gather(*others)
        assert first.cancelled()
        assert isinstance(hasty.exception(), WaitTimeoutError)
        return len(jobs), asked(emulator), left_behind(client)

    assert in_virtual_time(scenario, client=STRANGER) == (3, 1, [])


def test_the_last_one_to_leave_ends_the_look_up(in_virtual_time):
    """Within a turn of the loop nothing is left; who comes later asks anew."""

    async def scenario(emulator, client):
        ids = script(emulator, 30, "COMPLETED")
        emulator.add_fault("hang", seconds=1000, path=ACCOUNTS)
        tasks = begin(client, ids)
        await asyncio.sleep(1)
        assert left_behind(client)
        for task in tasks:
            task.cancel()
        late = begin(client, ids[:1])[0]
        await asyncio.wait(tasks)
        assert (await late).is_success
        return asked(emulator), left_behind(client)

    assert in_virtual_time(scenario, client=STRANGER) == (2, [])


def test_who_leaves_between_two_look_ups_leaves_nothing(in_virtual_time):
    """No timer and no task goes on for them."""

    async def scenario(emulator, client):
        emulator.add_fault("status", status=503, path=ACCOUNTS, times=None)
        tasks = begin(client, script(emulator, 5, "PENDING"))
        await asyncio.sleep(5)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        left = left_behind(client)
        await asyncio.sleep(1000)
        return asked(emulator), left

    assert in_virtual_time(scenario, client=STRANGER) == (1, [])


def test_each_wait_gives_up_by_its_own_budget(in_virtual_time):
    """One that has little patience does not end the others."""

    async def scenario(emulator, client):
        emulator.add_fault("status", status=503, path=ACCOUNTS, times=None)
        hasty = PollPolicy(failure_budget=60)
        patient, hurried = begin(client, ["a"]) + begin(client, ["b"], poll=hasty)
        await asyncio.sleep(600)
        assert isinstance(hurried.exception(), PollFailureError)
        assert not patient.done()
        patient.cancel()
        await asyncio.wait([patient])

    in_virtual_time(scenario, client=STRANGER)


@pytest.mark.parametrize(("action", "answered"), [("hang", [None]), ("status", [503])])
def test_closing_the_client_wakes_those_who_look_the_account_up(in_virtual_time, action, answered):
    """In the middle of a request, and between two; they do not wait for the next one."""

    async def scenario(emulator, client):
        emulator.add_fault(action, path=ACCOUNTS, times=None)
        tasks = begin(client, ["a", "b"], poll=STEADY)
        await asyncio.sleep(20)
        assert [request.status for request in emulator.requests()] == answered
        assert left_behind(client)
        began = asyncio.get_running_loop().time()
        await client.aclose()
        await asyncio.wait(tasks)
        assert asyncio.get_running_loop().time() - began < 0.1
        assert {type(task.exception()) for task in tasks} == {ClientStateError}
        return left_behind(client)

    assert in_virtual_time(scenario, client=STRANGER) == []


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"accounts": []}, 200, ConfigurationError),
        ({"error": {"message": "bad key", "code": "UNAUTHORIZED"}}, 401, AuthenticationError),
    ],
)
def test_what_concerns_all_waits_is_raised_in_each(in_virtual_time, body, status, error):
    """One request says it; each has an error of its own."""

    async def scenario(emulator, client):
        emulator.add_fault("status", status=status, body=body, path=ACCOUNTS)
        tasks = begin(client, ["a", "b", "c"])
        await asyncio.wait(tasks)
        errors = [task.exception() for task in tasks]
        assert {type(one) for one in errors} == {error}
        assert len(set(map(id, errors))) == 3
        return asked(emulator)

    assert in_virtual_time(scenario, client=STRANGER) == 1


# --- Plain calls --------------------------------------------------------------------------------


def test_plain_calls_share_a_look_up_that_fails(in_virtual_time):
    """With its repeats: forty calls cost the attempts of one."""

    async def scenario(emulator, client):
        emulator.add_fault("status", status=503, path=ACCOUNTS, times=None)
        calls = [client.jobs.get("a") for _ in range(40)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {ServerError}
        assert len(set(map(id, errors))) == 40
        return asked(emulator)

    assert in_virtual_time(scenario, client=STRANGER) == 4


def test_a_plain_call_is_not_ended_by_a_wait_whose_poll_failed(in_virtual_time):
    """A poll is one attempt, a call has its repeats."""

    async def scenario(emulator, client):
        script(emulator, 1, "COMPLETED")
        emulator.add_fault("status", status=503, path=ACCOUNTS, times=2)
        emulator.add_fault("delay", seconds=2, path=ACCOUNTS, times=None)
        wait = begin(client, ["job-0"])[0]
        await asyncio.sleep(0.1)
        job = await client.jobs.get("job-0")
        return job.is_success, (await wait).is_success

    assert in_virtual_time(scenario, client=STRANGER) == (True, True)


def test_a_cancelled_call_strands_no_other(in_virtual_time):
    """The look-up that it began goes on; the last one to leave ends it."""

    async def scenario(emulator, client):
        script(emulator, 1, "COMPLETED")
        emulator.add_fault("delay", seconds=10, path=ACCOUNTS)
        first, second = (asyncio.create_task(client.jobs.get("job-0")) for _ in "ab")
        await asyncio.sleep(1)
        first.cancel()
        assert (await second).is_success
        return asked(emulator)

    assert in_virtual_time(scenario, client=STRANGER) == 1
