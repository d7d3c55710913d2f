"""What one wait remembers of its job, and what it makes of each look: the machine, with words.

Waits for nothing: whoever makes the looks tells it of them.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import attrs

from fireworks_batch.models.errors import (
    ClientStateError,
    FireworksBatchError,
    JobGoneError,
    JobStalledError,
    PollFailureError,
    UnknownStateError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.policies import PollPolicy
from fireworks_batch.models.snapshot import (
    History,
    JobSnapshot,
    expiry,
    percent_done,
    schedule_fingerprint,
    seconds_left,
    seconds_to_expiry,
    visible_fingerprint,
)
from fireworks_batch.models.states import JobPhase
from fireworks_batch.polling.machine import (
    LEAST_WINDOW,
    Decision,
    Failed,
    FailureKind,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    PollState,
    Refused,
    Seen,
    Stalled,
    Steady,
    TimedOut,
    Unrecognised,
    on_failure,
    on_observation,
    start,
)
from fireworks_batch.polling.observation import Failure, Follower, Moment, Observation
from fireworks_batch.polling.settle import duration_text

__all__ = ["Follow", "Locate", "Tracker", "WaitEffects", "WaitTerms", "wait_error"]


class Follow(Protocol):
    """The one effect of a wait besides the clock and the draw: looks at a job."""

    def __call__(self, ref: JobRef, follower: Follower) -> Awaitable[None]:
        """Look until the follower has enough of it; raise what it raises.

        Each look is an observation made no earlier than it was due, whoever it was made for.
        """
        ...


class Locate(Protocol):
    """Finds out the job's account, before the first look, where the caller did not say it."""

    def __call__(self, *, due: float, deadline: float, pause: float) -> Awaitable[JobRef | Failure]:
        """Return the reference, or how that failed.

        Args:
            due: It is asked no earlier than at this moment of the loop's clock.
            deadline: At this moment it ends, with a `Failure` of kind CUT.
            pause: Seconds for which a 429 without a Retry-After holds the account's requests.
        """
        ...


@attrs.frozen(kw_only=True)
class WaitEffects:
    """What a wait needs of the world."""

    follow: Follow
    locate: Locate
    clock: Callable[[], float]
    wall: Callable[[], datetime]
    draw: Callable[[], float]


@attrs.frozen(kw_only=True)
class WaitTerms:
    """What a wait was asked for."""

    job: str
    """What the caller called the job."""

    policy: PollPolicy
    """When to look, and when to give up."""

    timeout: float | None
    """Seconds for the whole wait, or until the first good look says more; None: no limit."""

    follows_window: bool
    """Whether the deadline follows the job's own window."""

    time_scale: float
    """This clock's seconds for one of the server's."""

    changes_only: bool
    """Whether snapshots without a visible change are left out."""

    on_loss: Callable[[int], object] | None = None
    """Called after each lost look with how many were lost in a row."""


_WAITING_FOREVER = (
    "; a model that cannot serve batch jobs is not refused, its jobs stay PENDING: "
    "check that the model can"
)


def wait_error(
    ending: TimedOut | Stalled | GaveUp | Gone | Unrecognised,
    *,
    job: str,
    ref: JobRef | None,
    last_snapshot: JobSnapshot | None,
    last_error: FireworksBatchError | None,
) -> WaitError:
    """Return the error for an ending.

    Args:
        ending: What the poll machine decided.
        job: What the caller called the job.
        ref: The job, if its account is known.
        last_snapshot: The newest good observation.
        last_error: What the newest lost look failed with, if the last look was lost.
    """
    error, reason = _reason(ending, last_snapshot, last_error)
    advice = (
        "it was deleted, by DELETE or by the console; its output dataset may still be there"
        if isinstance(ending, Gone)
        else "the job was not touched and may run on; wait for it again with "
        "client.jobs.wait_until_terminal() and this error's .ref, or stop it with "
        "client.jobs.delete()"
    )
    return error(
        f"job {job!r}: {reason}; {advice}",
        ref=ref,
        last_snapshot=last_snapshot,
        last_error=last_error,
    )


def _reason(
    ending: TimedOut | Stalled | GaveUp | Gone | Unrecognised,
    last: JobSnapshot | None,
    error: FireworksBatchError | None,
) -> tuple[type[WaitError], str]:
    seen = "it was never seen" if last is None else f"it was last seen {last.job.state}"
    lost = f"; the last look failed: {error}" if error is not None else ""
    match ending:
        case TimedOut(waited):
            return WaitTimeoutError, f"not terminal after {duration_text(waited)}, {seen}{lost}"
        case Stalled(idle_for):
            hint = _WAITING_FOREVER if last is not None and last.job.state == "PENDING" else ""
            return JobStalledError, (
                f"nothing visible has changed for {duration_text(idle_for)}, {seen}{hint}"
            )
        case GaveUp(failures, spent):
            return PollFailureError, (
                f"{failures} looks in a row failed over {duration_text(spent)}, {seen}{lost}"
            )
        case Unrecognised(unknown_for):
            return UnknownStateError, (
                f"in states unknown to this release for {duration_text(unknown_for)}, {seen}"
            )
        case Gone():
            return JobGoneError, f"not found any more, {seen}"


_log = logging.getLogger("fireworks_batch.wait")


# Ten years, beyond which no time of day need be told.
_FARTHEST: Final = 3.2e8


class Tracker:
    """Follows one job's looks: a `Follower`.

    Between two changes it does a little arithmetic for each look, and makes a snapshot only for
    those who ask for it.
    """

    __slots__ = (
        "_draw",
        "_effects",
        "_history",
        "_moment",
        "_planned_at",
        "_problems",
        "_snapshot",
        "_state",
        "_steady",
        "_terms",
        "_window_end",
        "deadline",
        "due",
        "ending",
        "is_over",
        "is_single",
        "job",
        "last_error",
        "longest",
        "memo",
        "pause",
        "ref",
    )

    def __init__(self, terms: WaitTerms, effects: WaitEffects, *, ref: JobRef | None) -> None:
        """Take what a wait is made of; it begins with `begin`.

        Args:
            terms: What was asked for.
            effects: What time it is, and the draw for jitter.
            ref: The job, if its account is known.
        """
        self._terms = terms
        self._effects = effects
        self._draw = effects.draw
        self._state: PollState | None = None
        self._steady: Steady | None = None
        self._window_end: float | None = None
        self._moment: Moment | None = None
        self._snapshot: JobSnapshot | None = None
        self._planned_at: tuple[float, datetime] | None = None
        self._history = History()
        self._problems: tuple[str, ...] = ()
        self.ref = ref
        self.job: BatchInferenceJob | None = None
        self.memo: object = None
        self.due = self.deadline = self.pause = 0.0
        self.longest = terms.policy.max_interval
        self.is_single = False
        """Whether each good look ends the following, as for somebody who iterates."""
        self.is_over = False
        """Whether the job has ended, or the wait."""
        self.ending: WaitError | None = None
        """What ends the wait after a good look, which is handed out before it."""
        self.last_error: FireworksBatchError | None = None
        """What the newest lost look failed with; None if the last look was good."""

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether a look is due, or was."""
        return self._state is not None

    @property
    def has_news(self) -> bool:
        """Whether the newest good look showed a visible change."""
        return self._state is not None and self._state.changed

    @property
    def failures(self) -> int:
        """Looks lost since the last good one."""
        return self._state.failures if self._state else 0

    @property
    def next_poll(self) -> datetime | None:
        """When the next look is due, by the time of day: this can be read where no loop runs."""
        if self._planned_at is None:
            return None
        now, wall = self._planned_at
        if self._moment is not None:
            now, wall = self._moment.now, self._moment.observed_at
        return wall + timedelta(seconds=min(max(0.0, self.due - now), _FARTHEST))

    @property
    def last_snapshot(self) -> JobSnapshot | None:
        """The newest good observation; None before the first."""
        self._settle()
        return self._snapshot

    # --- Looks ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin: the first look is due at once."""
        terms = self._terms
        self._plan(self._effects.clock())
        self._keep(
            start(
                terms.policy,
                now=self.due,
                timeout=terms.timeout,
                follows_window=terms.follows_window,
                least_window=LEAST_WINDOW * terms.time_scale,
            )
        )

    def seen(self, seen: Observation) -> bool:
        """Take a good look: see `Follower`."""
        before = self._settled()
        now = self._looked_at()
        state, decision = on_observation(
            self._terms.policy, before, self._event(seen), now=now, draw=self._draw()
        )
        self._keep(state)
        self._take(seen, state, lost=before.failures, now=now)
        match decision:
            case PollAt(due):
                self._plan(due)
                return not self.is_single
            case Finished():
                self.is_over = True
            case _:
                # Raised when the next one is asked for: this one is good, and is handed out.
                self.ending = self._error(decision)
        return False

    def same(self, moment: Moment) -> bool:
        """Take a good look that showed the job unchanged: see `Follower`."""
        steady = self._steady or self._made_steady()
        end = self._window_end
        window = None if end is None else (end - moment.server_seconds) * self._terms.time_scale
        due = None
        if not _log.isEnabledFor(logging.DEBUG):
            due = steady.step(moment.now, self._draw(), window)
        if due is None or self.job is None:
            job, problems = self.job, self._problems
            return job is None or self.seen(moment.observation(job, problems))
        self.due, self.deadline, self.pause = due, steady.deadline, steady.interval
        self._moment = moment
        return not self.is_single

    def lost(self, failure: Failure) -> bool:
        """Take a failed look: see `Follower`.

        Raises:
            FireworksBatchError: The wait ends with it.
        """
        before = self._settled()
        self.last_error = failure.error or self.last_error
        is_cut = failure.kind is FailureKind.CUT
        state, decision = on_failure(
            self._terms.policy,
            before,
            Failed(failure.kind, failure.retry_after),
            now=self._effects.clock() if is_cut else self._looked_at(),
            draw=self._draw(),
        )
        self._keep(state)
        match decision:
            case PollAt(due):
                self._plan(due)
                self._log_loss(failure, state)
                if self._terms.on_loss is not None:
                    self._terms.on_loss(state.failures)
                return True
            case Refused() if failure.error is not None:
                raise failure.error
            case _:
                raise self._error(decision)

    def _looked_at(self) -> float:
        """Return the moment of a look, which is not before it was due.

        A timer may fire a little early by the clock that is read here: the last look before a
        deadline would be due again, at that same moment.
        """
        return max(self.due, self._effects.clock())

    # --- Between two changes --------------------------------------------------------------------

    def _made_steady(self) -> Steady:
        self._steady = Steady(self._terms.policy, self._settled())
        self._window_end = None if self.job is None else expiry(self.job)
        return self._steady

    def _settle(self) -> None:
        """Catch up with what was taken without a new state and a new snapshot."""
        steady, moment = self._steady, self._moment
        if steady is None or moment is None or self.job is None:
            return
        self._state, self._steady, self._moment = steady.state(), None, None
        self._history = self._history.repeat(steady.steps)
        seen = moment.observation(self.job, self._problems)
        self._snapshot = self._made_snapshot(
            seen, self._state, previous=self._history, lost=0, now=moment.now
        )

    def _settled(self) -> PollState:
        self._settle()
        if self._state is None:
            raise ClientStateError("this wait has not begun")
        return self._state

    def _plan(self, due: float) -> None:
        self.due = due
        self._planned_at = self._effects.clock(), self._effects.wall()

    def _keep(self, state: PollState) -> None:
        self._state, self._steady = state, None
        self.deadline, self.pause = state.deadline, state.pause

    # --- Snapshots ------------------------------------------------------------------------------

    def _event(self, seen: Observation) -> Seen:
        job = seen.job
        window = seconds_to_expiry(job, seen.server_now)
        return Seen(
            schedule=schedule_fingerprint(job),
            visible=visible_fingerprint(job),
            is_terminal=job.is_terminal,
            is_unknown=job.state.phase is JobPhase.UNKNOWN,
            has_ended=job.lifecycle is not None and job.lifecycle.end_time is not None,
            window=None if window is None else window * self._terms.time_scale,
        )

    def _take(self, seen: Observation, state: PollState, *, lost: int, now: float) -> None:
        previous = self._history
        self.job, self._problems = seen.job, seen.problems
        self._history = previous.add(seen.job, now=now)
        snapshot = self._made_snapshot(seen, state, previous=previous, lost=lost, now=now)
        self._snapshot, self.last_error = snapshot, None
        self._log_look(snapshot, seen)

    def _made_snapshot(
        self, seen: Observation, state: PollState, *, previous: History, lost: int, now: float
    ) -> JobSnapshot:
        rate = self._history.rate(now=now)
        return JobSnapshot(
            job=seen.job,
            previous_state=previous.state,
            changed=state.changed,
            number=self._history.number,
            observed_at=seen.observed_at,
            elapsed=now - state.started,
            unchanged_for=now - state.changed_at,
            percent=percent_done(seen.job),
            rate=rate,
            eta=seconds_left(seen.job, rate),
            failures=lost,
            last_error=self.last_error,
            problems=seen.problems,
        )

    # --- Errors, and telling of it --------------------------------------------------------------

    def _error(self, decision: Decision) -> WaitError:
        match decision:
            case PollAt() | Finished() | Refused():
                raise ClientStateError(f"{decision} is not the end of a wait")
            case ending:
                return wait_error(
                    ending,
                    job=self._terms.job,
                    ref=self.ref,
                    last_snapshot=self.last_snapshot,
                    last_error=self.last_error,
                )

    def _log_look(self, snapshot: JobSnapshot, seen: Observation) -> None:
        job = snapshot.job
        is_news = job.state != snapshot.previous_state
        _log.log(
            logging.INFO if is_news else logging.DEBUG,
            "job %r is %s (look %d, %s)",
            job.id,
            job.state,
            snapshot.number,
            "percent unknown" if snapshot.percent is None else f"{snapshot.percent:.1f}%",
            extra={
                "fireworks_job": job.name,
                "fireworks_state": str(job.state),
                "fireworks_request_id": seen.request_id,
            },
        )

    def _log_loss(self, failure: Failure, state: PollState) -> None:
        _log.log(
            logging.WARNING if state.failures == 1 else logging.DEBUG,
            "job %r: a look failed (%d in a row), the wait goes on: %s",
            self._terms.job,
            state.failures,
            failure.error,
            extra={"fireworks_job": str(self.ref or self._terms.job)},
        )
