"""How a broken download goes on: what an answer means for the bytes that are there already.

Performs no I/O. Storage answers as Google's does: ranges, strong ETags, ``x-goog-hash``.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

import attrs

__all__ = [
    "Held",
    "StartOver",
    "Take",
    "read_answer",
    "request_headers",
    "size_of",
]


_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII).fullmatch


_NO_RANGE: Final = re.compile(r"bytes \*/(\d{1,19})", re.ASCII).fullmatch


_LENGTH: Final = re.compile(r"\d{1,19}", re.ASCII).fullmatch


_STRONG: Final = re.compile(r'"[^"]*"').fullmatch


@attrs.frozen(kw_only=True)
class Held:
    """What is there of a file, and what is known of the whole."""

    size: int = 0
    """Bytes on disk."""

    etag: str = ""
    """The strong validator of the object that they are of; empty if it cannot be resumed."""

    total: int | None = None
    """The object's length in bytes, if it is known."""

    md5: bytes | None = None
    """The object's MD5, if it is known."""


@attrs.frozen
class Take:
    """Read the answer's body, and append it to what is held then."""

    held: Held
    """What is there before the body; a size of zero drops what was there."""


@attrs.frozen
class StartOver:
    """Drop what is there, and ask for the whole."""

    reason: str
    """What the answer says instead of going on."""


def request_headers(held: Held) -> dict[str, str]:
    """Return the headers that ask for the rest: never compressed, and of the same object only."""
    headers = {"Accept-Encoding": "identity"}
    if held.size and held.etag:
        headers |= {"Range": f"bytes={held.size}-", "If-Range": held.etag}
    return headers


def read_answer(held: Held, status: int, headers: Mapping[str, str]) -> Take | StartOver | None:
    """Decide about an answer.

    Args:
        held: What is there.
        status: Its status.
        headers: Its headers, case-insensitive.

    Returns:
        None if it is a refusal, to be read for what it says.
    """
    if status == 200:
        return Take(_whole(headers))
    if status == 206:
        return _part(held, headers)
    if held.size and status in {412, 416}:
        return StartOver(f"the range is refused ({status})")
    return None


def _whole(headers: Mapping[str, str]) -> Held:
    if headers.get("content-encoding", "identity").lower() != "identity":
        # Length, hash and ranges are those of the compressed object.
        return Held()
    etag, length = headers.get("etag", ""), headers.get("content-length", "")
    return Held(
        etag=etag if _STRONG(etag) else "",
        total=int(length) if _LENGTH(length) else None,
        md5=_md5(headers),
    )


def _part(held: Held, headers: Mapping[str, str]) -> Take | StartOver:
    text = headers.get("content-range", "")
    found = _CONTENT_RANGE(text)
    if found is None:
        return StartOver(f"a part without a range that can be read ({text!r})")
    first, last, total = map(int, found.groups())
    if first != held.size or last != total - 1:
        return StartOver(f"bytes {first} to {last} of {total}, not those from {held.size} on")
    if held.total not in {None, total} or headers.get("etag", held.etag) != held.etag:
        return StartOver("the object has changed")
    return Take(attrs.evolve(held, total=total, md5=_md5(headers) or held.md5))


def _md5(headers: Mapping[str, str]) -> bytes | None:
    """Read ``x-goog-hash``, which may come in several lines; of an object in parts it has none."""
    lines = [value for name, value in headers.items() if name.lower() == "x-goog-hash"]
    for entry in ",".join(lines).split(","):
        algorithm, _, value = entry.strip().partition("=")
        if algorithm == "md5":
            return _digest(value)
    return None


def _digest(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 16 else None


def size_of(status: int, headers: Mapping[str, str]) -> int | None:
    """Return an object's length by the answer to a request for its first byte, if it says so."""
    text = headers.get("content-range", "")
    if status == 206 and (found := _CONTENT_RANGE(text)):
        return int(found[3])
    if status == 416 and (found := _NO_RANGE(text)):
        return int(found[1])
    return _whole(headers).total if status == 200 else None
