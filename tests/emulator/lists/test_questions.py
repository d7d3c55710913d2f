"""Masks, filters, orders, page tokens and message bodies, without a server."""

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.http.messages import read_message, single_precision, snake_case
from fireworks_batch.emulator.http.refusals import RefusalError
from fireworks_batch.emulator.jobs.creation import (
    DEFAULT_TIME_LIMIT,
    read_create,
    read_time_limit,
)
from fireworks_batch.emulator.jobs.schema import JOB
from fireworks_batch.emulator.lists.filters import Term, read_filter
from fireworks_batch.emulator.lists.masks import apply_mask, read_mask
from fireworks_batch.emulator.lists.ordering import OrderTerm, put_in_order, read_order
from fireworks_batch.emulator.lists.paging import (
    PageTokens,
    field_path,
    read_page_size,
)
from fireworks_batch.emulator.members import is_resource_id

RULES = Assumptions()
HOUR = 3600 * 1_000_000


def refusal(call, *args) -> str:
    """Return the text of the refusal that a call ends in."""
    with pytest.raises(RefusalError) as caught:
        call(*args)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_ARGUMENT")
    return caught.value.message


# Masks


@pytest.mark.parametrize("text", ["", "*", "  "])
def test_an_empty_mask_shows_everything(text):
    """Empty and `*` are documented to mean all fields."""
    assert read_mask(text, JOB) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name", {"name": None}),
        ("display_name,createTime", {"displayName": None, "createTime": None}),
        ("jobProgress.percent", {"jobProgress": {"percent": None}}),
        (
            "job_progress.percent, job_progress.total_input_requests",
            {"jobProgress": {"percent": None, "totalInputRequests": None}},
        ),
        ("jobProgress,jobProgress.percent", {"jobProgress": None}),
        ("jobProgress.percent,jobProgress", {"jobProgress": None}),
    ],
)
def test_a_mask_takes_both_spellings_and_nested_paths(text, expected):
    """Paths are camelCase or snake_case; a whole member includes its parts."""
    assert read_mask(text, JOB) == expected


@pytest.mark.parametrize(
    "path", ["nome", "jobProgress.nope", "name.first", "name,", "jobProgress."]
)
def test_a_mask_path_that_is_no_field_is_refused(path):
    """Unknown paths, also below scalars, and empty ones are refused."""
    assert refusal(read_mask, path, JOB).startswith("invalid read mask path: ")


def test_outside_its_mask_an_answer_shows_empty_members():
    """Unpopulated members are emitted, within messages as well."""
    job = {"name": "n", "state": "JOB_STATE_RUNNING", "jobProgress": {"percent": 5, "epoch": 7}}
    mask = read_mask("state,jobProgress.percent", JOB)
    shown = apply_mask(mask, job, JOB, emit_unpopulated=True)
    assert shown["state"] == "JOB_STATE_RUNNING"
    assert (shown["name"], shown["createTime"], shown["waitingOnCapacity"]) == ("", None, False)
    assert (shown["jobProgress"]["percent"], shown["jobProgress"]["epoch"]) == (5, 0)
    assert len(shown["jobProgress"]) == 10
    assert set(shown) == set(JOB.fields)


def test_outside_its_mask_an_answer_may_show_nothing():
    """Without unpopulated members just the mask's are left."""
    job = {"name": "n", "state": "JOB_STATE_RUNNING", "jobProgress": {"percent": 5, "epoch": 7}}
    mask = read_mask("state,jobProgress.percent,model", JOB)
    assert apply_mask(mask, job, JOB, emit_unpopulated=False) == {
        "state": "JOB_STATE_RUNNING",
        "jobProgress": {"percent": 5},
    }


def test_a_mask_into_a_null_message_shows_null():
    """A nested path into a message that is not there does not make one."""
    mask = read_mask("jobProgress.percent", JOB)
    assert apply_mask(mask, {"jobProgress": None}, JOB, emit_unpopulated=False) == {
        "jobProgress": None
    }


# Filters


def job_path(name: str) -> tuple[str, ...]:
    """Read one path of a job's mask."""
    return field_path(name, JOB, RULES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('state="JOB_STATE_RUNNING"', [Term(("state",), "JOB_STATE_RUNNING")]),
        ("state=JOB_STATE_RUNNING", [Term(("state",), "JOB_STATE_RUNNING")]),
        (
            ' display_name = "a AND b"  AND model=accounts/fireworks/models/m ',
            [Term(("displayName",), "a AND b"), Term(("model",), "accounts/fireworks/models/m")],
        ),
        (r'displayName="say \"hi\""', [Term(("displayName",), 'say "hi"')]),
        ("status.code=OK", [Term(("status", "code"), "OK")]),
        ("waiting_on_capacity=true", [Term(("waitingOnCapacity",), "true")]),
    ],
)
def test_a_filter_is_equalities_joined_by_and(text, expected):
    """Quoted or bare values, either spelling of a field."""
    assert read_filter(text, job_path) == tuple(expected)


@pytest.mark.parametrize(
    "text",
    [
        "state",
        "state=",
        'state="open',
        "state!=RUNNING",
        "state=A OR state=B",
        "NOT state=A",
        "state=A AND",
        "AND state=A",
        "state=A state=B",
        "(state=A)",
        "state=A ANDmodel=b",
        "   ",
    ],
)
def test_anything_else_is_no_filter(text):
    """The rest of the grammar is refused rather than misread."""
    assert refusal(read_filter, text, job_path) == f"invalid filter: {text!r}"


def test_a_filter_on_an_unknown_field_is_refused():
    """A misspelt field does not match nothing silently."""
    assert refusal(read_filter, "stat=A", job_path) == "invalid field: 'stat'"


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"waitingOnCapacity": True}, True),
        ({"waitingOnCapacity": False}, False),
        ({"waitingOnCapacity": None}, False),
        ({}, False),
    ],
)
def test_a_truth_value_is_compared_as_it_is_written(resource, expected):
    """Booleans are `true` and `false`."""
    assert Term(("waitingOnCapacity",), "true").is_met_by(resource) is expected


# Orders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("name", [OrderTerm(("name",))]),
        ("created_time desc", [OrderTerm(("createTime",), True)]),
        ("createdTime", [OrderTerm(("createTime",))]),
        ("create_time", [OrderTerm(("createTime",))]),
        (
            "display_name desc ,jobProgress.percent",
            [OrderTerm(("displayName",), True), OrderTerm(("jobProgress", "percent"))],
        ),
    ],
)
def test_an_order_is_fields_with_an_optional_desc(text, expected):
    """Several fields, dotted ones too, in both spellings."""
    assert read_order(text, job_path) == tuple(expected)


@pytest.mark.parametrize("text", ["name asc", "name desc desc", "name,", ",name", "name DESC"])
def test_anything_else_is_no_order(text):
    """Only ` desc` may follow a field."""
    assert refusal(read_order, text, job_path).startswith("invalid order_by: ")


@pytest.mark.parametrize(
    ("position", "refused"),
    [("created_time", "create_time"), ("create_time", "created_time")],
)
def test_the_name_of_the_creation_time_is_a_choice(position, refused):
    """With one name assumed, the other is refused."""
    rules = Assumptions(order_field_names=position)
    assert field_path(position, JOB, rules) == ("createTime",)
    assert refusal(field_path, refused, JOB, rules) == (f"invalid field: {refused!r}")


def test_items_are_put_in_order_by_all_terms_and_stay_put_when_equal():
    """Later terms decide among equals, and at last the old order."""
    items = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 1, "b": "y", "c": 1}, {"a": 1, "b": "y"}]
    order = (OrderTerm(("a",), True), OrderTerm(("b",)))
    assert put_in_order(items, order) == [
        items[1],
        items[0],
        items[2],
        items[3],
    ]


def test_null_comes_before_everything():
    """An unset time sorts first."""
    items = [{"t": "2026"}, {"t": None}, {}]
    ordered = put_in_order(items, (OrderTerm(("t",)),))
    assert ordered == [{"t": None}, {}, {"t": "2026"}]


# Pages


@pytest.mark.parametrize(
    ("text", "expected"), [("", 50), ("0", 50), ("1", 1), ("200", 200), ("201", 200), ("9999", 200)]
)
def test_a_page_size_is_50_by_default_and_at_most_200(text, expected):
    """Both documented; larger values are coerced."""
    assert read_page_size(text) == expected


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "1e2"])
def test_a_page_size_that_is_none_is_refused(text):
    """Negative sizes and texts are not sizes."""
    assert "page_size" in refusal(read_page_size, text)


questions = st.lists(st.text(max_size=9), min_size=3, max_size=3)


@given(cursor=st.integers(1, 2**40), asked=questions, other=questions, now=st.integers(0, 2**50))
def test_a_page_token_holds_for_its_own_question_only(cursor, asked, other, now):
    """A token gives its cursor back, and nothing to any other question."""
    assume(asked != other)
    tokens = PageTokens(b"secret")
    token = tokens.write(cursor, asked, now)
    assert tokens.read(token, asked, now) == cursor
    message = refusal(tokens.read, token, other, now)
    assert message == "invalid page token: it belongs to other list parameters"


@pytest.mark.parametrize("token", ["1", "abc", "!!", "CAEQAhoE", "é", "=" * 9])
def test_a_page_token_of_somebody_else_is_refused(token):
    """Invented tokens do not pass."""
    assert refusal(PageTokens(b"secret").read, token, [], 0).startswith("invalid page token")


def test_a_page_token_may_expire():
    """An expiring token holds for an hour."""
    tokens = PageTokens(b"secret", expire=True)
    token = tokens.write(7, [], 0)
    assert tokens.read(token, [], HOUR) == 7
    assert refusal(tokens.read, token, [], HOUR + 1) == "invalid page token: it has expired"


# Bodies


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {}),
        (b" {} ", {}),
        (b'{"displayName": "x"}', {"displayName": "x"}),
        (b'{"display_name": "x"}', {"displayName": "x"}),
        (b'{"model": null}', {}),
        (b'{"state": "JOB_STATE_RUNNING", "name": "mine", "expireTime": "x"}', {}),
        (
            b'{"inferenceParameters": {"max_tokens": "5", "n": 2.0, "temperature": "0.25"}}',
            {"inferenceParameters": {"maxTokens": 5, "n": 2, "temperature": 0.25}},
        ),
    ],
)
def test_a_body_is_read_as_protobuf_reads_json(body, expected):
    """Two spellings, numbers as strings, null is unset, output-only members are ignored."""
    assert read_message(JOB, body) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"exampleCount": 3}', 'proto: (line 1:2): unknown field "exampleCount"'),
        (
            b'{"inferenceParameters":\n {"max_token": 3}}',
            'proto: (line 2:3): unknown field "max_token"',
        ),
        (
            b'{"display_name": "a", "displayName": "b"}',
            'proto: (line 1:23): duplicate field "displayName"',
        ),
        (b'{"model": 3}', "proto: (line 1:2): invalid value for string field model: 3"),
        (
            b'{"inferenceParameters": {"n": 1.5}}',
            "proto: (line 1:26): invalid value for int32 field inferenceParameters.n: 1.5",
        ),
        (
            b'{"inferenceParameters": {"n": 2147483648}}',
            "proto: (line 1:26): invalid value for int32 field inferenceParameters.n: 2147483648",
        ),
        (
            b'{"inferenceParameters": {"topP": true}}',
            "proto: (line 1:26): invalid value for float field inferenceParameters.topP: true",
        ),
        (
            b'{"inferenceParameters": {"topP": 1e39}}',
            "proto: (line 1:26): invalid value for float field inferenceParameters.topP: 1e39",
        ),
        (
            b'{"precision": "FP7"}',
            'proto: (line 1:2): invalid value for enum field precision: "FP7"',
        ),
        (
            b'{"placement": {"regions": "US"}}',
            'proto: (line 1:16): invalid value for strings field placement.regions: "US"',
        ),
        (
            b'{"inferenceParameters": 3}',
            "proto: syntax error (line 1:1): unexpected token 3",
        ),
        (b"[]", "proto: syntax error (line 1:1): unexpected token []"),
        (b"{", "proto: syntax error (line 1:2)"),
    ],
)
def test_a_body_that_protobuf_would_refuse_is_refused(body, message):
    """The error says where, and which member or value."""
    # Releases of orjson differ in how they spell an exponent.
    assert refusal(read_message, JOB, body).replace("e+", "e") == message


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_kept_in_single_precision(value):
    """Every 32-bit float survives, as the shortest text that gives it back."""
    assert struct.pack("f", single_precision(value)) == struct.pack("f", value + 0.0) or value == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.2, 0.2),
        (1.0, 1),
        (0.123456789, 0.12345679),
        (1e-8, 1e-8),
        (1e39, None),
        (16777217, 16777216),
    ],
)
def test_a_double_is_rounded_to_single_precision(value, expected):
    """The service answers with what a 32-bit float keeps."""
    assert single_precision(value) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("topP", "top_p"), ("n", "n"), ("inputDatasetId", "input_dataset_id")]
)
def test_proto_names_are_snake_case(name, expected):
    """JSON names and proto names go together."""
    assert snake_case(name) == expected


# Creation


@pytest.mark.parametrize("text", ["a", "nightly-1", "a" * 63, "a0"])
def test_good_ids(text):
    """1 to 63 of a-z, 0-9 and -, a letter first, no hyphen last."""
    assert is_resource_id(text)


@pytest.mark.parametrize("text", ["", "1a", "-a", "a-", "A", "a_b", "a" * 64, "a.b", "ä", "a\n"])
def test_bad_ids(text):
    """What the documented rule excludes."""
    assert not is_resource_id(text)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "error validating batch inference job: model is required"),
        (
            b'{"model": "accounts/a/models/m", "inputDatasetId": ""}',
            "error validating batch inference job: inputDatasetId is required",
        ),
        (b'{"model": "m"}', "invalid model 'm': a resource name is needed"),
        (
            b'{"model": "accounts/a/deployedModels/m"}',
            "invalid model 'accounts/a/deployedModels/m': a resource name is needed",
        ),
        (
            b'{"continuedFromJobName": "old"}',
            "invalid continuedFromJobName 'old': a resource name is needed",
        ),
        (
            (
                b'{"continuedFromJobName": "accounts/a/batchInferenceJobs/j",'
                b' "inferenceParameters": {"extraBody": "["}}'
            ),
            "invalid extra_body: it must be the JSON text of an object",
        ),
    ],
)
def test_a_job_that_the_service_would_not_take(body, message):
    """Missing members, bare names, and a broken extra body."""
    assert refusal(read_create, body, "acme", RULES) == message


def test_bare_ids_may_be_accepted():
    """With the assumption, a bare id becomes a name in the caller's account."""
    rules = Assumptions(bare_ids="accept")
    members = read_create(b'{"model": "m", "inputDatasetId": "d"}', "acme", rules)
    assert members == {
        "model": "accounts/acme/models/m",
        "inputDatasetId": "accounts/acme/datasets/d",
    }


def test_a_broken_extra_body_may_be_accepted():
    """With the assumption, extraBody is any text."""
    rules = Assumptions(invalid_extra_body="accept")
    body = (
        b'{"continuedFromJobName": "accounts/a/batchInferenceJobs/j",'
        b' "inferenceParameters": {"extraBody": "["}}'
    )
    assert read_create(body, "acme", rules)["inferenceParameters"] == {"extraBody": "["}


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        (None, 24),
        ("86400s", 24),
        ("43200s", 12),
        ("1s", 12),
        ("-1s", 12),
        ("259200s", 72),
        ("999999999s", 72),
        ("50000.5s", 50000.5 / 3600),
        ("50000.500000000s", 50000.5 / 3600),
    ],
)
def test_the_time_limit_is_bounded(text, hours):
    """12 to 72 hours, 24 by default."""
    members = {} if text is None else {"maxJobDuration": text}
    assert read_time_limit(members, RULES) == hours * HOUR
    assert text is not None or hours * HOUR == DEFAULT_TIME_LIMIT


@pytest.mark.parametrize("text", ["24h", "86400", "1.0000000001s", "s", ""])
def test_a_time_limit_that_is_no_proto_duration_is_refused(text):
    """Only seconds with an `s`."""
    message = refusal(read_time_limit, {"maxJobDuration": text}, RULES)
    assert message == f"proto: invalid google.protobuf.Duration value {text!r}"


@pytest.mark.parametrize(
    ("text", "hours"), [("24h", 24), ("13h30m", 13.5), ("86400s", 24), ("2880m", 48)]
)
def test_a_time_limit_may_be_spelt_in_units(text, hours):
    """With the assumption, as one source shows it."""
    rules = Assumptions(duration_spelling="units")
    assert read_time_limit({"maxJobDuration": text}, rules) == hours * HOUR


def test_a_time_limit_out_of_range_may_be_refused():
    """With the assumption, the bounds are a rule."""
    rules = Assumptions(max_duration_out_of_range="reject")
    message = refusal(read_time_limit, {"maxJobDuration": "1s"}, rules)
    assert message == "max_job_duration must be between 12h and 72h, not 1s"
