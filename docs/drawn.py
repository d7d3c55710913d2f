"""What the documentation shows of the code's own tables and of its poll machine."""

from collections.abc import Iterator
from pathlib import Path

import attrs

from fireworks_batch import JobPhase, PollPolicy
from fireworks_batch.models.states import JOB_PHASES
from fireworks_batch.polling.machine import (
    Decision,
    Failure,
    FailureKind,
    PollAt,
    PollMachine,
    Seen,
)

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


# --- The table of states --------------------------------------------------------------------------


def states() -> str:
    """Return the table of phases and states, as Markdown."""
    rows = [f"| {phase.value} | {', '.join(_states_of(phase))} |" for phase in JobPhase]
    return "\n".join(["| phase | states |", "|---|---|", *rows, ""])


def _states_of(phase: JobPhase) -> list[str]:
    return [f"`{state}`" for state, its in JOB_PHASES.items() if its is phase]


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
