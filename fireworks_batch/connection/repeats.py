"""The one loop that repeats, and the rules for calls, transfers, and steps of a run.

The wait generators of the package backoff give the delays. Its decorators are not used: they read
the wall clock, and cut a Retry-After short.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat as endlessly
from typing import TypeVar

from fireworks_batch.connection.pace import Gate
from fireworks_batch.models.errors import (
    APIStatusError,
    FireworksBatchError,
    RateLimitError,
    TransportError,
)
from fireworks_batch.models.policies import PollPolicy, RetryPolicy
from fireworks_batch.wire.answers import is_rate_limit, is_transient, is_transient_at_storage
from fireworks_batch.wire.requests import Request

__all__ = ["CallRepeats", "Repeats", "StepRepeats", "is_429"]

_run_log = logging.getLogger("fireworks_batch.run")
_http_log = logging.getLogger("fireworks_batch.http")

_T = TypeVar("_T")


class Repeats(ABC):
    """The one loop that repeats work, until it succeeds or must not be repeated."""

    def __init__(
        self, clock: Callable[[], float], sleep_until: Callable[[float], Awaitable[object]]
    ) -> None:
        """Keep the clock and the sleep of the loop.

        Args:
            clock: Returns the monotonic time.
            sleep_until: Sleeps until a moment of this clock.
        """
        self._clock = clock
        self._sleep_until = sleep_until

    async def run(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Call a function until it succeeds, and return its result.

        Args:
            attempt: The function. It may be called any number of times.

        Raises:
            FireworksBatchError: The error of the last call.
        """
        while True:
            try:
                return await attempt()
            except FireworksBatchError as exc:
                error = exc
            # Outside the except, so that an error raised here has no other error as its context.
            await self._sleep_until(self._again_at(error, self._clock()))

    @abstractmethod
    def _again_at(self, error: FireworksBatchError, now: float) -> float:
        """Return the moment of the next try, or raise the error."""


class CallRepeats(Repeats):
    """How one call or transfer is repeated: a number of times, and for seconds of rate limits."""

    def __init__(
        self,
        request: Request,
        retry: RetryPolicy,
        gate: Gate,
        *,
        clock: Callable[[], float],
        sleep_until: Callable[[float], Awaitable[object]],
        draw: Callable[[], float],
    ) -> None:
        """Begin a call.

        Args:
            request: The request to send.
            retry: How often, and for how many seconds, the request is repeated.
            gate: The gate that a 429 of the API closes, for all calls.
            clock: Returns the monotonic time.
            sleep_until: Sleeps until a moment of this clock.
            draw: Returns a random number from 0 up to 1, for jitter.
        """
        super().__init__(clock, sleep_until)
        self._request = request
        self._retry = retry
        self._gate = gate
        self._draw = draw
        self._lost = 0
        self.start_over()

    def start_over(self) -> None:
        """Count from the beginning again, because the last request brought new data."""
        self._attempts_left = self._retry.max_attempts - 1
        self._budget = self._retry.rate_limit_budget
        self._delays: Iterator[float] | None = None
        self._limit_delays: Iterator[float] | None = None

    def spend_on_gate(self) -> None:
        """Charge the seconds for which the gate will hold the call back.

        Raises:
            RateLimitError: The budget is too small for this wait.
        """
        hold = self._gate.hold(self._clock())
        if not hold:
            return
        if hold > self._budget:
            raise RateLimitError(
                f"{self._request}: not sent: the server asked this account to wait {hold:.1f} s "
                f"more, which is longer than the {self._budget:.1f} s left of rate_limit_budget",
                status=429,
                retry_after=hold,
            )
        self._budget -= hold

    def _again_at(self, error: FireworksBatchError, now: float) -> float:
        if not isinstance(error, APIStatusError | TransportError):
            raise error
        if isinstance(error, APIStatusError):
            error.lost_before = self._lost
        self._lost += not is_429(error)
        again_at = now + self._wait_after(error)
        _http_log.debug("%s: again at %.3f, after: %s", self._request, again_at, error)
        if is_429(error) and not _is_of_storage(error):
            self._gate.close(again_at, now=now)
        return again_at

    def _wait_after(self, error: APIStatusError | TransportError) -> float:
        if is_rate_limit(error) and (self._request.repeatable or is_429(error)):
            return self._wait_for_limit(error)
        is_passing = (is_transient_at_storage if _is_of_storage(error) else is_transient)(error)
        if not (self._request.repeatable and is_passing and self._attempts_left):
            raise error
        self._attempts_left -= 1
        spread = 1 + self._retry.jitter * (2 * self._draw() - 1)
        if self._delays is None:
            self._delays = _expo(self._retry.initial_delay, self._retry.max_delay)
        return next(self._delays) * spread

    def _wait_for_limit(self, error: APIStatusError | TransportError) -> float:
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        wait = self._next_limit_delay() if asked is None else asked
        if wait >= self._budget:
            raise error
        # At least a hundredth: a server that asks for a wait of 0 s must not be asked for ever.
        self._budget -= max(wait, self._retry.rate_limit_budget / 100)
        return wait

    def _next_limit_delay(self) -> float:
        if self._limit_delays is None:
            retry = self._retry
            self._limit_delays = _expo(retry.first_rate_limit_delay, retry.max_rate_limit_delay)
        return next(self._limit_delays)


class StepRepeats(Repeats):
    """How one step of a run is repeated, so that an outage does not end a run.

    A step of a run finds its own earlier work, so that a repeated step does nothing twice. The
    repeats of one request (`RetryPolicy`) last for seconds. The repeats of a step are for outages,
    and follow the rules of waits: the intervals of `PollPolicy`, and its ``failure_budget``.
    Between two failures at most ``max_interval`` plus the time limit of one request is charged. If
    the process was stopped for an hour, or if the step took an hour, this is not an outage of an
    hour.
    """

    def __init__(
        self,
        what: str,
        policy: PollPolicy,
        *,
        request_timeout: float,
        clock: Callable[[], float],
        sleep_until: Callable[[float], Awaitable[object]],
    ) -> None:
        """Begin a step.

        Args:
            what: What the step does, for the log.
            policy: The intervals, and the seconds for which the step is repeated.
            request_timeout: Seconds that a request may take.
            clock: Returns the monotonic time.
            sleep_until: Sleeps until a moment of this clock.
        """
        super().__init__(clock, sleep_until)
        self._what = what
        self._policy = policy
        self._interval = policy.initial_interval
        self._longest_gap = policy.max_interval + request_timeout
        self._spent = 0.0
        self._failed_at: float | None = None

    def _again_at(self, error: FireworksBatchError, now: float) -> float:
        if self._failed_at is not None:
            self._spent += min(now - self._failed_at, self._longest_gap)
        self._failed_at = now
        if not is_transient(error) or self._spent >= self._policy.failure_budget:
            raise error
        wait = self._interval
        _run_log.warning("%s failed, and is tried again in %.1f s: %s", self._what, wait, error)
        self._interval = min(wait * self._policy.growth, self._policy.max_interval)
        return now + wait


def _expo(first: float, most: float) -> Iterator[float]:
    if not first:
        return endlessly(0.0)  # backoff would double a number until a float overflows
    import backoff  # noqa: PLC0415 - slow to import, and few calls are ever repeated

    delays = backoff.expo(factor=first, max_value=most)
    next(delays)  # the generator yields None first
    return delays


def _is_of_storage(error: FireworksBatchError) -> bool:
    return isinstance(error, APIStatusError) and error.from_storage


def is_429(error: FireworksBatchError) -> bool:
    """Whether the server answered 429: too many requests."""
    return isinstance(error, APIStatusError) and error.status == 429
