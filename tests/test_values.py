"""Everything exported that is a value: through pickle and copies, as a key, and on a line."""

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

import fireworks_batch
from fireworks_batch import (
    JOB_TIME_LIMIT,
    AdoptedJob,
    BatchInferenceJob,
    CheckReport,
    Dataset,
    DatasetFormat,
    DatasetState,
    EncryptionState,
    FireworksBatchError,
    FleetProgress,
    InferenceParameters,
    InputRowsError,
    JobOutcome,
    JobOutcomeError,
    JobPhase,
    JobPlan,
    JobProgress,
    JobRef,
    JobReport,
    JobSnapshot,
    JobState,
    Lifecycle,
    Limits,
    MultiRegion,
    Placement,
    PollPolicy,
    Precision,
    ResponseDecodeError,
    ResultRow,
    ResultRowsError,
    ResultsReport,
    RetryPolicy,
    RowContents,
    RowError,
    RowProblem,
    RunProgress,
    RunReport,
    RunStage,
    Status,
    StatusCode,
    Submission,
    SubmittedShard,
    TransportError,
    WaitError,
)
from fireworks_batch.models.errors import APIStatusError

EXPORTED = {name: getattr(fireworks_batch, name) for name in fireworks_batch.__all__}
# What is exported and no value: the client, which owns a session, and functions.
NO_VALUES = {
    "BatchClient",
    "__version__",
    "chat",
    "chats",
    "to_dict",
}
MOMENT = datetime(2026, 9, 14, 9, 0, 0, 123456, tzinfo=UTC)

REF = JobRef(account_id="acme", job_id="nightly", base_url="https://api.fireworks.ai")
JOB = BatchInferenceJob(
    name="accounts/acme/batchInferenceJobs/nightly",
    state=JobState("JOB_STATE_NEW"),
    create_time=MOMENT,
    status=Status(code=StatusCode("NEW"), message="two\nlines"),
    inference_parameters=InferenceParameters(temperature=0.5, extra_body={"stop": ["END"]}),
    precision=Precision("NEW"),
    job_progress=JobProgress(total_input_requests=3, total_processed_requests=2),
    max_job_duration=86400.0,
    lifecycle=Lifecycle(end_time=MOMENT),
    placement=Placement(multi_region=MultiRegion.US, regions=("a", "b")),
    extra={"newMember": {"deep": [1, None]}},
)
DATASET = Dataset(
    name="accounts/acme/datasets/input",
    state=DatasetState.READY,
    create_time=MOMENT,
    status=Status(),
    example_count=3,
    average_turn_count=1.5,
    extra={"userUploaded": {}},
)
SNAPSHOT = JobSnapshot(
    job=JOB,
    previous_state=JobState.RUNNING,
    changed=True,
    number=7,
    observed_at=MOMENT,
    elapsed=1.5,
    unchanged_for=0.0,
    percent=66.6,
    rate=0.5,
    eta=2.0,
    failures=1,
    last_error=TransportError("reset"),
    problems=("model: expected a string, not 5",),
    error=TransportError("reset"),
)
ROW_ERROR = RowError("429", "two\nlines", raw={"code": 429, "deep": [1, None]})
ROW = ResultRow("r-1", {"choices": []}, ROW_ERROR, raw=b'{"custom_id": "r-1"}\r\n')
REPORT = ResultsReport(
    succeeded=1,
    failed=2,
    duplicate_ids=tuple(f"r-{number}" for number in range(100)),
    duplicate_count=100,
    missing_count=0,
    counts_agree=False,
)
PLAN = JobPlan(rows=3, bytes=300, first_line=1, last_line=4)
PROBLEM = RowProblem(3, "a", "no")
ADOPTED = AdoptedJob(job_id="nightly-g0", state=JobState("NEW"), age=5.5)
SUBMITTED = SubmittedShard(
    base_id="nightly",
    newest=1,
    rows=3,
    sha256="0a" * 32,
    first_line=1,
    last_line=4,
)
JOB_REPORT = JobReport(
    job_id="nightly-g1",
    state=JobState.FAILED,
    rows=3,
    reason="no",
    input_tokens=5,
    output_tokens=4,
    cached_tokens=3,
)
RUN_REPORT = RunReport(
    rows=3,
    succeeded=1,
    failed=1,
    missing=1,
    jobs=(JOB_REPORT,),
    adopted=(ADOPTED,),
    remarks=("no",),
)
# One instance of each exported value, made with something in every member.
VALUES: dict[str, Any] = {
    "JOB_TIME_LIMIT": JOB_TIME_LIMIT,
    "AdoptedJob": ADOPTED,
    "BatchInferenceJob": JOB,
    "CheckReport": CheckReport(rows=1, bytes=5, jobs=(PLAN,), problems=(PROBLEM,), problem_count=7),
    "Dataset": DATASET,
    "DatasetFormat": DatasetFormat.CHAT,
    "DatasetState": DatasetState("NEW"),
    "EncryptionState": EncryptionState.CMEK,
    "FleetProgress": FleetProgress(running=2, unseen=1, rows_total=5, rate=0.5, eta=4.0),
    "InferenceParameters": JOB.inference_parameters,
    "JobOutcome": JobOutcome(REF, JOB, TransportError("reset")),
    "JobPhase": JobPhase.LEAVING,
    "JobPlan": PLAN,
    "JobProgress": JOB.job_progress,
    "JobRef": REF,
    "JobReport": JOB_REPORT,
    "JobSnapshot": SNAPSHOT,
    "JobState": JOB.state,
    "Lifecycle": JOB.lifecycle,
    "Limits": Limits(max_rows=10, max_bytes=1000, max_upload_bytes=100),
    "MultiRegion": MultiRegion.UNSPECIFIED,
    "Placement": JOB.placement,
    "PollPolicy": PollPolicy(stall_after=5, unknown_state_budget=6),
    "Precision": JOB.precision,
    "ResultRow": ROW,
    "ResultsReport": REPORT,
    "RowProblem": PROBLEM,
    "RunProgress": RunProgress(
        stage=RunStage.RUNNING,
        rows=3,
        rows_done=2,
        rows_failed=1,
        jobs=2,
        jobs_submitted=2,
        jobs_ended=1,
        under_way=("nightly-g0",),
        snapshots=(SNAPSHOT,),
        failed_polls=(("nightly-g0", 2),),
    ),
    "RunReport": RUN_REPORT,
    "RunStage": RunStage.RETRYING,
    "Submission": Submission(
        account_id="acme",
        base_url="https://api.fireworks.ai",
        name="nightly",
        model="accounts/fireworks/models/demo-8b",
        has_system_prompt=True,
        limits=Limits(max_rows=10),
        shards=(SUBMITTED,),
        adopted=(ADOPTED,),
        skipped=1,
    ),
    "SubmittedShard": SUBMITTED,
    "RetryPolicy": RetryPolicy(max_attempts=2),
    "RowContents": RowContents(characters=5, bytes=5, messages=1, max_tokens=7),
    "RowError": ROW_ERROR,
    "Status": JOB.status,
    "StatusCode": StatusCode.NOT_FOUND,
}
# How an error of each branch of the tree is made; any other is made of its text alone.
BRANCHES: dict[type[FireworksBatchError], dict[str, Any]] = {
    APIStatusError: {"status": 404, "code": "NOT_FOUND", "request_id": "r", "retry_after": 1.5},
    ResponseDecodeError: {"problems": ["model: no"], "partial": JOB},
    WaitError: {"ref": REF, "last_snapshot": SNAPSHOT},
    JobOutcomeError: {"job": JOB},
    InputRowsError: {"problems": [RowProblem(3, "a", "no")], "count": 7},
    ResultRowsError: {
        "missing_ids": ["r-1"],
        "duplicate_ids": ["r-2", "r-3"],
        "report": RUN_REPORT,
    },
}


def make_error(cls: type[FireworksBatchError]) -> FireworksBatchError:
    """An error of a class with everything that it can carry."""
    members = [members for branch, members in BRANCHES.items() if issubclass(cls, branch)]
    return cls("what went wrong", **(members[0] if members else {}))


ERRORS = {
    name: make_error(value)
    for name, value in EXPORTED.items()
    if isinstance(value, type) and issubclass(value, FireworksBatchError)
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def copies(value: Any) -> list[Any]:
    """A value after each way of copying it."""
    pickled = [pickle.loads(pickle.dumps(value, protocol)) for protocol in PROTOCOLS]  # noqa: S301
    return [*pickled, copy.copy(value), copy.deepcopy(value)]


def test_every_exported_value_is_tested_here():
    """What is exported and neither tested here nor excluded by name fails this test."""
    assert {*VALUES} | {*ERRORS} | NO_VALUES == {*fireworks_batch.__all__}


@pytest.mark.parametrize("name", VALUES)
def test_instance_is_of_the_class_it_stands_for(name):
    """The registry of these tests has an instance of each class under the class's own name."""
    exported = getattr(fireworks_batch, name)

    assert VALUES[name] is exported or type(VALUES[name]) is exported


@pytest.mark.parametrize("name", VALUES)
def test_value_survives_every_copy(name):
    """Pickle of every protocol, copy and deepcopy give an equal value of the same type."""
    value = VALUES[name]

    for again in copies(value):
        assert type(again) is type(value)
        assert value == again
        assert hash(value) == hash(again)
        assert repr(value) == repr(again)


def test_uncompared_members_survive_too():
    """What equality does not look at comes through all the same."""
    for job in copies(JOB):
        assert job.extra == {"newMember": {"deep": [1, None]}}
        assert (job.state.wire, job.precision.wire) == ("JOB_STATE_NEW", "NEW")
    for snapshot in copies(SNAPSHOT):
        assert str(snapshot.last_error) == "reset"
        assert snapshot.job.extra == JOB.extra
    for row in copies(ROW):
        assert row.response == {"choices": []}
        assert row.error.raw == {"code": 429, "deep": [1, None]}


@pytest.mark.parametrize("name", VALUES)
def test_value_is_a_key(name):
    """Every value can be hashed, and an equal one finds what stands under it."""
    value = VALUES[name]

    assert {value: 1}[copy.deepcopy(value)] == 1


@pytest.mark.parametrize("name", [*VALUES, *ERRORS])
def test_repr_is_one_short_line(name):
    """`repr()` of everything fits on a line of a log."""
    text = repr({**VALUES, **ERRORS}[name])

    assert len(text.splitlines()) == 1
    assert len(text) < 300


@pytest.mark.parametrize("name", [name for name in VALUES if attrs.has(type(VALUES[name]))])
def test_value_cannot_be_changed(name):
    """Nothing can be set on a value, neither its members nor anything else."""
    value = VALUES[name]
    members = [field.alias for field in attrs.fields(type(value))]

    for attribute in (*members, "something_else"):
        with pytest.raises(AttributeError):
            setattr(value, attribute, 1)


@pytest.mark.parametrize("name", ERRORS)
def test_error_survives_every_copy(name):
    """Pickle of every protocol, copy and deepcopy keep an error's type, text and attributes."""
    error = ERRORS[name]

    for again in copies(error):
        assert type(again) is type(error)
        assert str(error) == str(again)
        assert vars(error) == vars(again)
        assert error.args == again.args


@pytest.mark.parametrize("name", ERRORS)
def test_error_is_a_key(name):
    """An error can be hashed; two are equal only if they are one."""
    error = ERRORS[name]

    assert {error: 1}[error] == 1
    assert error != copy.copy(error)
