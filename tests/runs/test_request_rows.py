"""What a line of input must be: each rule by its good and its bad line."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models.errors import RowProblem
from fireworks_batch.runs.request_rows import Row, RowRules, check_row, plain_ids

MESSAGES = [{"role": "user", "content": "hi"}]
MODEL = "accounts/fireworks/models/demo-8b"
RULES = RowRules(model=MODEL)


def line(custom_id="a", body=None, **members) -> bytes:
    """A row as it stands in a file; good if nothing else is said."""
    row = {"custom_id": custom_id, "body": {"messages": MESSAGES} if body is None else body}
    return orjson.dumps({**row, **members})


def body(**members) -> dict:
    """A good body with something in it."""
    return {"messages": MESSAGES, **members}


GOOD = {
    "messages": line(),
    "all roles": line(
        body={"messages": [{"role": r} for r in ("system", "user", "assistant", "tool")]}
    ),
    "parameters": line(body=body(max_tokens=5, temperature=0.5, tools=[])),
    "tokens": line(body={"prompt_token_ids": [1, 2, 3]}),
    "a member nobody knows": line(metadata={"x": 1}),
    "windows line end": line() + b"\r",
    "odd spacing": b' { "custom_id" : "a",\t"body": {"messages": [ {"role": "user"} ] } } ',
}

BAD = {
    "no JSON": (b"{}}", "not JSON: unexpected content after document, at column 3"),
    "an object of several lines": (
        b"{",
        "not JSON: unexpected end of data, at column 2; a request is one line",
    ),
    "NaN": (b'{"custom_id":"a","body":{"messages":[{"role":"user"}],"x":NaN}}', "not JSON"),
    "not UTF-8": (
        b'{"custom_id":"\xc3\xa9\xff"}',
        "not UTF-8: byte 0xff at column 17, counted in bytes",
    ),
    "a list": (b"[1]", "a JSON array, not a JSON object: requests are JSON lines"),
    "null": (b"null", "expected a JSON object, not None"),
    "no id": (b'{"body":{}}', "there is no custom_id"),
    "a number for an id": (line(7), "custom_id must be a string that is not empty, not 7"),
    "an empty id": (line(""), "custom_id must be a string that is not empty, not ''"),
    "no body": (b'{"custom_id":"a"}', "there is no body"),
    "neither": (b'{"prompt":"a"}', "there is no custom_id and no body"),
    "null for an id": (line(None), "custom_id must be a string that is not empty, not None"),
    "a list for a body": (line(body=[]), "body must be an object, not []"),
    "an empty body": (line(body={}), "body has neither messages nor prompt_token_ids"),
    "no messages": (line(body={"messages": []}), "messages must be a list that is not empty"),
    "messages are text": (line(body={"messages": "hi"}), "messages must be a list"),
    "messages are an object": (line(body={"messages": {"role": "user"}}), "must be a list"),
    "a message is text": (line(body={"messages": ["hi"]}), "message 0 must be an object, not 'hi'"),
    "no role": (line(body={"messages": [*MESSAGES, {}]}), "message 1 has role None"),
    "a role nobody knows": (
        line(body={"messages": [{"role": "pirate"}]}),
        "message 0 has role 'pirate'; the server takes system, user, assistant and tool",
    ),
    "a role that is no text": (line(body={"messages": [{"role": []}]}), "message 0 has role []"),
    "both": (line(body=body(prompt_token_ids=[1])), "both messages and prompt_token_ids"),
    "no tokens": (line(body={"prompt_token_ids": []}), "must be a list of whole numbers, not []"),
    "tokens are text": (line(body={"prompt_token_ids": ["a"]}), "must be a list of whole numbers"),
    "tokens are bools": (line(body={"prompt_token_ids": [True]}), "must be a list of whole"),
    "extra_body": (line(body=body(extra_body={})), "body has extra_body, which the server refuses"),
    "stream": (line(body=body(stream=True)), "body has stream, which a batch cannot"),
    "another model": (
        line(body=body(model="gpt-4o")),
        f"body has model 'gpt-4o', but the job's is '{MODEL}'",
    ),
    "a model that is no text": (line(body=body(model=3)), "body has model 3"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_row_is_passed_on_byte_for_byte(name):
    """A row that needs no change is the very bytes that it came as."""
    row = Row("a", GOOD[name], lacks_cache_key=name == "tokens")
    assert row == check_row(GOOD[name], 1, RULES)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"custom_id": "a"}'.encode("utf-16"), "; the file looks like UTF-16"),
        (b"\x1f\x8b\x08\x00", "; the file looks like gzip, whose name has to end in .jsonl.gz"),
    ],
)
def test_a_file_of_another_kind_is_named_at_its_first_line(text, kind):
    """And at no other line, where the bytes mean nothing."""
    problem, later = check_row(text, 1, RULES), check_row(text, 2, RULES)

    assert isinstance(problem, RowProblem)
    assert isinstance(later, RowProblem)
    assert problem.reason == later.reason + kind


@pytest.mark.parametrize("name", BAD)
def test_bad_row_says_where_it_is_and_what_is_wrong(name):
    """Each kind of bad row has its line, its reason, and its id if that can be read."""
    text, reason = BAD[name]
    problem = check_row(text, 17, RULES)

    assert isinstance(problem, RowProblem)
    assert 17 == problem.line
    assert reason in problem.reason
    assert problem.custom_id in {"a", "", None}
    assert str(problem).startswith("line 17")


@pytest.mark.parametrize("text", [b"[", b" [ {", b'[{"custom_id": "a"},', b"[]", b'[{"a": 1}]'])
def test_a_file_that_is_a_json_array_is_named_as_such(text):
    """Its first line says so, whether the array is on one line or on many."""
    problem = check_row(text, 1, RULES)

    assert str(problem) == (
        "line 1: a JSON array, not a JSON object: requests are JSON lines, one object on each line"
    )


@pytest.mark.parametrize("name", BAD)
def test_fast_path_never_lets_a_bad_row_through(name):
    """Whatever the slow path refuses, the fast path leaves to it."""
    assert [None] == plain_ids([BAD[name][0]])


def test_fast_path_takes_plain_rows_in_their_order():
    """Rows of two members with messages are done with; the rest comes as None, in its place."""
    lines = [line("a"), b"", line("b", body=body(n=2)), line("c", url="/"), line("d")]

    assert ["a", None, "b", None, "d"] == plain_ids(lines)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["custom_id", "body", "messages", "role", "stream", "model", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
likely_rows = st.fixed_dictionaries(
    {"custom_id": json_values, "body": st.fixed_dictionaries({"messages": json_values})},
    optional={"x": json_values},
)


@given(json_values | likely_rows)
def test_both_paths_agree(value):
    """What the fast path takes, the slow path takes too, under the same id and unchanged."""
    text = json.dumps(value).encode()
    (custom_id,) = plain_ids([text])

    if custom_id is not None:
        assert Row(custom_id, text) == check_row(text, 1, RowRules())


@pytest.mark.parametrize("text", [b"", b"  ", b"\t\r", b"\n"])
def test_blank_line_is_no_row(text):
    """A line of white space is left out: it is neither good nor bad."""
    assert check_row(text, 1, RULES) is None


@pytest.mark.parametrize("model", [MODEL, "demo-8b"])
def test_openai_lines_lose_what_the_job_says(model):
    """Method, URL, the job's own model and a false stream are taken out; the rest stays."""
    text = (
        b'{"custom_id":"a","method":"POST","url":"/v1","body":{"model":"%s","stream":false,'
        b'"messages":[{"role":"user","content":"hi"}],"seed":1180591620717411303424,"top_p":0.1}}'
    )
    row = check_row(text % model.encode(), 1, RULES)

    assert isinstance(row, Row)
    expected = {"messages": MESSAGES, "seed": 2**70, "top_p": 0.1}
    assert {"custom_id": "a", "body": expected} == json.loads(row.line)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (b"9007199254740993", 2**53 + 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551615", 2**64 - 1),
        (b"[18446744073709551616]", [2**64]),
        (b'{"a":[-9223372036854775809]}', {"a": [-(2**63) - 1]}),
        (b"1e300", 1e300),
        (b"0.1234567890123456789", 0.1234567890123456789),
    ],
)
def test_numbers_stay_as_they_are(number, expected):
    """Also in a row of which something is taken out, however large and deep they are."""
    text = (
        b'{"custom_id":"a","method":"POST","body":'
        b'{"messages":[{"role":"user","content":"hi"}],"n":%s}}'
    )
    row = check_row(text % number, 1, RULES)

    assert isinstance(row, Row)
    assert repr(expected) == repr(json.loads(row.line)["body"]["n"])


def test_without_a_model_any_will_do():
    """A check that does not know the job's model takes what a row says."""
    row = check_row(line(body=body(model="gpt-4o")), 1, RowRules())

    assert isinstance(row, Row)
    assert {"messages": MESSAGES} == json.loads(row.line)["body"]


def test_token_rows_cannot_take_a_system_prompt():
    """Rows of token ids are refused in a job with a system prompt."""
    rules = RowRules(has_system_prompt=True)
    problem = check_row(GOOD["tokens"], 1, rules)

    assert isinstance(problem, RowProblem)
    assert "cannot take the job's system_prompt" in problem.reason
    assert isinstance(check_row(GOOD["messages"], 1, rules), Row)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"prompt_token_ids": [1]}, True),
        ({"prompt_token_ids": [1], "user": "", "prompt_cache_key": None}, True),
        ({"prompt_token_ids": [1], "user": "ann"}, False),
        ({"prompt_token_ids": [1], "prompt_cache_key": "k"}, False),
        ({"messages": MESSAGES}, False),
    ],
)
def test_token_rows_want_a_key_of_the_cache(members, expected):
    """Without user and prompt_cache_key they are good rows, and remarked upon."""
    row = check_row(line(body=members), 1, RULES)

    assert isinstance(row, Row)
    assert expected is row.lacks_cache_key


def test_problem_names_line_and_id():
    """A problem is one line of text that a person can act on."""
    assert "line 3 (custom_id 'x'): no" == str(RowProblem(3, "x", "no"))
    assert "line 3: no" == str(RowProblem(3, None, "no"))
