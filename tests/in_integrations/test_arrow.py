"""Data frames to requests, and results to Arrow and Parquet, with the real libraries."""

import asyncio
import json
import os
from contextlib import aclosing

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from fireworks_batch import ConfigurationError, LocalFileError, ResultRow
from fireworks_batch.integrations import arrow
from test_examples import run_process, start

MODEL = "accounts/fireworks/models/demo-8b"
COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 2},
    },
}
GOOD = {"custom_id": "r-0", "response": COMPLETION}
BAD = {"custom_id": "r-1", "error": {"code": 400, "message": "no"}}
RECORDS = [
    {
        "custom_id": "r-0",
        "text": "hello",
        "finish_reason": "stop",
        "error_code": None,
        "error_message": None,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "cached_tokens": 2,
    },
    dict.fromkeys(arrow.SCHEMA.names)
    | {"custom_id": "r-1", "error_code": "400", "error_message": "no"},
]
MIB = 1024 * 1024


@pytest.fixture
def results(emulator, client):
    """Give the results of a job with some rows, which are to be entered."""

    def make(*rows):
        data = b"".join(
            (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
        )
        name = emulator.add_dataset("out", files={"BIJOutputSet.jsonl": data})
        counts = {"rows": len(rows), "failed_rows": rows.count(BAD)}
        fields = {"outputDatasetId": name}
        emulator.script_job("nightly", phases=["COMPLETED"], fields=fields, **counts)
        return client.results("nightly")

    return make


def a_row(text="", number=0):
    """A row that succeeded."""
    response = {"choices": [{"message": {"content": text}}]}
    return ResultRow(custom_id=f"r-{number}", response=response, error=None, raw=b"")


async def rows_of(count, text=""):
    """Rows that succeeded."""
    for number in range(count):
        yield a_row(text, number)


# --- Requests -----------------------------------------------------------------------------------


FRAMES = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "a batch": pa.record_batch,
}


@pytest.mark.parametrize("library", FRAMES)
def test_rows_of_a_data_frame_are_requests(library):
    """One for each, in their order, with the ids of a column."""
    frame = FRAMES[library]({"key": [7, 8], "text": ["one", "two"], "more": [1.0, None]})
    made = arrow.requests(frame, "Summarise: {text}", id_column="key", max_tokens=5)
    assert [*made] == [
        {
            "custom_id": custom_id,
            "body": {
                "messages": [{"role": "user", "content": f"Summarise: {text}"}],
                "max_tokens": 5,
            },
        }
        for custom_id, text in [("7", "one"), ("8", "two")]
    ]


def test_requests_without_an_id_column_are_numbered():
    """Across the chunks of a table."""
    table = pa.concat_tables(pa.table({"text": [text]}) for text in "ab")
    assert [each["custom_id"] for each in arrow.requests(table, "{text}")] == [
        "row-00000001",
        "row-00000002",
    ]


@pytest.mark.parametrize(
    ("template", "id_column", "column"), [("{txt}", None, "txt"), ("{text}", "key", "key")]
)
@pytest.mark.parametrize("library", [pd, pl])
def test_a_column_that_the_table_lacks_is_an_error_at_once(template, id_column, column, library):
    """Not when the first request is read; and the columns that there are are named."""
    frame = library.DataFrame({"text": ["a"], "more": [1]})
    with pytest.raises(ConfigurationError, match=f"no column '{column}'.* it has: text, more"):
        arrow.requests(frame, template, id_column=id_column)


@pytest.mark.parametrize("template", ["{text", "{0}", "no column"])
def test_a_template_that_is_wrong_is_an_error_at_once(template):
    """With the words of `chats`."""
    with pytest.raises(ConfigurationError, match="template"):
        arrow.requests(pl.DataFrame({"text": ["a"]}), template)


def test_what_is_no_data_frame_is_refused():
    """And the function for mappings is named."""
    with pytest.raises(ConfigurationError, match=r"not list; .*fireworks_batch\.chats"):
        arrow.requests([{"text": "a"}], "{text}")


def test_a_column_that_is_there_twice_is_refused():
    """It cannot be told which one is meant."""
    frame = pd.DataFrame([["a", "b", "c"]], columns=["text", "text", "more"])
    with pytest.raises(ConfigurationError, match="'text', or two"):
        arrow.requests(frame, "{text}")
    assert len([*arrow.requests(frame, "{more}")]) == 1


@pytest.mark.parametrize("column", ["mixed", "text"])
def test_a_column_that_arrow_cannot_hold(column):
    """Is in the way only if the template names it: pandas would convert all columns."""
    frame = pd.DataFrame({"text": ["a", "b"], "mixed": [1, "a"]})
    if column == "text":
        assert len([*arrow.requests(frame, "{text}")]) == 2
    else:
        with pytest.raises(ConfigurationError, match="the table cannot be read"):
            arrow.requests(frame, "{mixed}")


@pytest.mark.parametrize("column", ["text", "key"])
def test_a_null_in_a_column_that_is_needed_is_an_error(column):
    """It would be the word "None" in a prompt, and no id."""
    values = {"key": ["a", "b"], "text": ["a", "b"]} | {column: ["a", None]}
    made = arrow.requests(pl.DataFrame(values), "{text}", id_column="key")
    next(made)
    with pytest.raises(ConfigurationError, match="record 2"):
        next(made)


def test_columns_that_are_not_needed_are_not_read():
    """A column of embeddings would be a list of objects for each row."""
    out_of_range = pa.array([2**62, 2**62], pa.timestamp("s"))
    table = pa.table({"text": ["a", "b"], "when": out_of_range})
    with pytest.raises((ValueError, OverflowError)):
        table.to_pylist()
    assert len([*arrow.requests(table, "{text}")]) == 2


def test_a_stream_is_read_as_the_requests_are():
    """One batch at a time: a stream may be larger than memory."""
    made = []

    def batches():
        for number in range(10):
            made.append(number)
            yield pa.record_batch({"text": [str(number)]})

    schema = pa.schema([("text", pa.string())])
    stream = pa.RecordBatchReader.from_batches(schema, batches())
    for number, _ in enumerate(arrow.requests(stream, "{text}")):
        assert len(made) <= number + 2
    assert len(made) == 10


# --- Results ------------------------------------------------------------------------------------


async def test_each_row_of_a_job_is_one_record(results):
    """A row that failed has its error, and null otherwise."""
    async with results(GOOD, BAD) as rows:
        batches = [batch async for batch in arrow.to_arrow(rows)]
        assert rows.report.failed == 1
    assert [batch.schema for batch in batches] == [arrow.SCHEMA]
    assert batches[0].to_pylist() == RECORDS


async def test_a_run_becomes_a_table(client):
    """In the order of the requests; from data frame to data frame."""
    frame = pl.DataFrame({"key": ["b", "a", "c"], "text": ["two", "one", "three"]})
    made = arrow.requests(frame, "{text}", id_column="key")
    async with await client.run(made, model=MODEL) as result:
        table = await arrow.read_table(result)
    assert table.schema == arrow.SCHEMA
    assert table.column("custom_id").to_pylist() == ["b", "a", "c"]
    assert pl.from_arrow(table)["text"].to_list() == ["two", "one", "three"]
    assert table.to_pandas()["text"].tolist() == ["two", "one", "three"]


async def test_what_is_read_into_a_table_can_be_the_failures_alone(results):
    """Any async iterable of rows will do."""
    async with results(GOOD, BAD) as rows:
        table = await arrow.read_table(row async for row in rows if not row.ok)
    assert table.to_pylist() == RECORDS[1:]


async def test_no_rows_are_a_table_without_rows():
    """It has the columns, and there is no batch."""
    assert (await arrow.read_table(rows_of(0), response=True)).schema.names[-1] == "response"
    assert [batch async for batch in arrow.to_arrow(rows_of(0))] == []


async def test_the_whole_response_is_a_column_if_it_is_asked_for(results):
    """As JSON text; null of a row that has none."""
    async with results(GOOD, BAD) as rows:
        table = await arrow.read_table(rows, response=True)
    text, nothing = table.column("response").to_pylist()
    assert (json.loads(text), nothing) == (COMPLETION, None)


async def test_a_line_that_cannot_be_read_is_a_record(results):
    """Without an id, and with what is wrong."""
    async with results(b"{", GOOD) as rows:
        table = await arrow.read_table(rows)
    assert table.column("custom_id").to_pylist() == [None, "r-0"]
    assert table.column("error_code").to_pylist() == ["unreadable", None]


async def test_a_lone_surrogate_becomes_a_question_mark(results):
    """Arrow's strings are UTF-8, which cannot hold it; the JSON text of the response can."""
    line = b'{"custom_id": "r", "response": {"choices": [{"message": {"content": "a\\ud800"}}]}}'
    async with results(line) as rows:
        (record,) = (await arrow.read_table(rows, response=True)).to_pylist()
    assert record["text"] == "a?"
    assert json.loads(record["response"])["choices"][0]["message"]["content"] == "a\ud800"


async def test_a_batch_has_a_bounded_number_of_rows():
    """Of many small rows."""
    sizes = [batch.num_rows async for batch in arrow.to_arrow(rows_of(16_384 + 5))]
    assert sizes == [16_384, 5]


@pytest.mark.parametrize("response", [False, True])
async def test_a_batch_has_a_bounded_size(response):
    """Of few large rows."""
    rows = rows_of(6, "x" * 5 * MIB)
    sizes = [batch.num_rows async for batch in arrow.to_arrow(rows, response=response)]
    assert sizes == ([1] * 6 if response else [2] * 3)


# --- Lines that pyarrow parses ------------------------------------------------------------------


def line_of(response=COMPLETION, **members):
    """A line of results, with further members."""
    return json.dumps({"custom_id": "r", "response": response, **members}).encode()


def with_choice(**members):
    """A response with such a choice."""
    return {"choices": [members]}


USUAL = line_of()
ODD = {
    "an error": line_of(None, error={"code": 429, "message": "wait"}),
    "an error as a string": line_of(None, error="wait"),
    "an error beside a response": line_of(error={"message": "no"}),
    "an empty error": line_of(error={}),
    "an error that is null": line_of(error=None),
    "an error under an escaped name": USUAL[:-1] + rb', "\u0065rror": "no"}',
    "no response": b'{"custom_id": "r"}',
    "no id": json.dumps({"response": COMPLETION}).encode(),
    "an id that is a number": line_of(custom_id=7),
    "an id that is null": line_of(custom_id=None),
    "a response that is wrapped": line_of({"status_code": 200, "body": COMPLETION}),
    "a wrapped response that failed": line_of({"status_code": 500, "body": None}),
    "a response that is a string": line_of("text"),
    "no choices": line_of({"usage": COMPLETION["usage"]}),
    "choices that are empty": line_of({"choices": []}),
    "a choice that is null": line_of({"choices": [None]}),
    "a message that is null": line_of(with_choice(message=None)),
    "a message that is a string": line_of(with_choice(message="text")),
    "a content that is null": line_of(with_choice(message={"content": None, "tool_calls": []})),
    "a content of parts": line_of(with_choice(message={"content": [{"type": "text"}]})),
    "a content that is a number": line_of(with_choice(message={"content": 7})),
    "a finish reason that is a number": line_of(with_choice(finish_reason=1)),
    "two choices": line_of({"choices": [*COMPLETION["choices"] * 2]}),
    "usage that is null": line_of({**COMPLETION, "usage": None}),
    "tokens that are no whole number": line_of({**COMPLETION, "usage": {"prompt_tokens": 1.5}}),
    "tokens with a fraction of 0": line_of({**COMPLETION, "usage": {"prompt_tokens": 1.0}}),
    "tokens that are a string": line_of({**COMPLETION, "usage": {"prompt_tokens": "7"}}),
    "tokens that are true": line_of({**COMPLETION, "usage": {"prompt_tokens": True}}),
    "tokens below 0": line_of({**COMPLETION, "usage": {"prompt_tokens": -7}}),
    "tokens of more than 64 bits": line_of({**COMPLETION, "usage": {"prompt_tokens": 2**63}}),
    "tokens that are not a number": USUAL.replace(b"7", b"NaN"),
    "NaN in a member that is no column": line_of({**COMPLETION, "logprobs": float("nan")}),
    "further members": line_of({**COMPLETION, "choices_": 1}, more=[{"error": "none"}]),
    "a name that is there twice": b'{"custom_id": "q", ' + USUAL[1:],
    "a text of other scripts": line_of(with_choice(message={"content": "ä 漢 🎉\0\n"})),
    "a text of other scripts, unescaped": json.dumps(
        {"custom_id": "漢", "response": with_choice(message={"content": "🎉"})}, ensure_ascii=False
    ).encode(),
    "half a surrogate pair": line_of(with_choice(message={"content": "a\ud83d"})),
    "the other half": line_of(with_choice(message={"content": "\ude00b"})),
    "half a pair in the id": line_of(custom_id="\ud83d"),
    "half a pair in a member that is no column": line_of({**COMPLETION, "model": "\ude00"}),
    "bytes that are no UTF-8": USUAL.replace(b"hello", b"\xff"),
    "no UTF-8 in a member that is no column": USUAL.replace(b"chatcmpl", b"\xff"),
    "no JSON": b"{",
    "no object": b"[1]",
    "nothing but blanks": b"  ",
    "a blank line": b"",
    "blanks around": b"  " + USUAL + b" \r",
    "two objects": USUAL + USUAL,
    "half an object, and half of another": b'{"custom_id": "a}\n{", "response": {"choices": []}}',
    "an object on two lines": USUAL.replace(b", ", b",\n"),
    "one on two lines, two on one": b'{"custom_id": "a",\n"response": {"choices": [{}]}}\n'
    + USUAL * 2,
    "an object whose halves look whole": b'{"a": {}\n{}, "b": {}}',
}


async def records_by_row(rows):
    """The records that the library makes of rows, as Arrow holds them."""
    return [*(await arrow.read_table(row async for row in rows)).to_pylist()]


@pytest.mark.parametrize("name", ODD)
async def test_a_line_is_the_same_record_by_pyarrow_and_by_the_library(results, name):
    """Alone, and between usual lines."""
    for lines in ([ODD[name]], [USUAL, ODD[name], USUAL], [ODD[name], USUAL, ODD[name]]):
        async with results(*lines) as rows:
            expected = await records_by_row(rows)
        async with results(*lines) as rows:
            assert (await arrow.read_table(rows)).to_pylist() == expected


async def test_a_line_that_is_nested_too_deeply_ends_nothing(results):
    """The library cannot read it, and pyarrow can: its stack is deep enough."""
    line = line_of(with_choice(x=0)).replace(b"0", b"[" * 100_000 + b"]" * 100_000)
    async with results(USUAL, line) as rows:
        assert (await arrow.read_table(rows)).num_rows == 2


async def test_usual_lines_are_parsed_by_pyarrow(monkeypatch, results):
    """And those with an error by the library: else nothing would be gained, and nothing proved."""
    read = []

    def note(line):
        read.append(line.rstrip())
        return ResultRow.from_line(line)

    monkeypatch.setattr(arrow, "ResultRow", type("", (), {"from_line": staticmethod(note)}))
    async with results(*[USUAL] * 3, ODD["an error"], USUAL) as rows:
        table = await arrow.read_table(rows)
    assert read == [ODD["an error"]]
    assert table.column("error_code").to_pylist() == [None, None, None, "429", None]


def test_usual_lines_are_read_once():
    """Their ids come from pyarrow, and the library reads no line to count it."""
    batch, ids = arrow._parsed(USUAL + b"\n" + USUAL)
    assert (batch.num_rows, ids) == (2, ["r", "r"])
    assert arrow._parsed(USUAL + b"\n" + ODD["an error"])[1] is None


async def test_batches_of_results_are_bounded(monkeypatch, results):
    """One for each block of lines, and no more than two blocks are under way."""
    monkeypatch.setattr("fireworks_batch.results.reading._BLOCK", len(USUAL) * 10)
    parsed, parse = [], arrow._parsed

    def note(lines):
        parsed.append(lines.count(b"\n"))
        return parse(lines)

    monkeypatch.setattr(arrow, "_parsed", note)
    taken = 0
    async with results(*[USUAL] * 500) as rows:
        async for batch in arrow.to_arrow(rows):
            taken += 1
            assert batch.num_rows <= 12
            assert len(parsed) <= taken + 1
    assert sum(parsed) == 500


async def test_the_report_is_there_after_the_lines(results):
    """As after the rows."""
    lines = [USUAL, ODD["an error"], b"{", USUAL.replace(b'"r"', b'"q"')]
    async with results(*lines) as rows:
        await records_by_row(rows)
        expected = rows.report
    async with results(*lines) as rows:
        await arrow.read_table(rows)
        assert rows.report == expected


async def test_a_response_that_decode_refuses_is_a_record_with_an_error(client, results):
    """Lines know nothing of it: the rows are converted, and keep their texts."""
    results(GOOD)

    def refuse(response):
        raise ValueError("no")

    async with client.results("nightly", decode=refuse) as rows:
        (record,) = (await arrow.read_table(rows)).to_pylist()
    assert (record["error_code"], record["text"]) == ("undecodable", "hello")


# --- Parquet ------------------------------------------------------------------------------------


async def test_results_are_written_to_parquet(results, tmp_path):
    """The same columns and records."""
    path = tmp_path / "rows.parquet"
    async with results(GOOD, BAD) as rows:
        await arrow.write_parquet(rows, path)
    table = parquet.read_table(path)
    assert table.schema == arrow.SCHEMA
    assert table.to_pylist() == RECORDS
    assert [*tmp_path.iterdir()] == [path]


async def test_a_parquet_file_without_rows_can_be_read(tmp_path):
    """A reader finds the columns."""
    await arrow.write_parquet(rows_of(0), str(tmp_path / "rows.parquet"), response=True)
    assert parquet.read_table(tmp_path / "rows.parquet").num_columns == 9


async def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Neither Arrow's, whose batches are written and dropped, nor Python's."""
    most = 0

    async def watched():
        nonlocal most
        async for row in rows_of(300, "x" * MIB):
            most = max(most, pa.total_allocated_bytes() - before)
            yield row

    before = pa.total_allocated_bytes()
    await arrow.write_parquet(watched(), tmp_path / "rows.parquet")
    assert 8 * MIB <= most <= 96 * MIB
    assert parquet.read_metadata(tmp_path / "rows.parquet").num_rows == 300


async def test_a_parquet_file_appears_when_it_is_complete(tmp_path):
    """Reading that fails leaves the older file, and nothing beside it."""
    path = tmp_path / "rows.parquet"
    path.write_text("old")

    async def broken():
        async for row in rows_of(40_000):
            yield row
        raise LocalFileError("cannot read the rows")

    with pytest.raises(LocalFileError, match="cannot read the rows"):
        await arrow.write_parquet(broken(), path)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


async def test_a_cancelled_write_leaves_nothing(tmp_path):
    """Neither a file nor a thread that writes into it."""
    begun = asyncio.Event()

    async def endless():
        while True:
            yield a_row("x" * MIB)
            if not begun.is_set() and [*tmp_path.iterdir()]:
                begun.set()
            await asyncio.sleep(0)

    writing = asyncio.create_task(arrow.write_parquet(endless(), tmp_path / "rows.parquet"))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [*tmp_path.iterdir()] == []


async def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, full_disk):
    """And leaves nothing."""
    path = tmp_path / "rows.parquet"
    with full_disk(MIB), pytest.raises(LocalFileError, match=r"cannot write '.*rows\.parquet'"):
        await arrow.write_parquet(rows_of(8, os.urandom(MIB // 2).hex()), path)
    assert [*tmp_path.iterdir()] == []


async def test_a_parquet_file_is_written_through_a_link(tmp_path):
    """The link stays."""
    (tmp_path / "link").symlink_to(tmp_path / "rows.parquet")
    await arrow.write_parquet(rows_of(1), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert parquet.read_table(tmp_path / "rows.parquet").num_rows == 1


async def test_a_parquet_file_has_the_permissions_of_the_file_that_it_replaces(tmp_path):
    """A new file has those of new files. Only its owner can read it before it is complete."""
    path, other = tmp_path / "rows.parquet", tmp_path / "other"
    other.touch()
    seen = []

    async def watched():
        seen.extend(each.stat().st_mode & 0o777 for each in tmp_path.glob(".*"))
        yield a_row()

    await arrow.write_parquet(watched(), path)
    assert (path.stat().st_mode, seen) == (other.stat().st_mode, [0o600])
    path.chmod(0o640)
    await arrow.write_parquet(rows_of(1), path)
    assert path.stat().st_mode & 0o777 == 0o640


async def test_a_pipe_is_not_replaced(tmp_path):
    """Nor is a device, such as /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LocalFileError, match="a pipe or a device"):
        await arrow.write_parquet(rows_of(1), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    assert len([*tmp_path.iterdir()]) == 1


async def test_a_directory_that_is_not_there_is_named(tmp_path):
    """As in all errors about files."""
    with pytest.raises(LocalFileError, match="not/there") as caught:
        await arrow.write_parquet(rows_of(1), tmp_path / "not" / "there")
    assert caught.value.errno == 2


async def test_a_loop_may_leave_the_batches(results):
    """And what it was reading."""
    async with results(*[GOOD] * 5) as rows, aclosing(arrow.to_arrow(rows)) as batches:
        async for batch in batches:
            assert batch.num_rows == 5
            break


# --- The command line ---------------------------------------------------------------------------


async def test_the_command_line_writes_parquet(emulator, results, tmp_path):
    """To a file or to stdout; rows with an error are in it, and in the file of errors."""
    results(GOOD, BAD)
    path, errors = tmp_path / "rows.parquet", tmp_path / "errors.jsonl"
    command = ("-m", "fireworks_batch.cli", "results", "nightly", "--format", "parquet")
    code, out, err = await run_process(emulator, *command, "-o", path, "--errors", errors)
    assert (code, out, err) == (6, "1 row succeeded, 1 failed\n", "")
    assert parquet.read_table(path).to_pylist() == RECORDS
    assert json.loads(errors.read_text()) == BAD
    process = await start(emulator, *command)
    data, _ = await process.communicate()
    assert (process.returncode, data) == (6, path.read_bytes())
