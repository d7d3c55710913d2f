"""How a listing is requested, and what is learned from refusals and from answers.

Performs no I/O.
"""

import enum
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, TypeAlias

import attrs

from fireworks_batch.models.errors import APIStatusError, AuthenticationError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.polling.schedule import PAGE_SIZE
from fireworks_batch.wire.codec import mask_paths
from fireworks_batch.wire.requests import ListQuery

__all__ = [
    "MASK",
    "ORDER",
    "Approach",
    "Print",
    "Verdict",
    "is_another",
    "is_newest_first",
    "lay_over",
    "print_of",
    "values",
]


Print: TypeAlias = tuple[Any, ...]
"""The JSON values of name, state and the other members that the server changes, in this order. Two
prints are equal if none of these members has changed."""


_FIELDS: Final = (
    "state",
    "status",
    "job_progress",
    "lifecycle",
    "waiting_on_capacity",
    "update_time",
    "expire_time",
    "output_dataset_id",
    "placement",
)


_MINUTE: Final = timedelta(minutes=1)


MASK: Final = mask_paths(_FIELDS)
"""The read mask of later polls, which has ``name`` and the members that the server changes."""


_KEYS: Final = tuple(MASK.split(","))


values: Final[Callable[[Any], Print]] = itemgetter(*_KEYS)
"""Return the `Print` of an item that has all members; raise for any other item."""


def print_of(item: Any) -> Print:
    """Return the `Print` of an item. An absent member is None; all are None without an object."""
    try:
        values_ = values(item)
    except (KeyError, TypeError, IndexError):
        get = item.get if isinstance(item, dict) else dict[str, Any]().get
        return tuple(map(get, _KEYS))
    return values_


def lay_over(whole: BatchInferenceJob, part: BatchInferenceJob) -> BatchInferenceJob:
    """Return the whole job, updated with the members of a masked answer.

    Args:
        whole: The job at the poll before.
        part: The job that was read from the masked answer. Only the mask's members are used.
    """
    return attrs.evolve(whole, **{name: getattr(part, name) for name in _FIELDS})


def is_another(whole: BatchInferenceJob, part: BatchInferenceJob) -> bool:
    """Say whether a masked answer is about a new job of the same name, made after a deletion.

    The expiry of a job follows from its creation. A job cannot be deleted and made again within a
    minute.

    Args:
        whole: The job at the poll before.
        part: The job that was read from the masked answer.
    """
    before, after = whole.expire_time, part.expire_time
    return before is not None and after is not None and abs(after - before) > _MINUTE


ORDER: Final = "create_time desc"
"""The order that is requested. The newest jobs come first, since these jobs are polled."""


# Statuses that may mean that the server lists no jobs, or no jobs for this key.
_REFUSALS: Final = frozenset({400, 403, 404, 405, 501})


# Statuses that a gateway may send in any form, not only as JSON of the API.
_PLAIN: Final = frozenset({405, 501})


class Verdict(enum.Enum):
    """What to do after a page was refused."""

    AGAIN = "again"
    """Begin with the first page again, and request the listing in another way."""

    FAILED = "failed"
    """The page failed; a repeat may succeed."""

    OFF = "off"
    """There are no listings for this client."""


@attrs.define
class Approach:
    """What a client knows about listings: whether they work, with an order, with a mask."""

    is_off: bool = False
    """Whether listings are refused. The client then sends only GETs, as long as it lives."""

    has_order: bool = True
    """Whether `ORDER` is requested; if not, the server's own order is used."""

    has_masks: bool = True
    """Whether later polls may use a read mask."""

    is_doubted: bool = False
    """Whether the last listing failed for so long that listings are not trusted."""

    is_settled: bool = False
    """Whether the order is known. The answers have proven it, or the server's order is used."""

    _has_worked: bool = False
    _refusals: int = 0

    def query(self, *, is_whole: bool) -> ListQuery:
        """Return the query of the next listing.

        Args:
            is_whole: Whether whole jobs are needed. To prove the order, whole jobs are needed too,
                because of their create times.
        """
        is_masked = self.has_masks and self.is_settled and not is_whole
        return ListQuery(
            page_size=PAGE_SIZE,
            order_by=ORDER if self.has_order else "",
            read_mask=MASK if is_masked else "",
        )

    def on_refusal(self, error: APIStatusError, query: ListQuery, *, is_first: bool) -> Verdict:
        """Learn from a page that was refused.

        Args:
            error: The refusal.
            query: The query of the page.
            is_first: Whether it was the first page. On a later page the token may be the cause.
        """
        is_said = error.from_api or error.status in _PLAIN
        if error.status not in _REFUSALS or not is_said or not is_first:
            return Verdict.FAILED
        if isinstance(error, AuthenticationError):
            return Verdict.FAILED  # the key is refused; keys rotate
        if error.status == 400 and query.read_mask:
            self.has_masks = False
            return Verdict.AGAIN
        if error.status == 400 and query.order_by and not self._has_worked:
            self._give_up_order()
            return Verdict.AGAIN
        self._refusals += 1
        if self._has_worked and self._refusals < 2:
            return Verdict.FAILED
        self.is_off = True
        return Verdict.OFF

    def on_page(self, create_times: Iterable[object]) -> bool:
        """Learn from a page of whole jobs.

        Args:
            create_times: The wire's create times, in the page's order.

        Returns:
            Whether the next listing is requested in another order. The pages on which jobs were
            seen are then no longer valid.
        """
        self._has_worked, self._refusals = True, 0
        if self.is_settled:
            return False
        proof = is_newest_first(create_times)
        if proof is False:
            self._give_up_order()
            return True
        self.is_settled = proof is True
        return False

    def _give_up_order(self) -> None:
        self.has_order, self.is_settled = False, True


def is_newest_first(create_times: Iterable[object]) -> bool | None:
    """Say whether times are in descending order; None if there are not two different times.

    Args:
        create_times: RFC 3339 strings; values of any other form are left out.
    """
    moments = [moment for text in create_times if (moment := _moment(text)) is not None]
    steps = [later > earlier for earlier, later in pairwise(moments) if later != earlier]
    return not any(steps) if steps else None


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
