"""How soon after its end a job is seen, and for how many polls: this library's schedule and others.

Jobs are drawn from seeds, servers show them in different ways, and schedules poll them in virtual
time: each run gives the same figures. Seeds 5 to 8 are reported, and nothing was tuned on them.
Seeds 1 to 4 were tuned on; `--tuning` shows four shapes of those.
"""

import math
import multiprocessing
import os
import random
import statistics
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import attrs

from figures import Figure, Report, main, single
from fireworks_batch import BatchInferenceJob, JobState, PollPolicy
from fireworks_batch.models.job import JobProgress
from fireworks_batch.models.snapshot import History
from fireworks_batch.polling.machine import PollAt, PollMachine, Seen
from fireworks_batch.polling.outlook import TickProof, expected_end

JOBS = 24  # of each shape and seed
REPORTED, TUNED = range(5, 9), range(1, 5)
LATENCY = 0.2  # seconds from a request to its answer; the server reads in the middle
MEDIAN, SPREAD = 45 * 60, 1.5  # durations are log-normal, cut to two minutes and three days
LEAST, MOST = 120.0, 259_200.0
NORMAL = statistics.NormalDist()


async def measure(share: float) -> Report:
    """Poll all jobs by all schedules, and print the tables."""
    results = poll_by_all(REPORTED, (*SHAPES,), max(2, int(JOBS * share)))
    # A few jobs of one seed would show what chance does.
    return Report(promises(results, [*REPORTED] if share == 1 else [None]), plots(results))


def poll_by_all(seeds: Sequence[int], shapes: Sequence[str], count: int) -> list["Result"]:
    """Poll so many jobs of each shape and seed by all schedules, and print the tables."""
    tasks = [(seed, shapes, count) for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        results = [one for part in pool.starmap(poll_all, tasks) for one in part]
    results += timetables(results)
    for family in FAMILIES:
        for server in SERVERS:
            print_table(family, server, choose(results, family, server))
    return results


# --- Jobs ---------------------------------------------------------------------------------------


@attrs.frozen
class Job:
    """A job as it really is: when it changes its state, and how its rows go on."""

    shape: str
    states: list[tuple[float, str]]
    points: list[tuple[float, float]]
    """Moments, and the share of the rows that is done by then."""
    rows: int
    end: float
    outcome: str = "COMPLETED"

    def since(self, moment: float) -> tuple[float, str]:
        """Return the state at a moment, and since when."""
        if moment >= self.end:
            return self.end, self.outcome
        return self.states[max(0, bisect_right(self.states, (moment, "~")) - 1)]

    def done(self, moment: float) -> int:
        """Return the rows that are done at a moment."""
        index = bisect_right(self.points, (moment, 2.0))
        if index in {0, len(self.points)}:
            return int(self.rows * self.points[index - 1][1]) if index else 0
        (begin, low), (end, high) = self.points[index - 1], self.points[index]
        return int(self.rows * (low + (high - low) * (moment - begin) / (end - begin)) + 1e-9)

    def moved(self, moment: float) -> float:
        """Return when the newest of the rows was done."""
        share = self.done(moment) / self.rows
        for (begin, low), (end, high) in pairwise(self.points):
            if high >= share > low:
                return begin + (end - begin) * (share - low) / (high - low)
        return self.points[0][0]


PIECES = 40


def steady(rng: random.Random) -> list[float]:
    """Return the rows of each piece of a run, which goes on evenly."""
    return [rng.uniform(0.9, 1.1) for _ in range(PIECES)]


def bursty(rng: random.Random) -> list[float]:
    """Now nothing, now much."""
    rows = [rng.choice((0, 0, 0.3, 1, 4)) * rng.random() for _ in range(PIECES)]
    return [*rows[:-1], rows[-1] + 0.5]


def accelerating(rng: random.Random) -> list[float]:
    """Slowly at first."""
    power = rng.uniform(1.5, 3)
    return [((n + 1) / PIECES) ** power - (n / PIECES) ** power for n in range(PIECES)]


def decelerating(rng: random.Random) -> list[float]:
    """Slowly at last."""
    return accelerating(rng)[::-1]


def stalling(rng: random.Random) -> list[float]:
    """Evenly, but for one to three times at which nothing goes on."""
    rows = [1.0] * PIECES
    for _ in range(rng.randint(1, 3)):
        begin = rng.randrange(PIECES - 6)
        for n in range(begin, begin + rng.randint(2, 6)):
            rows[n] = 0
    return rows


SHAPES: dict[str, Callable[[random.Random], list[float]]] = {
    "steady": steady,
    "accelerating": accelerating,
    "decelerating": decelerating,
    "bursty": bursty,
    "stalling": stalling,
    "re-queued": steady,
    "pending": steady,
    "writing": steady,
    "no totals": steady,
    "cut short": steady,
    "few rows": steady,
}
TUNED_SHAPES = ("steady", "bursty", "stalling", "pending")
FAMILIES = {
    "steady and accelerating": ("steady", "accelerating"),
    "all shapes": (*SHAPES,),
    "no counter tells": ("no totals", "writing", "cut short"),
}


def make_job(shape: str, rng: random.Random, quantile: float) -> Job:
    """Draw a job: the quantile is that of its duration."""
    length = MEDIAN * math.exp(SPREAD * NORMAL.inv_cdf(quantile))
    length = min(max(length, LEAST), MOST)
    rows = rng.randint(1, 5) if shape == "few rows" else int(math.exp(rng.uniform(3, 13)))
    validating = min(rng.uniform(30, 90), 0.1 * length)
    pending = (rng.uniform(0.5, 0.9) if shape == "pending" else rng.uniform(0, 0.2)) * length
    begin = validating + pending + min(rng.uniform(0, 300), 0.1 * length)
    written = min(rng.uniform(120, 1800), 0.3 * length) if shape == "writing" else 0.0
    states = [(0.0, "VALIDATING"), (validating, "PENDING")]
    states += [(validating + pending, "CREATING"), (begin, "RUNNING")]
    points = list(course(begin, length - written, SHAPES[shape](rng)))
    if written:
        states.append((length - written, "WRITING_RESULTS"))
    if shape == "cut short":
        length = begin + rng.uniform(0.05, 1) * (length - begin)
        return Job(shape, states, points, rows, length, "FAILED")
    if shape == "re-queued":
        at = points[rng.randrange(5, PIECES - 3)][0]
        gap = min(rng.uniform(60, 900), 0.1 * length)
        points = [(moment + gap * (moment > at), share) for moment, share in points]
        states += [(at, "RE_QUEUEING"), (at + gap, "RUNNING")]
        length += gap
    return Job(shape, states, points, rows, length)


def course(begin: float, end: float, rows: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Lay the rows of the pieces over a run."""
    total, done = sum(rows), 0.0
    yield begin, 0.0
    for number, some in enumerate(rows, 1):
        done += some
        share = 1.0 if number == len(rows) else done / total
        yield begin + (end - begin) * number / len(rows), share


# --- Servers ------------------------------------------------------------------------------------

SERVERS = {
    "any moment": "acts at any moment, and shows it at once",
    "any moment, writes by the minute": "ends at any moment, writes counters once a minute",
    "ticking": "acts once a minute only",
    "ticking, second writer": "and something else writes now and then",
    "ticking, drift": "by a clock that goes wrong by up to 4 seconds a day",
    "ticking, update_time = now": "and stamps the moment of the request",
    "ticking, on change only": "and writes nothing where nothing has changed",
}


class Server:
    """What one server shows of one job."""

    def __init__(self, kind: str, job: Job, rng: random.Random) -> None:
        """Draw the phase of the tick, and how far the clock is wrong."""
        self.kind, self.job = kind, job
        self._phase, self._ahead = rng.uniform(0, 60), rng.uniform(-5000, 5000)
        drifts = kind == "ticking, drift"
        self._rate = 1 + rng.uniform(-5e-5, 5e-5) if drifts else 1.0
        self._period = 60.01 if drifts else 60.0
        self._wobble = rng.random()
        others = int(job.end / 900) if kind == "ticking, second writer" else 0
        self._others = sorted(rng.uniform(0, job.end + 120) for _ in range(others))
        self.end = self._next_tick(job.end) if kind.startswith("ticking") else job.end
        """When the end is to be seen."""

    def see(self, moment: float) -> tuple[str, int, float]:
        """Return state, rows and update time, as they are to be seen at a moment."""
        job, kind = self.job, self.kind
        if kind == "any moment":
            (since, state), done = job.since(moment), job.done(moment)
            moved = job.moved(moment) if state == "RUNNING" else 0.0
            return state, done, self._stamp(max(since, moved))
        number = self._last_tick(moment)
        tick = self._tick(number)
        if kind == "any moment, writes by the minute":
            since, state = job.since(moment)
            written = max(tick, since, 0.0)
            return state, job.done(written), self._stamp(written)
        state, done = self._at(tick)
        if kind == "ticking, on change only":
            # An hour in which nothing is written tells as much as a longer time.
            for _ in range(60):
                if self._at(self._tick(number - 1)) != (state, done):
                    break
                number -= 1
            tick = self._tick(number)
        elif kind == "ticking, second writer" and (index := bisect_right(self._others, moment)):
            tick = max(tick, self._others[index - 1])
        elif kind == "ticking, update_time = now":
            tick = moment
        return state, done, self._stamp(max(tick, 0.0))

    def _at(self, tick: float) -> tuple[str, int]:
        return self.job.since(max(tick, 0.0))[1], self.job.done(tick)

    def _stamp(self, moment: float) -> float:
        return round(self._rate * moment + self._ahead + 1.7e9, 6)

    def _tick(self, number: int) -> float:
        """Return when a tick is: up to a fifth of a second late, as was seen live."""
        noise = math.sin(number * 12.9898 + self._wobble * 78.233) * 43758.5453
        return self._phase + number * self._period + 0.2 * (noise - math.floor(noise))

    def _last_tick(self, moment: float) -> int:
        number = math.floor((moment - self._phase) / self._period)
        return number if self._tick(number) <= moment else number - 1

    def _next_tick(self, moment: float) -> float:
        return self._tick(self._last_tick(moment) + 1)


# --- Schedules ----------------------------------------------------------------------------------

Found: TypeAlias = tuple[int, float]
"""How many requests a schedule makes for a job, and how long after its end the job is seen."""

Schedule: TypeAlias = Callable[[Server, random.Random], Found]


def ours(*, end: bool = True, tick: bool = True) -> Schedule:
    """Return this library's schedule, with both facts or without."""

    def poll(server: Server, rng: random.Random) -> Found:
        machine, history, proof = PollMachine(policy=PollPolicy()), History(), TickProof()
        machine.start(0.0)
        rows = 0 if server.job.shape == "no totals" else server.job.rows
        requests = 1
        while machine.due + LATENCY / 2 < server.end:
            now = machine.due + LATENCY
            state, done, written = server.see(machine.due + LATENCY / 2)
            progress = JobProgress(total_input_requests=rows, total_processed_requests=done)
            job = BatchInferenceJob(name="job", state=JobState(state), job_progress=progress)
            history = history.add(job, now=now)
            decision = machine.on_observation(
                Seen(schedule=state, visible=done),
                now=now,
                draw=rng.random(),
                expected_end=expected_end(job, history.moves) if end else None,
                tick=proof.see(written, due=machine.due, now=now) if tick else None,
            )
            if not isinstance(decision, PollAt):
                raise SystemExit(f"{server.job} ended by {decision}")
            requests += 1
        return requests, machine.due + LATENCY - server.end

    return poll


def by_gaps(gaps: Callable[[random.Random], Iterator[float]]) -> Schedule:
    """Return a schedule of seconds from an answer to the next request."""

    def poll(server: Server, rng: random.Random) -> Found:
        due, requests = 0.0, 1
        for gap in gaps(rng):
            if due + LATENCY / 2 >= server.end:
                break
            due, requests = due + LATENCY + gap, requests + 1
        return requests, due + LATENCY - server.end

    return poll


def growing(first: float, factor: float, most: float, *, drawn: bool = False) -> Schedule:
    """Return a schedule whose gaps grow; drawn from 0 up to that, as google-api-core does."""

    def gaps(rng: random.Random) -> Iterator[float]:
        gap = first
        while True:
            yield rng.uniform(0, gap) if drawn else gap
            gap = min(gap * factor, most)

    return by_gaps(gaps)


OURS, BASE = "this library", "its interval alone"
SCHEDULES: dict[str, Schedule] = {
    OURS: ours(),
    BASE: ours(end=False, tick=False),
    "without the end": ours(end=False),
    "without the tick": ours(tick=False),
    **{f"every {gap} s": growing(gap, 1, gap) for gap in (1, 5, 10, 15, 30, 60)},
    "google-api-core": growing(1, 1.5, 20, drawn=True),
    "15 s, doubled to 900 s": growing(15, 2, 900),
}
TIMETABLE = "best timetable"


@attrs.frozen
class Result:
    """What a schedule made of a job."""

    seed: int
    shape: str
    server: str
    schedule: str
    requests: int
    lag: float
    end: float


def poll_all(seed: int, shapes: Sequence[str], count: int) -> list[Result]:
    """Poll the jobs of a seed by all schedules."""
    rng, results = random.Random(seed), []
    for shape in shapes:
        for number in range(count):
            job = make_job(shape, rng, (number + rng.uniform(0.01, 0.99)) / count)
            for kind in SERVERS:
                server = Server(kind, job, random.Random(f"{seed} {shape} {number} {kind}"))
                for name, poll in SCHEDULES.items():
                    found = poll(server, random.Random(number))
                    results.append(Result(seed, shape, kind, name, *found, server.end))
    return results


def timetables(results: Sequence[Result]) -> list[Result]:
    """Return what the best timetable makes of the jobs, with as many requests as this library.

    It is the offline optimum of those who look at no answer but know how long such jobs last: the
    density of its polls goes with the root of the hazard that a job ends.
    """
    found = []
    for server in SERVERS:
        mine = [one for one in results if (one.server, one.schedule) == (server, OURS)]
        wanted, low, high = sum(one.requests for one in mine), 0.0, 1e6
        ends = [one.end for one in mine]
        for _ in range(40):
            unit = (low + high) / 2
            polls = timetable(unit, max(ends))
            sent = sum(bisect_right(polls, end) + 1 for end in ends)
            low, high = (low, unit) if sent < wanted else (unit, high)
        polls = timetable(high, max(ends))
        for one in mine:
            index = bisect_right(polls, one.end)
            lag = polls[index] - one.end
            found.append(attrs.evolve(one, schedule=TIMETABLE, requests=index + 1, lag=lag))
    return found


def timetable(unit: float, until: float) -> list[float]:
    """Return the moments of a timetable; they are farther apart with a larger unit."""
    moments = [0.0]
    while moments[-1] <= until:
        moment = max(moments[-1], LEAST)
        z = math.log(moment / MEDIAN) / SPREAD
        hazard = NORMAL.pdf(z) / (SPREAD * moment * max(NORMAL.cdf(-z), 1e-9))
        moments.append(moment + max(0.05, math.sqrt(unit / hazard) / 60))
    return moments


# --- Figures ------------------------------------------------------------------------------------


def choose(
    results: Sequence[Result], family: str, server: str, *, seed: int | None = None
) -> dict[str, list[Result]]:
    """Return the results of one family of shapes and one server, by schedule."""
    found: dict[str, list[Result]] = {}
    for one in results:
        if one.server == server and one.shape in FAMILIES[family] and seed in {None, one.seed}:
            found.setdefault(one.schedule, []).append(one)
    return found


@attrs.frozen
class Figures:
    """What a schedule makes of some jobs."""

    requests: float
    mean: float
    p90: float
    worst: float


def figures(results: Sequence[Result]) -> Figures:
    """Add results up."""
    lags = sorted(one.lag for one in results)
    requests = statistics.mean(one.requests for one in results)
    return Figures(requests, statistics.mean(lags), lags[int(0.9 * len(lags))], lags[-1])


def print_table(family: str, server: str, found: dict[str, list[Result]]) -> None:
    """Print the figures of all schedules."""
    if not found:
        return
    print(f"\n{family}; a server that {SERVERS[server]} ({server})")
    print(f"{'':24} {'requests':>9} {'mean s':>8} {'p90 s':>8} {'worst s':>8}")
    for name, results in found.items():
        one = figures(results)
        print(f"{name:24} {one.requests:9.1f} {one.mean:8.1f} {one.p90:8.1f} {one.worst:8.1f}")


def promises(results: Sequence[Result], seeds: Sequence[int | None]) -> list[Figure]:
    """Return the figures that are promised, each of the seed for which it is worst.

    Args:
        results: All results.
        seeds: The seeds; None for all of them together.
    """
    evenly, everything = "steady and accelerating", "all shapes"
    found: list[Figure] = []
    for server in ("any moment", "ticking"):
        name = server.replace(" ", "-")
        families = [choose(results, evenly, server, seed=seed) for seed in seeds]
        own = [figures(family[OURS]) for family in families]
        bare = [figures(family[BASE]) for family in families]
        added = [one.requests - other.requests for one, other in zip(own, bare, strict=True)]
        mixtures = [choose(results, everything, server, seed=seed)[OURS] for seed in seeds]
        found += [
            single(f"{name}-requests", max(added)),
            single(f"{name}-lag", max(one.mean for one in own)),
            single(f"{name}-nine-in-ten", max(one.p90 for one in own)),
            single(f"{name}-all-shapes", max(map(mean_lag, mixtures))),
            single(f"{name}-better", float(sum(map(count_better, families)))),
        ]
    untold = [one for one in results if (one.shape, one.server) == ("no totals", "any moment")]
    mine, base = (figures([one for one in untold if one.schedule == name]) for name in (OURS, BASE))
    return [
        *found,
        single("no-totals-requests", mine.requests / base.requests),
        single("no-totals-lag", mine.mean / base.mean),
    ]


def mean_lag(results: Sequence[Result]) -> float:
    """Return the mean time from the end of a job to its last poll."""
    return figures(results).mean


def count_better(family: dict[str, list[Result]]) -> int:
    """Count the schedules that need fewer requests than ours, or see ends sooner."""
    mine = figures(family[OURS])
    others = [figures(family[name]) for name in ("every 15 s", "every 30 s", "google-api-core")]
    return sum(one.requests <= mine.requests or one.mean <= mine.mean for one in others)


def plots(results: Sequence[Result]) -> dict[str, dict[str, list[float]]]:
    """Return requests a job and the mean lag in seconds, by server and schedule."""
    by_server = {
        server: choose(results, "steady and accelerating", server)
        for server in ("any moment", "ticking")
    }
    return {
        server: {name: requests_and_lag(each) for name, each in found.items()}
        for server, found in by_server.items()
    }


def requests_and_lag(results: Sequence[Result]) -> list[float]:
    """Return requests a job, and the mean lag."""
    both = figures(results)
    return [both.requests, both.mean]


if __name__ == "__main__":
    if sys.argv[1:] == ["--tuning"]:
        poll_by_all(TUNED, TUNED_SHAPES, JOBS)
    else:
        sys.exit(main(__doc__, measure))
