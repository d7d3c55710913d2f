"""The poll machine: given what the last look at something brought, when to look again, or stop.

Events in, decisions out; all moments are points on one monotonic clock, in seconds. The machine
knows neither jobs nor HTTP: it serves whatever has a state that ends. Performs no I/O.
"""

import math
from collections.abc import Hashable
from typing import Final

import attrs

from fireworks_batch.errors import ClientStateError
from fireworks_batch.events import (
    Decision,
    Ending,
    Failed,
    FailureKind,
    Finished,
    GaveUp,
    Gone,
    PollAt,
    Refused,
    Seen,
    Stalled,
    TimedOut,
    Unrecognised,
)
from fireworks_batch.policies import PollPolicy

__all__ = ["LAST_LOOK_LEAD", "LEAST_WINDOW", "PollState", "on_failure", "on_observation", "start"]

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
