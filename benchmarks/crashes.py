"""A process that runs three jobs and a retry is killed at every request boundary in turn.

It is started again each time. There must be exactly four jobs in the end, each answered row run
once, and an output that is byte for byte that of a run that nobody disturbed. A boundary is made
by an emulator that keeps one request waiting; the process is then killed with SIGKILL. All of it
is done a second time with an emulator that drops the answer to every write once, one job after the
other; and two processes do the same at once, with and without that. Processes are forked from one
that has imported everything.
The tests take every fifth boundary. Needs `os.fork`.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from fireworks_batch import BatchClient, Limits, PollPolicy, RetryPolicy
from fireworks_batch.emulator import Emulator, RowFailureError

SHARDS = 3
JOBS = 4  # one more, for a row that fails at first
ROWS = 30
BAD_ROW = "r7"
FLAKY_ROW = "r12"
POLL = PollPolicy(initial_interval=0.01, min_interval=0.0, max_interval=0.02)
RETRY = RetryPolicy(max_attempts=8, initial_delay=0.005, max_delay=0.05)


class BrokenPromiseError(Exception):
    """What was to be shown is not so."""


# --- The process that is killed -----------------------------------------------------------------


def nursery() -> None:
    """Fork a process for each line of JSON on stdin, and say its id, and how it ended."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(child(json.loads(line)))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def child(order: Mapping[str, Any]) -> int:
    """Do the run, as anybody would."""
    try:
        asyncio.run(run(order))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


async def run(order: Mapping[str, Any]) -> None:
    """Run three jobs, and write what comes of them."""
    directory = Path(order["directory"])
    client = BatchClient(
        api_key=order["api_key"],
        account_id="acme",
        base_url=order["base_url"],
        poll=POLL,
        retry=RETRY,
    )
    async with client:
        result = await client.run(
            directory / "requests.jsonl",
            model="accounts/fireworks/models/demo-8b",
            name="crashes",
            limits=Limits(max_rows=ROWS // SHARDS),
            retry_rows=1,
            max_in_flight=order["max_in_flight"],
            cleanup="datasets",
            output=directory / "output.jsonl",
            errors=directory / "errors.jsonl",
        )
        await result.aclose()


# --- The one that kills -------------------------------------------------------------------------


@attrs.define
class Nursery:
    """A process from which others are forked."""

    process: asyncio.subprocess.Process

    async def start(self, order: Mapping[str, Any]) -> int:
        """Start a run, and return its process id."""
        if self.process.stdin is None:
            raise BrokenPromiseError("no stdin")
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self.number()

    async def number(self) -> int:
        """Return the next number that it says: a process id, or an exit code."""
        if self.process.stdout is None:
            raise BrokenPromiseError("no stdout")
        return int(await self.process.stdout.readline())


@asynccontextmanager
async def nurseries(count: int, directory: Path) -> AsyncIterator[list[Nursery]]:
    """Start nurseries; temporary files of theirs stay in the directory, killed or not."""
    made = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--nursery"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(directory)},
        )
        for _ in range(count)
    ]
    try:
        yield [Nursery(process) for process in made]
    finally:
        for process in made:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()


class Responder:
    """Answers rows with what is the same at any time, and counts them; one row fails."""

    def __init__(self) -> None:
        """Begin."""
        self.billed: Counter[str] = Counter()
        """How often each row was run."""

    def __call__(self, custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a row."""
        self.billed[custom_id] += 1
        if custom_id == BAD_ROW:
            raise RowFailureError("no", 400)
        if custom_id == FLAKY_ROW and self.billed[custom_id] == 1:
            raise RowFailureError("busy", 503)
        content = body["messages"][-1]["content"].upper()
        return {"id": custom_id, "choices": [{"index": 0, "message": {"content": content}}]}


@asynccontextmanager
async def emulators() -> AsyncIterator[tuple[Emulator, Counter[str]]]:
    """Start an emulator, and count how often it runs each row."""
    responder = Responder()
    async with Emulator(speed=6000, responder=responder) as emulator:
        yield emulator, responder.billed


def write_requests(directory: Path) -> None:
    """Write the requests."""
    directory.mkdir()
    rows = [
        {"custom_id": f"r{number}", "body": {"messages": [{"role": "user", "content": "hi"}]}}
        for number in range(ROWS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "requests.jsonl").write_text(text, encoding="utf-8")


def order_for(
    emulator: Emulator, directory: Path, max_in_flight: int | None = None
) -> dict[str, Any]:
    """Return what a child is told."""
    return {
        "base_url": emulator.base_url,
        "api_key": emulator.api_key,
        "directory": str(directory),
        "max_in_flight": max_in_flight,
    }


def drop_answers(emulator: Emulator, datasets: list[str]) -> None:
    """Let the answer to each write be lost once, of jobs that are made one after the other.

    A creation is sent twice then, and has no path of its own: each other one loses its answer. A
    fault counts the requests that those before it leave alone.
    """
    for number in range(JOBS):
        for path in ("*/datasets", "*/batchInferenceJobs"):
            emulator.add_fault("drop_answer", method="POST", path=path, after=number)
    for name in datasets:
        emulator.add_fault("drop_answer", method="POST", path=f"*/{name}:upload")
        emulator.add_fault("drop_answer", method="DELETE", path=f"*/{name}")


def check(
    emulator: Emulator,
    billed: Counter[str],
    directory: Path,
    expected: Mapping[str, bytes] | None,
) -> None:
    """Check jobs, bill and output, and that the output is what is expected."""
    asked = {
        entry.query["batchInferenceJobId"]
        for entry in emulator.requests()
        if entry.method == "POST" and entry.path.endswith("/batchInferenceJobs")
    }
    if len(asked) != JOBS:
        raise BrokenPromiseError(f"jobs were asked for: {sorted(asked)}")
    once = dict.fromkeys((f"r{number}" for number in range(ROWS)), 1)
    if billed != {**once, FLAKY_ROW: 2}:
        raise BrokenPromiseError(f"rows were run: {billed}")
    found = outputs(directory)
    ids = [json.loads(line)["custom_id"] for text in found.values() for line in text.splitlines()]
    if sorted(ids) != sorted(billed):
        raise BrokenPromiseError(f"rows in the output: {sorted(ids)}")
    if expected is not None and found != expected:
        raise BrokenPromiseError("the output is not that of an undisturbed run")


def outputs(directory: Path) -> dict[str, bytes]:
    """Return what was written."""
    return {name: (directory / name).read_bytes() for name in ("output.jsonl", "errors.jsonl")}


@attrs.frozen
class Undisturbed:
    """A run that nobody disturbs."""

    outputs: Mapping[str, bytes]
    """What it wrote."""

    datasets: list[str]
    """The ids of its inputs."""


async def undisturbed(nursery: Nursery, directory: Path) -> Undisturbed:
    """Make a run that nobody disturbs."""
    write_requests(directory)
    async with emulators() as (emulator, billed):
        await nursery.start(order_for(emulator, directory))
        if await nursery.number():
            raise BrokenPromiseError("an undisturbed run failed")
        check(emulator, billed, directory, None)
        paths = [each.path for each in emulator.requests() if each.path.endswith(":upload")]
        datasets = [path.rpartition("/")[2].removesuffix(":upload") for path in paths]
        return Undisturbed(outputs(directory), datasets)


async def killed_at(
    boundary: int, nursery: Nursery, directory: Path, expected: Undisturbed, *, drops: bool
) -> bool:
    """Kill a run when so many requests were answered, and start it again.

    Returns:
        Whether there was such a boundary.
    """
    write_requests(directory)
    datasets = expected.datasets if drops else []
    async with emulators() as (emulator, billed):
        order = order_for(emulator, directory, 1 if drops else None)
        emulator.add_fault("hang", after=boundary)
        if drops:
            drop_answers(emulator, datasets)
        pid = await nursery.start(order)
        ended = asyncio.create_task(nursery.number())
        while not ended.done() and not hangs(emulator):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
        is_killed = not ended.done()
        if is_killed:
            os.kill(pid, signal.SIGKILL)
        code = await ended
        emulator.clear_faults()
        if is_killed:
            if drops:
                drop_answers(emulator, datasets)
            await nursery.start(order)
            code = await nursery.number()
        if code:
            raise BrokenPromiseError(f"boundary {boundary}, drops {drops}: exit code {code}")
        check(emulator, billed, directory, expected.outputs)
        if drops and not is_killed:
            check_drops(emulator)
    return is_killed


def check_drops(emulator: Emulator) -> None:
    """Check that the answer to each write was lost once."""
    lost = [each.method for each in emulator.requests() if each.fault == "drop_answer"]
    wanted = {"POST": 3 * JOBS, "DELETE": JOBS}  # a dataset, its rows and a job; the dataset again
    if wanted != Counter(lost):
        raise BrokenPromiseError(f"answers were lost: {Counter(lost)}, not {wanted}")


def hangs(emulator: Emulator) -> bool:
    """Whether a request is kept waiting."""
    return any(entry.fault == "hang" for entry in emulator.requests())


async def at_once(
    pair: list[Nursery], directory: Path, expected: Undisturbed, *, drops: bool
) -> None:
    """Let two processes do the same at the same time."""
    folders = [directory.with_name(f"{directory.name}-{number}") for number in range(len(pair))]
    async with emulators() as (emulator, billed):
        if drops:
            drop_answers(emulator, expected.datasets)
        for folder, each in zip(folders, pair, strict=True):
            write_requests(folder)
            await each.start(order_for(emulator, folder))
        codes = [await each.number() for each in pair]
        if any(codes):
            raise BrokenPromiseError(f"two at once, drops {drops}: exit codes {codes}")
        for folder in folders:
            check(emulator, billed, folder, expected.outputs)


async def prove(step: int) -> int:
    """Kill at each boundary, or at each so-many-th, and return how many there were."""
    count = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with nurseries(2, directory) as pair:
            expected = await undisturbed(pair[0], directory / "undisturbed")
            for drops in (False, True):
                # With lost answers there are more boundaries, most of them those of the first time.
                stride = 2 * step if drops and step > 1 else step
                boundary = 0
                while await killed_at(
                    boundary,
                    pair[0],
                    directory / f"{boundary}-{drops}",
                    expected,
                    drops=drops,
                ):
                    boundary, count = boundary + stride, count + 1
                await at_once(pair, directory / f"two-{drops}", expected, drops=drops)
    return count


def main() -> int:
    """Kill at each boundary, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().nursery:
        nursery()
        return 0
    if not hasattr(os, "fork"):
        print("not measured: this system cannot fork")
        return 0
    # A client that is killed while it is answered is no news here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    try:
        count = asyncio.run(prove(1))
    except BrokenPromiseError as error:
        print(f"BROKEN: {error}")
        return 1
    print(f"killed at {count} boundaries: {JOBS} jobs and one output each time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
