"""The codec: the wire's JSON to frozen models, and back."""

import copy
import json
import pickle
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import attrs
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fireworks_batch.models.errors import ConfigurationError, ResponseDecodeError
from fireworks_batch.models.job import (
    BatchInferenceJob,
    InferenceParameters,
    JobProgress,
    Lifecycle,
    Placement,
    Status,
    to_dict,
)
from fireworks_batch.models.states import JobState, MultiRegion, OpenEnum, Precision, StatusCode
from fireworks_batch.wire.codec import Codec, mask_paths, parse_json, response_reader

FIXTURES = Path(__file__).parents[1] / "fixtures"
JOBS = sorted(path.stem for path in FIXTURES.glob("*.json") if path.stem != "list_page")
NAME = "accounts/acme-labs/batchInferenceJobs/reviews-01"
CODEC = Codec()
REQUIRED = ("name", "state")


def fixture(name: str) -> dict[str, Any]:
    """An answer of the server, by what it is."""
    return parse_json((FIXTURES / f"{name}.json").read_bytes())


def read(**members: Any) -> BatchInferenceJob:
    """Read a job with some members besides its name."""
    return CODEC.structure({"name": NAME, **members}, BatchInferenceJob)


def refusal(**members: Any) -> ResponseDecodeError:
    """Read a job that cannot be read, and return the error."""
    with pytest.raises(ResponseDecodeError) as caught:
        CODEC.structure(
            {"name": NAME, "state": "JOB_STATE_RUNNING", **members},
            BatchInferenceJob,
            required=REQUIRED,
        )
    return caught.value


def attempt(
    value: Any, *, codec: Codec = CODEC, required: tuple[str, ...] = ()
) -> tuple[BatchInferenceJob | None, ResponseDecodeError | None]:
    """Read a job if it can be read, else return the error."""
    try:
        return codec.structure(value, BatchInferenceJob, required=required), None
    except ResponseDecodeError as error:
        return None, error


def at(hour: int, minute: int, second: int = 0, micro: int = 0, *, day: int = 14) -> datetime:
    """A moment of the fixtures' day."""
    return datetime(2026, 9, day, hour, minute, second, micro, tzinfo=UTC)


VALIDATING = BatchInferenceJob(
    name=NAME,
    state=JobState.VALIDATING,
    create_time=at(9, 1, micro=111),
    update_time=at(9, 1, micro=111),
    expire_time=at(9, 0, 59, 800333, day=15),
    created_by="dev@acme.example",
    status=Status(code=StatusCode.OK, message=""),
    model="accounts/fireworks/models/demo-8b",
    input_dataset_id="accounts/acme-labs/datasets/reviews-in-01",
    output_dataset_id="accounts/acme-labs/datasets/reviews-out-01",
    inference_parameters=InferenceParameters(
        max_tokens=256, temperature=0.2, extra_body='{"stop": ["END"]}'
    ),
    precision=Precision.BF16,
    max_job_duration=86400.0,
)
PENDING = attrs.evolve(
    VALIDATING,
    state=JobState.PENDING,
    update_time=at(9, 2, micro=50000),
    job_progress=JobProgress(),
    lifecycle=Lifecycle(validated_time=at(9, 2, micro=50000)),
    placement=Placement(region="REGION_UNSPECIFIED"),
)
RUNNING = attrs.evolve(
    PENDING,
    state=JobState.RUNNING,
    update_time=at(9, 8, micro=61000),
    job_progress=JobProgress(
        percent=66,
        total_input_requests=3,
        total_processed_requests=2,
        successfully_processed_requests=2,
        output_rows=2,
        input_tokens=84,
        output_tokens=11,
        cached_input_token_count=40,
    ),
    lifecycle=Lifecycle(validated_time=at(9, 2, micro=50000), run_start_time=at(9, 8, micro=61000)),
)
EXPECTED = {
    "validating": VALIDATING,
    "pending": PENDING,
    "running": RUNNING,
    "waiting_on_capacity": attrs.evolve(RUNNING, waiting_on_capacity=True),
    "completed_with_row_errors": attrs.evolve(
        RUNNING,
        state=JobState.COMPLETED,
        update_time=at(9, 9, micro=70000),
        job_progress=attrs.evolve(
            RUNNING.job_progress, percent=100, total_processed_requests=3, failed_requests=1
        ),
        lifecycle=attrs.evolve(RUNNING.lifecycle, end_time=at(9, 9, micro=70000)),
    ),
    "failed_validation": attrs.evolve(
        PENDING,
        state=JobState.FAILED,
        status=Status(
            code=StatusCode.INVALID_ARGUMENT,
            message="Dataset has a syntax error: chat dataset validation failed on "
            "input.jsonl:2: invalid role pirate in message 0",
        ),
        lifecycle=Lifecycle(end_time=at(9, 2, micro=50000)),
    ),
    "expired": attrs.evolve(
        RUNNING,
        state=JobState.EXPIRED,
        update_time=at(9, 1, micro=71000, day=15),
        status=Status(code=StatusCode.DEADLINE_EXCEEDED, message="(text unknown)"),
        lifecycle=attrs.evolve(RUNNING.lifecycle, end_time=at(9, 1, micro=71000, day=15)),
    ),
    "after_delete": attrs.evolve(RUNNING, state=JobState.DELETING_CLEANING_UP),
    "unknown_state": attrs.evolve(RUNNING, state=JobState("JOB_STATE_DEFRAGMENTING")),
}


# --- Whole answers --------------------------------------------------------------------------------


def test_every_fixture_is_read():
    """Each recorded shape of a job has its expected model here."""
    assert [*sorted(EXPECTED)] == JOBS


@pytest.mark.parametrize("name", JOBS)
def test_recorded_answer_becomes_its_model(name):
    """Each phase of a job that the contract shows is read, member by member, as it is meant."""
    body = (FIXTURES / f"{name}.json").read_bytes()

    assert EXPECTED[name] == CODEC.decode(body, BatchInferenceJob, required=REQUIRED)


@pytest.mark.parametrize("name", JOBS)
def test_fixture_has_the_members_of_the_contract(name):
    """The fixtures name each member that the model knows, so that none is read as absent."""
    camel = CODEC.unstructure(
        attrs.evolve(RUNNING, display_name="x", continued_from_job_name="x", system_prompt="x")
    )

    assert {*camel, "waitingOnCapacity"} <= {*fixture(name)}


def test_jobs_of_a_list_page_are_read():
    """A job of a listing may have few members or all of them."""
    first, second = fixture("list_page")["batchInferenceJobs"]

    assert CODEC.structure(first, BatchInferenceJob) == BatchInferenceJob(
        name=NAME, state=JobState.RUNNING
    )
    assert CODEC.structure(second, BatchInferenceJob) == attrs.evolve(RUNNING, name=f"{NAME[:-1]}2")


@pytest.mark.parametrize("name", JOBS)
def test_model_read_is_the_model_made(name):
    """A model from the codec equals the one from `__init__`, in hash, pickle and copies too."""
    made, found = EXPECTED[name], CODEC.structure(fixture(name), BatchInferenceJob)

    assert made == found
    assert hash(made) == hash(found)
    assert repr(made) == repr(found)
    for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):  # noqa: S301
        assert made == again
        assert found.extra == again.extra


@pytest.mark.parametrize("broken", [{}, {"model": 5}, {"jobProgress": {"percent": "x"}}])
def test_model_read_is_frozen(broken):
    """A model and its parts are of the public classes, and frozen, even if some of it is wrong."""
    found, error = attempt(fixture("running") | broken)
    job = found or error.partial

    assert type(job) is BatchInferenceJob
    assert type(job.job_progress) is JobProgress
    for model in (job, job.job_progress, job.status, job.lifecycle):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(model, attrs.fields(type(model))[0].name, "x")


def test_error_of_the_callback_is_not_hidden():
    """An error of the callback for unknown values is no error of the answer."""

    def fail(_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Codec(fail).structure({"name": NAME, "state": "JOB_STATE_NEW"}, BatchInferenceJob)


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff", b"{'a': 1}", b"NaN", b"[1,]"])
def test_body_that_is_no_json_is_refused(body):
    """A body that is not JSON has one problem, which says so, and nothing partial."""
    with pytest.raises(ResponseDecodeError, match=r"^the body is not JSON: ") as caught:
        CODEC.decode(body, BatchInferenceJob)

    assert caught.value.problems == (str(caught.value),)
    assert caught.value.partial is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "None"), ([], "[]"), ("x", "'x'"), (5, "5"), (True, "True"), ([{}], "[{}]")],
)
def test_value_that_is_no_object_is_refused(value, shown):
    """A JSON value that is no object names what it is, and has nothing partial."""
    with pytest.raises(ResponseDecodeError) as caught:
        CODEC.structure(value, BatchInferenceJob, required=REQUIRED)

    problem = f"expected an object, not {shown}"
    assert str(caught.value) == f"cannot read a BatchInferenceJob: {problem}"
    assert caught.value.problems == (problem,)
    assert caught.value.partial is None


# --- Absent, null, unknown ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cls", [BatchInferenceJob, InferenceParameters, JobProgress, Lifecycle, Placement, Status]
)
def test_absent_and_null_are_the_zero_value(cls):
    """A member that is absent or null is proto3's zero; None never becomes a text."""
    name = {"name": NAME} if cls is BatchInferenceJob else {}
    empty = cls(**name)
    keys = [mask_paths([field.name]).removeprefix("name,") for field in attrs.fields(cls)]
    nulls = {key: None for key in keys if key not in {"name", "extra"}}

    assert empty == CODEC.structure(name, cls)
    assert empty == CODEC.structure({**nulls, **name}, cls)


def test_absent_name_is_empty():
    """Where no member is required, a job without a name has an empty one."""
    assert CODEC.structure({}, BatchInferenceJob).name == ""
    assert CODEC.structure({"name": None}, BatchInferenceJob).name == ""


def test_set_and_unset_parameters_differ():
    """A proto3-optional scalar of 0 was set; an absent one was not."""
    found = read(inferenceParameters={"temperature": 0, "topK": 0, "extraBody": "{}"})

    assert found.inference_parameters == InferenceParameters(
        temperature=0.0, top_k=0, extra_body="{}"
    )
    assert found.inference_parameters.max_tokens is None


def test_empty_message_is_no_null():
    """An empty object is a message of zero values, a null is none."""
    found = read(status={}, lifecycle={}, placement={"regions": None}, jobProgress=None)

    assert found.status == Status()
    assert found.lifecycle == Lifecycle()
    assert found.placement == Placement()
    assert found.job_progress is None


def test_unknown_members_are_kept():
    """Members that this release does not know are in `extra` as they came, at the top level."""
    found = read(newMember={"deep": [None, 1]}, display_name="x", status={"other": 1})

    assert found.extra == {"newMember": {"deep": [None, 1]}, "display_name": "x"}
    assert found.status == Status()
    assert found.display_name == ""


@pytest.mark.parametrize("broken", [{}, {"model": 5}])
@pytest.mark.parametrize("value", [None, 1, {"a": 1}])
def test_unknown_member_may_be_named_extra(value, broken):
    """A member of the answer with the very name of `extra` is an unknown member like others."""
    found, error = attempt({"name": NAME, "extra": value, **broken})

    assert (found or error.partial).extra == {"extra": value}


def test_value_is_left_as_it_is():
    """Reading changes nothing in the JSON value."""
    value = {"name": NAME, "newMember": {"deep": 1}, "status": {"other": 1}, "model": 5}

    attempt(value)

    assert value == {"name": NAME, "newMember": {"deep": 1}, "status": {"other": 1}, "model": 5}


@pytest.mark.parametrize(("levels", "is_kept"), [(100, True), (101, False), (900, False)])
def test_unknown_members_may_be_a_hundred_levels_deep(levels, is_kept):
    """Deeper ones are a problem: what is kept can be copied, pickled and shown."""
    found, error = attempt({"name": NAME, "new": json.loads("[" * levels + "]" * levels)})
    job = found or error.partial

    assert bool(job.extra) is is_kept is (error is None)
    assert (job.id, copy.deepcopy(job), to_dict(job)["extra"]) == ("reviews-01", job, job.extra)
    if error:
        assert [*error.problems] == ["extra: nested deeper than 100 levels"]


def test_without_unknown_members_extra_is_empty():
    """Two jobs do not share the mapping of their unknown members."""
    one, other = read(), read()

    assert one.extra == {} == other.extra
    assert one.extra is not other.extra


# --- Types ----------------------------------------------------------------------------------------

TEXT, INTEGER, NUMBER, OBJECT = "a string", "an integer", "a number", "an object"
BOOL, TIME = "true or false", "a time like '2026-09-14T09:00:01Z'"
DURATION = "a duration like '86400s'"
REFUSED = [
    *[("displayName", value, TEXT) for value in (5, 1.5, True, {}, {"a": 1}, [], ["x"])],
    *[("model", value, TEXT) for value in (0, False)],
    *[("waitingOnCapacity", value, BOOL) for value in ("false", "true", "", 0, 1, {}, [])],
    *[("jobProgress", value, OBJECT) for value in ("x", 5, [], [{}], False)],
    *[("status", value, OBJECT) for value in ("OK", 0, [])],
    *[("createTime", value, TIME) for value in (5, 1789376403, True, {}, [])],
    *[("maxJobDuration", value, DURATION) for value in (86400, 86400.0, True, {}, [])],
    *[("precision", value, "the name of a Precision") for value in (1.5, True, {}, [])],
    *[("placement.regions", value, "a list") for value in ("us", {}, 5, True)],
    ("placement.regions", ["us", 5], "strings, not 5 at [1]"),
    ("placement.regions", [None], "strings, not None at [0]"),
    ("placement.multiRegion", [], "the name of a MultiRegion"),
    ("status.code", {}, "the name of a StatusCode"),
    ("status.message", 5, TEXT),
    ("lifecycle.endTime", "", TIME),
    *[("inferenceParameters.temperature", value, NUMBER) for value in ("0.5", True, {}, "NaN")],
    ("inferenceParameters.extraBody", {"stop": []}, TEXT),
    *[("jobProgress.percent", value, INTEGER) for value in (3.9, True, False, "", "x", {}, [])],
    *[("jobProgress.percent", value, INTEGER) for value in ("3.0", "1e3", " 3", "+3", "٣")],
    ("jobProgress.outputTokens", "9" * 25, INTEGER),
    ("jobProgress.outputTokens", str(2**64), "an integer of 64 bits"),
    ("jobProgress.outputTokens", 1e300, "an integer of 64 bits"),
]


@pytest.mark.parametrize(("path", "value", "wanted"), REFUSED)
def test_wrong_type_is_refused_with_its_path(path, value, wanted):
    """A value of a wrong type is refused under the wire's own name, nothing is guessed."""
    outer, _, inner = path.partition(".")
    error = refusal(**{outer: {inner: value} if inner else value})

    (problem,) = error.problems
    assert problem.startswith(f"{path}: expected {wanted}")
    assert str(error) == f"cannot read a BatchInferenceJob: {problem}"


def test_refused_value_is_shown_on_one_short_line():
    """A huge or deep value does not flood the error that names it."""
    deep = orjson.loads(b"[" * 1000 + b"]" * 1000)
    for value in ("x\n" * 100_000, list(range(100_000)), deep, {"a": deep}):
        (problem,) = refusal(waitingOnCapacity=value).problems

        assert len(problem) < 150
        assert len(problem.splitlines()) == 1


def test_all_problems_are_named_at_once():
    """Every member that cannot be read is named, in the model's order, and the rest is partial."""
    error = refusal(
        displayName=5,
        updateTime="yesterday",
        status={"code": 1.5, "message": "still read"},
        jobProgress={"percent": "x", "outputRows": "7"},
        placement={"regions": "us"},
        systemPrompt="still read",
        newMember=1,
    )

    assert [problem.partition(":")[0] for problem in error.problems] == [
        "displayName",
        "updateTime",
        "status.code",
        "jobProgress.percent",
        "placement.regions",
    ]
    assert error.partial == BatchInferenceJob(
        name=NAME,
        state=JobState.RUNNING,
        status=Status(message="still read"),
        job_progress=JobProgress(output_rows=7),
        placement=Placement(),
        system_prompt="still read",
    )
    assert error.partial.extra == {"newMember": 1}


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [None, "", ..., 1.5, True, {}, []])
def test_without_a_required_member_nothing_is_partial(key, value):
    """A job whose name or state cannot be read is no observation at all."""
    members = {"name": NAME, "state": "JOB_STATE_RUNNING", "displayName": "x", key: value}
    if value is ...:
        del members[key]

    with pytest.raises(ResponseDecodeError) as caught:
        CODEC.structure(members, BatchInferenceJob, required=REQUIRED)

    assert [problem.partition(":")[0] for problem in caught.value.problems] == [key]
    assert caught.value.partial is None


def test_required_member_that_is_missing_is_said_to_be():
    """A missing member and a wrong one are both named, the missing one first."""
    with pytest.raises(ResponseDecodeError) as caught:
        CODEC.structure({"name": NAME, "model": 5}, BatchInferenceJob, required=REQUIRED)

    assert caught.value.problems == (
        "state: missing or empty",
        "model: expected a string, not 5",
    )


def test_name_and_state_are_enough():
    """A job of which only name and state are readable is partial, the rest at defaults."""
    members = dict.fromkeys(fixture("running"), 1.5) | {"name": NAME, "state": "JOB_STATE_PENDING"}

    error = refusal(**members)

    assert error.partial == BatchInferenceJob(name=NAME, state=JobState.PENDING)
    assert len(error.problems) == len(members) - 2


# --- Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("7", 7),
        ("0", 0),
        ("-7", -7),
        ("007", 7),
        (3.0, 3),
        (1e3, 1000),
        (-0.0, 0),
        (2**63 - 1, 2**63 - 1),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (str(2**64 - 1), 2**64 - 1),
    ],
)
def test_integers_come_as_numbers_or_strings(value, number):
    """An int64 may be a JSON number or a string of digits."""
    found = read(jobProgress={"inputTokens": value}).job_progress.input_tokens

    assert number == found
    assert type(found) is int


@pytest.mark.parametrize("value", [0, 1, 2, 0.5, 1e300])
def test_float_may_come_without_a_point(value):
    """A whole number is a float where one is wanted."""
    found = read(inferenceParameters={"topP": value}).inference_parameters.top_p

    assert value == found
    assert type(found) is float


# --- Times ----------------------------------------------------------------------------------------

FRACTIONS = ["", *("123456789"[:digits] for digits in range(1, 10))]


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_timestamp_has_up_to_nine_fractional_digits(fraction):
    """Digits beyond microseconds are cut off, never rounded into the next second."""
    text = f"2026-09-14T09:00:01{'.' if fraction else ''}{fraction}Z"

    expected = at(9, 0, 1, int(f"{fraction:0<6}"[:6]))
    assert expected == read(createTime=text).create_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-09-14T09:00:01Z", at(9, 0, 1)),
        ("2026-09-14t09:00:01z", at(9, 0, 1)),
        ("2026-09-14t09:00:01.999999999z", at(9, 0, 1, 999999)),
        ("2026-09-14T09:00:01+00:00", at(9, 0, 1)),
        ("2026-09-14T09:00:01-00:00", at(9, 0, 1)),
        ("2026-09-14T11:00:01+02:00", at(9, 0, 1)),
        ("2026-09-14T03:15:01.5-05:45", at(9, 0, 1, 500000)),
        ("2026-09-15T08:59:01+23:59", at(9, 0, 1)),
        ("2026-09-14T23:59:59Z", at(23, 59, 59)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999999Z", datetime.max.replace(tzinfo=UTC)),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_timestamp_is_aware_and_in_utc(text, moment):
    """An RFC 3339 time of any zone is the same moment in UTC."""
    found = read(createTime=text).create_time

    assert moment == found
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-09-14",
        "2026-09-14T09:00:01",
        "2026-09-14T09:00:01.5",
        "2026-09-14 09:00:01Z",
        "2026-09-14T09:00Z",
        "20260914T090001Z",
        "2026-W37-1",
        "2026-W37-1T09:00:01Z",
        "2026-257T09:00:01Z",
        "2026-09-14T09:00:01,5Z",
        "2026-09-14T09:00:01.Z",
        "2026-09-14T09:00:01.1234567890Z",
        "2026-09-14T09:00:01+0200",
        "2026-09-14T09:00:01+02",
        "2026-09-14T09:00:01+02:00:00",
        "2026-09-14T09:00:01+05:75",
        "2026-09-14T09:00:01+24:00",
        "2026-09-14T24:00:00Z",
        "2026-09-14T09:60:00Z",
        "2026-09-14T09:00:60Z",
        "2026-9-14T09:00:01Z",
        "2026-13-14T09:00:01Z",
        "2026-02-29T09:00:01Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "12026-09-14T09:00:01Z",
        " 2026-09-14T09:00:01Z",
        "2026-09-14T09:00:01Z\n",
        "٢٠٢٦-09-14T09:00:01Z",
    ],
)
def test_other_spellings_of_a_time_are_refused(text):
    """What is not RFC 3339 with a zone, or no moment of the calendar, is refused with its path."""
    error = refusal(lifecycle={"endTime": text})

    assert [problem.partition(":")[0] for problem in error.problems] == ["lifecycle.endTime"]
    assert error.partial.lifecycle == Lifecycle()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("86400s", 86400.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("0.000000001s", 1e-9),
        ("-1.5s", -1.5),
        ("43200.000000000s", 43200.0),
        ("315576000000s", 315576000000.0),
    ],
)
def test_duration_is_seconds(text, seconds):
    """A protobuf duration is a number of seconds as a float."""
    found = read(maxJobDuration=text).max_job_duration

    assert seconds == found
    assert type(found) is float


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "24h",
        "86400",
        "86400S",
        "86400 s",
        "1e3s",
        ".5s",
        "1.s",
        "+1s",
        "1.1234567890s",
        "infs",
        "nans",
        "1_000s",
        "86400s\n",
        "9999999999999s",
        "٣s",
        "0x10s",
    ],
)
def test_other_spellings_of_a_duration_are_refused(text):
    """What is not digits and an s is refused with its path."""
    error = refusal(maxJobDuration=text)

    (problem,) = error.problems
    assert problem.startswith("maxJobDuration: expected a duration like '86400s', not ")


# --- Enumerations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", JobState)
def test_published_state_is_the_member(state):
    """A published value is read as the very member, with its prefix or without."""
    assert state is read(state=state.wire).state
    assert state is read(state=state.value).state


def test_empty_enumeration_is_its_zero():
    """The gateway's empty string is the zero value."""
    found = read(state="", precision="", status={"code": ""}, placement={"multiRegion": ""})

    assert found.state is JobState.UNSPECIFIED
    assert found.precision is Precision.UNSPECIFIED
    assert found.status.code is StatusCode.OK
    assert found.placement.multi_region is MultiRegion.UNSPECIFIED


@pytest.mark.parametrize(
    ("value", "state"), [("JOB_STATE_NEW", "NEW"), ("new", "new"), (37, "37"), (-1, "-1")]
)
def test_unknown_enumeration_is_kept(value, state):
    """A value that nobody has published, by name or by protojson's number, is no error."""
    found = CODEC.structure(
        {"name": NAME, "state": value}, BatchInferenceJob, required=REQUIRED
    ).state

    assert state == found
    assert str(value) == found.wire
    assert not found.is_known


def test_unknown_enumeration_is_told_once():
    """Each unpublished value is told once for a codec, the published ones never."""
    told: list[OpenEnum] = []
    codec = Codec(told.append)
    for state in (
        "JOB_STATE_NEW",
        "JOB_STATE_NEW",
        "JOB_STATE_NEWER",
        "JOB_STATE_RUNNING",
        "RUNNING",
        7,
        7,
    ):
        for broken in ({}, {"model": 5}):
            attempt({"name": NAME, "state": state, **broken}, codec=codec)

    assert told == [JobState("NEW"), JobState("NEWER"), JobState("7")]
    assert [member.wire for member in told] == ["JOB_STATE_NEW", "JOB_STATE_NEWER", "7"]


def test_each_enumeration_and_codec_tells_for_itself():
    """One value in two enumerations is told of both, and by each codec."""
    told: list[OpenEnum] = []
    for codec in (Codec(told.append), Codec(told.append)):
        codec.structure(
            {"name": NAME, "precision": "NEW", "status": {"code": "NEW"}}, BatchInferenceJob
        )

    assert [type(member) for member in told] == [StatusCode, Precision] * 2


def test_telling_is_bounded():
    """A server that makes up values without end fills neither a log nor the memory."""
    told: list[OpenEnum] = []
    codec = Codec(told.append)
    for number in range(300):
        codec.structure({"name": NAME, "state": f"NEW_{number}"}, BatchInferenceJob)

    assert len(told) == 100


# --- Writing --------------------------------------------------------------------------------------


def test_a_text_that_is_refused_is_not_kept():
    """Texts of any length in the place of a time or a duration cost no memory afterwards."""
    codec = Codec()
    codec.structure({}, BatchInferenceJob)  # makes the readers
    tracemalloc.start()
    for index in range(10):
        text = f"{index}{'x' * 100_000}"
        with pytest.raises(ResponseDecodeError):
            codec.structure({"createTime": text, "maxJobDuration": text}, BatchInferenceJob)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 300_000


def test_written_job_is_what_the_wire_has():
    """A model is written in camelCase, with the wire's enumerations, times and durations."""
    found = CODEC.unstructure(attrs.evolve(EXPECTED["running"], extra={"newMember": 1}))

    assert found == {
        "name": NAME,
        "state": "JOB_STATE_RUNNING",
        "createTime": "2026-09-14T09:01:00.000111Z",
        "updateTime": "2026-09-14T09:08:00.061000Z",
        "expireTime": "2026-09-15T09:00:59.800333Z",
        "createdBy": "dev@acme.example",
        "status": {},
        "model": "accounts/fireworks/models/demo-8b",
        "inputDatasetId": "accounts/acme-labs/datasets/reviews-in-01",
        "outputDatasetId": "accounts/acme-labs/datasets/reviews-out-01",
        "inferenceParameters": {
            "maxTokens": 256,
            "temperature": 0.2,
            "extraBody": '{"stop": ["END"]}',
        },
        "precision": "BF16",
        "jobProgress": {
            "percent": 66,
            "totalInputRequests": 3,
            "totalProcessedRequests": 2,
            "successfullyProcessedRequests": 2,
            "outputRows": 2,
            "inputTokens": 84,
            "outputTokens": 11,
            "cachedInputTokenCount": 40,
        },
        "lifecycle": {
            "validatedTime": "2026-09-14T09:02:00.050000Z",
            "runStartTime": "2026-09-14T09:08:00.061000Z",
        },
        "placement": {"region": "REGION_UNSPECIFIED"},
        "maxJobDuration": "86400s",
    }
    assert found == json.loads(json.dumps(found))


def test_only_what_was_set_is_written():
    """Unset members are left out, since the server refuses what it does not expect."""
    assert CODEC.unstructure(BatchInferenceJob(name=NAME)) == {"name": NAME}
    assert CODEC.unstructure(InferenceParameters(max_tokens=0)) == {"maxTokens": 0}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (86400.0, "86400s"),
        (86400, "86400s"),
        (1.5, "1.5s"),
        (0.0, "0s"),
        (100.0, "100s"),
        (0.1, "0.1s"),
        (0.000001, "0.000001s"),
        (-1.5, "-1.5s"),
        (43200.25, "43200.25s"),
    ],
)
def test_duration_is_written_in_seconds(seconds, text):
    """A duration is written as the fewest digits and an s."""
    job = BatchInferenceJob(name=NAME, max_job_duration=seconds)

    assert CODEC.unstructure(job)["maxJobDuration"] == text


def test_time_of_another_zone_is_written_in_utc():
    """A moment is written in UTC whatever its zone."""
    zone = at(9, 0).astimezone(tz=datetime.strptime("+0530", "%z").tzinfo)

    written = CODEC.unstructure(Lifecycle(end_time=zone))

    assert written == {"endTime": "2026-09-14T09:00:00Z"}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
WHOLE = st.integers(-(2**63), 2**63 - 1)
TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def enums(cls: type[OpenEnum]) -> st.SearchStrategy[OpenEnum]:
    """A published value, or one that might come."""
    unheard = st.text("ABC_", min_size=1).map(cls)
    return st.sampled_from(list(cls)) | unheard


MODELS = st.builds(
    BatchInferenceJob,
    name=TEXTS,
    state=enums(JobState),
    display_name=TEXTS,
    create_time=TIMES,
    update_time=TIMES,
    expire_time=TIMES,
    status=st.none() | st.builds(Status, code=enums(StatusCode), message=TEXTS),
    inference_parameters=st.none()
    | st.builds(
        InferenceParameters,
        max_tokens=st.none() | WHOLE,
        temperature=FLOATS,
        n=st.none() | WHOLE,
        extra_body=st.none() | TEXTS,
    ),
    precision=enums(Precision),
    job_progress=st.none() | st.builds(JobProgress, percent=WHOLE, input_tokens=WHOLE),
    max_job_duration=st.none() | st.integers(-(10**12), 10**12).map(lambda n: n / 10**6),
    lifecycle=st.none() | st.builds(Lifecycle, end_time=TIMES),
    placement=st.none()
    | st.builds(
        Placement,
        multi_region=enums(MultiRegion),
        region=TEXTS,
        regions=st.lists(TEXTS).map(tuple),
    ),
    waiting_on_capacity=st.booleans(),
)


@given(job=MODELS)
def test_written_model_reads_back(job):
    """Any model, written, sent as JSON and read, is equal to itself."""
    body = orjson.dumps(CODEC.unstructure(job))

    assert job == CODEC.decode(body, BatchInferenceJob)


# --- Any JSON -------------------------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["2026-09-14T09:00:01Z", "5s", "RUNNING", "JOB_STATE_NEW", "7", "", "OK"])
)
PATHS = sorted(
    {(key,) for key in fixture("running")}
    | {
        (key, inner)
        for key, value in fixture("running").items()
        if isinstance(value, dict)
        for inner in value
    }
)
# An object is as likely to have members that are known as any others.
KEYS = TEXTS | st.sampled_from(sorted({path[-1] for path in PATHS}))
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(path=st.sampled_from(PATHS), value=ANY_JSON)
@example(path=("expireTime",), value="0001-01-01T00:00:00+05:00")
@example(path=("jobProgress", "percent"), value=1e300)
@example(path=("state",), value={"a": 1})
def test_any_json_anywhere_is_read_or_named(path, value):
    """Any JSON value in any place of a job gives a model, or problems that name that place."""
    members = fixture("running")
    place = members if len(path) == 1 else members[path[0]]
    place[path[-1]] = value

    found, error = attempt(members, required=REQUIRED)

    if error is None:
        assert hash(found) == hash(pickle.loads(pickle.dumps(found)))  # noqa: S301
    else:
        places = [problem.partition(":")[0] for problem in error.problems]
        assert places
        assert all(place.startswith(".".join(path)) for place in places)
        assert (error.partial is None) == (path[0] in REQUIRED)


@given(value=ANY_JSON)
def test_any_json_is_read_or_refused(value):
    """Any JSON value at all gives a model or a ResponseDecodeError."""
    found, error = attempt(orjson.loads(orjson.dumps(value)))

    assert isinstance(found, BatchInferenceJob) if error is None else error.problems


@given(body=st.binary())
def test_any_bytes_are_refused(body):
    """Any body that is no job is refused as a ResponseDecodeError."""
    with pytest.raises(ResponseDecodeError):
        CODEC.decode(body, BatchInferenceJob, required=REQUIRED)


@given(path=st.sampled_from([path for path in PATHS if path[0] != "displayName"]), value=ANY_JSON)
@example(path=("jobProgress", "percent"), value=2**64 - 1)
def test_another_bad_member_changes_nothing_of_the_rest(path, value):
    """Beside a member that cannot be read, all others are read as they are without that member."""
    members = fixture("running")
    place = members if len(path) == 1 else members[path[0]]
    place[path[-1]] = value
    found, error = attempt(members | {"displayName": ""})
    expected = found or error.partial

    _, beside = attempt(members | {"displayName": 5})

    problems = () if error is None else error.problems
    assert sorted(beside.problems) == sorted(["displayName: expected a string, not 5", *problems])
    assert expected == beside.partial
    assert expected.extra == beside.partial.extra
    assert repr(attrs.astuple(expected)) == repr(attrs.astuple(beside.partial))


# --- Read masks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "mask"),
    [
        ([], ""),
        ((), ""),
        (["*"], ""),
        (["state", "*"], ""),
        (["name"], "name"),
        (["state"], "name,state"),
        (["display_name", "state"], "name,displayName,state"),
        (["displayName"], "name,displayName"),
        (["job_progress.total_input_requests"], "name,jobProgress.totalInputRequests"),
        (["inference_parameters.top_p"], "name,inferenceParameters.topP"),
        (["state", "state", "name"], "name,state"),
        (iter(["state"]), "name,state"),
    ],
)
def test_mask_is_in_camel_case_with_the_name(fields, mask):
    """A read mask is sent in the wire's names, always with `name`; none and * mean everything."""
    assert mask == mask_paths(fields)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("", "''"),
        ("a,b", "'a,b'"),
        ("a.", "'a.'"),
        (".a", "'.a'"),
        ("a b", "'a b'"),
        ("a&b", "'a&b'"),
        ("1a", "'1a'"),
        ("state\n", r"'state\n'"),
        ("naïve", "'naïve'"),
        (None, "None"),
        (5, "5"),
        (b"state", "b'state'"),
    ],
)
def test_mask_that_is_no_path_is_refused(path, shown):
    """What is no path is refused before it is sent, and the error shows one."""
    with pytest.raises(ConfigurationError) as caught:
        mask_paths(["state", path])

    assert str(caught.value) == (
        f"read_mask has {shown}; a path looks like 'state' or 'job_progress.percent'"
    )


def test_mask_that_is_one_string_is_refused():
    """A string alone is not taken for a list of letters."""
    with pytest.raises(
        ConfigurationError, match=r"read_mask must be a list of paths, as in \['state'\]"
    ):
        mask_paths("state")


def test_every_field_has_a_mask():
    """Each field of a job but `extra` can be asked for, under the name that the server uses."""
    fields = [field.name for field in attrs.fields(BatchInferenceJob) if field.name != "extra"]

    assert {*fixture("running")} == {*mask_paths(fields).split(",")}


@given(moment=st.datetimes(timezones=st.just(UTC)), digits=st.integers(0, 10**9 - 1))
def test_any_timestamp_reads_as_its_moment(moment, digits):
    """Every moment of the calendar is read, with nine fractional digits."""
    whole = moment.replace(microsecond=0)

    found = read(createTime=f"{whole:%Y-%m-%dT%H:%M:%S}.{digits:09}Z".rjust(30, "0")).create_time

    assert found - whole == timedelta(microseconds=digits // 1000)


# --- The user's own types ---------------------------------------------------------------------


@attrs.frozen
class Usage:
    total_tokens: int
    cached: bool = False
    note: str | None = None


@attrs.frozen
class Answer:
    usage: Usage
    choices: list[dict[str, Any]] = attrs.field(factory=list)


class Typed(TypedDict):
    id: str


@pytest.mark.parametrize(
    ("wanted", "response", "value"),
    [
        (Answer, {"usage": {"total_tokens": 5}, "other": 1}, Answer(Usage(5))),
        (Answer, {"usage": {"total_tokens": 5, "note": None}}, Answer(Usage(5))),
        (Typed, {"id": "a", "other": 1}, {"id": "a", "other": 1}),
        (dict[str, Any], {"id": 5}, {"id": 5}),
    ],
)
def test_responses_become_the_users_types(wanted, response, value):
    """By the names that the server uses; what a class does not have is passed over."""
    assert response_reader(wanted)(response) == value


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ({"usage": {"total_tokens": "x"}}, "not 'x' @ response.usage.total_tokens"),
        ({"usage": {}}, "required field missing @ response.usage.total_tokens"),
        ({}, "required field missing @ response.usage"),
        ({"usage": {"total_tokens": 1, "cached": "false"}}, "not 'false' @ response.usage.cached"),
        ({"usage": {"total_tokens": 1, "note": 5}}, "not 5 @ response.usage.note"),
        ({"usage": {"total_tokens": 1}, "choices": 7}, "not iterable @ response.choices"),
        (None, " @ response"),
        ("text", " @ response.usage"),
    ],
)
def test_what_does_not_fit_the_users_type_is_named(response, problem):
    """Each problem with its path; nothing is converted to fit."""
    with pytest.raises(ResponseDecodeError, match=r"^cannot read a Answer: ") as info:
        response_reader(Answer)(response)

    assert info.value.problems[0].endswith(problem)
    assert info.value.__cause__ is None


def test_a_type_that_cattrs_cannot_make_is_refused_at_once():
    """The way out is a function."""

    class Strange:
        def __init__(self, thing):
            self.thing = thing

    with pytest.raises(ConfigurationError, match=r"cattrs cannot make a Strange; give a func"):
        response_reader(Strange)
