"""What a run was asked for, checked before anything is read or sent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from fireworks_batch.arguments import check_teller, check_whole
from fireworks_batch.errors import ConfigurationError
from fireworks_batch.generations import OnPrevious
from fireworks_batch.limits import Limits
from fireworks_batch.policies import JOB_WINDOW, JobWindow, PollPolicy
from fireworks_batch.run_models import RunProgress
from fireworks_batch.wait_defaults import check_policy, check_timeout

__all__ = ["RunOptions"]


def _one_of(*choices: str) -> Callable[[Any, "attrs.Attribute[Any]", Any], None]:
    def validate(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value not in choices:
            names = " or ".join(repr(choice) for choice in choices)
            raise ConfigurationError(f"{attribute.name} must be {names}, not {value!r}")

    return validate


def _at_least(least: int) -> Callable[[Any, "attrs.Attribute[Any]", Any], None]:
    def validate(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        check_whole(attribute.name, value, least=least)

    return validate


def _limits(_: object, __: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, Limits):
        raise ConfigurationError(f"limits must be a Limits, not {value!r}")


def _teller(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_teller(attribute.name, value)


def _timeout(_: object, __: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, JobWindow):
        check_timeout(value)


def _poll(_: object, __: "attrs.Attribute[Any]", value: Any) -> None:
    check_policy(value)


def _path(value: Any) -> Path | None:
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(path, str) and path and "\0" not in path:
        return Path(path)
    raise ConfigurationError(f"output and errors must be paths, not {value!r}")


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a run is made, besides what its jobs are like."""

    limits: Limits = attrs.field(factory=Limits, validator=_limits)
    """What one job takes."""

    on_bad_row: str = attrs.field(default="raise", validator=_one_of("raise", "skip"))
    """Whether a bad row ends it or is left out."""

    on_previous: str = attrs.field(
        default=OnPrevious.ADOPT.value, validator=_one_of(*(each.value for each in OnPrevious))
    )
    """What becomes of jobs that ended badly before."""

    output: Path | None = attrs.field(default=None, converter=_path)
    """Where the rows that succeeded are written."""

    errors: Path | None = attrs.field(default=None, converter=_path)
    """Where the rows that failed are written."""

    max_in_flight: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_at_least(1))
    )
    """Jobs that run at a time; None: all of them."""

    on_progress: Callable[[RunProgress], object] | None = attrs.field(
        default=None, validator=_teller
    )
    """Is told how far the whole is."""

    retry_rows: int = attrs.field(default=0, validator=_at_least(0))
    """How often rows that failed, or are missing, are sent again."""

    on_abort: str = attrs.field(default="leave", validator=_one_of("leave", "delete"))
    """What becomes of jobs when the run is given up."""

    cleanup: str = attrs.field(default="keep", validator=_one_of("keep", "datasets"))
    """Whether input datasets are deleted when all results are here."""

    timeout: float | JobWindow | None = attrs.field(default=JOB_WINDOW, validator=_timeout)
    """How long each job is waited for."""

    poll: PollPolicy | None = attrs.field(default=None, validator=_poll)
    """When jobs are looked at."""

    @property
    def skips_bad_rows(self) -> bool:
        """Whether a bad row is left out."""
        return self.on_bad_row == "skip"
