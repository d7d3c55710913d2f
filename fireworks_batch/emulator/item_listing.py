"""Answer a list call over plain resources: filter, order, mask, page; performs no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .filters import read_filter
from .job_listing import field_path
from .masks import read_view
from .ordering import OrderTerm, put_in_order, read_order
from .paging import ListQuestion, page_body, read_page_size

if TYPE_CHECKING:
    from .routing import Call
    from .schema import Message
    from .world import World

_Resource = Mapping[str, object]


class ItemListing:
    """Reads one list call's parameters, and cuts the page that they ask for.

    Args:
        call: The call.

        message: What the items are.

        collection: The answer's member that holds them.

        default_order: The order without `orderBy`; none keeps the order of the items.
    """

    def __init__(
        self,
        world: World,
        call: Call,
        message: Message,
        *,
        collection: str,
        default_order: Sequence[OrderTerm] = (),
    ) -> None:
        question = ListQuestion.read(call)
        self._world = world
        self._rules = world.setting.rules
        self._message = message
        self._collection = collection
        self._token = question.page_token
        self._fingerprint = question.fingerprint(f"{call.places.get('account')}/{collection}")
        self._size = read_page_size(question.page_size)
        self._view = read_view(question.read_mask, message, self._rules)
        text = question.filter
        self._terms = read_filter(text, self._path) if text.strip() else ()
        self._order = read_order(question.order_by, self._path) or default_order

    def answer(self, items: Iterable[_Resource]) -> dict[str, object]:
        """Give the page of *items* (all there are) as the answer's body."""
        tokens, now = self._world.tokens, self._world.clock.now()
        wanted = [item for item in items if all(term.is_met_by(item) for term in self._terms)]
        ordered = put_in_order(wanted, self._order, lambda item: item)
        start = tokens.read(self._token, self._fingerprint, now) if self._token else 0
        end = start + self._size
        is_last = end >= len(ordered)
        return page_body(
            self._collection,
            [self._view.show(item) for item in ordered[start:end]],
            total=len(ordered),
            next_token="" if is_last else tokens.write(end, self._fingerprint, now),
            rules=self._rules,
        )

    def _path(self, name: str) -> tuple[str, ...]:
        return field_path(name, self._rules, self._message)
