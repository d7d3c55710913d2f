"""A page round: one reading of the listing's pages, for the polls that are due."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.connection.repeats import Repeats, is_429
from fireworks_batch.models.errors import (
    AccountSuspendedError,
    APIStatusError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
    RequestTimeoutError,
    ResponseDecodeError,
)
from fireworks_batch.polling.approach import (
    Approach,
    Print,
    Verdict,
    is_another,
    lay_over,
    print_of,
)
from fireworks_batch.polling.followers import Followers, Subject
from fireworks_batch.polling.machine import Failure, FailureKind
from fireworks_batch.polling.observation import JobSource, Moment, failure_of
from fireworks_batch.polling.schedule import UNLISTED, reads_on
from fireworks_batch.wire.answers import Page, is_transient
from fireworks_batch.wire.requests import ListQuery

__all__ = ["PageRound", "concerns_all", "failure_for"]


# Requests for one page. A page that fails is requested again: later pages need its token.
_ATTEMPTS: Final = 4


# Seconds before the first repeat of a page, as a share of the interval between two polls.
_WAIT: Final = 1 / 16


# What an answer shows for a member if the server does not obey the read mask.
_EMPTY: Final = (None, "")


@attrs.frozen
class _Read:
    """A page, and when it was requested and read."""

    page: Page
    asked_at: float
    moment: Moment


class PageRound:
    """Reads pages until all wanted jobs were seen, or until GETs are cheaper than more pages."""

    def __init__(
        self,
        source: JobSource,
        followers: Followers,
        approach: Approach,
        *,
        wanted: Iterable[Subject],
        planned: int,
        now: float,
    ) -> None:
        """Make a round.

        Args:
            source: Requests pages.
            followers: The followers of all jobs, since a page shows more jobs than the wanted ones.
            approach: How to request a listing; learns from the answers.
            wanted: The jobs whose polls are due.
            planned: The number of pages that are worth reading for these jobs.
            now: The moment.
        """
        self._source = source
        self.api: Api = source.api
        self._followers = followers
        self.approach = approach
        self._planned = planned
        self._wanted = {subject.name: subject for subject in wanted}
        self._beyond = [
            self._wanted.pop(subject.name)
            for subject in list(self._wanted.values())
            if subject.page is not None and subject.page >= planned
        ]
        machines = [
            poll.follower.machine for subject in self._wanted.values() for poll in subject.polls
        ]
        self.pause: float = followers.pause()
        self.least_pause: float = min((one.pause for one in machines), default=0.0)
        self.longest: float = min((one.policy.max_interval for one in machines), default=0.0)
        self._asked_at = now
        self._has_begun_anew = False
        self.failure: FireworksBatchError | None = None
        """The error of the last request for a page; None if that request succeeded."""
        self.is_refused: bool = False
        """Whether the failure was a refusal of the listing, which says nothing about the jobs."""

    def missing(self) -> list[Subject]:
        """Return the jobs that were not seen and are still polled, the longest due first."""
        waiting = {
            subject: min(poll.due for poll in polls)
            for subject in (*self._wanted.values(), *self._beyond)
            if (polls := subject.due_by(self._asked_at))
        }
        return sorted(waiting, key=lambda subject: waiting[subject])

    async def run(self) -> None:
        """Read the pages, and tell the followers of the jobs on them.

        Raises:
            ClientStateError: The client was closed.
            ConfigurationError: The listing cannot be requested.
        """
        while await self._read_listing():
            self.failure = None

    async def _read_listing(self) -> bool:
        """Read pages from the first one on; return whether to begin again in another way."""
        is_whole = any(subject.job is None for subject in self._wanted.values())
        query = self.approach.query(is_whole=is_whole)
        token, tokens, number = "", {""}, 0
        while True:
            read = await self._read_page(query, token)
            if isinstance(read, Verdict):
                return read is Verdict.AGAIN
            is_complete = self._take(read, number, is_masked=bool(query.read_mask))
            if query.read_mask and not is_complete:
                self.approach.has_masks = False
                return True
            if self._learns_another_order(read.page):
                return True
            number, token = number + 1, read.page.next_page_token
            if self._is_enough(number, is_last=token in tokens):
                return False
            tokens.add(token)

    def _is_enough(self, read: int, *, is_last: bool) -> bool:
        """Say whether to stop reading, and note on which page the missing jobs may be."""
        if self._wanted and not is_last and read < self._planned:
            return False
        self._wanted = {
            name: subject
            for name, subject in self._wanted.items()
            if subject.due_by(self._asked_at)
        }
        missing = len(self._wanted)
        if missing and not is_last and reads_on(read, missing):
            return False
        for subject in self._wanted.values():
            subject.page = UNLISTED if is_last else read
        return True

    def _learns_another_order(self, page: Page) -> bool:
        times = (item.get("createTime") for item in page.items if isinstance(item, dict))
        if not self.approach.on_page(times):
            return False
        for subject in self._followers.subjects.values():
            subject.page = None
        return True

    # --- One page -------------------------------------------------------------------------------

    async def _read_page(self, query: ListQuery, token: str) -> _Read | Verdict:
        """Request a page, with repeats; return the page, or what to do after the failure."""
        repeats = _PageRepeats(self, query, token)
        try:
            read = await repeats.run(partial(self._ask, query, token, repeats))
        except (ClientStateError, ConfigurationError):
            raise
        except FireworksBatchError as error:
            self.failure = error
            return repeats.verdict
        self.failure, self.approach.is_doubted = None, False
        return read

    async def _ask(self, query: ListQuery, token: str, repeats: "_PageRepeats") -> _Read:
        asked_at = max(self._asked_at, self.api.clock())
        page, moment = await self._source.page(
            self._followers.account_id, query, token, pause=repeats.pause
        )
        return _Read(page, asked_at, moment)

    def verdict(self, error: FireworksBatchError, query: ListQuery, token: str) -> Verdict:
        """Learn from a failed request for a page, and say what to do."""
        if not isinstance(error, APIStatusError):
            return Verdict.FAILED
        verdict = self.approach.on_refusal(error, query, is_first=not token)
        self.is_refused = verdict is Verdict.OFF or not is_transient(error)
        if verdict is Verdict.FAILED and self.is_refused and token and not self._has_begun_anew:
            # The token may have expired, for example while the gate was closed.
            self._has_begun_anew, self.is_refused = True, False
            return Verdict.AGAIN
        return verdict

    # --- The jobs of a page ---------------------------------------------------------------------

    def _take(self, read: _Read, number: int, *, is_masked: bool) -> bool:
        """Tell the followers of the jobs on a page; return whether each had name and state."""
        find = self._followers.subjects.get
        shown: list[Subject] = []
        is_complete = True
        for item in read.page.items:
            print_ = print_of(item)
            name, state = print_[0], print_[1]
            if name in _EMPTY or state in _EMPTY:
                is_complete = False
                continue
            if not isinstance(name, str) or not isinstance(state, str):
                continue  # the job is left to a GET
            subject = find(name)
            if subject is not None and self._has_read(subject, item, print_, is_masked=is_masked):
                subject.page, subject.gets = number, 0
                self._wanted.pop(name, None)
                shown.append(subject)
        self._followers.tell(shown, read.moment, asked_at=read.asked_at, now=read.moment.now)
        return is_complete

    def _has_read(
        self, subject: Subject, item: dict[str, Any], print_: Print, *, is_masked: bool
    ) -> bool:
        """Read a job if it has changed; return False for a job that is left to a GET."""
        if subject.job is not None and print_ == subject.print:
            return True
        if is_masked and subject.job is None:
            return False
        try:
            job, problems = self._source.read(item)
        except ResponseDecodeError:
            return False
        if is_masked and subject.job is not None:
            if is_another(subject.job, job):
                subject.forget()
                return False
            job = lay_over(subject.job, job)
        subject.take(job, problems, print_)
        return True


class _PageRepeats(Repeats):
    """How often a page that fails is requested again, before the jobs are left to GETs."""

    def __init__(self, round_: PageRound, query: ListQuery, token: str) -> None:
        api = round_.api
        super().__init__(api.clock, api.session.sleep_until)
        self._round = round_
        self._query = query
        self._token = token
        self._attempts_left = 0 if round_.approach.is_doubted else _ATTEMPTS - 1
        self._wait = _WAIT * round_.least_pause
        self.pause = round_.pause
        self.verdict = Verdict.FAILED

    def _again_at(self, error: FireworksBatchError, now: float) -> float:
        if isinstance(error, ClientStateError | ConfigurationError):
            raise error
        self._round.failure = error
        self.verdict = self._round.verdict(error, self._query, self._token)
        has_hung = isinstance(error, RequestTimeoutError)  # the other polls would wait
        is_final = self.verdict is not Verdict.FAILED or self._round.is_refused or has_hung
        if is_final or not self._attempts_left:
            raise error
        self._attempts_left -= 1
        if is_429(error):
            self.pause = min(2 * self.pause, self._round.longest)
        self._wait *= 2
        return now + self._wait / 2


def failure_for(error: FireworksBatchError) -> Failure:
    """Return the failed poll for a failed page; it is never a refusal of a job."""
    failure = failure_of(error)
    if failure.kind is FailureKind.RATE_LIMITED:
        return failure
    return attrs.evolve(failure, kind=FailureKind.NO_ANSWER)


def concerns_all(news: Failure | FireworksBatchError) -> bool:
    """Say whether a failed GET concerns all jobs: no connection, or a bad key."""
    if isinstance(news, FireworksBatchError):
        return True
    if news.kind in {FailureKind.NO_ANSWER, FailureKind.RATE_LIMITED}:
        return True
    return isinstance(news.error, AuthenticationError | AccountSuspendedError)
