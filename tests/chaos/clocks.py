"""Clocks that step and jump, a machine that sleeps, and a loop that is blocked, during waits.

All of it takes place in virtual time, with an emulator that answers without sockets. There are
three clocks: the loop's, the time of day, and the server's. A machine that is suspended loses its
connections, and its monotonic clock stands still or goes on, as the system has it. Every wait ends
as the job does, soon after it, by a bounded number of polls; a run runs each row once.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import aiohttp
import attrs
from virtual_loop import VirtualLoop

import fireworks_batch.client
from chaos.invariants import KEY, Case, run
from chaos.line import Line
from fireworks_batch import (
    BatchClient,
    BatchInferenceJob,
    JobSnapshot,
    Limits,
    WaitTimeoutError,
)

CASES = 15
EPOCH: Final = datetime(2026, 9, 14, 9, 0, tzinfo=UTC)
HOUR: Final = 3600.0
FOREVER: Final = 400 * HOUR
MODEL: Final = "accounts/fireworks/models/demo-8b"
ENDS: Final = ("COMPLETED", "COMPLETED", "FAILED", "EXPIRED", "CANCELLED")
LAG: Final = 120.0
"""Seconds within which an end must be seen: the largest interval, jitter, patience, an answer."""

LONGEST_OUTAGE: Final = 1500.0
"""Seconds; well below the budget of a wait, an hour."""

BURST: Final = 25
"""Most requests for one job in the minute after a disturbance."""

ROWS: Final = [f"r{number}" for number in range(8)]


def play(seed: int) -> Case:
    """Play a case."""
    case = Case("clocks", seed)
    run(case, lambda: _scenario(case), loop_factory=VirtualLoop)
    return case


@attrs.frozen
class Disturbance:
    """What happens to the clocks at a moment."""

    what: str
    """`wall`, `blocked`, `asleep` (the loop's clock goes on) or `suspended` (it stands still)."""

    at: float
    """The moment by the loop's clock; or, below 0, the number of a request that is under way."""

    seconds: float

    @classmethod
    def draw(cls, random: Random, longest: float) -> "Disturbance":
        """Draw one."""
        what = random.choice(("wall", "blocked", "asleep", "suspended"))
        sizes = {
            "wall": (-30 * 24 * HOUR, -HOUR, -1.0, 0.5, HOUR, 400 * 24 * HOUR),
            "blocked": (0.5, 5.0, 59.0, 61.0, 300.0),
            "asleep": (30.0, 600.0, HOUR, 8 * HOUR),
            "suspended": (30.0, 600.0, HOUR, 8 * HOUR),
        }
        seconds = random.choice(sizes[what]) * random.uniform(0.9, 1.1)
        if random.random() < 0.4:
            return cls(what, -random.randrange(1, 40), seconds)
        return cls(what, random.uniform(0.0, longest), seconds)

    def __str__(self) -> str:
        when = f"at {self.at:.1f} s" if self.at >= 0 else f"at request {-self.at:.0f}"
        return f"{self.what} for {self.seconds:.1f} s {when}"


class Clocks:
    """The time of day and the server's time, both beside the loop's."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.wall_offset = 0.0
        self.server_offset = 0.0

    def wall(self) -> datetime:
        """Give the time of day, for the client."""
        return EPOCH + timedelta(seconds=self.loop.time() + self.wall_offset)

    def server(self) -> float:
        """Give the server's seconds, which never go back."""
        return self.loop.time() + self.server_offset


class DisturbedLine(Line):
    """A line on which requests take time, and are lost when a machine falls asleep."""

    def __init__(self, case: Case, clocks: Clocks, longest: float, **options: Any) -> None:
        super().__init__(clock=clocks.server, responder=self._respond, **options)
        self._case = case
        self.clocks = clocks
        random, loop = case.random, clocks.loop
        drawn = [Disturbance.draw(random, longest) for _ in range(random.randrange(1, 7))]
        self._outage = (0.0, 0.0)
        if random.random() < 0.3:
            begins = random.uniform(0.0, longest)
            self._outage = begins, begins + random.uniform(1.0, LONGEST_OUTAGE)
            case.say(f"an outage from {self._outage[0]:.1f} s to {self._outage[1]:.1f} s")
            drawn[0] = attrs.evolve(drawn[0], at=random.uniform(*self._outage))
        self._at_requests = {-each.at: each for each in drawn if each.at < 0}
        self._timers = [loop.call_at(each.at, self.strike, each) for each in drawn if each.at >= 0]
        self._slowest = case.random.choice((0.0, 0.1, 3.0, 30.0))
        self._under_way: set[asyncio.Future[None]] = set()
        self.arrivals: list[float] = []
        self.billed: Counter[str] = Counter()
        self.disturbances: list[tuple[float, float, str]] = []
        """When each one began and ended by the loop's clock, and what it was."""

    async def close(self) -> None:
        """Disturb no more."""
        for timer in self._timers:
            timer.cancel()
        await super().close()

    def _respond(self, custom_id: str, body: Mapping[str, Any]) -> str:
        self.billed[custom_id] += 1
        return f"answer to {body['messages'][-1]['content']}"

    async def delay(self) -> None:
        """Take time, there and back; be lost where the machine falls asleep meanwhile."""
        loop = self.clocks.loop
        self.arrivals.append(loop.time())
        begins, ends = self._outage
        if begins <= loop.time() < ends:
            raise aiohttp.ClientConnectionError("Cannot connect to host")
        disturbance = self._at_requests.get(len(self.arrivals))
        if disturbance is not None:
            loop.call_soon(self.strike, disturbance)
        waiting = loop.create_future()
        seconds = self._case.random.uniform(0.0, self._slowest)
        timer = loop.call_later(seconds, _resolve, waiting)
        self._under_way.add(waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._under_way.discard(waiting)

    @property
    def outage_ends(self) -> float:
        """When the server can be reached again, by the loop's clock."""
        return self._outage[1]

    def strike(self, disturbance: Disturbance) -> None:
        """Disturb the clocks now."""
        case, clocks, seconds = self._case, self.clocks, disturbance.seconds
        case.faults += 1
        case.say(f"at {clocks.loop.time():.1f} s: {disturbance}")
        begun = clocks.loop.time()
        match disturbance.what:
            case "wall":
                clocks.wall_offset += seconds
            case "blocked":
                clocks.loop.jump(seconds)
            case "asleep":
                clocks.loop.jump(seconds)
                self._lose()
            case _:
                clocks.wall_offset += seconds
                clocks.server_offset += seconds
                self._lose()
        self.disturbances.append((begun, clocks.loop.time(), disturbance.what))

    def _lose(self) -> None:
        for waiting in self._under_way:
            if not waiting.done():
                waiting.set_exception(aiohttp.ClientOSError(104, "Connection reset by peer"))


def _resolve(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _scenario(case: Case) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    random, clocks = case.random, Clocks(loop)
    longest = random.choice((300.0, 2 * HOUR, 20 * HOUR))
    limit = random.choice((None, None, None, 30))
    assume = {"retry_after": random.choice(("seconds", "date", "none"))} if limit else {}
    line = DisturbedLine(
        case,
        clocks,
        longest,
        api_key=KEY,
        epoch=EPOCH,
        seed=case.seed,
        requests_per_minute=limit,
        assume=assume,
    )
    jitter = SimpleNamespace(Random=lambda: Random(case.seed))
    act: Callable[[Case, DisturbedLine, BatchClient, float], Awaitable[None]]
    act = random.choice((_wait, _wait, _timed, _watch, _run))
    try:
        with (
            patch.object(fireworks_batch.client, "_wall", clocks.wall),
            patch.object(fireworks_batch.client, "random", jitter),
        ):
            async with line.client() as client:
                case.say(f"{act.__name__}, up to {longest} s, {assume}")
                await act(case, line, client, longest)
    finally:
        await line.close()
    _check_bursts(case, line)


def _script(line: DisturbedLine, name: str, longest: float, random: Random) -> str:
    end = random.choice(ENDS)
    line.emulator.script_job(
        name,
        phases=[
            {"state": "PENDING", "seconds": random.uniform(0.0, longest / 4)},
            {"state": "RUNNING", "seconds": random.uniform(10.0, longest * 0.7)},
            end,
        ],
        rows=random.randrange(1, 500),
        time_limit_seconds=24 * HOUR,
    )
    return end


# --- What is waited for ---------------------------------------------------------------------------


async def _wait(case: Case, line: DisturbedLine, client: BatchClient, longest: float) -> None:
    """Wait for a job without a limit of one's own."""
    end = _script(line, "alpha", longest, case.random)

    async def snapshots() -> list[JobSnapshot]:
        return [each async for each in client.jobs.wait_until_terminal("alpha")]

    found = await case.ends("wait", snapshots(), within=FOREVER)
    if isinstance(found, list):
        _check_snapshots(case, found)
        _check_end(case, line, found[-1].job, end)
    elif not _is_past_limit(line, found):
        case.violate(f"the wait did not end as the job did, but with {found!r}")


async def _timed(case: Case, line: DisturbedLine, client: BatchClient, longest: float) -> None:
    """Wait with a limit of one's own."""
    end = _script(line, "alpha", longest, case.random)
    timeout = case.random.uniform(1.0, longest)
    loop = line.clocks.loop
    deadline = loop.time() + timeout
    found = await case.ends(
        "wait", client.jobs.wait_until_terminal("alpha", timeout=timeout), within=FOREVER
    )
    latest = deadline
    for begun, over, _ in line.disturbances:
        latest = max(latest, over) if begun <= latest + 1.0 else latest
    if loop.time() > latest + 1.0:
        case.violate(f"ended at {loop.time():.1f} s, the deadline was {deadline:.1f} s")
    if isinstance(found, BatchInferenceJob):
        _check_end(case, line, found, end)
    elif not isinstance(found, WaitTimeoutError):
        case.violate(f"the wait ended with {found!r}")


async def _watch(case: Case, line: DisturbedLine, client: BatchClient, longest: float) -> None:
    """Wait for several jobs."""
    names = [f"job-{number}" for number in range(case.random.choice((2, 5, 30)))]
    ends = {name: _script(line, name, longest, case.random) for name in names}
    found = await case.ends("watch", client.jobs.watch(names), within=FOREVER)
    if not isinstance(found, dict):
        case.violate(f"the fleet ended with {found!r}")
        return
    case.same_rows("watch", list(found), names)
    for name, outcome in found.items():
        if outcome.job is None:
            if not _is_past_limit(line, outcome.error):
                case.violate(f"{name} ended with {outcome.error!r}")
            continue
        case.is_of("watch", (outcome.job.id, outcome.job.state), (name, ends[name]))


async def _run(case: Case, line: DisturbedLine, client: BatchClient, longest: float) -> None:
    """Run requests, from the upload to the results."""
    rows = [
        {"custom_id": row, "body": {"messages": [{"role": "user", "content": row}]}} for row in ROWS
    ]
    path, output = case.directory / "rows.jsonl", case.directory / "output.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    seconds = case.random.uniform(10.0, longest)
    phases = [{"state": "RUNNING", "seconds": seconds}, "COMPLETED"]
    line.emulator.script_jobs(phases=phases, times=None)
    call = partial(
        client.run, path, model=MODEL, name="chaos", limits=Limits(max_rows=4), output=output
    )
    found = await case.ends("run", call(), within=FOREVER)
    if isinstance(found, WaitTimeoutError):
        # The machine slept for longer than a dataset has to become READY. The same call goes on.
        found = await case.ends("run", call(), within=FOREVER)
    doubled = [row for row, count in line.billed.items() if count > 1]
    if doubled:
        case.violate(f"rows were run twice: {doubled}")
    if isinstance(found, BaseException) or found is None:
        case.violate(f"the run ended with {found!r}")
        return
    await found.aclose()
    written = [json.loads(each)["custom_id"] for each in output.read_bytes().splitlines()]
    case.same_rows("run", written, ROWS)


# --- What must be true ----------------------------------------------------------------------------


def _check_snapshots(case: Case, snapshots: list[JobSnapshot]) -> None:
    before = -1.0
    for each in snapshots:
        if each.elapsed < before:
            case.violate(f"elapsed goes back: {each!r}")
        before = each.elapsed
        if each.unchanged_for < 0 or (each.eta or 0) < 0 or (each.rate or 0) < 0:
            case.violate(f"a negative figure: {each!r}, {each.unchanged_for}, {each.eta}")
        if each.percent is not None and not 0 <= each.percent <= 100:
            case.violate(f"percent: {each.percent}")


def _check_end(case: Case, line: DisturbedLine, job: BatchInferenceJob, end: str) -> None:
    case.is_of("wait", (job.id, job.state), ("alpha", end))
    ended = job.lifecycle.end_time if job.lifecycle else None
    if ended is None:
        return
    now = line.clocks.loop.time()
    ago = (line.emulator.now() - ended).total_seconds()
    last = max((line.outage_ends, *(over for _, over, _ in line.disturbances)))
    if ago > LAG and now - last > LAG:
        case.violate(f"the end was seen {ago:.1f} s late, {now - last:.1f} s after a disturbance")


def _is_past_limit(line: DisturbedLine, error: object) -> bool:
    """Whether a wait's time went by while the machine slept."""
    slept = sum(over - begun for begun, over, _ in line.disturbances)
    return isinstance(error, WaitTimeoutError) and slept > HOUR


def _check_bursts(case: Case, line: DisturbedLine) -> None:
    for _, over, what in line.disturbances:
        count = sum(over <= moment <= over + 60.0 for moment in line.arrivals)
        jobs = len(line.world.jobs._jobs.get("acme", {}))
        if count > BURST * max(jobs, 1):
            case.violate(f"{count} requests in the minute after {what}")
