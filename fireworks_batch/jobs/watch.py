"""The watch over many jobs: polls them while a reader waits, and keeps the news of each job."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from fireworks_batch.jobs.tracker import Tracker, WaitTerms
from fireworks_batch.models.errors import (
    AccountSuspendedError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
)
from fireworks_batch.models.job import BatchInferenceJob, JobLike
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import FleetProgress, JobOutcome, JobSnapshot, add_up
from fireworks_batch.models.states import JobState
from fireworks_batch.polling.access import Pollers
from fireworks_batch.polling.followers import PendingPoll, Subject
from fireworks_batch.polling.machine import Failure, PollMachine
from fireworks_batch.polling.observation import Observation

__all__ = ["Watch"]


# Errors of one job's poll that the polls of all other jobs would meet too.
_CONCERNS_ALL: Final = (
    AccountSuspendedError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
)


class Member:
    """One job of a watch: a `Follower` that reports to the watch what its tracker decided."""

    __slots__ = (
        "_shown",
        "_watch",
        "has_changed",
        "machine",
        "outcome",
        "poll",
        "subject",
        "tracker",
    )

    def __init__(self, watch: "Watch", tracker: Tracker) -> None:
        """Make a member of a watch.

        Args:
            watch: The watch that the member reports to.
            tracker: Follows the job.
        """
        self._watch = watch
        self._shown: JobState | None = None
        self.tracker: Tracker = tracker
        self.machine: PollMachine = tracker.machine
        self.subject: Subject | None = None
        self.poll: PendingPoll | None = None
        """The pending poll, while the job is polled."""
        self.has_changed: bool = False
        """Whether there was a visible change that the reader has not seen yet."""
        self.outcome: JobOutcome | None = None
        """How the wait for the job ended; None while the wait goes on."""

    def seen(self, observation: Observation) -> bool:
        """Process a successful poll, and tell the watch; return whether to poll again."""
        tracker = self.tracker
        goes_on = tracker.seen(observation)
        self.has_changed = self.has_changed or self.machine.changed
        if not goes_on:
            job = observation.job if tracker.error is None else None
            self._end(job)
        self._watch.hear(self)
        return goes_on

    def failed(self, failure: Failure) -> bool:
        """Process a failed poll, and tell the watch if the failure ends the wait.

        A key that was good for another job has to be refused twice in a row, as if there were a
        snapshot of this job.
        """
        self.machine.has_good_key = self.machine.has_good_key or self._watch.has_good_key
        goes_on = self.tracker.failed(failure)
        error = self.tracker.error
        if isinstance(error, _CONCERNS_ALL):
            self._watch.fail(error)
        elif not goes_on:
            self._end(None)
            self._watch.hear(self)
        return goes_on

    def _end(self, job: BatchInferenceJob | None) -> None:
        tracker = self.tracker
        if tracker.ref is not None:
            self.outcome = JobOutcome(tracker.ref, job=job, error=tracker.error)

    def news(self) -> JobSnapshot:
        """Return the newest snapshot, compared with the snapshot that the reader got before."""
        snapshot = self.tracker.last_snapshot or self._never_seen()
        if self.has_changed and not snapshot.changed:
            snapshot = attrs.evolve(snapshot, changed=True)
        if snapshot.previous_state != self._shown:
            snapshot = attrs.evolve(snapshot, previous_state=self._shown)
        if self.tracker.error is not None:
            snapshot = attrs.evolve(snapshot, error=self.tracker.error)
        self.has_changed, self._shown = False, snapshot.job.state
        return snapshot

    def _never_seen(self) -> JobSnapshot:
        return JobSnapshot(
            job=BatchInferenceJob(name=str(self.tracker.ref)),
            previous_state=None,
            changed=False,
            number=0,
            observed_at=self.tracker.wall(),
            elapsed=0.0,
            unchanged_for=0.0,
            percent=None,
            rate=None,
            eta=None,
            failures=self.machine.failures,
            last_error=self.tracker.last_error,
        )


class Watch:
    """Polls many jobs for one reader at a time.

    The jobs are polled while the reader waits, and for the policy's ``max_interval`` after the
    reader got an answer. Then polling pauses until the reader asks again. An outcome and a visible
    change of a job are news. Any other successful poll is news too, unless the reader wants only
    changes or outcomes. Of each job the newest snapshot is kept. If the user drops the handle, the
    handle pauses the watch.
    """

    def __init__(self, terms: WaitTerms, pollers: Pollers, *, changes_only: bool) -> None:
        """Make a watch without jobs; nothing is sent before a reader asks.

        Args:
            terms: The terms of the waits for the jobs.
            pollers: Make the polls.
            changes_only: Whether snapshots without a visible change are left out.
        """
        self._terms = terms
        self._pollers = pollers
        self._changes_only = changes_only
        self.has_good_key: bool = False
        """Whether a poll of any of the jobs was successful."""
        self._members: dict[str, Member] = {}
        self._outcomes: dict[str, JobOutcome] = {}
        self._in_order: list[JobOutcome] = []
        # A plain dict steps over all removed members to find its first one.
        self._news: OrderedDict[Member, None] = OrderedDict()
        self._waiter: asyncio.Future[None] | None = None
        self._wants_outcomes = False
        self._fatal: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look_up: asyncio.Timeout | None = None
        self._is_polling = False
        self._is_closed = False

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def refs(self) -> tuple[JobRef, ...]:
        """The jobs, in the order given; empty until their account is known."""
        refs = (member.tracker.ref for member in self._members.values())
        return tuple(ref for ref in refs if ref is not None)

    @property
    def outcomes(self) -> dict[str, JobOutcome]:
        """The outcomes so far, by job id, in the order in which the jobs were given."""
        return {
            job_id: self._outcomes[job_id] for job_id in self._members if job_id in self._outcomes
        }

    @property
    def progress(self) -> FleetProgress:
        """The progress of all jobs together, from the newest snapshot of each job."""
        failed = sum(outcome.error is not None for outcome in self._outcomes.values())
        snapshots = (member.tracker.last_snapshot for member in self._members.values())
        return add_up(snapshots, failed=failed)

    def __repr__(self) -> str:
        return f"<JobFleet of {len(self._members)} jobs, {len(self._outcomes)} ended>"

    # --- What the reader asks for ---------------------------------------------------------------

    def add(self, job: JobLike) -> None:
        """Add a job to the watch; nothing happens if the watch has the job already.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

        Raises:
            ConfigurationError: The job is malformed, or belongs to another account or host. Or the
                watch has a job of the same id in another account.
            ClientStateError: The watch was closed.
        """
        if self._is_closed:
            raise ClientStateError(f"{self!r} is closed")
        tracker = self._terms.tracker(job)
        job_id = tracker.name.job_id
        known = self._members.get(job_id)
        if known is not None:
            accounts = {known.tracker.name.account_id, tracker.name.account_id} - {None}
            if len(accounts) > 1:
                raise ConfigurationError(
                    f"two jobs have the id {job_id!r}, in accounts "
                    f"{' and '.join(sorted(map(str, accounts)))}: watch them in two fleets"
                )
            return
        self._members[job_id] = member = Member(self, tracker)
        if tracker.ref is None:
            # The reader looks up the account before it resumes polling.
            self.pause()
            self._wake()
        elif self._is_polling:
            self._poll(member)

    async def next_snapshot(self) -> JobSnapshot | None:
        """Return the newest snapshot of a job with news; None after the last news."""
        await self._until(lambda: bool(self._news) or self._is_over, wants_outcomes=False)
        if self._news:
            member, _ = self._news.popitem(last=False)
            return member.news()
        self._raise_fatal()
        return None

    async def all_outcomes(self) -> dict[str, JobOutcome]:
        """Return the outcomes of all jobs, in the order in which the jobs were given."""
        await self._until(lambda: self._is_over, wants_outcomes=True)
        self._raise_fatal()
        if len(self._outcomes) < len(self._members):
            raise ClientStateError(f"{self!r} was closed")
        return self.outcomes

    async def next_outcome(self, number: int) -> JobOutcome | None:
        """Return an outcome by its number, from 0 in the order of time; None after the last."""
        await self._until(
            lambda: len(self._in_order) > number or self._is_over, wants_outcomes=True
        )
        if len(self._in_order) > number:
            return self._in_order[number]
        self._raise_fatal()
        return None

    def close(self) -> None:
        """Stop watching, and end the reader's wait. The remote jobs are not changed."""
        self._is_closed = True
        self.pause()
        self._wake()
        if self._look_up is not None and not self._look_up.expired():
            self._look_up.reschedule(asyncio.get_running_loop().time())

    @property
    def _is_over(self) -> bool:
        is_done = len(self._outcomes) == len(self._members)
        return is_done or self._is_closed or self._fatal is not None

    def _raise_fatal(self) -> None:
        error, self._fatal = self._fatal, None
        if error is not None:
            self._is_closed = True
            raise error

    async def _until(self, is_ready: Callable[[], bool], *, wants_outcomes: bool) -> None:
        """Poll until the reader has an answer; pause polling if the reader is cancelled."""
        if self._waiter is not None:
            raise ClientStateError(f"{self!r} is being read by another task")
        if not self._is_over:
            self._terms.api.session.ready()
        loop = asyncio.get_running_loop()
        self._wants_outcomes = wants_outcomes
        self._waiter = loop.create_future()
        self._stop_timer()
        try:
            while not is_ready():
                if not self._is_polling:
                    await self._find_account()
                    self._resume()
                await self._waiter
                self._waiter = loop.create_future()
        except BaseException:
            self.pause()
            raise
        finally:
            self._waiter = None
        if self._is_over:
            self.pause()
        else:
            self._resume()
            self._timer = loop.call_later(self._terms.poll.max_interval, self.pause)

    # --- Polling --------------------------------------------------------------------------------

    async def _find_account(self) -> None:
        """Look up the account, by the rules of the wait for the first job without an account."""
        first = next((one for one in self._members.values() if one.tracker.ref is None), None)
        if first is None:
            return
        tracker = first.tracker
        if not tracker.machine.has_started:
            tracker.start()
        try:
            async with asyncio.timeout(None) as self._look_up:
                await self._pollers.find_account(tracker)
        except TimeoutError:
            if not self._is_closed:
                raise
        finally:
            self._look_up = None
        if tracker.error is not None:
            self._is_closed = True
            raise tracker.error

    def _resume(self) -> None:
        if not self._is_polling:
            self._is_polling = True
            for member in self._members.values():
                self._poll(member)

    def _poll(self, member: Member) -> None:
        ref = member.tracker.ref
        if member.outcome is not None or member.poll is not None or ref is None:
            return
        if not member.machine.has_started:
            member.tracker.start()
        member.poll = self._pollers.of(ref.account_id).join(ref, member)
        member.poll.future.add_done_callback(partial(self._polled, member))

    def _polled(self, member: Member, future: "asyncio.Future[None]") -> None:
        """Fail if neither the job nor this watch has ended the polls of the job."""
        member.poll = None
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Exception):
            self.fail(error)

    def pause(self) -> None:
        """Stop polling until the reader asks again."""
        self._stop_timer()
        if not self._is_polling:
            return
        self._is_polling = False
        for member in self._members.values():
            ref = member.tracker.ref
            if member.poll is not None and ref is not None:
                self._pollers.of(ref.account_id).leave(member.poll)
                member.poll = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- News -----------------------------------------------------------------------------------

    def hear(self, member: Member) -> None:
        """Note a poll of a job, and wake the reader if the poll is news."""
        self.has_good_key = self.has_good_key or member.machine.has_seen
        if member.outcome is not None:
            self._outcomes[member.tracker.name.job_id] = member.outcome
            self._in_order.append(member.outcome)
        elif not member.has_changed and (self._changes_only or self._wants_outcomes):
            return
        self._news[member] = None
        if member.outcome is not None or not self._wants_outcomes:
            self._wake()

    def fail(self, error: Exception) -> None:
        """End all waits at once, with an error that concerns all jobs."""
        if self._fatal is None:
            self._fatal = error
        self.pause()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
