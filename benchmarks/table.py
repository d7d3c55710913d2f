"""What the benchmarks share: rounds taken in turns, ratios with their spread, goals, a verdict.

A figure is a ratio of two things measured side by side in one run, so that the machine and what
else it does touch both alike. Each benchmark takes `--tenth`, the size for CI, and exits with 1
if a figure is more than three times its goal: what lies between may be the machine's noise, and is
shown as MISSED.
"""

import argparse
import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

FAR_OFF = 3.0
SUPPORT = Path(__file__).parents[1] / "tests" / "support"

Sampler: TypeAlias = Callable[[], Awaitable[float]]
"""Measures something once, and returns the seconds that it took."""


@attrs.frozen
class Row:
    """A figure, and what it should be."""

    name: str
    """What is compared."""

    goal: float
    """The figure at most."""

    figure: float | None
    """None if it was not measured."""

    quartiles: tuple[float, float] | None = None
    """Between which half of the rounds lie."""

    remark: str = ""
    """Why there is no figure."""

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.figure is None:
            return f"not measured: {self.remark}"
        return "kept" if self.figure <= self.goal else "FAR OFF" if self.is_far_off else "MISSED"

    @property
    def is_far_off(self) -> bool:
        """Whether it is worse than noise would explain."""
        return self.figure is not None and self.figure > FAR_OFF * self.goal


def by_median(name: str, goal: float, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """Compare the two samples of each round, and take the median of these ratios."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Row(name, goal, statistics.median(ratios), _quartiles(ratios))


def by_least(name: str, goal: float, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """Compare the least samples: for what can only be slowed down, as the start of a process."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Row(name, goal, min(ours) / min(theirs), _quartiles(ratios))


def _quartiles(ratios: Sequence[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, high


def ask_for_size(doc: str | None) -> float:
    """Read the command line, and return the share of the full size to measure."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--tenth", action="store_true", help="the size for CI")
    return 0.1 if parser.parse_args().tenth else 1.0


def support(name: str) -> Any:
    """Import a module that stands with the tests."""
    if str(SUPPORT) not in sys.path:
        sys.path.insert(0, str(SUPPORT))  # before a benchmark of that name
    return importlib.import_module(name)


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


def show(rows: Sequence[Row]) -> int:
    """Print each figure beside its goal, last of all those far off, and return the exit code."""
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs")
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}} {'figure':>7} {'half of the rounds':>19} {'goal':>7}")
    for row in rows:
        figure = "" if row.figure is None else f"{row.figure:.2f}"
        spread = "" if row.quartiles is None else "{:.2f} to {:.2f}".format(*row.quartiles)
        print(f"{row.name:{width}} {figure:>7} {spread:>19} {row.goal:7.2f}  {row.verdict}")
    far = [f"{row.name}: {row.figure:.2f} (goal {row.goal:.2f})" for row in rows if row.is_far_off]
    if far:
        print(f"FAR OFF: {', '.join(far)}")
    return int(bool(far))
