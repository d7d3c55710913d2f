"""The API's resources as frozen values."""

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models import errors
from fireworks_batch.models import job as models
from fireworks_batch.models.job import (
    BatchInferenceJob,
    InferenceParameters,
    JobProgress,
    Lifecycle,
    Placement,
    Status,
    to_dict,
)
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.policies import PollPolicy
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.models.states import JobState, MultiRegion, Precision, StatusCode
from fireworks_batch.results.rows import read_row

NAME = "accounts/acme-labs/batchInferenceJobs/reviews-01"
OUTPUT = "accounts/acme-labs/datasets/reviews-out-01"
NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)
MODELS = [BatchInferenceJob, InferenceParameters, JobProgress, Lifecycle, Placement, Status]
TERMINAL = ["COMPLETED", "FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "DELETED", "ARCHIVED"]
# Every field of the contract, with its value in an empty answer.
FIELDS = {
    BatchInferenceJob: {
        "name": attrs.NOTHING,
        "state": JobState.UNSPECIFIED,
        "display_name": "",
        "create_time": None,
        "update_time": None,
        "expire_time": None,
        "created_by": "",
        "status": None,
        "model": "",
        "input_dataset_id": "",
        "output_dataset_id": "",
        "inference_parameters": None,
        "precision": Precision.UNSPECIFIED,
        "job_progress": None,
        "continued_from_job_name": "",
        "max_job_duration": None,
        "lifecycle": None,
        "placement": None,
        "system_prompt": "",
        "waiting_on_capacity": False,
        "extra": attrs.Factory(dict),
    },
    InferenceParameters: dict.fromkeys(
        ["max_tokens", "temperature", "top_p", "n", "top_k", "extra_body"]
    ),
    JobProgress: {
        "percent": 0,
        "epoch": 0,
        "total_input_requests": 0,
        "total_processed_requests": 0,
        "successfully_processed_requests": 0,
        "failed_requests": 0,
        "output_rows": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_input_token_count": 0,
    },
    Lifecycle: dict.fromkeys(["validated_time", "run_start_time", "end_time"]),
    Placement: {"multi_region": MultiRegion.UNSPECIFIED, "region": "", "regions": ()},
    Status: {"code": StatusCode.OK, "message": ""},
}


def job(state: str = "RUNNING", **members) -> BatchInferenceJob:
    """A job in a state, with an output dataset unless said otherwise."""
    members.setdefault("output_dataset_id", OUTPUT)
    return BatchInferenceJob(name=NAME, state=JobState(state), **members)


@pytest.mark.parametrize("cls", MODELS)
def test_every_field_of_the_contract_is_there(cls):
    """A model has the contract's fields and no other, each with proto3's idea of absent."""
    assert FIELDS[cls] == {field.name: field.default for field in attrs.fields(cls)}


def test_every_model_is_tested_here():
    """No exported model escapes these tests."""
    exported = {name for name in models.__all__ if isinstance(getattr(models, name), type)}

    assert {cls.__name__ for cls in MODELS} == exported


@pytest.mark.parametrize("cls", MODELS)
def test_models_are_frozen_slotted_and_take_keywords(cls):
    """A model cannot be changed, takes no further attribute, and no positional argument."""
    model = BatchInferenceJob(name=NAME) if cls is BatchInferenceJob else cls()
    first = attrs.fields(cls)[0].name

    for name in (first, "no_such_field"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(model, name, 1)
    with pytest.raises(TypeError):
        cls("positional")
    assert not hasattr(model, "__dict__")


@pytest.mark.parametrize("cls", MODELS)
def test_models_are_equal_by_value(cls):
    """Two models of the same values are equal and have one hash; another value differs."""
    one, other = (BatchInferenceJob(name=NAME) if cls is BatchInferenceJob else cls(),) * 2
    name, value = {
        BatchInferenceJob: ("display_name", "x"),
        InferenceParameters: ("n", 1),
        JobProgress: ("percent", 1),
        Lifecycle: ("end_time", NOON),
        Placement: ("regions", ("x",)),
        Status: ("message", "x"),
    }[cls]
    other = pickle.loads(pickle.dumps(other))  # noqa: S301

    assert one == other
    assert hash(one) == hash(other)
    assert one != attrs.evolve(one, **{name: value})


def test_unknown_members_are_neither_compared_nor_shown():
    """`extra` is kept, in no comparison, no hash and no repr."""
    plain, more = job(), job(extra={"newMember": {"deep": [1]}})

    assert plain == more
    assert hash(plain) == hash(more)
    assert repr(plain) == repr(more)
    assert more.extra == {"newMember": {"deep": [1]}}


@pytest.mark.parametrize(
    ("name", "job_id", "account_id"),
    [
        (NAME, "reviews-01", "acme-labs"),
        ("reviews-01", "reviews-01", ""),
        ("batchInferenceJobs/reviews-01", "reviews-01", ""),
        ("projects/p/batchInferenceJobs/reviews-01", "reviews-01", ""),
        ("", "", ""),
    ],
)
def test_ids_come_from_the_name(name, job_id, account_id):
    """`id` is the name's last segment, `account_id` its second if it has that form."""
    found = BatchInferenceJob(name=name)

    assert (job_id, account_id) == (found.id, found.account_id)


@pytest.mark.parametrize("state", [*JobState, JobState("NEW")], ids=str)
def test_terminal_and_success_follow_the_state(state):
    """A job is terminal in seven states, and a success in one of them."""
    assert job(state).is_terminal == (state in TERMINAL)
    assert job(state).is_success == (state == "COMPLETED")


def test_failed_rows_do_not_fail_the_job():
    """A COMPLETED job is a success even if every row failed."""
    progress = JobProgress(total_processed_requests=3, failed_requests=3)

    assert job("COMPLETED", job_progress=progress).is_success


@pytest.mark.parametrize("state", [*JobState, JobState("NEW")], ids=str)
@pytest.mark.parametrize("output", ["", OUTPUT])
def test_results_need_an_end_and_an_output_dataset(state, output):
    """Rows may be there for any terminal state but FAILED, if an output dataset is named."""
    expected = bool(output) and state in TERMINAL and state != "FAILED"

    assert expected == job(state, output_dataset_id=output).may_have_results


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (None, False),
        (JobProgress(), False),
        (JobProgress(total_input_requests=3, percent=50), False),
        (JobProgress(total_processed_requests=1), True),
        (JobProgress(output_rows=1), True),
    ],
)
def test_failed_job_may_have_the_rows_it_processed(progress, expected):
    """A FAILED job may have results once a row was processed, not before."""
    assert expected == job("FAILED", job_progress=progress).may_have_results
    assert not job("FAILED", job_progress=progress, output_dataset_id="").may_have_results


@pytest.mark.parametrize(
    ("state", "progress", "expected"),
    [
        ("COMPLETED", None, False),
        ("RUNNING", JobProgress(), True),
        ("FAILED", JobProgress(), True),
        ("COMPLETED", JobProgress(), False),
        ("COMPLETED", JobProgress(failed_requests=3), True),
        ("EXPIRED", JobProgress(successfully_processed_requests=1), False),
        ("COMPLETED", JobProgress(successfully_processed_requests=1, input_tokens=5), True),
    ],
)
def test_zero_tokens_are_believed_unless_rows_succeeded(state, progress, expected):
    """A COMPLETED job that counts nothing at all has counters that are late."""
    assert expected == job(state, job_progress=progress).has_token_counts


@pytest.mark.parametrize(
    ("state", "created", "updated", "ended", "expected"),
    [
        ("COMPLETED", 0, 500, 480, 480.0),
        ("COMPLETED", 0, 500, None, 500.0),
        ("FAILED", 0, None, 60.5, 60.5),
        ("EXPIRED", 0, None, None, None),
        ("COMPLETED", None, 500, 480, None),
        ("RUNNING", 0, 500, None, None),
        ("RUNNING", 0, 500, 480, None),
        ("NEW", 0, 500, 480, None),
    ],
)
def test_duration_is_from_creation_to_the_end(state, created, updated, ended, expected):
    """`duration` runs to the end, else to the last update; None before it and without times."""
    at = [None if s is None else NOON + timedelta(seconds=s) for s in (created, updated, ended)]
    found = job(state, create_time=at[0], update_time=at[1], lifecycle=Lifecycle(end_time=at[2]))

    assert expected == found.duration


def test_duration_does_without_a_lifecycle():
    """A terminal job without a lifecycle ended, as far as is known, at its last update."""
    later = NOON + timedelta(seconds=7)

    assert job("FAILED", create_time=NOON, update_time=later).duration == 7.0


@pytest.mark.parametrize(
    ("progress", "total"),
    [
        (JobProgress(), 0),
        (JobProgress(total_input_requests=3), 3),
        (JobProgress(total_input_requests=1, total_processed_requests=3), 3),
        (JobProgress(total_processed_requests=3), 3),
    ],
)
def test_total_is_never_less_than_processed(progress, total):
    """The declared number of rows may be wrong, so the total is at least those processed."""
    assert total == progress.total


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        (
            job("FAILED", status=Status(code=StatusCode.INVALID_ARGUMENT, message="bad row")),
            errors.JobFailedError,
            "job 'reviews-01' ended FAILED: INVALID_ARGUMENT: bad row",
        ),
        (
            job("FAILED", status=Status(code=StatusCode.INTERNAL)),
            errors.JobFailedError,
            "job 'reviews-01' ended FAILED: INTERNAL",
        ),
        (job("FAILED"), errors.JobFailedError, "job 'reviews-01' ended FAILED"),
        (
            job("FAILED", job_progress=JobProgress(output_rows=1)),
            errors.JobFailedError,
            f"job 'reviews-01' ended FAILED; rows that were finished may be in {OUTPUT}",
        ),
        (
            job("EXPIRED", status=Status(code=StatusCode.DEADLINE_EXCEEDED, message="late")),
            errors.JobExpiredError,
            (
                "job 'reviews-01' ended EXPIRED: DEADLINE_EXCEEDED: late; "
                f"rows that were finished may be in {OUTPUT}"
            ),
        ),
        (
            job("CANCELLED", status=Status(), output_dataset_id=""),
            errors.JobCancelledError,
            "job 'reviews-01' ended CANCELLED",
        ),
        (
            job("EARLY_STOPPED", output_dataset_id=""),
            errors.JobStoppedError,
            "job 'reviews-01' ended EARLY_STOPPED",
        ),
        (
            job("DELETED", output_dataset_id=""),
            errors.JobStoppedError,
            "job 'reviews-01' ended DELETED",
        ),
        (
            job("ARCHIVED", output_dataset_id=""),
            errors.JobStoppedError,
            "job 'reviews-01' ended ARCHIVED",
        ),
        (
            job("RUNNING"),
            errors.JobNotFinishedError,
            "job 'reviews-01' has not ended: it is RUNNING",
        ),
        (
            job("JOB_STATE_NEW", status=Status(message="x")),
            errors.JobNotFinishedError,
            "job 'reviews-01' has not ended: it is NEW",
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_outcome_raises_what_the_state_means(found, error, message):
    """Each state but COMPLETED raises its own error, with the server's reason and the job."""
    with pytest.raises(errors.JobOutcomeError) as caught:
        found.raise_for_outcome()

    assert type(caught.value) is error
    assert message == str(caught.value)
    assert found is caught.value.job


def test_completed_job_is_returned():
    """`raise_for_outcome` of a COMPLETED job returns that very job, failed rows or not."""
    found = job("COMPLETED", job_progress=JobProgress(failed_requests=2))

    assert found is found.raise_for_outcome()


@pytest.mark.parametrize("state", [state for state in JobState if state != "COMPLETED"], ids=str)
def test_only_completed_raises_nothing(state):
    """Every other published state raises, one of the five classes."""
    with pytest.raises(errors.JobOutcomeError):
        job(state).raise_for_outcome()


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (job("PENDING"), "<BatchInferenceJob 'reviews-01' PENDING>"),
        (
            job(
                job_progress=JobProgress(
                    total_input_requests=3, total_processed_requests=2, failed_requests=1
                )
            ),
            "<BatchInferenceJob 'reviews-01' RUNNING 2/3 rows, 1 failed>",
        ),
        (job("JOB_STATE_NEW"), "<BatchInferenceJob 'reviews-01' NEW>"),
        (BatchInferenceJob(name="a\nb"), "<BatchInferenceJob 'a\\nb' UNSPECIFIED>"),
    ],
)
def test_repr_is_one_line_of_id_state_and_rows(found, shown):
    """`repr()` of a job says what a log needs, on one line."""
    assert shown == repr(found)


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (None, None),
        ("", ""),
        ('{"stop": ["END"]}', '{"stop": ["END"]}'),
        ("no JSON", "no JSON"),
        ({"stop": ["END"]}, '{"stop": ["END"]}'),
        ({}, "{}"),
    ],
)
def test_extra_body_stays_the_string_of_the_wire(given_, kept):
    """A string is kept as it came, a mapping is written as JSON."""
    assert kept == InferenceParameters(extra_body=given_).extra_body


WHOLE = BatchInferenceJob(
    name=NAME,
    state=JobState("JOB_STATE_NEW"),
    create_time=datetime(2026, 9, 14, 14, 0, 0, 500, tzinfo=timezone(timedelta(hours=2))),
    status=Status(code=StatusCode.NOT_FOUND, message="m"),
    inference_parameters=InferenceParameters(max_tokens=5, extra_body={"a": 1}),
    precision=Precision.FP4_MX_MOE,
    job_progress=JobProgress(percent=7),
    max_job_duration=86400.0,
    lifecycle=Lifecycle(end_time=NOON),
    placement=Placement(multi_region=MultiRegion.US, regions=("a", "b")),
    extra={"newMember": [{"deep": None}]},
)


def test_dict_is_json_safe_snake_case():
    """`to_dict` gives plain JSON values: bare names, RFC 3339 in UTC, lists."""
    plain = to_dict(WHOLE)

    assert plain == json.loads(json.dumps(plain))
    assert [field.name for field in attrs.fields(BatchInferenceJob)] == [*plain]
    assert plain["state"] == "NEW"
    assert type(plain["state"]) is str
    assert plain["create_time"] == "2026-09-14T12:00:00.000500Z"
    assert plain["lifecycle"] == {
        "validated_time": None,
        "run_start_time": None,
        "end_time": "2026-09-14T12:00:00Z",
    }
    assert plain["placement"] == {"multi_region": "US", "region": "", "regions": ["a", "b"]}
    assert plain["status"] == {"code": "NOT_FOUND", "message": "m"}
    assert plain["precision"] == "FP4_MX_MOE"
    assert plain["max_job_duration"] == 86400.0
    assert plain["extra"] == {"newMember": [{"deep": None}]}


def test_dict_of_a_snapshot_has_its_job_and_its_error():
    """`to_dict` goes into a snapshot's job, and writes an error as its class and text."""
    snapshot = JobSnapshot(
        job=WHOLE,
        previous_state=JobState.RUNNING,
        changed=True,
        number=2,
        observed_at=NOON,
        elapsed=1.5,
        unchanged_for=0.0,
        percent=None,
        rate=None,
        eta=None,
        last_error=errors.TransportError("reset"),
        problems=("x: y",),
    )

    plain = to_dict(snapshot)

    assert plain == json.loads(json.dumps(plain))
    assert plain["job"] == to_dict(WHOLE)
    assert plain["previous_state"] == "RUNNING"
    assert plain["observed_at"] == "2026-09-14T12:00:00Z"
    assert plain["last_error"] == "TransportError: reset"
    assert plain["problems"] == ["x: y"]


def test_dict_of_references_and_policies():
    """`to_dict` serves references and policies too."""
    assert to_dict(JobRef("a", "j", "https://x")) == {
        "account_id": "a",
        "job_id": "j",
        "base_url": "https://x",
    }
    assert to_dict(PollPolicy())["growth"] == 1.5


def test_dict_of_a_row():
    """`to_dict` names the members of a row as its properties, and its line is text."""
    line = '{"custom_id": "ä", "error": {"code": 429, "message": "slow"}}'
    assert to_dict(read_row(f"{line}\r\n".encode())) == {
        "custom_id": "ä",
        "response": None,
        "error": {"code": "429", "message": "slow", "raw": {"code": 429, "message": "slow"}},
        "raw": line,
        "output": None,
    }


def test_dict_is_new():
    """Changing what `to_dict` returned changes no model."""
    plain = to_dict(WHOLE)

    plain["extra"]["newMember"].append(1)
    plain["placement"]["regions"].append("c")

    assert WHOLE.extra == {"newMember": [{"deep": None}]}
    assert WHOLE.placement == Placement(multi_region=MultiRegion.US, regions=("a", "b"))


@given(
    processed=st.integers(0, 2**63),
    declared=st.integers(0, 2**63),
    state=st.sampled_from([*JobState]),
    job_id=st.text(),
)
def test_repr_is_one_line_for_any_job(processed, declared, state, job_id):
    """`repr()` of a job is one line, whatever the server called it."""
    progress = JobProgress(total_input_requests=declared, total_processed_requests=processed)
    shown = repr(BatchInferenceJob(name=job_id, state=state, job_progress=progress))

    assert len(shown.splitlines()) == 1
