"""Cut lists into pages whose tokens hold only for the same question; performs no I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import attrs
import orjson

from fireworks_batch.emulator.clock import SECOND, Instant
from fireworks_batch.emulator.http.refusals import invalid
from fireworks_batch.emulator.http.routing import Call

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
_TOKEN_LIFETIME: Final = 3600 * SECOND
_SIGNATURE_BYTES: Final = 9


@attrs.frozen
class ListQuestion:
    """The parameters of a list call, as they came."""

    page_size: str = ""
    page_token: str = ""
    filter: str = ""
    order_by: str = ""
    read_mask: str = ""

    @classmethod
    def read(cls, call: Call) -> ListQuestion:
        """Take the parameters out of a call."""
        return cls(
            page_size=call.parameter("pageSize"),
            page_token=call.parameter("pageToken"),
            filter=call.parameter("filter"),
            order_by=call.parameter("orderBy"),
            read_mask=call.parameter("readMask"),
        )

    def fingerprint(self, collection: str) -> list[str]:
        """Give what must be the same on every page."""
        return [collection, self.page_size, self.filter, self.order_by, self.read_mask]


def read_page_size(text: str) -> int:
    """Read a page size: 50 if not given or 0, at most 200 (both documented).

    Raises:
        RefusalError: It is no whole number, or negative (400).
    """
    if not text:
        return DEFAULT_PAGE_SIZE
    try:
        size = int(text)
    except ValueError:
        raise invalid(f"parsing field page_size: invalid int32 {text!r}") from None
    if size < 0:
        raise invalid(f"page_size must not be negative: {size}")
    return min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class PageTokens:
    """Makes page tokens, and refuses those that it did not make for the same question."""

    def __init__(self, secret: bytes, *, expire: bool = False) -> None:
        self._secret = secret
        self._expire = expire

    def write(self, cursor: int, fingerprint: list[str], now: Instant) -> str:
        """Give the token that goes on after *cursor*."""
        body = orjson.dumps([cursor, now])
        token = self._sign(body, fingerprint) + body
        return base64.urlsafe_b64encode(token).decode().rstrip("=")

    def read(self, token: str, fingerprint: list[str], now: Instant) -> int:
        """Give the cursor in *token*.

        Raises:
            RefusalError: The token is foreign, expired, or belongs to another question (400).
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise invalid("invalid page token") from None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if signature != self._sign(body, fingerprint):
            raise invalid("invalid page token: it belongs to other list parameters")
        cursor, written = orjson.loads(body)
        if self._expire and now - written > _TOKEN_LIFETIME:
            raise invalid("invalid page token: it has expired")
        return int(cursor)

    def _sign(self, body: bytes, fingerprint: list[str]) -> bytes:
        text = orjson.dumps(fingerprint) + body
        return hashlib.blake2b(text, key=self._secret, digest_size=_SIGNATURE_BYTES).digest()
