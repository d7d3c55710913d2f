"""The progress of jobs, and of other work: drawn on a terminal, in plain lines, or as JSON."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import attrs

from fireworks_batch import JobSnapshot
from fireworks_batch.cli.display.board import Board, Outcome, Row
from fireworks_batch.cli.display.lines import change_line, change_record, outcome_record
from fireworks_batch.cli.display.output import Output

__all__ = ["Display", "Shown", "Words", "display_for", "shown"]

_T = TypeVar("_T")


class Display(Protocol):
    """Shows people or programs the progress of jobs."""

    def see(self, snapshot: JobSnapshot) -> None:
        """Show a snapshot."""

    def end(self, outcome: Outcome) -> None:
        """Show the outcome of a job."""

    async def keep_fresh(self, update: Callable[[], None]) -> None:
        """Show what changes with time alone, until cancelled.

        Args:
            update: Brings the board up to date; called before each frame.
        """


class PlainLines:
    """One line for each change, on stderr."""

    def __init__(self, output: Output) -> None:
        """Take the streams."""
        self._output = output

    def see(self, snapshot: JobSnapshot) -> None:
        """Write a snapshot that shows something new."""
        if snapshot.changed or snapshot.failures:
            self._output.talk(change_line(snapshot))

    def end(self, outcome: Outcome) -> None:
        """Write the error, if there is one; the last line has the terminal state."""
        if outcome.error is not None:
            self._output.explain(outcome.error, job_id=outcome.job_id)

    async def keep_fresh(self, update: Callable[[], None]) -> None:
        """Do nothing: lines are written once."""


class JsonLines:
    """One JSON object for each change and each outcome, on stdout."""

    def __init__(self, output: Output) -> None:
        """Take the streams."""
        self._output = output

    def see(self, snapshot: JobSnapshot) -> None:
        """Write a snapshot that shows something new."""
        if snapshot.changed:
            self._output.record(change_record(snapshot))

    def end(self, outcome: Outcome) -> None:
        """Write the outcome of a job; an error with advice to stderr, too."""
        self._output.record(outcome_record(outcome))
        if outcome.error is not None:
            self._output.explain(outcome.error, job_id=outcome.job_id)

    async def keep_fresh(self, update: Callable[[], None]) -> None:
        """Do nothing: objects are written once."""


class LiveTable:
    """A table on the terminal that shows the board, drawn on stderr."""

    def __init__(self, output: Output, board: Board) -> None:
        """Take the streams, and the board."""
        self._output = output
        self._board = board

    def see(self, snapshot: JobSnapshot) -> None:
        """Do nothing: the next frame has it."""

    def end(self, outcome: Outcome) -> None:
        """Write the error, if there is one, above the table. The table shows the state."""
        if outcome.error is not None:
            self._output.explain(outcome.error, job_id=outcome.job_id)

    async def keep_fresh(self, update: Callable[[], None]) -> None:
        """Draw a frame four times a second."""
        from fireworks_batch.cli.display.screen import keep_drawn, screen

        def draw(width: int, height: int) -> Any:
            update()
            return screen(self._board.rows(now=time.monotonic()), width=width, height=height)

        await keep_drawn(self._output, draw)


def display_for(output: Output, board: Board) -> Display:
    """Return what suits the streams: JSON if asked for, a table on a terminal, else lines."""
    if output.as_json:
        return JsonLines(output)
    return LiveTable(output, board) if output.can_be_live else PlainLines(output)


class Shown(Protocol):
    """What a bar can show while work goes on."""

    def picture(self) -> tuple[float | None, str]:
        """Return a share of 100, or None, and the words beside the bar."""
        ...


@attrs.frozen
class Words:
    """Words for work whose progress is not known."""

    text: str
    """The words."""

    def picture(self) -> tuple[None, str]:
        """Return no share, and the words."""
        return None, self.text


async def shown(
    output: Output,
    display: Shown,
    work: Awaitable[_T],
    *,
    rows: Callable[[], Sequence[Row]] = tuple,
) -> _T:
    """Draw a bar while work goes on, if stderr is a terminal; return the result of the work.

    Args:
        output: The streams.
        display: What the bar shows.
        work: The work.
        rows: Returns the jobs to show below the bar.
    """
    if not output.can_be_live:
        return await work
    from fireworks_batch.cli.display.screen import keep_drawn, whole

    def draw(width: int, height: int) -> Any:
        return whole(*display.picture(), rows(), width=width, height=height)

    drawing = asyncio.create_task(keep_drawn(output, draw))
    try:
        return await work
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])
