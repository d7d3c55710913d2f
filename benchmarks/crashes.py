"""A process that runs three jobs is killed at every request boundary in turn, and started again.

Each time there must be exactly three jobs in the end, and an output that is byte for byte that of
a run that nobody disturbed. A boundary is made by an emulator that keeps one request waiting; the
process is then killed with SIGKILL. Processes are forked from one that has imported everything.
`--tenth` takes every tenth boundary, from a place that a seed determines. Needs `os.fork`.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from fireworks_batch import BatchClient, Limits, PollPolicy, RetryPolicy
from fireworks_batch.emulator import Emulator, RowFailureError

JOBS = 3
ROWS = 30
BAD_ROW = "r7"
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
            limits=Limits(max_rows=ROWS // JOBS),
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


def answer(custom_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer a row with what is the same at any time; one row fails."""
    if custom_id == BAD_ROW:
        raise RowFailureError("no", 400)
    content = body["messages"][-1]["content"].upper()
    return {"id": custom_id, "choices": [{"index": 0, "message": {"content": content}}]}


def write_requests(directory: Path) -> None:
    """Write the requests."""
    directory.mkdir()
    rows = [
        {"custom_id": f"r{number}", "body": {"messages": [{"role": "user", "content": "hi"}]}}
        for number in range(ROWS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "requests.jsonl").write_text(text, encoding="utf-8")


def order_for(emulator: Emulator, directory: Path) -> dict[str, str]:
    """Return what a child is told."""
    return {
        "base_url": emulator.base_url,
        "api_key": emulator.api_key,
        "directory": str(directory),
    }


def check(emulator: Emulator, directory: Path, expected: Mapping[str, bytes] | None) -> None:
    """Check jobs and output, and that the output is what is expected."""
    created = [
        entry.query["batchInferenceJobId"]
        for entry in emulator.requests()
        if entry.method == "POST"
        and entry.path.endswith("/batchInferenceJobs")
        and (entry.status == 200 or entry.fault == "drop_answer")
    ]
    if not len(created) == len(set(created)) == JOBS:
        raise BrokenPromiseError(f"jobs were created: {created}")
    found = outputs(directory)
    ids = [json.loads(line)["custom_id"] for text in found.values() for line in text.splitlines()]
    if sorted(ids) != sorted(f"r{number}" for number in range(ROWS)):
        raise BrokenPromiseError(f"rows in the output: {sorted(ids)}")
    if expected is not None and found != expected:
        raise BrokenPromiseError("the output is not that of an undisturbed run")


def outputs(directory: Path) -> dict[str, bytes]:
    """Return what was written."""
    return {name: (directory / name).read_bytes() for name in ("output.jsonl", "errors.jsonl")}


async def undisturbed(nursery: Nursery, directory: Path) -> tuple[dict[str, bytes], int]:
    """Return the output of a run that nobody disturbs, and the number of its requests."""
    write_requests(directory)
    async with Emulator(speed=6000, responder=answer) as emulator:
        await nursery.start(order_for(emulator, directory))
        if await nursery.number():
            raise BrokenPromiseError("an undisturbed run failed")
        check(emulator, directory, None)
        return outputs(directory), len(emulator.requests())


async def killed_at(
    boundary: int, nursery: Nursery, directory: Path, expected: Mapping[str, bytes]
) -> bool:
    """Kill a run when so many requests were answered, and start it again.

    Returns:
        Whether there was such a boundary.
    """
    write_requests(directory)
    async with Emulator(speed=6000, responder=answer) as emulator:
        emulator.add_fault("hang", after=boundary)
        pid = await nursery.start(order_for(emulator, directory))
        ended = asyncio.create_task(nursery.number())
        while not ended.done() and not hangs(emulator):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
        is_killed = not ended.done()
        if is_killed:
            os.kill(pid, signal.SIGKILL)
        code = await ended
        emulator.clear_faults()
        if is_killed:
            await nursery.start(order_for(emulator, directory))
            code = await nursery.number()
        if code:
            raise BrokenPromiseError(f"boundary {boundary}: exit code {code}")
        check(emulator, directory, expected)
    return is_killed


def hangs(emulator: Emulator) -> bool:
    """Whether a request is kept waiting."""
    return any(entry.fault == "hang" for entry in emulator.requests())


async def at_once(pair: list[Nursery], directory: Path, expected: Mapping[str, bytes]) -> None:
    """Let two processes do the same at the same time."""
    folders = [directory / str(number) for number in range(len(pair))]
    async with Emulator(speed=6000, responder=answer) as emulator:
        for folder, each in zip(folders, pair, strict=True):
            write_requests(folder)
            await each.start(order_for(emulator, folder))
        codes = [await each.number() for each in pair]
        if any(codes):
            raise BrokenPromiseError(f"two at once: exit codes {codes}")
        for folder in folders:
            check(emulator, folder, expected)


async def prove(step: int, seed: int) -> int:
    """Kill at each boundary, or at each so-many-th, and return how many there were."""
    first = random.Random(seed).randrange(step)
    count = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with nurseries(2, directory) as pair:
            expected, _ = await undisturbed(pair[0], directory / "undisturbed")
            boundary = first
            while await killed_at(boundary, pair[0], directory / str(boundary), expected):
                boundary, count = boundary + step, count + 1
            (directory / "two").mkdir()
            await at_once(pair, directory / "two", expected)
    return count


def main() -> int:
    """Kill at each boundary, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenth", action="store_true", help="the size for CI")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.nursery:
        nursery()
        return 0
    if not hasattr(os, "fork"):
        print("not measured: this system cannot fork")
        return 0
    # A client that is killed while it is answered is no news here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    seed = random.SystemRandom().randrange(1000)
    try:
        count = asyncio.run(prove(10 if arguments.tenth else 1, seed))
    except BrokenPromiseError as error:
        print(f"seed {seed}: BROKEN: {error}")
        return 1
    print(f"seed {seed}: killed at {count} boundaries: {JOBS} jobs and one output each time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
