"""Who makes all looks at an account's jobs: by GETs or pages, for everybody who waits for a job.

Works only while looks are pending: a timer between requests, and a task for each request.
"""

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from fireworks_batch.connection.api import Api
from fireworks_batch.models.errors import ClientStateError, ConfigurationError, FireworksBatchError
from fireworks_batch.models.names import JobRef
from fireworks_batch.polling.approach import Approach, print_of
from fireworks_batch.polling.followers import Interest, News, Subject, Teller, subjects_of
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.polling.observation import (
    Failure,
    Follower,
    JobReader,
    Moment,
    failure_of,
    refuse_another,
)
from fireworks_batch.polling.page_round import PageRound, concerns_all, failure_for
from fireworks_batch.polling.schedule import (
    Agenda,
    first_due,
    group,
    in_order,
    is_for_gets,
    lanes,
    last_due,
    pages_to_read,
    rest,
    rest_ends,
    turn,
)
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import get_job

__all__ = ["Poller", "current_task"]


def current_task() -> asyncio.Task[Any] | None:
    """Return the task that is running; None where none is, nor a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class Poller:
    """Makes the looks at one account's jobs.

    Owns a timer and the tasks of its requests, all in contexts of their own; they end within a
    turn of the loop when the last one who looks has left.
    """

    def __init__(self, account_id: str, api: Api, reader: JobReader) -> None:
        """Take what looks are made with.

        Args:
            account_id: Whose jobs they are.
            api: Sends.
            reader: Reads what comes back.
        """
        self._account_id = account_id
        self._api = api
        self._reader = reader
        self._teller = Teller(self._end, api.clock)
        self._agenda: Agenda[Interest] = Agenda()
        self._subjects: dict[str, Subject] = {}
        self._wakening: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gets = 0
        self._for_get: deque[Subject] = deque()
        self._approach = Approach()
        self._is_paging = False
        self._round: PageRound | None = None
        self._rests_until = -math.inf
        self._reached = -math.inf

    # --- Those who look -------------------------------------------------------------------------

    async def follow(self, ref: JobRef, follower: Follower) -> None:
        """Look at a job until the follower has enough: see `effects.Follow`."""
        interest = self.join(ref, follower)
        try:
            await interest.future
        finally:
            self.leave(interest)

    def join(self, ref: JobRef, follower: Follower) -> Interest:
        """Begin to look at a job; whoever does has to `leave`.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
        """
        self._api.session.ready()
        memo = follower.memo
        subject = self._subjects.get(str(ref))
        if subject is None:
            subject = memo if isinstance(memo, Subject) else Subject(ref)
            self._subjects[subject.name] = subject
        follower.memo = subject
        future = asyncio.get_running_loop().create_future()
        interest = Interest(subject, follower, future, self._api.clock())
        subject.interests.append(interest)
        self._agenda.add(interest)
        self._waken()
        return interest

    def leave(self, interest: Interest) -> None:
        """Look no more."""
        if not interest.is_attached:
            return
        interest.is_attached = False
        self._agenda.discard(interest)
        subject = interest.subject
        subject.interests.remove(interest)
        if not subject.interests:
            del self._subjects[subject.name]
            subject.is_for_get = False
            if subject.task is not None:
                subject.task.cancel()
        if not self._subjects:
            self._stop()

    def close(self) -> None:
        """Wake everybody with `ClientStateError`."""
        for interest in self._interests():
            self._end(interest, ClientStateError("the client is closed"))

    async def settled(self) -> None:
        """Wait for the last requests to be gone, after everybody has left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _interests(self) -> list[Interest]:
        return [one for subject in self._subjects.values() for one in subject.interests]

    def _end(self, interest: Interest, error: BaseException | None = None) -> None:
        self.leave(interest)
        if interest.future.done():
            return
        if error is None:
            interest.future.set_result(None)
        else:
            interest.future.set_exception(error)

    def _stop(self) -> None:
        """Stop everything: nobody looks any more."""
        for handle in (self._wakening, self._timer):
            if handle is not None:
                handle.cancel()
        self._wakening = self._timer = None
        self._for_get.clear()
        current = current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    def _break(self, bug: Exception) -> None:
        """Hand what must not happen to everybody who looks: nobody waits for ever."""
        for interest in self._interests():
            self._end(interest, bug)

    # --- What is to be done, and when -----------------------------------------------------------

    def _waken(self) -> None:
        if self._wakening is None:
            loop = asyncio.get_running_loop()
            self._wakening = loop.call_soon(self._work, -math.inf, context=contextvars.Context())

    def _work(self, moment: float) -> None:
        """Begin what is due, and set the timer for what is not.

        Args:
            moment: What the timer was set for: the loop's clock may be a little behind it, now
                and for some turns to come.
        """
        self._wakening = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._reached = max(self._reached, moment, self._api.clock())
            again_at = self._begin(self._reached)
        except Exception as bug:  # noqa: BLE001 - handed on to everybody
            self._break(bug)
            return
        if again_at < math.inf and self._subjects:
            self._timer = asyncio.get_running_loop().call_at(
                again_at, self._work, again_at, context=contextvars.Context()
            )

    def _begin(self, now: float) -> float:
        """Begin what is due; return when there is more to do."""
        deadline = self._agenda.first_deadline()
        if deadline <= now:
            cut = Failure(FailureKind.CUT, self._round.failure if self._round else None)
            for interest in self._agenda.expired(now):
                self._teller.tell(interest, cut, now)
            deadline = self._agenda.first_deadline()
        opens_at = self._api.session.gate.opens_at
        again_at = opens_at if opens_at > now else self._begin_looks(now)
        return min(again_at, deadline)

    def _begin_looks(self, now: float) -> float:
        """Begin looks that are due; return when the next ones are.

        Where it is infinity, the end of a request leads here again.
        """
        if not self._begin_left_gets(now) or self._is_paging:
            return math.inf
        while looks := group(free := self._free(), now):
            if self._rests_until > now and (start := rest_ends(free, self._rests_until)) > now:
                return start
            pages = self._pages_to_read(looks)
            start = last_due(looks) if pages else first_due(looks)
            if start > now:
                return start
            if pages:
                self._begin_round(looks, pages, now)
                return math.inf
            self._begin_gets([one for one in in_order(looks) if one.due <= now], now)
            if not self._begin_left_gets(now):
                return math.inf
        return math.inf

    def _free(self) -> list[Interest]:
        """Return the looks that nothing is being done for."""
        looks = self._agenda.looks()
        if not self._gets and not self._for_get:
            return looks
        return [one for one in looks if one.subject.asked_at is None and not one.subject.is_for_get]

    def _pages_to_read(self, looks: Iterable[Interest]) -> int:
        """Return how many pages are worth reading for some looks; 0 where only GETs are made."""
        if self._approach.is_off or is_for_gets(len(self._subjects)):
            return 0
        return pages_to_read([job.page for job in subjects_of(looks)])

    def _rest_after(self, looks: Sequence[Interest], now: float) -> None:
        """Let the next looks wait for each other, so that pages show them together."""
        self._rests_until = now + rest(min(look.follower.longest for look in looks))

    def _pause(self) -> float:
        """Return for how long a 429 without a Retry-After closes the gate.

        That is the least that any policy says: one that looks once an hour stops nobody else.
        """
        return min((look.follower.pause for look in self._agenda.looks()), default=0.0)

    def _spawn(
        self, work: Coroutine[Any, Any, None], when_done: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Begin what is waited for; when it is done is told even if it is cancelled before."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, when_done))
        return task

    def _done(self, when_done: Callable[[], None], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        when_done()

    # --- Pages ----------------------------------------------------------------------------------

    def _begin_round(self, looks: Sequence[Interest], pages: int, now: float) -> None:
        self._is_paging = True
        self._rest_after(looks, now)
        self._spawn(self._page(subjects_of(looks), pages, now), self._paged)

    def _paged(self) -> None:
        self._is_paging, self._round = False, None
        if self._subjects:
            self._waken()

    async def _page(self, wanted: list[Subject], planned: int, now: float) -> None:
        try:
            await self._read_pages(wanted, planned, now)
        except Exception as bug:  # noqa: BLE001 - handed on to everybody
            self._break(bug)

    async def _read_pages(self, wanted: list[Subject], planned: int, now: float) -> None:
        """Read the listing, and see to what it leaves."""
        pages = self._round = PageRound(
            wanted,
            planned=planned,
            now=now,
            pause=self._pause(),
            subjects=self._subjects,
            approach=self._approach,
            teller=self._teller,
            api=self._api,
            reader=self._reader,
            account_id=self._account_id,
        )
        try:
            await pages.run()
        except (ClientStateError, ConfigurationError) as error:
            self._teller.tell_all(wanted, error, now)
            return
        left, failed = pages.left(), pages.failure
        if failed is None:
            self._leave_to_gets(left)
        elif pages.is_refused or self._approach.is_doubted:
            await self._probe(left, now)
        else:
            failure = failure_for(failed)
            # A server that asks to wait is well.
            self._approach.is_doubted = failure.kind is not FailureKind.RATE_LIMITED
            self._teller.tell_all(left, failure, now)

    async def _probe(self, left: list[Subject], now: float) -> None:
        """Go on with GETs where the listing fails; one first, which may fail for all."""
        if not left:
            return
        first, *others = left
        news = await self._ask(first)
        self._teller.tell_waiting(first, news, now)
        if isinstance(news, Moment) or not concerns_all(news):
            self._leave_to_gets(others)
        else:
            self._teller.tell_all(others, news, now)

    def _leave_to_gets(self, left: Sequence[Subject]) -> None:
        """Leave jobs to GETs: of those in order, as many as keep no page waiting for long.

        The others are still due, and come next; where the listing has failed, it may be well by
        then.
        """
        subjects = [one for one in left if one.interests and not one.is_for_get]
        pause = min((one.follower.pause for job in subjects for one in job.interests), default=0.0)
        for subject in subjects[: turn(self._api.session.gate.spacing, pause)]:
            subject.is_for_get = True
            self._for_get.append(subject)

    def _begin_left_gets(self, now: float) -> bool:
        """Begin the GETs that jobs were left to; return whether all are begun."""
        while self._for_get:
            subject = self._for_get[0]
            if subject.is_for_get and not self._begin_get(subject, now):
                return False
            subject.is_for_get = False
            self._for_get.popleft()
        return True

    # --- GETs -----------------------------------------------------------------------------------

    def _begin_gets(self, looks: Sequence[Interest], now: float) -> None:
        """Leave looks that are due to GETs, and rest if a page could have shown their jobs."""
        jobs = subjects_of(looks)
        self._leave_to_gets(jobs)
        pages = self._pages_to_read(self._agenda.looks())
        if pages and any(job.page is None or job.page < pages for job in jobs):
            self._rest_after(looks, now)

    def _begin_get(self, subject: Subject, now: float) -> bool:
        """Ask for a job, unless it is, or enough are."""
        if subject.asked_at is not None:
            return True
        if self._gets >= lanes(self._api.session.gate.spacing):
            return False
        subject.asked_at = now
        self._gets += 1
        subject.task = self._spawn(self._get(subject, now), partial(self._got, subject))
        return True

    def _got(self, subject: Subject) -> None:
        """Go on after a GET, if there is something to do before the timer is due anyway."""
        subject.task = subject.asked_at = None
        self._gets -= 1
        again_at = self._timer.when() if self._timer is not None else math.inf
        is_early = any(min(one.due, one.deadline) < again_at for one in subject.interests)
        if self._for_get or is_early:
            self._waken()

    async def _get(self, subject: Subject, asked_at: float) -> None:
        try:
            news = await self._ask(subject)
        except Exception as bug:  # noqa: BLE001 - handed on to everybody
            self._break(bug)
            return
        subject.task = None  # there is nothing left to cancel
        self._teller.tell_waiting(subject, news, asked_at)

    async def _ask(self, subject: Subject) -> News:
        """Ask for a whole job; an error returned is not about the job and ends the looks."""
        request = get_job(self._account_id, subject.ref.job_id)
        try:
            answer = await self._api.transport.send_once(request, pause=self._pause())
            value = parse_json(answer.body)
            job, problems = self._reader.read(value)
            refuse_another(job, subject.ref.job_id)
        except (ClientStateError, ConfigurationError) as error:
            return error
        except FireworksBatchError as error:
            return failure_of(error)
        subject.take(job, problems, print_of(value))
        subject.fetched()
        return self._reader.moment(answer, self._api.clock())
