"""How texts show themselves in errors, logs and reprs: on one line, cut; secrets not at all.

Performs no I/O.
"""

import logging
import re
from typing import Any, Final

__all__ = ["Secret", "fit", "fit_record", "hidden", "visible"]


# --- Texts of others ----------------------------------------------------------------------------


# Characters that a terminal or the reader of a log obeys, and those that UTF-8 cannot spell.
_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_HEAD, _TAIL = 1500, 497


def visible(text: str) -> str:
    """Return a text on one line with its control characters spelled out."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def fit(text: str) -> str:
    """Return a text as errors and logs have it: `visible`, and of at most 2,000 characters.

    Of a longer text the middle is left out: what to do about an error stands at its end.
    """
    return _cut(visible(_cut(text)))


def _cut(text: str) -> str:
    is_short = len(text) <= _HEAD + _TAIL + 3
    return text if is_short else f"{text[:_HEAD]} … {text[-_TAIL:]}"


def fit_record(record: logging.LogRecord) -> bool:
    """Make the text of a log record fit: a filter that lets each record pass.

    A record whose text is fit keeps its format and its arguments.
    """
    text = record.getMessage()
    if (fitting := fit(text)) != text:
        record.msg, record.args = fitting, ()
    return True


# --- Secrets ------------------------------------------------------------------------------------


class Secret(str):
    """A string that does not show itself in a repr, and so not among a traceback's locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hidden(value: Any) -> Any:
    """Return a string as one that does not show itself, anything else as it is."""
    return Secret(value) if isinstance(value, str) else value
