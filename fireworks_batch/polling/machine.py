"""The poll machine: decides after each poll when to poll again, or that the wait is over.

The machine takes events and returns decisions. All moments are points on one monotonic clock, in
seconds. The machine knows neither jobs nor HTTP: it can wait for anything with a terminal state. It
performs no I/O.
"""

import enum
import math
from collections.abc import Hashable
from typing import Final, TypeAlias

import attrs

from fireworks_batch.models.errors import ClientStateError, FireworksBatchError
from fireworks_batch.models.policies import PollPolicy

__all__ = [
    "LAST_POLL_LEAD",
    "LEAST_TIME",
    "Decision",
    "Failure",
    "FailureKind",
    "Finished",
    "GaveUp",
    "Gone",
    "Outcome",
    "PollAt",
    "PollMachine",
    "Refused",
    "Seen",
    "Stalled",
    "Tick",
    "TimedOut",
    "Unrecognised",
]


# --- Events -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Seen:
    """What a successful poll showed, in the values that the machine needs."""

    schedule: Hashable
    """The schedule fingerprint. A change of this value resets the interval."""

    visible: Hashable
    """The visible fingerprint. A change of this value is progress."""

    is_terminal: bool = False
    """Whether the state is terminal."""

    is_unknown: bool = False
    """Whether this release does not know the state."""

    has_ended: bool = False
    """Whether the server gives an end time, in any state."""


@attrs.frozen
class Tick:
    """When to poll a server that writes at regular moments, to see each write at once."""

    moment: float
    """One of the moments for a poll."""

    period: float
    """Seconds from one such moment to the next."""

    def last(self, until: float) -> float:
        """Return the last moment for a poll up to a given moment."""
        return self.moment + self.period * math.floor((until - self.moment) / self.period)


class FailureKind(enum.Enum):
    """What a failed poll means for the wait."""

    NO_ANSWER = "no answer"
    """There was no usable answer; the next poll may succeed."""

    RATE_LIMITED = "rate limited"
    """The server works, and refuses because of too many requests."""

    UNAUTHORIZED = "unauthorized"
    """The key is refused."""

    NOT_FOUND = "not found"
    """The thing does not exist, or does not exist yet."""

    REFUSED = "refused"
    """The server refuses for good."""

    CUT = "cut"
    """The deadline came before the answer."""


@attrs.frozen
class Failure:
    """A failed poll."""

    kind: FailureKind
    """What the failure means for the wait."""

    error: FireworksBatchError | None = None
    """The error, which the machine does not read; None if the deadline cut the poll."""

    retry_after: float | None = None
    """Seconds that the server asked to wait."""


# --- Decisions ----------------------------------------------------------------------------------


@attrs.frozen
class PollAt:
    """Poll again."""

    due: float
    """The next poll is made no earlier than at this moment."""


@attrs.frozen
class Finished:
    """The state is terminal."""


@attrs.frozen
class TimedOut:
    """The deadline has come."""

    waited: float
    """Seconds since the start."""


@attrs.frozen
class Stalled:
    """Nothing visible has changed for too long."""

    idle_for: float
    """Seconds since the last visible change."""


@attrs.frozen
class GaveUp:
    """Polls have failed in a row for too long."""

    failures: int
    """The number of polls that have failed."""

    spent: float
    """The seconds of the failure budget that are spent; waits that the server asked for are left
    out."""


@attrs.frozen
class Refused:
    """The server refuses for good; the error of the poll says why."""


@attrs.frozen
class Gone:
    """The thing was seen earlier in this wait, and does not exist any more."""


@attrs.frozen
class Unrecognised:
    """The state has been unknown for too long, or an unknown state has an end time."""

    unknown_for: float
    """Seconds since the first unknown state."""


Outcome: TypeAlias = Finished | TimedOut | Stalled | GaveUp | Refused | Gone | Unrecognised
"""How a wait ended."""


Decision: TypeAlias = PollAt | Outcome


# The failure budget ends a wait only after this many polls in a row have failed.
_FEWEST_FAILURES: Final = 5


# The last poll starts this many seconds before the deadline, or a tenth of the timeout if that is
# less.
LAST_POLL_LEAD: Final = 5.0


# A wait lasts this many seconds at least, even if the job has expired when the wait starts.
LEAST_TIME: Final = 3600.0


# A poll comes after this share of the time to the expected end, or of the time since that end.
_SHARE: Final = 0.4


# A poll that waits for a tick comes at most this many largest intervals after the poll before. So
# each of two hundred jobs is seen every 90 seconds.
_LONGEST_GAP: Final = 1.25


# At most this many polls of a wait are brought forward for an expected end.
_MOST_BROUGHT_FORWARD: Final = 12


# --- The machine --------------------------------------------------------------------------------


@attrs.define(kw_only=True)
class PollMachine:
    """Decides about one wait, and keeps what the wait remembers between two polls.

    `start` begins the wait. After that, each poll is given to `on_observation` or `on_failure`.
    """

    policy: PollPolicy
    """When to poll, and when to give up."""

    timeout: float | None = None
    """Seconds for the whole wait; None for no limit."""

    follows_expiry: bool = False
    """Whether each successful poll sets the deadline by the time left until the expiry."""

    least_time: float = LEAST_TIME
    """Seconds from the start before which no expiry ends the wait."""

    request_timeout: float = math.inf
    """Seconds that a poll may take."""

    has_started: bool = False
    """Whether `start` was called."""

    is_over: bool = False
    """Whether the wait has ended."""

    started: float = 0.0
    """When the wait started."""

    due: float = 0.0
    """The next poll is made no earlier than at this moment."""

    deadline: float = math.inf
    """When the wait ends in any case."""

    last_poll: float = math.inf
    """When one more poll is started before the deadline."""

    first_interval: float = 0.0
    """The base interval in seconds after a change."""

    least_interval: float = 0.0
    """No poll comes sooner than this many seconds after the one before."""

    least_ahead: float = 0.0
    """No poll is moved to less than this many seconds after the one before."""

    interval: float = 0.0
    """The base interval in seconds; 0 before the first poll."""

    brought_forward: int = 0
    """Number of polls that were brought forward because the end was in sight."""

    is_brought_forward: bool = False
    """Whether the next poll is brought forward."""

    pause: float = 0.0
    """Seconds for which a 429 without a Retry-After would close the gate now."""

    schedule: Hashable = None
    """The newest schedule fingerprint."""

    visible: Hashable = None
    """The newest visible fingerprint."""

    has_seen: bool = False
    """Whether a poll of this wait was successful."""

    has_good_key: bool = False
    """Whether the key was accepted, in this wait or in another wait of the same fleet."""

    changed: bool = False
    """Whether the newest successful poll showed a visible change."""

    changed_at: float = 0.0
    """When the last visible change was seen."""

    stalls_at: float = math.inf
    """When a successful poll without a visible change ends the wait."""

    failures: int = 0
    """Number of failed polls since the last successful poll."""

    counted: int = 0
    """Number of these polls that the failure budget counts."""

    spent: float = 0.0
    """Seconds of the failure budget that are spent."""

    spending_since: float | None = None
    """From when on the time until the next failure is spent; None if no time is spent."""

    refusal: FailureKind | None = None
    """The kind of the newest poll's failure; None if the poll succeeded. A second refusal of the
    same kind in a row ends the wait."""

    grace_ends: float = math.inf
    """From when on a 404 is believed, if the thing was never seen."""

    unknown_since: float | None = None
    """The moment since which the state has been unknown."""

    ended_since: float | None = None
    """The moment since which the unknown state has also had an end time."""

    unknown_ends: float = math.inf
    """From when on a successful poll that shows an unknown state ends the wait."""

    def start(self, now: float) -> PollAt:
        """Start the wait; the first poll is due at once.

        Args:
            now: The moment.
        """
        self.has_started = True
        self.started = self.changed_at = self.due = now
        self.first_interval = min(self.policy.initial_interval, self.policy.max_interval)
        self.least_interval = min(self.policy.min_interval, self.first_interval)
        self.least_ahead = max(self.first_interval / 3, self.least_interval)
        self.pause = self.first_interval
        if self.timeout is not None:
            self._set_deadline(now, self.timeout)
        return PollAt(now)

    def on_observation(
        self,
        seen: Seen,
        *,
        now: float,
        draw: float,
        time_left: float | None = None,
        expected_end: float | None = None,
        tick: Tick | None = None,
    ) -> Decision:
        """Decide after a successful poll.

        Args:
            seen: What the poll showed.
            now: When the answer was read.
            draw: A random number from 0 up to 1, for jitter.
            time_left: Seconds until the thing must have ended, from the newest answer. Below 0 if
                this moment has passed; None if unknown.
            expected_end: The moment at which the thing is expected to end, which may have passed.
                None if unknown.
            tick: When to poll, if the server is proven to write at regular moments; None if not.

        Raises:
            ClientStateError: The wait is over.
        """
        self._check_open()
        self._record(seen, now)
        if self.follows_expiry and time_left is not None:
            self._set_deadline(now, max(time_left, self.started + self.least_time - now))
        outcome = self._judge(seen, now)
        if outcome:
            return self._end(outcome)
        if not self.policy.adaptive:
            return self._poll_again(now, draw)
        return self._poll_again(now, draw, expected_end=expected_end, tick=tick)

    def on_failure(self, failure: Failure, *, now: float, draw: float) -> Decision:
        """Decide after a failed poll.

        Args:
            failure: How the poll failed.
            now: When the poll failed.
            draw: A random number from 0 up to 1, for jitter.

        Raises:
            ClientStateError: The wait is over.
        """
        self._check_open()
        if failure.kind is FailureKind.CUT:
            return self._end(TimedOut(now - self.started))
        if self._is_believed(failure.kind, now):
            is_gone = failure.kind is FailureKind.NOT_FOUND and self.has_seen
            return self._end(Gone() if is_gone else Refused())
        self._count(failure, now)
        if self.counted >= _FEWEST_FAILURES and self.spent >= self.policy.failure_budget:
            return self._end(GaveUp(self.counted, self.spent))
        if now >= self.deadline:
            return self._end(TimedOut(now - self.started))
        hold = self._hold(failure) * (1 + self.policy.jitter * draw)
        is_limited = failure.kind is FailureKind.RATE_LIMITED
        longer = min(2 * self.pause, self.policy.max_interval)
        self.pause = longer if is_limited else self.interval
        return self._poll_again(now, draw, floor=now + hold)

    def _check_open(self) -> None:
        if self.is_over:
            raise ClientStateError("this wait is over: it takes no more polls")

    def _end(self, outcome: Outcome) -> Outcome:
        self.is_over = True
        return outcome

    # --- Successful polls -----------------------------------------------------------------------

    def _record(self, seen: Seen, now: float) -> None:
        self.changed = not self.has_seen or seen.visible != self.visible
        if self.changed:
            self.changed_at = now
            self.stalls_at = _after(now, self.policy.stall_after)
        same_schedule = self.has_seen and seen.schedule == self.schedule
        self.interval = self.pause = self._grown() if same_schedule else self.first_interval
        self.schedule, self.visible = seen.schedule, seen.visible
        self.has_seen = self.has_good_key = True
        self.failures = self.counted = 0
        self.spent = 0.0
        self.spending_since = self.refusal = None
        self.grace_ends = math.inf
        if seen.is_unknown:
            self._record_unknown(now, has_ended=seen.has_ended)
        else:
            self.unknown_since = self.ended_since = None
            self.unknown_ends = math.inf

    def _record_unknown(self, now: float, *, has_ended: bool) -> None:
        """Note when an unknown state ends the wait.

        The wait ends after the budget, or when polls have shown an end time for the largest
        interval.
        """
        self.unknown_since = _since(self.unknown_since, now)
        self.ended_since = _since(self.ended_since, now) if has_ended else None
        budget = _after(self.unknown_since, self.policy.unknown_state_budget)
        self.unknown_ends = min(budget, _after(self.ended_since, self.policy.max_interval))

    def _set_deadline(self, now: float, timeout: float) -> None:
        self.deadline = now + timeout
        self.last_poll = self.deadline - min(LAST_POLL_LEAD, timeout / 10)

    def _judge(self, seen: Seen, now: float) -> Outcome | None:
        if seen.is_terminal:
            return Finished()
        if now >= self.deadline:
            return TimedOut(now - self.started)
        if self.unknown_since is not None and now >= self.unknown_ends:
            return Unrecognised(now - self.unknown_since)
        if now >= self.stalls_at:
            return Stalled(now - self.changed_at)
        return None

    # --- Failed polls ---------------------------------------------------------------------------

    def _is_believed(self, kind: FailureKind, now: float) -> bool:
        """Say whether a refusal ends the wait; if not, the refusal may be temporary."""
        match kind:
            case FailureKind.REFUSED:
                return True
            case FailureKind.UNAUTHORIZED:
                return not self.has_good_key or self.refusal is kind
            case FailureKind.NOT_FOUND if self.has_seen:
                return self.refusal is kind
            case FailureKind.NOT_FOUND:
                self.grace_ends = min(self.grace_ends, now + self.policy.not_found_grace)
                return now >= self.grace_ends
            case _:
                return False

    def _count(self, failure: Failure, now: float) -> None:
        """Charge the failure budget from one failed poll to the next; a 429 charges nothing.

        The charge is limited: a longer gap means that the process was stopped, not that the server
        failed.
        """
        is_charged = failure.kind is not FailureKind.RATE_LIMITED
        if is_charged and self.spending_since is not None:
            longest = self.policy.max_interval + self.request_timeout
            self.spent += min(max(0.0, now - self.spending_since), longest)
        self.spending_since = now + (failure.retry_after or 0.0) if is_charged else None
        self.interval = self._grown()
        self.failures += 1
        self.counted += is_charged
        self.refusal = failure.kind

    def _hold(self, failure: Failure) -> float:
        """Return the seconds for which the server asks not to be polled."""
        if failure.retry_after is not None:
            return failure.retry_after
        return self.pause if failure.kind is FailureKind.RATE_LIMITED else 0.0

    # --- The next poll --------------------------------------------------------------------------

    def _poll_again(
        self,
        now: float,
        draw: float,
        floor: float = -math.inf,
        expected_end: float | None = None,
        tick: Tick | None = None,
    ) -> PollAt:
        """Plan the next poll: an interval from now, or at the tick nearest to this moment.

        A poll comes sooner at a limit, where the poll may end the wait, and while the end is in
        sight. Only the floor, which the server sets, may delay the last poll before a given
        deadline. A deadline that follows the expiry moves a little with each poll, and the last
        poll moves too.
        """
        earliest = max(now + self.least_interval, floor)
        jitter = self.policy.jitter * (2 * draw - 1)
        due = self._at_tick(tick, now, self.interval, now + self.interval * (1 + jitter))
        for limit in (self.stalls_at, self.unknown_ends, self.grace_ends):
            if now < limit < due:
                due = limit
        if due < earliest:
            due = earliest
        if now < self.last_poll < due:
            due = max(self.last_poll, earliest if self.follows_expiry else floor)
        sooner = self._in_sight(expected_end, tick, now)
        self.is_brought_forward = sooner < due
        self.brought_forward += self.is_brought_forward
        self.due = min(due, sooner)
        return PollAt(self.due)

    def _at_tick(self, tick: Tick | None, now: float, seconds: float, otherwise: float) -> float:
        """Return the tick nearest to a moment, unless this tick is too late or too soon.

        A tick is too late if it comes half of the largest interval after the moment, or five
        quarters of the largest interval from now. The tick before is returned then.

        Args:
            tick: When to poll the server; None if unknown.
            now: The present moment.
            seconds: Seconds from now until the poll, if there were no tick.
            otherwise: Returned if there is no tick, or if the tick is too soon.
        """
        if tick is None:
            return otherwise
        longest = self.policy.max_interval
        late = min(longest, tick.period) / 2
        last = tick.last(now + min(seconds + late, _LONGEST_GAP * longest))
        return last if last >= now + self.least_ahead else otherwise

    def _in_sight(self, expected_end: float | None, tick: Tick | None, now: float) -> float:
        """Return when to poll while the end is in sight; infinity if no end is expected."""
        if expected_end is None or self.brought_forward >= _MOST_BROUGHT_FORWARD:
            return math.inf
        seconds = max(_SHARE * abs(expected_end - now), self.least_ahead)
        return self._at_tick(tick, now, seconds, now + seconds)

    def _grown(self) -> float:
        if not self.interval:
            return self.first_interval
        return min(self.interval * self.policy.growth, self.policy.max_interval)


def _since(earlier: float | None, now: float) -> float:
    return now if earlier is None else earlier


def _after(moment: float | None, seconds: float | None) -> float:
    return math.inf if moment is None or seconds is None else moment + seconds
