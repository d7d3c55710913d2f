"""The formats of rows on the command line, in this process, against an emulator."""

import csv
import io
import json
import sys

import pytest

from fireworks_batch import integrations

pytest_plugins = ["fireworks_batch.pytest_plugin"]
pytestmark = pytest.mark.once

MODEL = ("--model", "accounts/fireworks/models/demo-8b")
COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [
        {"message": {"role": "assistant", "content": 'a, "b"\nc'}, "finish_reason": "stop"},
    ],
    "usage": {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 2},
    },
}
GOOD = {"custom_id": "r-0", "response": COMPLETION}
TOOL_CALL = {"custom_id": "r-1", "response": {"choices": [{"message": {"content": None}}]}}
BAD = {"custom_id": "r-2", "error": {"code": 400, "message": "no"}}
SURROGATE = b'{"custom_id": "r", "response": {"choices": [{"message": {"content": "\\ud800"}}]}}\n'
HEADER = [
    *("custom_id", "text", "finish_reason", "error_code", "error_message"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
]


def lines(*rows):
    """Rows as they stand in a file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def openai_error(custom_id, code, message):
    """A failed row, as OpenAI writes one that has no response."""
    error = {"code": code, "message": message}
    return {
        "id": f"batch_req_{custom_id}",
        "custom_id": custom_id,
        "response": None,
        "error": error,
    }


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


@pytest.fixture
def ended_job(server):
    """Make a job with some rows."""

    def make(results, errors=b""):
        files = {"BIJOutputSet.jsonl": results, "error-data": errors}
        name = server.add_dataset("out", files=files)
        counts = {"rows": (results + errors).count(b"\n"), "failed_rows": errors.count(b"\n")}
        fields = {"outputDatasetId": name}
        server.script_job("nightly", phases=["COMPLETED"], fields=fields, **counts)
        return "nightly"

    return make


@pytest.fixture
def requests(tmp_path):
    """A file of three requests, the second of which fails."""
    path = tmp_path / "requests.jsonl"
    rows = (
        {"custom_id": f"r-{n}", "body": {"messages": [{"role": "user", "content": text}]}}
        for n, text in enumerate(["hello", "fail", "bye"])
    )
    path.write_bytes(lines(*rows))
    return path


def table(text):
    """The records of a file of comma-separated values."""
    return [*csv.DictReader(io.StringIO(text))]


# --- OpenAI's format ----------------------------------------------------------------------------


def test_a_row_in_the_format_of_openai(cli, ended_job):
    """The response is wrapped with its status, and each line has an id of a request."""
    result = cli("results", ended_job(lines(GOOD)), "--format", "openai")
    assert (result.code, result.objects) == (
        0,
        [
            {
                "id": "batch_req_r-0",
                "custom_id": "r-0",
                "response": {"status_code": 200, "request_id": "chatcmpl-1", "body": COMPLETION},
                "error": None,
            }
        ],
    )


def test_a_response_without_an_id_has_an_empty_request_id(cli, ended_job):
    """Readers of the format expect a string."""
    result = cli("results", ended_job(lines(TOOL_CALL)), "--format", "openai")
    assert result.objects[0]["response"]["request_id"] == ""


def test_errors_in_the_format_of_openai_have_a_file(cli, ended_job, tmp_path):
    """As OpenAI has two files, too."""
    errors = tmp_path / "errors.jsonl"
    job = ended_job(lines(GOOD), lines(BAD))
    result = cli("results", job, "--format", "openai", "--errors", str(errors))
    assert (result.code, len(result.lines)) == (6, 1)
    assert json.loads(errors.read_text()) == openai_error("r-2", "400", "no")


def test_a_line_that_cannot_be_read_keeps_its_text_in_the_format_of_openai(
    cli, ended_job, tmp_path
):
    """It was paid for."""
    errors = tmp_path / "errors.jsonl"
    cli("results", ended_job(b"{\xff\n"), "--format", "openai", "--errors", str(errors))
    row = json.loads(errors.read_text())
    assert (row["id"], row["custom_id"], row["response"]) == (None, None, None)
    assert (row["error"]["code"], row["error"]["raw"]) == ("unreadable", "{\\xff")


def test_a_response_beside_an_error_stays_in_the_format_of_openai(cli, ended_job, tmp_path):
    """It may be a part of the answer."""
    errors = tmp_path / "errors.jsonl"
    job = ended_job(b"", lines({**GOOD, "error": {"message": "cut off"}}))
    cli("results", job, "--format", "openai", "--errors", str(errors))
    row = json.loads(errors.read_text())
    assert (row["response"]["body"], row["error"]["message"]) == (COMPLETION, "cut off")


def test_a_lone_surrogate_stays_in_the_format_of_openai(cli, ended_job):
    """JSON can hold it."""
    (row,) = cli("results", ended_job(SURROGATE), "--format", "openai").objects
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "\ud800"


def test_a_run_writes_the_format_of_openai(cli, requests, tmp_path):
    """Rows and errors into their files, in the order of the requests."""
    rows, errors = tmp_path / "rows.jsonl", tmp_path / "errors.jsonl"
    files = ("-o", str(rows), "--errors", str(errors))
    result = cli("run", str(requests), *MODEL, "--format", "openai", *files)
    assert result.code == 6
    written = [*map(json.loads, rows.read_text().splitlines())]
    assert [row["custom_id"] for row in written] == ["r-0", "r-2"]
    assert {row["response"]["status_code"] for row in written} == {200}
    (error,) = map(json.loads, errors.read_text().splitlines())
    assert (error["custom_id"], error["response"]) == ("r-1", None)
    assert error["error"]["message"]


# --- CSV ----------------------------------------------------------------------------------------


def test_a_table_has_each_row_once(cli, ended_job):
    """With its text and tokens, or its error; and no word about a file of errors."""
    result = cli("results", ended_job(lines(GOOD, TOOL_CALL), lines(BAD)), "--format", "csv")
    assert result.code == 6
    nothing = dict.fromkeys(HEADER, "")
    good = {"custom_id": "r-0", "text": 'a, "b"\nc', "finish_reason": "stop"}
    tokens = {"prompt_tokens": "7", "completion_tokens": "3", "cached_tokens": "2"}
    assert table(result.out) == [
        nothing | good | tokens,
        nothing | {"custom_id": "r-1"},
        nothing | {"custom_id": "r-2", "error_code": "400", "error_message": "no"},
    ]
    assert result.err == "2 rows succeeded, 1 failed\n"


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nb"])
def test_a_line_end_of_any_kind_stays_in_its_value(cli, ended_job, text):
    """The values are quoted, and the file has the line ends of Unix."""
    row = {"custom_id": "r", "response": {"choices": [{"message": {"content": text}}]}}
    out = cli("results", ended_job(lines(row)), "--format", "csv").out
    assert out.endswith(f'\nr,"{text}",,,,,,\n')


def test_a_table_without_rows_has_its_header(cli, ended_job):
    """So that a reader finds its columns."""
    assert cli("results", ended_job(b""), "--format", "csv").out == ",".join(HEADER) + "\n"


def test_the_file_of_errors_beside_a_table_has_the_lines_of_the_server(cli, ended_job, tmp_path):
    """For a reader who wants more than code and message."""
    errors = tmp_path / "errors.jsonl"
    cli("results", ended_job(lines(GOOD), lines(BAD)), "--format", "csv", "--errors", str(errors))
    assert errors.read_bytes() == lines(BAD)


def test_a_lone_surrogate_becomes_a_question_mark_in_a_table(cli, ended_job, tmp_path):
    """The file is UTF-8, which cannot hold it."""
    path = tmp_path / "rows.csv"
    assert cli("results", ended_job(SURROGATE), "--format", "csv", "-o", str(path)).code == 0
    assert [row["text"] for row in table(path.read_text())] == ["?"]


@pytest.mark.parametrize("to_file", [True, False])
def test_a_run_writes_a_table(cli, requests, tmp_path, to_file):
    """To a file or to stdout, in the order of the requests."""
    path = tmp_path / "rows.csv"
    target = ("-o", str(path)) if to_file else ()
    result = cli("run", str(requests), *MODEL, "--format", "csv", *target)
    assert result.code == 6
    rows = table(path.read_text() if to_file else result.out)
    assert [(row["custom_id"], row["text"]) for row in rows] == [
        ("r-0", "hello"),
        ("r-1", ""),
        ("r-2", "bye"),
    ]
    assert [bool(row["error_message"]) for row in rows] == [False, True, False]


def test_collect_writes_a_table(cli, requests, tmp_path):
    """As run does."""
    submission = tmp_path / "submission.json"
    submission.write_text(cli("submit", str(requests), *MODEL, "--json").out)
    result = cli("collect", str(submission), "--format", "csv")
    assert [row["custom_id"] for row in table(result.out)] == ["r-0", "r-1", "r-2"]


# --- Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["openai", "csv", "parquet"])
@pytest.mark.parametrize("command", ["run", "results"])
def test_a_file_that_cannot_be_written_is_found_before_anything_is_sent(
    cli, server, requests, ended_job, tmp_path, command, format_
):
    """2, whatever the format."""
    argument = ended_job(b"") if command == "results" else str(requests)
    model = MODEL if command == "run" else ()
    target = str(tmp_path / "not" / "there")
    result = cli(command, argument, *model, "--format", format_, "-o", target)
    assert (result.code, server.requests()) == (2, [])
    assert "cannot write" in result.err


def test_the_requests_are_not_overwritten(cli, server, requests):
    """By a table no more than by JSON lines."""
    result = cli("run", str(requests), *MODEL, "--format", "csv", "-o", str(requests))
    assert (result.code, server.requests()) == (2, [])
    assert "is named twice" in result.err


def test_an_incomplete_result_keeps_a_larger_file(cli, requests, tmp_path):
    """Which may have responses that were paid for, and are gone from the server."""
    path = tmp_path / "rows.csv"
    path.write_text("old" * 100)
    result = cli("run", str(requests), *MODEL, "--format", "csv", "-o", str(path))
    assert len(table(path.read_text())) == 3
    assert (tmp_path / "rows.csv.previous").read_text() == "old" * 100
    assert "rows.csv.previous" in result.err


def test_a_row_that_always_fails_leaves_no_copies(cli, requests, tmp_path):
    """Each night the same file."""
    path = tmp_path / "rows.csv"
    for _ in range(2):
        cli("run", str(requests), *MODEL, "--format", "csv", "-o", str(path))
    assert sorted(tmp_path.iterdir()) == [requests, path]


def test_a_complete_result_replaces_the_older_file(cli, requests, tmp_path):
    """And leaves nothing beside it."""
    requests.write_bytes(requests.read_bytes().replace(b"fail", b"pass"))
    path = tmp_path / "rows.csv"
    path.write_text("old")
    assert cli("run", str(requests), *MODEL, "--format", "csv", "-o", str(path)).code == 0
    assert sorted(tmp_path.iterdir()) == [requests, path]


# --- Parquet without its extra; with it, see tests/in_integrations ------------------------------


def test_a_missing_extra_is_found_before_anything_is_sent(
    cli, server, requests, tmp_path, monkeypatch
):
    """2, and the command that installs it: not after a day."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "fireworks_batch.integrations.arrow", raising=False)
    monkeypatch.delitem(vars(integrations), "arrow", raising=False)
    target = ("-o", str(tmp_path / "rows.parquet"))
    result = cli("run", str(requests), *MODEL, "--format", "parquet", *target)
    assert (result.code, server.requests()) == (2, [])
    assert "pip install 'fireworks-batch[arrow]'" in result.err


def test_a_terminal_gets_no_parquet(terminal, server, ended_job):
    """2: it could not show the bytes."""
    process = terminal("results", ended_job(b""), "--format", "parquet", "--json")
    assert process.finish() == 2
    assert "a terminal cannot show" in " ".join(process.text.split())
    assert server.requests() == []


def test_a_format_that_there_is_not_is_refused(cli, ended_job):
    """2, with those that there are."""
    result = cli("results", ended_job(b""), "--format", "xlsx")
    assert result.code == 2
    assert "parquet" in result.err
