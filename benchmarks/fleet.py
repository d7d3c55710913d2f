"""What it costs to follow many jobs: requests, lag, CPU, memory, and politeness over hours.

The first part goes over real HTTP, to a server in a process of its own; the second one lasts hours
on a virtual clock. `--chart FILE` also draws the requests against the number of jobs, as SVG.
"""

import argparse
import asyncio
import gc
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import attrs
import orjson

from fireworks_batch import BatchClient, BatchInferenceJob, JobSnapshot, PollPolicy
from fireworks_batch.emulator import Emulator
from fireworks_batch.polling.approach import MASK
from table import Row, show, support

KEY = "fw_benchmark"
PATH = "/v1/accounts/acme/batchInferenceJobs"
JOBS_OF_CHART = (1, 3, 10, 30, 100, 300, 1000)


def main() -> int:
    """Run all of it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenth", action="store_true", help="the size for CI")
    parser.add_argument("--chart", type=Path, help="where to draw the requests")
    options = parser.parse_args()
    share = 0.1 if options.tenth else 1.0
    with serve() as base_url:
        # Fewer jobs would show what a request costs, and a client, rather than a job.
        rows = asyncio.run(measure_real(base_url, count=max(400, int(1000 * share)), share=share))
    for name, see in (("fleet", see_fleet), ("waits", see_waits)):
        rows += measure_limit(name, see, count=int(200 * share), seed=1)
    rows += measure_ends(int(1000 * share))
    rows += [measure_history(order, int(20_000 * share)) for order in ("oldest", "newest")]
    if options.chart:
        options.chart.write_text(draw(JOBS_OF_CHART, count_requests(JOBS_OF_CHART)), "utf-8")
    return show(rows)


# --- Over real HTTP -----------------------------------------------------------------------------


@contextmanager
def serve() -> Iterator[str]:
    """Run a server in a process of its own."""
    command = [sys.executable, "-m", "fireworks_batch.emulator", "--api-key", KEY, "--tick", "0"]
    server = subprocess.Popen([*command, "--account-id", "acme"], stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().strip() if server.stdout else ""
    finally:
        server.terminate()
        server.wait(10)


async def measure_real(base_url: str, *, count: int, share: float) -> list[Row]:
    """Measure requests, lag, CPU and memory."""
    rows: list[Row] = []
    seconds = 4 + 8 * share
    async with aiohttp.ClientSession(base_url) as session:
        for name, follow in (("fleet", follow_fleet), ("waits", follow_waits)):
            control = Control(session, count)
            rows += await control.measure(base_url, name, follow, seconds)
    return rows


@attrs.define
class Control:
    """The server's other side: it makes jobs, and tells what was asked."""

    session: aiohttp.ClientSession
    count: int

    async def measure(
        self, base_url: str, name: str, follow: "Follow", seconds: float
    ) -> list[Row]:
        """Measure one way to follow the jobs."""
        return [
            Row(f"{name}: requests / a GET a poll", 0.03, await self.asked(base_url, follow)),
            Row(f"{name}: mean lag / interval", 0.7, await self.lag(base_url, follow, seconds)),
            Row(f"{name}: CPU of a round / loads", 8.0, await self.cpu(base_url, follow, seconds)),
            Row(f"{name}: KiB a job", 8.0, await self.memory_of_a_job(base_url, follow)),
        ]

    async def asked(self, base_url: str, follow: "Follow", interval: float = 1.0) -> float:
        """Compare the requests for jobs that do not change with a GET a poll."""
        ids = await self.script(phases=["PENDING"])
        async with following(base_url, follow, ids, interval):
            since = await self.requests()
            began = time.monotonic()
            await asyncio.sleep(6 * interval)
            polls = self.count * (time.monotonic() - began) / interval
            return (await self.requests() - since) / polls

    async def lag(
        self, base_url: str, follow: "Follow", seconds: float, interval: float = 2.0
    ) -> float:
        """Return how many intervals after its end a job comes, on the average."""
        began = time.monotonic()
        await self.script(phases=["PENDING"])
        lead = 2 + 2 * (time.monotonic() - began)
        ids = await self.script(phases=ending(lead, seconds))
        lags: list[float] = []
        async with client_for(base_url, interval) as client:
            await follow(client, ids, lags)
        if len(lags) != len(ids):
            raise SystemExit(f"{len(lags)} of {len(ids)} ends were seen")
        return statistics.mean(lags) / interval

    async def cpu(
        self, base_url: str, follow: "Follow", seconds: float, interval: float = 1.0
    ) -> float:
        """Compare the CPU of a round over unchanged jobs with that of reading its pages."""
        ids = await self.script(phases=["PENDING"])
        async with following(base_url, follow, ids, interval):
            await asyncio.sleep(2 * interval)
            bare = [[spent async for spent in self.loads()] for _ in range(9)]
            pages = len(bare[0])
            # One at a time: where the garbage of all of them is collected, only one is dearer.
            spent = [
                each
                for _ in range(int(2 * seconds))
                if (each := await self.cpu_of_a_round(pages, interval)) is not None
            ]
        return statistics.median(spent) / statistics.median(map(sum, bare))

    async def script(self, *, phases: Any) -> list[str]:
        """Let all jobs begin by their phases."""
        ids = [f"job-{number}" for number in range(self.count)]
        for job_id in ids:
            body = {"phases": phases() if callable(phases) else phases}
            async with self.session.post(f"/_emulator/jobs/{job_id}", json=body) as answer:
                answer.raise_for_status()
        return ids

    async def requests(self) -> int:
        """Return how many requests there were."""
        async with self.session.get("/_emulator/requests") as answer:
            members = orjson.loads(await answer.read())
        return int(members["requests"][-1]["n"]) if members["requests"] else 0

    async def loads(self) -> AsyncIterator[float]:
        """Ask for the pages of a round, and yield the CPU that `orjson.loads` takes for each.

        They come from the server one by one, as ours do: what comes after a wait is read by a
        processor that has slept, and not as fast as the same bytes over and over.
        """
        token = ""
        while True:
            query = {"pageSize": 200, "orderBy": "create_time desc", "readMask": MASK}
            url = f"{PATH}?{urlencode(query | {'pageToken': token})}"
            headers = {"Authorization": f"Bearer {KEY}"}
            async with self.session.get(url, headers=headers) as answer:
                body = await answer.read()
            began = time.process_time()
            page = orjson.loads(body)
            yield time.process_time() - began
            token = page["nextPageToken"]
            if not token:
                return

    async def cpu_of_a_round(self, pages: int, interval: float) -> float | None:
        """Return the CPU of the round of an interval, if there was one."""
        since = await self.requests()
        began = time.process_time()
        await asyncio.sleep(interval)
        spent = time.process_time() - began
        rounds = (await self.requests() - since) / pages
        return spent / rounds if rounds else None

    async def memory_of_a_job(self, base_url: str, follow: "Follow") -> float:
        """Return the KiB that following takes for each job, after some rounds."""
        ids = await self.script(phases=["PENDING"])
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        async with following(base_url, follow, ids, 1.0):
            await asyncio.sleep(5)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return (after - before) / 1024 / self.count


def ending(lead: float, seconds: float) -> Callable[[], list[dict[str, Any]]]:
    """Return phases that end at a random moment of some seconds, which begin after a lead."""
    rng = random.Random(1)
    begin = time.monotonic() + lead

    def phases() -> list[dict[str, Any]]:
        left = max(0.0, begin + rng.uniform(0, seconds) - time.monotonic())
        return [{"state": "PENDING", "seconds": left}, {"state": "COMPLETED"}]

    return phases


Follow = Callable[[BatchClient, list[str], list[float]], Awaitable[None]]


def client_for(base_url: str, interval: float) -> BatchClient:
    """Return a client that polls at one interval."""
    poll = PollPolicy(initial_interval=interval, max_interval=interval, min_interval=0)
    return BatchClient(api_key=KEY, account_id="acme", base_url=base_url, poll=poll)


@asynccontextmanager
async def following(base_url: str, follow: Follow, ids: list[str], interval: float) -> Any:
    """Follow jobs in the background."""
    async with client_for(base_url, interval) as client:
        task = asyncio.create_task(_forget(follow(client, ids, [])))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def _forget(following: Awaitable[None]) -> None:
    await following


async def follow_fleet(client: BatchClient, ids: list[str], lags: list[float]) -> None:
    """Follow jobs by one fleet."""
    async for snapshot in client.jobs.watch(ids, changes_only=True):
        if snapshot.job.is_terminal:
            note_lag(snapshot.job, lags)


async def follow_waits(client: BatchClient, ids: list[str], lags: list[float]) -> None:
    """Follow each job by a wait of its own."""

    async def wait(job_id: str) -> None:
        note_lag(await client.jobs.wait_until_terminal(job_id), lags)

    async with asyncio.TaskGroup() as group:
        for job_id in ids:
            group.create_task(wait(job_id))


def note_lag(job: BatchInferenceJob, lags: list[float]) -> None:
    """Note how long after its end a job came: the server's clock is this machine's."""
    if job.update_time is not None:
        lags.append((datetime.now(UTC) - job.update_time) / timedelta(seconds=1))


# --- On a virtual clock -------------------------------------------------------------------------


def in_virtual_time(
    scenario: Callable[[Emulator, BatchClient], Awaitable[Any]], **options: Any
) -> Any:
    """Run a scenario with an emulator and a client, on a clock that jumps over waiting."""

    async def run() -> Any:
        async with (
            Emulator(account_id="acme", **options) as emulator,
            BatchClient(
                api_key=emulator.api_key, account_id="acme", base_url=emulator.base_url
            ) as client,
        ):
            return await scenario(emulator, client)

    with asyncio.Runner(loop_factory=support("virtual_loop").VirtualLoop) as runner:
        return runner.run(run())


def measure_limit(name: str, see: "See", *, count: int, seed: int) -> list[Row]:
    """Follow jobs to their ends where ten requests a minute are allowed."""
    rng = random.Random(seed)

    async def scenario(emulator: Emulator, client: BatchClient) -> tuple[int, float]:
        ids = [f"job-{number}" for number in range(count)]
        for job_id in ids:
            times = [60 * rng.randint(1, 60) for _ in range(2)]
            phases = [{"state": "PENDING", "seconds": times[0]}]
            phases += [{"state": "RUNNING", "seconds": times[1]}, {"state": "COMPLETED"}]
            emulator.script_job(job_id, phases=phases)
            await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        last, widest = dict.fromkeys(ids, loop.time()), 0.0

        def note(snapshot: JobSnapshot) -> None:
            nonlocal widest
            job_id = snapshot.job.id
            widest, last[job_id] = max(widest, loop.time() - last[job_id]), loop.time()

        await see(client, ids, note)
        return sum(one.status == 429 for one in emulator.requests()), widest

    refused, widest = in_virtual_time(scenario, requests_per_minute=10)
    return [
        Row(f"{name}, 10 a minute: 429s", 1.0, refused),
        Row(f"{name}, 10 a minute: unseen / 90 s", 1.0, widest / 90),
    ]


See = Callable[[BatchClient, list[str], Callable[[JobSnapshot], None]], Awaitable[None]]


async def see_fleet(
    client: BatchClient, ids: list[str], note: Callable[[JobSnapshot], None]
) -> None:
    """Note each poll of jobs that one fleet follows."""
    async for snapshot in client.jobs.watch(ids):
        note(snapshot)


async def see_waits(
    client: BatchClient, ids: list[str], note: Callable[[JobSnapshot], None]
) -> None:
    """Note each poll of jobs that are followed by waits of their own."""

    async def wait(job_id: str) -> None:
        async for snapshot in client.jobs.wait_until_terminal(job_id):
            note(snapshot)

    async with asyncio.TaskGroup() as group:
        for job_id in ids:
            group.create_task(wait(job_id))


@attrs.define
class Course:
    """How jobs were followed to ends that they reach at any moment."""

    gets: int
    pages: int
    rounds: int
    """In the minute that had most of them."""
    lag: float
    """Intervals from the end of a job to its terminal snapshot, on the average."""


def measure_ends(count: int) -> list[Row]:
    """Compare the polls of jobs whose counters tell of their ends with those of the interval."""
    lives, bare = (follow_ends(count, 3600, is_adaptive=adaptive) for adaptive in (True, False))
    once, plain = (follow_ends(count, 0, is_adaptive=adaptive) for adaptive in (True, False))
    return [
        Row(
            "ends in sight: requests / interval's",
            1.03,
            (lives.gets + lives.pages) / (bare.gets + bare.pages),
        ),
        Row("ends in sight: mean lag / interval", 0.2, lives.lag),
        Row("interval alone: mean lag / interval", 0.7, bare.lag),
        Row("all ends at once: mean lag / interval", 0.2, once.lag),
        Row("all ends at once: rounds a minute", 8.0, float(once.rounds)),
        Row("all ends at once: GETs more", 0.0, float(max(0, once.gets - plain.gets))),
    ]


def follow_ends(count: int, spread: float, *, is_adaptive: bool) -> Course:
    """Follow jobs that wait for up to so many seconds, and run for about as long, or 20 minutes."""
    rng = random.Random(1)

    async def scenario(emulator: Emulator, client: BatchClient) -> Course:
        loop = asyncio.get_running_loop()
        ends: dict[str, float] = {}
        for number in range(count):
            waits = rng.uniform(60, spread) if spread else 60.0
            runs = rng.uniform(60, spread) if spread else 1200.0
            phases = [{"state": "PENDING", "seconds": waits}]
            phases += [{"state": "RUNNING", "seconds": runs}, {"state": "COMPLETED"}]
            emulator.script_job(f"job-{number}", phases=phases, rows=1000)
            ends[f"job-{number}"] = loop.time() + waits + runs
            await asyncio.sleep(0.01)
        poll = PollPolicy(adaptive=is_adaptive)
        lags = [
            (loop.time() - ends[snapshot.job.id]) / poll.max_interval
            async for snapshot in client.jobs.watch(ends, poll=poll)
            if snapshot.job.is_terminal
        ]
        listings = [one for one in emulator.requests() if one.path == PATH]
        firsts = [one.time for one in listings if not one.query.get("pageToken")]
        minutes = Counter(text[:16] for text in firsts[3:])  # the first polls come at once
        return Course(
            gets=len(emulator.requests()) - len(listings),
            pages=len(listings),
            rounds=max(minutes.values()),
            lag=statistics.mean(lags),
        )

    course: Course = in_virtual_time(scenario, tick=0)
    return course


def measure_history(order: str, count: int) -> Row:
    """Follow ten jobs for an hour in an account with many that have ended."""

    async def scenario(emulator: Emulator, client: BatchClient) -> float:
        for number in range(count):
            emulator.script_job(f"old-{number}", phases=["COMPLETED"])
        await asyncio.sleep(1)
        ids = [f"job-{number}" for number in range(10)]
        for job_id in ids:
            emulator.script_job(job_id, phases=["PENDING"])
            await asyncio.sleep(0.01)
        task = asyncio.ensure_future(client.jobs.watch(ids))
        await asyncio.sleep(3600)
        task.cancel()
        await asyncio.wait([task])
        return sum(one.path == PATH for one in emulator.requests()) / 62

    pages = in_virtual_time(scenario, assume={"default_order": f"{order}_first"})
    return Row(f"{order} first: pages a round", 4.0, pages)


# --- The chart ----------------------------------------------------------------------------------


def count_requests(counts: Sequence[int]) -> list[float]:
    """Return the requests an hour that following so many jobs takes, at one a minute."""
    poll = PollPolicy(initial_interval=60, max_interval=60)

    def hour(count: int) -> float:
        async def scenario(emulator: Emulator, client: BatchClient) -> float:
            ids = [f"job-{number}" for number in range(count)]
            for job_id in ids:
                emulator.script_job(job_id, phases=["PENDING"])
                await asyncio.sleep(0.001)
            task = asyncio.ensure_future(client.jobs.watch(ids, poll=poll))
            await asyncio.sleep(3600)
            task.cancel()
            await asyncio.wait([task])
            return float(len(emulator.requests()))

        result: float = in_virtual_time(scenario)
        return result

    return [hour(count) for count in counts]


def draw(counts: Sequence[int], requests: Sequence[float]) -> str:
    """Draw requests an hour against jobs, both on logarithmic scales, as SVG."""
    from math import log10  # noqa: PLC0415 - for the chart only

    def place(jobs: float, sent: float) -> str:
        return f"{70 + 130 * log10(jobs):.0f},{290 - 55 * log10(sent):.0f}"

    ours = " ".join(place(*point) for point in zip(counts, requests, strict=True))
    gets = " ".join(place(count, 60 * count) for count in counts)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 340" role="img">',
        "<style>text { font: 12px sans-serif }</style>",
        "<title>Requests an hour against the number of jobs</title>",
        '<rect width="560" height="340" fill="white"/>',
    ]
    for power in range(6):
        x, y = place(1, 10**power).split(",")
        lines.append(f'<path d="M{x} {y}H460" stroke="#ddd"/>')
        lines.append(
            f'<text x="{int(x) - 8}" y="{int(y) + 4}" text-anchor="end">{10**power:,}</text>'
        )
    for count, sent in zip(counts, requests, strict=True):
        x, y = place(count, sent).split(",")
        above = -18 if count == counts[0] else 8  # where it does not stand on the axis' own
        lines.append(f'<text x="{x}" y="308" text-anchor="middle">{count:,}</text>')
        lines.append(f'<circle cx="{x}" cy="{y}" r="3" fill="#06c"/>')
        lines.append(f'<text x="{x}" y="{int(y) - above}" text-anchor="middle">{sent:,.0f}</text>')
    lines += [
        f'<polyline points="{gets}" fill="none" stroke="#c33" stroke-dasharray="4"/>',
        f'<polyline points="{ours}" fill="none" stroke="#06c" stroke-width="2"/>',
        '<text x="330" y="60" text-anchor="end" fill="#c33">a GET a job and minute</text>',
        '<text x="465" y="180" fill="#06c">this library</text>',
        '<text x="265" y="328" text-anchor="middle">jobs that are watched</text>',
        '<text x="70" y="10">requests an hour, one poll a minute</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
