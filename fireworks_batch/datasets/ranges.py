"""How a broken download is resumed: what an answer means for the bytes on disk.

Performs no I/O. The storage is Google's, with ranges, strong ETags and ``x-goog-hash``.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["Held", "StartOver", "Take", "read_answer", "request_headers", "size_of"]

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII).fullmatch
_NO_RANGE: Final = re.compile(r"bytes \*/(\d{1,19})", re.ASCII).fullmatch
_LENGTH: Final = re.compile(r"\d{1,19}", re.ASCII).fullmatch
# Visible ASCII only, since the ETag is sent back in a header.
_STRONG: Final = re.compile(r'"[!#-~]*"').fullmatch


@attrs.frozen(kw_only=True)
class Held:
    """The part of a file that is on disk, and what is known about the whole file."""

    size: int = 0
    """Number of bytes on disk."""

    etag: str = ""
    """The strong validator of the object in storage; empty if the download cannot be resumed."""

    total: int | None = None
    """The object's length in bytes; None if unknown."""

    md5: bytes | None = None
    """The object's MD5; None if unknown."""


@attrs.frozen
class Take:
    """Append the body of the answer to the part on disk."""

    held: Held
    """The part to append the body to. A size of zero drops the bytes on disk."""


@attrs.frozen
class StartOver:
    """Drop the part on disk, and ask for the whole file."""

    reason: str
    """Why the download cannot be resumed."""


def request_headers(held: Held) -> dict[str, str]:
    """Return the headers that ask for the missing bytes of the same object, uncompressed."""
    headers = {"Accept-Encoding": "identity"}
    if held.size and held.etag:
        headers |= {"Range": f"bytes={held.size}-", "If-Range": held.etag}
    return headers


def read_answer(held: Held, status: int, headers: Mapping[str, str]) -> Take | StartOver | None:
    """Decide what to do with an answer.

    Args:
        held: The part on disk.
        status: The HTTP status of the answer.
        headers: The headers of the answer, case-insensitive.

    Returns:
        The decision; None if the answer is a refusal.
    """
    if status in {200, 206} and (coding := _content_coding(headers)):
        # An answer of a few kilobytes can unpack to gigabytes. The object's length, hash and ranges
        # are about the compressed bytes.
        return StartOver(f"the file is compressed ({coding[:40]!r}), which was not asked for")
    if status == 200:
        return Take(_whole(headers))
    if status == 206:
        return _part(held, headers)
    if held.size and status in {412, 416}:
        return StartOver(f"the range is refused ({status})")
    return None


def _whole(headers: Mapping[str, str]) -> Held:
    if headers.get("x-goog-stored-content-encoding", "identity").lower() != "identity":
        # Google's storage has unpacked the object (documented as decompressive transcoding). The
        # length and the hash are about the packed object.
        return Held()
    etag, length = headers.get("etag", ""), headers.get("content-length", "")
    return Held(
        etag=etag if _STRONG(etag) else "",
        total=int(length) if _LENGTH(length) else None,
        md5=_md5(headers),
    )


def _content_coding(headers: Mapping[str, str]) -> str:
    """Return how the body is compressed; empty if it is not compressed."""
    # The header may come in several lines, and aiohttp regards only the last line.
    lines = [value for name, value in headers.items() if name.lower() == "content-encoding"]
    codings = [coding.strip() for coding in ",".join(lines).split(",")]
    return ", ".join(coding for coding in codings if coding.lower() not in {"", "identity"})


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
    """Return the MD5 in ``x-goog-hash``, a header of one or more lines; None if absent."""
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
    """Return an object's length from the answer to a request for its first byte; None if absent."""
    text = headers.get("content-range", "")
    if status == 206 and (found := _CONTENT_RANGE(text)):
        return int(found[3])
    if status == 416 and (found := _NO_RANGE(text)):
        return int(found[1])
    return _whole(headers).total if status == 200 and not _content_coding(headers) else None
