"""What to do about the jobs that are found under a run's ids: create, adopt, or look further.

The generations of an id are looked at one after another, from the first, until one of them answers
the question. A job that ended badly is never repeated in silence. Performs no I/O.
"""

import enum
from typing import Final, TypeAlias

import attrs

from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.states import JobPhase, JobState

__all__ = [
    "MOST_GENERATIONS",
    "UNFINISHED",
    "Adopt",
    "AwaitDeletion",
    "Create",
    "Found",
    "LookOn",
    "OnPrevious",
    "Standing",
    "Step",
    "Trail",
    "decide",
    "input_of",
    "runs_all",
    "standing",
]


MOST_GENERATIONS: Final = 10_000


# Ends of a job whose rest can be run alone.
UNFINISHED: Final = frozenset({JobState.EXPIRED, JobState.EARLY_STOPPED})


class OnPrevious(enum.StrEnum):
    """What becomes of a job that ended badly before this call."""

    ADOPT = "adopt"
    """Its end is taken for the end, and reported."""

    NEW = "new"
    """It is run again, under the next id that is free or did not end badly."""


class Standing(enum.Enum):
    """What a job that was found is worth to a run."""

    UNDER_WAY = "it has not ended"
    COMPLETED = "it is COMPLETED and its output is there"
    UNFINISHED = "its window passed or it was stopped early: finished rows are there"
    FAILED = "it ended badly, or nobody can say how"
    VANISHED = "its output is gone, or it was deleted: nothing can be had of it"
    LEAVING = "it is being deleted, and its id will be free"


# States in which a job stands for itself; for the rest its phase decides.
_BY_STATE: Final = {
    JobState.COMPLETED: Standing.COMPLETED,
    **dict.fromkeys(UNFINISHED, Standing.UNFINISHED),
    JobState.FAILED: Standing.FAILED,
    JobState.CANCELLED: Standing.FAILED,
    JobState.DELETED: Standing.VANISHED,
    JobState.ARCHIVED: Standing.VANISHED,
}


def standing(job: BatchInferenceJob, *, has_output: bool) -> Standing:
    """Return what a job is worth.

    Args:
        job: As it is now.
        has_output: Whether its output dataset exists; asked only of a job that may have results.
    """
    if job.state.phase is JobPhase.LEAVING:
        return Standing.LEAVING
    if job.state == JobState.ARCHIVED and has_output:
        return Standing.FAILED  # whether all of its rows were done is not known
    found = _BY_STATE.get(job.state, Standing.UNDER_WAY)
    if has_output or found in {Standing.UNDER_WAY, Standing.FAILED}:
        return found
    if found is Standing.UNFINISHED and not _may_have_had_rows(job):
        return Standing.FAILED  # it never had any: nothing is gone
    return Standing.VANISHED


def _may_have_had_rows(job: BatchInferenceJob) -> bool:
    """Whether a row was done: the output dataset has its name before there is anything in it."""
    done = job.job_progress.total_processed_requests if job.job_progress else 0
    return job.may_have_results and done > 0


def runs_all(job: BatchInferenceJob, dataset_id: str) -> bool:
    """Return whether a job's input is all of the rows, and not the rest that others have left.

    Args:
        job: As it is now.
        dataset_id: The input of all of them.
    """
    return input_of(job) in {"", dataset_id} and not job.continued_from_job_name


def input_of(job: BatchInferenceJob) -> str:
    """Return the id of a job's input dataset; empty if it names none."""
    return job.input_dataset_id.rpartition("/")[2]


@attrs.frozen
class Found:
    """A job that was found, and what it is worth."""

    generation: int
    """Its generation."""

    job: BatchInferenceJob
    """As it was found."""

    standing: Standing
    """What it is worth."""

    has_output: bool
    """Whether there are rows to be collected."""

    @property
    def has_lost_rows(self) -> bool:
        """Whether it has done rows, and they are not there: it was not deleted itself."""
        if self.standing is Standing.FAILED:
            return not self.has_output and _may_have_had_rows(self.job)
        ended = self.job.is_success or self.job.state in UNFINISHED
        return ended and self.standing is Standing.VANISHED


@attrs.frozen
class Create:
    """Create a job under an id that is free."""

    generation: int
    """Which."""

    continued_from: BatchInferenceJob | None = None
    """The job whose unfinished rows are run, by the server's own account."""

    rest_after: Found | None = None
    """The job that ended last; only rows are run that neither it nor those before have answered,
    by their results. All rows are if this and the other are None."""


@attrs.frozen
class Adopt:
    """Take a job that is there."""

    found: Found
    """Which."""


@attrs.frozen
class LookOn:
    """Look at the next generation."""

    generation: int
    """Which."""


@attrs.frozen
class AwaitDeletion:
    """Wait until a job is gone that is being deleted, and look at its id again."""

    found: Found
    """Which."""


Step: TypeAlias = Create | Adopt | LookOn | AwaitDeletion


@attrs.frozen
class Trail:
    """What the generations before have left."""

    ended_badly: Found | None = None
    """The newest job that FAILED or is UNFINISHED."""

    with_rows: tuple[BatchInferenceJob, ...] = ()
    """All that have rows to be collected, the oldest first."""

    may_have_rows: tuple[BatchInferenceJob, ...] = ()
    """The same, and those that have done rows that are not to be seen: whoever ran the rest of
    such a job has seen them."""

    is_refused: bool = False
    """Whether the server has refused to continue the newest one."""

    def add(self, found: Found) -> "Trail":
        """Return the trail with one more job that does not answer the question."""
        is_bad_end = found.standing in {Standing.FAILED, Standing.UNFINISHED}
        has_rows = is_bad_end and found.has_output
        # One that was COMPLETED had no rest.
        has_lost = found.has_lost_rows and not found.job.is_success
        return Trail(
            found if is_bad_end else self.ended_badly,
            (*self.with_rows, found.job) if has_rows else self.with_rows,
            (*self.may_have_rows, found.job) if has_rows or has_lost else self.may_have_rows,
            is_refused=self.is_refused and not is_bad_end,
        )


def decide(generation: int, found: Found | None, trail: Trail, on_previous: OnPrevious) -> Step:
    """Return what to do about one generation.

    Args:
        generation: The one that was looked at.
        found: The job under it; None if there is none.
        trail: What the generations before have left.
        on_previous: What the caller wants about those that ended badly.
    """
    if found is None:
        return _free(generation, trail, on_previous)
    match found.standing:
        case Standing.UNDER_WAY | Standing.COMPLETED:
            return Adopt(found)
        case Standing.LEAVING:
            return AwaitDeletion(found)
        case _:
            return LookOn(generation + 1)


def _free(generation: int, trail: Trail, on_previous: OnPrevious) -> Step:
    last = trail.ended_badly
    if last is not None and on_previous is OnPrevious.ADOPT:
        return Adopt(last)
    if last is not None and last.standing is Standing.UNFINISHED and not trail.is_refused:
        return Create(generation, last.job)
    # Nobody says whether a job that FAILED can be continued. One before it lacks its rows; and if
    # that was continued to no avail, it would be once more.
    return Create(generation, rest_after=last if trail.with_rows else None)
