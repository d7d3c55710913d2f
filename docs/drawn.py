"""What the documentation shows of the code's own tables and of its poll machine."""

from collections.abc import Iterator
from pathlib import Path

import attrs

from fireworks_batch import JobPhase, PollPolicy
from fireworks_batch.models.states import JOB_PHASES
from fireworks_batch.polling import machine as polling
from fireworks_batch.polling.machine import Failed, FailureKind, PollAt, Seen

POLICY = PollPolicy(jitter=0)
# A job as it goes, in seconds, and the looks that go wrong: each by the moment after which it is.
COURSE = [("VALIDATING", 0), ("PENDING", 120), ("CREATING", 300), ("RUNNING", 420)]
END = 1020
LOST = [(480, FailureKind.LOST, None), (600, FailureKind.RATE_LIMITED, 120.0)]

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


# --- One wait, look by look -----------------------------------------------------------------------


@attrs.frozen
class Look:
    """One look of the wait that is drawn."""

    at: float
    kind: str


def looks() -> Iterator[Look]:
    """Let the poll machine follow the job of `COURSE`, on a clock of numbers."""
    lost = list(LOST)
    state = polling.start(POLICY, now=0.0, timeout=None)
    now = 0.0
    while True:
        if lost and now >= lost[0][0]:
            _, kind, retry_after = lost.pop(0)
            state, decision = polling.on_failure(
                POLICY, state, Failed(kind, retry_after), now=now, draw=0.5
            )
            yield Look(now, kind.value)
        else:
            name = "COMPLETED" if now >= END else [n for n, since in COURSE if now >= since][-1]
            seen = Seen(schedule=name, visible=name, is_terminal=name == "COMPLETED")
            state, decision = polling.on_observation(POLICY, state, seen, now=now, draw=0.5)
            yield Look(now, "good")
        if not isinstance(decision, PollAt):
            return
        now = decision.due


def waiting() -> str:
    """Return the picture of the wait, as SVG."""
    made = list(looks())
    parts = [*_bands(made[-1].at), *_ticks(made), *_legend()]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} 150" '
        'font-family="sans-serif" font-size="11">'
    )
    return "\n".join(
        [
            opening,
            "<title>One wait: when the poll machine looks at a job</title>",
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


_COLOURS = {"good": "#1b4f9c", "lost": "#c0392b", "rate limited": "#d98c00"}


def _ticks(made: list[Look]) -> Iterator[str]:
    for look in made:
        x, colour = _x(look.at), _COLOURS[look.kind]
        yield (
            f'<line x1="{x:.1f}" y1="52" x2="{x:.1f}" y2="92" stroke="{colour}" stroke-width="2"/>'
        )


def _legend() -> Iterator[str]:
    words = {
        "good": "a look: 15 s after a change, then ever rarer, up to every 60 s",
        "lost": "no usable answer: it costs one look",
        "rate limited": "429 with Retry-After: 120: obeyed to the second",
    }
    for number, (kind, text) in enumerate(words.items()):
        y = 110 + 15 * number
        yield f'<rect x="{_LEFT}" y="{y - 8}" width="10" height="10" fill="{_COLOURS[kind]}"/>'
        yield f'<text x="{_LEFT + 16}" y="{y + 1}" fill="#1b2a41">{text}</text>'
