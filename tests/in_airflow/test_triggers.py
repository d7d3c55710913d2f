"""Triggers in one process, as a triggerer runs them: one event loop, one client a connection."""

import asyncio
import gc
import json
import logging
import time
from contextlib import AsyncExitStack

import attrs
import pytest
from airflow.sdk import Connection
from airflow.sdk.module_loading import import_string
from emulator_process import emulator_process

from fireworks_batch import (
    AuthenticationError,
    BatchClient,
    ConfigurationError,
    JobRef,
    NotFoundError,
    PollPolicy,
    ServerError,
)
from fireworks_batch.airflow.hooks.batch import FireworksBatchHook, client_arguments
from fireworks_batch.airflow.jobs import delete_running
from fireworks_batch.airflow.triggers.clients import SharedClients, shared_client
from fireworks_batch.airflow.triggers.job import FireworksBatchJobTrigger
from fireworks_batch.emulator import Emulator

KEY = "fw_trigger_secret"


def connection(**fields) -> Connection:
    """Return a connection with a key."""
    return Connection(**{"conn_id": "c", "conn_type": "fireworks", "password": KEY, **fields})


@pytest.fixture
def connected(emulator, monkeypatch):
    """The emulator, with the default connection in the environment."""
    fields = {"conn_type": "fireworks", "host": emulator.base_url, "password": emulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_FIREWORKS_DEFAULT", json.dumps(fields))
    return emulator


def ref(emulator: Emulator, job_id: str) -> str:
    """Return a reference as a task passes it on."""
    return JobRef("acme", job_id, emulator.base_url).to_json()


async def event_of(trigger: FireworksBatchJobTrigger):
    """Run a trigger, and return what its only event says."""
    (event,) = [each async for each in trigger.run()]
    return event.payload


# --- The connection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({}, {}),
        ({"host": "https://eu.example/prefix"}, {"base_url": "https://eu.example/prefix"}),
        ({"host": "eu.example"}, {"base_url": "https://eu.example"}),
        (
            {"host": "127.0.0.1", "port": 8080, "schema": "http"},
            {"base_url": "http://127.0.0.1:8080"},
        ),
        ({"extra": '{"account_id": "acme", "proxy": ""}'}, {"account_id": "acme"}),
        ({"extra": '{"max_requests_per_minute": 600}'}, {"max_requests_per_minute": 600}),
        ({"extra": '{"allow_insecure_http": true}'}, {"allow_insecure_http": True}),
        ({"extra": '{"something": "else"}'}, {}),
        ({"extra": '{"allow_insecure_http": "false"}'}, {"allow_insecure_http": False}),
        ({"extra": '{"max_requests_per_minute": "60"}'}, {"max_requests_per_minute": 60}),
    ],
)
def test_fields_of_a_connection_are_arguments_of_the_client(fields, arguments):
    """An empty field is left to the client's default; what others put into the extra is theirs."""
    assert client_arguments(connection(**fields)) == {**arguments, "api_key": KEY}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"password": None}, "has no API key"),
        ({"extra": "{"}, "is not JSON"),
        ({"extra": "[]"}, "is not a JSON object"),
        ({"extra": '{"allow_insecure_http": "perhaps"}'}, "must be true or false, not 'perhaps'"),
        ({"extra": '{"max_requests_per_minute": []}'}, r"must be a number, not \[\]"),
    ],
)
def test_connection_that_cannot_be_used(fields, text):
    """The error names the connection, and never the key."""
    with pytest.raises(ConfigurationError, match=text) as caught:
        client_arguments(connection(**fields))
    assert "'c'" in str(caught.value)
    assert KEY not in str(caught.value)


def test_button_test_asks_the_api(emulator_elsewhere):
    """A good key is told with its account, a bad one with the server's refusal."""
    is_good, text = FireworksBatchHook("good").test_connection()
    assert (is_good, text) == (True, "the key is good for account 'acme'")
    is_good, text = FireworksBatchHook("bad").test_connection()
    assert not is_good
    assert "403 UNAUTHORIZED" in text


@pytest.fixture
def emulator_elsewhere(fireworks_emulator, monkeypatch):
    """An emulator in another thread, and two connections to it."""
    for name, key in (("good", fireworks_emulator.api_key), ("bad", "fw_wrong_key")):
        fields = {"conn_type": "fireworks", "host": fireworks_emulator.base_url, "password": key}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


# --- The client that triggers share ---------------------------------------------------------------


class LookUps:
    """Counts how often a connection is looked up; its key can be changed."""

    def __init__(self) -> None:
        self.count, self.key, self.host, self.extra = 0, "one", None, None

    async def __call__(self, conn_id: str) -> Connection:
        self.count += 1
        await asyncio.sleep(0)
        return connection(conn_id=conn_id, password=self.key, host=self.host, extra=self.extra)


async def test_triggers_of_a_connection_share_a_client():
    """A hundred leases look the connection up once, and get one client."""
    look_up = LookUps()
    clients = SharedClients(look_up, linger=30)
    async with AsyncExitStack() as stack:
        leased = await asyncio.gather(
            *(stack.enter_async_context(clients.lease("c")) for _ in range(100))
        )
    assert look_up.count == 1
    assert len({id(client) for client in leased}) == 1
    await leased[0].aclose()


async def test_client_is_closed_when_it_was_not_used_for_a_while():
    """Not when the last trigger leaves, but so much later; and not if another comes by then."""
    clients = SharedClients(LookUps(), linger=0.1)
    async with clients.lease("c") as first:
        pass
    async with clients.lease("c") as second:
        await asyncio.sleep(0.15)
        assert "closed" not in repr(second)
    assert first is second
    async with asyncio.timeout(5):
        while "closed" not in repr(first):
            await asyncio.sleep(0.01)


async def test_changed_connection_makes_another_client():
    """Triggers that come later have the new proxy, say; those that wait keep their client."""
    look_up = LookUps()
    clients = SharedClients(look_up, linger=0.01)
    async with clients.lease("c") as first:
        look_up.extra = '{"max_requests_per_minute": 60}'
        await asyncio.sleep(0.02)
        async with clients.lease("c") as second:
            assert first is not second
    for client in (first, second):
        await client.aclose()


async def test_changed_key_is_used_by_those_that_wait(emulator):
    """A key may change while jobs run for days: the client is the same, and goes on."""
    look_up = LookUps()
    look_up.host, look_up.key = emulator.base_url, "fw_an_old_key"
    clients = SharedClients(look_up, linger=0.01)
    emulator.script_job("a", phases=["COMPLETED"])
    async with clients.lease("c") as first:
        with pytest.raises(AuthenticationError):
            await first.jobs.get("a")
        look_up.key = emulator.api_key
        await asyncio.sleep(0.02)
        assert (await first.jobs.get("a")).is_success
        async with clients.lease("c") as second:
            assert first is second
    await first.aclose()


async def test_connection_that_cannot_be_looked_up_keeps_its_last_key(emulator):
    """A fault of the metadata database ends no wait."""
    look_up = LookUps()
    look_up.host, look_up.key = emulator.base_url, emulator.api_key
    clients = SharedClients(look_up, linger=0.01)
    emulator.script_job("a", phases=["COMPLETED"])
    async with clients.lease("c") as client:
        look_up.key = None
        await asyncio.sleep(0.02)
        assert (await client.jobs.get("a")).is_success
    await client.aclose()


async def test_cancelled_trigger_ends_the_look_up_of_no_other():
    """The first one who asks may be cancelled while the others wait for the same answer."""
    look_up = LookUps()
    clients = SharedClients(look_up, linger=30)

    async def lease() -> BatchClient:
        async with clients.lease("c") as client:
            return client

    first, other = asyncio.create_task(lease()), asyncio.create_task(lease())
    await asyncio.sleep(0)
    first.cancel()
    await (await other).aclose()
    assert look_up.count == 1


async def test_look_up_that_failed_is_made_again():
    """A connection that was not there at first can be used as soon as it is."""
    failures = [ConfigurationError("not yet")]

    async def look_up(conn_id: str) -> Connection:
        if failures:
            raise failures.pop()
        return connection()

    clients = SharedClients(look_up, linger=30)
    with pytest.raises(ConfigurationError, match="not yet"):
        async with clients.lease("c"):
            pass
    async with clients.lease("c") as client:
        pass
    await client.aclose()


# --- The trigger ----------------------------------------------------------------------------------


def test_trigger_is_made_anew_from_what_the_database_has():
    """Its class path and arguments go through JSON, and none of them is a secret."""
    trigger = FireworksBatchJobTrigger(
        [JobRef("acme", "a", "https://api").to_json()],
        "c",
        poll={"max_interval": 5.0},
        end_time=12.5,
        cancel_on_kill=True,
    )
    path, arguments = json.loads(json.dumps(trigger.serialize()))
    again = import_string(path)(**arguments)

    assert type(again) is FireworksBatchJobTrigger
    assert again.serialize() == trigger.serialize()


async def test_one_event_tells_that_all_jobs_have_ended(connected):
    """However they ended: a job that is gone has ended, too."""
    connected.script_job("good", phases=["COMPLETED"])
    connected.script_job("bad", phases=["FAILED"])
    refs = [ref(connected, name) for name in ("good", "bad", "gone")]
    fast = {"not_found_grace": 0.01, "initial_interval": 0.01, "min_interval": 0.0}
    trigger = FireworksBatchJobTrigger(refs, poll=fast, first_poll=0)

    assert await event_of(trigger) == {"status": "ended"}


async def test_event_says_why_the_end_cannot_be_known(connected):
    """The time ran out: the message says that the job runs on."""
    connected.script_job("long", phases=[{"state": "RUNNING", "seconds": 1e6}])
    fast = {"initial_interval": 0.01, "min_interval": 0.0, "max_interval": 0.01}
    trigger = FireworksBatchJobTrigger(
        [ref(connected, "long")], poll=fast, end_time=time.time() - 5, first_poll=0
    )
    event = await event_of(trigger)

    assert event["status"] == "error"
    assert "long" in event["message"]


async def test_connection_that_is_not_there_is_an_error_event(connected):
    """A trigger does not die of it: the task fails with the words of Airflow."""
    trigger = FireworksBatchJobTrigger([ref(connected, "a")], "nowhere", first_poll=0)
    event = await event_of(trigger)

    assert event["status"] == "error"
    assert "nowhere" in event["message"]


class InState(FireworksBatchJobTrigger):
    """A trigger whose task is in some state."""

    state: str | None = None

    async def task_state(self) -> str | None:
        return self.state


@pytest.mark.parametrize(
    ("is_asked", "state", "deleted"),
    [
        (True, "failed", ["runs"]),
        (True, "success", ["runs"]),
        (False, "failed", []),
        (True, None, []),  # cleared: the next try finds the job
        (True, "deferred", []),  # given to another triggerer, which waits on
    ],
)
async def test_only_a_task_that_a_user_has_ended_deletes_its_job(
    connected, is_asked, state, deleted
):
    """And only if asked: jobs that run are deleted, those that have ended stay."""
    connected.script_job("runs", phases=[{"state": "RUNNING", "seconds": 1e6}])
    connected.script_job("ended", phases=["COMPLETED"])
    refs = [ref(connected, name) for name in ("runs", "ended")]
    trigger = InState(refs, cancel_on_kill=is_asked, first_poll=0)
    trigger.state = state
    await trigger.cleanup()
    await trigger.on_kill()

    asked = [each.path for each in connected.requests() if each.method == "DELETE"]
    assert [path.rpartition("/")[2] for path in asked] == deleted


async def test_job_that_cannot_be_deleted_keeps_no_other(client, emulator):
    """All are tried, and the error is told at the end."""
    for name in ("a", "b", "c"):
        emulator.script_job(name, phases=[{"state": "RUNNING", "seconds": 1e6}])
    emulator.add_fault("status", status=501, method="DELETE", path="*/a", times=None)
    with pytest.raises(ServerError):
        await delete_running(client, [client.jobs.ref(name) for name in ("a", "b", "c")])

    deleted = {each.path[-1] for each in emulator.requests() if each.method == "DELETE"}
    assert deleted == {"a", "b", "c"}


async def test_job_that_a_proxy_does_not_find_is_not_deleted(client, emulator):
    """The 404 of the API says that a job is gone; the 404 of a proxy says nothing about the job."""
    emulator.script_job("a", phases=[{"state": "RUNNING", "seconds": 1e6}])
    emulator.add_fault("html", status=404, method="DELETE", times=None)
    with pytest.raises(NotFoundError):
        await delete_running(client, [client.jobs.ref("a")])


async def longest_hold(work):
    """Do some work; return its result, and the most CPU seconds that one turn of the loop took."""
    loop, longest, since = asyncio.get_running_loop(), 0.0, time.thread_time()

    def turn() -> None:
        nonlocal longest, since
        now = time.thread_time()
        longest, since = max(longest, now - since), now
        if not task.done():
            loop.call_soon(turn)

    task = asyncio.ensure_future(work)
    loop.call_soon(turn)
    return await task, longest


async def test_thousand_triggers_poll_as_a_fleet(monkeypatch, caplog):
    """A triggerer of a thousand deferred tasks polls pages, with one client; its loop is free."""
    with emulator_process(KEY, speed=600) as server:
        fields = {"conn_type": "fireworks", "host": server.base_url, "password": KEY}
        monkeypatch.setenv("AIRFLOW_CONN_FIREWORKS_DEFAULT", json.dumps(fields))
        refs = [JobRef("acme", f"job-{number}", server.base_url) for number in range(1000)]
        for number, each in enumerate(refs):
            phases = [{"state": "RUNNING", "seconds": 1200 + 1.2 * number}, "COMPLETED"]
            server.control("POST", f"jobs/{each.job_id}", {"phases": phases})
        policy = attrs.asdict(PollPolicy(initial_interval=0.5, max_interval=0.5, min_interval=0.1))
        triggers = [
            FireworksBatchJobTrigger([each.to_json()], poll=policy, first_poll=2.0) for each in refs
        ]
        # A line for each of a thousand ends, captured by pytest, would be most of the work.
        caplog.set_level(logging.WARNING, "fireworks_batch")
        # Nor is it ours that Airflow's own objects take the collector two tenths of a second.
        gc.collect()
        gc.freeze()
        events, held = await longest_hold(asyncio.gather(*map(event_of, triggers)))
        gc.unfreeze()
        requests = server.requests()
        async with shared_client(FireworksBatchHook.default_conn_name) as client:
            began = time.thread_time()
            jobs = [job async for job in client.jobs.list(page_size=200)]
            page = (time.thread_time() - began) / 5
            await client.aclose()
    assert len(jobs) == 1000

    assert events == [{"status": "ended"}] * 1000
    assert 10 <= len(requests) <= 400  # each for itself would send some 4,000
    assert held < 15 * page  # 3 to 6 times on a quiet machine, where it is 28 ms
