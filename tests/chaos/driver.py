"""Plays cases: one, or all kinds for a time on every processor, and adds up."""

import faulthandler
import importlib
import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import attrs

from chaos import LASTING
from chaos.invariants import Case

HANGS = 600.0
"""After how many seconds a case has hung: its process is ended, and tells where it was."""

_SHOWN = 10


def play(kind: str, seed: int, seconds: float | None = None) -> Case:
    """Play one case; for so many seconds, if it is of a kind that lasts."""
    module = importlib.import_module(f"chaos.{kind}")
    is_told = kind in LASTING and seconds is not None
    case: Case = module.play(seed, seconds) if is_told else module.play(seed)
    return case


@attrs.define
class Tally:
    """What the cases of a kind add up to."""

    cases: int = 0
    faults: int = 0
    bytes: int = 0
    seconds: float = 0.0
    first: int = 0
    last: int = 0
    violations: list[tuple[int, str]] = attrs.field(factory=list)
    """The seed, and what must not be."""


@attrs.frozen
class Played:
    kind: str
    seed: int
    faults: int = 0
    bytes: int = 0
    seconds: float = 0.0
    violations: tuple[str, ...] = ()


def _played(kind: str, seed: int, seconds: float) -> Played:
    """Play a case in a process of the pool."""
    faulthandler.dump_traceback_later(HANGS + seconds, exit=True)
    begun = time.monotonic()
    try:
        case = play(kind, seed, seconds)
    except Exception as error:  # noqa: BLE001  # a fault of the kind is a finding too
        return Played(kind, seed, violations=(f"the kind itself: {error!r}",))
    finally:
        faulthandler.cancel_dump_traceback_later()
    seconds = time.monotonic() - begun
    return Played(kind, seed, case.faults, case.volume, seconds, tuple(case.violations))


class Long:
    """Plays kinds for a time; each kind gets the same share of the processors' time."""

    def __init__(self, kinds: tuple[str, ...], first: int) -> None:
        self.first = first
        self.tallies = {kind: Tally(first=first, last=first - 1) for kind in kinds}
        self.seconds = 0.0
        self._share = 0.0
        self._under_way: dict[Future[Played], tuple[str, int]] = {}

    def play(self, seconds: float) -> None:
        """Play cases until the time is over, and wait for those under way."""
        begun = time.monotonic()
        self._share = seconds * min(1.0, (os.cpu_count() or 1) / len(self.tallies))
        while time.monotonic() < begun + seconds:
            processes = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(os.cpu_count(), mp_context=processes) as pool:
                try:
                    self._feed(pool, begun + seconds)
                except BrokenProcessPool:
                    self._lose()
        self.seconds = time.monotonic() - begun

    def _feed(self, pool: ProcessPoolExecutor, end: float) -> None:
        at_once = os.cpu_count() or 1
        while self._under_way or time.monotonic() < end:
            while len(self._under_way) < at_once and time.monotonic() < end:
                kind, seed = self._next()
                share = min(self._share, end - time.monotonic())
                self._under_way[pool.submit(_played, kind, seed, share)] = kind, seed
            for future in wait(self._under_way, return_when=FIRST_COMPLETED).done:
                played = future.result()
                del self._under_way[future]
                self._add(played)

    def _next(self) -> tuple[str, int]:
        """Choose the kind that has had the least time, cases under way counted at the average."""

        def cost(kind: str) -> float:
            tally = self.tallies[kind]
            begun = tally.last - tally.first + 1
            if kind in LASTING:
                return begun * self._share
            return tally.seconds / max(tally.cases, 1) * begun if tally.cases else begun * 1e-3

        kind = min(self.tallies, key=cost)
        tally = self.tallies[kind]
        tally.last += 1
        return kind, tally.last

    def _add(self, played: Played) -> None:
        tally = self.tallies[played.kind]
        tally.cases += 1
        tally.faults += played.faults
        tally.bytes += played.bytes
        tally.seconds += played.seconds
        for text in played.violations:
            tally.violations.append((played.seed, text))
            print(f"{played.kind} {played.seed}: {text.splitlines()[0]}", flush=True)

    def _lose(self) -> None:
        """Note the cases whose process died: one of them killed it."""
        for kind, seed in self._under_way.values():
            died = "its process died, or that of a case beside it"
            self._add(Played(kind, seed, violations=(died,)))
        self._under_way.clear()

    def table(self) -> str:
        """Give the sums, a kind a line, and the command for each seed that broke something."""
        lines = [f"{'kind':12} {'cases':>8} {'faults':>9} {'MB':>9} {'violations':>10}  seeds"]
        for kind, it in self.tallies.items():
            lines.append(
                f"{kind:12} {it.cases:8} {it.faults:9} {it.bytes / 1e6:9.1f}"
                f" {len(it.violations):10}  {it.first} to {it.last}"
            )
        broken = {(kind, seed) for kind, it in self.tallies.items() for seed, _ in it.violations}
        lines += [f"play it again: {Case(*each).command}" for each in sorted(broken)[:_SHOWN]]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write the sums as JSON. In a file that exists, other kinds stay as they are."""
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "aiohttp": aiohttp.__version__,
            "system": platform.system(),
        }
        for kind, tally in self.tallies.items():
            found[kind] = {**about, **attrs.asdict(tally)}
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    @property
    def is_clean(self) -> bool:
        """Whether there was no violation."""
        return not any(tally.violations for tally in self.tallies.values())


def play_one(kind: str, seed: int, seconds: float) -> int:
    """Play a case, and tell its story."""
    faulthandler.dump_traceback_later(HANGS + seconds, exit=True, file=sys.stderr)
    case = play(kind, seed, seconds)
    faulthandler.cancel_dump_traceback_later()
    print(case.tell())
    return 1 if case.violations else 0
