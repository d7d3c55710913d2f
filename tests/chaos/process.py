"""Harm to a process: signals at any moment, streams that fail, limits, odd environments.

A process runs requests to results, by the command line or by a program, against an emulator in this
process. Whatever happens to it, it ends soon, with an exit code that is documented and without a
traceback; and the same call afterwards, without harm, ends well: with the same jobs, each row run
once, the whole output, and nothing left in the temporary directory.
"""

import asyncio
import importlib.util
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs

from chaos import victim
from chaos.invariants import KEY, Case, run
from fireworks_batch.emulator import Emulator

CASES = 6
ROWS: Final = [f"r{number}" for number in range(2 * victim.SHARD)]
SPEED: Final = 6000.0
PATIENCE: Final = 60.0
"""Seconds within which a process has ended, on a machine that has much to do."""

SOON: Final = 20.0
"""Seconds within which a process ends after a signal."""

WITHOUT_MANNERS: Final = re.compile(
    r"Traceback|was never (awaited|retrieved|closed)|Task was destroyed|Unclosed|ResourceWarning|"
    r"Exception ignored|Fatal Python error|DeprecationWarning|RuntimeWarning"
)
CODES: Final = {0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 141}
"""Of the command line, as its documentation has them."""


def play(seed: int) -> Case:
    """Play a case."""
    case = Case("process", seed)
    if os.name == "posix":
        run(case, lambda: _scenario(case))
    return case


# --- What is drawn --------------------------------------------------------------------------------


@attrs.define(kw_only=True)
class Harm:
    """What happens to a process."""

    program: str
    """`cli`, or one of `victim.HOWS`."""

    flags: tuple[str, ...] = ()
    """Of the interpreter."""

    environment: Mapping[str, str | None] = attrs.field(factory=dict)
    """Variables; None is one that is absent."""

    shell: str = ""
    """What a shell does before it becomes the process: limits, and where the streams lead."""

    signals: tuple[signal.Signals, ...] = ()
    """Sent one after the other, `PAUSE` apart."""

    after_requests: int | None = None
    """The number of requests after which the first signal comes; None is `after_seconds`."""

    after_seconds: float = 0.0

    def __str__(self) -> str:
        when = (
            f"after {self.after_seconds:.3f} s"
            if self.after_requests is None
            else f"after request {self.after_requests}"
        )
        names = " ".join(each.name for each in self.signals)
        what = f"{names} {when}" if names else "no signal"
        return f"{self.program} {self.flags} {self.environment} {self.shell!r}, {what}"


FLAGS: Final = ((), (), ("-X", "dev", "-W", "error"), ("-OO",), ("-X", "utf8=0"), ("-bb",))
ENVIRONMENTS: Final[tuple[Mapping[str, str | None], ...]] = (
    {},
    {},
    {"HOME": None},
    {"HOME": "/nonexistent"},
    {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"},
    {"http_proxy": "http://user:pw@127.0.0.1:9", "no_proxy": "127.0.0.1"},
    {"TERM": "dumb", "COLUMNS": "0", "LINES": "x"},
    {"TZ": "Nowhere/Nothing"},
    {"PYTHONASYNCIODEBUG": "1"},
    {"PATH": ""},
)
STREAMS: Final = (
    "",
    ">/dev/full",
    "2>/dev/full",
    ">/dev/full 2>&1",
    ">&-",
    "2>&-",
    "<&-",
    "<&- >&- 2>&-",
    "| head -n 1 >/dev/null",
    "| true",
)
SIGNALS: Final = (
    (signal.SIGINT,),
    (signal.SIGTERM,),
    (signal.SIGKILL,),
    (signal.SIGKILL,),
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGINT, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGKILL),
    (signal.SIGHUP,),
    (signal.SIGSTOP, signal.SIGCONT),
)
ASKING: Final = {signal.SIGINT, signal.SIGTERM}
"""Signals that the command line handles."""

PAUSE: Final = 0.05
LIMITS: Final = ("ulimit -n 40", "ulimit -n 24", "ulimit -n 14", "ulimit -f 0", "ulimit -f 4")


def _draw(random: Random) -> Harm:
    program = random.choice(("cli", "cli", "cli", random.choice(victim.HOWS)))
    if program == "uvloop" and importlib.util.find_spec("uvloop") is None:
        program = "plain"
    harm = Harm(program=program)
    match random.randrange(5):
        case 0 | 1:
            harm.signals = random.choice(SIGNALS)
            if random.random() < 0.6:
                harm.after_requests = random.randrange(24)
            else:
                harm.after_seconds = random.uniform(0.0, 3.0)
        case 2:
            harm.shell = f'exec "$@" {random.choice(STREAMS)}'
            if "|" in harm.shell:
                harm.shell = harm.shell.removeprefix("exec ")
        case 3:
            harm.shell = f'{random.choice(LIMITS)}; exec "$@"'
        case _:
            pass
    harm.flags = random.choice(FLAGS)
    harm.environment = random.choice(ENVIRONMENTS)
    return harm


# --- The processes --------------------------------------------------------------------------------


@attrs.frozen
class Ended:
    """How a process ended."""

    code: int
    out: bytes
    err: bytes


class Server:
    """An emulator, and what it saw."""

    def __init__(self) -> None:
        self.billed: Counter[str] = Counter()
        self.emulator = Emulator(
            speed=SPEED, api_key=KEY, account_id="acme", responder=self._respond
        )

    def _respond(self, custom_id: str, body: Mapping[str, Any]) -> str:
        self.billed[custom_id] += 1
        return f"answer to {body['messages'][-1]['content']}"

    @property
    def count(self) -> int:
        """How many requests there were."""
        return len(self.emulator.requests())

    @property
    def jobs(self) -> list[str]:
        """Give the ids under which jobs were asked for, a request each, those answered 200."""
        return [
            each.query["batchInferenceJobId"]
            for each in self.emulator.requests()
            if each.method == "POST"
            and each.path.endswith("/batchInferenceJobs")
            and each.status == 200
        ]


async def _scenario(case: Case) -> None:
    harm = _draw(case.random)
    case.say(str(harm))
    case.faults = 1
    rows = [
        {"custom_id": row, "body": {"messages": [{"role": "user", "content": row}]}} for row in ROWS
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (case.directory / "rows.jsonl").write_text(text, encoding="utf-8")
    server = Server()
    async with server.emulator:
        ended = await _process(case, server, harm)
        before = len(server.jobs)
        _check_end(case, harm, ended, is_begun=server.count > 0)
        again = await _process(case, server, Harm(program=harm.program))
        if again.code != 0:
            case.violate(f"the same call again ended with {again.code}: {again.err.decode()}")
        else:
            _check_output(case)
        case.say(f"{before} jobs at first, {len(server.jobs)} in the end, {server.count} requests")
        case.once("jobs", server.jobs)
        if len(server.jobs) != _shards(harm):
            case.violate(f"jobs: {server.jobs}")
        wrong = {row: count for row in ROWS if (count := server.billed[row]) != 1}
        if wrong:
            case.violate(f"rows were not run once: {wrong}")


def _shards(harm: Harm) -> int:
    return 1 if harm.program == "cli" else 2


async def _process(case: Case, server: Server, harm: Harm) -> Ended:
    """Run a process to its end."""
    directory = case.directory
    program: tuple[object, ...] = (victim.__file__, harm.program, directory)
    if harm.program == "cli":
        files = ("--output", directory / "output.jsonl", "--errors", directory / "errors.jsonl")
        name = ("--model", victim.MODEL, "--name", "chaos")
        program = ("-m", "fireworks_batch.cli", "run", directory / "rows.jsonl", *name, *files)
    command = [sys.executable, *harm.flags, *map(str, program)]
    if harm.shell:
        command = ["sh", "-c", harm.shell, "sh", *command]
    environment: dict[str, str | None] = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "TMPDIR": str(directory / "temporary"),
        "FIREWORKS_API_KEY": KEY,
        "FIREWORKS_ACCOUNT_ID": "acme",
        "FIREWORKS_BASE_URL": server.emulator.base_url,
        "FIREWORKS_BATCH_TIME_SCALE": str(1 / SPEED * 10),
        "PYTHONDONTWRITEBYTECODE": "1",
        **harm.environment,
    }
    if harm.shell:
        environment["PATH"] = os.environ["PATH"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in environment.items() if value is not None},
        cwd=directory,
    )
    strike = asyncio.create_task(_strike(server, harm, process)) if harm.signals else None
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        case.violate(f"the process has not ended within {PATIENCE} s")
        process.kill()
        out, err = await process.communicate()
    finally:
        if strike is not None:
            strike.cancel()
            await asyncio.wait([strike])
    if strike is not None and not strike.cancelled() and strike.exception():
        case.violate(str(strike.exception()))
    ended = Ended(process.returncode or 0, out, err)
    case.say(f"ended with {ended.code}: {err[-2000:].decode(errors='replace')}")
    case.keeps_key("stdout", out)
    case.keeps_key("stderr", err)
    return ended


async def _strike(server: Server, harm: Harm, process: asyncio.subprocess.Process) -> None:
    if harm.after_requests is None:
        await asyncio.sleep(harm.after_seconds)
    else:
        while server.count <= harm.after_requests:
            await asyncio.sleep(0.001)
    for number in harm.signals:
        if process.returncode is None:
            process.send_signal(number)
            await asyncio.sleep(PAUSE)
    await asyncio.sleep(PATIENCE if harm.signals[-1] == signal.SIGCONT else SOON)
    process.kill()
    raise RuntimeError(f"the process has not ended {SOON} s after its signal")


# --- What must be true ----------------------------------------------------------------------------


def _check_end(case: Case, harm: Harm, ended: Ended, *, is_begun: bool) -> None:
    text = ended.err.decode(errors="replace")
    if harm.program != "cli":
        return  # a program of somebody's own may end with a traceback
    if ended.code < 0:
        # Before the program is there, a signal ends the interpreter; a second one may at any time.
        is_handled = is_begun and harm.signals[:2] in {(number,) for number in ASKING}
        if -ended.code not in harm.signals or is_handled:
            case.violate(f"killed by signal {-ended.code}")
        return
    if ended.code not in CODES:
        case.violate(f"exit code {ended.code}")
    if harm.signals and ended.code not in ({0, 130} if ASKING & {*harm.signals} else {0}):
        case.violate(f"exit code {ended.code} after a signal")
    is_python_itself = "<frozen" in text and not is_begun
    found = WITHOUT_MANNERS.search(text)
    if found and not is_python_itself:
        case.violate(f"{found[0]} on stderr:\n{text[-3000:]}")
    if not (harm.signals or harm.shell) and ended.code:
        case.violate(f"exit code {ended.code}, by nothing but {harm}")


def _check_output(case: Case) -> None:
    path = case.directory / "output.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    if [row["custom_id"] for row in rows] != ROWS:
        case.violate(f"the output has {[row['custom_id'] for row in rows]}")
    for row in rows:
        if f"answer to {row['custom_id']}" not in json.dumps(row):
            case.violate(f"another row's answer: {row}")
    known = {"rows.jsonl", "output.jsonl", "errors.jsonl", "temporary"}
    left = {each.name for each in Path(case.directory).iterdir()} - known
    if left:
        case.violate(f"files are left: {sorted(left)}")
