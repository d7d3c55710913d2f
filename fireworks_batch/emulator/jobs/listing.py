"""Answer the list call for jobs: which jobs, in which order, on which page; performs no I/O."""

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
    """Return the page of *jobs* (all there are, oldest first) that *call* asks for.

    In the order of creation a page begins after the last job of the page before it, even if jobs
    were created or deleted meanwhile; in any other order it begins at a position.

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
        rest = wanted[: bisect_left(wanted, cursor, key=_SEQUENCE)] if cursor else wanted
        page = rest[-listing.size :][::-1]
    else:
        rest = wanted[bisect_right(wanted, cursor, key=_SEQUENCE) :]
        page = rest[: listing.size]
    return listing.page(
        [job.show(now) for job in page],
        total=len(wanted),
        cursor=page[-1].origin.sequence if len(rest) > len(page) else 0,
    )


def _wire_term(term: Term, rules: Assumptions) -> Term:
    """Return the term with the state's name of the wire.

    Raises:
        RefusalError: It names a state without its prefix, and that is refused (400).
    """
    if term.path != _STATE or term.value.startswith(PREFIX):
        return term
    if rules.filter_state_names == "wire":
        raise invalid(f"invalid filter: {term.value!r} is no value of state")
    return Term(_STATE, PREFIX + term.value)
