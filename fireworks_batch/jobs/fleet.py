"""Many jobs at once: their snapshots as they come, their outcomes, and how far they all are."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, NoReturn, Self

import attrs

from fireworks_batch.jobs.member import FleetTerms, Member
from fireworks_batch.jobs.tracker import Tracker
from fireworks_batch.jobs.wait import Driven
from fireworks_batch.models.errors import ClientStateError, ConfigurationError, FireworksBatchError
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import FleetProgress, JobOutcome, JobSnapshot, add_up

__all__ = ["JobFleet", "JobOutcomes"]


class JobFleet(Driven[dict[str, JobOutcome]], AsyncIterator[JobSnapshot]):
    """Watches many jobs: iterate over it for their snapshots, or await it for their outcomes.

    ``async for`` yields a snapshot for each good look at any of them. For whoever reads slowly
    the newest one of each job is kept, and the last one of a job is never lost. Where the wait for
    a job failed, its last snapshot has ``error`` set. Jobs never end each other: what is raised
    concerns all of them, as a key that is refused, or the closing of the client.

    Awaiting it returns the outcomes by job id, in the order in which the jobs were given. It is a
    coroutine, so that ``create_task``, ``TaskGroup.create_task`` and ``gather`` take it; one task
    at a time can use it, in either way, and again in the other.

    Looks are made while somebody waits for a snapshot, and for the policy's ``max_interval`` after
    one was asked for; then they pause until the next is. So leaving the loop leaves nothing behind.

    Made by ``client.jobs.watch()``.
    """

    _is_looking = False  # until __init__ has succeeded

    def __init__(self, jobs: Iterable[Any], terms: FleetTerms) -> None:
        """Take the jobs; nothing is sent before somebody asks.

        Args:
            jobs: In any of the forms in which a job can be named.
            terms: What their waits have in common.
        """
        self._terms = terms
        self.has_seen = False
        """Whether a look at any of the jobs was good."""
        self._members: dict[str, Member] = {}
        self._outcomes: dict[str, JobOutcome] = {}
        self._in_order: list[JobOutcome] = []
        self._news: dict[Member, None] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._wakes_at_outcomes = False
        self._fatal: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._is_looking = False
        self._is_closed = False
        for job in jobs:
            self.add(job)

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def refs(self) -> tuple[JobRef, ...]:
        """The jobs, in the order given; empty until their account is known."""
        return tuple(one.ref for one in self._members.values() if one.ref is not None)

    @property
    def outcomes(self) -> dict[str, JobOutcome]:
        """The outcomes so far, by job id, in the order in which the jobs were given."""
        return {
            job_id: self._outcomes[job_id] for job_id in self._members if job_id in self._outcomes
        }

    @property
    def progress(self) -> FleetProgress:
        """Where the jobs stand together, by the newest look at each."""
        failed = sum(outcome.error is not None for outcome in self._outcomes.values())
        return add_up((one.last_snapshot for one in self._members.values()), failed=failed)

    def __repr__(self) -> str:
        return f"<JobFleet of {len(self._members)} jobs, {len(self._outcomes)} ended>"

    # --- Jobs -----------------------------------------------------------------------------------

    def add(self, job: Any) -> None:
        """Watch another job; one that is watched already is left as it is.

        Args:
            job: Id, resource name, reference, or a job fetched before.

        Raises:
            ConfigurationError: It is none of these, belongs to another account or host, or has
                the id of a job of another account that is watched.
            ClientStateError: The fleet was closed.
        """
        if self._is_closed:
            raise ClientStateError(f"{self!r} is closed")
        name = self._terms.name(job)
        known = self._members.get(name.job_id)
        if known is not None:
            accounts = {known.name.account_id, name.account_id} - {None}
            if len(accounts) > 1:
                raise ConfigurationError(
                    f"two jobs with the id {name.job_id!r}, of accounts "
                    f"{' and '.join(sorted(map(str, accounts)))}: watch them in two fleets"
                )
            return
        member = self._members[name.job_id] = Member(_weak(self), name, self._terms)
        member.hears_all = not self._terms.changes_only and not self._wakes_at_outcomes
        if self._is_looking:
            self._look_at(member)

    # --- Iterating and awaiting -----------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobSnapshot:
        self._hear_all(wanted=not self._terms.changes_only)
        await self._until(lambda: bool(self._news) or self._is_over, at_outcomes=False)
        if self._news:
            member = next(iter(self._news))
            del self._news[member]
            return member.news()
        self._raise_fatal()
        raise StopAsyncIteration

    def _begun(self) -> Coroutine[Any, Any, dict[str, JobOutcome]]:
        return self._to_the_end()

    def _refuse(self) -> NoReturn:
        raise ClientStateError(f"{self!r} is being read by another task")

    async def _to_the_end(self) -> dict[str, JobOutcome]:
        self._hear_all(wanted=False)
        await self._until(lambda: self._is_over, at_outcomes=True)
        self._raise_fatal()
        if len(self._outcomes) < len(self._members):
            raise ClientStateError(f"{self!r} was closed")
        return self.outcomes

    async def next_outcome(self, number: int) -> JobOutcome | None:
        """Return the outcome of that number in the order of time, from 0; None after the last."""
        self._hear_all(wanted=False)
        await self._until(lambda: len(self._outcomes) > number or self._is_over, at_outcomes=True)
        if len(self._outcomes) > number:
            return self._in_order[number]
        self._raise_fatal()
        return None

    async def aclose(self) -> None:
        """Stop watching; the remote jobs are not touched. Whoever iterates comes to the end."""
        self._is_closed = True
        self._pause()
        self._wake()

    @property
    def _is_over(self) -> bool:
        is_done = len(self._outcomes) == len(self._members)
        return is_done or self._is_closed or self._fatal is not None

    def _hear_all(self, *, wanted: bool) -> None:
        """Say whether looks that show nothing new are news."""
        for member in self._members.values():
            if member.hears_all == wanted:
                break
            member.hears_all = wanted

    def _raise_fatal(self) -> None:
        error, self._fatal = self._fatal, None
        if error is not None:
            self._is_closed = True
            raise error

    async def _until(self, is_ready: Callable[[], bool], *, at_outcomes: bool) -> None:
        """Look until there is something to say; what is cut short leaves nothing behind."""
        if self._waiter is not None:
            self._refuse()
        if not self._is_over:
            self._terms.looks.check()
        loop = asyncio.get_running_loop()
        self._wakes_at_outcomes = at_outcomes
        self._waiter = loop.create_future()
        try:
            if not is_ready():
                await self._locate()
            while not is_ready():
                self._resume()
                await self._waiter
                self._waiter = loop.create_future()
        except BaseException:
            self._pause()
            raise
        finally:
            self._waiter = None
        if self._is_over:
            self._pause()
        else:
            self._resume()
            self._linger(loop)

    # --- Looking --------------------------------------------------------------------------------

    async def _locate(self) -> None:
        """Find out the account, once, under the rules of a look at the first job."""
        first = next((one for one in self._members.values() if one.ref is None), None)
        if first is None:
            return
        if not first.has_begun:
            first.begin()
        try:
            ref = await self._located(first)
        except FireworksBatchError:
            self._is_closed = True
            raise
        # Some may have come meanwhile.
        for member in self._members.values():
            member.ref = member.ref or attrs.evolve(ref, job_id=member.name.job_id)

    async def _located(self, member: Member) -> JobRef:
        while True:
            found = await self._terms.effects.locate(
                due=member.due, deadline=member.deadline, pause=member.pause
            )
            if isinstance(found, JobRef):
                return found
            Tracker.lost(member, found)

    def _resume(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            for member in self._members.values():
                self._look_at(member)

    def _look_at(self, member: Member) -> None:
        if member.ended_with is not None or member.interest is not None or member.ref is None:
            return
        if not member.has_begun:
            member.begin()
        member.interest = interest = self._terms.looks.join(member.ref, member)
        interest.future.add_done_callback(partial(_heard, _weak(self), member))

    def _pause(self) -> None:
        self._is_looking = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for member in self._members.values():
            if member.interest is not None and member.ref is not None:
                self._terms.looks.leave(member.ref, member.interest)
                member.interest = None

    def _linger(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look on for a while, for somebody who is going to ask again."""
        self._asked_at = loop.time()
        if self._timer is None and self._is_looking:
            until = self._asked_at + self._terms.linger
            self._timer = loop.call_at(until, _stop_lingering, _weak(self))

    def stop_lingering(self) -> None:
        """Pause if nobody has asked for long enough."""
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._waiter is None and loop.time() >= self._asked_at + self._terms.linger:
            self._pause()
        elif self._is_looking and self._waiter is None:
            until = self._asked_at + self._terms.linger
            self._timer = loop.call_at(until, _stop_lingering, _weak(self))

    def __del__(self) -> None:
        if self._is_looking:
            self._pause()

    # --- News -----------------------------------------------------------------------------------

    def hear(self, member: Member) -> None:
        """Take the news of a job."""
        self.has_seen = self.has_seen or member.job is not None
        outcome = member.ended_with
        if outcome is not None:
            self._outcomes[member.name.job_id] = outcome
            self._in_order.append(outcome)
        elif not member.has_changed and not member.hears_all:
            return
        self._news[member] = None
        if outcome is not None or not self._wakes_at_outcomes:
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Take what concerns all jobs: it ends all waits at once."""
        if self._fatal is None:
            self._fatal = error
        self._pause()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _weak(fleet: JobFleet) -> "weakref.ref[JobFleet]":
    """Whatever holds this keeps no fleet alive that its user has forgotten."""
    return weakref.ref(fleet)


def _stop_lingering(fleet: "weakref.ref[JobFleet]") -> None:
    found = fleet()
    if found is not None:
        found.stop_lingering()


def _heard(fleet: "weakref.ref[JobFleet]", member: Member, future: "asyncio.Future[None]") -> None:
    """Hand on what ended the looks at a job, if it was not the job itself."""
    member.interest = None
    error = None if future.cancelled() else future.exception()
    found = fleet()
    if error is not None and found is not None:
        found.fail(error)


class JobOutcomes(AsyncIterator[JobOutcome]):
    """The outcomes of many jobs, in the order in which they end: ``client.jobs.as_completed()``."""

    def __init__(self, fleet: JobFleet) -> None:
        """Iterate over the outcomes of a fleet."""
        self._fleet = fleet
        self._number = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobOutcome:
        outcome = await self._fleet.next_outcome(self._number)
        if outcome is None:
            raise StopAsyncIteration
        self._number += 1
        return outcome

    async def aclose(self) -> None:
        """Stop waiting; the remote jobs are not touched."""
        await self._fleet.aclose()
