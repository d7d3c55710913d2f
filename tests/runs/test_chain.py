"""The decisions about the attempts of a shard, as tables: what is found, and what happens."""

import attrs
import pytest

from fireworks_batch import BatchInferenceJob, JobProgress, JobState, Lifecycle
from fireworks_batch.models.states import JobPhase
from fireworks_batch.runs.chain import (
    MOST_ATTEMPTS,
    RULES,
    Attempt,
    Chain,
    Collect,
    Create,
    OnPrevious,
    Output,
    Rows,
    Stop,
    Wait,
    Why,
    is_deleted,
    is_withdrawn,
    next_step,
)

NEW, ADOPT = OnPrevious.NEW, OnPrevious.ADOPT
ALL, RETRY = Rows.UNANSWERED, Rows.RETRYABLE
GOOD = JobProgress(successfully_processed_requests=10, total_processed_requests=10)
BAD_ENDS = ["FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "DELETED", "ARCHIVED"]


def attempt(number=0, state="COMPLETED", **changes) -> Attempt:
    """An attempt of ten rows that was there before the call, with all its rows."""
    progress = changes.pop("progress", GOOD)
    lifecycle = changes.pop("lifecycle", None)
    job = BatchInferenceJob(
        name=f"accounts/a/batchInferenceJobs/b-{number}",
        state=JobState(state),
        job_progress=progress,
        lifecycle=lifecycle,
    )
    facts = {
        "rows": 10,
        "is_previous": True,
        "output": Output.READ if job.is_terminal else Output.UNREAD,
        "has_results_file": True,
        "has_errors_file": True,
        "answered": 10,
        "resulted": 10,
    }
    return Attempt(number=number, job=job, **{**facts, **changes})


def chain(*attempts, **terms) -> Chain:
    """A chain of attempts."""
    return Chain(attempts={each.number: each for each in attempts}, **terms)


# --- Evidence -------------------------------------------------------------------------------------


def counters(succeeded=0, failed=0, processed=None) -> JobProgress:
    """Counters of a job."""
    total = succeeded + failed if processed is None else processed
    return JobProgress(
        successfully_processed_requests=succeeded,
        failed_requests=failed,
        total_processed_requests=total,
    )


@pytest.mark.parametrize(
    ("facts", "is_settled"),
    [
        # (a): everything that the job counts has come
        ({}, True),
        ({"answered": 9, "resulted": 9}, False),
        ({"answered": 9, "resulted": 10, "progress": counters(9, 1)}, True),
        ({"answered": 9, "resulted": 9, "progress": counters(9, 1)}, True),
        ({"answered": 8, "resulted": 9, "progress": counters(9, 1)}, False),
        # lines that cannot be read may be the rows that did not come, whether or not they failed
        ({"answered": 9, "resulted": 9, "unreadable": 1, "progress": counters(9, 1)}, False),
        ({"answered": 9, "resulted": 10, "unreadable": 1, "progress": counters(9, 1)}, True),
        # counters that are behind do not tell how many rows such lines are
        ({"answered": 1, "resulted": 1, "progress": counters(processed=1)}, True),
        ({"answered": 1, "resulted": 1, "unreadable": 1, "progress": counters(processed=1)}, False),
        ({"answered": 10, "resulted": 10, "unreadable": 1}, True),
        # counters that include the rows of jobs before
        ({"answered": 4, "resulted": 4, "rows": 4, "progress": counters(20)}, True),
        ({"answered": 3, "resulted": 3, "rows": 4, "progress": counters(20)}, False),
        # one of two files
        ({"has_errors_file": False, "answered": 9, "resulted": 9, "progress": counters(9)}, True),
        (
            {"has_errors_file": False, "answered": 9, "resulted": 9, "progress": counters(9, 1)},
            False,
        ),
        (
            {"has_results_file": False, "answered": 0, "resulted": 1, "progress": counters(9, 1)},
            False,
        ),
        (
            {"has_results_file": False, "answered": 0, "resulted": 1, "progress": counters(0, 1)},
            True,
        ),
        # null counters excuse no file
        ({"progress": None, "has_errors_file": False, "answered": 9, "resulted": 9}, False),
        ({"progress": None, "answered": 9, "resulted": 9}, True),
        ({"progress": None, "has_errors_file": False}, True),  # a result for each row is enough
        # zeros: nothing of a COMPLETED job, the rows that it has processed of another
        ({"progress": counters(), "has_errors_file": False, "answered": 9, "resulted": 9}, False),
        (
            {
                "state": "EXPIRED",
                "progress": counters(processed=5),
                "answered": 4,
                "resulted": 5,
            },
            True,
        ),
        (
            {
                "state": "EXPIRED",
                "progress": counters(processed=5),
                "answered": 4,
                "resulted": 4,
            },
            False,
        ),
        # no output yet, or none to be read
        ({"output": Output.LATE}, False),
        ({"output": Output.GONE}, False),
        # (b): it never ran a row
        ({"state": "FAILED", "output": Output.GONE, "progress": counters()}, True),
        ({"state": "EXPIRED", "output": Output.GONE, "progress": counters()}, True),
        ({"state": "FAILED", "output": Output.LATE, "progress": counters()}, False),
        ({"state": "FAILED", "output": Output.GONE, "progress": None}, False),
        ({"state": "FAILED", "output": Output.GONE, "progress": counters(1)}, False),
        ({"state": "COMPLETED", "output": Output.GONE, "progress": counters()}, False),
    ],
)
def test_evidence(facts, is_settled):
    """An attempt is settled when all that it counts was read, or when it never ran a row."""
    found = attempt(**facts)

    assert is_settled == found.has_evidence == chain(found).is_settled(found)


def test_job_that_has_begun_has_run():
    """Zero counters prove nothing if the job says that it began to run."""
    lifecycle = Lifecycle(run_start_time="2026-11-29T12:00:00Z")
    found = attempt(state="FAILED", output=Output.GONE, progress=counters(), lifecycle=lifecycle)

    assert not found.has_evidence


@pytest.mark.parametrize(
    ("on_previous", "output", "is_given_up"),
    [(NEW, Output.GONE, True), (ADOPT, Output.GONE, False), (NEW, Output.LATE, False)],
)
def test_rows_are_given_up_only_on_request(on_previous, output, is_given_up):
    """(c): an output that is gone counts as settled with "new" alone; one that is late never."""
    found = attempt(output=output)

    assert is_given_up == chain(found, on_previous=on_previous).is_settled(found)


# --- Steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (chain(), Create(0, ALL)),
        (chain(highest=0), Create(1, ALL)),
        (chain(attempt(state="RUNNING")), Wait(0)),
        (chain(attempt(), attempt(1, "PENDING")), Wait(1)),
        (chain(attempt(output=Output.UNREAD)), Collect(0)),
        (chain(attempt(), attempt(2, output=Output.UNREAD)), Collect(2)),
        (chain(attempt()), Stop(Why.DONE)),
        (chain(may_create=False), Stop(Why.DONE)),
        (chain(attempt(answered=3, resulted=3), may_create=False), Stop(Why.DONE)),
        (chain(attempt(has_vanished=True)), Stop(Why.VANISHED)),
        (chain(attempt(answered=3, resulted=3)), Stop(Why.UNSETTLED)),
        (chain(attempt(answered=3, resulted=3), attempt(1)), Stop(Why.UNSETTLED)),
        # retry_rows: up to a number, whoever made the attempts before
        (chain(attempt(), retry_rows=1), Create(1, RETRY)),
        (chain(attempt(), attempt(1), retry_rows=1), Stop(Why.DONE)),
        (chain(attempt(), attempt(1), retry_rows=2), Create(2, RETRY)),
        (chain(attempt(), highest=1, retry_rows=1), Stop(Why.DONE)),
        (chain(attempt(state="EXPIRED"), retry_rows=1), Create(1, RETRY)),
        (chain(attempt(state="EARLY_STOPPED"), retry_rows=1), Create(1, RETRY)),
        (chain(attempt(state="FAILED"), retry_rows=9), Stop(Why.DONE)),
        (chain(attempt(state="CANCELLED"), retry_rows=9), Stop(Why.DONE)),
        (chain(attempt(state="ARCHIVED"), retry_rows=9), Stop(Why.DONE)),
        (chain(attempt(state="FAILED"), attempt(1), retry_rows=9), Create(2, RETRY)),
        (chain(attempt(answered=3, resulted=3), retry_rows=9), Stop(Why.UNSETTLED)),
        # on_previous="new": once in a call
        (chain(attempt(), on_previous=NEW), Stop(Why.DONE)),
        (chain(attempt(output=Output.GONE), on_previous=NEW), Create(1, ALL)),
        (chain(attempt(output=Output.LATE), on_previous=NEW), Stop(Why.UNSETTLED)),
        (chain(attempt(state="FAILED", is_previous=False), on_previous=NEW), Stop(Why.DONE)),
        (
            chain(
                attempt(state="FAILED"), attempt(1, "FAILED", is_previous=False), on_previous=NEW
            ),
            Stop(Why.DONE),
        ),
        # both
        (chain(attempt(state="EXPIRED"), on_previous=NEW, retry_rows=2), Create(1, ALL)),
        (chain(attempt(), on_previous=NEW, retry_rows=2), Create(1, RETRY)),
        # a gap is never filled
        (chain(attempt(2, "FAILED"), on_previous=NEW), Create(3, ALL)),
        (chain(attempt(0, "FAILED"), highest=4, on_previous=NEW), Create(5, ALL)),
        # an end
        (chain(attempt(19, "FAILED"), on_previous=NEW), Stop(Why.TOO_MANY)),
        (chain(highest=MOST_ATTEMPTS - 1), Stop(Why.TOO_MANY)),
    ],
)
def test_next_step(found, step):
    """The first rule that applies decides."""
    assert step == next_step(found)


@pytest.mark.parametrize("state", BAD_ENDS)
def test_bad_end_is_run_again_only_on_request(state):
    """By default it is reported, whatever it is; with "new" all rows without a response run."""
    found = chain(attempt(state=state))

    assert Stop(Why.DONE) == next_step(found)
    assert Create(1, ALL) == next_step(attrs.evolve(found, on_previous=NEW))


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("on_previous", [ADOPT, NEW])
def test_every_state_has_a_step(state, on_previous):
    """No state leads nowhere, or buys rows while their job may still answer them."""
    found = chain(attempt(state=state), on_previous=on_previous, retry_rows=1)
    step = next_step(found)

    assert isinstance(step, Wait) == (not state.is_terminal)
    job = attempt(state=state).job
    assert is_withdrawn(job) == (state.phase is JobPhase.LEAVING)
    assert is_deleted(job) == (is_withdrawn(job) or state in {"DELETED", "ARCHIVED"})


def test_each_rule_is_needed_and_told():
    """The table of the documentation is that of the code, and every line of it has two halves."""
    assert len({rule.found for rule in RULES}) == len(RULES)
    assert all(rule.found and rule.happens for rule in RULES)
