"""The scripts that a test gives to jobs and to rows. Performs no I/O."""

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from fireworks_batch.emulator.clock import SECOND, Instant, microseconds
from fireworks_batch.emulator.jobs.rows import RowFailureError
from fireworks_batch.emulator.members import (
    ControlError,
    read_count,
    read_flag,
    read_members,
    read_number,
    read_text,
)

PREFIX: Final = "JOB_STATE_"
TERMINAL: Final = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "DELETED", "ARCHIVED"}
)
"""The terminal states."""

DEFAULT_SECONDS: Final = 60.0
_INT32: Final = 2**31 - 1
_DAY: Final = 86_400 * SECOND
_YEAR: Final = 366 * 86_400.0
_STATE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def bare_state(name: str) -> str:
    """Return the name of a state without the prefix of the wire."""
    return name.removeprefix(PREFIX)


@attrs.frozen
class Phase:
    """One phase of a job's script, such as ``Phase("RUNNING", seconds=600)``."""

    state: str = attrs.field(converter=bare_state)
    """The name of the state, such as ``"RUNNING"`` or ``"JOB_STATE_RUNNING"``.

    Any name can be given, also the name of a state that this release does not know. The attribute
    has the name without the prefix ``JOB_STATE_``.
    """

    seconds: float | None = None
    """How long the phase lasts, in emulated seconds, 0 or more. None means 60 seconds.

    A phase of 0 seconds is skipped. The job stays in the last phase for ever, and the length of
    that phase does not matter. There is one exception: if RUNNING is the last phase and has a
    length, the job finishes its rows in this time. With None, it never finishes its rows.
    """

    waiting_on_capacity: bool = False
    """Whether the job waits for capacity in this phase.

    If so, the counters of a RUNNING job stand still.
    """

    @property
    def is_terminal(self) -> bool:
        """Whether the state of the phase is terminal."""
        return self.state in TERMINAL


DEFAULT_PHASES: Final = (
    Phase("VALIDATING", 60.0),
    Phase("PENDING", 60.0),
    Phase("CREATING", 60.0),
    Phase("RUNNING", 300.0),
    Phase("COMPLETED"),
)
"""The states that one source saw live, and about as long."""


def read_phases(value: object) -> tuple[Phase, ...]:
    """Return phases that are given as names of states, as mappings or as `Phase` objects.

    Raises:
        ControlError: A phase, or a member of a phase, cannot be used.
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


@attrs.frozen
class OutputScript:
    """The delays of a job's output dataset, in emulated microseconds."""

    not_found: Instant = 0
    """How long after the job's end the dataset answers 404."""

    uploading: Instant = 0
    """How long the dataset is UPLOADING after ``not_found``."""

    late_files: Mapping[str, Instant] = attrs.field(factory=dict)
    """How long after ``uploading`` a file is not listed, by the file's name."""


@attrs.frozen
class JobScript:
    """The script of a job, which says what happens to the job."""

    phases: tuple[Phase, ...] = DEFAULT_PHASES
    rows: int = 100
    failed_rows: int = 0
    output: OutputScript = OutputScript()
    status: Mapping[str, str] | None = None
    time_limit: Instant = _DAY
    """How long after its creation the job expires, in emulated microseconds."""

    fields: Mapping[str, object] = attrs.field(factory=dict)


def read_script_members(
    value: object, *, more: Sequence[str] = ("account_id",)
) -> dict[str, object]:
    """Return the members of a script that are given. A member that is null is not given.

    Args:
        value: The script.

        more: Further members that this script may have.

    Raises:
        ControlError: The script is not an object, or a member is unknown.
    """
    members = read_members("", value, (*more, *_READERS))
    return {name: item for name, item in members.items() if item is not None}


def read_script(members: Mapping[str, object], base: JobScript) -> JobScript:
    """Return *base* with the members of a script in it.

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


def _read_output(value: object) -> OutputScript:
    known = ("not_found_seconds", "uploading_seconds", "late_files")
    members = read_members("output", value, known)
    given = members.get("late_files") or {}
    if not isinstance(given, Mapping):
        raise ControlError("output.late_files", given, "an object")
    return OutputScript(
        not_found=_read_delay("output.not_found_seconds", members.get("not_found_seconds")),
        uploading=_read_delay("output.uploading_seconds", members.get("uploading_seconds")),
        late_files={
            name: _read_delay(f"output.late_files.{name}", seconds)
            for name, seconds in given.items()
        },
    )


def _read_delay(field: str, value: object) -> Instant:
    return 0 if value is None else microseconds(read_number(field, value, most=_YEAR))


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


def _read_time_limit(value: object) -> Instant:
    return microseconds(read_number("time_limit_seconds", value, least=0.001, most=_YEAR))


_TARGETS: Final = {"time_limit_seconds": "time_limit"}
_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "phases": read_phases,
    "rows": lambda value: read_count("rows", value, most=_INT32),
    "failed_rows": lambda value: read_count("failed_rows", value, most=_INT32),
    "output": _read_output,
    "status": _read_status,
    "time_limit_seconds": _read_time_limit,
    "fields": _read_fields,
}


@attrs.define
class StandingScript:
    """A script for jobs that are created later."""

    job: str
    """A glob that the job's id must match."""

    members: Mapping[str, object]
    times: int | None
    """How many further jobs get the script. None means every job."""


class ScriptBook:
    """Owns the scripts for jobs that are created later. The first script that matches counts."""

    def __init__(self) -> None:
        self._scripts: list[StandingScript] = []

    def add(self, script: StandingScript) -> None:
        """Add a script after all others."""
        self._scripts.append(script)

    def clear(self) -> None:
        """Forget all scripts."""
        self._scripts.clear()

    def take(self, job_id: str, base: JobScript) -> JobScript:
        """Return the script of a new job: *base*, with the members of the first matching script."""
        for script in self._scripts:
            if fnmatch.fnmatchcase(job_id, script.job):
                self._use(script)
                failed = int(str(script.members.get("failed_rows", 0)))
                return read_script(script.members, attrs.evolve(base, rows=max(base.rows, failed)))
        return base

    def _use(self, script: StandingScript) -> None:
        if script.times is not None:
            script.times -= 1
            if not script.times:
                self._scripts.remove(script)


def read_standing_script(value: object) -> StandingScript:
    """Return a script for jobs that are created later. ``times`` may be null.

    Raises:
        ControlError: A member is unknown or cannot be used.
    """
    members = read_script_members(value, more=("job", "times"))
    is_endless = isinstance(value, dict) and "times" in value and value["times"] is None
    job = read_text("job", members.pop("job", "*"))
    times = read_count("times", members.pop("times", 1), least=1)
    read_script(members, JobScript())
    return StandingScript(job, members, None if is_endless else times)


@attrs.define
class RowScript:
    """A failure of uploaded rows."""

    row: str
    """A glob that the row's ``custom_id`` must match."""

    times: int | None
    """How often each row fails, counted over all jobs. None means every time."""

    code: int
    message: str
    failures: Counter[str] = attrs.field(factory=Counter)
    """How often each row has failed so far."""

    def strikes(self, custom_id: str) -> bool:
        """Count a matching row, and return whether the row fails this time."""
        if not fnmatch.fnmatchcase(custom_id, self.row):
            return False
        self.failures[custom_id] += 1
        return self.times is None or self.failures[custom_id] <= self.times


class RowBook:
    """Owns the scripts for rows. The first script that strikes a row counts."""

    def __init__(self) -> None:
        self._scripts: list[RowScript] = []

    def add(self, script: RowScript) -> None:
        """Add a script after all others."""
        self._scripts.append(script)

    def clear(self) -> None:
        """Forget all scripts."""
        self._scripts.clear()

    def strike(self, custom_id: str) -> None:
        """Raise an error if a script makes the row fail.

        Raises:
            RowFailureError: The row fails.
        """
        for script in self._scripts:
            if script.strikes(custom_id):
                raise RowFailureError(script.message, script.code)


def read_row_script(value: object) -> RowScript:
    """Return a script for rows. ``times`` may be null.

    Raises:
        ControlError: A member is unknown or cannot be used.
    """
    members = read_members("", value, ("row", "times", "code", "message"))
    given = {name: item for name, item in members.items() if item is not None}
    is_endless = "times" in members and members["times"] is None
    return RowScript(
        row=read_text("row", given.get("row", "*")),
        times=None if is_endless else read_count("times", given.get("times", 1), least=1),
        code=read_count("code", given.get("code", 500), least=100, most=599),
        message=read_text("message", given.get("message", "the row fails by a script")),
    )
