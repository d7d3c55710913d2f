"""What one plain call may still cost: how often it is repeated, and how long it waits for that.

The only user of backoff, whose wait generators give the delays; its decorators read the wall clock
and cut a Retry-After short.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import repeat

from fireworks_batch import http
from fireworks_batch.calls import Request
from fireworks_batch.errors import (
    APIStatusError,
    FireworksBatchError,
    RateLimitError,
    TransportError,
)
from fireworks_batch.policies import RetryPolicy

__all__ = ["Repeats", "is_429"]


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
        if http.is_rate_limit(error) and (self._request.repeatable or is_429(error)):
            return self._wait_for_limit(error)
        if not (self._request.repeatable and http.is_transient(error) and self._attempts_left):
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
