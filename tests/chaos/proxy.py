"""A bad network: a proxy that does harm stands between the client and the emulator.

A case is one call (a wait, 50 waits, a fleet, a get, a listing, a create, an upload through the API
or by a signed URL, a download, results, a run) under a number of harms. Then the network heals, the
identical call is made once more, and must succeed.

What can be promised: the call ends with the truth or one of our errors. HTTP without TLS cannot see
that a byte of JSON was changed into another good one. So where an answer was falsified, the first
call may give something visibly different: a listing that is cut short, a file of another name. The
outcome of another job, a second job, and a row that is lost or doubled in the end are not allowed.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import attrs
from faulty_proxy import HARMS, FaultyProxy, Harm, draw_harm

from chaos.invariants import KEY, Case, run
from fireworks_batch import (
    BatchClient,
    BatchInferenceJob,
    Dataset,
    FireworksBatchError,
    Limits,
    PollPolicy,
    RetryPolicy,
)
from fireworks_batch.emulator import Emulator

CASES = 66

MODEL = "accounts/fireworks/models/demo-8b"
ENDS = ("COMPLETED", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED")
_CHANGED = ("corrupt", "leave_out", "duplicate")
AT_STORAGE = (*(harm for harm in HARMS if harm not in {"forge", "stale"}), *_CHANGED, *_CHANGED)
"""A hash tells of changed bytes, but of a whole answer with another file only TLS can tell."""

WITHIN = 30.0
"""Seconds in which any call must end: the network is bad for less than that."""

POLL = PollPolicy(
    initial_interval=0.004,
    min_interval=0.0,
    max_interval=0.02,
    failure_budget=WITHIN,
    not_found_grace=0.3,
)
RETRY = RetryPolicy(max_attempts=5, initial_delay=0.001, max_delay=0.01, rate_limit_budget=1.0)
LIMITS = {"request_timeout": 0.5, "connect_timeout": 0.5, "transfer_timeout": 0.5}


def play(seed: int) -> Case:
    """Play the case of a seed."""
    case = Case("proxy", seed)
    # An upload whose answer was falsified waits an hour for its dataset: here less than WITHIN.
    run(case, lambda: _scenario(case), time_scale=WITHIN / 3600 / 4)
    return case


@attrs.define(eq=False)
class Stage:
    """An emulator, the harmed way to it, and an unharmed one."""

    case: Case
    emulator: Emulator
    api: FaultyProxy
    storage: FaultyProxy
    client: BatchClient
    """Comes through the proxies."""

    sound: BatchClient
    """Comes to the emulator itself."""

    answered: Counter[str]
    """How often each row was run."""

    @property
    def random(self) -> Random:
        """The case's chance."""
        return self.case.random

    @property
    def has_falsified(self) -> bool:
        """Whether an answer of the API may have said something else than the emulator did."""
        return self.api.has_falsified

    def heal(self) -> None:
        """Let the network be good from now on."""
        self.api.heal()
        self.storage.heal()
        self.case.say("the network heals")

    async def truth(self) -> list[BatchInferenceJob]:
        """Give all jobs, as the emulator knows them."""
        return [job async for job in self.sound.jobs.list()]


async def _scenario(case: Case) -> None:
    answered = Counter[str]()

    def respond(custom_id: str, body: Mapping[str, Any]) -> str:
        answered[custom_id] += 1
        return f"answer to {body['messages'][-1]['content']}"

    left = case.random.choice([3, 10, 30, 60])
    chances = [Random(case.random.random()) for _ in range(2)]
    share = case.random.choice([0.1, 0.3, 0.6])

    def draw_of(chance: Random, harms: tuple[str, ...], share: float) -> Callable[[], Harm | None]:
        def draw() -> Harm | None:
            nonlocal left
            if left == 0 or chance.random() > share:
                return None
            left -= 1
            return draw_harm(chance, harms)

        return draw

    async with (
        Emulator(
            speed=6000, account_id="acme", api_key=KEY, seed=case.seed, responder=respond
        ) as emulator,
        FaultyProxy(
            _port(emulator.base_url), draw_of(chances[0], HARMS, share), _told(case, "api")
        ) as api,
        FaultyProxy(
            _port(emulator.storage_url),
            draw_of(chances[1], AT_STORAGE, 0.6),
            _told(case, "storage"),
        ) as (storage),
        _client(emulator.base_url) as sound,
        _client(api.url) as client,
    ):
        emulator._world().datasets.port = storage.port  # signed URLs lead through the proxy
        act = ACTS[case.seed % len(ACTS)]
        case.say(f"{act.__name__}, {left} harms, to {share:.0%} of the exchanges")
        await act(Stage(case, emulator, api, storage, client, sound, answered))
        case.faults = api.done.total() + storage.done.total()
        case.volume = api.volume + storage.volume


def _told(case: Case, where: str) -> Callable[[str], None]:
    return lambda text: case.say(f"  {where}, {text}")


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _client(url: str) -> BatchClient:
    return BatchClient(
        api_key=KEY, account_id="acme", base_url=url, poll=POLL, retry=RETRY, **LIMITS
    )


async def _twice(
    stage: Stage,
    what: str,
    call: Callable[[], Awaitable[Any]],
    check: Callable[[Any, bool], Awaitable[None] | None],
) -> None:
    """Make a call in the bad network, and in the good one; `check` gets what each of them gave.

    A falsified answer may leave a connection on which each answer is that to the request before.
    """
    tries = 1
    for is_good in (False, True):
        if is_good:
            stage.heal()
            tries = 4 if stage.has_falsified else 1
        for left in reversed(range(tries)):
            found = await stage.case.ends(what, call(), within=WITHIN)
            if not isinstance(found, FireworksBatchError):
                break
            if is_good and not left:
                stage.case.violate(f"{what}: fails in a good network: {found!r}")
        else:
            continue
        checked = check(found, is_good) if found is not None else None
        if checked is not None:
            await checked


# --- Jobs -----------------------------------------------------------------------------------------


def _script(stage: Stage, number: int) -> dict[str, str]:
    """Make jobs that go to different ends; gives the end of each."""
    ends = {}
    for place in range(number):
        # Ids of jobs differ in more than a bit: no byte that flips makes one of another.
        job_id = f"job-{place:03}-{stage.random.randrange(16**6):06x}"
        ends[job_id] = stage.random.choice(ENDS)
        states = ["VALIDATING", "PENDING", "RUNNING", "WRITING_RESULTS"]
        phases = [{"state": s, "seconds": stage.random.choice([60, 60, 240])} for s in states]
        stage.emulator.script_job(job_id, phases=[*phases, ends[job_id]], rows=1000)
    return ends


def _is_truth(stage: Stage, job_id: str, found: Any, end: str) -> None:
    """A wait never dies early in a network that heals: its end is the truth, not an error."""
    if isinstance(found, BatchInferenceJob):
        stage.case.is_of(f"the wait for {job_id}", found.id, job_id)
        stage.case.is_of(f"the end of {job_id}", str(found.state), end)
    elif found is not None:
        stage.case.violate(f"the wait for {job_id} dies early: {found!r}")


async def wait(stage: Stage) -> None:
    """Wait for one job, snapshot by snapshot."""
    ((job_id, end),) = _script(stage, 1).items()

    async def follow() -> BatchInferenceJob:
        job = None
        async for snapshot in stage.client.jobs.wait_until_terminal(job_id, timeout=WITHIN):
            stage.case.is_of("a snapshot", snapshot.job.id, job_id)
            job = snapshot.job
        assert job is not None
        return job

    found = await stage.case.ends("a wait", follow(), within=WITHIN + 1)
    _is_truth(stage, job_id, found, end)


async def waits(stage: Stage) -> None:
    """Wait for 50 jobs at once."""
    ends = _script(stage, 50)

    async def one(job_id: str, end: str) -> None:
        call = stage.client.jobs.wait_until_terminal(job_id, timeout=WITHIN)
        found = await stage.case.ends(f"wait for {job_id}", call, within=WITHIN + 1)
        _is_truth(stage, job_id, found, end)

    async with asyncio.TaskGroup() as group:
        for item in ends.items():
            group.create_task(one(*item))


async def fleet(stage: Stage) -> None:
    """Watch jobs as a fleet, or as they complete."""
    ends = _script(stage, stage.random.choice([2, 20]))
    fate = stage.random.choice(["await", "iterate", "as_completed"])

    async def watch() -> dict[str, Any]:
        jobs = stage.client.jobs
        if fate == "as_completed":
            found = [each async for each in jobs.as_completed(ends, timeout=WITHIN)]
            stage.case.once("endings", [each.ref.job_id for each in found])
            return {each.ref.job_id: each for each in found}
        made = jobs.watch(ends, timeout=WITHIN)
        if fate == "iterate":
            async for snapshot in made:
                if snapshot.job.id not in ends:
                    stage.case.violate(f"a snapshot of {snapshot.job.id}")
            return dict(made.outcomes)
        return dict(await made)

    found = await stage.case.ends(f"a fleet: {fate}", watch(), within=WITHIN + 1)
    if isinstance(found, FireworksBatchError):
        stage.case.violate(f"the fleet dies early: {found!r}")
        return
    stage.case.same_rows("endings of the fleet", found or (), ends)
    for job_id, ending in (found or {}).items():
        _is_truth(stage, job_id, ending.job or ending.error, ends[job_id])


async def get(stage: Stage) -> None:
    """Fetch jobs and datasets, one after the other."""
    for job_id in _script(stage, 8):
        found = await stage.case.ends("a get", stage.client.jobs.get(job_id), within=WITHIN)
        if isinstance(found, BatchInferenceJob):
            stage.case.is_of("a get", found.id, job_id)
        stage.emulator.add_dataset(f"of-{job_id}", files={"x": b"x"})
        call = stage.client.datasets.get(f"of-{job_id}")
        dataset = await stage.case.ends("a get of a dataset", call, within=WITHIN)
        if isinstance(dataset, Dataset):
            stage.case.is_of("a get of a dataset", dataset.id, f"of-{job_id}")


async def listing(stage: Stage) -> None:
    """List jobs, page by page."""
    ends = _script(stage, 25)
    size = stage.random.choice([1, 4, 200])

    async def read() -> list[str]:
        return [job.id async for job in stage.client.jobs.list(page_size=size)]

    def check(found: list[str], is_good: bool) -> None:
        stage.case.once("a listing", found)
        if is_good or not stage.has_falsified:
            stage.case.same_rows("a listing", found, ends)

    await _twice(stage, "a listing", read, check)


async def create(stage: Stage) -> None:
    """Create a job."""
    stage.emulator.add_dataset("input", files={"x.jsonl": _lines(_rows(stage, 3))})
    given = stage.random.choice([None, "nightly"])

    def make() -> Awaitable[BatchInferenceJob]:
        return stage.client.jobs.create(model=MODEL, input_dataset="input", job_id=given)

    made: set[str] = set()
    await stage.case.ends("a get", stage.client.jobs.get(*_script(stage, 1)), within=WITHIN)
    others = {job.id for job in await stage.truth()}

    async def check(found: BatchInferenceJob, _: bool) -> None:
        if given is not None:
            stage.case.is_of("a create", found.id, given)
        made.add(found.id)

    await _twice(stage, "a create", make, check)
    there = {job.id for job in await stage.truth()} - others
    if len(there) > (1 if given else 2):
        stage.case.violate(f"jobs: {sorted(there)}, by two calls")
    if not made <= there:
        stage.case.violate(f"created {sorted(made)}, there are {sorted(there)}")


# --- Datasets -------------------------------------------------------------------------------------


def _rows(stage: Stage, number: int) -> list[str]:
    return [f"row-{place}-{stage.random.randrange(10**6)}" for place in range(number)]


def _lines(rows: list[str], width: int = 0) -> bytes:
    lines = (
        json.dumps(
            {
                "custom_id": row,
                "body": {"messages": [{"role": "user", "content": row + "." * width}]},
            }
        )
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines).encode()


async def upload_through_api(stage: Stage) -> None:
    """Upload a small file."""
    await _upload(stage, Limits())


async def upload_by_url(stage: Stage) -> None:
    """Upload a file as if it were large."""
    await _upload(stage, Limits(max_upload_bytes=1))


async def _upload(stage: Stage, limits: Limits) -> None:
    content = _lines(_rows(stage, stage.random.choice([1, 50, 500])), stage.random.choice([0, 900]))
    given = stage.random.choice([None, "input"])

    def send() -> Awaitable[Dataset]:
        return stage.client.datasets.upload(content, dataset_id=given, reuse=True, limits=limits)

    async def check(found: Dataset, _: bool) -> None:
        if not found.is_ready:
            stage.case.violate(f"an upload that is {found.state}")
        place = stage.case.directory / "sound"
        (path,) = await stage.sound.datasets.download(found.id, place)
        if path.read_bytes() != content:
            stage.case.violate("the content that was uploaded is another")

    await _twice(stage, "an upload", send, check)
    there = [each.id async for each in stage.sound.datasets.list()]
    if len(there) != 1:
        stage.case.violate(f"datasets after an upload: {there}")


async def download(stage: Stage) -> None:
    """Download a dataset of several files."""
    sizes = [1, *(stage.random.randrange(1, 3000) for _ in range(6)), 10_000, 300_000]
    sizes.append(stage.random.choice([2, 2_000_000]))
    files = {f"file-{n}.bin": stage.random.randbytes(size) for n, size in enumerate(sizes)}
    stage.emulator.add_dataset("data", files=files)
    place = stage.case.directory / "downloaded"

    def check(found: tuple[Path, ...], is_good: bool) -> None:
        for path in found:
            if path.name in files and path.read_bytes() != files[path.name]:
                stage.case.violate(f"{path.name} was downloaded as another file")
        if is_good or not stage.has_falsified:
            stage.case.same_rows("downloaded files", [path.name for path in found], files)

    await _twice(stage, "a download", lambda: stage.client.datasets.download("data", place), check)
    left = [path.name for path in place.iterdir() if path.name not in files]
    if left and not stage.has_falsified:
        stage.case.violate(f"left in the directory of a download: {left}")
    if any(name.startswith(".") or name.endswith(".part") for name in left):
        stage.case.violate(f"parts are left of a download: {left}")


async def results(stage: Stage) -> None:
    """Read the results of a job."""
    rows = _rows(stage, stage.random.choice([1, 20, 300]))
    bad = {row for row in rows if stage.random.random() < 0.1}
    stage.emulator.add_dataset("input", files={"x.jsonl": _lines(rows)})
    for row in bad:
        stage.emulator.fail_rows(row, times=None)
    job = await stage.sound.jobs.create(model=MODEL, input_dataset="input", job_id="done")
    await stage.sound.jobs.wait_until_terminal(job, timeout=WITHIN)

    async def read() -> tuple[list[Any], Any]:
        async with stage.client.results("done", expected=rows) as found:
            return [row async for row in found], found.report

    def check(found: tuple[list[Any], Any], is_good: bool) -> None:
        there, report = found
        _check_rows(stage, there, bad)
        is_whole = not (report.missing_ids or report.foreign_ids or report.duplicate_ids)
        if is_good or is_whole or not stage.has_falsified:
            stage.case.same_rows("results", [row.custom_id for row in there], rows)

    await _twice(stage, "results", read, check)


def _check_rows(stage: Stage, there: list[Any], bad: set[str]) -> None:
    for row in there:
        if row.ok and row.text != f"answer to {row.custom_id}":
            stage.case.violate(f"{row.custom_id} has another answer: {row.text!r}")
        if row.ok == (row.custom_id in bad):
            stage.case.violate(f"{row.custom_id} is {'good' if row.ok else 'bad'}")


async def whole_run(stage: Stage) -> None:
    """Run requests, from a file to a result."""
    rows = _rows(stage, stage.random.choice([1, 5, 12]))
    source, output = stage.case.directory / "rows.jsonl", stage.case.directory / "out.jsonl"
    source.write_bytes(_lines(rows))
    limits = Limits(max_rows=4, max_upload_bytes=stage.random.choice([1, 10**6]))

    async def go() -> tuple[list[Any], Any]:
        async with await stage.client.run(
            source, model=MODEL, name="run", limits=limits, output=output, timeout=WITHIN
        ) as result:
            return [row async for row in result], result.report

    def check(found: tuple[list[Any], Any], is_good: bool) -> None:
        there, report = found
        _check_rows(stage, there, set())
        if is_good or report.is_complete or not stage.has_falsified:
            stage.case.same_rows("the result of a run", [row.custom_id for row in there], rows)
            written = [json.loads(line)["custom_id"] for line in output.read_bytes().splitlines()]
            stage.case.same_rows("the output of a run", written, rows)

    await _twice(stage, "a run", go, check)
    twice = [row for row, times in stage.answered.items() if times > 1]
    if twice:
        stage.case.violate(f"rows that were run twice: {twice[:5]}")
    jobs = await stage.truth()
    if len(jobs) != -(-len(rows) // 4):
        stage.case.violate(f"{len(rows)} rows made the jobs {[job.id for job in jobs]}")


ACTS = (
    wait,
    waits,
    fleet,
    get,
    listing,
    create,
    upload_through_api,
    upload_by_url,
    download,
    results,
    whole_run,
)
