"""What the benchmarks share: rounds taken in turns, ratios with their spread, goals, a table.

Most figures are ratios of two things that are measured side by side in one run, so that the machine
and what else it does touch both alike. `figures.toml` says of each figure what it compares, its
goal, and what it means. A benchmark is a script with a coroutine that takes the share of the full
size and returns a `Report`; `main` runs it, prints its table, and writes JSON if asked to.
"""

import argparse
import asyncio
import importlib
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import attrs

HERE = Path(__file__).parent
SUPPORT = HERE.parent / "tests" / "support"
KNOWN = HERE / "known.json"
WORSE = 1.15
MIB = 1024 * 1024

Sampler: TypeAlias = Callable[[], Awaitable[float]]
"""Measures something once, and returns the seconds that it took."""


@attrs.frozen
class Goal:
    """A figure of `figures.toml`."""

    title: str
    """What is compared with what."""

    goal: float
    """The figure at most."""

    means: str
    """What the figure means to a user."""

    best: str
    """The physical limit, or the best alternative."""

    unit: str = ""
    """The unit; a ratio has none."""

    missed: str = ""
    """Why the goal is missed, if it is."""

    memory: bool = False
    """Whether the figure is about memory."""


@attrs.frozen
class Figure:
    """A figure that was measured."""

    key: str
    """The script and the name, as in `figures.toml`."""

    value: float | None
    """None if it was not measured."""

    quartiles: tuple[float, float] | None = None
    """Between which half of the rounds lie."""

    remark: str = ""
    """Why there is no value."""

    @property
    def goal(self) -> Goal:
        """What is said of it."""
        return goals()[self.key]

    @property
    def verdict(self) -> str:
        """Whether the goal is kept."""
        if self.value is None:
            return f"not measured: {self.remark}"
        return "kept" if self.value <= self.goal.goal else "MISSED"

    @property
    def change(self) -> str:
        """Whether the figure is worse than in earlier runs at a tenth of the size."""
        if self.value is None:
            return f"not measured: {self.remark}"
        known = known_figures().get(self.key)
        if known is None:
            return "not known"
        return "WORSE" if self.value > known.limit else "as known"


@attrs.frozen
class Report:
    """What a benchmark measured."""

    figures: list[Figure]

    plots: dict[str, Any] = attrs.field(factory=dict)
    """What the pictures are drawn from."""


@attrs.frozen
class Known:
    """What a figure was in earlier runs at a tenth of the size."""

    values: list[float]
    """The lowest value first."""

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def limit(self) -> float:
        """The highest value that is not worse."""
        return WORSE * self.median

    def __str__(self) -> str:
        """Say between which values the runs lie."""
        return f"{self.values[0]:.3g} to {self.values[-1]:.3g}"


@cache
def known_figures() -> dict[str, Known]:
    """Read what each figure was in earlier runs on a machine like this one, by script and name."""
    if not KNOWN.exists():
        return {}
    members = json.loads(KNOWN.read_text("utf-8"))
    if members["machine"] != machine():
        print(f"known.json tells of {members['machine']}; this is {machine()}")
        return {}
    return {key: Known(each) for key, each in members["figures"].items()}


def machine() -> str:
    """Say what kind of machine this is. Ratios of two programs are other ones on another CPU."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    models = set(re.findall(r"^model name\s*: (.+)$", text, re.MULTILINE)) or {platform.processor()}
    return f"{', '.join(sorted(models))}, {platform.machine()}, {os.cpu_count()} CPUs"


@cache
def goals() -> dict[str, Goal]:
    """Read what is said of each figure, by script and name."""
    tables = tomllib.loads((HERE / "figures.toml").read_text("utf-8"))
    return {
        f"{script}.{name}": Goal(**words)
        for script, figures in tables.items()
        for name, words in figures.items()
    }


def key_of(name: str) -> str:
    """Return the key of a figure of the script that runs."""
    return f"{Path(sys.argv[0]).stem}.{name}"


def by_median(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Compare the two samples of each round, and take the median of these ratios."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Figure(key_of(name), statistics.median(ratios), _quartiles(ratios))


def by_least(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Compare the least samples: for what can only be slowed down, as the start of a process."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Figure(key_of(name), min(ours) / min(theirs), _quartiles(ratios))


def single(name: str, value: float) -> Figure:
    """Take a figure that was measured once, or that chance cannot change."""
    return Figure(key_of(name), value)


def unmeasured(name: str, remark: str) -> Figure:
    """Say why there is no figure."""
    return Figure(key_of(name), None, remark=remark)


def _quartiles(ratios: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, high


# --- Measuring ----------------------------------------------------------------------------------


async def interleave(samplers: Mapping[str, Sampler], rounds: int) -> dict[str, list[float]]:
    """Return the samples of each, one a round, in an order that turns round by round."""
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    order = list(samplers)
    for _ in range(rounds):
        for name in order:
            samples[name].append(await samplers[name]())
        order.reverse()
    return samples


def cpu_of(step: Callable[[], Awaitable[Any]], count: int) -> Sampler:
    """Return a sampler of this process's CPU time for so many steps, after one to warm up."""

    async def sample() -> float:
        await step()
        began = time.process_time()
        for _ in range(count):
            await step()
        return time.process_time() - began

    return sample


def cpu_of_process(command: Sequence[str]) -> Sampler:
    """Return a sampler of the CPU time of a fresh process, from its start to its exit."""

    async def sample() -> float:
        began = _cpu_of_children()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return _cpu_of_children() - began

    return sample


def _cpu_of_children() -> float:
    """Return what all processes that were waited for have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def most_memory() -> float:
    """Return the most MiB that this process ever had in memory."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there includes the parent's, from before the exec
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
        if found is not None:
            return int(found[1]) / 1024
    unit = MIB if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def emulator(*options: str) -> Iterator[str]:
    """Run the emulator in a process of its own; yields its base URL."""
    with serving([sys.executable, "-m", "fireworks_batch.emulator", *options]) as base_url:
        yield base_url


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """Run a server that says its base URL first of all; yields that URL."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def support(name: str) -> Any:
    """Import a module that stands with the tests."""
    if str(SUPPORT) not in sys.path:
        sys.path.insert(0, str(SUPPORT))  # before a benchmark of that name
    return importlib.import_module(name)


# --- The end ------------------------------------------------------------------------------------


def main(doc: str | None, measure: Callable[[float], Coroutine[Any, Any, Report]]) -> int:
    """Read the command line, measure, and show and write the figures."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--tenth", action="store_true", help="the size for CI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    options = parser.parse_args()
    report = asyncio.run(measure(0.1 if options.tenth else 1.0))
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs")
    (show_known if options.tenth else show)(report.figures)
    if options.json:
        options.json.write_text(json.dumps(attrs.asdict(report), indent=1) + "\n", "utf-8")
    return 0


def show(figures: Sequence[Figure]) -> None:
    """Print each figure beside its goal."""
    width = max(len(one.goal.title) for one in figures)
    print(f"{'':{width}} {'figure':>8} {'half of the rounds':>19} {'goal':>8}")
    for one in figures:
        spread = "" if one.quartiles is None else "{:.2f} to {:.2f}".format(*one.quartiles)
        goal = f"{one.goal.goal:g} {one.goal.unit}".strip()
        print(f"{one.goal.title:{width}} {_digits(one)} {spread:>19} {goal:>8}  {one.verdict}")


def show_known(figures: Sequence[Figure]) -> None:
    """Print each figure beside those of earlier runs at a tenth of the size."""
    width = max(len(one.goal.title) for one in figures)
    print(f"{'':{width}} {'figure':>8} {'known':>15} {'limit':>7}")
    for one in figures:
        known = known_figures().get(one.key)
        range_and_limit = "" if known is None else f"{known} {known.limit:7.3g}"
        print(f"{one.goal.title:{width}} {_digits(one)} {range_and_limit:>23}  {one.change}")


def _digits(figure: Figure) -> str:
    return f"{'' if figure.value is None else format(figure.value, '.3g'):>8}"
