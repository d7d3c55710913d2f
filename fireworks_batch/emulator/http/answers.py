"""Hold an answer before it meets the network."""

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
    """A body that lies in a file: *size* bytes from *start* on."""

    path: Path
    start: int
    size: int

    def __len__(self) -> int:
        return self.size

    def first(self, size: int) -> FileBody:
        """Give the first *size* bytes of the body, or all of a shorter one."""
        return attrs.evolve(self, size=min(size, self.size))

    def chunks(self) -> Generator[bytes, None, None]:
        """Read it bit by bit, on the loop: from a warm cache a chunk takes microseconds."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left and (chunk := file.read(min(left, _CHUNK))):
                left -= len(chunk)
                yield chunk


@attrs.frozen
class GzipBody:
    """The content of a file, compressed; how long it is shows at its end."""

    path: Path

    def chunks(self) -> Generator[bytes, None, None]:
        """Compress it bit by bit."""
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
        """Give the first *size* bytes of the body, or all of a shorter one."""
        return BytesBody(self.content[:size])

    def chunks(self) -> Generator[bytes, None, None]:
        """Give all of it."""
        yield self.content


Body: TypeAlias = BytesBody | FileBody


@attrs.define(slots=True, eq=False)
class Answer:
    """One HTTP answer, whole."""

    status: int
    body: bytes | FileBody | GzipBody
    content_type: str = "application/json"
    headers: Mapping[str, str] = _NO_HEADERS

    @property
    def source(self) -> Body:
        """The body, of a length that is known."""
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
    """Answer with *value* as JSON."""
    return Answer(status, orjson.dumps(value), headers=headers)


def answer_html(status: int, title: str) -> Answer:
    """Answer as a front end or proxy does: a page that is not JSON."""
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page.encode(), content_type="text/html")


def answer_xml(status: int, code: str, message: str, details: str = "") -> Answer:
    """Answer as the storage does when it refuses."""
    more = f"<Details>{details}</Details>" if details else ""
    text = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    )
    return Answer(status, text.encode(), content_type="application/xml; charset=UTF-8")
