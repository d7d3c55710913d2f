"""What one wait remembers of its job, and what the wait decides after each poll.

A tracker makes no polls itself: the poller reports each poll to the tracker.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import attrs

from fireworks_batch.connection.api import Api
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
from fireworks_batch.models.job import BatchInferenceJob, JobLike
from fireworks_batch.models.names import JobName, JobRef
from fireworks_batch.models.policies import JobTimeLimit, PollPolicy, is_timeout
from fireworks_batch.models.snapshot import (
    History,
    JobSnapshot,
    expiry,
    percent_done,
    schedule_fingerprint,
    seconds_left,
    visible_fingerprint,
)
from fireworks_batch.models.states import JobPhase, JobState
from fireworks_batch.models.validators import instance_of
from fireworks_batch.polling.followers import Subject
from fireworks_batch.polling.machine import (
    LEAST_TIME,
    Decision,
    Failure,
    FailureKind,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    PollMachine,
    Refused,
    Seen,
    Stalled,
    TimedOut,
    Unrecognised,
)
from fireworks_batch.polling.observation import Observation
from fireworks_batch.polling.outlook import TickProof, expected_end
from fireworks_batch.polling.settle import duration_text

__all__ = ["Tracker", "WaitTerms", "wait_error"]


@attrs.frozen(kw_only=True)
class WaitTerms:
    """The options of the waits of one call."""

    api: Api
    """Reads references to jobs; has the clocks, the draw for jitter, and the time scale."""

    poll: PollPolicy = attrs.field(validator=instance_of(PollPolicy))
    """When to poll, and when to give up."""

    timeout: float | JobTimeLimit | None = attrs.field(validator=is_timeout)
    """Seconds for a whole wait. With `JOB_TIME_LIMIT` the deadline follows the job's own expiry.
    None means no limit."""

    @property
    def seconds(self) -> float | None:
        """Seconds for a whole wait. The first snapshot may give another deadline."""
        if isinstance(self.timeout, JobTimeLimit):
            return self.api.longest_timeout
        return self.timeout

    def tracker(
        self, job: JobLike, *, on_failed_poll: Callable[[int], object] | None = None
    ) -> "Tracker":
        """Return the tracker of a wait for a job.

        Args:
            job: Id, resource name, reference, or a job fetched before.
            on_failed_poll: Called after each failed poll, with the number of polls that have
                failed in a row.

        Raises:
            ConfigurationError: The job is malformed, or belongs to another account or host.
        """
        return Tracker(self, self.api.job_name(job), on_failed_poll)


_WAITING_FOREVER = (
    "; a model or router that cannot serve batch jobs is not refused, its jobs stay PENDING: "
    "check that yours can"
)


def wait_error(
    outcome: TimedOut | Stalled | GaveUp | Gone | Unrecognised,
    *,
    job: str,
    ref: JobRef | None,
    last_snapshot: JobSnapshot | None,
    last_error: FireworksBatchError | None,
) -> WaitError:
    """Return the error for the outcome of a wait.

    Args:
        outcome: What the poll machine decided.
        job: The job, in the words of the caller.
        ref: The job, if its account is known.
        last_snapshot: The newest snapshot.
        last_error: The error of the newest poll, if that poll failed.
    """
    error, reason = _reason(outcome, last_snapshot, last_error)
    return error(
        f"job {job!r}: {reason}; {_advice(outcome, last_snapshot)}",
        ref=ref,
        last_snapshot=last_snapshot,
        last_error=last_error,
    )


def _advice(outcome: object, last: JobSnapshot | None) -> str:
    if isinstance(outcome, Gone):
        return "it was deleted; its output dataset may still be there"
    if last is None:
        return "this wait has not seen the job: check its id, and base_url"
    runs = " and may run on" if last.job.state.phase is JobPhase.RUNNING else ""
    return (
        f"the job was not touched{runs}; wait for it again with client.jobs.wait_until_terminal() "
        "and this error's .ref, or stop it with client.jobs.delete()"
    )


def _reason(
    outcome: TimedOut | Stalled | GaveUp | Gone | Unrecognised,
    last: JobSnapshot | None,
    error: FireworksBatchError | None,
) -> tuple[type[WaitError], str]:
    seen = "no poll succeeded" if last is None else f"it was last seen {last.job.state}"
    lost = f"; the last poll failed: {error}" if error is not None else ""
    match outcome:
        case TimedOut(waited):
            return WaitTimeoutError, f"not terminal after {duration_text(waited)}, {seen}{lost}"
        case Stalled(idle_for):
            hint = _WAITING_FOREVER if last is not None and last.job.state == "PENDING" else ""
            return JobStalledError, (
                f"nothing visible has changed for {duration_text(idle_for)}, {seen}{hint}"
            )
        case GaveUp(failures, spent):
            return PollFailureError, (
                f"{failures} polls in a row failed over {duration_text(spent)}, {seen}{lost}"
            )
        case Unrecognised(unknown_for):
            return UnknownStateError, (
                f"in states unknown to this release for {duration_text(unknown_for)}, {seen}"
            )
        case Gone():
            return JobGoneError, f"not found any more, {seen}"


_log = logging.getLogger("fireworks_batch.wait")


# Ten years in seconds: the time of a later poll is not computed, since it may not fit a datetime.
_FARTHEST: Final = 3.2e8


class Tracker:
    """Follows one job for a wait: a `Follower`. The error that ends the wait is in ``error``."""

    __slots__ = (
        "_expires_at",
        "_failures",
        "_history",
        "_last_error",
        "_number",
        "_observation",
        "_on_failed_poll",
        "_planned",
        "_previous_state",
        "_ref",
        "_seen",
        "_seen_at",
        "_snapshot",
        "_terms",
        "_ticks",
        "error",
        "is_single",
        "last_error",
        "machine",
        "name",
        "subject",
    )

    def __init__(
        self,
        terms: WaitTerms,
        name: JobName,
        on_failed_poll: Callable[[int], object] | None = None,
    ) -> None:
        """Make a tracker; its wait begins with `start`.

        Args:
            terms: The terms of the wait.
            name: The job.
            on_failed_poll: Called after each failed poll, with the number of polls that have
                failed in a row.
        """
        self._terms = terms
        self._on_failed_poll = on_failed_poll
        self._history = History()
        self._ticks = TickProof(terms.api.time_scale)
        self._observation: Observation | None = None
        self._seen: Seen | None = None
        self._expires_at: float | None = None
        self._seen_at = 0.0
        self._number = 0
        self._previous_state: JobState | None = None
        self._failures = 0
        self._last_error: FireworksBatchError | None = None
        self._snapshot: JobSnapshot | None = None
        self._planned: tuple[float, datetime] | None = None
        self._ref: JobRef | None = None
        self.name: JobName = name
        self.machine: PollMachine = PollMachine(
            policy=terms.poll,
            timeout=terms.seconds,
            follows_expiry=isinstance(terms.timeout, JobTimeLimit),
            least_time=LEAST_TIME * terms.api.time_scale,
            request_timeout=terms.api.request_timeout,
        )
        self.subject: Subject | None = None
        self.is_single: bool = False
        """Whether the reader wants one snapshot at a time, as an iteration does."""
        self.last_error: FireworksBatchError | None = None
        """The error of the newest poll; None if that poll was successful."""
        self.error: FireworksBatchError | None = None
        """The error that ends the wait without a terminal state. After a successful poll the
        snapshot is handed out before the error is raised."""

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def ref(self) -> JobRef | None:
        """The job; None until its account is known."""
        if self._ref is None:
            self._ref = self._terms.api.job_ref(self.name)
        return self._ref

    @property
    def last_snapshot(self) -> JobSnapshot | None:
        """The newest snapshot, made when it is first read; None before the first poll."""
        if self._snapshot is None and self._observation is not None:
            self._snapshot = self._made_snapshot(self._observation)
        return self._snapshot

    @property
    def next_poll(self) -> datetime | None:
        """When the next poll is due, by the time of day, so that no running loop is needed."""
        if self._planned is None:
            return None
        now, wall = self._planned
        return wall + timedelta(seconds=min(max(0.0, self.machine.due - now), _FARTHEST))

    def wall(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        return self._terms.api.wall()

    # --- Polls ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the wait: the first poll is due at once."""
        now = self._terms.api.clock()
        self._planned = now, self.wall()
        self.machine.start(now)

    def seen(self, observation: Observation) -> bool:
        """Process a successful poll; return whether to poll again."""
        moment = observation.moment
        now = self._polled_at(moment.now)
        self._planned = now, moment.observed_at
        seen = self._keep(observation, now)
        updated = observation.job.update_time
        written = None if updated is None else updated.timestamp()
        expires_at, scale = self._expires_at, self._terms.api.time_scale
        decision = self.machine.on_observation(
            seen,
            now=now,
            draw=self._terms.api.draw(),
            time_left=None if expires_at is None else (expires_at - moment.server_seconds) * scale,
            expected_end=expected_end(observation.job, self._history.moves),
            tick=self._ticks.see(written, due=self.machine.due, now=now),
        )
        self._log_poll(observation)
        if isinstance(decision, PollAt):
            return not self.is_single
        if not isinstance(decision, Finished):
            self.error = self._wait_error(decision)
        return False

    def failed(self, failure: Failure) -> bool:
        """Process a failed poll; return whether to poll again."""
        self.last_error = failure.error or self.last_error
        now = self._terms.api.clock()
        if failure.kind is not FailureKind.CUT:
            now = self._polled_at(now)
        self._planned = now, self.wall()
        decision = self.machine.on_failure(failure, now=now, draw=self._terms.api.draw())
        if isinstance(decision, PollAt):
            self._log_failure(failure)
            if self._on_failed_poll is not None:
                self._on_failed_poll(self.machine.failures)
            return True
        is_refused = isinstance(decision, Refused)
        self.error = failure.error if is_refused and failure.error else self._wait_error(decision)
        self.error.ref = self.error.ref or self.ref
        return False

    def _polled_at(self, now: float) -> float:
        """Return the moment of a poll, never earlier than the poll was due.

        A timer may fire a little early by the clock that is read here. The last poll before a
        deadline would then be due a second time.
        """
        return max(self.machine.due, now)

    # --- Snapshots ------------------------------------------------------------------------------

    def _keep(self, observation: Observation, now: float) -> Seen:
        """Keep the values for the snapshot; return the values for the machine.

        Most polls show the same job as the poll before.
        """
        job, before, seen = observation.job, self._observation, self._seen
        self._previous_state = self._history.state
        if seen is None or before is None or job is not before.job:
            self._history = self._history.add(job, now=now)
            self._seen = seen = _seen(job)
            self._expires_at = expiry(job)
        self._observation, self._seen_at, self._snapshot = observation, now, None
        self._number += 1
        self._failures, self._last_error = self.machine.failures, self.last_error
        self.last_error = None
        return seen

    def _made_snapshot(self, observation: Observation) -> JobSnapshot:
        job, machine, now = observation.job, self.machine, self._seen_at
        rate = self._history.rate(now=now)
        return JobSnapshot(
            job=job,
            previous_state=self._previous_state,
            changed=machine.changed,
            number=self._number,
            observed_at=observation.moment.observed_at,
            elapsed=now - machine.started,
            unchanged_for=now - machine.changed_at,
            percent=percent_done(job),
            rate=rate,
            eta=seconds_left(job, rate),
            failures=self._failures,
            last_error=self._last_error,
            problems=observation.problems,
        )

    # --- Errors, and the log --------------------------------------------------------------------

    def _wait_error(self, decision: Decision) -> WaitError:
        match decision:
            case PollAt() | Finished() | Refused():
                raise ClientStateError(f"{decision} is no error of a wait")
            case outcome:
                return wait_error(
                    outcome,
                    job=self.name.job_id,
                    ref=self.ref,
                    last_snapshot=self.last_snapshot,
                    last_error=self.last_error,
                )

    def _log_poll(self, observation: Observation) -> None:
        job = observation.job
        level = logging.INFO if job.state != self._previous_state else logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        percent = percent_done(job)
        _log.log(
            level,
            "job %r is %s (poll %d, %s)",
            job.id,
            job.state,
            self._number,
            "percent unknown" if percent is None else f"{percent:.1f}%",
            extra={
                "fireworks_job": job.name,
                "fireworks_state": str(job.state),
                "fireworks_request_id": observation.moment.request_id,
            },
        )

    def _log_failure(self, failure: Failure) -> None:
        failures = self.machine.failures
        level = logging.WARNING if failures == 1 else logging.DEBUG
        extra = {"fireworks_job": str(self.ref or self.name.job_id)}
        # Without a reference, the request for the account has failed.
        is_missing = failure.kind is FailureKind.NOT_FOUND and self.ref is not None
        if is_missing and not self.machine.has_seen:
            grace = duration_text(self.machine.policy.not_found_grace)
            text = "there is no job %r so far; waiting up to %s for it"
            _log.log(level, text, self.name.job_id, grace, extra=extra)
            return
        _log.log(
            level,
            "job %r: a poll failed (%d in a row), the wait goes on: %s",
            self.name.job_id,
            failures,
            failure.error,
            extra=extra,
        )


def _seen(job: BatchInferenceJob) -> Seen:
    """Return what a job shows to the poll machine."""
    return Seen(
        schedule=schedule_fingerprint(job),
        visible=visible_fingerprint(job),
        is_terminal=job.is_terminal,
        is_unknown=job.state.phase is JobPhase.UNKNOWN,
        has_ended=job.lifecycle is not None and job.lifecycle.end_time is not None,
    )
