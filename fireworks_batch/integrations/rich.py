"""The progress of runs, waits and fleets as bars, on a terminal and in a notebook.

The bars are those of the command line. The extra is ``cli``.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from fireworks_batch import ConfigurationError, FleetProgress, JobSnapshot, RunProgress, RunStage
from fireworks_batch.integrations import needs

with needs("cli"):
    from rich.console import Console, RenderableType
    from rich.control import Control
    from rich.segment import ControlType, SegmentLines
    from rich.terminal_theme import TerminalTheme
    from rich.theme import Theme

    from fireworks_batch.cli.display.board import Board
    from fireworks_batch.cli.display.figures import compact, counted, rate
    from fireworks_batch.cli.display.lines import change_line
    from fireworks_batch.cli.display.run import RunBoard, progress_line
    from fireworks_batch.cli.display.screen import screen, whole
    from fireworks_batch.cli.durations import brief

__all__ = ["Bars", "Progress", "bars"]

Progress: TypeAlias = RunProgress | JobSnapshot | FleetProgress
"""What bars can show."""

_Draw: TypeAlias = Callable[[int, int], RenderableType]
"""A function that returns what is shown, for so many columns and lines."""

# Seconds between two drawings, where a drawing may wait for what comes next.
_FRAME: Final = 0.25

# Most lines of a drawing: each takes the event loop about a millisecond.
_LINES: Final = 20

# Columns of a drawing in a notebook.
_COLUMNS: Final = 100

_PRE: Final = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:normal;'
    "font-family:Menlo,'DejaVu Sans Mono',Consolas,'Courier New',monospace\">{code}</pre>"
)

# The colours of a notebook: each has a contrast of 3.5 or more, to white and to almost black.
_GREY: Final = (118, 118, 118)
_THEME: Final = TerminalTheme(
    background=(255, 255, 255),
    foreground=(0, 0, 0),
    normal=[
        _GREY,  # black
        (220, 50, 47),  # red
        (0, 137, 60),  # green
        (158, 110, 0),  # yellow
        (40, 115, 230),  # blue
        (190, 60, 190),  # magenta
        (0, 130, 150),  # cyan
        _GREY,  # white
    ],
)


class Bars:
    """Shows the progress of one run, one wait or one fleet. `bars` makes it.

    Call it with each progress: a `RunProgress`, a `JobSnapshot`, or the `FleetProgress` of a fleet.
    Each drawing replaces the one before. Between two drawings nothing is left behind: no thread, no
    hidden cursor, no stream that was replaced. So a call may fail or be cancelled at any time, and
    the newest drawing stays where it is.

    In a ``with`` block at most four drawings a second are made, and the end of the block makes the
    last one. Without a block, a terminal shows each snapshot at once, and the progress of a run
    before the run can raise an error. In a notebook a drawing may come up to a quarter of a second
    later.
    """

    def __init__(self, console: Console) -> None:
        """Begin without progress.

        Args:
            console: The console of rich to draw on.
        """
        self._console = console
        self._is_entered = False
        self._is_over = False
        self._later: asyncio.Handle | None = None
        self._begin()

    def __call__(self, progress: Progress) -> None:
        """Show progress.

        Args:
            progress: The progress of a run (``on_progress=`` gives it), a snapshot of a wait or of
                a fleet, or ``fleet.progress``. If snapshots come as well as ``fleet.progress``, the
                bar is above the jobs.

        Raises:
            ConfigurationError: The argument is something else.
        """
        is_last = isinstance(progress, RunProgress) and progress.stage is RunStage.COLLECTING
        if self._is_over and not is_last:
            self._begin()
        self._is_over = is_last
        line = self._picture.take(progress)
        if self._canvas is None:
            self._write(line)
        else:
            self._draw_in_time(self._canvas, progress)
        if is_last:
            self._catch_up()

    def __enter__(self) -> Self:
        self._is_entered = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_entered = False
        self._catch_up()
        self._begin()

    def _begin(self) -> None:
        """Begin another drawing, below the one before."""
        self._picture = _Picture()
        self._canvas = _canvas_on(self._console)
        self._next = 0.0

    def _draw_in_time(self, canvas: "_Canvas", progress: Progress) -> None:
        """Draw now, or a little later, together with what comes until then."""
        wait = self._next - time.monotonic()
        loop = _running_loop()
        if wait <= 0 or loop is None:
            self._draw()
        elif self._later is not None:
            return
        elif self._is_entered or canvas.may_be_late:
            self._later = loop.call_later(wait, self._draw)
        elif isinstance(progress, RunProgress):
            # Before a run can raise, its tasks take more than one step of the loop.
            self._later = loop.call_soon(self._draw)
        else:
            self._draw()

    def _catch_up(self) -> None:
        """Draw what waits to be drawn."""
        if self._later is not None:
            self._draw()

    def _draw(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._canvas is not None:
            with contextlib.suppress(OSError):  # a terminal that has gone ends no run
                self._canvas.draw(self._picture.draw)
        self._next = time.monotonic() + _FRAME

    def _write(self, line: str) -> None:
        if line:
            with contextlib.suppress(OSError):  # the reader has left
                self._console.file.write(f"{line}\n")
                self._console.file.flush()


def bars() -> Bars:
    """Return bars that show progress: on a terminal, in a notebook, or as lines in a log.

    On a terminal and in Jupyter, the bars are those of the command line. They are drawn on stderr,
    or in the output of the cell. Where stderr is a file or a pipe, each change is a line.

    Returns:
        The bars. Call them with each progress; make others for another run, wait or fleet.
    """
    return Bars(Console(stderr=True))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# --- What is shown ------------------------------------------------------------------------------


class _Picture:
    """The newest progress: a line for a log, and what is drawn."""

    def __init__(self) -> None:
        self._run = RunBoard()
        self._jobs = Board()
        self._fleet: FleetProgress | None = None

    def take(self, progress: Any) -> str:
        """Take progress, and return a line about it; empty if there is nothing new."""
        now = time.monotonic()
        match progress:
            case RunProgress():
                return progress_line(progress) if self._run.see(progress, now=now) else ""
            case JobSnapshot():
                self._jobs.follow(progress, now=now)
                error = "" if progress.error is None else f": {progress.error}"
                is_news = progress.changed or progress.failures or error
                return f"{change_line(progress)}{error}" if is_news else ""
            case FleetProgress():
                before, self._fleet = self._fleet, progress
                line = _fleet_line(progress)
                return "" if before is not None and _fleet_line(before) == line else line
            case _:
                raise ConfigurationError(
                    "bars show a RunProgress, a JobSnapshot or a FleetProgress (fleet.progress), "
                    f"not {progress!r}"
                )

    def draw(self, width: int, height: int) -> RenderableType:
        now = time.monotonic()
        if self._run.newest is not None:
            share, words = self._run.picture(now=now)
            return whole(share, words, self._run.rows(now=now), width=width, height=height)
        rows = self._jobs.rows(now=now)
        if self._fleet is None:
            return screen(rows, width=width, height=height)
        share, words = _share(self._fleet), _fleet_line(self._fleet)
        return whole(share, words, rows, width=width, height=height)


def _share(fleet: FleetProgress) -> float | None:
    return 100 * fleet.rows_done / fleet.rows_total if fleet.rows_total else None


def _fleet_line(fleet: FleetProgress) -> str:
    phases = ("queued", "running", "finishing", "paused", "leaving", "unknown", "unseen")
    jobs = [f"{count:,} {phase}" for phase in phases if (count := getattr(fleet, phase))]
    jobs += [f"{fleet.terminal:,} ended"] if fleet.terminal else []
    jobs += [f"{counted(fleet.failed, 'wait')} failed"] if fleet.failed else []
    rows = [f"{compact(fleet.rows_done)} of {compact(fleet.rows_total)} rows"]
    rows += [f"{compact(fleet.rows_failed)} failed"] if fleet.rows_failed else []
    rows += [rate(fleet.rate)] if fleet.rate else []
    rows += [f"{brief(fleet.eta)} left"] if fleet.eta else []
    return f"{counted(fleet.jobs, 'job')}: {', '.join(jobs)}; {', '.join(rows)}"


# --- Where it is shown --------------------------------------------------------------------------


class _Terminal:
    """Draws over its last drawing, and leaves the cursor on the line below."""

    # What the caller prints when its call has failed would be drawn over.
    may_be_late = False

    def __init__(self, console: Console) -> None:
        self._console = console
        self._height = 0

    def draw(self, draw: _Draw) -> None:
        console = self._console
        width = max(1, console.width - len("^C"))  # as the command line does
        frame = draw(width, min(console.height, _LINES))
        lines = console.render_lines(frame, console.options.update_width(width), pad=False)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        with console:  # one write
            console.control(Control(ControlType.CARRIAGE_RETURN, *up * self._height))
            console.print(SegmentLines(lines, new_lines=True))
        self._height = len(lines)


class _Notebook:
    """Draws into one output of the cell, which each drawing replaces.

    The `rich.live` of rich needs ipywidgets for this.
    """

    may_be_late = True

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, draw: _Draw) -> None:
        from IPython.display import DisplayHandle  # noqa: PLC0415 - only a notebook needs it

        bundle = _as_html(draw(_COLUMNS, _LINES))
        if self._handle is None:
            self._handle = DisplayHandle()  # type: ignore[no-untyped-call]
            self._handle.display(bundle, raw=True)
        else:
            self._handle.update(bundle, raw=True)


_Canvas: TypeAlias = _Terminal | _Notebook


def _canvas_on(console: Console) -> _Canvas | None:
    """Return what can be drawn on; None if there is neither a notebook nor a terminal."""
    if console.is_jupyter:
        return _Notebook()
    return _Terminal(console) if console.is_interactive and console.file.isatty() else None


def _as_html(frame: RenderableType) -> dict[str, str]:
    """Return a drawing as HTML, and as text for what cannot show HTML."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=_COLUMNS,
        height=_LINES,
        color_system="truecolor",
        force_terminal=True,
        force_jupyter=False,
        legacy_windows=False,
        theme=Theme({"bar.back": "bright_black"}),
    )
    console.print(frame)
    return {
        "text/plain": console.export_text(clear=False),
        "text/html": console.export_html(theme=_THEME, code_format=_PRE, inline_styles=True),
    }
