"""How progress is told: drawn on a terminal, in plain lines, or as JSON."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import attrs

from fireworks_batch.cli.board import Board, Ending, Row
from fireworks_batch.cli.lines import change_line, change_record, ending_record
from fireworks_batch.cli.output import Output
from fireworks_batch.models.snapshot import JobSnapshot

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Display", "Shown", "Words", "display_for", "keep_drawn", "shown"]

_T = TypeVar("_T")

# Smooth enough for figures that count down by the second.
_FRAME: Final = 0.25


class Display(Protocol):
    """Tells people or programs how jobs get on."""

    def see(self, snapshot: JobSnapshot) -> None:
        """Tell of an observation."""

    def end(self, ending: Ending) -> None:
        """Tell of the end of a job."""

    async def keep_fresh(self, look: Callable[[], None]) -> None:
        """Go on telling what time does, until cancelled.

        Args:
            look: Brings the board up to date before each frame.
        """


class PlainLines:
    """One line a change, on stderr."""

    def __init__(self, output: Output) -> None:
        """Take where to write."""
        self._output = output

    def see(self, snapshot: JobSnapshot) -> None:
        """Tell of an observation that shows something new."""
        if snapshot.changed or snapshot.failures:
            self._output.talk(change_line(snapshot))

    def end(self, ending: Ending) -> None:
        """Tell of an end that the last line does not tell."""
        if ending.error is not None:
            self._output.explain(ending.error)

    async def keep_fresh(self, look: Callable[[], None]) -> None:
        """Do nothing: a line stays as it is."""


class JsonLines:
    """One object a change and a job's end, on stdout."""

    def __init__(self, output: Output) -> None:
        """Take where to write."""
        self._output = output

    def see(self, snapshot: JobSnapshot) -> None:
        """Write an observation that shows something new."""
        if snapshot.changed:
            self._output.record(change_record(snapshot))

    def end(self, ending: Ending) -> None:
        """Write the end of a job, and what to do about one that nobody knows."""
        self._output.record(ending_record(ending))
        if ending.error is not None:
            self._output.explain(ending.error)

    async def keep_fresh(self, look: Callable[[], None]) -> None:
        """Do nothing: what is written is written."""


class LiveTable:
    """A table on the terminal that keeps up with the board, drawn on stderr."""

    def __init__(self, output: Output, board: Board) -> None:
        """Take where to draw, and what."""
        self._output = output
        self._board = board

    def see(self, snapshot: JobSnapshot) -> None:
        """Leave it to the next frame."""

    def end(self, ending: Ending) -> None:
        """Say above the table why nothing more can be known; the rest is in the table."""
        if ending.error is not None:
            self._output.explain(ending.error)

    async def keep_fresh(self, look: Callable[[], None]) -> None:
        """Draw a frame four times a second."""
        from fireworks_batch.cli.screens import screen  # noqa: PLC0415 - imports rich

        def draw(width: int, height: int) -> "RenderableType":
            look()
            return screen(self._board.rows(now=time.monotonic()), width=width, height=height)

        await keep_drawn(self._output, draw)


async def keep_drawn(output: Output, draw: "Callable[[int, int], RenderableType]") -> None:
    """Draw a frame four times a second, until cancelled; then take it away.

    Args:
        output: Whose stderr is a terminal.
        draw: Returns what is to be seen on so many columns and lines.
    """
    from rich.live import Live  # noqa: PLC0415 - only for people

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
            live.update(draw(console.width, console.height), refresh=True)
            await asyncio.sleep(_FRAME)


def display_for(output: Output, board: Board) -> Display:
    """Return what suits the streams: JSON if asked for, a table on a terminal, else lines."""
    if output.as_json:
        return JsonLines(output)
    return LiveTable(output, board) if output.can_be_live else PlainLines(output)


class Shown(Protocol):
    """What can be drawn while something else goes on."""

    def picture(self) -> tuple[float | None, str]:
        """Return a share of 100, or None, and the words beside the bar."""
        ...


@attrs.frozen
class Words:
    """What is done, where nobody knows how far it is."""

    text: str
    """The words."""

    def picture(self) -> tuple[None, str]:
        """Return them."""
        return None, self.text


async def shown(
    output: Output,
    display: Shown,
    work: Awaitable[_T],
    *,
    rows: Callable[[], Sequence[Row]] = tuple,
) -> _T:
    """Draw a bar while something goes on, if people watch; return what comes of it.

    Args:
        output: Where to draw.
        display: What the bar shows.
        work: What goes on.
        rows: Returns the jobs to be shown below the bar.
    """
    if not output.can_be_live:
        return await work
    from fireworks_batch.cli.screens import whole  # noqa: PLC0415 - imports rich

    def draw(width: int, height: int) -> "RenderableType":
        return whole(*display.picture(), rows(), width=width, height=height)

    drawing = asyncio.create_task(keep_drawn(output, draw))
    try:
        return await work
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])
