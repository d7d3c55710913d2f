"""Read which part of an object a request asks for; performs no I/O."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


class UnsatisfiableRangeError(Exception):
    """A range outside of the object."""


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """Give the first byte and the length that `Range` asks for; None is everything.

    What is no range of bytes, or several of them, asks for everything.

    Raises:
        UnsatisfiableRangeError: No byte of the range is there.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise UnsatisfiableRangeError
    return start, end - start


def is_range_meant(headers: Mapping[str, str], etag: str, modified: datetime) -> bool:
    """Whether `If-Range`, if it is there, names the object as it is now."""
    wanted = headers.get("If-Range")
    if wanted is None:
        return True
    if wanted.startswith(('"', "W/")):
        return wanted == etag
    try:
        return parsedate_to_datetime(wanted) == modified.replace(microsecond=0)
    except ValueError:
        return False
