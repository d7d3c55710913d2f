"""Run all benchmarks, one after the other, and end with one table of their figures.

At full size, the courses and the crashes are played too. `measured.json` is written then, from
which `page.py` makes the page of the documentation. `--tenth` is the size for CI. Each figure is
then compared with `known.json`, which has the values of ten runs at that size: a figure that is
more than 1.15 times their median is worse. A script with such a figure runs again, up to five
times, because the machine may have been busy. Then the median of these runs counts. So a regression
of 30 % is seen, and noise is not. `--know 10` makes `known.json`, for machines of one kind.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from figures import (
    HERE,
    KNOWN,
    Figure,
    Known,
    Report,
    known_figures,
    machine,
    show,
    show_known,
)

FIGURES = (
    "cli_start",
    "end_to_end",
    "fleet",
    "get_job",
    "growth",
    "polling",
    "results",
    "submission",
    "transfer",
)
PROOFS = ("courses", "crashes")
TRIES = 5
MEASURED = HERE / "measured.json"


class ScriptFailedError(Exception):
    """A script ended with another exit code than 0."""


def main() -> int:
    """Run what is asked for, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tenth", action="store_true", help="the size for CI")
    size.add_argument("--know", type=int, metavar="TIMES", help="run a tenth so often: known.json")
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES], help="with --know: which ones")
    options = parser.parse_args()
    try:
        if options.know:
            return know(options.know, options.names or FIGURES)
        return tenth() if options.tenth else prove()
    except ScriptFailedError as error:
        print(f"FAILED: {error}")
        return 1


def run(name: str, *options: str) -> None:
    """Run a script, and show what it prints."""
    print(f"== {name}", flush=True)
    last = ""
    command = [sys.executable, str(HERE / f"{name}.py"), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise ScriptFailedError(f"{name} ({process.returncode}): {last}")


def measure(name: str, *options: str) -> Report:
    """Run a benchmark, and return what it measured."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "report.json")
        run(name, *options, "--json", str(path))
        return report_from(json.loads(path.read_text("utf-8")))


def report_from(members: Mapping[str, Any]) -> Report:
    """Read a report from JSON."""
    return Report([Figure(**each) for each in members["figures"]], members["plots"])


# --- At full size -------------------------------------------------------------------------------


def prove() -> int:
    """Run everything at full size, and write what was measured."""
    reports = {name: measure(name) for name in FIGURES}
    members = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "reports": {name: attrs.asdict(report) for name, report in reports.items()},
    }
    MEASURED.write_text(json.dumps(members, indent=1) + "\n", "utf-8")
    for name in PROOFS:
        run(name)
    print("== all figures")
    show([one for report in reports.values() for one in report.figures])
    return 0


# --- At a tenth ---------------------------------------------------------------------------------


def tenth() -> int:
    """Run the benchmarks at a tenth, and say which figures are worse than before."""
    found: list[Figure] = []
    for name in FIGURES:
        tries = [measure(name, "--tenth").figures]
        while is_worse(figures := medians(tries)) and len(tries) < TRIES:
            print("A figure is worse: once more.")
            tries.append(measure(name, "--tenth").figures)
        found += figures
    print("== all figures")
    show_known(found)
    return int(is_worse(found))


def is_worse(figures: Sequence[Figure]) -> bool:
    """Return whether a figure is worse than in earlier runs."""
    return any(one.change == "WORSE" for one in figures)


def medians(tries: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return the median of each figure; of an even number of runs, the better one in the middle."""
    return [
        sorted(each, key=lambda one: math.inf if one.value is None else one.value)[
            (len(each) - 1) // 2
        ]
        for each in zip(*tries, strict=True)
    ]


def know(times: int, names: Sequence[str]) -> int:
    """Run benchmarks at a tenth so often, and note what their figures were."""
    others = {
        key: each for key, each in known_figures().items() if key.partition(".")[0] not in names
    }
    values: dict[str, list[float]] = {}
    for number in range(1, times + 1):
        for name in names:
            for one in measure(name, "--tenth").figures:
                if one.value is not None:
                    values.setdefault(one.key, []).append(one.value)
        known = others | {key: Known(sorted(each)) for key, each in values.items()}
        KNOWN.write_text(known_text(known), "utf-8")
        print(f"== after {number} of {times} runs")
        for key in values:
            low, high = known[key].values[0], known[key].values[-1]
            print(f"{key:40} {known[key]!s:>20} {f'{high / low - 1:.0%}' if low else '-':>6}")
    return 0


def known_text(known: Mapping[str, Known]) -> str:
    """Return the content of `known.json`, with a line for each figure."""
    lines = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps([round(value, 4) for value in each.values])}"
        for key, each in sorted(known.items())
    )
    return f'{{\n "machine": {json.dumps(machine())},\n "figures": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    sys.exit(main())
