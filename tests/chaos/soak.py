"""A soak: a client follows 200 jobs for hours, one request in twenty fails, and nothing may grow.

The emulator is a process of its own, so that what it remembers is not measured. Two emulated days
fit into the time of a case, or as much of them as fits at `FASTEST`. Clients come and go; one
stays. Memory, tasks, descriptors and threads are read at regular moments, and must not grow.
"""

import asyncio
import gc
import itertools
import json
import os
import statistics
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import attrs

from chaos.invariants import KEY, Case, run
from fireworks_batch import BatchClient, FireworksBatchError, PollPolicy, RetryPolicy

CASES = 1
SECONDS: Final = 6.0
"""How long a case lasts, unless its caller has more time."""

JOBS: Final = 200
DAYS: Final = 2.0
FASTEST: Final = 900.0
"""Emulated seconds in a second: faster, and the machine would be measured."""

ENOUGH: Final = 12
"""Samples in the second half from which on memory has a slope."""

SAMPLES: Final = 60
"""In a case."""

WARM: Final = 30.0
"""Seconds of a case from which on memory is looked at: at first everything is made anew."""

MOST_BYTES: Final = 512 * 1024
"""By how much the memory of Python's objects may grow in the second half, by its slope: what is
known of a job grows to its end, by up to 2 KiB."""

MOST_OBJECTS: Final = 600
"""The same for the number of objects."""

FAULTS: Final = (
    {"action": "status", "status": 503},
    {"action": "status", "status": 500},
    {"action": "status", "status": 429},
    {"action": "reset"},
    {"action": "garbage"},
    {"action": "html"},
    {"action": "truncate", "bytes": 50},
    {"action": "drop_answer"},
    {"action": "delay", "seconds": 0.2},
    {"action": "hang", "seconds": 1.0},
)
SHARE: Final = 0.05
"""Of all requests that meet a fault."""


def play(seed: int, seconds: float = SECONDS) -> Case:
    """Play a case that lasts so many seconds."""
    case = Case("soak", seed)
    run(case, lambda: _scenario(case, seconds))
    return case


@attrs.frozen
class Sample:
    """What there is at a moment."""

    bytes: int
    """Of Python's objects."""

    objects: int
    """Those that the garbage collector knows."""

    tasks: int
    timers: int
    descriptors: int
    threads: int


async def _scenario(case: Case, seconds: float) -> None:
    speed = min(DAYS * 86_400.0 / seconds, FASTEST)
    loop = asyncio.get_running_loop()
    async with _emulator(speed) as base_url, aiohttp.ClientSession(base_url) as control:
        end = loop.time() + seconds
        await _script(case, control, seconds * speed)
        soak = _Soak(case, base_url, speed, end)
        tracemalloc.start()
        try:
            await soak.play()
        finally:
            tracemalloc.stop()
        case.faults += await _faults(control)
        case.say(f"{soak.snapshots} snapshots, {soak.calls} other calls, {soak.failed} failed")


@asynccontextmanager
async def _emulator(speed: float) -> AsyncIterator[str]:
    command = (sys.executable, "-m", "fireworks_batch.emulator", "--speed", str(speed))
    process = await asyncio.create_subprocess_exec(
        *(*command, "--api-key", KEY, "--account-id", "acme"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.communicate()


async def _script(case: Case, control: aiohttp.ClientSession, length: float) -> None:
    """Make jobs that end all along the case, and faults that never do."""
    for number in range(JOBS):
        running = length * (0.1 + 0.85 * case.random.random())
        end = case.random.choice(("COMPLETED", "COMPLETED", "COMPLETED", "FAILED", "EXPIRED"))
        script = {
            "phases": [
                {"state": "PENDING", "seconds": length * 0.05 * case.random.random()},
                {"state": "RUNNING", "seconds": running},
                {"state": end},
            ],
            "rows": case.random.randrange(10, 5000),
            "time_limit_seconds": 4 * 86_400,
        }
        async with control.post(f"/_emulator/jobs/soak-{number}", json=script) as answer:
            answer.raise_for_status()
    share = SHARE / len(FAULTS)
    faults = [{"path": "/v1/*", "times": None, "probability": share, **fault} for fault in FAULTS]
    async with control.post("/_emulator/faults", json=faults) as answer:
        answer.raise_for_status()


async def _faults(control: aiohttp.ClientSession) -> int:
    async with control.get("/_emulator/requests") as answer:
        requests = json.loads(await answer.read())["requests"]
    return sum(each["fault"] is not None for each in requests)


class _Soak:
    """Follows the jobs, and reads what there is."""

    def __init__(self, case: Case, base_url: str, speed: float, end: float) -> None:
        self._case = case
        self._base_url = base_url
        self._end = end
        self._whole = end - asyncio.get_running_loop().time()
        self._poll = PollPolicy(
            initial_interval=15.0 / speed,
            min_interval=1.0 / speed,
            max_interval=max(60.0 / speed, 0.2),
            failure_budget=30.0,
            not_found_grace=1.0,
        )
        self.snapshots = 0
        self.calls = 0
        self.failed = 0

    def _client(self) -> BatchClient:
        return BatchClient(
            api_key=KEY,
            account_id="acme",
            base_url=self._base_url,
            poll=self._poll,
            retry=RetryPolicy(initial_delay=0.01, max_delay=0.2, rate_limit_budget=30.0),
            request_timeout=2.0,
        )

    async def play(self) -> None:
        """Do it all until the end."""
        samples: list[Sample] = []
        async with self._client() as client, asyncio.TaskGroup() as group:
            fleet = group.create_task(self._follow(client))
            others = group.create_task(self._come_and_go())
            while asyncio.get_running_loop().time() < self._end:
                await asyncio.sleep(self._whole / SAMPLES)
                samples.append(_sample())
            fleet.cancel()
            others.cancel()
            await asyncio.wait([fleet, others])
        self._check(samples)

    async def _follow(self, client: BatchClient) -> None:
        """Follow all jobs to their ends, again and again."""
        names = [f"soak-{number}" for number in range(JOBS)]
        while True:
            seen: set[str] = set()
            fleet = client.jobs.watch(names, poll=self._poll)
            async for snapshot in fleet:
                self.snapshots += 1
                if snapshot.job.is_terminal:
                    seen.add(snapshot.job.id)
            outcomes = fleet.outcomes
            self._case.same_rows("the fleet", list(outcomes), names)
            for name, outcome in outcomes.items():
                if outcome.job is None:
                    self._case.violate(f"{name}: {outcome.error!r}")
                else:
                    self._case.is_of("the fleet", outcome.job.id, name)
            await asyncio.sleep(max(self._whole / 200, 0.2))

    async def _come_and_go(self) -> None:
        """Make clients that list, get, wait, leave a wait, and go."""
        number = 0
        while True:
            number += 1
            name = f"soak-{number % JOBS}"
            async with self._client() as client:
                try:
                    await client.jobs.get(name)
                    async for _ in client.jobs.wait_until_terminal(name):
                        break
                    async with asyncio.timeout(0.05):
                        await client.jobs.watch([name, f"soak-{(number + 1) % JOBS}"])
                except TimeoutError:
                    pass
                except FireworksBatchError as error:
                    self.failed += 1
                    self._case.raised("a call", error)
            self.calls += 3
            await asyncio.sleep(max(self._whole / 2000, 0.05))

    # --- What must be true

    def _check(self, samples: Sequence[Sample]) -> None:
        """Check that nothing grows, once all that is made at first is there."""
        half = samples[len(samples) // 2 :]
        self._case.say(f"{len(samples)} samples, from {samples[0]} to {samples[-1]}")
        limits = {"tasks": 4, "timers": 8, "descriptors": 4, "threads": 1}
        if len(half) >= ENOUGH and self._whole >= WARM:
            limits |= {"bytes": MOST_BYTES, "objects": MOST_OBJECTS}
        for name, most in limits.items():
            values = [getattr(each, name) for each in half]
            growth = _slope(values) * len(values)
            if growth > most:
                self._case.violate(f"{name} grow by {growth:.1f} in half of the time: {values}")


def _slope(values: Sequence[float]) -> float:
    """Give the median of the slopes between all pairs: a few values that stand out do not count."""
    pairs = itertools.combinations(enumerate(values), 2)
    slopes = [(after - before) / (at - since) for (since, before), (at, after) in pairs]
    return statistics.median(slopes) if slopes else 0.0


def _sample() -> Sample:
    gc.collect()
    loop = asyncio.get_running_loop()
    timers = [each for each in getattr(loop, "_scheduled", ()) if not each.cancelled()]
    folder = Path("/proc/self/fd")
    return Sample(
        bytes=tracemalloc.get_traced_memory()[0],
        objects=len(gc.get_objects()),
        tasks=len(asyncio.all_tasks()),
        timers=len(timers),
        descriptors=len(os.listdir(folder)) if folder.exists() else 0,  # noqa: PTH208
        threads=threading.active_count(),
    )
