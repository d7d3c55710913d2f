"""What one GET of a job costs: CPU against bare aiohttp and the vendor's SDK, decoding, import.

The server runs in a process of its own; rounds are interleaved and medians compared, so that what
else the machine does touches all alike. Ratios only. `--tenth` is the size for CI. Exits with 1
if a ratio is more than 1.5 times its goal.
"""

import argparse
import asyncio
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson

from fireworks_batch import BatchClient, BatchInferenceJob
from fireworks_batch.wire import Codec

JOB = "nightly"
KEY = "fw_benchmark"
PATH = f"/v1/accounts/acme/batchInferenceJobs/{JOB}"
GOALS = {
    "GET / bare aiohttp + orjson": 1.45,
    "GET / vendor's SDK": 1 / 3,
    "decode / orjson.loads": 6.5,
    "import / import aiohttp": 1.4,
}

Get = Callable[[], Awaitable[Any]]


def main() -> int:
    """Run all of it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenth", action="store_true", help="the size for CI")
    share = 0.1 if parser.parse_args().tenth else 1.0
    figures = asyncio.run(measure_gets(int(200 * share) + 5, rounds=int(20 * share) + 5))
    figures["import / import aiohttp"] = measure_import(int(30 * share) + 3)
    return show(figures)


def show(figures: dict[str, float]) -> int:
    """Print each ratio beside its goal."""
    is_far_off = False
    for name, goal in GOALS.items():
        ratio = figures.get(name)
        if ratio is None:
            print(f"{name:32}  not measured: fireworks-ai is not installed")
            continue
        verdict = "kept" if ratio <= goal else "MISSED"
        print(f"{name:32}  {ratio:6.2f}  goal {goal:5.2f}  {verdict}")
        is_far_off = is_far_off or ratio > 1.5 * goal
    return int(is_far_off)


async def measure_gets(count: int, *, rounds: int) -> dict[str, float]:
    """Compare the CPU of GETs, and of decoding what they bring."""
    command = [sys.executable, "-m", "fireworks_batch.emulator", "--api-key", KEY]
    server = subprocess.Popen([*command, "--account", "acme"], stdout=subprocess.PIPE, text=True)
    try:
        base_url = server.stdout.readline().strip() if server.stdout else ""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            await script(session, base_url)
            client = await stack.enter_async_context(
                BatchClient(api_key=KEY, account_id="acme", base_url=base_url)
            )
            gets: dict[str, Get] = {
                "bare": lambda: bare_get(session, base_url),
                "ours": lambda: client.jobs.get(JOB),
            }
            if importlib.util.find_spec("fireworks"):
                gets["vendor"] = await vendor_get(stack, base_url)
            medians = await interleave(gets, count, rounds)
            body = await bare_body(session, base_url)
    finally:
        server.terminate()
        server.wait(10)
    figures = {
        "GET / bare aiohttp + orjson": medians["ours"] / medians["bare"],
        "decode / orjson.loads": measure_decoding(body, count, rounds),
    }
    if "vendor" in medians:
        figures["GET / vendor's SDK"] = medians["ours"] / medians["vendor"]
    return figures


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


async def vendor_get(stack: AsyncExitStack, base_url: str) -> Get:
    """Ask with the vendor's SDK and its default transport."""
    fireworks: Any = importlib.import_module("fireworks")
    vendor: Any = await stack.enter_async_context(
        fireworks.AsyncFireworks(api_key=KEY, account_id="acme", base_url=base_url)
    )

    async def get() -> Any:
        return await vendor.batch_inference_jobs.get(JOB)

    return get


async def interleave(gets: dict[str, Get], count: int, rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of a round of each, taken in turns."""
    spent: dict[str, list[float]] = {name: [] for name in gets}
    for _ in range(rounds):
        for name, get in gets.items():
            await get()
            began = time.process_time()
            for _ in range(count):
                await get()
            spent[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def measure_decoding(body: bytes, count: int, rounds: int) -> float:
    """Return the ratio of a strict, eager decode to bare orjson.loads."""
    codec = Codec()
    spent: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(10 * count):
            orjson.loads(body)
        middle = time.process_time()
        for _ in range(10 * count):
            codec.decode(body, BatchInferenceJob, required=("name", "state"))
        spent["bare"].append(middle - began)
        spent["ours"].append(time.process_time() - middle)
    return statistics.median(spent["ours"]) / statistics.median(spent["bare"])


def measure_import(rounds: int) -> float:
    """Return the ratio of the least times to import this library and aiohttp."""
    least = {"fireworks_batch": float("inf"), "aiohttp": float("inf")}
    for _ in range(rounds):
        for name in least:
            least[name] = min(least[name], time_of_import(name))
    return least["fireworks_batch"] / least["aiohttp"]


def time_of_import(name: str) -> float:
    """Time one fresh process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True, env=os.environ)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
