"""The poll machine: given what the last look at something brought, when to look again, or stop.

Events in, decisions out; all moments are points on one monotonic clock, in seconds. The machine
knows neither jobs nor HTTP: it serves whatever has a state that ends. Performs no I/O.
"""

import enum
import math
from collections.abc import Hashable
from typing import Final, TypeAlias

import attrs

from fireworks_batch.models.errors import ClientStateError
from fireworks_batch.models.policies import PollPolicy

__all__ = [
    "LAST_LOOK_LEAD",
    "LEAST_WINDOW",
    "Decision",
    "Ending",
    "Failed",
    "FailureKind",
    "Finished",
    "GaveUp",
    "Gone",
    "PollAt",
    "PollState",
    "Refused",
    "Seen",
    "Stalled",
    "Steady",
    "TimedOut",
    "Unrecognised",
    "on_failure",
    "on_observation",
    "start",
]


# --- Events -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Seen:
    """A good look, reduced to what the machine may judge."""

    schedule: Hashable
    """A change of this starts the interval anew."""

    visible: Hashable
    """A change of this is progress."""

    is_terminal: bool = False
    """Whether nothing can change any more."""

    is_unknown: bool = False
    """Whether the state is one that nobody has heard of."""

    has_ended: bool = False
    """Whether the server gives a time of the end, whatever the state."""

    window: float | None = None
    """Seconds until it is no use to wait any more, by what was seen; below 0 if that has passed,
    None if it is unknown."""


class FailureKind(enum.Enum):
    """What a failed look means for the wait."""

    LOST = "lost"
    """No usable answer; the next look may do better."""

    RATE_LIMITED = "rate limited"
    """Too many requests: the server is well, and asks to wait."""

    UNAUTHORIZED = "unauthorized"
    """The key is refused. It may be a hiccup, if it was accepted before."""

    NOT_FOUND = "not found"
    """There is no such thing: not yet, or no more."""

    REFUSED = "refused"
    """Refused for good."""

    CUT = "cut"
    """The deadline came first."""


@attrs.frozen
class Failed:
    """A look that brought nothing."""

    kind: FailureKind
    """What that means."""

    retry_after: float | None = None
    """Seconds that the server asked to wait."""


# --- Decisions ----------------------------------------------------------------------------------


@attrs.frozen
class PollAt:
    """Look again, no earlier than then."""

    due: float
    """The moment."""


@attrs.frozen
class Finished:
    """It is terminal."""


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
    """Too many looks in a row have failed, for too long."""

    failures: int
    """How many."""

    spent: float
    """For how many seconds, without those that the server asked for."""


@attrs.frozen
class Refused:
    """The server refuses for good; its own error says why."""


@attrs.frozen
class Gone:
    """It was there earlier in this wait, and is no more."""


@attrs.frozen
class Unrecognised:
    """It has been in states that nobody has heard of for too long, or has ended in one."""

    unknown_for: float
    """Seconds since the first of them."""


Ending: TypeAlias = Finished | TimedOut | Stalled | GaveUp | Refused | Gone | Unrecognised


Decision: TypeAlias = PollAt | Ending


# A failure budget ends no wait before so many looks in a row have failed.
_FEWEST_FAILURES: Final = 5


# The last look is started this long before the deadline, or a tenth of the timeout.
LAST_LOOK_LEAD: Final = 5.0


# The window that a wait has at least, if the one it follows has passed before it began.
LEAST_WINDOW: Final = 3600.0


# --- The state ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PollState:
    """All that a wait remembers between two looks."""

    started: float
    """When the wait began."""

    deadline: float = math.inf
    """When it ends whatever happens."""

    last_look: float = math.inf
    """When one more look is started before the deadline."""

    follows_window: bool = False
    """Whether the deadline follows what good looks say of the window."""

    least_window: float = LEAST_WINDOW
    """Seconds from the start before which no window ends the wait."""

    interval: float = 0.0
    """Seconds to the next look; 0 before the first."""

    pause: float = 0.0
    """Seconds for which a 429 without a Retry-After would close the gate now."""

    schedule: Hashable = None
    """The newest schedule fingerprint."""

    visible: Hashable = None
    """The newest visible fingerprint."""

    has_seen: bool = False
    """Whether there was a good look."""

    changed: bool = False
    """Whether the newest good look showed a visible change."""

    changed_at: float = 0.0
    """When the last visible change was seen."""

    failures: int = 0
    """Looks lost since the last good one."""

    counted: int = 0
    """Those of them that the failure budget counts."""

    spent: float = 0.0
    """Seconds of the failure budget that are spent."""

    spending_since: float | None = None
    """From when on the time until the next failure is spent; None if none of it is."""

    refusal: FailureKind | None = None
    """What the newest look was refused with, if a second such refusal would be believed."""

    missing_since: float | None = None
    """When it was first not found, before it was seen."""

    unknown_since: float | None = None
    """Since when its state has been one that nobody has heard of."""

    ended_since: float | None = None
    """Since when it has also had an end."""

    is_over: bool = False
    """Whether the wait has ended."""


def start(
    policy: PollPolicy,
    *,
    now: float,
    timeout: float | None,
    follows_window: bool = False,
    least_window: float = LEAST_WINDOW,
) -> PollState:
    """Begin a wait; its first look is due at once.

    Args:
        policy: How to wait.
        now: The moment.
        timeout: Seconds for the whole wait; None for no limit.
        follows_window: Whether the deadline moves with each good look's ``window``.
        least_window: Seconds that such a wait has at least, if the window has passed before.
    """
    state = PollState(
        started=now,
        changed_at=now,
        pause=_initial(policy),
        follows_window=follows_window,
        least_window=least_window,
    )
    return state if timeout is None else _with_deadline(state, now=now, timeout=timeout)


def _with_deadline(state: PollState, *, now: float, timeout: float) -> PollState:
    deadline = now + timeout
    lead = min(LAST_LOOK_LEAD, timeout / 10)
    return attrs.evolve(state, deadline=deadline, last_look=deadline - lead)


# --- Good looks ---------------------------------------------------------------------------------


def on_observation(
    policy: PollPolicy, state: PollState, seen: Seen, *, now: float, draw: float
) -> tuple[PollState, Decision]:
    """Decide after a good look.

    Args:
        policy: How to wait.
        state: What the wait remembers.
        seen: What the look brought.
        now: When its answer was read.
        draw: A random number from 0 up to 1, for jitter.

    Raises:
        ClientStateError: The wait is over.
    """
    _check_open(state)
    state = _record(policy, state, seen, now)
    if ending := _judge(policy, state, seen, now):
        return attrs.evolve(state, is_over=True), ending
    return state, PollAt(_due(policy, state, now=now, draw=draw))


def _record(policy: PollPolicy, state: PollState, seen: Seen, now: float) -> PollState:
    changed = not state.has_seen or seen.visible != state.visible
    same_schedule = state.has_seen and seen.schedule == state.schedule
    interval = _grown(policy, state) if same_schedule else _initial(policy)
    has_ended = seen.is_unknown and seen.has_ended
    if state.follows_window and seen.window is not None:
        least = state.started + state.least_window - now
        state = _with_deadline(state, now=now, timeout=max(seen.window, least))
    return attrs.evolve(
        state,
        interval=interval,
        pause=interval,
        schedule=seen.schedule,
        visible=seen.visible,
        has_seen=True,
        changed=changed,
        changed_at=now if changed else state.changed_at,
        failures=0,
        counted=0,
        spent=0.0,
        spending_since=None,
        refusal=None,
        missing_since=None,
        unknown_since=_since(state.unknown_since, now) if seen.is_unknown else None,
        ended_since=_since(state.ended_since, now) if has_ended else None,
    )


def _since(earlier: float | None, now: float) -> float:
    return now if earlier is None else earlier


def _judge(policy: PollPolicy, state: PollState, seen: Seen, now: float) -> Ending | None:
    if seen.is_terminal:
        return Finished()
    if now >= state.deadline:
        return TimedOut(now - state.started)
    if state.unknown_since is not None and now >= _unknown_limit(policy, state):
        return Unrecognised(now - state.unknown_since)
    if now >= _stall_limit(policy, state):
        return Stalled(now - state.changed_at)
    return None


def _unknown_limit(policy: PollPolicy, state: PollState) -> float:
    """Return when an unknown state ends the wait: its budget spent, or its end seen twice."""
    budget = _after(state.unknown_since, policy.unknown_state_budget)
    return min(budget, _after(state.ended_since, policy.max_interval))


def _stall_limit(policy: PollPolicy, state: PollState) -> float:
    return _after(state.changed_at, policy.stall_after)


def _after(moment: float | None, seconds: float | None) -> float:
    return math.inf if moment is None or seconds is None else moment + seconds


# --- Failed looks -------------------------------------------------------------------------------


def on_failure(
    policy: PollPolicy, state: PollState, failed: Failed, *, now: float, draw: float
) -> tuple[PollState, Decision]:
    """Decide after a failed look.

    Args:
        policy: How to wait.
        state: What the wait remembers.
        failed: How the look failed.
        now: When it did.
        draw: A random number from 0 up to 1, for jitter.

    Raises:
        ClientStateError: The wait is over.
    """
    _check_open(state)
    if failed.kind is FailureKind.CUT:
        return attrs.evolve(state, is_over=True), TimedOut(now - state.started)
    if _is_believed(policy, state, failed.kind, now):
        is_gone = failed.kind is FailureKind.NOT_FOUND and state.has_seen
        return attrs.evolve(state, is_over=True), Gone() if is_gone else Refused()
    state = _count(policy, state, failed, now)
    if state.counted >= _FEWEST_FAILURES and state.spent >= policy.failure_budget:
        return attrs.evolve(state, is_over=True), GaveUp(state.counted, state.spent)
    if now >= state.deadline:
        return attrs.evolve(state, is_over=True), TimedOut(now - state.started)
    floor = now + _hold(state, failed) * (1 + policy.jitter * draw)
    due = _due(policy, state, now=now, draw=draw, floor=floor)
    return attrs.evolve(state, pause=_next_pause(policy, state, failed)), PollAt(due)


def _is_believed(policy: PollPolicy, state: PollState, kind: FailureKind, now: float) -> bool:
    """Say whether a refusal ends the wait, or may still be a hiccup."""
    if kind is FailureKind.REFUSED:
        return True
    if kind not in {FailureKind.UNAUTHORIZED, FailureKind.NOT_FOUND}:
        return False
    if state.has_seen:
        return state.refusal is kind
    if kind is FailureKind.UNAUTHORIZED:
        return True
    return now >= _since(state.missing_since, now) + policy.not_found_grace


def _count(policy: PollPolicy, state: PollState, failed: Failed, now: float) -> PollState:
    """Charge the failure budget from one failed look to the next; a 429 charges nothing."""
    is_charged = failed.kind is not FailureKind.RATE_LIMITED
    resumed = state.spending_since if is_charged else None
    spent = max(0.0, now - resumed) if resumed is not None else 0.0
    is_missing = failed.kind is FailureKind.NOT_FOUND and not state.has_seen
    return attrs.evolve(
        state,
        interval=_grown(policy, state),
        failures=state.failures + 1,
        counted=state.counted + is_charged,
        spent=state.spent + spent,
        spending_since=now + (failed.retry_after or 0.0) if is_charged else None,
        refusal=failed.kind,
        missing_since=_since(state.missing_since, now) if is_missing else state.missing_since,
    )


def _hold(state: PollState, failed: Failed) -> float:
    """Return the seconds for which the server does not want to be asked."""
    if failed.retry_after is not None:
        return failed.retry_after
    return state.pause if failed.kind is FailureKind.RATE_LIMITED else 0.0


def _next_pause(policy: PollPolicy, state: PollState, failed: Failed) -> float:
    if failed.kind is FailureKind.RATE_LIMITED:
        return min(2 * state.pause, policy.max_interval)
    return state.interval


# --- The next look ------------------------------------------------------------------------------


def _due(
    policy: PollPolicy, state: PollState, *, now: float, draw: float, floor: float = -math.inf
) -> float:
    """Return when to look again: an interval from now, sooner if a limit needs a look at it.

    Nothing but the floor, which is the server's, may delay the last look before a given deadline.
    One that follows the window moves a little with each look, and the last look with it.
    """
    earliest = max(now + min(policy.min_interval, _initial(policy)), floor)
    interval = state.interval * (1 + policy.jitter * (2 * draw - 1))
    due = max(min(now + interval, _next_limit(policy, state, now)), earliest)
    soonest = earliest if state.follows_window else floor
    return max(state.last_look, soonest) if now < state.last_look < due else due


def _next_limit(policy: PollPolicy, state: PollState, now: float) -> float:
    """Return the next moment at which a look could end the wait; one that has passed could not."""
    limits = (
        _stall_limit(policy, state),
        _unknown_limit(policy, state),
        _after(state.missing_since, policy.not_found_grace),
    )
    return min((limit for limit in limits if limit > now), default=math.inf)


def _initial(policy: PollPolicy) -> float:
    return min(policy.initial_interval, policy.max_interval)


def _grown(policy: PollPolicy, state: PollState) -> float:
    if not state.interval:
        return _initial(policy)
    return min(state.interval * policy.growth, policy.max_interval)


def _check_open(state: PollState) -> None:
    if state.is_over:
        raise ClientStateError("this wait is over: it takes no more looks")


class Steady:
    """Decides after looks that show nothing new, exactly as the machine would.

    `step` gives up where more than arithmetic is needed; then `state` goes back to the machine.
    """

    __slots__ = (
        "_base",
        "_follows",
        "_gap",
        "_growth",
        "_is_quiet",
        "_jitter",
        "_last_look",
        "_least_end",
        "_most",
        "_stall_limit",
        "deadline",
        "interval",
        "steps",
    )

    def __init__(self, policy: PollPolicy, state: PollState) -> None:
        """Begin after a good look.

        Args:
            policy: How to wait.
            state: What the machine remembers of that look.
        """
        self._base = state
        self._growth = policy.growth
        self._jitter = policy.jitter
        self._most = policy.max_interval
        self._gap = min(policy.min_interval, policy.initial_interval, policy.max_interval)
        self._follows = state.follows_window
        self._least_end = state.started + state.least_window
        stall_after = policy.stall_after
        self._stall_limit = math.inf if stall_after is None else state.changed_at + stall_after
        self._last_look = state.last_look
        self._is_quiet = (
            state.has_seen
            and not state.is_over
            and not state.failures
            and state.unknown_since is None
            and state.interval > 0
        )
        self.deadline = state.deadline
        """When the wait ends whatever happens."""
        self.interval = state.interval
        """Seconds to the next look, before jitter."""
        self.steps = 0
        """Looks taken."""

    def step(self, now: float, draw: float, window: float | None) -> float | None:
        """Take a look that showed the same.

        Args:
            now: When its answer was read.
            draw: A random number from 0 up to 1, for jitter.
            window: Seconds until it is no use to wait any more; None if that is unknown.

        Returns:
            When to look again; None if the machine has to decide, and nothing was taken.
        """
        interval = self.interval * self._growth
        if interval > self._most:
            interval = self._most
        deadline, last_look = self.deadline, self._last_look
        if window is not None and self._follows:
            least = self._least_end - now
            timeout = window if window > least else least
            lead = timeout / 10
            deadline = now + timeout
            last_look = deadline - (lead if lead < LAST_LOOK_LEAD else LAST_LOOK_LEAD)
        due = now + interval * (1 + self._jitter * (2 * draw - 1))
        if due < now + self._gap:
            due = now + self._gap
        if due >= last_look or due >= self._stall_limit or not self._is_quiet:
            return None
        self.interval, self.deadline, self._last_look = interval, deadline, last_look
        self.steps += 1
        return due

    def state(self) -> PollState:
        """Return what the machine remembers after all these looks."""
        if not self.steps:
            return self._base
        return attrs.evolve(
            self._base,
            interval=self.interval,
            pause=self.interval,
            deadline=self.deadline,
            last_look=self._last_look,
            changed=False,
        )
