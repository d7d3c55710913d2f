"""The answers to list calls for jobs. Performs no I/O."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.clock import Instant
from fireworks_batch.emulator.http.refusals import invalid
from fireworks_batch.emulator.http.routing import Call
from fireworks_batch.emulator.jobs.job import Job
from fireworks_batch.emulator.jobs.schema import JOB
from fireworks_batch.emulator.jobs.scripts import PREFIX
from fireworks_batch.emulator.lists.filters import Term
from fireworks_batch.emulator.lists.ordering import OrderTerm
from fireworks_batch.emulator.lists.paging import Listing
from fireworks_batch.emulator.setting import Setting

_SEQUENCE: Final = attrgetter("origin.sequence")
_CREATION: Final = ("createTime",)
_STATE: Final = ("state",)


def list_jobs(
    setting: Setting, call: Call, jobs: Sequence[Job], now: Instant
) -> Mapping[str, object]:
    """Return the page that a call asks for.

    In the order of creation, a page begins after the last job of the page before, even if jobs were
    created or deleted meanwhile. In another order, a page begins at a position.

    Args:
        setting: What all parts of the emulator share.

        call: The list call.

        jobs: All jobs of the account, the oldest first.

        now: The present instant.

    Raises:
        RefusalError: A parameter cannot be used (400).
    """
    rules = setting.rules
    if rules.filter_support == "refuse" and call.parameter("filter").strip():
        raise invalid("filtering is not supported")
    by_creation = OrderTerm(_CREATION, is_descending=rules.default_order == "newest_first")
    listing = Listing(
        setting, call, JOB, collection="batchInferenceJobs", default_order=(by_creation,)
    )
    listing.terms = tuple(_wire_term(term, rules) for term in listing.terms)
    if [term.path for term in listing.order] != [_CREATION]:
        return listing.answer(job.show(now) for job in jobs)
    wanted = [job for job in jobs if listing.wants(job.show(now))] if listing.terms else jobs
    cursor = listing.cursor()
    if listing.order[0].is_descending:
        left = bisect_left(wanted, cursor, key=_SEQUENCE) if cursor else len(wanted)
        page = wanted[max(0, left - listing.size) : left][::-1]
    else:
        start = bisect_right(wanted, cursor, key=_SEQUENCE)
        left = len(wanted) - start
        page = wanted[start : start + listing.size]
    return listing.page(
        [job.show(now) for job in page],
        total=len(wanted),
        cursor=page[-1].origin.sequence if left > len(page) else 0,
    )


def _wire_term(term: Term, rules: Assumptions) -> Term:
    """Return a term with the wire's name of a state.

    Raises:
        RefusalError: The term names a state without its prefix, and such names are refused (400).
    """
    if term.path != _STATE or term.value.startswith(PREFIX):
        return term
    if rules.filter_state_names == "wire":
        raise invalid(f"invalid filter: {term.value!r} is no value of state")
    return Term(_STATE, PREFIX + term.value)
