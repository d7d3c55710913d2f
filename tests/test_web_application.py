"""The example of a web application, with browsers that follow a batch, restarts and kills."""

import asyncio
import json
import re
import runpy
import signal
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from test_examples import MODEL, ROOT, environment, start

PROGRAM = ROOT / "examples" / "web_application.py"
TEXTS = ["one", "two", "three"]


@pytest.fixture
def store(tmp_path, emulator, monkeypatch):
    """Give a directory for batches, and the environment of the application."""
    for name, value in environment(emulator).items():
        monkeypatch.setenv(name, value)
    return tmp_path / "batches"


@asynccontextmanager
async def application(store):
    """Serve the application, and give a browser."""
    made = runpy.run_path(str(PROGRAM))["application"](MODEL, store)
    runner = web.AppRunner(made, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with browser_of(port) as browser:
            yield browser, runner
    finally:
        await runner.cleanup()


def browser_of(port):
    """Return a session that waits for an event as long as it takes."""
    timeout = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout)


async def post(browser, texts=TEXTS):
    """Submit texts, and return the id of their batch."""
    async with browser.post("/batches", json=texts) as answer:
        assert 202 == answer.status, await answer.text()
        return (await answer.json())["id"]


async def events(stream):
    """Yield the events of a stream, each with its data, until the server ends it."""
    async for line in stream.content:
        kind, _, text = line.decode().strip().partition(": ")
        if kind == "event":
            event = text
        elif kind == "data":
            yield event, json.loads(text)


async def followed(browser, batch):
    """Follow a batch to its end, and return all events."""
    async with browser.get(f"/batches/{batch}/progress") as stream:
        assert "text/event-stream" == stream.content_type
        return [event async for event in events(stream)]


async def first_event(stream):
    """Return the first event of a stream that stays open."""
    return await anext(events(stream))


async def contents(browser, batch):
    """Return what the results say, in their order."""
    async with browser.get(f"/batches/{batch}/results") as answer:
        lines = (await answer.text()).splitlines()
    responses = [json.loads(line)["response"] for line in lines]
    return [response["choices"][0]["message"]["content"] for response in responses]


def jobs_created(emulator):
    """Return how many jobs were created."""
    return sum(
        entry.method == "POST" and entry.path.endswith("/batchInferenceJobs")
        for entry in emulator.requests()
        if entry.status == 200
    )


@asynccontextmanager
async def nothing_left():
    """Hold that each task of the block ends: also those of servers, for which a browser is gone."""
    before = asyncio.all_tasks()
    yield
    await tasks_are(before)


async def tasks_are(before):
    """Wait until no task is there that was not there before."""
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.001)


def stay_running(emulator):
    """Let the next job run for weeks."""
    emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=10**7)


async def test_a_batch_is_submitted_followed_and_fetched(emulator, store):
    """The stream ends with the report, and the results have the order of the texts."""
    async with nothing_left(), application(store) as (browser, _):
        batch = await post(browser)
        seen = await followed(browser, batch)
        texts = await contents(browser, batch)

    assert "progress" == seen[0][0]
    assert ["end"] == [event for event, data in seen if event != "progress"]
    assert "3 of 3 rows succeeded" in seen[-1][1]["report"]
    assert TEXTS == texts


async def test_the_same_texts_are_the_same_batch(emulator, store):
    """Two browsers that send them at once get one id; one job runs, and is collected once."""
    stay_running(emulator)
    async with application(store) as (browser, _):
        async with asyncio.TaskGroup() as group:
            posts = [group.create_task(post(browser)) for _ in range(2)]
        batches = {each.result() for each in posts}
        assert 1 == len(batches)
        emulator.script_job(job_of(store), phases=["COMPLETED"])
        await followed(browser, *batches)
        paths = [entry.path for entry in emulator.requests()]
        assert 1 == sum(path.endswith("BIJOutputSet.jsonl") for path in paths)
        assert batches == {await post(browser)}
        assert 1 == jobs_created(emulator)
        assert batches != {await post(browser, ["others"])}


async def test_a_batch_that_ended_before_a_restart_is_not_waited_for_again(emulator, store):
    """The stream ends at once, the results are there, and the API is not asked."""
    async with application(store) as (browser, _):
        batch = await post(browser)
        await followed(browser, batch)
    before = len(emulator.requests())
    async with application(store) as (browser, _):
        assert [("end", {})] == await followed(browser, batch)
        assert TEXTS == await contents(browser, batch)
    assert before == len(emulator.requests())


async def test_a_restart_ends_open_streams_and_goes_on_with_the_job(emulator, store):
    """The application stops at once although a browser follows, and finds the job again."""
    stay_running(emulator)
    async with nothing_left():
        async with application(store) as (browser, runner):
            batch = await post(browser)
            async with browser.get(f"/batches/{batch}/progress") as stream:
                await first_event(stream)
                async with asyncio.timeout(5):  # and not after the minute that handlers may take
                    await runner.cleanup()
                assert "end" not in [event async for event, _ in events(stream)]
        async with application(store) as (browser, _):
            async with asyncio.TaskGroup() as group:
                following = group.create_task(followed(browser, batch))
                emulator.script_job(job_of(store), phases=["COMPLETED"])
            assert "3 of 3 rows succeeded" in following.result()[-1][1]["report"]
            assert TEXTS == await contents(browser, batch)
    assert 1 == jobs_created(emulator)


def job_of(store):
    """Return the id of the job of the only batch."""
    [stored] = store.glob("*.json")
    [shard] = json.loads(stored.read_text())["shards"]
    return f"{shard['base_id']}-0"


async def test_a_browser_that_leaves_takes_its_stream_along(emulator, store):
    """Also while there is nothing to tell. The wait goes on: another browser sees its end."""
    emulator.script_jobs(phases=["PENDING"], time_limit_seconds=10**7)
    async with application(store) as (browser, runner):
        batch = await post(browser)
        async with browser.get(f"/batches/{batch}/progress") as stream:
            while (await first_event(stream))[1]["stage"] != "queued":
                pass
            stream.close()
        async with asyncio.timeout(5):
            while runner.server.connections:  # a connection is one until its handler has ended
                await asyncio.sleep(0.001)
        emulator.script_job(job_of(store), phases=["COMPLETED"])
        assert "end" == (await followed(browser, batch))[-1][0]


def test_browsers_share_one_wait(in_virtual_time, tmp_path, monkeypatch):
    """Five that follow a job of three hours cost no more polls than one."""

    def polls(browsers):
        directory = tmp_path / str(browsers)
        directory.mkdir()

        async def scenario(emulator, _):
            for name, value in environment(emulator).items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("FIREWORKS_BATCH_TIME_SCALE")
            emulator.script_jobs(
                phases=[{"state": "RUNNING", "seconds": 3 * 3600}, "COMPLETED"], times=None
            )
            async with application(directory) as (browser, _):
                batch = await post(browser)
                async with asyncio.TaskGroup() as group:
                    for _ in range(browsers):
                        group.create_task(followed(browser, batch))
            return sum("/batchInferenceJobs/" in entry.path for entry in emulator.requests())

        return in_virtual_time(scenario)

    one = polls(1)
    assert 150 < one < 250
    assert polls(5) == pytest.approx(one, rel=0.1)


@pytest.mark.parametrize("body", [b"no JSON", b"5", b'{"a": "b"}', b"[1]", b"[]"])
async def test_what_is_no_list_of_texts_is_refused(emulator, store, body):
    """With 400, and nothing is sent."""
    async with application(store) as (browser, _):
        async with browser.post("/batches", data=body) as answer:
            assert 400 == answer.status
        for path in ("progress", "results"):
            async with browser.get(f"/batches/{'0' * 16}/{path}") as answer:
                assert 404 == answer.status
    assert 0 == jobs_created(emulator)
    assert [] == [*store.iterdir()]


async def test_what_is_not_submitted_can_be_sent_again(emulator, store):
    """503 with the reason while the API refuses; afterwards the same texts are submitted."""
    emulator.add_fault("status", status=403, path="*/datasets*", times=1)
    async with application(store) as (browser, _):
        async with browser.post("/batches", json=TEXTS) as answer:
            assert 503 == answer.status
            assert (await answer.text()).startswith("not submitted, send it again: ")
        await followed(browser, await post(browser))
    assert 1 == jobs_created(emulator)


async def test_a_wait_that_fails_tells_why_and_begins_anew(emulator, client, store):
    """A job that a person deletes ends the stream with an error; the same texts make another."""
    stay_running(emulator)
    async with application(store) as (browser, _):
        batch = await post(browser)
        async with browser.get(f"/batches/{batch}/progress") as stream:
            while (await first_event(stream))[1]["stage"] != "running":
                pass  # until the job was seen
            await client.jobs.delete(job_of(store))
            *_, last = [event async for event in events(stream)]
        assert "end" == last[0]
        assert "error" in last[1]
        assert batch == await post(browser)
        *_, last = await followed(browser, batch)
        assert "3 of 3 rows succeeded" in last[1]["report"]
    assert 2 == jobs_created(emulator)


@pytest.mark.once
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("killed_by", [signal.SIGTERM, signal.SIGKILL])
async def test_a_process_that_is_killed_goes_on_with_the_batch(emulator, store, killed_by):
    """While a browser follows; SIGTERM ends it with 0, and the next one finds the job."""
    stay_running(emulator)
    process, browser = await serve(emulator, store)
    try:
        async with browser:
            batch = await post(browser)
            async with browser.get(f"/batches/{batch}/progress") as stream:
                await first_event(stream)
                process.send_signal(killed_by)
                _, err = await process.communicate()
        assert (0 if killed_by == signal.SIGTERM else -killed_by, b"") == (process.returncode, err)
        emulator.script_job(job_of(store), phases=["COMPLETED"])
        process, browser = await serve(emulator, store)
        async with browser:
            assert "end" == (await followed(browser, batch))[-1][0]
            assert TEXTS == await contents(browser, batch)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()
    assert 1 == jobs_created(emulator)


async def serve(emulator, store):
    """Start the program, and return its process and a browser."""
    process = await start(emulator, "-u", PROGRAM, MODEL, store, 0)
    line = (await process.stdout.readline()).decode()
    port = int(re.search(r":(\d+) ", line)[1])
    if not port:
        process.kill()
        await process.communicate()
        pytest.skip("this aiohttp does not tell which port it took")
    return process, browser_of(port)
