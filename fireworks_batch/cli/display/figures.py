"""Figures and long names as a screen shows them. Performs no I/O."""

from typing import Final

__all__ = ["compact", "counted", "percent", "rate", "shortened", "size"]

_UNITS: Final = ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))


def shortened(text: str, room: int) -> str:
    """Return a text of a limited number of columns, with its middle cut out.

    Ids of one run begin alike, and differ at their ends.

    Args:
        text: On one line.
        room: The columns, 3 or more.
    """
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}…{text[-tail:]}"


def compact(number: int) -> str:
    """Return a count in at most five characters: ``"9,999"``, ``"12.3k"``, ``"4.5M"``."""
    if number < 10_000:
        return f"{number:,}"
    unit, letter = next(
        (unit, letter) for unit, letter in _UNITS if number < 1000 * unit or letter == "T"
    )
    scaled = number / unit
    return f"{scaled:.1f}{letter}" if scaled < 99.95 else f"{scaled:.0f}{letter}"


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``"1 job"``, ``"1,200 jobs"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """Return a share of 100, or nothing if it is not known; 100 only when it is reached."""
    if share is None:
        return ""
    return "100%" if share >= 100 else f"{min(share, 99.9):.1f}%"


def rate(rows_per_second: float | None) -> str:
    """Return rows a second, or a minute if that reads better; nothing if it is not known."""
    if not rows_per_second:
        return ""
    if rows_per_second >= 0.95:
        return f"{compact(round(rows_per_second))}/s"
    return f"{max(rows_per_second * 60, 0.1):.3g}/min"


def size(count: int) -> str:
    """Return a number of bytes: ``"512 B"``, ``"1.5 kB"``, ``"150.0 MB"``."""
    if count < 1000:
        return f"{count} B"
    unit, letter = next((unit, letter) for unit, letter in _UNITS if count < 1000 * unit)
    return f"{count / unit:.1f} {letter}B"
