"""What it costs to follow many jobs: requests, lag, memory, and politeness over hours.

The first part goes over real HTTP, to a server in a process of its own. The second part lasts hours
on a virtual clock, and each run of it is the same.
"""

import asyncio
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias
from unittest import mock

import aiohttp
import attrs

from figures import Figure, Report, emulator, main, single, support
from fireworks_batch import BatchClient, BatchInferenceJob, JobSnapshot, PollPolicy
from fireworks_batch.emulator import Emulator

KEY = "fw_benchmark"
PATH = "/v1/accounts/acme/batchInferenceJobs"
JOBS_OF_PLOT = (1, 3, 10, 30, 100, 300, 1000)


async def measure(share: float) -> Report:
    """Measure over real HTTP first, and then on a virtual clock."""
    # Fewer jobs would show what a request costs, and a client, rather than a job.
    count = max(400, int(1000 * share))
    with emulator("--api-key", KEY, "--tick", "0", "--account-id", "acme") as base_url:
        figures = await measure_real(base_url, count=count, share=share)
    for prefix, see in (("", see_fleet), ("waits-", see_waits)):
        figures.append(await measure_requests(prefix, see, count))
        figures += await measure_limit(prefix, see, count=int(200 * share), seed=1)
    figures += await measure_ends(int(1000 * share))
    for order in ("oldest", "newest"):
        figures.append(await measure_history(order, int(20_000 * share)))
    if share < 1:
        return Report(figures)
    return Report(figures, {"requests": [[n, await count_requests(n)] for n in JOBS_OF_PLOT]})


# --- Over real HTTP -----------------------------------------------------------------------------


async def measure_real(base_url: str, *, count: int, share: float) -> list[Figure]:
    """Measure memory and lag, each by a fleet and by waits."""
    figures: list[Figure] = []
    async with aiohttp.ClientSession(base_url) as session:
        account = Account(session, base_url, count)
        for prefix, follow in (("", follow_fleet), ("waits-", follow_waits)):
            figures.append(await account.memory(prefix, follow))
        figures += await account.lags(seconds=4 + 16 * share)
    return figures


@attrs.define
class Account:
    """The server's other side, which makes jobs."""

    session: aiohttp.ClientSession
    base_url: str
    count: int

    async def memory(self, prefix: str, follow: "Follow") -> Figure:
        """Return the KiB that following takes for each job, after some rounds."""
        ids = await self.script(phases=["PENDING"])
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        async with self.following(lambda client: follow(client, ids, []), 0.5):
            await asyncio.sleep(2)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return single(f"{prefix}memory", (after - before) / 1024 / self.count)

    async def lags(self, seconds: float, interval: float = 1.0) -> list[Figure]:
        """Return how many intervals after its end a job comes, on the average."""
        began = time.monotonic()
        await self.script(phases=["PENDING"])
        lead = 2 + 2 * (time.monotonic() - began)
        ids = await self.script(phases=ending(lead, seconds))
        lags: dict[str, list[float]] = {"": [], "waits-": []}
        async with (
            client_for(self.base_url, interval) as first,
            client_for(self.base_url, interval) as second,
        ):
            await asyncio.gather(
                follow_fleet(first, ids, lags[""]), follow_waits(second, ids, lags["waits-"])
            )
        if any(len(each) != len(ids) for each in lags.values()):
            raise SystemExit(f"not all of {len(ids)} ends were seen")
        return [single(f"{prefix}lag", statistics.mean(lags[prefix]) / interval) for prefix in lags]

    @asynccontextmanager
    async def following(
        self, follow: Callable[[BatchClient], Awaitable[None]], interval: float
    ) -> AsyncIterator[None]:
        """Follow jobs in the background."""
        async with client_for(self.base_url, interval) as client:
            task = asyncio.ensure_future(follow(client))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def script(self, *, phases: Any) -> list[str]:
        """Let all jobs begin by their phases."""
        ids = [f"job-{number}" for number in range(self.count)]
        for job_id in ids:
            body = {"phases": phases() if callable(phases) else phases}
            async with self.session.post(f"/_emulator/jobs/{job_id}", json=body) as answer:
                answer.raise_for_status()
        return ids


def ending(lead: float, seconds: float) -> Callable[[], list[dict[str, Any]]]:
    """Return phases that end at a random moment of some seconds, which begin after a lead."""
    rng = random.Random(1)
    begin = time.monotonic() + lead

    def phases() -> list[dict[str, Any]]:
        left = max(0.0, begin + rng.uniform(0, seconds) - time.monotonic())
        return [{"state": "PENDING", "seconds": left}, {"state": "COMPLETED"}]

    return phases


Follow: TypeAlias = Callable[[BatchClient, list[str], list[float]], Awaitable[None]]


def client_for(base_url: str, interval: float) -> BatchClient:
    """Return a client that polls at one interval."""
    poll = PollPolicy(initial_interval=interval, max_interval=interval, min_interval=0)
    return BatchClient(api_key=KEY, account_id="acme", base_url=base_url, poll=poll)


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


async def in_virtual_time(
    scenario: Callable[[Emulator, BatchClient], Awaitable[Any]], **options: Any
) -> Any:
    """Run a scenario with an emulator and a client, on a clock that jumps over waiting."""

    async def run() -> Any:
        async with Emulator(account_id="acme", **options) as server:
            with mock.patch.object(random, "Random", partial(random.Random, 1)):
                client = BatchClient(
                    api_key=server.api_key, account_id="acme", base_url=server.base_url
                )
            async with client:
                return await scenario(server, client)

    def in_a_thread() -> Any:
        with asyncio.Runner(loop_factory=support("virtual_loop").VirtualLoop) as runner:
            return runner.run(run())

    return await asyncio.to_thread(in_a_thread)


async def measure_requests(prefix: str, see: "See", count: int) -> Figure:
    """Compare the requests for jobs that do not change with a GET for each poll."""

    async def scenario(server: Emulator, client: BatchClient) -> float:
        ids = [f"job-{number}" for number in range(count)]
        for job_id in ids:
            server.script_job(job_id, phases=["PENDING"])
            await asyncio.sleep(0.001)
        polls: Counter[str] = Counter()

        def note(snapshot: JobSnapshot) -> None:
            polls[snapshot.job.id] += 1

        task = asyncio.ensure_future(see(client, ids, note))
        await asyncio.sleep(1200)
        task.cancel()
        await asyncio.wait([task])
        return len(server.requests()) / polls.total()

    return single(f"{prefix}requests", await in_virtual_time(scenario))


async def measure_limit(prefix: str, see: "See", *, count: int, seed: int) -> list[Figure]:
    """Follow jobs to their ends where ten requests a minute are allowed."""
    rng = random.Random(seed)

    async def scenario(server: Emulator, client: BatchClient) -> tuple[int, float]:
        ids = [f"job-{number}" for number in range(count)]
        for job_id in ids:
            times = [60 * rng.randint(1, 60) for _ in range(2)]
            phases = [{"state": "PENDING", "seconds": times[0]}]
            phases += [{"state": "RUNNING", "seconds": times[1]}, {"state": "COMPLETED"}]
            server.script_job(job_id, phases=phases)
            await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        last, widest = dict.fromkeys(ids, loop.time()), 0.0

        def note(snapshot: JobSnapshot) -> None:
            nonlocal widest
            job_id = snapshot.job.id
            widest, last[job_id] = max(widest, loop.time() - last[job_id]), loop.time()

        await see(client, ids, note)
        return sum(one.status == 429 for one in server.requests()), widest

    refused, widest = await in_virtual_time(scenario, requests_per_minute=10)
    return [
        single(f"{prefix}limit-refused", refused),
        single(f"{prefix}limit-unseen", widest / 90),
    ]


See: TypeAlias = Callable[[BatchClient, list[str], Callable[[JobSnapshot], None]], Awaitable[None]]


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


async def measure_ends(count: int) -> list[Figure]:
    """Compare the polls of jobs whose counters tell of their ends with those of the interval."""
    lives, bare = [await follow_ends(count, 3600, is_adaptive=each) for each in (True, False)]
    once, plain = [await follow_ends(count, 0, is_adaptive=each) for each in (True, False)]
    return [
        single("ends-requests", (lives.gets + lives.pages) / (bare.gets + bare.pages)),
        single("ends-lag", lives.lag),
        single("interval-lag", bare.lag),
        single("once-lag", once.lag),
        single("once-rounds", once.rounds),
        single("once-gets", max(0, once.gets - plain.gets)),
    ]


async def follow_ends(count: int, spread: float, *, is_adaptive: bool) -> Course:
    """Follow jobs that wait for up to so many seconds, and run for about as long, or 20 minutes."""
    rng = random.Random(1)

    async def scenario(server: Emulator, client: BatchClient) -> Course:
        loop = asyncio.get_running_loop()
        ends: dict[str, float] = {}
        for number in range(count):
            waits = rng.uniform(60, spread) if spread else 60.0
            runs = rng.uniform(60, spread) if spread else 1200.0
            phases = [{"state": "PENDING", "seconds": waits}]
            phases += [{"state": "RUNNING", "seconds": runs}, {"state": "COMPLETED"}]
            server.script_job(f"job-{number}", phases=phases, rows=1000)
            ends[f"job-{number}"] = loop.time() + waits + runs
            await asyncio.sleep(0.01)
        poll = PollPolicy(adaptive=is_adaptive)
        lags = [
            (loop.time() - ends[snapshot.job.id]) / poll.max_interval
            async for snapshot in client.jobs.watch(ends, poll=poll)
            if snapshot.job.is_terminal
        ]
        listings = [one for one in server.requests() if one.path == PATH]
        firsts = [one.time for one in listings if not one.query.get("pageToken")]
        moments = [datetime.fromisoformat(text) for text in firsts[3:]]  # the first come at once
        minutes = Counter((moment - moments[0]) // timedelta(minutes=1) for moment in moments)
        return Course(
            gets=len(server.requests()) - len(listings),
            pages=len(listings),
            rounds=max(minutes.values()),
            lag=statistics.mean(lags),
        )

    course: Course = await in_virtual_time(scenario, tick=0)
    return course


async def measure_history(order: str, count: int) -> Figure:
    """Follow ten jobs for an hour in an account with many that have ended."""

    async def scenario(server: Emulator, client: BatchClient) -> float:
        for number in range(count):
            server.script_job(f"old-{number}", phases=["COMPLETED"])
        await asyncio.sleep(1)
        ids = [f"job-{number}" for number in range(10)]
        for job_id in ids:
            server.script_job(job_id, phases=["PENDING"])
            await asyncio.sleep(0.01)
        task = asyncio.ensure_future(client.jobs.watch(ids))
        await asyncio.sleep(3600)
        task.cancel()
        await asyncio.wait([task])
        return sum(one.path == PATH for one in server.requests()) / 62

    pages = await in_virtual_time(scenario, assume={"default_order": f"{order}_first"})
    return single(f"{order}-pages", pages)


async def count_requests(count: int) -> int:
    """Return the requests of an hour in which so many jobs are polled once a minute."""
    poll = PollPolicy(initial_interval=60, max_interval=60)

    async def scenario(server: Emulator, client: BatchClient) -> int:
        ids = [f"job-{number}" for number in range(count)]
        for job_id in ids:
            server.script_job(job_id, phases=["PENDING"])
            await asyncio.sleep(0.001)
        task = asyncio.ensure_future(client.jobs.watch(ids, poll=poll))
        await asyncio.sleep(3600)
        task.cancel()
        await asyncio.wait([task])
        return len(server.requests())

    requests: int = await in_virtual_time(scenario)
    return requests


if __name__ == "__main__":
    sys.exit(main(__doc__, measure))
