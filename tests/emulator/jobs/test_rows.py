"""Which rows are taken, which fail alone, and for which the whole job fails; no event loop."""

import json

import pytest

from fireworks_batch.emulator import Assumptions, RowFailureError
from fireworks_batch.emulator.jobs.responder import echo, failure_line
from fireworks_batch.emulator.jobs.rows import InvalidRowError, Row, RowCheck, RowReader
from fireworks_batch.emulator.jobs.work import shuffled

DEFAULT = Assumptions()
HELLO = [{"role": "user", "content": "hello"}]


def line(custom_id="a", **members):
    """Write a row."""
    return json.dumps({"custom_id": custom_id, "body": {"messages": HELLO}} | members).encode()


def refusal(text, **assume):
    """Give what is wrong with a line."""
    with pytest.raises(InvalidRowError) as caught:
        RowCheck(Assumptions(**assume)).is_row(text)
    return str(caught.value)


def complete(body, job=None, **assume):
    """Give a row's whole request body."""
    return RowReader(job or {}, Assumptions(**assume)).complete(Row("a", body))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "invalid JSON"),
        (b'{"custom_id": "\xff"}', "invalid JSON"),
        (b"[]", "a row must be a JSON object"),
        (line(None), "custom_id is required"),
        (line(""), "custom_id is required"),
        (line(3), "custom_id is required"),
        (b'{"custom_id": "a"}', "body is required"),
        (line(body=[]), "body is required"),
        (line(body={}), "body must have either messages or prompt_token_ids"),
        (
            line(body={"messages": HELLO, "prompt_token_ids": [1]}),
            "body must have either messages or prompt_token_ids",
        ),
        (line(body={"messages": []}), "messages must be a list of at least one message"),
        (line(body={"messages": "x"}), "messages must be a list of at least one message"),
        (
            line(body={"messages": [*HELLO, {"role": "pirate"}]}),
            "invalid role pirate in message 1",
        ),
        (line(body={"messages": [{}]}), "invalid role None in message 0"),
        (line(body={"messages": ["x"]}), "invalid role None in message 0"),
    ],
)
def test_a_job_fails_for_a_bad_row(text, message):
    """The message says what is wrong with it."""
    assert refusal(text) == message


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_four_roles_are_known(role):
    """Those of the one error text that was seen."""
    assert RowCheck(DEFAULT).is_row(line(body={"messages": [{"role": role}]}))


@pytest.mark.parametrize(
    ("name", "text", "position", "message"),
    [
        ("last_newline", line(), "required", "no newline at the end of the file"),
        ("blank_lines", b"  \r\n", "fail_job", "unexpected end of JSON input"),
        ("row_extras", line(url="x", method="POST"), "fail_job", "unknown field 'method'"),
        (
            "byte_order_mark",
            b"\xef\xbb\xbf" + line(),
            "fail_job",
            "invalid JSON",
        ),
    ],
)
def test_what_is_not_known_of_rows_is_a_switch(name, text, position, message):
    """In one position the job fails, in the other it does not."""
    assert refusal(text, **{name: position}) == message
    other = {"last_newline": "optional", "row_extras": "ignore"}.get(name, "skip")
    is_row = RowCheck(Assumptions(**{name: other})).is_row(text)
    assert is_row == (name != "blank_lines")


@pytest.mark.parametrize("position", ["fail_job", "accept"])
def test_an_id_stands_once(position):
    """A second one fails the job, by assumption."""
    check = RowCheck(Assumptions(duplicate_ids=position))
    assert check.is_row(line("a"))
    assert check.is_row(line("b"))
    if position == "accept":
        assert check.is_row(line("a"))
        return
    with pytest.raises(InvalidRowError, match=r"^duplicate custom_id 'a'$"):
        check.is_row(line("a"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"extra_body": {}}, "Extra inputs are not permitted, field: 'extra_body'"),
        ({"stream": True}, "streaming is not supported in batch inference"),
    ],
)
def test_some_rows_fail_alone(body, message):
    """The inference server refuses them with 400."""
    with pytest.raises(RowFailureError) as caught:
        complete({"messages": HELLO} | body)
    assert (str(caught.value), caught.value.code) == (message, 400)


def test_a_stream_may_be_ignored():
    """By assumption the row is answered like any other."""
    assert complete({"messages": HELLO, "stream": True}, row_stream="ignore")["stream"]


def test_another_model_in_a_row_is_ignored_or_fails_it():
    """The job's model counts; the same one is no contradiction."""
    job, body = {"model": "m"}, {"messages": HELLO, "model": "other"}
    assert complete(body, job)["model"] == "m"
    with pytest.raises(RowFailureError, match=r"^model 'other' is not the job's$"):
        complete(body, job, row_model="fail_row")
    assert complete(body | {"model": "m"}, job, row_model="fail_row")["model"] == "m"


@pytest.mark.parametrize(("position", "temperature"), [("row", 1), ("job", 0.5)])
def test_the_jobs_parameters_are_put_into_rows(position, temperature):
    """Under the names of a chat completion; who wins is a switch."""
    job = {
        "inferenceParameters": {
            "maxTokens": 7,
            "temperature": 0.5,
            "topP": 0.25,
            "topK": 3,
            "n": 2,
            "extraBody": '{"stop": ["x"]}',
        }
    }
    body = complete({"messages": HELLO, "temperature": 1}, job, parameter_precedence=position)
    assert body == {
        "messages": HELLO,
        "model": None,
        "max_tokens": 7,
        "temperature": temperature,
        "top_p": 0.25,
        "top_k": 3,
        "n": 2,
        "stop": ["x"],
    }


def test_a_system_prompt_goes_before_rows_without_one():
    """The row's own wins; token ids take none."""
    job = {"systemPrompt": "be brief"}
    system = {"role": "system", "content": "be brief"}
    own = [{"role": "system", "content": "be long"}, *HELLO]
    assert complete({"messages": HELLO}, job)["messages"] == [system, *HELLO]
    assert complete({"messages": own}, job)["messages"] == own
    with pytest.raises(RowFailureError, match=r"cannot be combined with prompt_token_ids$"):
        complete({"prompt_token_ids": [1]}, job)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [*HELLO, {"role": "user", "content": "bye"}]}, "bye"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, '[{"type":"text"}]'),
        ({"messages": [{"role": "user"}]}, "null"),
        ({"prompt_token_ids": [1, 2]}, "[1,2]"),
    ],
)
def test_the_echo_gives_the_last_message_back(body, text):
    """What is no text, as JSON."""
    assert echo("a", body) == text


@pytest.mark.parametrize(
    ("shape", "code", "error"),
    [
        ("int_code", 400, {"code": 400, "message": "no"}),
        ("string_code", 400, {"code": "INVALID_ARGUMENT", "message": "no"}),
        ("string_code", 500, {"code": "UNKNOWN", "message": "no"}),
        ("string_code", 418, {"code": "UNKNOWN", "message": "no"}),
        ("no_code", 400, {"message": "no"}),
        ("text", 400, "no"),
    ],
)
def test_an_error_row_has_one_of_four_shapes(shape, code, error):
    """Nobody has seen one."""
    written = failure_line("a", RowFailureError("no", code), Assumptions(error_shape=shape))
    assert (json.loads(written), written[-1:]) == ({"custom_id": "a", "error": error}, b"\n")


@pytest.mark.parametrize("count", range(5))
def test_a_shuffle_shows(count):
    """Two rows or more are never in the order of the input, whatever the seed."""
    order = list(range(count))
    for seed in range(50):
        found = shuffled(order, seed)
        assert sorted(found) == order
        assert (found == order) == (count < 2)
