"""A file of requests to a file of results: `client.run` beside a script on the vendor's SDK.

Both are processes of their own, measured from start to exit: imports count. The emulator is a
process too, a fresh one each time, whose jobs end as soon as their rows are answered. Both poll
every 50 ms. The vendor's script does the least that is honest (`scripts/with_vendor.py`); ours
also checks the requests, sends them under an id that makes a second call safe, and puts the
results into the order of the requests.
"""

import asyncio
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from table import Row, ask_for_size, by_median, interleave, show

SIZES = (10_000, 200_000)
KEY = "fw_benchmark"
SCRIPTS = Path(__file__).with_name("scripts")
TEXT = "Is this review positive or negative? The battery is good, the screen is not. " * 3
GOALS = {"wall": 1.0, "CPU": 1.3, "memory": 1.3}


@attrs.frozen
class Cost:
    """What one process took."""

    wall: float
    """Seconds from its start to its exit."""

    cpu: float
    """Seconds of CPU, in user mode and in the kernel."""

    memory: float
    """The most that it had in memory, in the unit of the system."""


def main() -> int:
    """Run all of it, and print the table."""
    return show(asyncio.run(measure(ask_for_size(__doc__))))


async def measure(share: float) -> list[Row]:
    """Return a row for each goal and size."""
    if not importlib.util.find_spec("fireworks"):
        remark = "fireworks-ai is not installed"
        names = {
            f"{kind}, {int(size * share):,} requests": kind for size in SIZES for kind in GOALS
        }
        return [Row(name, GOALS[kind], None, remark=remark) for name, kind in names.items()]
    small, large = [int(size * share) for size in SIZES]
    return [*await compare(small, int(11 * share) + 6), *await compare(large, int(4 * share) + 5)]


async def compare(count: int, rounds: int) -> list[Row]:
    """Run both scripts in turns, and compare what they cost."""
    costs: dict[str, list[Cost]] = {"with_client": [], "with_vendor": []}
    with tempfile.TemporaryDirectory() as directory:
        requests = Path(directory, "requests.jsonl")
        write_requests(requests, count)

        async def sample(script: str) -> float:
            costs[script].append(cost_of(script, requests))
            return costs[script][-1].wall

        await interleave({each: functools.partial(sample, each) for each in costs}, rounds)
    ours, vendor = costs.values()
    figures = {
        "wall": ([each.wall for each in ours], [each.wall for each in vendor]),
        "CPU": ([each.cpu for each in ours], [each.cpu for each in vendor]),
        "memory": ([each.memory for each in ours], [each.memory for each in vendor]),
    }
    return [
        by_median(f"{kind}, {count:,} requests", GOALS[kind], *pair)
        for kind, pair in figures.items()
    ]


def write_requests(path: Path, count: int) -> None:
    """Write requests of some 300 bytes."""
    body = json.dumps({"messages": [{"role": "user", "content": TEXT}]})
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            f'{{"custom_id": "request-{number:09}", "body": {body}}}\n' for number in range(count)
        )


def cost_of(script: str, requests: Path) -> Cost:
    """Run a script on an emulator of its own."""
    output = requests.with_name("output.jsonl")
    with server() as base_url:
        command = [sys.executable, str(SCRIPTS / f"{script}.py"), base_url, KEY]
        command += [str(requests), str(output)]
        began = time.perf_counter()
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    output.unlink()
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


@contextmanager
def server() -> Iterator[str]:
    """Run the emulator in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "fireworks_batch.emulator", "--api-key", KEY]
    command += ["--account-id", "acme", "--speed", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
