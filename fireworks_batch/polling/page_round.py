"""One reading of the listing for looks that are due: its pages, and what is left to GETs."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.connection.repeats import is_429
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
from fireworks_batch.polling.followers import Subject, Teller
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.polling.observation import Failure, JobReader, Moment, failure_of
from fireworks_batch.polling.schedule import UNLISTED, reads_on
from fireworks_batch.wire.answers import Page, is_transient, read_page
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import ListQuery, list_jobs

__all__ = ["PageRound", "Pieces", "concerns_all", "cut", "failure_for"]


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


# A page that fails is asked for again at once, or the late ones of many would never be reached.
_ATTEMPTS: Final = 4


# The first wait before that, as a share of the interval between two looks.
_WAIT: Final = 1 / 16


# What an answer to a mask that was not obeyed shows.
_EMPTY: Final = (None, "")


@attrs.frozen
class _Sheet:
    """A page, compared with what is known."""

    same: list[Subject]
    """The jobs whose texts are as before."""

    others: list[tuple[Any, bytes]]
    """The JSON values of the other jobs, with the texts they were read from."""

    next_page_token: str
    """Of the next page; empty on the last one."""


@attrs.frozen
class _Read:
    """A page, and when it was asked for and read."""

    sheet: _Sheet
    asked_at: float
    moment: Moment


class PageRound:
    """Reads pages until each job that is wanted was seen, or GETs are the cheaper way."""

    def __init__(
        self,
        wanted: Iterable[Subject],
        *,
        planned: int,
        now: float,
        pause: float,
        subjects: Mapping[str, Subject],
        approach: Approach,
        teller: Teller,
        api: Api,
        reader: JobReader,
        account_id: str,
    ) -> None:
        """Take what a round is made of.

        Args:
            wanted: The jobs whose looks are due.
            planned: How many pages are worth reading for them.
            now: The moment that they are due at.
            pause: Seconds for which a 429 without a Retry-After closes the gate.
            subjects: All jobs that somebody looks at, by resource name: a page shows others too.
            approach: How to ask, and what is learned about that.
            teller: Tells those who wait for a job.
            api: Sends.
            reader: Reads what comes back.
            account_id: Whose listing it is.
        """
        self._planned = planned
        self._subjects = subjects
        self._approach = approach
        self._teller = teller
        self._api = api
        self._reader = reader
        self._account_id = account_id
        self._wanted = {subject.name: subject for subject in wanted}
        self._beyond = [
            self._wanted.pop(subject.name)
            for subject in list(self._wanted.values())
            if subject.page is not None and subject.page >= planned
        ]
        looking = [one.follower for subject in self._wanted.values() for one in subject.interests]
        self._pause = pause
        self._least_pause = min((one.pause for one in looking), default=0.0)
        self._longest = min((one.longest for one in looking), default=0.0)
        self._asked_at = now
        self._has_begun_anew = False
        self.failure: FireworksBatchError | None = None
        """What the last attempt at a page failed with."""
        self.is_refused = False
        """Whether that was a refusal: it says nothing of the jobs."""

    def left(self) -> list[Subject]:
        """Return the jobs that were not seen, and that somebody still waits for, longest first."""
        waiting = {
            subject: min(one.due for one in looks)
            for subject in (*self._wanted.values(), *self._beyond)
            if (looks := subject.waiting(self._asked_at))
        }
        return sorted(waiting, key=lambda subject: waiting[subject])

    async def run(self) -> None:
        """Read the pages, and tell those who wait of what is on them.

        Raises:
            ClientStateError: The client was closed.
            ConfigurationError: Nothing can be asked at all.
        """
        while await self._read_listing():
            self.failure = None

    async def _read_listing(self) -> bool:
        """Read pages from the first one; return whether to begin anew, in another way."""
        is_whole = any(subject.job is None for subject in self._wanted.values())
        query = self._approach.query(is_whole=is_whole)
        token, tokens, read = "", {""}, 0
        while True:
            page = await self._read_page(query, token)
            if isinstance(page, Verdict):
                return page is Verdict.AGAIN
            is_complete = self._take(page, read, is_masked=bool(query.read_mask))
            if query.read_mask and not is_complete:
                self._approach.has_masks = False
                return True
            if self._learns_another_order(page.sheet):
                return True
            read, token = read + 1, page.sheet.next_page_token
            if self._is_enough(read, is_last=token in tokens):
                return False
            tokens.add(token)

    def _is_enough(self, read: int, *, is_last: bool) -> bool:
        """Say whether to stop here, and note where those that are missing may be."""
        if self._wanted and not is_last and read < self._planned:
            return False
        self._wanted = {
            name: subject
            for name, subject in self._wanted.items()
            if subject.waiting(self._asked_at)
        }
        missing = len(self._wanted)
        if missing and not is_last and reads_on(read, missing):
            return False
        for subject in self._wanted.values():
            subject.page = UNLISTED if is_last else read
        return True

    def _learns_another_order(self, sheet: _Sheet) -> bool:
        times = [item.get("createTime") for item, _ in sheet.others if isinstance(item, dict)]
        if not self._approach.on_page(times):
            return False
        for subject in self._subjects.values():
            subject.page = None
        return True

    # --- One page -------------------------------------------------------------------------------

    async def _read_page(self, query: ListQuery, token: str) -> _Read | Verdict:
        """Ask for a page until it comes, is refused, hangs, or has failed often enough."""
        request = list_jobs(self._account_id, query, token)
        wait, pause = _WAIT * self._least_pause, self._pause
        for attempt in range(1 if self._approach.is_doubted else _ATTEMPTS):
            if attempt:
                await self._api.session.sleep_until(self._api.clock() + wait)
                wait *= 2
                if self.failure is not None and is_429(self.failure):
                    pause = min(2 * pause, self._longest)
            asked_at = max(self._asked_at, self._api.clock())
            try:
                answer = await self._api.transport.send_once(request, pause=pause)
                sheet = self._compared(answer.body)
            except (ClientStateError, ConfigurationError):
                raise
            except FireworksBatchError as error:
                self.failure = error
            else:
                self.failure, self._approach.is_doubted = None, False
                moment = self._reader.moment(answer, self._api.clock())
                return _Read(sheet, asked_at, moment)
            verdict = self._verdict(self.failure, query, token)
            has_hung = isinstance(self.failure, RequestTimeoutError)  # others wait all the while
            if verdict is not Verdict.FAILED or self.is_refused or has_hung:
                return verdict
        return Verdict.FAILED

    def _verdict(self, error: FireworksBatchError, query: ListQuery, token: str) -> Verdict:
        if not isinstance(error, APIStatusError):
            return Verdict.FAILED
        verdict = self._approach.on_refusal(error, query, is_first=not token)
        self.is_refused = verdict is Verdict.OFF or not is_transient(error)
        if verdict is Verdict.FAILED and self.is_refused and token and not self._has_begun_anew:
            # A token may have expired, as while the gate was closed.
            self._has_begun_anew, self.is_refused = True, False
            return Verdict.AGAIN
        return verdict

    # --- What is on it --------------------------------------------------------------------------

    def _compared(self, body: bytes) -> _Sheet:
        """Read of a page what is not known; all of it while its order is to be judged.

        Raises:
            ResponseDecodeError: It cannot be read.
        """
        pieces = cut(body, self._account_id) if self._approach.is_settled else None
        if pieces is not None:
            with contextlib.suppress(ResponseDecodeError, UnicodeDecodeError):
                return self._compared_pieces(pieces)
        page = read_page(parse_json(body), "batchInferenceJobs")
        return _Sheet([], [(item, b"") for item in page.items], page.next_page_token)

    def _compared_pieces(self, pieces: Pieces) -> _Sheet:
        find, prefix = self._subjects.get, f"accounts/{self._account_id}/batchInferenceJobs/"
        same: list[Subject] = []
        others: list[tuple[Any, bytes]] = []
        for text in pieces.texts:
            subject = find(prefix + text[: text.find(b'"')].decode())
            if subject is None:
                continue
            if text == subject.text:
                same.append(subject)
            else:
                others.append((pieces.read(text), text))
        others.extend((item, b"") for item in pieces.tail.items)
        return _Sheet(same, others, pieces.tail.next_page_token)

    def _take(self, page: _Read, number: int, *, is_masked: bool) -> bool:
        """Tell those who wait for the jobs on a page; return whether each had name and state.

        Most jobs are as they were before, so that what is done for those is what a round costs.
        """
        sheet = page.sheet
        for subject in sheet.same:
            subject.page = number
            self._wanted.pop(subject.name, None)
        self._teller.tell_same(sheet.same, page.moment, page.asked_at)
        is_complete = True
        for item, text in sheet.others:
            name, state, *_ = print_ = print_of(item)
            if name in _EMPTY or state in _EMPTY:
                is_complete = False
                continue
            if not isinstance(name, str) or not isinstance(state, str):
                continue  # that job is left to a GET
            shown = self._subjects.get(name)
            if shown is not None and self._has_read(shown, item, print_, is_masked=is_masked):
                shown.page, shown.gets = number, 0
                shown.keep(text, print_)
                self._wanted.pop(name, None)
                self._teller.tell_waiting(shown, page.moment, page.asked_at)
        return is_complete

    def _has_read(
        self, subject: Subject, item: dict[str, Any], print_: Print, *, is_masked: bool
    ) -> bool:
        """Read a job if it has changed; if it cannot be, or not whole, it is left to a GET."""
        if subject.job is not None and print_ == subject.print:
            return True
        if is_masked and subject.job is None:
            return False
        try:
            job, problems = self._reader.read(item)
        except ResponseDecodeError:
            return False
        if is_masked and subject.job is not None:
            if is_another(subject.job, job):
                subject.forget()
                return False
            job = lay_over(subject.job, job)
        subject.take(job, problems, print_)
        return True


def failure_for(error: FireworksBatchError) -> Failure:
    """Return what a failed page means for those who waited for it: never a refusal of a job."""
    failure = failure_of(error)
    if failure.kind is FailureKind.RATE_LIMITED:
        return failure
    return attrs.evolve(failure, kind=FailureKind.LOST)


def concerns_all(news: Failure | FireworksBatchError) -> bool:
    """Whether a failed GET says as much of all other jobs: no connection, a bad key."""
    if isinstance(news, FireworksBatchError):
        return True
    if news.kind in {FailureKind.LOST, FailureKind.RATE_LIMITED}:
        return True
    return isinstance(news.error, AuthenticationError | AccountSuspendedError)
