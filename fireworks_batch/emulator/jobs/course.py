"""Lay a job's phases out in emulated time and say which one shows; performs no I/O."""

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
"""States that do not tell that the input was found valid."""

_ENDED: Final = frozenset({"COMPLETED", "FAILED", "EXPIRED", "CANCELLED"})
"""The schema's text: these set `lifecycle.endTime`."""


@attrs.frozen
class Ticks:
    """When the controller acts: every *period* from a job's creation; 0 is all the time."""

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
        """Return the first tick after *instant*; *instant* itself if ticks are continuous."""
        return self.last(instant) + self.period


@attrs.frozen(kw_only=True)
class Leg:
    """A phase with its place in emulated time."""

    state: str
    waiting_on_capacity: bool = False
    start: Instant
    """When the phase begins."""

    shown_from: Instant
    """When the controller's tick makes it visible."""

    work: Instant = 0
    """How long it processes rows, were it not cut short; 0 if it processes none."""

    @property
    def is_terminal(self) -> bool:
        """Whether a job stays in this state."""
        return self.state in TERMINAL


@attrs.frozen
class Course:
    """The legs of a job, in order, the last one without an end."""

    ticks: Ticks
    legs: tuple[Leg, ...]
    work: Instant
    """Processing time in the whole script; what an expiry cuts off is counted."""

    share: float
    """The share of the rows that is processed when all work is done."""

    carried: float = 0.0
    """The share of the rows that was processed before this course began."""

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
        """Return the instant at which the leg after *number* shows, infinity if never."""
        return self._shown[number + 1] if number + 1 < len(self._shown) else math.inf

    def processed_share(self, now: Instant) -> float:
        """Return the share of the rows that is processed at *now*, in [0, 1]."""
        number = self.leg(now)
        if any(leg.state == "COMPLETED" for leg in self.legs[: number + 1]):
            return 1.0
        if not self.work:
            return self.carried
        done = sum(self._work_done(index, now) for index in range(number + 1))
        rest = max(0.0, self.share - self.carried)
        return self.carried + rest * min(1.0, done / self.work)

    def _work_done(self, index: int, now: Instant) -> Instant:
        leg = self.legs[index]
        end = self.legs[index + 1].start if index + 1 < len(self.legs) else now
        return max(0, min(leg.work, end - leg.start, now - leg.start))

    def validated(self, now: Instant) -> Instant | None:
        """Return the instant at which the input was found valid."""
        if self.validated_before is not None:
            return self.validated_before
        return self._first(now, lambda leg: leg.state not in _NOT_VALIDATED)

    def run_started(self, now: Instant) -> Instant | None:
        """Return the instant at which the job first ran."""
        if self.run_started_before is not None:
            return self.run_started_before
        return self._first(now, lambda leg: leg.state == "RUNNING")

    def ended(self, now: Instant) -> Instant | None:
        """Return the instant at which the job came to its end."""
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
    """Lay *phases* out from *begin* on; a job not at its end at *expire* expires then.

    Args:
        phases: At least one; the last one stays.

        ticks: When the controller acts.

        begin: When the first phase begins, and shows.

        expire: When the job's time limit ends.

        before: The course that the job leaves at *begin*: what it did stays done. An expiry
            before *begin* does not end the new course.

        does_pending_expire: Whether a job that is PENDING at *expire* expires as well.
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
    """Cut *course* at *now*, where the job is deleted.

    Args:
        course: The course so far.

        now: When the job is deleted.

        gone: When that is done.

        tombstone: The state that the job shows from then on; None if it shows nothing.
    """
    kept = course.legs[: course.leg(now) + 1]
    legs = [*kept, Leg(state="DELETING_CLEANING_UP", start=now, shown_from=now)]
    if tombstone is not None:
        legs.append(Leg(state=tombstone, start=gone, shown_from=gone))
    return attrs.evolve(course, legs=tuple(legs))


def fail_validation(course: Course, now: Instant) -> Course:
    """End *course* where its input would have been found valid."""
    number = next(
        (n for n, leg in enumerate(course.legs) if leg.state not in _NOT_VALIDATED), course.leg(now)
    )
    leg = course.legs[number]
    end = Leg(state="FAILED", start=leg.start, shown_from=leg.shown_from)
    return attrs.evolve(course, legs=(*course.legs[:number], end))


def end(course: Course, state: str, now: Instant) -> Course:
    """End *course* in *state*: in place of the end that shows at *now*, or else now."""
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
    end = next((phase.state for phase in phases if phase.is_terminal), "COMPLETED")
    return 1.0 if end == "COMPLETED" else 0.5
