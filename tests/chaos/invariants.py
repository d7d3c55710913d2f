"""What must be true in every case, whatever its kind.

1. Every call ends within its deadline, with an answer or a `FireworksBatchError`.
2. Nothing is left: no task, timer, socket, file, thread or warning.
3. The key is nowhere: not in an error, a traceback's text, a log, a story or a file.
4. Memory is bounded.

What a kind knows about its own server (no second job, no row lost or doubled, no outcome of
another job) is checked by `once`, `same_rows` and `is_of`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import attrs

from fireworks_batch import FireworksBatchError

__all__ = ["KEY", "Case", "run"]

KEY = "fw_thisKeyMustBeNowhere7f3a"
"""The key of every client in a case."""

MEMORY = 160 * 1024 * 1024
"""By how many bytes a case may grow the process, at its highest. A line of results may be of any
length, since it was paid for: it is in memory some three times while it is read."""

_TURNS = 100
"""For how many milliseconds what is being closed may still be there."""


@attrs.define
class Case:
    """A case: what is drawn from its seed, what happened, and what must not have."""

    kind: str
    seed: int
    random: Random = attrs.field(init=False, repr=False)
    story: list[str] = attrs.field(factory=list, repr=False)
    violations: list[str] = attrs.field(factory=list)
    faults: int = 0
    """How much harm was done."""

    volume: int = 0
    """How many bytes went through, or came from, what does the harm."""

    directory: Path = attrs.field(factory=Path)
    """An empty directory of the case, while it runs."""

    _begun: float = attrs.field(factory=time.monotonic, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(f"{self.kind} {self.seed}")

    @property
    def command(self) -> str:
        """The command that plays the case again."""
        return f"python tests/chaos {self.kind} --seed {self.seed}"

    def say(self, text: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{time.monotonic() - self._begun:7.3f} {text}")

    def violate(self, text: str) -> None:
        """Note what must not be."""
        self.violations.append(text)
        self.say(f"VIOLATION: {text}")

    def tell(self) -> str:
        """Give the story as a text, with the command that plays the case again."""
        return "\n".join([*self.story, "", *self.violations, "", f"play it again: {self.command}"])

    # --- What must be true ------------------------------------------------------------------------

    async def ends(self, what: str, call: Awaitable[Any], *, within: float) -> Any:
        """Await a call; it must end within so many seconds, with an answer or one of our errors.

        Returns:
            The answer, or the error; None after a violation.
        """
        task = asyncio.ensure_future(call)
        begun = time.monotonic()
        await asyncio.wait([task], timeout=within)
        if not task.done():
            self.violate(f"{what}: has not ended within {within} s")
            for each in asyncio.all_tasks():
                self.say(f"  {each.get_name()}: {' > '.join(_awaited(each.get_coro()))}")
            task.cancel()
            await asyncio.wait([task], timeout=within)
            return None
        seconds = time.monotonic() - begun
        if task.cancelled():
            self.violate(f"{what}: was cancelled by itself")
            return None
        error = task.exception()
        if error is None:
            self.say(f"{what}: {_short(task.result())}, after {seconds:.3f} s")
            return task.result()
        self.say(f"{what}: {type(error).__name__}: {_short(error)}, after {seconds:.3f} s")
        self.raised(what, error)
        return error

    def raised(self, what: str, error: BaseException) -> None:
        """Look at an error that a call raised: its type, and all that it says."""
        if not isinstance(error, FireworksBatchError):
            text = "".join(traceback.format_exception(error))
            self.violate(f"{what}: raised {type(error).__name__}: {error}\n{text}")
        for each in _chain(error):
            said = [repr(each), str(each), repr(getattr(each, "__dict__", "")), *_notes(each)]
            self.keeps_key(f"{type(each).__name__} of {what}", "\n".join(said))
        self.keeps_key(f"the traceback of {what}", "".join(traceback.format_exception(error)))

    def keeps_key(self, where: str, text: str | bytes) -> None:
        """Look for the key in a text."""
        key = KEY.encode() if isinstance(text, bytes) else KEY
        if key in text:  # type: ignore[operator]
            self.violate(f"the key is in {where}")

    def once(self, what: str, names: Iterable[str]) -> None:
        """Look for what is there more than once."""
        doubled = [name for name, count in Counter(names).items() if count > 1]
        if doubled:
            self.violate(f"{what}: more than once: {doubled[:5]}")

    def same_rows(self, what: str, found: Iterable[str], expected: Iterable[str]) -> None:
        """Compare rows with what they must be: none lost, none doubled, in any order."""
        there, wanted = Counter(list(found)), Counter(list(expected))
        if there != wanted:
            lost, foreign = list(wanted - there), list(there - wanted)
            self.violate(f"{what}: lost {lost[:5]}, doubled or foreign {foreign[:5]}")

    def is_of(self, what: str, found: object, expected: object) -> None:
        """Compare an answer's owner with the one that was asked about."""
        if found != expected:
            self.violate(f"{what}: is of {found!r}, asked was {expected!r}")


def _awaited(coroutine: Any) -> Iterator[str]:
    """Give the places where a coroutine, and those that it awaits, stand."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            yield repr(coroutine)[:200]
            return
        yield f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, BaseException) else str(value)
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


# --- Nothing is left ------------------------------------------------------------------------------


def run(
    case: Case,
    scenario: Callable[[], Awaitable[None]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    memory: int = MEMORY,
    time_scale: float = 1.0,
) -> None:
    """Play a scenario on a loop of its own, in a directory of its own, and see what it leaves.

    Args:
        case: Gets the story and the violations.
        scenario: What is played.
        loop_factory: Makes the loop.
        memory: By how many bytes the process may grow.
        time_scale: FIREWORKS_BATCH_TIME_SCALE: what takes an hour takes so many hours.
    """
    if case.story == []:
        case.say(f"{case.kind} {case.seed}")
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        _environment(name, time_scale),
        _no_warning(case),
        _no_key_in_logs(case),
        _bounded(case, memory),
        _same_files(case),
        _same_threads(case),
    ):
        case.directory = Path(name)
        before, tempfile.tempdir = tempfile.tempdir, str(case.directory / "temporary")
        (case.directory / "temporary").mkdir()
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(_watched(case, scenario))
        except Exception as error:  # noqa: BLE001  # any error is a finding
            text = "".join(traceback.format_exception(error))
            case.violate(f"{type(error).__name__}: {error}\n{text}")
        finally:
            tempfile.tempdir = before
        _look_into_files(case)


async def _watched(case: Case, scenario: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _told(case, context))
    own = asyncio.current_task()
    await scenario()
    left: list[str] = []
    for _ in range(_TURNS):
        left = [f"task {task.get_coro()!r}" for task in asyncio.all_tasks() if task is not own]
        left += [f"timer {timer!r}" for timer in _timers(loop)]
        if not left:
            return
        await asyncio.sleep(0.001)
    case.violate(f"left behind: {left[:5]}")


def _told(case: Case, context: dict[str, Any]) -> None:
    error = context.get("exception")
    text = "".join(traceback.format_exception(error)) if error else ""
    case.violate(f"told to the loop: {context.get('message')}: {error!r}\n{text}")


def _timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    """Give the timers that are set."""
    return [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]


@contextlib.contextmanager
def _environment(home: str, time_scale: float) -> Iterator[None]:
    """Keep the settings of the machine away from the case."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("FIREWORKS_") or name.upper().endswith("_PROXY"))
    }
    of_case = {"HOME": home, "FIREWORKS_BATCH_TIME_SCALE": str(time_scale)}
    with patch.dict(os.environ, {**kept, **of_case}, clear=True):
        yield


@contextlib.contextmanager
def _no_warning(case: Case) -> Iterator[None]:
    """Find warnings, and what is raised where nobody can catch it."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda it: case.violate(f"unraisable: {it.exc_value!r} in {it.object!r}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect()
        for each in caught:
            case.violate(f"{each.category.__name__}: {each.message} ({each.filename})")
    finally:
        sys.unraisablehook = hook


class _Ear(logging.Handler):
    def __init__(self, case: Case) -> None:
        super().__init__(logging.DEBUG)
        self._case = case

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {record.__dict__!r}"
        if record.exc_info:
            text += logging.Formatter().formatException(record.exc_info)
        self._case.keeps_key(f"a record of the log: {record.msg}", text)


@contextlib.contextmanager
def _no_key_in_logs(case: Case) -> Iterator[None]:
    ear, ours, every = _Ear(case), logging.getLogger("fireworks_batch"), logging.getLogger()
    level, propagate = ours.level, ours.propagate
    for log in (ours, every):
        log.addHandler(ear)
    ours.setLevel(logging.DEBUG)
    ours.propagate = False  # the thousands of records of a case are no part of its story
    try:
        yield
    finally:
        for log in (ours, every):
            log.removeHandler(ear)
        ours.setLevel(level)
        ours.propagate = propagate


@contextlib.contextmanager
def _bounded(case: Case, memory: int) -> Iterator[None]:
    """Find growth of the process; only Linux tells the highest size since a moment."""
    before = _peak(anew=True)
    yield
    grown = _peak() - before
    if grown > memory:
        case.violate(f"memory: {grown / 1e6:.0f} MB more, at most {memory / 1e6:.0f} MB allowed")


def _peak(*, anew: bool = False) -> int:
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def _same_files(case: Case) -> Iterator[None]:
    """Find descriptors that are open afterwards: files, sockets, pipes."""
    before = _descriptors()
    yield
    left = {number: name for number, name in _descriptors().items() if number not in before}
    if left:
        case.violate(f"left open: {left}")


def _descriptors() -> dict[int, str]:
    found = {}
    with contextlib.suppress(OSError):
        for path in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # the listing's own
                found[int(path.name)] = str(path.readlink())
    return found


@contextlib.contextmanager
def _same_threads(case: Case) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(1.0)
        if thread.is_alive():
            case.violate(f"left running: {thread!r}")


def _look_into_files(case: Case) -> None:
    """Find temporary files that are left, and the key in all files."""
    for path in sorted(case.directory.rglob("*")):
        if path.is_file():
            case.keeps_key(f"the file {path.name}", path.read_bytes())
        inner = path.relative_to(case.directory)
        if inner.parts[0] == "temporary" and len(inner.parts) > 1:
            case.violate(f"left in the temporary directory: {inner}")
