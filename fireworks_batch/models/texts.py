"""How errors, logs and reprs show texts: on one line, shortened, and without secrets.

Performs no I/O.
"""

import logging
import re
from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Final

__all__ = ["Secret", "did_you_mean", "fit", "fit_record", "hidden", "moment", "visible"]


# --- Texts of servers ---------------------------------------------------------------------------


# Control characters, which a terminal obeys, and surrogates, which UTF-8 cannot encode.
_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_HEAD, _TAIL = 1500, 497


def visible(text: str) -> str:
    """Return a text on one line, with its control characters escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def fit(text: str) -> str:
    """Return a text as errors and logs show it: `visible`, and at most 2,000 characters long.

    The middle of a longer text is left out. The end is kept, because it says what to do.
    """
    return _cut(visible(_cut(text)))


def _cut(text: str) -> str:
    is_short = len(text) <= _HEAD + _TAIL + 3
    return text if is_short else f"{text[:_HEAD]} … {text[-_TAIL:]}"


def moment(time: datetime | None) -> str:
    """Return a time, which is in UTC, as ``"2026-09-14T12:00:05Z"``; empty if it is None."""
    return "" if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def fit_record(record: logging.LogRecord) -> bool:
    """Apply `fit` to the text of a log record; for use as a filter that lets each record pass.

    A record whose text `fit` does not change keeps its format and its arguments.
    """
    text = record.getMessage()
    if (fitting := fit(text)) != text:
        record.msg, record.args = fitting, ()
    return True


# --- Words that are nearly right ----------------------------------------------------------------


# A longer text is no misspelt word, and would take long to compare.
_LONGEST_WORD: Final = 200


def did_you_mean(value: object, words: Iterable[str]) -> str:
    """Return the end of an error about a misspelt word: the word of *words* that is near.

    Args:
        value: What was given.
        words: What could have been meant.

    Returns:
        ``"; did you mean 'FP8'?"``, or an empty string if no word is near.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_WORD:
        return ""
    spelt = {word.lower(): word for word in words}
    found = get_close_matches(value.lower(), spelt, n=1)
    return f"; did you mean {spelt[found[0]]!r}?" if found else ""


# --- Secrets ------------------------------------------------------------------------------------


class Secret(str):
    """A string whose repr hides it, so that a traceback's local variables do not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hidden(value: Any) -> Any:
    """Return a string as a `Secret`, and any other value unchanged."""
    return Secret(value) if isinstance(value, str) else value
