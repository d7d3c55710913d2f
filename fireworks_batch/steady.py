"""The poll machine between two changes: what it decides when a look shows the same as before.

Most looks do. What is left of `polling.on_observation` then is a little arithmetic, which is done
here without making a new state for each look. Performs no I/O.
"""

import math

import attrs

from fireworks_batch.policies import PollPolicy
from fireworks_batch.polling import LAST_LOOK_LEAD, PollState

__all__ = ["Steady"]


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
