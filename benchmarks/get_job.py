"""What one GET of a job costs: CPU against bare aiohttp and the vendor's SDK, decoding, import."""

import asyncio
import compileall
import importlib.util
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

import fireworks_batch
from fireworks_batch import BatchClient, BatchInferenceJob
from fireworks_batch.wire.codec import Codec
from table import Row, ask_for_size, by_least, by_median, cpu_of, interleave, show

ACCOUNT = "acme"
JOB = "nightly"
KEY = "fw_benchmark"
PATH = f"/v1/accounts/{ACCOUNT}/batchInferenceJobs/{JOB}"
# More than the codec remembers times of.
LOOKS = 2000

IN_FLIGHT = 50
CONNECTIONS = 100
GETS_TOGETHER = 500

Get = Callable[[], Awaitable[Any]]


def main() -> int:
    """Run all of it, and print the table."""
    return show(asyncio.run(measure(ask_for_size(__doc__))))


async def measure(share: float) -> list[Row]:
    """Return a row for each goal."""
    rounds = int(35 * share) + 5
    async with server() as base_url, aiohttp.ClientSession() as session:
        await script(session, base_url)
        gets = await measure_gets(session, base_url, int(90 * share) + 10, rounds)
        gets.append(await measure_many(base_url, rounds))
        body = await bare_body(session, base_url)
    decoding = await measure_decoding(body, rounds)
    return [*gets, decoding, *await measure_imports(int(27 * share) + 3)]


# --- GET ----------------------------------------------------------------------------------------


async def measure_gets(
    session: aiohttp.ClientSession, base_url: str, count: int, rounds: int
) -> list[Row]:
    """Compare the CPU time of this process for the same GET by three clients."""
    async with BatchClient(api_key=KEY, account_id=ACCOUNT, base_url=base_url) as client:
        samplers = {
            "bare": cpu_of(lambda: bare_get(session, base_url), count),
            "ours": cpu_of(lambda: client.jobs.get(JOB), count),
        }
        if not importlib.util.find_spec("fireworks"):
            samples = await interleave(samplers, rounds)
            vendor = Row("GET / vendor's SDK", 1 / 3, None, remark="fireworks-ai is not installed")
        else:
            async with vendor_get(base_url) as get:
                samples = await interleave({**samplers, "vendor": cpu_of(get, count)}, rounds)
            vendor = by_median("GET / vendor's SDK", 1 / 3, samples["ours"], samples["vendor"])
    bare = by_median("GET / bare aiohttp + orjson", 1.45, samples["ours"], samples["bare"])
    return [bare, vendor]


async def measure_many(base_url: str, rounds: int) -> Row:
    """Compare the CPU time of GETs that are under way together."""
    limits = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with (
        aiohttp.ClientSession(connector=limits) as session,
        BatchClient(
            api_key=KEY, account_id=ACCOUNT, base_url=base_url, max_connections=CONNECTIONS
        ) as client,
    ):
        samplers = {
            "bare": cpu_of(lambda: together(lambda: bare_get(session, base_url)), 1),
            "ours": cpu_of(lambda: together(lambda: client.jobs.get(JOB)), 1),
        }
        samples = await interleave(samplers, rounds)
    name = f"GET / bare, {IN_FLIGHT} in flight"
    return by_median(name, 1.5, samples["ours"], samples["bare"])


async def together(get: Get) -> None:
    """Send so many GETs, a number of them at a time."""

    async def several() -> None:
        for _ in range(GETS_TOGETHER // IN_FLIGHT):
            await get()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(several())


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Run the emulator in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "fireworks_batch.emulator"]
    command += ["--api-key", KEY, "--account-id", ACCOUNT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


async def script(session: aiohttp.ClientSession, base_url: str) -> None:
    """Make the job that is asked for."""
    job = {"phases": [{"state": "RUNNING", "seconds": 86_400}], "rows": 1000}
    async with session.post(f"{base_url}/_emulator/jobs/{JOB}", json=job) as answer:
        answer.raise_for_status()


async def bare_body(session: aiohttp.ClientSession, base_url: str) -> bytes:
    """Ask by hand."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with session.get(f"{base_url}{PATH}", headers=headers) as answer:
        return await answer.read()


async def bare_get(session: aiohttp.ClientSession, base_url: str) -> Any:
    """Do the least that a client can do."""
    return orjson.loads(await bare_body(session, base_url))


@asynccontextmanager
async def vendor_get(base_url: str) -> AsyncIterator[Get]:
    """Ask with the vendor's SDK and its default transport."""
    fireworks: Any = importlib.import_module("fireworks")
    async with fireworks.AsyncFireworks(
        api_key=KEY, account_id=ACCOUNT, base_url=base_url
    ) as vendor:
        yield lambda: vendor.batch_inference_jobs.get(JOB)


# --- Decoding -----------------------------------------------------------------------------------


async def measure_decoding(body: bytes, rounds: int) -> Row:
    """Compare a strict, eager decode with bare orjson.loads, over the looks at one job."""
    bodies = [look(body, number) for number in range(LOOKS)]
    codec = Codec()

    async def ours() -> None:
        for each in bodies:
            codec.decode(each, BatchInferenceJob, required=("name", "state"))

    async def bare() -> None:
        for each in bodies:
            orjson.loads(each)

    samples = await interleave({"ours": cpu_of(ours, 1), "bare": cpu_of(bare, 1)}, rounds)
    return by_median("decode / orjson.loads", 6.5, samples["ours"], samples["bare"])


def look(body: bytes, number: int) -> bytes:
    """Return the answer of a later look: the counters and one of the times have moved."""
    job = orjson.loads(body)
    minute, second = divmod(number, 60)
    job["updateTime"] = f"2026-09-14T09:{minute:02}:{second:02}.061000Z"
    job["jobProgress"] |= {"outputRows": number, "totalProcessedRequests": number}
    return orjson.dumps(job)


# --- Import -------------------------------------------------------------------------------------


async def measure_imports(rounds: int) -> list[Row]:
    """Compare the CPU time of fresh processes that import this library, or aiohttp alone."""
    # As pip does with what it installs; a checkout may never have been compiled.
    compileall.compile_dir(Path(fireworks_batch.__file__).parent, quiet=1)
    package, client = "import fireworks_batch", "from fireworks_batch import BatchClient"
    bare = "import aiohttp"
    samples = await interleave({each: cpu_of_run(each) for each in (package, client, bare)}, rounds)
    return [
        by_least(f"{package} / aiohttp", 0.1, samples[package], samples[bare]),
        by_least(f"{client} / aiohttp", 1.8, samples[client], samples[bare]),
    ]


def cpu_of_run(program: str) -> Callable[[], Awaitable[float]]:
    """Return a sampler of one fresh process."""

    async def sample() -> float:
        began = cpu_of_children()
        subprocess.run([sys.executable, "-c", program], check=True)
        return cpu_of_children() - began

    return sample


def cpu_of_children() -> float:
    """Return what all processes that were waited for have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
