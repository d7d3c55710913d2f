"""Hold an answer before it meets the network; performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import orjson

_NO_HEADERS: Mapping[str, str] = {}


@attrs.define(slots=True, eq=False)
class Answer:
    """One HTTP answer, whole."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = _NO_HEADERS


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
