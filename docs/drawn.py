"""What the documentation shows of the code: its tables, its poll machine, its rooms."""

import ast
import dataclasses
import inspect
import json
import tomllib
from argparse import HelpFormatter
from collections.abc import Iterable, Iterator
from functools import partial
from html import escape
from importlib import import_module
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import attrs
import typer

import fireworks_batch
from fireworks_batch import JobPhase, PollPolicy, typing
from fireworks_batch.cli.app import app
from fireworks_batch.cli.options import CommonOptions
from fireworks_batch.emulator.command import _parser as emulator_parser
from fireworks_batch.models.states import JOB_PHASES
from fireworks_batch.polling.machine import (
    Decision,
    Failure,
    FailureKind,
    PollAt,
    PollMachine,
    Seen,
)
from fireworks_batch.runs.chain import RULES

get_command = typer.main.get_command

POLICY = PollPolicy(jitter=0)
# The course of a job in seconds, and the polls that fail: each by the moment after which it is due.
COURSE = [("VALIDATING", 0), ("PENDING", 120), ("CREATING", 300), ("RUNNING", 420)]
END = 1020
FAILED = [(480, FailureKind.NO_ANSWER, None), (600, FailureKind.RATE_LIMITED, 120.0)]

_WIDTH, _LEFT, _SCALE = 760, 20, 0.62
_LAST = 130  # seconds of the last state that are drawn: its name takes so many
_FILLS = ["#d9e4f5", "#c5d5ef", "#aec5e8", "#8fb0df", "#7bbf8a"]


def write(directory: Path) -> None:
    """Write all of it into a directory."""
    directory.mkdir(exist_ok=True)
    (directory / "states.md").write_text(states(), encoding="utf-8")
    (directory / "waiting.svg").write_text(waiting(), encoding="utf-8")
    (directory / "attempts.md").write_text(attempts(), encoding="utf-8")
    (directory / "chaos.md").write_text(chaos(), encoding="utf-8")
    (directory / "rooms.svg").write_text(rooms(), encoding="utf-8")
    (directory / "modules.md").write_text(modules(), encoding="utf-8")
    (directory / "aliases.rst").write_text(aliases(), encoding="utf-8")
    (directory / "options.md").write_text(options(), encoding="utf-8")


# --- The table of states --------------------------------------------------------------------------


def states() -> str:
    """Return the table of phases and states, as Markdown."""
    rows = [f"| {phase.value} | {', '.join(_states_of(phase))} |" for phase in JobPhase]
    return "\n".join(["| phase | states |", "|---|---|", *rows, ""])


def _states_of(phase: JobPhase) -> list[str]:
    return [f"`{state}`" for state, its in JOB_PHASES.items() if its is phase]


# --- The table of attempts ------------------------------------------------------------------------


def attempts() -> str:
    """Return what happens to the attempts of a shard, rule by rule, as Markdown."""
    rows = [f"| {number} | {each.found} | {each.happens} |" for number, each in enumerate(RULES, 1)]
    return "\n".join(["| | what is found | what happens |", "|---|---|---|", *rows, ""])


# --- The table of chaos ---------------------------------------------------------------------------

_KINDS = {
    "proxy": "a bad network between client and server",
    "hostile": "a hostile server",
    "mutated": "answers that were changed at a random place",
    "clocks": "clocks that jump, and a loop that stands still",
    "process": "signals, full disks, odd environments",
    "soak": "200 jobs for days of the server",
}


def chaos() -> str:
    """Return what the last long run of each kind of chaos met, as Markdown."""
    lines = [
        "| what was done | cases | faults | MB | time | broken promises | seeds | run on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = json.loads(Path(__file__).with_name("chaos.json").read_bytes())
    for kind, name in _KINDS.items():
        it = found[kind]
        lines.append(
            f"| {name} (`{kind}`) | {it['cases']:,} | {it['faults']:,} | {it['bytes'] / 1e6:,.0f} "
            f"| {it['seconds'] / 60:,.0f} min | {len(it['violations'])} "
            f"| {it['first']} to {it['last']} "
            f"| {it['date']}, Python {it['python']}, aiohttp {it['aiohttp']} |"
        )
    return "\n".join([*lines, ""])


# --- One wait, poll by poll -----------------------------------------------------------------------


@attrs.frozen
class Poll:
    """One poll of the wait that is drawn."""

    at: float
    kind: str


def polls() -> Iterator[Poll]:
    """Let the poll machine follow the job of `COURSE`, on a clock of numbers."""
    failed = list(FAILED)
    machine = PollMachine(policy=POLICY)
    decision: Decision = machine.start(0.0)
    while isinstance(decision, PollAt):
        now = decision.due
        if failed and now >= failed[0][0]:
            _, kind, retry_after = failed.pop(0)
            failure = Failure(kind, retry_after=retry_after)
            decision = machine.on_failure(failure, now=now, draw=0.5)
            yield Poll(now, kind.value)
        else:
            name = "COMPLETED" if now >= END else [n for n, since in COURSE if now >= since][-1]
            seen = Seen(schedule=name, visible=name, is_terminal=name == "COMPLETED")
            decision = machine.on_observation(seen, now=now, draw=0.5)
            yield Poll(now, "successful")


def waiting() -> str:
    """Return the picture of the wait, as SVG."""
    made = list(polls())
    parts = [*_bands(made[-1].at), *_ticks(made), *_legend()]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 150" '
        'font-family="sans-serif" font-size="11">'
    )
    return "\n".join(
        [
            opening,
            "<title>One wait: when the poll machine polls a job</title>",
            f'<rect width="{_WIDTH}" height="150" rx="6" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _x(seconds: float) -> float:
    return _LEFT + seconds * _SCALE


def _bands(last: float) -> Iterator[str]:
    ends = [since for _, since in COURSE[1:]] + [END]
    spans = [(name, since, end) for (name, since), end in zip(COURSE, ends, strict=True)]
    for (name, since, end), fill in zip(
        [*spans, ("COMPLETED", END, max(last, END + _LAST))], _FILLS, strict=True
    ):
        width = (end - since) * _SCALE
        yield (f'<rect x="{_x(since):.1f}" y="20" width="{width:.1f}" height="26" fill="{fill}"/>')
        if width > 40:
            yield f'<text x="{_x(since) + 4:.1f}" y="37" fill="#1b2a41">{name}</text>'
        yield f'<text x="{_x(since):.1f}" y="14" fill="#5b6678">{since / 60:.0f} min</text>'


_COLOURS = {"successful": "#1b4f9c", "no answer": "#c0392b", "rate limited": "#d98c00"}


def _ticks(made: list[Poll]) -> Iterator[str]:
    for poll in made:
        x, colour = _x(poll.at), _COLOURS[poll.kind]
        yield (
            f'<line x1="{x:.1f}" y1="52" x2="{x:.1f}" y2="92" stroke="{colour}" stroke-width="2"/>'
        )


def _legend() -> Iterator[str]:
    words = {
        "successful": "a poll: 15 s after a change, then ever rarer, up to every 60 s",
        "no answer": "a failed poll: no usable answer",
        "rate limited": "429 with Retry-After: 120: obeyed to the second",
    }
    for number, (kind, text) in enumerate(words.items()):
        y = 110 + 15 * number
        yield f'<rect x="{_LEFT}" y="{y - 8}" width="10" height="10" fill="{_COLOURS[kind]}"/>'
        yield f'<text x="{_LEFT + 16}" y="{y + 1}" fill="#1b2a41">{text}</text>'


# --- The rooms ------------------------------------------------------------------------------------

_PACKAGE = Path(fireworks_batch.__file__).parent
_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
_ROW, _GAP = 74, 10


def layers() -> list[list[str]]:
    """Return the rooms of each layer, from the top, as the import contract has them."""
    contracts = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    (rule,) = [
        one for one in contracts["contracts"] if one.get("containers") == ["fireworks_batch"]
    ]
    named = [[name.strip(" ()") for name in _names(line)] for line in rule["layers"]]
    return [found for names in named if (found := [one for one in names if _is_room(one)])]


def _names(line: str) -> list[str]:
    return line.replace(":", "|").split("|")


def _is_room(name: str) -> bool:
    return (_PACKAGE / name).is_dir() and name != "cli"


def modules_of(room: str) -> list[Path]:
    """Return the modules of a room, in the order of their names."""
    return sorted(path for path in (_PACKAGE / room).glob("*.py") if path.stem != "__init__")


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def rooms() -> str:
    """Return the picture of the rooms, as SVG: a room imports only from rooms below it."""
    found = layers()
    height = len(found) * (_ROW + _GAP) + _GAP
    parts: list[str] = []
    for number, names in enumerate(found):
        width = (_WIDTH - _GAP * (len(names) + 1)) / len(names)
        for place, name in enumerate(names):
            x, y = _GAP + place * (width + _GAP), _GAP + number * (_ROW + _GAP)
            parts += _room(name, x, y, width)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">'
    )
    title = "<title>The rooms: each imports only from rooms below it</title>"
    ground = f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>'
    return "\n".join([opening, title, ground, *parts, "</svg>\n"])


def _room(name: str, x: float, y: float, width: float) -> Iterator[str]:
    says = first_line(_PACKAGE / name / "__init__.py").replace("`", "")
    names = ", ".join(path.stem for path in modules_of(name))
    yield (f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{_ROW}" rx="4" fill="#d9e4f5"/>')
    yield (f'<text x="{x + 8:.0f}" y="{y + 16}" font-weight="bold" fill="#1b2a41">{name}</text>')
    lines = [*wrap(says, int(width / 5.6))[:2], *wrap(names, int(width / 5.6))[:2]]
    for number, line in enumerate(lines):
        colour = "#1b2a41" if line in says else "#5b6678"
        y_of_line = y + 30 + 13 * number
        yield f'<text x="{x + 8:.0f}" y="{y_of_line}" fill="{colour}">{escape(line)}</text>'


def modules() -> str:
    """Return the table of all modules of the rooms, as Markdown."""
    rows = [
        f"| `{room}/{path.name}` | {first_line(path)} |"
        for names in layers()
        for room in names
        for path in modules_of(room)
    ]
    return "\n".join(["| module | what it is |", "|---|---|", *rows, ""])


# --- The aliases ----------------------------------------------------------------------------------

# The names in `fireworks_batch.typing` that are no classes.
ALIASES = [name for name in typing.__all__ if not isinstance(getattr(typing, name), type)]


def aliases() -> str:
    """Return the aliases as they are written, each with its docstring, as reStructuredText."""
    homes = {
        each.name: node.module
        for node in ast.parse(inspect.getsource(typing)).body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    return "\n".join(_alias(name, homes[name] or "") for name in ALIASES)


def _alias(name: str, module: str) -> str:
    body = ast.parse(inspect.getsource(import_module(module))).body
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            text = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
            written = ast.unparse(node.value)
            return f".. py:type:: {name}\n   :canonical: {written}\n\n   {cleandoc(text)}\n"
    raise LookupError(name)


# --- The options of the command line --------------------------------------------------------------


def options() -> str:
    """Return each command with its arguments and options, in the words of `--help`, as Markdown."""
    program = get_command(app)
    found = dict(commands(program))
    emulates = found.pop("emulator")
    shared = {field.name for field in dataclasses.fields(CommonOptions)}
    common = [param for param in found["get"].params if param.name in shared]
    parts = ["## All commands\n", *map(_option, _records(program, program.params))]
    parts += ["All commands but `demo` and `emulator` have these options:\n"]
    parts += map(_option, _records(found["get"], common))
    for name, one in found.items():
        own = [param for param in one.params if name == "demo" or param.name not in shared]
        arguments = [param.metavar for param in own if not param.opts[0].startswith("-")]
        parts += [f"## `{' '.join([name, *arguments])}`\n\n{one.help}\n"]
        parts += map(_option, _records(one, own))
    does = f"{emulates.help} `python -m fireworks_batch.emulator` does the same."
    parser = emulator_parser("fireworks-batch emulator")
    parser.formatter_class = partial(HelpFormatter, width=80)
    parts += [f"## `emulator`\n\n{does}\n\n```text\n{parser.format_help()}```\n"]
    return "\n".join(parts)


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over the commands of a group and of its groups, each with its whole name."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, f"{before}{name} ")
        else:
            yield f"{before}{name}", one


def _records(one: Any, params: Iterable[Any]) -> Iterator[tuple[str, str]]:
    context = typer.Context(one)
    return (param.get_help_record(context) for param in params)


def _option(record: tuple[str, str]) -> str:
    spelt, says = record
    text, _, facts = says.partition("  [")
    more = facts.removesuffix("]").replace("env var: ", "variable ")
    return f"`{spelt}`\n: {text}{f' ({more})' if more else ''}\n"
