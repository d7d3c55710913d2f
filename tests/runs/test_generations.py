"""What is done about a job that is found under a run's id: the table, row by row."""

import attrs
import pytest

from fireworks_batch import BatchInferenceJob, JobProgress, JobState
from fireworks_batch.runs.generations import (
    Adopt,
    AwaitDeletion,
    Create,
    Found,
    LookOn,
    OnPrevious,
    Standing,
    Trail,
    decide,
    standing,
)

ADOPT, NEW = OnPrevious


def found(state="COMPLETED", number=0, *, has_output=True, processed=5) -> Found:
    """A job that was found."""
    job = BatchInferenceJob(
        name=f"accounts/acme/batchInferenceJobs/x-g{number}",
        state=JobState(state),
        output_dataset_id="accounts/acme/datasets/out",
        job_progress=JobProgress(total_processed_requests=processed),
    )
    has_output = has_output and job.may_have_results
    return Found(number, job, standing(job, has_output=has_output), has_output)


def walk(*states, on_previous):
    """Go through generations until something is to be done; the last one is free.

    A state in lower case is that of a job that has done no row.
    """
    trail = Trail()
    jobs = [
        found(
            state.upper(), number, processed=5 if state.isupper() else 0, has_output=state.isupper()
        )
        for number, state in enumerate(states)
    ]
    for number, job in enumerate([*jobs, None]):
        step = decide(number, job, trail, on_previous)
        if not isinstance(step, LookOn):
            return step, trail
        assert number + 1 == step.generation
        trail = trail.add(job)
    raise AssertionError


@pytest.mark.parametrize(
    ("state", "has_output", "expected"),
    [
        ("VALIDATING", False, Standing.UNDER_WAY),
        ("RUNNING", False, Standing.UNDER_WAY),
        ("PAUSED", False, Standing.UNDER_WAY),
        ("FROBNICATING", False, Standing.UNDER_WAY),
        ("COMPLETED", True, Standing.COMPLETED),
        ("COMPLETED", False, Standing.VANISHED),
        ("EXPIRED", True, Standing.UNFINISHED),
        ("EXPIRED", False, Standing.VANISHED),
        ("EARLY_STOPPED", True, Standing.UNFINISHED),
        ("FAILED", False, Standing.FAILED),
        ("FAILED", True, Standing.FAILED),
        ("CANCELLED", False, Standing.FAILED),
        ("DELETED", False, Standing.VANISHED),
        ("DELETED", True, Standing.VANISHED),
        ("ARCHIVED", False, Standing.VANISHED),
        ("ARCHIVED", True, Standing.FAILED),
        ("DELETING", False, Standing.LEAVING),
        ("DELETING_CLEANING_UP", False, Standing.LEAVING),
    ],
)
def test_what_a_job_is_worth(state, has_output, expected):
    """Each state, with and without its output, stands for one thing."""
    assert expected is found(state, has_output=has_output).standing


def test_expired_job_without_an_output_dataset_failed():
    """A job that expired before it had a row has lost nothing, and is not started in silence."""
    job = BatchInferenceJob(name="accounts/a/batchInferenceJobs/x", state=JobState.EXPIRED)

    assert Standing.FAILED is standing(job, has_output=False)
    assert Standing.FAILED is found("EXPIRED", has_output=False, processed=0).standing


def test_every_state_has_a_standing():
    """No published state falls through."""
    assert all(found(str(state), has_output=False).standing for state in JobState)


@pytest.mark.parametrize("on_previous", OnPrevious)
def test_nothing_there_is_created(on_previous):
    """An id that is free is used, with all rows."""
    assert (Create(0), Trail()) == walk(on_previous=on_previous)


@pytest.mark.parametrize("on_previous", OnPrevious)
@pytest.mark.parametrize("state", ["RUNNING", "COMPLETED", "PENDING"])
def test_good_job_is_adopted(on_previous, state):
    """A job that runs, or is COMPLETED, is never made again."""
    step, _ = walk(state, on_previous=on_previous)

    assert Adopt(found(state)) == step


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED"])
def test_bad_end_is_adopted_by_default(state):
    """What ended badly is not repeated in silence."""
    step, _ = walk(state, on_previous=ADOPT)

    assert Adopt(found(state)) == step


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_failed_job_is_made_anew_when_asked_for(state):
    """`new` runs all rows of a job that failed before it had done any, under the next id."""
    step, _ = walk(state, state, on_previous=NEW)

    assert Create(2) == step


@pytest.mark.parametrize(
    "states",
    [
        ["FAILED"],
        ["CANCELLED"],
        ["ARCHIVED"],
        ["EXPIRED", "FAILED"],
        ["EXPIRED", "failed"],
        ["FAILED", "failed"],
        ["FAILED", "expired"],
        ["FAILED", "DELETED"],
        ["EXPIRED", "FAILED", "failed"],
    ],
)
def test_rows_that_a_failed_job_has_done_are_not_run_again(states):
    """`new` runs the rest alone: whether such a job can be continued is not known.

    One that was continued to no avail is not continued once more, which might fail for ever.
    """
    step, trail = walk(*states, on_previous=NEW)

    assert Create(len(states), rest_after=trail.ended_badly) == step
    assert sum(state.isupper() and state != "DELETED" for state in states) == len(trail.with_rows)


def test_rest_that_was_not_finished_is_continued():
    """A job of the rest that expired is like any other: the server knows what is left of it."""
    step, _ = walk("FAILED", "EXPIRED", on_previous=NEW)

    assert Create(2, found("EXPIRED", 1).job) == step


@pytest.mark.parametrize("state", JobState)
def test_rows_that_were_done_and_are_not_there_are_lost(state):
    """Only of a job that has ended, and was not deleted: of others there is nothing to look for."""
    ended = {"COMPLETED", "EXPIRED", "EARLY_STOPPED", "FAILED", "CANCELLED"}

    assert (str(state) in ended) is found(str(state), has_output=False).has_lost_rows
    assert not found(str(state)).has_lost_rows


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED"])
def test_job_without_a_row_has_lost_none(state):
    """Its output was never there."""
    assert not found(state, has_output=False, processed=0).has_lost_rows


@pytest.mark.parametrize("state", ["EXPIRED", "EARLY_STOPPED"])
def test_unfinished_job_is_continued_when_asked_for(state):
    """`new` runs only the rest of an unfinished job, whose rows are collected too."""
    step, trail = walk(state, on_previous=NEW)

    assert Create(1, found(state).job) == step
    assert (found(state).job,) == trail.with_rows


def test_job_that_cannot_be_continued_is_not_continued():
    """The server has said so: its results say what is left."""
    last = found("EXPIRED")
    trail = attrs.evolve(Trail().add(last), is_refused=True)

    assert Create(1, rest_after=last) == decide(1, None, trail, NEW)
    assert not trail.add(found("EXPIRED", 1)).is_refused


@pytest.mark.parametrize("on_previous", OnPrevious)
def test_second_try_is_found_again(on_previous):
    """After a crash, the try that followed a bad one is adopted, whatever is asked for."""
    for second in ("RUNNING", "COMPLETED"):
        step, _ = walk("FAILED", second, on_previous=on_previous)

        assert Adopt(found(second, 1)) == step


@pytest.mark.parametrize("on_previous", OnPrevious)
def test_tombstone_counts_as_nothing(on_previous):
    """An id with nothing behind it is passed over, and leaves nothing to adopt."""
    step, _ = walk("DELETED", on_previous=on_previous)

    assert Create(1) == step


@pytest.mark.parametrize("on_previous", OnPrevious)
def test_completed_job_without_output_counts_as_nothing(on_previous):
    """Results that are gone cannot be collected: the rows run again, under the next id."""
    gone = found("COMPLETED", has_output=False)

    assert LookOn(1) == decide(0, gone, Trail(), on_previous)
    assert Create(1) == decide(1, None, Trail().add(gone), on_previous)


@pytest.mark.parametrize("on_previous", OnPrevious)
def test_deletion_is_waited_for(on_previous):
    """A job that is being deleted still has its id."""
    step, _ = walk("DELETING_CLEANING_UP", on_previous=on_previous)

    assert AwaitDeletion(found("DELETING_CLEANING_UP")) == step


@pytest.mark.parametrize(
    ("state", "processed", "may_have"),
    [("FAILED", 5, True), ("EXPIRED", 5, True), ("FAILED", 0, False), ("COMPLETED", 5, False)],
)
def test_rows_that_are_not_seen_may_be_there(state, processed, may_have):
    """A job that was COMPLETED left no rest; one that did no row has none."""
    job = found(state, has_output=False, processed=processed)
    trail = Trail().add(job)

    assert () == trail.with_rows
    assert ((job.job,) if may_have else ()) == trail.may_have_rows
