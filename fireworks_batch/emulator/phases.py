"""Name the phases that a job walks through; performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from .control import ControlError, read_flag, read_members, read_number

PREFIX: Final = "JOB_STATE_"
TERMINAL: Final = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "DELETED", "ARCHIVED"}
)
"""States after which a job changes no more."""

DEFAULT_SECONDS: Final = 60.0
_STATE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def bare_state(name: str) -> str:
    """Take the wire's prefix off a state's name, if it is there."""
    return name.removeprefix(PREFIX)


@attrs.frozen
class Phase:
    """One phase of a job's script."""

    state: str = attrs.field(converter=bare_state)
    """Any state's name, with or without the `JOB_STATE_` prefix; kept without."""

    seconds: float | None = None
    """Emulated seconds, 0 or more; a phase of 0 is skipped. 60 if not given. The last phase
    stays whatever it says; a last RUNNING phase without it never finishes its rows."""

    waiting_on_capacity: bool = False
    """The job waits for capacity, and its counters stand still, while it is RUNNING."""

    @property
    def is_terminal(self) -> bool:
        """Whether a job stays in this state."""
        return self.state in TERMINAL


DEFAULT_PHASES: Final = (
    Phase("VALIDATING", 60.0),
    Phase("PENDING", 60.0),
    Phase("CREATING", 60.0),
    Phase("RUNNING", 300.0),
    Phase("COMPLETED"),
)
"""The flow seen live by one source, at about its pace."""


def read_phases(value: object) -> tuple[Phase, ...]:
    """Check phases given as state names, mappings or `Phase` objects.

    Raises:
        ControlError: A phase, or one member of it, is not usable.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ControlError("phases", value, "a list of at least one phase")
    return tuple(_read_phase(f"phases[{index}]", item) for index, item in enumerate(value))


def _read_phase(field: str, value: object) -> Phase:
    if isinstance(value, Phase):
        value = attrs.asdict(value)
    if isinstance(value, str):
        value = {"state": value}
    members = read_members(field, value, ("state", "seconds", "waiting_on_capacity"))
    state, seconds = members.get("state"), members.get("seconds")
    if not isinstance(state, str) or not _STATE.fullmatch(bare_state(state)):
        raise ControlError(f"{field}.state", state, "a state's name")
    return Phase(
        state,
        None if seconds is None else read_number(f"{field}.seconds", seconds),
        read_flag(f"{field}.waiting_on_capacity", members.get("waiting_on_capacity", False)),
    )
