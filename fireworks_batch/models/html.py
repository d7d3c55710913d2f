"""Values as tables of HTML, which a notebook shows. Every value is escaped. Performs no I/O."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from fireworks_batch.models.texts import visible

__all__ = ["duration", "facts", "percent", "rate", "some", "table"]

# As of `html.escape`, whose module takes milliseconds to load.
_ESCAPED: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
)

# Characters of a value that are shown.
_LONGEST: Final = 500

# Seconds: a longer duration is an estimate without a meaning.
_YEAR: Final = 365 * 86400.0

# No colours: those of the notebook are readable, in its light theme and in its dark one.
_LEFT: Final = ' style="text-align:left"'
_CAPTION: Final = ' style="text-align:left;white-space:nowrap"'


def table(caption: str, rows: Sequence[Sequence[object]], *, headings: Sequence[str] = ()) -> str:
    """Return a table as HTML; empty if there are no rows.

    Args:
        caption: The line above the table.
        rows: The cells of each row. The first cell is the heading of its row. A value is shown on
            one line, and cut to 500 characters. None is an empty cell.
        headings: The headings of the columns; empty for none.
    """
    if not rows:
        return ""
    head = "".join(f"<th{_LEFT}>{_cell(each)}</th>" for each in headings)
    lines = [f"<table><caption{_CAPTION}>{_cell(caption)}</caption>"]
    lines += [f"<thead><tr>{head}</tr></thead>"] if headings else []
    lines += ["<tbody>"]
    for first, *others in rows:
        cells = "".join(f"<td{_LEFT}>{_cell(each)}</td>" for each in others)
        lines.append(f"<tr><th{_LEFT}>{_cell(first)}</th>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def facts(caption: str, values: Mapping[str, object]) -> str:
    """Return names and values as a table of HTML, a row each.

    Args:
        caption: The line above the table.
        values: The values by their names. None and ``""`` are left out with their names.
    """
    return table(
        caption, [pair for pair in values.items() if pair[1] is not None and pair[1] != ""]
    )


def some(texts: Sequence[str], count: int | None = None) -> str:
    """Return the first five of some texts, and how many more there are; empty if there are none.

    Args:
        texts: The texts, or the first of them.
        count: How many there are; None if all are given.
    """
    more = (len(texts) if count is None else count) - len(texts[:5])
    return ", ".join(texts[:5]) + (f" and {more:,} more" if more > 0 else "")


def percent(share: float | None) -> str:
    """Return a share of 100, which is 100 only when it is reached; empty if it is not known."""
    if share is None:
        return ""
    return f"{share if share >= 100 else min(share, 99.9):.1f}%"


def rate(rows_per_second: float | None) -> str:
    """Return rows per second; empty if there are none, or the rate is not known."""
    return f"{rows_per_second:,.2f} rows/s" if rows_per_second else ""


def duration(seconds: float | None) -> str:
    """Return hours, minutes and seconds; empty if they are not known, or are more than a year."""
    if seconds is None or seconds > _YEAR:
        return ""
    return str(timedelta(seconds=round(seconds)))


def _cell(value: object) -> str:
    try:
        text = f"{value:,}" if type(value) is int else "" if value is None else str(value)
    except Exception as exc:  # noqa: BLE001 - of a class of the user's; the other cells are shown
        text = f"{type(value).__name__}: str() raised {type(exc).__name__}"
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return visible(" ".join(text.split())).translate(_ESCAPED)
