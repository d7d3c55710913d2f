"""Write a listing: JSON or tabs as it comes, a table for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fireworks_batch.cli.figures import visible
from fireworks_batch.cli.output import Output
from fireworks_batch.listing import Listing

__all__ = ["tell_all"]

_T = TypeVar("_T")


async def tell_all(
    output: Output,
    listing: Listing[_T],
    headings: Sequence[str],
    *,
    fields: Callable[[_T], Sequence[object]],
    record: Callable[[_T], Mapping[str, Any]],
    limit: int | None,
) -> None:
    """Write the items of a listing to stdout.

    Args:
        output: Where to.
        listing: The items.
        headings: Of the table's columns.
        fields: Gives an item's columns.
        record: Gives an item's JSON object.
        limit: Write no more than so many; None for all.
    """
    for_people: list[Sequence[object]] = []
    count = 0
    async for item in listing:
        if output.as_json:
            output.record(record(item))
        elif output.is_for_people:
            for_people.append(fields(item))
        else:
            output.fields(*fields(item))
        count += 1
        if count == limit:
            break
    if output.is_for_people:
        _draw(output, headings, for_people)


def _draw(output: Output, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Draw a table that is as wide as the terminal at most."""
    from rich.table import Table  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415 - only for people

    if not rows:
        output.talk("there are none")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, heading in enumerate(headings):
        is_count = isinstance(rows[0][number], int)
        table.add_column(
            heading, no_wrap=True, overflow="ellipsis", justify="right" if is_count else "left"
        )
    for row in rows:
        cells = (f"{value:,}" if type(value) is int else str(value) for value in row)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    output.picture(table)
