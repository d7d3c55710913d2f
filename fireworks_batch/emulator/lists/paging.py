"""The pages of list calls. Performs no I/O."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.clock import SECOND, Instant
from fireworks_batch.emulator.http.messages import Message
from fireworks_batch.emulator.http.refusals import invalid
from fireworks_batch.emulator.http.routing import Call
from fireworks_batch.emulator.lists.filters import Term, read_filter
from fireworks_batch.emulator.lists.masks import member_path, read_view
from fireworks_batch.emulator.lists.ordering import OrderTerm, put_in_order, read_order
from fireworks_batch.emulator.setting import Setting

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
_TOKEN_LIFETIME: Final = 3600 * SECOND
_SIGNATURE_BYTES: Final = 9
_TIMES: Final = {
    "created_time": "createTime",
    "createdTime": "createTime",
    "updated_time": "updateTime",
    "updatedTime": "updateTime",
}
_FIELD_TIMES: Final = frozenset({"create_time", "createTime", "update_time", "updateTime"})


def field_path(name: str, message: Message, rules: Assumptions) -> tuple[str, ...]:
    """Return the path of a field that ``orderBy`` or ``filter`` names.

    Raises:
        RefusalError: There is no such field (400).
    """
    if name in _TIMES and rules.order_field_names != "create_time":
        return (_TIMES[name],)
    if name in _FIELD_TIMES and rules.order_field_names == "created_time":
        raise invalid(f"invalid field: {name!r}")
    return member_path(name, message, what="field")


class Listing:
    """The parameters of one list call, and the page that they ask for.

    Args:
        setting: What all parts of the emulator share.

        call: The list call.

        message: The members of the items.

        collection: The member of the answer that has the items.

        default_order: The order without ``orderBy``. If empty, items keep their order.

    Raises:
        RefusalError: A parameter cannot be used (400).
    """

    def __init__(
        self,
        setting: Setting,
        call: Call,
        message: Message,
        *,
        collection: str,
        default_order: Sequence[OrderTerm] = (),
    ) -> None:
        size, text, order, mask = (
            call.parameter(name) for name in ("pageSize", "filter", "orderBy", "readMask")
        )
        self._rules = setting.rules
        self._message = message
        self._collection = collection
        self._now = setting.clock.now
        self._tokens = PageTokens(setting.secret, expire=self._rules.page_tokens == "expiring")
        self._token = call.parameter("pageToken")
        place = f"{call.places.get('account')}/{collection}"
        self._fingerprint = [place, size, text, order, mask]
        self.size: int = read_page_size(size)
        """The most items of a page."""

        self._view = read_view(mask, message, self._rules)
        self.terms: tuple[Term, ...] = read_filter(text, self._path) if text.strip() else ()
        """The comparisons that each item must meet."""

        self.order: Sequence[OrderTerm] = read_order(order, self._path) or default_order
        """The order of the items."""

    def answer(self, items: Iterable[Mapping[str, object]]) -> dict[str, object]:
        """Return the body of the answer, with one page of *items*, which are all items.

        Raises:
            RefusalError: The page token cannot be used (400).
        """
        ordered = put_in_order(filter(self.wants, items), self.order)
        start = self.cursor()
        end = start + self.size
        is_last = end >= len(ordered)
        return self.page(ordered[start:end], total=len(ordered), cursor=0 if is_last else end)

    def wants(self, item: Mapping[str, object]) -> bool:
        """Whether the filter lets *item* through."""
        return all(term.is_met_by(item) for term in self.terms)

    def cursor(self) -> int:
        """Return the cursor after which this page begins; 0 for the first page.

        Raises:
            RefusalError: The page token is foreign or expired, or is of another list call (400).
        """
        if not self._token:
            return 0
        return self._tokens.read(self._token, self._fingerprint, self._now())

    def page(
        self, items: Iterable[Mapping[str, object]], *, total: int, cursor: int
    ) -> dict[str, object]:
        """Return the body of the answer.

        Args:
            items: The items of the page.

            total: The number of items on all pages.

            cursor: The cursor after which the next page begins; 0 on the last page.
        """
        token = self._tokens.write(cursor, self._fingerprint, self._now()) if cursor else ""
        body: dict[str, object] = {
            self._collection: [self._view.show(item) for item in items],
            "nextPageToken": token,
            "totalSize": total,
        }
        if not token and self._rules.end_of_pages == "no_token":
            del body["nextPageToken"]
        return body

    def _path(self, name: str) -> tuple[str, ...]:
        return field_path(name, self._message, self._rules)


def read_page_size(text: str) -> int:
    """Return a page size. It is 50 if not given or 0, and at most 200 (both are documented).

    Raises:
        RefusalError: The size is not a whole number, or is negative (400).
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
    """Makes page tokens, and refuses tokens that are foreign or made for other parameters."""

    def __init__(self, secret: bytes, *, expire: bool = False) -> None:
        self._secret = secret
        self._expire = expire

    def write(self, cursor: int, fingerprint: list[str], now: Instant) -> str:
        """Return the token of the page that begins after *cursor*."""
        body = orjson.dumps([cursor, now])
        token = self._sign(body, fingerprint) + body
        return base64.urlsafe_b64encode(token).decode().rstrip("=")

    def read(self, token: str, fingerprint: list[str], now: Instant) -> int:
        """Return the cursor in *token*.

        Raises:
            RefusalError: The token is foreign or expired, or is of another list call (400).
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
