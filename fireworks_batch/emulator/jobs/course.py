"""The course of a job: its phases in emulated time, and which phase shows. Performs no I/O."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from fireworks_batch.emulator.clock import Instant, microseconds
from fireworks_batch.emulator.jobs.scripts import DEFAULT_SECONDS, TERMINAL, Phase

_NOT_VALIDATED: Final = frozenset(
    {
        "UNSPECIFIED",
        "VALIDATING",
        "CREATING_INPUT_DATASET",
        "FAILED",
        "CANCELLING",
        "CANCELLED",
        "EXPIRED",
        "DELETING",
        "DELETING_CLEANING_UP",
        "DELETED",
    }
)
"""The states that do not prove that the input is valid."""

_ENDED: Final = frozenset({"COMPLETED", "FAILED", "EXPIRED", "CANCELLED"})
"""The states that set ``lifecycle.endTime``, as the API document says."""


@attrs.frozen
class Ticks:
    """The ticks at which a job changes, every *period* from its creation. 0 is all the time."""

    origin: Instant
    period: Instant

    def next(self, instant: Instant) -> Instant:
        """Return the first tick at *instant* or after it."""
        if not self.period:
            return instant
        return self.origin - (self.origin - instant) // self.period * self.period

    def last(self, instant: Instant) -> Instant:
        """Return the last tick at *instant* or before it."""
        if not self.period:
            return instant
        return self.origin + (instant - self.origin) // self.period * self.period

    def after(self, instant: Instant) -> Instant:
        """Return the first tick after *instant*; *instant* itself if the period is 0."""
        return self.last(instant) + self.period


@attrs.frozen(kw_only=True)
class Leg:
    """A phase that is placed in emulated time."""

    state: str
    waiting_on_capacity: bool = False
    start: Instant
    """The instant at which the phase begins."""

    shown_from: Instant
    """The tick at which the phase becomes visible."""

    work: Instant = 0
    """How long the phase would process rows if nothing ends it early; 0 if it processes none."""

    @property
    def is_terminal(self) -> bool:
        """Whether a job stays in this state."""
        return self.state in TERMINAL


@attrs.frozen
class Course:
    """The legs of a job, in order. The last leg has no end."""

    ticks: Ticks
    legs: tuple[Leg, ...]
    work: Instant
    """The processing time of the whole script, as if the job did not expire."""

    share: float
    """The share of the rows that is processed at the end of all work, in [0, 1]."""

    carried: float = 0.0
    """The share of the rows that was processed before this course began, in [0, 1]."""

    validated_before: Instant | None = None
    run_started_before: Instant | None = None
    _shown: tuple[Instant, ...] = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: tuple(leg.shown_from for leg in self.legs), takes_self=True
        ),
    )

    def leg(self, now: Instant) -> int:
        """Return the number of the leg that shows at *now*."""
        return max(0, bisect_right(self._shown, now) - 1)

    def until(self, number: int) -> float:
        """Return the instant at which the leg after *number* shows; infinity if there is none."""
        return self._shown[number + 1] if number + 1 < len(self._shown) else math.inf

    def processed_share(self, now: Instant) -> float:
        """Return the share of the rows that is processed at *now*, in [0, 1]."""
        number = self.leg(now)
        if any(leg.state == "COMPLETED" for leg in self.legs[: number + 1]):
            return 1.0
        if not self.work:
            return self.carried
        done = sum(self._work_done(index, now) for index in range(number + 1))
        to_do = max(0.0, self.share - self.carried)
        return self.carried + to_do * min(1.0, done / self.work)

    def _work_done(self, index: int, now: Instant) -> Instant:
        leg = self.legs[index]
        end = self.legs[index + 1].start if index + 1 < len(self.legs) else now
        return max(0, min(leg.work, end - leg.start, now - leg.start))

    def validated(self, now: Instant) -> Instant | None:
        """Return the instant at which the input was found valid; None before."""
        if self.validated_before is not None:
            return self.validated_before
        return self._first(now, lambda leg: leg.state not in _NOT_VALIDATED)

    def run_started(self, now: Instant) -> Instant | None:
        """Return the instant at which the job first was RUNNING; None before."""
        if self.run_started_before is not None:
            return self.run_started_before
        return self._first(now, lambda leg: leg.state == "RUNNING")

    def ended(self, now: Instant) -> Instant | None:
        """Return the instant at which the job ended; None if it has not ended."""
        leg = self.legs[self.leg(now)]
        return leg.shown_from if leg.state in _ENDED else None

    def _first(self, now: Instant, is_wanted: Callable[[Leg], bool]) -> Instant | None:
        shown = self.legs[: self.leg(now) + 1]
        return next((leg.shown_from for leg in shown if is_wanted(leg)), None)


def lay_out(
    phases: Sequence[Phase],
    *,
    ticks: Ticks,
    begin: Instant,
    expire: Instant,
    before: Course | None = None,
    does_pending_expire: bool = True,
) -> Course:
    """Return the course of a job from *begin* on. A job that has not ended at *expire* expires.

    Args:
        phases: The phases, at least one. The job stays in the last phase.

        ticks: The ticks at which the job changes.

        begin: The instant at which the first phase begins, and shows.

        expire: The instant at which the job expires. It does not end the course if it is before
            *begin*.

        before: The earlier course of the job, which ends at *begin*. Its processed rows stay
            processed.

        does_pending_expire: Whether a job that is PENDING at *expire* expires too.
    """
    placed = list(_place(phases, ticks=ticks, begin=begin, expire=expire))
    legs = placed
    if begin < expire and not _is_ended_by(placed, expire):
        kept = [leg for leg in placed if leg.start < expire]
        if does_pending_expire or kept[-1].state != "PENDING":
            legs = [*kept, Leg(state="EXPIRED", start=expire, shown_from=ticks.next(expire))]
    return Course(
        ticks=ticks,
        legs=tuple(legs),
        work=sum(leg.work for leg in placed),
        share=_share(phases),
        carried=before.processed_share(begin) if before else 0.0,
        validated_before=before.validated(begin) if before else None,
        run_started_before=before.run_started(begin) if before else None,
    )


def leave(course: Course, *, now: Instant, gone: Instant, tombstone: str | None) -> Course:
    """Return *course* with a deletion of the job at *now*.

    Args:
        course: The course so far.

        now: The instant at which the deletion begins.

        gone: The instant at which the deletion is done.

        tombstone: The state that the job shows from *gone* on; None if the job is not shown.
    """
    kept = course.legs[: course.leg(now) + 1]
    legs = [*kept, Leg(state="DELETING_CLEANING_UP", start=now, shown_from=now)]
    if tombstone is not None:
        legs.append(Leg(state=tombstone, start=gone, shown_from=gone))
    return attrs.evolve(course, legs=tuple(legs))


def fail_validation(course: Course, now: Instant) -> Course:
    """Return *course* with FAILED in place of the first phase after the validation."""
    number = next(
        (n for n, leg in enumerate(course.legs) if leg.state not in _NOT_VALIDATED), course.leg(now)
    )
    leg = course.legs[number]
    end = Leg(state="FAILED", start=leg.start, shown_from=leg.shown_from)
    return attrs.evolve(course, legs=(*course.legs[:number], end))


def end(course: Course, state: str, now: Instant) -> Course:
    """Return *course* with the outcome *state*, in place of an earlier outcome, or at *now*."""
    number = course.leg(now)
    leg = course.legs[number]
    if leg.is_terminal:
        return attrs.evolve(course, legs=(*course.legs[:number], attrs.evolve(leg, state=state)))
    last = Leg(state=state, start=now, shown_from=max(leg.shown_from, course.ticks.last(now)))
    return attrs.evolve(course, legs=(*course.legs[: number + 1], last))


def _place(
    phases: Sequence[Phase], *, ticks: Ticks, begin: Instant, expire: Instant
) -> Iterator[Leg]:
    start, last = begin, len(phases) - 1
    for number, phase in enumerate(phases):
        seconds = DEFAULT_SECONDS if phase.seconds is None else phase.seconds
        length = microseconds(seconds)
        if not length and number != last:
            continue
        shown_from = begin if start == begin else ticks.next(start)
        work = 0
        if phase.state == "RUNNING" and not phase.waiting_on_capacity:
            is_endless = number == last and phase.seconds is None and start < expire
            work = 2 * (expire - start) if is_endless else length
        yield Leg(
            state=phase.state,
            waiting_on_capacity=phase.waiting_on_capacity,
            start=start,
            shown_from=shown_from,
            work=work,
        )
        start += length


def _is_ended_by(legs: Sequence[Leg], expire: Instant) -> bool:
    return any(leg.start <= expire and leg.is_terminal for leg in legs)


def _share(phases: Sequence[Phase]) -> float:
    outcome = next((phase.state for phase in phases if phase.is_terminal), "COMPLETED")
    return 1.0 if outcome == "COMPLETED" else 0.5
