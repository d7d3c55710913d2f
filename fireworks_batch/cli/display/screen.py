"""The screen of a terminal while jobs are followed: tables made of rows, and their drawing."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fireworks_batch import JobPhase
from fireworks_batch.cli.display.board import Row, Totals, slowest, totals
from fireworks_batch.cli.display.figures import compact, counted, percent, rate, shortened
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.durations import brief
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.models.texts import visible

__all__ = ["bar", "keep_drawn", "screen", "whole"]

# Seconds between two frames: smooth enough for figures that count down by the second.
_FRAME: Final = 0.25

# Seconds without a change after which it is noted: the server changes a job about once a minute.
_WORTH_SAYING: Final = 90.0
# Columns below which there is no bar beside words.
_NARROW: Final = 48
# Lines below which there is no room for jobs.
_LOWEST: Final = 8
# Minimum characters of an id that are shown.
_LEAST: Final = 8

_STYLES: Final = {
    JobPhase.QUEUED: "cyan",
    JobPhase.RUNNING: "blue",
    JobPhase.FINISHING: "blue",
    JobPhase.PAUSED: "yellow",
    JobPhase.LEAVING: "yellow",
    JobPhase.UNKNOWN: "magenta",
}


async def keep_drawn(output: Output, draw: Callable[[int, int], RenderableType]) -> None:
    """Draw a frame four times a second, until cancelled; then erase it.

    Args:
        output: The streams; stderr is a terminal.
        draw: Returns what the screen shows; it is called with the columns and lines there are. Two
            columns stay free: if the "^C" that a terminal writes had to go to the next line, the
            first line of the frame would not be erased.
    """
    with (
        output.live() as console,
        Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live,
    ):
        while True:
            width = max(1, console.width - len("^C"))
            frame = Constrain(draw(width, console.height), width)
            live.update(frame, refresh=True)
            await asyncio.sleep(_FRAME)


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
    """Return a bar, if a share of 100 is known, and words beside it, or below it."""
    if share is None or width < _NARROW:
        return Text(words)
    long = min(30, width // 4)
    line = ProgressBar(total=100, completed=share, complete_style="green")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=long)
    if long + 1 + len(words) > width:
        grid.add_row(line)
        return Group(grid, Text(words))
    grid.add_column()
    grid.add_row(line, Text(words))
    return grid


def whole(
    share: float | None, words: str, rows: Sequence[Row], *, width: int, height: int
) -> RenderableType:
    """Return a bar for a whole, and below it a screen of its jobs, if there is room for one."""
    top = bar(share, words, width=width)
    left = height - 3 - 2 * len(words) // width
    return Group(top, screen(rows, width=width, height=left)) if rows and left >= _LOWEST else top


# --- The table ----------------------------------------------------------------------------------


@attrs.frozen
class _Column:
    """One column of the table."""

    heading: str
    cell: Callable[[Row], RenderableType]
    usual: int
    """Its least width, so that narrower figures do not widen the column of ids."""

    options: dict[str, Any]

    def width(self, cells: Iterable[RenderableType]) -> int:
        """Return the width that it takes with some cells."""
        lengths = [len(str(cell)) for cell in cells if isinstance(cell, str | Text)]
        return max(self.usual, len(self.heading), *lengths)


def _table(rows: Sequence[Row], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    columns = _columns(width)
    cells = [[column.cell(row) for column in columns] for row in rows]
    table.add_column("job", header_style="dim", no_wrap=True, overflow="ellipsis", min_width=8)
    room = width
    for number, column in enumerate(columns):
        table.add_column(column.heading, header_style="dim", no_wrap=True, **column.options)
        room -= 1 + column.width(line[number] for line in cells)
    for row, line in zip(rows, cells, strict=True):
        # A figure that is cut is of no use; an id that is cut may still be recognised.
        table.add_row(Text(shortened(visible(row.job_id), max(_LEAST, room))), *line)
    return table


def _columns(width: int) -> list[_Column]:
    """Return the columns beside the job that fit; state and percent are always among them.

    Two columns of the terminal stay free: a terminal of 80 has a width of 78.
    """
    right = {"justify": "right"}
    wide = 8 if width < 98 else 20
    columns = [
        (0, _Column("state", _state, 9, {"overflow": "ellipsis"})),
        (58, _Column("", _bar, wide, {"width": wide})),
        (0, _Column("done", lambda row: percent(row.percent), 5, right)),
        (68, _Column("ok", lambda row: _count(row.succeeded, ""), 5, right)),
        (48, _Column("failed", lambda row: _count(row.failed, "red"), 6, right)),
        (78, _Column("rate", lambda row: rate(row.rate), 7, right)),
        (48, _Column("left", _left, 4, right)),
        (38, _Column("", _note, 0, {"overflow": "ellipsis"})),
    ]
    return [column for least, column in columns if width >= least]


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


def _left(row: Row) -> str:
    return "" if row.eta is None else brief(row.eta)


def _note(row: Row) -> Text:
    if row.failed_polls:
        polls = (
            counted(row.failed_polls, "failed poll")
            if row.failed_polls < 100
            else "99+ failed polls"
        )
        return Text(polls, "yellow")
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
    parts += [f"{sums.unsuccessful} of them without success"] if sums.unsuccessful else []
    return f"{sums.jobs} jobs: {', '.join(parts)}"


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
