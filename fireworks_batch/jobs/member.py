"""One job of a fleet: its wait, and what its fleet hears of it."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from fireworks_batch.jobs.tracker import Tracker, WaitEffects, WaitTerms
from fireworks_batch.models.errors import (
    AccountSuspendedError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobName, JobRef
from fireworks_batch.models.snapshot import JobOutcome, JobSnapshot
from fireworks_batch.models.states import JobState
from fireworks_batch.polling.access import Looks
from fireworks_batch.polling.followers import Interest
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.polling.observation import Failure, Moment, Observation

__all__ = ["Fleet", "FleetTerms", "Member"]


# What a refusal of one job's look says of all the others.
_CONCERNS_ALL: Final = (
    AccountSuspendedError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
)


@attrs.frozen(kw_only=True)
class FleetTerms:
    """What the waits of a fleet have in common."""

    name: Callable[[Any], JobName]
    """Reads what the caller calls a job."""

    ref: Callable[[JobName], JobRef | None]
    """Returns the reference, if the account is known."""

    wait: Callable[[JobName], WaitTerms]
    """Returns the terms of a job's wait."""

    effects: WaitEffects
    """What time it is, and the account of the first job."""

    looks: Looks
    """Makes the looks."""

    linger: float
    """Seconds for which looks go on after somebody asked for a snapshot."""

    changes_only: bool
    """Whether snapshots without a visible change are left out."""


class Fleet(Protocol):
    """Who hears of a job's looks."""

    has_seen: bool
    """Whether a look at any of its jobs was good: the key is no bad one then."""

    def hear(self, member: "Member") -> None:
        """Take the news of a job."""
        ...

    def fail(self, error: BaseException) -> None:
        """Take what concerns all jobs."""
        ...


class Member(Tracker):
    """One job of a fleet. The fleet is told of its looks, and not kept alive by that."""

    __slots__ = (
        "ended_with",
        "fleet",
        "has_changed",
        "hears_all",
        "interest",
        "is_doubted",
        "name",
        "shown",
    )

    def __init__(self, fleet: Callable[[], Fleet | None], name: JobName, terms: FleetTerms) -> None:
        super().__init__(terms.wait(name), terms.effects, ref=terms.ref(name))
        self.fleet = fleet
        self.name = name
        self.interest: Interest | None = None
        self.hears_all = False
        self.has_changed = False
        self.is_doubted = False
        self.ended_with: JobOutcome | None = None
        self.shown: JobState | None = None

    def seen(self, seen: Observation) -> bool:
        """Take a good look, and tell the fleet of it."""
        goes_on = super().seen(seen)
        self.has_changed = self.has_changed or self.has_news
        if not goes_on and self.ref is not None:
            self.ended_with = (
                JobOutcome(self.ref, job=seen.job)
                if self.ending is None
                else JobOutcome(self.ref, error=self.ending)
            )
        self._tell()
        return goes_on

    def same(self, moment: Moment) -> bool:
        """Take a good look that showed nothing new, and tell the fleet if it hears of those."""
        goes_on = super().same(moment)
        if self.hears_all:
            self._tell()
        return goes_on

    def lost(self, failure: Failure) -> bool:
        """Take a failed look; what ends the wait is told and not raised.

        A key that was good for other jobs has to be refused twice in a row, as after a good look
        at this one.
        """
        fleet = self.fleet()
        was_doubted, self.is_doubted = self.is_doubted, failure.kind is FailureKind.UNAUTHORIZED
        is_good = self.job is None and fleet is not None and fleet.has_seen
        if self.is_doubted and is_good and not was_doubted:
            failure = attrs.evolve(failure, kind=FailureKind.LOST)
        try:
            return super().lost(failure)
        except FireworksBatchError as error:
            error.ref = error.ref or self.ref
            if isinstance(error, _CONCERNS_ALL):
                if fleet is not None:
                    fleet.fail(error)
            elif self.ref is not None:
                self.ended_with = JobOutcome(self.ref, error=error)
                self._tell()
        return False

    def _tell(self) -> None:
        fleet = self.fleet()
        if fleet is not None:
            fleet.hear(self)

    def news(self) -> JobSnapshot:
        """Return the newest snapshot; changes that were passed over since the last one count."""
        snapshot = self.last_snapshot
        error = None if self.ended_with is None else self.ended_with.error
        if snapshot is None:
            snapshot = self._never_seen()
        elif self.has_changed and not snapshot.changed:
            snapshot = attrs.evolve(snapshot, changed=True)
        if snapshot.previous_state != self.shown:
            snapshot = attrs.evolve(snapshot, previous_state=self.shown)
        if error is not None:
            snapshot = attrs.evolve(snapshot, error=error)
        self.has_changed, self.shown = False, snapshot.job.state
        return snapshot

    def _never_seen(self) -> JobSnapshot:
        return JobSnapshot(
            job=BatchInferenceJob(name=str(self.ref)),
            previous_state=None,
            changed=False,
            number=0,
            observed_at=self._effects.wall(),
            elapsed=0.0,
            unchanged_for=0.0,
            percent=None,
            rate=None,
            eta=None,
            failures=self.failures,
            last_error=self.last_error,
        )
