"""Jobs as lines of text, as fields and as JSON objects."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from fireworks_batch import (
    BatchInferenceJob,
    Dataset,
    DatasetState,
    JobProgress,
    JobSnapshot,
    JobState,
    Lifecycle,
    Status,
    StatusCode,
    TransportError,
    WaitTimeoutError,
)
from fireworks_batch.cli.display.board import Outcome
from fireworks_batch.cli.display.lines import (
    change_line,
    change_record,
    dataset_cells,
    dataset_fields,
    job_cells,
    job_fields,
    outcome_fields,
    outcome_line,
    outcome_record,
    record,
)
from fireworks_batch.cli.display.listing import fitting
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import PlainLines
from fireworks_batch.models.job import job_details

NOON = datetime(2026, 9, 14, 12, 0, 5, tzinfo=UTC)


def a_job(state="RUNNING", ok=97, failed=3, total=1000, **members):
    """A job with counters."""
    progress = JobProgress(
        total_input_requests=total,
        total_processed_requests=ok + failed,
        successfully_processed_requests=ok,
        failed_requests=failed,
        input_tokens=12_000,
        output_tokens=3400,
        cached_input_token_count=800,
    )
    defaults = {
        "name": "accounts/acme/batchInferenceJobs/nightly",
        "state": JobState(state),
        "job_progress": progress,
        "create_time": NOON,
        "model": "accounts/fireworks/models/demo-8b",
    }
    return BatchInferenceJob(**defaults | members)


def a_snapshot(job=None, **members):
    """A snapshot of it."""
    defaults = {
        "job": job or a_job(),
        "previous_state": None,
        "changed": True,
        "number": 3,
        "observed_at": NOON,
        "elapsed": 60.0,
        "unchanged_for": 0.0,
        "percent": 10.0,
        "rate": 2.0,
        "eta": 450.0,
    }
    return JobSnapshot(**defaults | members)


def test_a_change_is_a_line():
    """When, which job, where it stands, and how long it may take."""
    assert change_line(a_snapshot()) == (
        "12:00:05Z nightly RUNNING 10.0% (97 ok, 3 failed of 1,000) 2/s 8m left"
    )


def test_a_change_says_what_is_known():
    """Unknown rows, rates and times are left out; failed polls are counted."""
    job = BatchInferenceJob(name="accounts/acme/batchInferenceJobs/nightly", state="PENDING")
    bare = a_snapshot(job, percent=None, rate=None, eta=None, failures=2)
    assert change_line(bare) == "12:00:05Z nightly PENDING after 2 failed polls"


def test_a_change_as_json():
    """The snapshot's members, and the job's in one of its own."""
    members = json.loads(json.dumps(change_record(a_snapshot(last_error=TransportError("no")))))
    assert members["event"] == "change"
    assert (members["id"], members["percent"], members["eta"]) == ("nightly", 10.0, 450.0)
    assert members["last_error"] == "TransportError: no"
    assert members["job"]["state"] == "RUNNING"


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (a_job("COMPLETED", 997, 3), "nightly  COMPLETED  997 ok, 3 failed of 1,000"),
        (
            a_job(
                "FAILED",
                0,
                0,
                0,
                status=Status(code=StatusCode.INTERNAL, message="boo\x1b[2J"),
                lifecycle=Lifecycle(end_time=NOON + timedelta(minutes=5)),
            ),
            r"nightly  FAILED  0 ok  in 5m  boo\x1b[2J",
        ),
    ],
)
def test_an_end_is_a_line(job, line):
    """Rows, how long it took, and the server's word on it."""
    assert outcome_line(Outcome("nightly", job, None)) == line


def test_an_end_as_fields_and_as_json():
    """With the exit code that it stands for; of a job never seen there is little to say."""
    ended = Outcome("nightly", a_job("COMPLETED"), None)
    assert outcome_fields(ended) == ("nightly", "COMPLETED", 97, 3, 1000)
    assert outcome_record(ended)["exit_code"] == 6
    unseen = Outcome("nightly", None, WaitTimeoutError("too long"))
    assert outcome_fields(unseen) == ("nightly", "", 0, 0, 0)
    assert json.loads(json.dumps(outcome_record(unseen))) == {
        "event": "end",
        "id": "nightly",
        "state": None,
        "exit_code": 7,
        "error": "WaitTimeoutError: too long",
        "job": None,
    }
    assert outcome_line(unseen) == "nightly"


def test_a_job_in_a_listing():
    """For programs whole, for people shorter; as JSON with its id."""
    job = a_job()
    assert job_fields(job)[5:] == ("2026-09-14T12:00:05Z", "accounts/fireworks/models/demo-8b")
    assert job_cells(job)[5:] == ("2026-09-14 12:00", "demo-8b")
    assert record(job)["id"] == "nightly"


def test_a_dataset_in_a_listing():
    """Id, state, rows and creation."""
    name = "accounts/acme/datasets/reviews"
    dataset = Dataset(name=name, state=DatasetState.READY, example_count=3, create_time=NOON)
    assert dataset_fields(dataset) == ("reviews", "READY", 3, "2026-09-14T12:00:05Z")
    assert dataset_cells(dataset) == ("reviews", "READY", 3, "2026-09-14 12:00")


def test_details_of_a_job():
    """What there is to say, and nothing of what there is not."""
    told = dict(job_details(a_job(waiting_on_capacity=True)))
    assert told["state"] == "RUNNING (waiting for capacity)"
    assert told["rows"] == "97 ok, 3 failed of 1,000"
    assert told["tokens"] == "12,000 in (800 cached), 3,400 out"
    assert "status" not in told
    assert "ended" not in told


def test_without_a_terminal_only_changes_are_told(capsys):
    """One line each, on stderr; a snapshot that shows nothing new is none, unless polls failed."""
    display = PlainLines(Output(as_json=False, is_verbose=False))
    display.see(a_snapshot())
    display.see(a_snapshot(changed=False))
    display.see(a_snapshot(changed=False, failures=1))
    out, err = capsys.readouterr()
    assert out == ""
    assert ["failed poll" in line for line in err.splitlines()] == [False, True]


@pytest.mark.parametrize(("room", "count"), [(80, 4), (29, 4), (28, 3), (16, 2), (1, 2)])
def test_columns_go_from_the_right(room, count):
    """As many as fit, with gaps; two stay in any case."""
    assert fitting([8, 5, 5, 5], room=room) == count
