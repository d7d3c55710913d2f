"""Answer a list call: which jobs, in which order, on which page; performs no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .assumptions import Assumptions
from .clock import Instant
from .filters import Term, read_filter
from .job_schema import JOB
from .job_store import jobs_after, jobs_before
from .jobs import Job
from .masks import member_path, read_view
from .ordering import OrderTerm, put_in_order, read_order
from .paging import ListQuestion, PageTokens, page_body, read_page_size
from .phases import PREFIX
from .refusals import invalid
from .schema import Message

_TIMES: Final = {
    "created_time": "createTime",
    "createdTime": "createTime",
    "updated_time": "updateTime",
    "updatedTime": "updateTime",
}
_FIELD_TIMES: Final = frozenset({"create_time", "createTime", "update_time", "updateTime"})
_CREATION: Final = ("createTime",)
_STATE: Final = ("state",)


def field_path(name: str, assumptions: Assumptions, message: Message = JOB) -> tuple[str, ...]:
    """Resolve a field's name in `orderBy` or `filter`.

    Raises:
        RefusalError: There is no such field (400).
    """
    if name in _TIMES and assumptions.order_field_names != "create_time":
        return (_TIMES[name],)
    if name in _FIELD_TIMES and assumptions.order_field_names == "created_time":
        raise invalid(f"invalid field: {name!r}")
    return member_path(name, message, what="field")


class JobListing:
    """Reads one list call's parameters, and cuts the page that they ask for."""

    def __init__(
        self, question: ListQuestion, *, account_id: str, tokens: PageTokens, rules: Assumptions
    ) -> None:
        self._rules = rules
        self._tokens = tokens
        self._token = question.page_token
        self._fingerprint = question.fingerprint(account_id)
        self._size = read_page_size(question.page_size)
        self._view = read_view(question.read_mask, JOB, rules)
        self._terms = self._read_filter(question.filter)
        default = OrderTerm(_CREATION, is_descending=rules.default_order == "newest_first")
        self._order = read_order(question.order_by, self._path) or (default,)

    def answer(self, jobs: Sequence[Job], now: Instant) -> dict[str, object]:
        """Give the page of *jobs* (all there are, oldest first) as the answer's body."""
        wanted = [job for job in jobs if self._is_wanted(job, now)] if self._terms else jobs
        cursor = self._tokens.read(self._token, self._fingerprint, now) if self._token else 0
        page, next_cursor = self._cut(wanted, cursor, now)
        return page_body(
            "batchInferenceJobs",
            [self._view.show(job.show(now)) for job in page],
            total=len(wanted),
            next_token=self._next_token(next_cursor, now),
            rules=self._rules,
        )

    def _next_token(self, cursor: int, now: Instant) -> str:
        return self._tokens.write(cursor, self._fingerprint, now) if cursor else ""

    def _cut(self, jobs: Sequence[Job], cursor: int, now: Instant) -> tuple[Sequence[Job], int]:
        if len(self._order) == 1 and self._order[0].path == _CREATION:  # no need to sort
            return self._cut_by_creation(jobs, cursor)
        ordered = put_in_order(jobs, self._order, lambda job: job.show(now))
        end = cursor + self._size
        return ordered[cursor:end], end if end < len(ordered) else 0

    def _cut_by_creation(self, jobs: Sequence[Job], cursor: int) -> tuple[Sequence[Job], int]:
        if self._order[0].is_descending:
            rest = jobs_before(jobs, cursor) if cursor else jobs
            page = rest[-self._size :][::-1]
        else:
            rest = jobs_after(jobs, cursor) if cursor else jobs
            page = rest[: self._size]
        return page, page[-1].origin.sequence if len(rest) > len(page) else 0

    def _is_wanted(self, job: Job, now: Instant) -> bool:
        resource = job.show(now)
        return all(term.is_met_by(resource) for term in self._terms)

    def _path(self, name: str) -> tuple[str, ...]:
        return field_path(name, self._rules)

    def _read_filter(self, text: str) -> tuple[Term, ...]:
        if not text.strip():
            return ()
        if self._rules.filter_support == "refuse":
            raise invalid("filtering is not supported")
        return tuple(self._checked(term) for term in read_filter(text, self._path))

    def _checked(self, term: Term) -> Term:
        if term.path != _STATE or term.value.startswith(PREFIX):
            return term
        if self._rules.filter_state_names == "wire":
            raise invalid(f"invalid filter: {term.value!r} is no value of state")
        return Term(_STATE, PREFIX + term.value)
