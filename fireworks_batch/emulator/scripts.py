"""Read the script that a test gives a job; performs no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from .clock import SECOND, Instant, microseconds
from .control import ControlError, read_count, read_members, read_number, read_text
from .phases import DEFAULT_PHASES, Phase, read_phases

_INT32: Final = 2**31 - 1
_DAY: Final = 86_400 * SECOND
_YEAR: Final = 366 * 86_400.0


@attrs.frozen
class JobScript:
    """What becomes of a job: its phases, rows and end."""

    phases: tuple[Phase, ...] = DEFAULT_PHASES
    rows: int = 100
    failed_rows: int = 0
    status: Mapping[str, str] | None = None
    window: Instant = _DAY
    fields: Mapping[str, object] = attrs.field(factory=dict)


def read_script_members(
    value: object, *, more: Sequence[str] = ("account_id",)
) -> dict[str, object]:
    """Check that *value* is an object with the members of a script; null is not given.

    Args:
        value: The script.

        more: Members that it may have beside those of every script.

    Raises:
        ControlError: It is not.
    """
    members = read_members("", value, (*more, *_READERS))
    return {name: item for name, item in members.items() if item is not None}


def read_script(members: Mapping[str, object], base: JobScript) -> JobScript:
    """Check the members of a script and lay them over *base*.

    Raises:
        ControlError: A member cannot be used.
    """
    given: dict[str, Any] = {
        _TARGETS.get(name, name): read(members[name])
        for name, read in _READERS.items()
        if name in members
    }
    script = attrs.evolve(base, **given)
    if script.failed_rows > script.rows:
        raise ControlError("failed_rows", script.failed_rows, f"at most rows, {script.rows}")
    return script


def _read_status(value: object) -> Mapping[str, str]:
    members = read_members("status", value, ("code", "message"))
    message = members.get("message", "")
    if not isinstance(message, str):
        raise ControlError("status.message", message, "a text")
    return {"code": read_text("status.code", members.get("code", "INTERNAL")), "message": message}


def _read_fields(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ControlError("fields", value, "an object")
    return dict(value)


def _read_window(value: object) -> Instant:
    return microseconds(read_number("time_limit_seconds", value, least=0.001, most=_YEAR))


_TARGETS: Final = {"time_limit_seconds": "window"}
_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "phases": read_phases,
    "rows": lambda value: read_count("rows", value, most=_INT32),
    "failed_rows": lambda value: read_count("failed_rows", value, most=_INT32),
    "status": _read_status,
    "time_limit_seconds": _read_window,
    "fields": _read_fields,
}
