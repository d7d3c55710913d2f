"""One line of a result file, read whatever it holds."""

import copy
import io
import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.results.rows import ResultRow, RowError, decode_row, read_row, read_rows

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "positive"}}],
}
GOOD = {"custom_id": "r-1", "response": COMPLETION}


def line(value) -> bytes:
    """A line of a file."""
    return json.dumps(value).encode() + b"\n"


def only(raw: bytes) -> ResultRow:
    """A row as it is read alone and among others, which is the same."""
    row = read_row(raw)
    (among,) = read_rows([raw])
    assert row == among
    assert str(row.response) == str(among.response)
    return row


def error_of(value) -> RowError:
    """The error of a row."""
    row = only(line({"custom_id": "r-1", "error": value}))
    assert not row.ok
    return row.error


def test_a_row_that_succeeded():
    """Id, response and text, no error, and the line without its end."""
    row = only(line(GOOD))

    assert ("r-1", COMPLETION, None) == (row.custom_id, row.response, row.error)
    assert (True, "positive", False) == (row.ok, row.text, row.is_retryable)
    assert json.dumps(GOOD).encode() == row.raw


@pytest.mark.parametrize("error", [None, {}, "", False, 0])
def test_an_empty_error_beside_a_response_is_none(error):
    """`"error": null` is no failure."""
    row = only(line({**GOOD, "error": error}))

    assert row.ok
    assert row.response == COMPLETION


def test_an_error_beside_a_response_keeps_both():
    """What was paid for is kept; the row failed all the same."""
    row = only(line({**GOOD, "error": {"code": 500, "message": "cut short"}}))

    assert not row.ok
    assert row.response == COMPLETION
    assert row.error == RowError("500", "cut short")


def test_a_wrapped_response_is_unwrapped():
    """`response.body` is the completion."""
    wrapped = {"status_code": 200, "request_id": "q", "body": COMPLETION}

    row = only(line({"custom_id": "r-1", "response": wrapped, "error": None}))

    assert row.ok
    assert row.response == COMPLETION


def test_a_completion_may_have_a_member_called_body():
    """A response with choices is not wrapped, whatever else it has."""
    row = only(line({"custom_id": "r-1", "response": {**COMPLETION, "body": "x"}}))

    assert row.text == "positive"


@pytest.mark.parametrize("status", [400, 429, 503, "429", 500.0])
def test_a_wrapped_status_that_says_no_is_an_error(status):
    """From 400 on; the code is the status, the text is the body's."""
    body = {"error": {"message": "too fast", "code": "rate_limit"}}
    wrapped = {"status_code": status, "body": body}

    row = only(line({"custom_id": "r-1", "response": wrapped}))

    assert row.response is None
    assert row.error == RowError(str(int(status)), "too fast")
    assert row.error.raw["body"] == body


@pytest.mark.parametrize("status", [200, 399, None, "ok", True])
def test_a_wrapped_status_that_does_not_say_no_is_none(status):
    """Below 400, and what is no status at all."""
    wrapped = {"status_code": status, "body": COMPLETION}

    assert only(line({"custom_id": "r-1", "response": wrapped})).ok


def test_a_wrapped_refusal_without_a_body_names_its_status():
    """There is nothing else to say."""
    wrapped = {"status_code": 503, "body": None}

    assert read_row(line({"custom_id": "r", "response": wrapped})).error.message == "status 503"


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ({"code": 400, "message": "no"}, "400", "no"),
        ({"code": "UNAVAILABLE", "message": "no"}, "UNAVAILABLE", "no"),
        ({"code": 429.0, "message": "no"}, "429", "no"),
        ({"message": "no"}, "", "no"),
        ({"code": None, "status_code": 503, "message": "no"}, "503", "no"),
        ({"code": "", "type": "timeout", "message": "no"}, "timeout", "no"),
        ({"code": True, "detail": "no"}, "", "no"),
        ({"error": {"message": "no", "code": "x"}}, "x", "no"),
        ({"error": "no", "code": 408}, "408", "no"),
        ({"message": "no", "error": "other"}, "", "no"),
        ("no", "", "no"),
        (["no"], "", '["no"]'),
        (7, "", "7"),
        ({"code": 400, "message": 5}, "400", '{"code": 400, "message": 5}'),
        ({"code": [400], "message": {"a": "b"}}, "", '{"code": [400], "message": {"a": "b"}}'),
    ],
)
def test_an_error_may_have_any_form(value, code, message):
    """A mapping or a string; the code a number, a word or absent; nothing of it is lost."""
    error = error_of(value)

    assert (code, message) == (error.code, error.message)
    assert error.raw == value


def test_what_has_no_text_is_shown_in_at_most_a_line():
    """An error of an unknown form is cut in `message` and whole in `raw`."""
    value = {"unknown": "x" * 10_000}
    error = error_of(value)

    assert len(error.message) == 200
    assert error.message.endswith("...")
    assert error.raw == value


@pytest.mark.parametrize("value", [{"custom_id": "r"}, {"custom_id": "r", "response": None}])
def test_a_row_with_nothing_in_it_failed(value):
    """It has an id, so that it can be run again."""
    row = only(line(value))

    assert row.custom_id == "r"
    assert row.error == RowError("no_response", "the row has neither response nor error")


@pytest.mark.parametrize("response", ["text", [1], 5, True])
def test_a_response_that_is_no_object_is_no_response(response):
    """It stands in the error."""
    row = only(line({"custom_id": "r", "response": response}))

    assert row.response is None
    assert row.error == RowError("no_response", f"the response is {json.dumps(response)}")
    assert row.error.raw == response


# --- What is no row -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"custom_id": "r-1", "resp', "the line cannot be read: "),
        (b"\xff\xfe\x00", "the line cannot be read: "),
        (b'{"custom_id": "\xff", "response": {}}', "the line cannot be read: 'utf-8' codec"),
        (b"[" * 100_000, "the line cannot be read: "),
        (b'{"custom_id": "r", "x": ' + b"9" * 5000 + b"}", "the line cannot be read: Exceeds"),
        (b"[1, 2]", "the line is not a JSON object but [1, 2]"),
        (b'"text"', 'the line is not a JSON object but "text"'),
        (b"null", "the line is not a JSON object but null"),
        (b"5", "the line is not a JSON object but 5"),
        (b"{}", None),
        (b'{"response": {}}', "the line has no custom_id"),
        (b'{"custom_id": null, "response": {}}', "the line has no custom_id"),
        (b'{"custom_id": true, "response": {}}', "the line has no custom_id"),
        (b'{"custom_id": ["r"], "response": {}}', "the line has no custom_id"),
    ],
)
def test_what_cannot_be_read_is_a_row_without_an_id(raw, message):
    """Never an exception; the line is kept."""
    row = only(raw + b"\n")

    assert row.custom_id is None
    assert not row.ok
    assert not row.is_retryable
    assert row.raw == raw
    if message:
        assert row.error.code == "unreadable"
        assert row.error.message.startswith(message)


def test_a_response_without_an_id_is_kept():
    """It was paid for, though nobody knows for what."""
    row = only(line({"response": COMPLETION}))

    assert row.response == COMPLETION
    assert row.text == "positive"
    assert not row.ok


@given(st.binary())
def test_no_bytes_raise(raw):
    """Whatever a line holds, it is a row, or it is blank."""
    rows = list(read_rows([raw]))

    assert len(rows) == (0 if raw.isspace() else 1)


# orjson reads a whole number of more than 64 bits as a float.
WHOLE = st.integers(-(2**63), 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {
            "custom_id": st.text() | JSON,
            "response": JSON | st.fixed_dictionaries({"status_code": JSON, "body": JSON}),
            "error": JSON | st.fixed_dictionaries({"code": JSON, "message": JSON, "error": JSON}),
        }
    )
)
def test_no_object_raises(value):
    """Members of any type give a row; without an id that is a string or a number it has none."""
    row = only(line(value))

    assert (row.custom_id is None) == (type(value["custom_id"]) not in {str, int})
    assert isinstance(row.is_retryable, bool)
    assert isinstance(row.error.message if row.error else "", str)


# --- What orjson refuses, and what two readers could see differently ----------------------------


def test_a_lone_surrogate_is_a_paid_row():
    """`json` reads what orjson refuses."""
    row = only(
        b'{"custom_id": "\\ud800", "response": {"choices": [{"message": {"content": "\\udfff"}}]}}'
    )

    assert ("\ud800", "\udfff", True) == (row.custom_id, row.text, row.ok)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_a_paid_row(word):
    """NaN and the infinities, which JSON does not have."""
    row = only(f'{{"custom_id": "r", "response": {{"logprob": {word}}}}}'.encode())

    assert row.ok
    assert not math.isfinite(row.response["logprob"])


def test_huge_integers_are_read():
    """As floats beyond 64 bits."""
    row = only(b'{"custom_id": "r", "response": {"n": ' + b"9" * 300 + b"}}")

    assert row.response["n"] == pytest.approx(1e300)


def test_of_two_members_of_one_name_the_last_counts():
    """For both readers."""
    twice = b'{"custom_id": "a", "custom_id": "b", "response": {"x": %s}}'

    assert only(twice % b"1").custom_id == "b"
    assert only(twice % b"NaN").custom_id == "b"


def test_an_id_that_is_a_number_is_its_digits():
    """As a custom_id must be a string."""
    assert only(line({**GOOD, "custom_id": 17})).custom_id == "17"


def test_an_empty_id_is_an_id():
    """It is for the server to refuse."""
    assert only(line({**GOOD, "custom_id": ""})).custom_id == ""


# --- Ends of lines ------------------------------------------------------------------------------


def test_lines_end_at_a_line_feed_only():
    """CRLF is one end; U+2028 and the other ends of Unicode are text; the last line needs none."""
    texts = ["a\u2028b\u2029c\u0085d\x0be", "\r", "last"]
    rows = [
        json.dumps({"custom_id": text, "response": {}}, ensure_ascii=False).encode()
        for text in texts
    ]

    read = list(read_rows(io.BytesIO(b"\n \r\n" + rows[0] + b"\n\n" + rows[1] + b"\r\n" + rows[2])))

    assert texts == [row.custom_id for row in read]
    assert rows == [row.raw for row in read]


def test_only_one_carriage_return_is_part_of_the_end():
    """Another one stands in the line."""
    assert read_row(b"x\r\r\n").raw == b"x\r"
    assert read_row(b"x\n").raw == b"x"
    assert read_row(b"x\r").raw == b"x"
    assert read_row(b"x").raw == b"x"


# --- The row as a value -------------------------------------------------------------------------


def test_rows_are_values():
    """Equal by id, error and line, whatever the line's end; they survive pickle and copies."""
    row = read_row(line(GOOD))

    assert row == ResultRow("r-1", None, None, raw=json.dumps(GOOD).encode() + b"\r\n")
    assert hash(row) == hash(ResultRow("r-1", None, None, raw=json.dumps(GOOD).encode()))
    assert row != read_row(line({**GOOD, "custom_id": "r-2"}))
    for again in [pickle.loads(pickle.dumps(row)), copy.copy(row), copy.deepcopy(row)]:  # noqa: S301
        assert again == row
        assert again.response == COMPLETION


def test_the_two_ways_to_make_a_row_make_the_same():
    """What fills slots fills all of them."""
    (row,) = read_rows([line(GOOD)])

    assert repr(row) == repr(ResultRow("r-1", COMPLETION, None, line(GOOD)))
    with pytest.raises(AttributeError):
        row.custom_id = "other"


def test_repr_is_a_line():
    """Id, and what became of it."""
    assert repr(read_row(line(GOOD))) == "<ResultRow 'r-1' 'ok'>"
    failed = line({"custom_id": "r-2", "error": {"code": 429, "message": "slow\n" * 50}})
    assert repr(read_row(failed)).startswith("<ResultRow 'r-2' '429 slow\\nslow")
    assert len(repr(read_row(failed))) < 160


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"choices": []},
        {"choices": [{"message": {"content": None, "tool_calls": [{}]}}]},
        {"choices": [{"text": "a completion"}]},
        {"choices": "x"},
        {"choices": [5]},
    ],
)
def test_there_may_be_no_text(response):
    """A tool was called, or the response has another form."""
    assert only(line({"custom_id": "r", "response": response})).text is None


def test_text_is_that_of_the_first_choice():
    """With `n` above 1 there are several."""
    choices = [{"message": {"content": "one"}}, {"message": {"content": "two"}}]

    assert only(line({"custom_id": "r", "response": {"choices": choices}})).text == "one"


# --- What may be run again ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [408, 409, 425, 429, 499, 500, 502, 503, 504, 520, 524])
def test_faults_of_the_moment_are_retryable(code):
    """As numbers and as strings of digits."""
    for form in (code, str(code)):
        row = read_row(line({"custom_id": "r", "error": {"code": form, "message": ""}}))
        assert row.is_retryable


@pytest.mark.parametrize(
    "code",
    [
        "RESOURCE_EXHAUSTED",
        "unavailable",
        "deadline-exceeded",
        "Internal Server Error",
        "rate_limit_exceeded",
        "timeout",
        "batch_expired",
        14,
    ],
)
def test_words_of_that_kind_are_retryable(code):
    """The names and numbers of gRPC, and those that inference servers use, in any spelling."""
    assert read_row(line({"custom_id": "r", "error": {"code": code}})).is_retryable


@pytest.mark.parametrize(
    "code",
    [
        0,
        3,
        400,
        401,
        402,
        403,
        404,
        413,
        422,
        501,
        505,
        600,
        None,
        "",
        "INVALID_ARGUMENT",
        "no such",
    ],
)
def test_what_is_not_known_to_pass_is_not_retryable(code):
    """Refusals of the row itself, and everything unknown."""
    assert not read_row(line({"custom_id": "r", "error": {"code": code}})).is_retryable


# --- Decoding -----------------------------------------------------------------------------------


def test_a_decoder_makes_the_output():
    """The rest of the row stays, its response too."""
    before = read_row(line(GOOD))
    row = decode_row(before, lambda response: response["id"].upper(), "undecodable")

    assert ("r-1", "CHATCMPL-1", None) == (row.custom_id, row.output, row.error)
    assert (row.raw, row.text) == (json.dumps(GOOD).encode(), "positive")
    assert (row, row.response, before.output) == (before, before.response, None)


def test_what_a_decoder_refuses_is_an_error_of_the_row():
    """With what it said, and the text; the response is kept."""
    row = decode_row(read_row(line(GOOD)), lambda response: response["missing"], "undecodable")

    assert row.output is None
    assert row.error == RowError("undecodable", "KeyError: 'missing'")
    assert row.error.raw == "positive"
    assert not row.is_retryable
    assert row.response == GOOD["response"]


def test_an_invalid_output_is_retryable():
    """The model may answer in another way; a function of the caller's would not."""
    row = decode_row(read_row(line(GOOD)), lambda response: response["missing"], "invalid_output")

    assert row.is_retryable


def test_a_row_that_failed_is_not_decoded():
    """Its error is the server's."""
    row = decode_row(
        read_row(line({**GOOD, "error": "boo"})), lambda _: pytest.fail("called"), "undecodable"
    )

    assert row.error == RowError("", "boo")
