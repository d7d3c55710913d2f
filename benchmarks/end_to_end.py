"""A file of requests to a file of results: `client.run` beside a script on the vendor's SDK.

Both are processes of their own, measured from start to exit: imports count. The emulator is a
process too, a fresh one each time, whose jobs end as soon as their rows are answered. Both poll
every 50 ms. The vendor's script does the least that is honest (`scripts/with_vendor.py`); ours
also checks the requests, sends them under an id that makes a second call safe, and puts the
results into the order of the requests.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

from figures import Figure, Report, by_median, emulator, interleave, main, unmeasured

SIZES = {"small": 10_000, "large": 200_000}
KEY = "fw_benchmark"
SCRIPTS = Path(__file__).with_name("scripts")
TEXT = "Is this review positive or negative? The battery is good, the screen is not. " * 3


@attrs.frozen
class Cost:
    """What one process took."""

    wall: float
    """Seconds from its start to its exit."""

    cpu: float
    """Seconds of CPU, in user mode and in the kernel."""

    memory: float
    """The most that it had in memory, in the unit of the system."""


KINDS = [each.name for each in attrs.fields(Cost)]


async def measure(share: float) -> Report:
    """Return a figure for each size and kind of cost."""
    if not importlib.util.find_spec("fireworks"):
        names = [f"{size}-{kind}" for size in SIZES for kind in KINDS]
        return Report([unmeasured(name, "fireworks-ai is not installed") for name in names])
    rounds = {"small": int(12 * share) + 4, "large": int(4 * share) + 3}
    figures = [await compare(size, int(SIZES[size] * share), rounds[size]) for size in SIZES]
    return Report([one for each in figures for one in each])


async def compare(size: str, count: int, rounds: int) -> list[Figure]:
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
    return [
        by_median(
            f"{size}-{kind}",
            [getattr(cost, kind) for cost in ours],
            [getattr(cost, kind) for cost in vendor],
        )
        for kind in KINDS
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
    options = ("--api-key", KEY, "--account-id", "acme", "--speed", "1000000")
    with emulator(*options) as base_url:
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


if __name__ == "__main__":
    sys.exit(main(__doc__, measure))
