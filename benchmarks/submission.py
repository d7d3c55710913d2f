"""What it costs to look at requests before they are sent, and to put results together.

A million rows (some 300 MB): check, hash and split beside a bare loop of orjson.loads with a set
of ids. Ten million ids: memory of the preflight, of `collect`, and of access by id. The event loop
is watched all the while. `--tenth` is the size for CI. Each part runs in a process of its own.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import orjson

from figures import MIB, Figure, Report, by_median, interleave, main, most_memory, single
from fireworks_batch.files.threads import off_loop
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.dataset import Limits
from fireworks_batch.results.index import ResultIndex
from fireworks_batch.runs.collect import _read
from fireworks_batch.runs.outcome import run_report
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import prepare
from fireworks_batch.runs.result import BatchResult
from fireworks_batch.runs.scan import ScanTerms
from fireworks_batch.runs.submission import Submission

ROWS: Final = 1_000_000
IDS: Final = 10_000_000
ROUNDS: Final = 5
TRIES: Final = 5
PARTS: Final = ("preflight", "collect")
TALK: Final = "You are a careful reviewer. Answer with one word: good, bad or mixed. " * 2


def write(path: Path, rows: Iterator[bytes]) -> None:
    """Write lines."""
    with path.open("wb") as file:
        file.writelines(rows)


def requests(count: int, text: str) -> Iterator[bytes]:
    """Yield requests as lines."""
    for number in range(count):
        messages = [{"role": "system", "content": text}, {"role": "user", "content": f"{number}"}]
        body = {"messages": messages, "max_tokens": 16}
        yield orjson.dumps({"custom_id": f"request-{number:09d}", "body": body}) + b"\n"


def results(count: int) -> Iterator[bytes]:
    """Yield results as lines, in an order that is not that of the requests."""
    step = 7_368_787  # a prime, so that each number comes once
    for index in range(count):
        number = index * step % count
        response = {"choices": [{"index": 0, "message": {"content": "good"}}]}
        yield orjson.dumps({"custom_id": f"request-{number:09d}", "response": response}) + b"\n"


def terms(path: Path, rows: int | None = None) -> ScanTerms:
    """Say how the file is looked at; with three jobs if a number of rows is given."""
    most = None if rows is None else -(-rows // 3)
    return ScanTerms(
        path=path, rules=RowRules(), limits=Limits(max_rows=most), directory=path.parent
    )


# --- Speed --------------------------------------------------------------------------------------


async def bare(path: Path) -> float:
    """Do the least that finds a line that is no JSON, or an id that is there twice."""
    began = time.process_time()
    seen = set()
    with path.open("rb") as file:
        for line in file:
            seen.add(orjson.loads(line)["custom_id"])
    return time.process_time() - began


async def preflight(path: Path, rows: int | None = None) -> float:
    """Check, hash and, if there are to be several jobs, split."""
    began = time.process_time()
    await prepare(terms(path, rows))
    return time.process_time() - began


# --- The loop, and memory -----------------------------------------------------------------------


async def longest_hold(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds for which the loop was held longest while something was done."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)

    watcher = asyncio.create_task(watch())
    await work()
    watcher.cancel()
    return longest


async def collect(directory: Path, count: int) -> None:
    """Put results together, and find some by id."""
    async with workspace(keep=True) as space:
        index = ResultIndex(space.path / "index.sqlite")
        await prepare(terms(directory / "requests.jsonl"), index)
        steps = index.add_job(0, [directory / "results.jsonl"], _read)
        while await off_loop(lambda: next(steps, True)) is None:
            pass
        tally = await off_loop(index.choose)
    if tally.succeeded != count:
        raise SystemExit(f"{tally.succeeded} of {count} rows were found")
    submission = Submission(account_id="a", base_url="b", name="", model="m", shards=())
    report = run_report(tally, (), model="m", rows=count, adopted=(), skipped=0)
    result = BatchResult[None]._made(index, space, submission, report, decode=None, first=[])
    for number in range(0, count, max(1, count // 10_000)):
        await result.get(f"request-{number:09d}")
    await result.aclose()


def work_of(part: str, directory: Path, count: int) -> Callable[[], Awaitable[object]]:
    """Return what a part does."""
    if part == "preflight":
        return partial(prepare, terms(directory / "requests.jsonl"))
    return partial(collect, directory, count)


@attrs.frozen
class Cost:
    """What a process took."""

    memory: float
    """The most MiB that it had."""

    held: float
    """The longest time for which its loop was held, in seconds."""


def in_process(part: str, directory: Path, count: int) -> Cost:
    """Run a part in a process of its own."""
    command = [sys.executable, __file__, part, str(directory), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cost(*map(float, done.stdout.split()))


def be_process(part: str, directory: Path, count: int) -> None:
    """Be that process."""
    held = asyncio.run(longest_hold(work_of(part, directory, count)))
    print(most_memory(), held)


async def measure(share: float) -> Report:
    """Measure all of it, in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        return Report(await figures_in(Path(directory), int(ROWS * share), int(IDS * share)))


async def figures_in(directory: Path, rows: int, ids: int) -> list[Figure]:
    """Return the figures of so many rows, and the memory for so many ids."""
    path = directory / "requests.jsonl"
    write(path, requests(rows, TALK))
    samples = await interleave(
        {
            "bare": partial(bare, path),
            "whole": partial(preflight, path),
            "split": partial(preflight, path, rows),
        },
        ROUNDS,
    )
    write(directory / "results.jsonl", results(rows))
    few = {part: [in_process(part, directory, rows) for _ in range(TRIES)] for part in PARTS}
    write(path, requests(ids, "x"))
    write(directory / "results.jsonl", results(ids))
    many = {part: in_process(part, directory, ids).memory for part in PARTS}
    less = min(one.memory for one in few["preflight"])
    return [
        by_median("preflight", samples["whole"], samples["bare"]),
        by_median("split", samples["split"], samples["bare"]),
        *(single(f"{part}-memory", many[part]) for part in PARTS),
        single("preflight-row", (many["preflight"] - less) * MIB / (ids - rows)),
        # What else the machine does can only make a hold longer: the least of some tries counts.
        *(single(f"{part}-hold", 1000 * min(one.held for one in few[part])) for part in PARTS),
    ]


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in PARTS:
        be_process(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main(__doc__, measure))
