"""What all waits of a client have in common, and what one of them may be told. Performs no I/O."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.policies import PollPolicy, is_number
from fireworks_batch.progress import LONGEST_WINDOW, WINDOW_SLACK

__all__ = ["WaitDefaults", "check_policy", "check_timeout"]


@attrs.frozen(kw_only=True)
class WaitDefaults:
    """What all waits of a client have in common."""

    poll: PollPolicy
    """The policy of those that bring none."""

    time_scale: float
    """This clock's seconds for one of the server's."""

    wall: Callable[[], datetime]
    """Returns the time of day, aware, in UTC."""

    draw: Callable[[], float]
    """Returns a random number from 0 up to 1."""

    new_id: Callable[[], str]
    """Makes up an id that nobody has."""

    @property
    def longest_window(self) -> float:
        """Seconds that a wait may last before a job has said what its window is."""
        return (LONGEST_WINDOW + WINDOW_SLACK) * self.time_scale


def check_timeout(timeout: Any) -> float | None:
    """Return the seconds of a timeout; None for no limit."""
    if timeout is None:
        return None
    if is_number(timeout) and timeout > 0:
        return float(timeout)
    raise ConfigurationError(
        f"timeout must be a number of seconds above 0, JOB_WINDOW or None, not {timeout!r}"
    )


def check_policy(poll: object) -> PollPolicy | None:
    """Return the policy given, if one is."""
    if poll is None or isinstance(poll, PollPolicy):
        return poll
    raise ConfigurationError(f"poll must be a PollPolicy, not {poll!r}")
