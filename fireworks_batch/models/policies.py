"""The policies of polling and of retries: frozen, and validated when they are made.

`attrs.evolve` derives a policy from another policy. All durations are seconds, as floats.
Performs no I/O.
"""

from typing import Any, Final, Self, TypeVar

import attrs

from fireworks_batch.models.errors import ConfigurationError, shown
from fireworks_batch.models.validators import instance_of, is_finite, number, whole_number

__all__ = [
    "JOB_TIME_LIMIT",
    "JobTimeLimit",
    "PollPolicy",
    "RetryPolicy",
    "is_timeout",
    "scaled",
]


_DURATION: Final = {"duration": True}


def _duration(default: Any, *validators: Any) -> Any:
    return attrs.field(default=default, validator=validators, metadata=_DURATION)


_OPTIONAL_DURATION: Final = attrs.validators.optional(number(above=0))


@attrs.frozen(kw_only=True)
class PollPolicy:
    """How often a wait polls its job, and when it gives up.

    An ``initial_interval`` above ``max_interval`` counts as ``max_interval``. A ``min_interval``
    above ``initial_interval`` counts as ``initial_interval``. The server updates a job about once a
    minute (inferred from recorded times), so intervals below 10 to 15 seconds gain nothing. The end
    of a job is the exception: see ``adaptive``. `fixed` makes a policy with one constant interval.

    Raises:
        ConfigurationError: A value is not a number, or is out of its range.
    """

    initial_interval: float = _duration(15.0, number(above=0))
    """Seconds from a poll that shows a change to the next poll; above 0."""

    min_interval: float = _duration(1.0, number(least=0))
    """Least seconds from the end of one poll to the start of the next; 0 or more."""

    max_interval: float = _duration(60.0, number(above=0))
    """Most seconds between two polls, before jitter; above 0."""

    growth: float = attrs.field(default=1.5, validator=number(least=1, most=100))
    """Factor on the interval after each poll that shows no change; 1 to 100."""

    jitter: float = attrs.field(default=0.1, validator=number(least=0, most=0.9))
    """Largest share of the interval that is added or subtracted at random; 0 to 0.9."""

    failure_budget: float = _duration(3600.0, number(least=0))
    """Seconds for which polls may fail in a row before the wait ends; 0 or more. The budget ends
    no wait before five polls in a row have failed. A 429 does not count. Between two failed polls
    at most ``max_interval`` plus the client's ``request_timeout`` is counted, so that time in which
    the process was stopped does not end a wait."""

    not_found_grace: float = _duration(30.0, number(least=0))
    """Seconds for which the server may answer 404 for a job that no poll of this wait has found
    yet, from the first 404; 0 or more."""

    unknown_state_budget: float | None = _duration(None, _OPTIONAL_DURATION)
    """Seconds that a job may be in states that this release does not know before the wait ends;
    above 0. None means no limit."""

    stall_after: float | None = _duration(None, _OPTIONAL_DURATION)
    """Seconds without any visible change of the job before the wait ends; above 0. None means no
    limit."""

    adaptive: bool = attrs.field(default=True, validator=instance_of(bool, "True or False"))
    """Whether the times of polls also follow what the server shows. If True, polls come more often
    while the counter of rows shows that the end is near. Polls also come right after the moments at
    which the server updates its jobs, once such moments are known."""

    @classmethod
    def fixed(cls, seconds: float) -> Self:
        """Return a policy that polls at one interval, without growth, jitter or adaptation.

        Args:
            seconds: Seconds from the end of one poll to the start of the next; above 0.

        Raises:
            ConfigurationError: The argument is not a number, or not above 0.
        """
        return cls(
            initial_interval=seconds,
            min_interval=0.0,
            max_interval=seconds,
            growth=1.0,
            jitter=0.0,
            adaptive=False,
        )


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How one call repeats its request. A poll is never repeated: `PollPolicy` has the next poll.

    Raises:
        ConfigurationError: A value is not a number, or is out of its range.
    """

    max_attempts: int = attrs.field(default=4, validator=whole_number())
    """Most requests that one call may send; 1 or more. A rate limit is not counted."""

    initial_delay: float = _duration(0.5, number(least=0))
    """Seconds before the first repeat, doubled for each further repeat; 0 or more."""

    max_delay: float = _duration(8.0, number(least=0))
    """Most seconds before a repeat, before jitter; 0 or more."""

    jitter: float = attrs.field(default=0.25, validator=number(least=0, most=0.9))
    """Largest share of the delay that is added or subtracted at random; 0 to 0.9."""

    rate_limit_budget: float = _duration(120.0, number(least=0))
    """Most seconds that one call may wait because of rate limits; 0 or more."""

    @property
    def first_rate_limit_delay(self) -> float:
        """Seconds to wait after a first 429 without a Retry-After, ten times ``initial_delay``."""
        return 10 * self.initial_delay

    @property
    def max_rate_limit_delay(self) -> float:
        """Most seconds to wait after a 429 without a Retry-After, a quarter of the budget."""
        return self.rate_limit_budget / 4


class JobTimeLimit:
    """The type of `JOB_TIME_LIMIT`."""

    def __repr__(self) -> str:
        return "JOB_TIME_LIMIT"

    def __reduce__(self) -> str:
        return "JOB_TIME_LIMIT"


JOB_TIME_LIMIT = JobTimeLimit()
"""The default timeout of a wait. The wait ends an hour after the job's own time limit."""


_Policy = TypeVar("_Policy", PollPolicy, RetryPolicy)


def scaled(policy: _Policy, factor: float) -> _Policy:
    """Return the policy with each of its durations multiplied.

    Args:
        policy: The policy to derive from.
        factor: The number to multiply with; above 0.
    """
    if factor == 1:
        return policy
    durations = {
        field.name: value * factor
        for field in attrs.fields(type(policy))
        if field.metadata.get("duration") and (value := getattr(policy, field.name)) is not None
    }
    return attrs.evolve(policy, **durations)


def is_timeout(_: object, __: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept seconds above 0, `JOB_TIME_LIMIT`, or None for no limit; for use as a validator."""
    if value is None or isinstance(value, JobTimeLimit) or (is_finite(value) and value > 0):
        return
    raise ConfigurationError(
        f"timeout must be a number of seconds above 0, JOB_TIME_LIMIT or None, not {shown(value)}"
    )
