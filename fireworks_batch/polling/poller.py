"""The poller: makes the polls of an account's jobs, with GETs or pages, for all followers.

The poller works only while polls are pending. It has a timer between requests, and a task for each
request.
"""

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from fireworks_batch.models.errors import ClientStateError, ConfigurationError, FireworksBatchError
from fireworks_batch.models.names import JobRef
from fireworks_batch.polling.approach import Approach
from fireworks_batch.polling.followers import (
    Follower,
    Followers,
    News,
    PendingPoll,
    Subject,
    subjects_of,
)
from fireworks_batch.polling.machine import Failure, FailureKind
from fireworks_batch.polling.observation import JobSource, Moment, failure_of
from fireworks_batch.polling.page_round import PageRound, concerns_all, failure_for
from fireworks_batch.polling.schedule import (
    gap,
    gap_ends,
    group,
    is_for_gets,
    lanes,
    pages_to_read,
    turn,
)

__all__ = ["Poller"]


class Poller:
    """Makes the polls of one account's jobs.

    The poller owns a timer and the tasks of its requests, which run in contexts of their own. When
    the last follower has left, the timer and the tasks end within one turn of the loop.
    """

    def __init__(self, account_id: str, source: JobSource) -> None:
        """Make a poller without followers.

        Args:
            account_id: The account of the jobs.
            source: Requests jobs.
        """
        self._followers = Followers(account_id)
        self._source = source
        self._api = source.api
        self._approach = Approach()
        self._wakening: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gets = 0
        self._for_get: deque[Subject] = deque()
        self._is_paging = False
        self._round: PageRound | None = None
        self._gap_until = -math.inf
        self._reached = -math.inf
        self._pause = 0.0

    # --- Followers ------------------------------------------------------------------------------

    async def follow(self, ref: JobRef, follower: Follower) -> None:
        """Poll a job until the follower needs no other poll.

        The answer to a poll is an observation that was made when the poll was due, or later. The
        request may have been sent for another follower.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
            ConfigurationError: The request cannot be made.
        """
        poll = self.join(ref, follower)
        try:
            await poll.future
        finally:
            self.leave(poll)

    def join(self, ref: JobRef, follower: Follower) -> PendingPoll:
        """Begin to poll a job for a follower, until its polls end or `leave` is called.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
        """
        self._api.session.ready()
        poll = self._followers.join(ref, follower, self._api.clock())
        self._waken()
        return poll

    def leave(self, poll: PendingPoll) -> None:
        """Stop polling for a follower."""
        self._followers.leave(poll)
        if not self._followers.subjects:
            self._stop()

    def close(self, error: Exception) -> None:
        """End the polls of all followers with an error."""
        self._followers.end_all(error)
        self._stop()

    async def settled(self) -> None:
        """Wait until the last requests have ended, after all followers have left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _stop(self) -> None:
        for handle in (self._wakening, self._timer):
            if handle is not None:
                handle.cancel()
        self._wakening = self._timer = None
        self._for_get.clear()
        for task in self._tasks:
            task.cancel()

    # --- The work, and its timer -----------------------------------------------------------------

    def _waken(self) -> None:
        if self._wakening is None:
            loop = asyncio.get_running_loop()
            self._wakening = loop.call_soon(self._work, -math.inf, context=contextvars.Context())

    def _work(self, moment: float) -> None:
        """Begin the polls that are due, and set the timer for the next ones.

        Args:
            moment: The moment for which the timer was set. The loop's clock may be a little behind
                this moment, also in the next turns of the loop.
        """
        self._wakening = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._reached = max(self._reached, moment, self._api.clock())
            again_at = self._begin(self._reached)
        except Exception as bug:  # noqa: BLE001 - raised in all waits
            self.close(bug)
            return
        if not self._followers.subjects:
            self._stop()
        elif again_at < math.inf:
            self._timer = asyncio.get_running_loop().call_at(
                again_at, self._work, again_at, context=contextvars.Context()
            )

    def _begin(self, now: float) -> float:
        """Begin the polls that are due; return the moment at which to continue."""
        cut = Failure(FailureKind.CUT, self._round.failure if self._round else None)
        for poll in self._followers.polls():
            if poll.deadline <= now:
                self._followers.tell_one(poll, cut, now)
        deadline = min((poll.deadline for poll in self._followers.polls()), default=math.inf)
        opens_at = self._api.session.gate.opens_at
        again_at = opens_at if opens_at > now else self._begin_polls(now)
        return min(again_at, deadline)

    def _begin_polls(self, now: float) -> float:
        """Begin the polls that are due; return when the next polls are due.

        If infinity is returned, this method is called again when a request has ended.
        """
        if not self._begin_gets(now) or self._is_paging:
            return math.inf
        while polls := group(free := self._free(), now):
            if self._gap_until > now and (start := gap_ends(free, self._gap_until)) > now:
                return start
            pages = self._pages_to_read(polls)
            moments = [poll.due for poll in polls]
            start = max(moments) if pages else min(moments)
            if start > now:
                return start
            if pages:
                self._begin_round(polls, pages, now)
                return math.inf
            self._get_one_by_one([poll for poll in polls if poll.due <= now], now)
            if not self._begin_gets(now):
                return math.inf
        return math.inf

    def _free(self) -> list[PendingPoll]:
        """Return the polls of jobs without a GET, neither under way nor in the queue."""
        polls = self._followers.polls()
        if not self._gets and not self._for_get:
            return polls
        return [one for one in polls if one.subject.asked_at is None and not one.subject.is_for_get]

    def _pages_to_read(self, polls: Iterable[PendingPoll]) -> int:
        """Return the number of pages that are worth reading for some polls; 0 means only GETs."""
        if self._approach.is_off or is_for_gets(len(self._followers.subjects)):
            return 0
        return pages_to_read([subject.page for subject in subjects_of(polls)])

    def _begin_gap(self, polls: Sequence[PendingPoll], now: float) -> None:
        """Let the next polls wait for each other, so that the same pages show their jobs."""
        longest = min(poll.follower.machine.policy.max_interval for poll in polls)
        self._gap_until = now + gap(longest)

    def _spawn(
        self, work: Coroutine[Any, Any, None], when_done: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Begin a request; ``when_done`` is called even if the request is cancelled at once."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, when_done))
        return task

    def _done(self, when_done: Callable[[], None], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        when_done()
        if not self._followers.subjects:
            self._stop()

    # --- Pages ----------------------------------------------------------------------------------

    def _begin_round(self, polls: Sequence[PendingPoll], pages: int, now: float) -> None:
        self._is_paging = True
        self._begin_gap(polls, now)
        self._spawn(self._page(subjects_of(polls), pages, now), self._paged)

    def _paged(self) -> None:
        self._is_paging, self._round = False, None
        if self._followers.subjects:
            self._waken()

    async def _page(self, wanted: list[Subject], planned: int, now: float) -> None:
        try:
            await self._read_pages(wanted, planned, now)
        except Exception as bug:  # noqa: BLE001 - raised in all waits
            self.close(bug)

    async def _read_pages(self, wanted: list[Subject], planned: int, now: float) -> None:
        """Read the listing; then leave the jobs that it did not show to GETs."""
        pages = self._round = PageRound(
            self._source, self._followers, self._approach, wanted=wanted, planned=planned, now=now
        )
        try:
            await pages.run()
        except (ClientStateError, ConfigurationError) as error:
            self._tell(wanted, error, now)
            return
        missing, failed = pages.missing(), pages.failure
        if failed is None:
            self._leave_to_gets(missing)
        elif pages.is_refused or self._approach.is_doubted:
            await self._probe(missing, now)
        else:
            failure = failure_for(failed)
            # A server that asks to wait is working.
            self._approach.is_doubted = failure.kind is not FailureKind.RATE_LIMITED
            self._tell(missing, failure, now)

    async def _probe(self, missing: list[Subject], now: float) -> None:
        """Go on with GETs if the listing fails: first one GET, which may fail for all jobs."""
        if not missing:
            return
        first, *others = missing
        self._pause = self._followers.pause()
        news = await self._ask(first)
        self._tell([first], news, now)
        if isinstance(news, Moment) or not concerns_all(news):
            self._leave_to_gets(others)
        else:
            self._tell(others, news, now)

    def _leave_to_gets(self, subjects: Sequence[Subject]) -> None:
        """Queue jobs for GETs: the first ones, and not so many that a page waits for long.

        The other jobs are still due, and come next. If the listing has failed, it may work by then.
        """
        waiting = [one for one in subjects if one.polls and not one.is_for_get]
        self._pause = self._followers.pause()
        pause = min(
            (poll.follower.machine.pause for one in waiting for poll in one.polls), default=0.0
        )
        for subject in waiting[: turn(self._api.session.gate.spacing, pause)]:
            subject.is_for_get = True
            self._for_get.append(subject)

    # --- GETs -----------------------------------------------------------------------------------

    def _get_one_by_one(self, polls: Sequence[PendingPoll], now: float) -> None:
        """Queue due polls for GETs; begin a gap if a page could have shown the jobs."""
        subjects = subjects_of(sorted(polls, key=lambda poll: poll.due))
        self._leave_to_gets(subjects)
        pages = self._pages_to_read(self._followers.polls())
        if pages and any(job.page is None or job.page < pages for job in subjects):
            self._begin_gap(polls, now)

    def _begin_gets(self, now: float) -> bool:
        """Begin the GETs of the queued jobs; return whether all have begun."""
        while self._for_get:
            subject = self._for_get[0]
            if subject.is_for_get and not self._begin_get(subject, now):
                return False
            subject.is_for_get = False
            self._for_get.popleft()
        return True

    def _begin_get(self, subject: Subject, now: float) -> bool:
        """Begin the GET of a job; return False if enough GETs are under way."""
        if subject.asked_at is not None:
            return True
        if self._gets >= lanes(self._api.session.gate.spacing):
            return False
        subject.asked_at = now
        self._gets += 1
        subject.task = self._spawn(self._get(subject, now), partial(self._got, subject))
        return True

    def _got(self, subject: Subject) -> None:
        """Continue after a GET, if something is due before the timer."""
        subject.task = subject.asked_at = None
        self._gets -= 1
        again_at = self._timer.when() if self._timer is not None else math.inf
        if self._for_get:
            # Only the next GET is begun here: with many jobs, to look at all polls takes long.
            now = self._reached = max(self._reached, self._api.clock())
            is_open = self._api.session.gate.opens_at <= now
            has_begun_all = not is_open or self._begin_gets(now)
            is_early = has_begun_all or any(one.deadline < again_at for one in subject.polls)
        else:
            is_early = any(min(one.due, one.deadline) < again_at for one in subject.polls)
        if is_early:
            self._waken()

    async def _get(self, subject: Subject, asked_at: float) -> None:
        try:
            news = await self._ask(subject)
        except Exception as bug:  # noqa: BLE001 - raised in all waits
            self.close(bug)
            return
        self._tell([subject], news, asked_at)

    async def _ask(self, subject: Subject) -> News:
        """Request a whole job; an error that is returned ends all polls."""
        try:
            value, observation = await self._source.get(
                self._followers.account_id, subject.ref.job_id, pause=self._pause
            )
        except (ClientStateError, ConfigurationError) as error:
            return error
        except FireworksBatchError as error:
            return failure_of(error)
        subject.take_get(value, observation)
        return observation.moment

    def _tell(self, subjects: Iterable[Subject], news: News, asked_at: float) -> None:
        self._followers.tell(subjects, news, asked_at=asked_at, now=self._api.clock())
