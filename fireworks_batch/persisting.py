"""A run cannot die early: a step without a usable answer is done again, as a look at a job is.

Each step of a run finds what it did before, so that repeating it does nothing twice. The repeats
of one request (`RetryPolicy`) last for seconds; these are for outages, and go by the rules of
waits: `PollPolicy.failure_budget`, and its intervals.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from fireworks_batch.errors import FireworksBatchError
from fireworks_batch.http import is_transient
from fireworks_batch.policies import PollPolicy

__all__ = ["Persistence"]

_log = logging.getLogger("fireworks_batch.run")
_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Persistence:
    """How long steps are repeated, and what is needed for that."""

    policy: PollPolicy
    """How long, and how often."""

    clock: Callable[[], float]
    """Returns the monotonic time."""

    sleep_until: Callable[[float], Awaitable[object]]
    """Sleeps until a moment of that clock."""

    async def do(self, what: str, step: Callable[[], Awaitable[_T]]) -> _T:
        """Do a step until it succeeds, is refused, or has failed for the budget's time.

        Args:
            what: What it does, for the log.
            step: Does it; may be called any number of times.

        Raises:
            FireworksBatchError: What the step raised last.
        """
        first: float | None = None
        interval = self.policy.initial_interval
        while True:
            try:
                return await step()
            except FireworksBatchError as error:
                now = self.clock()
                first = now if first is None else first
                if not is_transient(error) or now - first >= self.policy.failure_budget:
                    raise
                _log.warning("%s failed, and is tried again in %.1f s: %s", what, interval, error)
            await self.sleep_until(now + interval)
            interval = min(interval * self.policy.growth, self.policy.max_interval)
