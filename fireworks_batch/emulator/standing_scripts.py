"""Decide which new job goes by which script; performs no I/O."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import attrs

from .control import read_count, read_text
from .scripts import JobScript, read_script, read_script_members

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define
class StandingScript:
    """A script for jobs that are not there yet."""

    job: str
    """A glob over the job's id."""

    members: Mapping[str, object]
    times: int | None
    """For how many jobs; None is for all that come."""


class ScriptBook:
    """Owns the scripts for jobs to come; the first that matches counts."""

    def __init__(self) -> None:
        self._scripts: list[StandingScript] = []

    def add(self, script: StandingScript) -> None:
        """Keep a script, after those that are there."""
        self._scripts.append(script)

    def take(self, job_id: str, base: JobScript) -> JobScript:
        """Give the script of a new job: *base*, or one that is meant for it laid over."""
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
    """Check a script for jobs to come; null is not given, except for `times`.

    Raises:
        ControlError: A member is unknown or cannot be used.
    """
    members = read_script_members(value, more=("job", "times"))
    is_endless = isinstance(value, dict) and "times" in value and value["times"] is None
    job = read_text("job", members.pop("job", "*"))
    times = read_count("times", members.pop("times", 1), least=1)
    read_script(members, JobScript())
    return StandingScript(job, members, None if is_endless else times)
