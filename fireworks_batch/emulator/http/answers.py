"""Answers, before they are sent."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TypeAlias

import attrs
import orjson

_NO_HEADERS: Mapping[str, str] = {}
_CHUNK = 256 * 1024


@attrs.frozen
class FileBody:
    """A body that is a part of a file, *size* bytes from *start* on."""

    path: Path
    start: int
    size: int

    def __len__(self) -> int:
        return self.size

    def first(self, size: int) -> FileBody:
        """Return the first *size* bytes of the body, or all of a shorter one."""
        return attrs.evolve(self, size=min(size, self.size))

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the body in chunks. This runs on the loop: a cached chunk takes microseconds."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            remaining = self.size
            while remaining and (chunk := file.read(min(remaining, _CHUNK))):
                remaining -= len(chunk)
                yield chunk


@attrs.frozen
class GzipBody:
    """The compressed content of a file. Its length is not known before its end."""

    path: Path

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the compressed body in chunks."""
        packer = zlib.compressobj(wbits=31)
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield packer.compress(chunk)
        yield packer.flush()


@attrs.frozen
class BytesBody:
    """A body in memory."""

    content: bytes

    def __len__(self) -> int:
        return len(self.content)

    def first(self, size: int) -> BytesBody:
        """Return the first *size* bytes of the body, or all of a shorter one."""
        return BytesBody(self.content[:size])

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the whole body."""
        yield self.content


Body: TypeAlias = BytesBody | FileBody


@attrs.define(slots=True, eq=False)
class Answer:
    """One whole HTTP answer."""

    status: int
    body: bytes | FileBody | GzipBody
    content_type: str = "application/json"
    headers: Mapping[str, str] = _NO_HEADERS

    @property
    def source(self) -> Body:
        """The body in a form that has a length."""
        match self.body:
            case bytes():
                return BytesBody(self.body)
            case GzipBody():
                return BytesBody(b"".join(self.body.chunks()))
            case _:
                return self.body


def answer_json(
    value: object, *, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS
) -> Answer:
    """Return an answer with *value* as JSON."""
    return Answer(status, orjson.dumps(value), headers=headers)


def answer_html(status: int, title: str) -> Answer:
    """Return an HTML page, as a front end or a proxy answers."""
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page.encode(), content_type="text/html")


def answer_xml(status: int, code: str, message: str, details: str = "") -> Answer:
    """Return a refusal of the storage."""
    more = f"<Details>{details}</Details>" if details else ""
    text = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    )
    return Answer(status, text.encode(), content_type="application/xml; charset=UTF-8")
