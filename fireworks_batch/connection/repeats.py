"""A run cannot die early: a step without a usable answer is done again, as a look at a job is.

Each step of a run finds what it did before, so that repeating it does nothing twice. The repeats
of one request (`RetryPolicy`) last for seconds; these are for outages, and go by the rules of
waits: `PollPolicy.failure_budget`, and its intervals.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property
from itertools import repeat
from typing import TypeVar

import attrs

from fireworks_batch.models.errors import (
    APIStatusError,
    FireworksBatchError,
    RateLimitError,
    TransportError,
)
from fireworks_batch.models.policies import PollPolicy, RetryPolicy
from fireworks_batch.wire.answers import is_rate_limit, is_transient
from fireworks_batch.wire.requests import Request

__all__ = ["Persistence", "Repeats", "is_429"]


_T = TypeVar("_T")


class Repeats:
    """What one call may still cost: attempts, and seconds of rate limits."""

    def __init__(self, request: Request, retry: RetryPolicy, draw: Callable[[], float]) -> None:
        """Begin a call.

        Args:
            request: What is sent.
            retry: How often, and how long.
            draw: Returns a random number from 0 up to 1, for jitter.
        """
        self._request = request
        self._retry = retry
        self._draw = draw
        self._attempts_left = retry.max_attempts - 1
        self._budget = retry.rate_limit_budget
        self._lost = 0

    # Made when a call is to be repeated, which few are.
    @cached_property
    def _delays(self) -> Iterator[float]:
        return _expo(self._retry.initial_delay, self._retry.max_delay)

    @cached_property
    def _limit_delays(self) -> Iterator[float]:
        return _expo(self._retry.first_rate_limit_delay, self._retry.max_rate_limit_delay)

    def spend_on_gate(self, hold: float) -> None:
        """Charge the seconds that the gate is going to hold the call, or refuse to wait so long."""
        if hold > self._budget:
            raise RateLimitError(
                f"{self._request}: not sent: the server asked this account to wait {hold:.1f} s "
                f"more, and rate_limit_budget leaves {self._budget:.1f} s",
                status=429,
                retry_after=hold,
            )
        self._budget -= hold

    def wait_after(self, error: APIStatusError | TransportError) -> float:
        """Return the seconds to wait before the next attempt, or raise the error."""
        if isinstance(error, APIStatusError):
            error.lost_before = self._lost
        self._lost += not is_429(error)
        if is_rate_limit(error) and (self._request.repeatable or is_429(error)):
            return self._wait_for_limit(error)
        if not (self._request.repeatable and is_transient(error) and self._attempts_left):
            raise error
        self._attempts_left -= 1
        spread = 1 + self._retry.jitter * (2 * self._draw() - 1)
        return next(self._delays) * spread

    def _wait_for_limit(self, error: APIStatusError | TransportError) -> float:
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        wait = next(self._limit_delays) if asked is None else asked
        if wait >= self._budget:
            raise error
        # A hundredth at least, or a server that asks for nothing would be asked for ever. A 429
        # closes the gate, which charges the call for the wait; after a 503 the call charges itself.
        least = self._retry.rate_limit_budget / 100
        self._budget -= least if is_429(error) else max(wait, least)
        return wait


def _expo(first: float, most: float) -> Iterator[float]:
    if not first:
        return repeat(0.0)  # backoff would double it until it no longer fits into a float
    import backoff  # few calls are ever repeated

    delays = backoff.expo(factor=first, max_value=most)
    next(delays)  # it yields nothing before it is asked for its first value
    return delays


def is_429(error: FireworksBatchError) -> bool:
    """Whether the server says that there were too many requests."""
    return isinstance(error, APIStatusError) and error.status == 429


_log = logging.getLogger("fireworks_batch.run")


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
