"""A listing: a table for people; for programs JSON or tabs, item by item as they arrive."""

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import attrs

from fireworks_batch.cli.display.figures import shortened
from fireworks_batch.cli.display.output import Output
from fireworks_batch.models.texts import visible

__all__ = ["Columns", "fitting", "print_all"]

_T = TypeVar("_T")
# Minimum characters of an id that are shown.
_LEAST: Final = 8


@attrs.frozen(kw_only=True)
class Columns(Generic[_T]):
    """How items of one type are written."""

    headings: tuple[str, ...]
    """Headings of the table for people; a narrow terminal leaves out the last ones."""

    cells: Callable[[_T], Sequence[object]]
    """An item's cells in that table."""

    fields: Callable[[_T], Sequence[object]]
    """An item's fields for programs."""

    record: Callable[[_T], Mapping[str, Any]]
    """An item's JSON object."""


async def print_all(
    output: Output, items: AsyncIterable[_T], columns: Columns[_T], *, limit: int | None
) -> None:
    """Write the items of a listing to stdout.

    Args:
        output: The streams.
        items: The items.
        columns: How they are written.
        limit: The largest number of items to write; None for all.
    """
    for_people: list[Sequence[object]] = []
    count = 0
    async for item in items:
        if output.as_json:
            output.record(columns.record(item))
        elif output.is_for_people:
            for_people.append(columns.cells(item))
        else:
            output.fields(*columns.fields(item))
        count += 1
        if count == limit:
            break
    if output.is_for_people:
        _draw(output, columns.headings, for_people)


def fitting(widths: Sequence[int], *, room: int, gap: int = 2, least: int = 2) -> int:
    """Return how many of the columns, from the left, fit into the room.

    Args:
        widths: The widths of the columns, in characters.
        room: The width of the terminal.
        gap: Characters between two columns.
        least: The number of columns that stay in any case; they are cut if need be.
    """
    count = len(widths)
    while count > least and sum(widths[:count]) + gap * (count - 1) > room:
        count -= 1
    return count


def _draw(output: Output, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Draw a table that is as wide as the terminal at most."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        output.talk("nothing found")
        return
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    count = fitting(widths, room=output.width)
    # The first column is cut if need be, so that the second one can be read as a whole.
    first = output.width - sum(2 + width for width in widths[1:count])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, cell in zip(headings[:count], rows[0], strict=False):
        justify: Literal["left", "right"] = "right" if type(cell) is int else "left"
        table.add_column(heading, no_wrap=True, overflow="ellipsis", justify=justify)
    for name, *others in texts:
        table.add_row(*map(Text, (shortened(name, max(_LEAST, first)), *others[: count - 1])))
    output.picture(table)


def _text(cell: object) -> str:
    return f"{cell:,}" if type(cell) is int else visible(str(cell))
