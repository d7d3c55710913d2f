"""Requests made of records on the command line, and the first rows of a file."""

import csv
import gzip  # with mtime=0, so that all workers name a test alike
import json

import pytest

pytest_plugins = ["fireworks_batch.pytest_plugin"]
pytestmark = pytest.mark.once

MODEL = ("--model", "accounts/fireworks/models/demo-8b")
SAY = ("--template", "Say {text}")
TABLE = "id,text\na,one\nb,two\nc,three\n"


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


@pytest.fixture
def table(tmp_path):
    """Three records."""
    return written(tmp_path / "data.csv", TABLE)


def written(path, text):
    """A file."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def answers(lines):
    """The texts of rows by their ids, in their order."""
    rows = map(json.loads, lines)
    return {row["custom_id"]: row["response"]["choices"][0]["message"]["content"] for row in rows}


def request(number):
    """A line with one request."""
    message = {"role": "user", "content": f"hello {number}"}
    return json.dumps({"custom_id": f"r-{number}", "body": {"messages": [message]}}) + "\n"


# --- Records ------------------------------------------------------------------------------------


def test_run_asks_the_template_about_each_record(cli, table):
    """The ids come from a column; rows come back in the order of the records."""
    result = cli("run", str(table), *MODEL, *SAY, "--id-column", "id")
    assert result.code == 0
    assert [*answers(result.lines).items()] == [
        ("a", "Say one"),
        ("b", "Say two"),
        ("c", "Say three"),
    ]


def test_without_ids_the_requests_are_numbered(cli, table):
    """In the order of the records."""
    result = cli("run", str(table), *MODEL, *SAY, "--limit", "2")
    assert answers(result.lines) == {"row-00000001": "Say one", "row-00000002": "Say two"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode()),
        ("DATA.CSV", 'id,text\r\n\r\n"a","one"\n"b",two\n\nc,three'),
        ("data.tsv", TABLE.replace(",", "\t")),
        ("data.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        (
            "data.jsonl",
            "".join(json.dumps(row) + "\n\n" for row in csv.DictReader([*TABLE.splitlines()])),
        ),
        (
            "data.jsonl.gz",
            gzip.compress(
                b'{"text":"one","id":"a"}\n{"text":"two","id":"b"}\n{"text":"three","id":"c"}',
                mtime=0,
            ),
        ),
    ],
)
def test_a_file_of_records_may_have_several_forms(cli, tmp_path, name, content):
    """With a byte order mark, other line ends, blank lines, quotes, tabs, compressed, JSON."""
    path = written(tmp_path / name, content)
    result = cli("run", str(path), *MODEL, *SAY, "--id-column", "id")
    assert (result.code, answers(result.lines)) == (
        0,
        {"a": "Say one", "b": "Say two", "c": "Say three"},
    )


def test_a_value_may_be_long_and_have_lines(cli, tmp_path):
    """Longer than the csv module takes by default; the module is left as it was."""
    text = 'He said "no".\n' * 20_000
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], [text]])
    before = csv.field_size_limit()
    result = cli("run", str(path), *MODEL, "--template", "{text}")
    assert answers(result.lines) == {"row-00000001": text}
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    "content", [TABLE, '\n{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}']
)
def test_standard_input_may_have_records(shell, tmp_path, content):
    """As CSV, or as JSON lines, which begin with a brace."""
    path = written(tmp_path / "data", content)
    options = "--template 'Say {text}' --id-column id --limit 2"
    ended = shell(f"$CLI run - {' '.join(MODEL)} {options} < {path}")
    assert (ended.code, answers(ended.lines)) == (0, {"a": "Say one", "b": "Say two"})


def test_check_and_submit_take_records_too(cli, table):
    """By the same options; the job of `submit` is the job of `run`."""
    checked = cli("check", str(table), *SAY)
    assert (checked.code, checked.out) == (0, "")
    assert "data.csv: 3 good rows" in checked.err
    (job_id,) = cli("submit", str(table), *MODEL, *SAY).lines
    cli("run", str(table), *MODEL, *SAY)
    assert [job["id"] for job in cli("list", "--json").objects] == [job_id]


def test_collect_takes_the_records_that_were_submitted(cli, table, tmp_path):
    """So the rows keep their order; without the template the file is refused."""
    options = (*SAY, "--id-column", "id", "--limit", "2")
    (stored,) = cli("submit", str(table), *MODEL, *options, "--json").lines
    submission = written(tmp_path / "submission.json", stored)
    result = cli("collect", str(submission), "--requests", str(table), *options)
    assert [*answers(result.lines)] == ["a", "b"]
    assert cli("collect", str(submission), "--requests", str(table)).code == 2


def test_ids_that_occur_twice_are_named(cli, tmp_path, server):
    """As bad rows, before anything is sent."""
    path = written(tmp_path / "data.csv", "id,text\na,one\na,two\n")
    result = cli("run", str(path), *MODEL, *SAY, "--id-column", "id")
    assert result.code == 2
    assert "line 2 (custom_id 'a')" in result.err
    assert not [one for one in server.requests() if one.method != "GET"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("data.csv", "", "data.csv: the first line names no columns"),
        ("data.csv", "text,text\n1,2\n", "data.csv: the first line names the column 'text' twice"),
        ("data.csv", "id,text\na,1,2\n", "data.csv, line 2: 3 values, but the first line names 2"),
        ("data.csv", "id,text\na\n", "data.csv, line 2: 1 values, but the first line names 2"),
        ("data.csv", 'text\n"one\ntwo\n', "data.csv, after line 3: unexpected end of data"),
        ("data.csv", 'text\n"one"x\n', "data.csv, after line 2: ',' expected after '\"'"),
        ("data.csv", b"text\n\xff\n", "not UTF-8: byte 0xff; save the file as UTF-8"),
        (
            "data.csv.gz",
            gzip.compress(TABLE.encode(), mtime=0)[:-4],
            "the compressed data is damaged",
        ),
        ("data.csv.gz", b"id,text\n", "the compressed data is damaged: Not a gzipped"),
        ("data.jsonl", '{"text": "x"}\n{"text"\n', "data.jsonl, line 2: not JSON: "),
        ("data.jsonl", "[1]\n", "data.jsonl, line 1: a record must be a JSON object, not [1]"),
        ("data.parquet", "PAR1", "--template needs a file of records whose name ends in .csv, "),
        (
            "data.csv",
            "id,txt\na,one\n",
            "no column 'text', which the template names; its columns: id, txt; did you mean 'txt'?",
        ),
        ("data.jsonl", request(1), "its columns: custom_id, body"),
        ("data.jsonl", '{"text": null}', "record 1 has no value for {text}, only None"),
    ],
)
def test_a_wrong_file_of_records_is_bad_input(cli, tmp_path, server, name, content, complaint):
    """2, with the place, and nothing is sent."""
    path = written(tmp_path / name, content)
    result = cli("run", str(path), *MODEL, *SAY)
    assert (result.code, result.out) == (2, "")
    assert complaint in result.err
    assert not [one for one in server.requests() if one.method != "GET"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "data.csv has records, not requests: say what is asked about each record, as in "),
        (("--id-column", "id"), "--id-column is about records: it needs --template"),
        (("--template", "{text.x}"), "{text.x} is an attribute or an index"),
        (("--template", "{}"), "{} is a position"),
        ((*SAY, "--limit", "0"), "Invalid value for '--limit'"),
        ((*SAY, "--id-column", "key"), "record 1 has no column 'key', which its id is to come"),
    ],
)
def test_wrong_options_are_a_usage_error(cli, table, server, options, complaint):
    """2, and nothing is sent."""
    result = cli("check", str(table), *options)
    assert (result.code, result.out) == (2, "")
    assert complaint in " ".join(result.err.split())
    assert server.requests() == []


def test_records_that_are_not_there_are_bad_input(cli, tmp_path):
    """2, with the name of the file and the system's reason."""
    result = cli("check", str(tmp_path / "nope.csv"), *SAY)
    assert result.code == 2
    assert "nope.csv" in result.err
    assert "No such file" in result.err


# --- The first rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("is_compressed", [False, True])
def test_limit_takes_the_first_rows(cli, tmp_path, is_compressed):
    """Byte for byte: they make the job that a file of these rows makes. Blank lines are no rows."""
    whole = "".join(f"{request(number)}\n" for number in range(5)).encode()
    name, content = ("a.jsonl.gz", gzip.compress(whole)) if is_compressed else ("a.jsonl", whole)
    path = written(tmp_path / name, content)
    part = written(tmp_path / "part.jsonl", request(0) + request(1))
    limited = cli("submit", str(path), *MODEL, "--limit", "2")
    assert limited.code == 0
    assert limited.lines == cli("submit", str(part), *MODEL).lines
    assert limited.lines != cli("submit", str(path), *MODEL).lines


def test_limit_may_exceed_the_rows(cli, tmp_path):
    """All rows are taken then."""
    path = written(tmp_path / "a.jsonl", request(0) + request(1))
    assert "2 good rows" in cli("check", str(path), "--limit", "9").err


def test_a_bad_row_among_the_first_is_named_by_its_line(cli, tmp_path):
    """As in the whole file."""
    path = written(tmp_path / "a.jsonl", f"{request(0)}\nnonsense\n{request(1)}")
    result = cli("check", str(path), "--limit", "2")
    assert result.code == 2
    assert result.lines[0].startswith("line 3: not JSON")


@pytest.mark.parametrize(
    ("name", "options"), [("a.jsonl", ("--limit", "2")), ("a.jsonl", SAY), ("a.csv", SAY)]
)
def test_a_line_that_is_no_row_is_named(cli, tmp_path, name, options):
    """Not read into memory: a file without line ends may be large."""
    path = written(tmp_path / name, b"x" * (17 * 1024**2))
    result = cli("check", str(path), *options)
    assert result.code == 2
    assert "has a line of more than 16 MiB, which is no row" in result.err


def test_a_file_that_is_no_requests_is_refused_with_a_limit_too(cli, tmp_path):
    """In the same words."""
    path = written(tmp_path / "a.txt", "x\n")
    result = cli("check", str(path), "--limit", "2")
    assert result.code == 2
    assert "requests must be a file that ends in .jsonl or .jsonl.gz" in result.err
