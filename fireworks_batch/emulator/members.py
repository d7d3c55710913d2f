"""The checks of ids, and of the members of control requests. Performs no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

_ID: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_resource_id(text: str) -> bool:
    """Whether *text* follows the documented rule for ids."""
    return _ID.fullmatch(text) is not None


class ControlError(ValueError):
    """A member of a control request cannot be used."""

    def __init__(self, field: str, value: object, wanted: str) -> None:
        super().__init__(field, value, wanted)
        self.field = field
        self.value = value
        self.wanted = wanted

    def within(self, place: str) -> ControlError:
        """Return the same error for a member of a larger value."""
        return ControlError(f"{place}.{self.field}", self.value, self.wanted)

    def __str__(self) -> str:
        return f"{self.field}: {self.value!r} is not {self.wanted}"


def did_you_mean(value: object, words: Collection[str]) -> str:
    """Give the end of an error about a misspelt word: the one of *words* that is near, or nothing.

    Args:
        value: What was given.

        words: What could have been meant.
    """
    found = get_close_matches(value[:100], words, n=1) if isinstance(value, str) else []
    return f"; did you mean {found[0]!r}?" if found else ""


def read_members(prefix: str, value: object, known: Collection[str]) -> Mapping[str, object]:
    """Return *value* if it is an object that has only *known* members."""
    if not isinstance(value, Mapping):
        raise ControlError(prefix or "body", value, "an object")
    for name in value:
        if name not in known:
            field = f"{prefix}.{name}" if prefix else str(name)
            wanted = f"known here; known: {', '.join(known)}{did_you_mean(name, known)}"
            raise ControlError(field, value[name], wanted)
    return value


def read_id(field: str, text: str) -> None:
    """Check the id of a job or dataset."""
    if not is_resource_id(text):
        raise ControlError(field, text, "an id: a-z, 0-9 and -, a letter first")


def read_number(field: str, value: object, *, least: float = 0.0, most: float = math.inf) -> float:
    """Return a finite number from *least* to *most*."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and least <= number <= most:
            return number
    raise ControlError(field, value, f"a number {_bounds(least, most)}")


def read_count(field: str, value: object, *, least: int = 0, most: float = math.inf) -> int:
    """Return a whole number from *least* to *most*."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_whole = isinstance(value, int) or value.is_integer()
        if is_whole and least <= value <= most:
            return int(value)
    raise ControlError(field, value, f"a whole number {_bounds(least, most)}")


def read_text(field: str, value: object) -> str:
    """Return a text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise ControlError(field, value, "a text")


def read_flag(field: str, value: object) -> bool:
    """Return a boolean."""
    if isinstance(value, bool):
        return value
    raise ControlError(field, value, "true or false")


def read_choice(field: str, value: object, choices: Collection[str]) -> str:
    """Return one of *choices*."""
    if isinstance(value, str) and value in choices:
        return value
    wanted = f"one of {', '.join(choices)}{did_you_mean(value, choices)}"
    raise ControlError(field, value, wanted)


def _bounds(least: float, most: float) -> str:
    return f"of {least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
