"""What one GET of a job costs: CPU beside other clients, on two event loops; decoding; import."""

import asyncio
import compileall
import importlib
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import orjson

import fireworks_batch
from figures import (
    Figure,
    Report,
    Sampler,
    by_least,
    by_median,
    cpu_of,
    cpu_of_process,
    emulator,
    interleave,
    main,
    unmeasured,
)
from fireworks_batch import BatchClient, BatchInferenceJob
from fireworks_batch.wire.codec import Codec

ACCOUNT = "acme"
JOB = "nightly"
KEY = "fw_benchmark"
PATH = f"/v1/accounts/{ACCOUNT}/batchInferenceJobs/{JOB}"
BEARER = {"Authorization": f"Bearer {KEY}"}

LOOPS = ("asyncio", "uvloop")
IN_FLIGHT = {1: 30, 50: 2, 100: 1}
"""How many GETs are under way together, and how many follow one another in each place."""
CONNECTIONS = max(IN_FLIGHT)
MORE = 3
"""Rounds without the vendor's SDK, which takes long, to each round with it."""

RAW, BARE, OURS = "raw sockets", "bare aiohttp", "this library"
SDKS = {"httpx": "vendor's SDK, httpx", "aiohttp": "vendor's SDK, aiohttp"}

POLLS = 2000
"""The answers to decode: more than the codec remembers times of."""

Get: TypeAlias = Callable[[], Awaitable[Any]]
Client: TypeAlias = Callable[[str], AbstractAsyncContextManager[Get]]
Samples: TypeAlias = Mapping[str, Sequence[float]]


async def measure(share: float) -> Report:
    """Measure all of it."""
    rounds = int(16 * share) + 4
    figures: list[Figure] = []
    plot: list[dict[str, Any]] = []
    with emulator("--api-key", KEY, "--account-id", ACCOUNT) as base_url:
        body = await prepare(base_url)
        for loop in LOOPS:
            # On uvloop, the vendor's SDK has a place in the picture, but no figure.
            fewer = rounds if loop == "asyncio" else 2
            samples = await asyncio.to_thread(measure_gets, loop, base_url, rounds, fewer)
            figures += figures_of(loop, samples)
            plot += rows_of(loop, samples)
    figures.append(await measure_decoding(body, int(30 * share) + 5))
    figures += await measure_imports(int(30 * share) + 4)
    return Report(figures, {"gets": plot})


async def prepare(base_url: str) -> bytes:
    """Make the job that is asked for; returns the answer to a GET."""
    job = {"phases": [{"state": "RUNNING", "seconds": 86_400}], "rows": 1000}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await session.post(f"{base_url}/_emulator/jobs/{JOB}", json=job)
        async with session.get(f"{base_url}{PATH}", headers=BEARER) as answer:
            return await answer.read()


# --- The clients --------------------------------------------------------------------------------


@asynccontextmanager
async def raw_sockets(base_url: str) -> AsyncIterator[Get]:
    """Write the bytes of a request to a connection, and read its answer up to the length."""
    host, port = base_url.removeprefix("http://").split(":")
    head = f"GET {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    request = head.encode("ascii")
    loop = asyncio.get_running_loop()
    lines = [(await loop.create_connection(Line, host, int(port)))[1] for _ in range(CONNECTIONS)]
    free = lines.copy()

    async def get() -> Any:
        line = free.pop()
        body = await line.ask(request)
        free.append(line)
        return orjson.loads(body)

    yield get
    for line in lines:
        line.transport.close()


class Line(asyncio.Protocol):
    """A connection that is kept, with one request at a time."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; returns the body of its answer."""
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._read = b""
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is whole."""
        self._read += data
        head, _, body = self._read.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if length is not None and len(body) == int(length[1]):
            self._answer.set_result(body)


@asynccontextmanager
async def bare_aiohttp(base_url: str) -> AsyncIterator[Get]:
    """Do the least that is done with aiohttp."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get() -> Any:
            async with session.get(f"{base_url}{PATH}", headers=BEARER) as answer:
                return orjson.loads(await answer.read())

        yield get


@asynccontextmanager
async def this_library(base_url: str) -> AsyncIterator[Get]:
    """Ask with this library."""
    async with BatchClient(
        api_key=KEY, account_id=ACCOUNT, base_url=base_url, max_connections=CONNECTIONS
    ) as client:
        yield lambda: client.jobs.get(JOB)


@asynccontextmanager
async def vendors_sdk(base_url: str, *, transport: str) -> AsyncIterator[Get]:
    """Ask with the vendor's SDK, by one of the two transports that it offers."""
    fireworks: Any = importlib.import_module("fireworks")
    httpx: Any = importlib.import_module("httpx")
    make = {"httpx": fireworks.DefaultAsyncHttpxClient, "aiohttp": fireworks.DefaultAioHttpClient}
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with fireworks.AsyncFireworks(
        api_key=KEY,
        account_id=ACCOUNT,
        base_url=base_url,
        http_client=make[transport](limits=limits),
    ) as client:
        yield lambda: client.batch_inference_jobs.get(JOB)


def clients() -> dict[str, Client]:
    """Return what is compared, as far as it is installed."""
    found: dict[str, Client] = {RAW: raw_sockets, BARE: bare_aiohttp, OURS: this_library}
    if find_spec("fireworks"):
        found |= {name: partial(vendors_sdk, transport=each) for each, name in SDKS.items()}
    return found


# --- GET ----------------------------------------------------------------------------------------


def measure_gets(loop: str, base_url: str, rounds: int, fewer: int) -> dict[int, Samples]:
    """Return the CPU seconds of this process for a GET, by how many are in flight and by client."""
    if not find_spec(loop):
        return {}
    with asyncio.Runner(loop_factory=importlib.import_module(loop).new_event_loop) as runner:
        return runner.run(sample_gets(base_url, rounds, fewer))


async def sample_gets(base_url: str, rounds: int, fewer: int) -> dict[int, Samples]:
    """Ask with all clients in fewer turns, and then with the quick ones in more rounds."""
    found: dict[int, Samples] = {}
    async with AsyncExitStack() as stack:
        gets = {
            name: await stack.enter_async_context(client(base_url))
            for name, client in clients().items()
        }
        for in_flight, each in IN_FLIGHT.items():
            for get in gets.values():
                await together(get, in_flight, 1)  # opens the connections
            samplers = {name: cpu_of_gets(get, in_flight, each) for name, get in gets.items()}
            samples = await interleave(samplers, fewer)
            quick = {name: samplers[name] for name in (RAW, BARE, OURS)}
            more = await interleave(quick, MORE * rounds)
            found[in_flight] = {name: [*samples[name], *more.get(name, ())] for name in samples}
    return found


async def together(get: Get, in_flight: int, each: int) -> None:
    """Send GETs in several places, one after the other in each."""

    async def follow() -> None:
        for _ in range(each):
            await get()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(follow())


def cpu_of_gets(get: Get, in_flight: int, each: int) -> Sampler:
    """Return a sampler of this process's CPU time for one of many GETs."""

    async def sample() -> float:
        began = time.process_time()
        await together(get, in_flight, each)
        return (time.process_time() - began) / (in_flight * each)

    return sample


def figures_of(loop: str, samples: Mapping[int, Samples]) -> list[Figure]:
    """Compare this library with bare aiohttp, and with the vendor's SDK where that is usual."""
    pairs = {f"{loop}-{in_flight}": (in_flight, BARE) for in_flight in IN_FLIGHT}
    if loop == "asyncio":
        pairs |= {f"sdk-{each}-{n}": (n, name) for each, name in SDKS.items() for n in (1, 50)}
    figures = []
    for name, (in_flight, other) in pairs.items():
        found = samples.get(in_flight, {})
        if not found:
            figures.append(unmeasured(name, f"{loop} is not installed"))
        elif other not in found:
            figures.append(unmeasured(name, "fireworks-ai is not installed"))
        else:
            # The rounds that both were in are the first ones.
            figures.append(by_median(name, found[OURS][: len(found[other])], found[other]))
    return figures


def rows_of(loop: str, samples: Mapping[int, Samples]) -> list[dict[str, Any]]:
    """Return the rows of the page's table: each client beside bare aiohttp."""
    rows = []
    for in_flight, found in samples.items():
        for client, seconds in found.items():
            ratios = [one / bare for one, bare in zip(seconds, found[BARE], strict=False)]
            low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
            row = {"loop": loop, "in_flight": in_flight, "client": client}
            row |= {"microseconds": 1e6 * statistics.median(seconds)}
            rows.append({**row, "ratio": ratio, "low": low, "high": high})
    return rows


# --- Decoding -----------------------------------------------------------------------------------


async def measure_decoding(body: bytes, rounds: int) -> Figure:
    """Compare a strict, eager decode with bare orjson.loads, over the polls of one job."""
    bodies = [poll(body, number) for number in range(POLLS)]
    codec = Codec()

    async def ours() -> None:
        for each in bodies:
            codec.decode(each, BatchInferenceJob, required=("name", "state"))

    async def bare() -> None:
        for each in bodies:
            orjson.loads(each)

    samples = await interleave({"ours": cpu_of(ours, 1), "bare": cpu_of(bare, 1)}, rounds)
    return by_median("decode", samples["ours"], samples["bare"])


def poll(body: bytes, number: int) -> bytes:
    """Return the answer to a later poll: the counters and one of the times have moved."""
    job = orjson.loads(body)
    minute, second = divmod(number, 60)
    job["updateTime"] = f"2026-09-14T09:{minute:02}:{second:02}.061000Z"
    job["jobProgress"] |= {"outputRows": number, "totalProcessedRequests": number}
    return orjson.dumps(job)


# --- Import -------------------------------------------------------------------------------------


async def measure_imports(rounds: int) -> list[Figure]:
    """Compare the CPU time of fresh processes that import this library, aiohttp, or the SDK."""
    # As pip does with what it installs; a checkout may never have been compiled.
    compileall.compile_dir(Path(fireworks_batch.__file__).parent, quiet=1)
    programs = {
        "package": "import fireworks_batch",
        "client": "from fireworks_batch import BatchClient",
        "aiohttp": "import aiohttp",
    }
    if find_spec("fireworks"):
        programs["sdk"] = "from fireworks import AsyncFireworks"
    samplers = {
        name: cpu_of_process([sys.executable, "-c", program]) for name, program in programs.items()
    }
    samples = await interleave(samplers, rounds)
    return [
        by_least("import-package", samples["package"], samples["aiohttp"]),
        by_least("import-client", samples["client"], samples["aiohttp"]),
        by_least("import-sdk", samples["client"], samples["sdk"])
        if "sdk" in samples
        else unmeasured("import-sdk", "fireworks-ai is not installed"),
    ]


if __name__ == "__main__":
    sys.exit(main(__doc__, measure))
