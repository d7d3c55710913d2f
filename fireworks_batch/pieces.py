"""A page of a listing cut into the texts of its jobs: what was read before is not read again.

A text that is the same, byte for byte, as one that was read as a whole job says the same. A server
that writes its pages in another way than is expected here only costs the time to read them.
Performs no I/O.
"""

import re
from functools import lru_cache
from typing import Any

import attrs

from fireworks_batch.errors import ResponseDecodeError
from fireworks_batch.paging import Page, read_page
from fireworks_batch.wire import parse_json

__all__ = ["Pieces", "cut"]

_KEY = "batchInferenceJobs"


@attrs.frozen
class Pieces:
    """A page whose last job is read, while those before it are texts."""

    texts: list[bytes]
    """What follows the head, for each job but the last: its id, a quotation mark, and the rest."""

    head: bytes
    """What each job's text begins with, up to its id."""

    tail: Page
    """The page with the last job only."""

    def read(self, text: bytes) -> Any:
        """Return the JSON value of a job.

        Raises:
            ResponseDecodeError: The text is no whole job; then the page has to be read as one.
        """
        return parse_json(self.head + text.rstrip(b", \t\r\n"))


def cut(body: bytes, account_id: str) -> Pieces | None:
    """Cut a page; None if it is not written as expected.

    No string of JSON has the head in it: its quotation marks would be escaped there.

    Args:
        body: The answer.
        account_id: Whose jobs they are.
    """
    start = _start(account_id)(body)
    if start is None:
        return None
    head = start[2]
    _, *texts, last = body[start.start(2) :].split(head)
    try:
        tail = read_page(parse_json(start[1] + head + last), _KEY)
    except ResponseDecodeError:
        return None
    return Pieces(texts, head, tail) if len(tail.items) == 1 else None


@lru_cache(maxsize=16)
def _start(account_id: str) -> Any:
    name = re.escape(f'"accounts/{account_id}/{_KEY}/'.encode())
    return re.compile(
        rb'(\s*\{\s*"%s"\s*:\s*\[\s*)(\{\s*"name"\s*:\s*%s)' % (_KEY.encode(), name)
    ).match
