"""Durations as people type and read them. Performs no I/O."""

import math
import re
from typing import Final

from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit

__all__ = ["brief", "parse_duration", "parse_job_time_limit", "parse_timeout"]

_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_SHORTEST_JOB: Final = 12 * 3600.0
_LONGEST_JOB: Final = 72 * 3600.0
_NUMBER: Final = r"\d+(?:\.\d+)?"
_PARTS: Final = re.compile(rf"({_NUMBER})([dhms])", re.ASCII)
# Only a bare number needs no unit: 1h30 could be 30 minutes more than an hour, or 30 seconds.
_WHOLE: Final = re.compile(rf"{_NUMBER}|(?:{_NUMBER}[dhms]\s*)+", re.ASCII)


def parse_duration(option: str, text: str) -> float | None:
    """Read a duration: ``"90"`` or ``"90s"``, ``"15m"``, ``"1h30m"``, ``"2d"``; ``"none"``.

    Args:
        option: The option that it is given with, for the text of the error.
        text: As typed.

    Returns:
        Seconds, above 0; None for ``"none"``.

    Raises:
        ConfigurationError: The text is not a duration, or the duration is 0.
    """
    compact = text.strip().lower()
    if compact == "none":
        return None
    if _WHOLE.fullmatch(compact):
        parts = _PARTS.findall(compact) or [(compact, "s")]
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        seconds = 0.0
    if 0 < seconds < math.inf:
        return seconds
    raise ConfigurationError(
        f"{option}: {text!r} is not a duration above 0, as in 90 (seconds), 15m, 1h30m or 2d"
    )


def parse_timeout(text: str | None) -> float | JobTimeLimit | None:
    """Read the value of ``--timeout``, for the argument ``timeout`` of the library.

    Args:
        text: As typed; None if the option is not given.

    Returns:
        Seconds, above 0. None for ``"none"``, `JOB_TIME_LIMIT` if the option is not given.

    Raises:
        ConfigurationError: The text is not a duration, or the duration is 0.
    """
    return JOB_TIME_LIMIT if text is None else parse_duration("--timeout", text)


def parse_job_time_limit(text: str | None) -> float | None:
    """Read the value of ``--max-job-duration``, for the argument of the library.

    Args:
        text: As typed; None if the option is not given.

    Returns:
        Seconds, 12 to 72 hours; None if the option is not given.

    Raises:
        ConfigurationError: The text is not a duration, or is out of the range.
    """
    if text is None:
        return None
    seconds = parse_duration("--max-job-duration", text)
    if seconds is None or not _SHORTEST_JOB <= seconds <= _LONGEST_JOB:
        raise ConfigurationError(f"--max-job-duration: {text!r} is out of the range, 12h to 72h")
    return seconds


def brief(seconds: float) -> str:
    """Return a duration in at most six characters or so: ``"42s"``, ``"7m"``, ``"2h05m"``."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}m"
    return f"{hours // 24}d{hours % 24:02}h"
