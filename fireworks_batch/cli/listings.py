"""Write a listing: JSON or tabs as it comes, a table for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import attrs

from fireworks_batch.cli.figures import shortened, visible
from fireworks_batch.cli.output import Output
from fireworks_batch.connection.api import Listing

__all__ = ["Columns", "fitting", "tell_all"]

_T = TypeVar("_T")
# Columns that an id has at least.
_LEAST: Final = 8


@attrs.frozen(kw_only=True)
class Columns(Generic[_T]):
    """How items of one kind are written."""

    headings: tuple[str, ...]
    """Of the table for people, the most telling first: the last ones go where it is narrow."""

    cells: Callable[[_T], Sequence[object]]
    """An item's cells in that table."""

    fields: Callable[[_T], Sequence[object]]
    """An item's fields for programs."""

    record: Callable[[_T], Mapping[str, Any]]
    """An item's JSON object."""


async def tell_all(
    output: Output, listing: Listing[_T], columns: Columns[_T], *, limit: int | None
) -> None:
    """Write the items of a listing to stdout.

    Args:
        output: Where to.
        listing: The items.
        columns: How they are written.
        limit: Write no more than so many; None for all.
    """
    for_people: list[Sequence[object]] = []
    count = 0
    async for item in listing:
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
        widths: Of the columns, in characters.
        room: Of the terminal.
        gap: Between two columns.
        least: Columns that stay in any case; they are cut.
    """
    count = len(widths)
    while count > least and sum(widths[:count]) + gap * (count - 1) > room:
        count -= 1
    return count


def _draw(output: Output, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Draw a table that is as wide as the terminal at most."""
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415 - only for people

    if not rows:
        output.talk("there are none")
        return
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    count = fitting(widths, room=output.width)
    # What comes first is cut if need be, so that all of what comes second can be read.
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
