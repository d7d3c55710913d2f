"""`examples/temporal_worker.py` on Temporal's own dev server, with real workers that are killed.

In an environment with the group `engines`: `pytest tests/in_engines`.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from clients import client_of

from fireworks_batch.emulator import Emulator, RecordedRequest

pytest.importorskip("temporalio", reason="needs the dependency group `engines`")

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "temporal_worker.py"
TEMPORAL = Path(sys.executable).parent / "temporal"
KEY = "fw_temporal_secret_key"
MODEL = "accounts/fireworks/models/demo-8b"
IDS = [f"r{number}" for number in range(100)]
QUESTION = "What is in no history?"
A_YEAR = 366 * 24 * 3600


async def until(what: str, is_so: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true value; fail if none comes in time."""
    try:
        async with asyncio.timeout(seconds):
            while not (value := is_so()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"not in {seconds:g} s: {what}") from None
    return value


@asynccontextmanager
async def running(
    log: Path, *command: object, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process, which is killed at the end of the block if it is still there."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), env={**os.environ, **settings}, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def output_of(*command: object) -> bytes:
    """Run a process to its end, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Temporal's client may end a process that has done its work: temporalio/sdk-python#300.
    ended = out and process.returncode in {-signal.SIGABRT, -signal.SIGSEGV}
    if process.returncode and not ended:
        raise subprocess.CalledProcessError(process.returncode, command, out, err)
    return out


def write_requests(path: Path) -> None:
    """Write a request for each id."""
    message = {"role": "user", "content": QUESTION}
    rows = [{"custom_id": each, "body": {"messages": [message]}} for each in IDS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@attrs.frozen
class Site:
    """A dev server, an emulator, and the files of workers."""

    directory: Path
    address: str
    emulator: Emulator

    def worker(self) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """Run a worker within a block."""
        settings = {
            "FIREWORKS_API_KEY": KEY,
            "FIREWORKS_ACCOUNT_ID": "acme",
            "FIREWORKS_BASE_URL": self.emulator.base_url,
            "FIREWORKS_BATCH_TIME_SCALE": "0.002",
        }
        command = (sys.executable, PROGRAM, self.address)
        return running(self.directory / "worker.log", *command, **settings)

    async def temporal(self, *arguments: object) -> Any:
        """Call Temporal's command line, and return the JSON that it prints."""
        options = ("--address", self.address, "--output", "json")
        return json.loads(await output_of(TEMPORAL, "workflow", *arguments, *options))

    @property
    def order(self) -> dict[str, str]:
        """What the workflow is given, in the order of the example's arguments."""
        requests, output = self.directory / "requests.jsonl", self.directory / "output.jsonl"
        return {"requests": str(requests), "model": MODEL, "name": "n", "output": str(output)}

    async def begin(self) -> None:
        """Start the workflow, in which a dead worker is found after three seconds."""
        order = json.dumps({**self.order, "dead_after": 3.0})
        options = ("--workflow-id", "fireworks-batch-n", "--id-conflict-policy", "UseExisting")
        command = ("start", "--type", "Batch", "--task-queue", "fireworks-batch", *options)
        async with asyncio.timeout(20):
            while True:
                try:
                    return await self.temporal(*command, "--input", order)
                except subprocess.CalledProcessError:  # the server does not listen yet
                    await asyncio.sleep(0.1)

    async def manifest(self) -> dict[str, Any]:
        """Return the result, from the example, which finds the workflow that is running."""
        command = (sys.executable, PROGRAM, self.address, *self.order.values())
        return json.loads(await output_of(*command))

    async def history(self) -> str:
        """Return all events of the workflow."""
        return json.dumps(await self.temporal("show", "--workflow-id", "fireworks-batch-n"))

    def seen(self, method: str, ending: str = "") -> list[RecordedRequest]:
        """Return the requests of a method about jobs."""
        path = re.compile(rf"/v1/accounts/acme/batchInferenceJobs{ending}")
        requests = self.emulator.requests()
        return [each for each in requests if each.method == method and path.fullmatch(each.path)]

    def output_ids(self) -> list[str]:
        """Return the ids of the rows in the output."""
        lines = (self.directory / "output.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["custom_id"] for line in lines]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Run a dev server and an emulator, with a workflow that has begun and no worker."""
    write_requests(tmp_path / "requests.jsonl")
    port = free_port()
    server = (TEMPORAL, "server", "start-dev", "--headless", "--ip", "127.0.0.1")
    files = ("--port", port, "--db-filename", tmp_path / "temporal.db")
    async with (
        Emulator(api_key=KEY, account_id="acme", speed=600) as emulator,
        running(tmp_path / "temporal.log", *server, *files),
    ):
        made = Site(tmp_path, f"127.0.0.1:{port}", emulator)
        await made.begin()
        yield made


async def test_a_worker_that_is_killed_costs_nothing(site):
    """Killed while the job runs, and started again: one job, and a response for each row."""
    site.emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=A_YEAR)
    async with site.worker() as worker:
        polls = await until("the job is polled", lambda: site.seen("GET", "/.+"))
        worker.kill()
        assert await worker.wait() == -signal.SIGKILL
    async with site.worker():
        await until("it is polled again", lambda: len(site.seen("GET", "/.+")) > len(polls))
        site.emulator.script_job(polls[0].path.rpartition("/")[2], phases=["COMPLETED"])
        manifest = await site.manifest()

    output = site.order["output"]
    assert manifest == {"output": output, "rows": 100, "succeeded": 100, "failed": 0, "missing": 0}
    assert site.output_ids() == IDS
    assert len(site.seen("POST")) == 1


async def test_rows_that_failed_are_sent_again(site):
    """In a second job of these rows: the workflow submits until nothing is left."""
    site.emulator.fail_rows("r1*", code=503)
    async with site.worker():
        manifest = await site.manifest()

    assert manifest["succeeded"] == 100
    assert site.output_ids() == IDS
    assert len(site.seen("POST")) == 2


async def test_a_job_that_a_person_deletes_ends_the_workflow(site):
    """No other job is made in its place."""
    site.emulator.script_jobs(phases=["RUNNING"], time_limit_seconds=A_YEAR)
    async with site.worker():
        [poll, *_] = await until("the job is polled", lambda: site.seen("GET", "/.+"))
        async with client_of(site.emulator) as client:
            await client.jobs.delete(poll.path.rpartition("/")[2])
        with pytest.raises(subprocess.CalledProcessError):
            await site.temporal("result", "--workflow-id", "fireworks-batch-n")

    assert "JobGoneError" in await site.history()
    assert len(site.seen("POST")) == 1


async def test_temporal_stores_neither_rows_nor_the_key(site):
    """Its database has the order, the submission and the manifest, but no request and no answer."""
    async with site.worker():
        await site.manifest()

    stored = b"".join(each.read_bytes() for each in site.directory.glob("temporal.db*"))
    expected = [MODEL, "base_id", '"succeeded":100']
    secret = [KEY, QUESTION, "custom_id"]
    assert [text for text in expected + secret if text.encode() in stored] == expected
