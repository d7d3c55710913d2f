"""A hostile or odd server: what it sends is wrong, huge, without end, or means harm.

A case is one trick of `chaos.tricks`, played once, a few times or always, and a call that meets it.
Each call must end with a good answer or one of our errors, in bounded time and memory. No file
is written outside of the directory that was named, no redirect is followed, no cookie is sent back,
and the key goes to the API alone, and is in nothing that is raised or logged.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
from raw_server import Asked, RawServer, Sound, Spoilt

from chaos.invariants import KEY, Case, run
from chaos.tricks import TRICKS, Trick
from fireworks_batch import BatchClient, BatchInferenceJob, Limits, PollPolicy, RetryPolicy

CASES = 3 * len(TRICKS)

WITHIN = 20.0
"""Seconds in which any call must end, with the limits that the client has here."""

WAIT = 0.5
ROWS = ["row-0", "row-1", "row-2"]
MODEL = "accounts/fireworks/models/demo-8b"

POLL = PollPolicy(
    initial_interval=0.002,
    min_interval=0.0,
    max_interval=0.01,
    failure_budget=0.2,
    not_found_grace=0.02,
)
RETRY = RetryPolicy(max_attempts=3, initial_delay=0.001, max_delay=0.002, rate_limit_budget=0.05)


def play(seed: int) -> Case:
    """Play the case of a seed."""
    case = Case("hostile", seed)
    run(case, lambda: _scenario(case), time_scale=WAIT / 3600)
    return case


async def _scenario(case: Case) -> None:
    trick, routes = TRICKS[case.seed % len(TRICKS)]
    meets = [call for call in CALLS if not call.routes.isdisjoint(routes)]
    call = case.random.choice(meets)
    route = case.random.choice(sorted(call.routes.intersection(routes)))
    spared = case.random.choice([0, 0, 1, 2]) if call.looks else 0
    times = case.random.choice([1, 2, 10**9, 10**9])
    often = f"{times} times" if times < 10 else "always"
    case.say(f"{call.name} meets {trick.__name__} at {route}, {often} after {spared}")
    spoil = _Spoiler(case, trick, route, spared, times)
    async with RawServer(ROWS, spoil, looks=call.looks) as server:
        client = BatchClient(
            api_key=KEY,
            account_id=None if route == "accounts" else "acme",
            base_url=server.url,
            poll=POLL,
            retry=RETRY,
            request_timeout=0.3,
            connect_timeout=0.3,
            transfer_timeout=0.3,
            max_body_bytes=1_000_000,
        )
        async with client:
            place = case.directory / "place"
            found = await case.ends(call.name, call.make(client, place), within=WITHIN)
            if isinstance(found, BatchInferenceJob):
                case.is_of(call.name, found.id, "job-a")
        case.faults, case.volume = spoil.struck, server.volume
        _look_at(case, server)


@attrs.define
class _Spoiler:
    """Plays a trick at the answers of a route, and tells."""

    case: Case
    trick: Trick
    route: str
    spared: int
    times: int
    struck: int = 0

    def __call__(self, asked: Asked, sound: Sound) -> Spoilt | None:
        if asked.route != self.route:
            return None
        if self.spared:
            self.spared -= 1
            return None
        if self.struck == self.times:
            return None
        self.struck += 1
        spoilt = self.trick(self.case.random, asked, sound)
        if self.struck <= 20:
            text = repr(spoilt[:300]) if isinstance(spoilt, bytes) else "pieces"
            self.case.say(f"  {asked.method} {asked.target[:100]}: {text.replace(KEY, '<key>')}")
        return spoilt


def _look_at(case: Case, server: RawServer) -> None:
    """Look at what the client asked for, and at the files that it wrote."""
    for asked in server.asked:
        if "cookie" in asked.headers:
            case.violate(f"a cookie is sent back: {asked}")
        if asked.route in {"file", "put"} and "authorization" in asked.headers:
            case.violate(f"credentials are sent to a signed URL: {asked.target[:100]}")
        if "x-injected" in asked.headers:
            case.violate("a header was injected")
    place = case.directory / "place"
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    if size > server.volume + 1_000_000:
        case.violate(f"{server.volume} bytes came, and {size} are on disk")
    for path in case.directory.iterdir():
        if path.name not in {"place", "temporary"}:
            case.violate(f"written beside the directory: {path.name}")


# --- The calls ------------------------------------------------------------------------------------


@attrs.frozen
class Call:
    """A public call, and the routes that it asks."""

    make: Callable[[BatchClient, Path], Awaitable[Any]]
    routes: frozenset[str] = attrs.field(converter=frozenset)
    looks: int = 0
    """How many times each job is seen RUNNING."""

    @property
    def name(self) -> str:
        """What it is called in a story."""
        return self.make.__name__


async def get(client: BatchClient, _: Path) -> Any:
    """Fetch a job."""
    return await client.jobs.get("job-a")


async def list_jobs(client: BatchClient, _: Path) -> Any:
    """List jobs."""
    return [job.id async for job in client.jobs.list()]


async def list_datasets(client: BatchClient, _: Path) -> Any:
    """List datasets."""
    return [dataset.id async for dataset in client.datasets.list()]


async def create(client: BatchClient, _: Path) -> Any:
    """Create a job."""
    return await client.jobs.create(model=MODEL, input_dataset="in", job_id="job-a")


async def delete(client: BatchClient, _: Path) -> Any:
    """Delete a job, and wait until it is gone."""
    return await client.jobs.delete("job-a", wait=True)


async def wait(client: BatchClient, _: Path) -> Any:
    """Wait for a job, snapshot by snapshot."""
    job = None
    async for snapshot in client.jobs.wait_until_terminal("job-a", timeout=WAIT):
        job = snapshot.job
    return job


async def wait_for_days(client: BatchClient, _: Path) -> Any:
    """Wait for a job as long as the server says that it can run."""
    return await client.jobs.wait_until_terminal("job-a")


async def watch(client: BatchClient, _: Path) -> Any:
    """Watch several jobs."""
    jobs = [f"job-{name}" for name in "abcdefghij"]
    return await client.jobs.watch(jobs, timeout=WAIT)


async def as_completed(client: BatchClient, _: Path) -> Any:
    """Take jobs as they complete."""
    jobs = client.jobs.as_completed(["job-a", "job-b"], timeout=WAIT)
    return [each.ref.job_id async for each in jobs]


async def get_dataset(client: BatchClient, _: Path) -> Any:
    """Fetch a dataset."""
    return (await client.datasets.get("in")).id


async def create_dataset(client: BatchClient, _: Path) -> Any:
    """Create a dataset."""
    return (await client.datasets.create("in", example_count=3)).id


async def delete_dataset(client: BatchClient, _: Path) -> Any:
    """Delete a dataset."""
    return await client.datasets.delete("in")


LINE = b'{"custom_id": "row-0", "body": {"messages": [{"role": "user", "content": "x"}]}}\n'


async def upload(client: BatchClient, _: Path) -> Any:
    """Upload through the API."""
    return (await client.datasets.upload(LINE)).id


async def upload_by_url(client: BatchClient, _: Path) -> Any:
    """Upload by a signed URL."""
    limits = Limits(max_upload_bytes=1)
    return (await client.datasets.upload(LINE * 100, dataset_id="mine", limits=limits)).id


async def download(client: BatchClient, place: Path) -> Any:
    """Download a dataset."""
    paths = await client.datasets.download("out", place)
    return [str(path.relative_to(place)) for path in paths]


async def download_chain(client: BatchClient, place: Path) -> Any:
    """Download a chain of datasets, with progress."""
    told: list[int] = []
    paths = await client.datasets.download(
        "out", place, lineage=True, on_progress=lambda done, _: told.append(done)
    )
    return [str(path.relative_to(place)) for path in paths]


async def results(client: BatchClient, _: Path) -> Any:
    """Read results."""
    async with client.results("job-a", expected=ROWS) as rows:
        found = [
            (row.custom_id, row.ok, row.text if row.ok else str(row.error)) async for row in rows
        ]
    return found, str(rows.report)


async def whole_run(client: BatchClient, _: Path) -> Any:
    """Run requests."""
    requests = [
        {"custom_id": row, "body": {"messages": [{"role": "user", "content": row}]}} for row in ROWS
    ]
    result = await client.run(requests, model=MODEL, timeout=WAIT, name="night")
    async with result:
        return [row.custom_id async for row in result], str(result.report)


_UPLOAD = ("accounts", "create_dataset", "get_dataset")
CALLS = (
    Call(get, ("accounts", "get_job")),
    Call(list_jobs, ("list_jobs",)),
    Call(list_datasets, ("list_datasets",)),
    Call(create, ("create_job",)),
    Call(delete, ("delete_job", "get_job")),
    Call(wait, ("accounts", "get_job"), looks=3),
    Call(wait_for_days, ("get_job",), looks=3),
    Call(watch, ("accounts", "list_jobs"), looks=3),
    Call(as_completed, ("get_job",), looks=3),
    Call(get_dataset, ("get_dataset",)),
    Call(create_dataset, ("create_dataset",)),
    Call(delete_dataset, ("delete_dataset",)),
    Call(upload, (*_UPLOAD, "upload")),
    Call(upload_by_url, (*_UPLOAD, "upload_urls", "put", "validate")),
    Call(download, ("download_urls", "file")),
    Call(download_chain, ("download_urls", "file")),
    Call(results, ("get_job", "download_urls", "file")),
    Call(
        whole_run,
        (*_UPLOAD, "upload", "get_job", "list_jobs", "create_job", "download_urls", "file"),
        looks=1,
    ),
)
