"""Answer a list call: read filter, order, mask and page, and cut the page; performs no I/O."""

from collections.abc import Iterable, Mapping, Sequence

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.http.messages import Message
from fireworks_batch.emulator.http.refusals import invalid
from fireworks_batch.emulator.http.routing import Call
from fireworks_batch.emulator.lists.filters import read_filter
from fireworks_batch.emulator.lists.masks import member_path, read_view
from fireworks_batch.emulator.lists.ordering import OrderTerm, put_in_order, read_order
from fireworks_batch.emulator.lists.paging import ListQuestion, PageTokens, read_page_size
from fireworks_batch.emulator.setting import Setting

_TIMES = {
    "created_time": "createTime",
    "createdTime": "createTime",
    "updated_time": "updateTime",
    "updatedTime": "updateTime",
}
_FIELD_TIMES = frozenset({"create_time", "createTime", "update_time", "updateTime"})


def field_path(name: str, message: Message, rules: Assumptions) -> tuple[str, ...]:
    """Resolve the name of a field in `orderBy` or `filter`.

    Raises:
        RefusalError: There is no such field (400).
    """
    if name in _TIMES and rules.order_field_names != "create_time":
        return (_TIMES[name],)
    if name in _FIELD_TIMES and rules.order_field_names == "created_time":
        raise invalid(f"invalid field: {name!r}")
    return member_path(name, message, what="field")


class Listing:
    """Reads the parameters of one list call, and cuts the page that they ask for.

    Args:
        setting: What all rooms of the emulator share.

        call: The call.

        message: What the items are.

        collection: The answer's member that holds them.

        default_order: The order without `orderBy`; none keeps the order of the items.

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
        question = ListQuestion.read(call)
        self._rules = setting.rules
        self._message = message
        self._collection = collection
        self._now = setting.clock.now
        self._tokens = PageTokens(setting.secret, expire=self._rules.page_tokens == "expiring")
        self._token = question.page_token
        self._fingerprint = question.fingerprint(f"{call.places.get('account')}/{collection}")
        self._view = read_view(question.read_mask, message, self._rules)
        self.size = read_page_size(question.page_size)
        """How many items a page has at most."""

        text = question.filter
        self.terms = read_filter(text, self._path) if text.strip() else ()
        """What the items must have."""

        self.order = read_order(question.order_by, self._path) or default_order
        """What the items are ordered by."""

    def answer(self, items: Iterable[Mapping[str, object]]) -> dict[str, object]:
        """Give the page of *items* (all there are) as the answer's body.

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
        """Give the cursor of the page before this one; 0 for the first page.

        Raises:
            RefusalError: The page token is foreign, expired, or of another question (400).
        """
        if not self._token:
            return 0
        return self._tokens.read(self._token, self._fingerprint, self._now())

    def page(
        self, items: Iterable[Mapping[str, object]], *, total: int, cursor: int
    ) -> dict[str, object]:
        """Give a page as the answer's body.

        Args:
            items: The items of the page.

            total: How many items all pages have.

            cursor: Where the next page begins; 0 on the last page.
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
