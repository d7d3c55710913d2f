"""What a terminal shows while jobs are followed: tables made from rows. Performs no I/O."""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fireworks_batch.cli.board import Row, Totals, slowest, totals
from fireworks_batch.cli.durations import brief
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.figures import compact, percent, rate, visible
from fireworks_batch.states import JobPhase

__all__ = ["bar", "screen"]

# Jobs of which something is said only when it has lasted for so long, in seconds: the server moves
# a job about once a minute.
_WORTH_SAYING: Final = 90.0
# Columns below which words need all the room.
_NARROW: Final = 50

_STYLES: Final = {
    JobPhase.QUEUED: "cyan",
    JobPhase.RUNNING: "blue",
    JobPhase.FINISHING: "blue",
    JobPhase.PAUSED: "yellow",
    JobPhase.LEAVING: "yellow",
    JobPhase.UNKNOWN: "magenta",
}


def screen(rows: Sequence[Row], *, width: int, height: int) -> RenderableType:
    """Return what is shown: one line a job, or a summary if they do not all fit.

    Args:
        rows: The jobs, in order.
        width: Columns of the terminal.
        height: Lines of the terminal.

    Returns:
        Something that takes at most ``height`` - 1 lines, so that a terminal need not scroll.
    """
    room = max(1, height - 3)
    if len(rows) <= room:
        return _table(rows, width)
    summary = _summary(totals(rows), width)
    left = max(0, room - 4)
    return Group(*summary, _table(slowest(rows, left), width)) if left else Group(*summary)


def bar(share: float | None, words: str, *, width: int) -> RenderableType:
    """Return a line of a bar, if a share of 100 is known, and words beside it."""
    if share is None or width < _NARROW:
        return _line(words)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=min(30, width // 4))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(ProgressBar(total=100, completed=share, complete_style="green"), Text(words))
    return grid


# --- The table ----------------------------------------------------------------------------------


def _table(rows: Sequence[Row], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    columns = _columns(width)
    for heading, _, options in columns:
        table.add_column(heading, header_style="dim", no_wrap=True, **options)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(cell(row) for _, cell, _ in columns))
    return table


_Column = tuple[str, Callable[[Row], RenderableType], dict[str, object]]


def _columns(width: int) -> list[_Column]:
    """Return the columns that there is room for; the job, its state and percent always are."""
    right: dict[str, object] = {"justify": "right"}
    columns: list[tuple[int, _Column]] = [
        (0, ("job", _job, {"overflow": "ellipsis", "ratio": None, "min_width": 8})),
        (0, ("state", _state, {"overflow": "ellipsis"})),
        (60, ("", _bar, {"width": 8 if width < 100 else 20})),
        (0, ("done", lambda row: percent(row.percent), right)),
        (70, ("ok", lambda row: _count(row.succeeded, ""), right)),
        (50, ("failed", lambda row: _count(row.failed, "red"), right)),
        (80, ("rate", lambda row: rate(row.rate), right)),
        (50, ("left", lambda row: "" if row.eta is None else brief(row.eta), right)),
        (40, ("", _note, {"overflow": "ellipsis"})),
    ]
    return [column for least, column in columns if width >= least]


def _job(row: Row) -> Text:
    return Text(visible(row.job_id))


def _state(row: Row) -> Text:
    return Text(visible(row.state), _style(row))


def _style(row: Row) -> str:
    if row.code is None:
        return _STYLES.get(row.phase, "")
    if row.code in {ExitCode.SUCCEEDED, ExitCode.ROWS_FAILED}:
        return "green" if row.code is ExitCode.SUCCEEDED else "yellow"
    return "red"


def _bar(row: Row) -> RenderableType:
    if row.percent is None:
        return ""
    style = "red" if row.code and row.code is not ExitCode.ROWS_FAILED else "green"
    return ProgressBar(total=100, completed=row.percent, complete_style=style)


def _count(number: int, style: str) -> Text:
    return Text(compact(number), style) if number else Text("")


def _note(row: Row) -> Text:
    if row.lost:
        return Text(f"{row.lost} lost" if row.lost < 100 else "99+ lost", "yellow")
    if row.code is ExitCode.GAVE_UP:
        return Text("gave up", "yellow")
    if row.code is None and row.unchanged_for >= _WORTH_SAYING:
        return Text(f"same {brief(row.unchanged_for)}", "dim")
    return Text("")


# --- The summary --------------------------------------------------------------------------------


def _summary(sums: Totals, width: int) -> list[RenderableType]:
    done = sums.succeeded + sums.failed
    share = 100 * done / sums.total if sums.total else 0.0
    figures = [f"{compact(done)} of {compact(sums.total)} rows"]
    figures += [f"{compact(sums.failed)} failed"] if sums.failed else []
    figures += [rate(sums.rate)] if sums.rate else []
    figures += [f"{brief(sums.eta)} left"] if sums.eta is not None else []
    return [
        _line(_headline(sums)),
        bar(share, percent(share), width=width),
        _line(", ".join(figures)),
        Text("slowest:", "dim"),
    ]


def _headline(sums: Totals) -> str:
    open_phases = {p: n for p, n in sums.phases.items() if p is not JobPhase.TERMINAL}
    parts = [f"{count} {phase.value}" for phase, count in open_phases.items()]
    parts += [f"{sums.ended} ended"] if sums.ended else []
    parts += [f"{sums.troubled} of them not well"] if sums.troubled else []
    return f"{sums.jobs} jobs: {', '.join(parts)}"


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
