"""Requests, checked, counted, hashed and split in one pass, in place wherever that will do."""

import asyncio
import dataclasses
import gzip
import hashlib
import math
import os
import threading
from collections import OrderedDict
from types import MappingProxyType

import orjson
import pytest
from busy_threads import no_thread_free
from hypothesis import given, settings
from hypothesis import strategies as st

from fireworks_batch import ConfigurationError, InputRowsError, LocalFileError
from fireworks_batch.files import lines as input_files
from fireworks_batch.files.threads import off_loop
from fireworks_batch.models.dataset import Limits
from fireworks_batch.results.index import Kind, ResultIndex
from fireworks_batch.runs import scan as preflight
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import Spooled, prepare, spool
from fireworks_batch.runs.scan import Scan, ScanTerms


def row(custom_id="a", **members) -> bytes:
    """A good row with its line end."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    return orjson.dumps({"custom_id": custom_id, "body": body, **members}) + b"\n"


ROWS = [row(f"r{number}") for number in range(10)]


def terms(path, **changes) -> ScanTerms:
    """Terms of a scan into the file's own directory."""
    return ScanTerms(
        **{
            "path": path,
            "rules": RowRules(model="m"),
            "limits": Limits(),
            "directory": path.parent,
            **changes,
        }
    )


@pytest.fixture
def write(tmp_path):
    """Writes a file of requests."""

    def write(content: bytes, name="in.jsonl"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def contents(prepared) -> list[bytes]:
    """What would be uploaded, job by job."""
    return [shard.path.read_bytes() for shard in prepared.shards]


async def test_file_that_needs_no_change_is_used_where_it_is(write, tmp_path):
    """It is not copied; rows, bytes, digest and lines are those of the file."""
    path = write(b"".join(ROWS))
    prepared = await prepare(terms(path))
    (shard,) = prepared.shards

    assert path == shard.path
    assert (10, len(b"".join(ROWS))) == (shard.rows, shard.bytes)
    assert hashlib.sha256(b"".join(ROWS)).hexdigest() == shard.sha256
    assert (1, 10) == (shard.first_line, shard.last_line)
    assert [path] == list(tmp_path.iterdir())


async def test_missing_line_end_makes_no_other_content(write):
    """The last line may lack its end: it is sent with one, and under the same digest."""
    whole = await prepare(terms(write(b"".join(ROWS))))
    cut = await prepare(terms(write(b"".join(ROWS)[:-1], "cut.jsonl")))

    assert whole.shards[0].sha256 == cut.shards[0].sha256
    assert whole.shards[0].bytes == cut.shards[0].bytes
    assert contents(whole) == contents(cut)


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
async def test_rows_are_split_by_number(write, name):
    """Jobs of at most so many rows, in order, byte for byte, with the lines they come from."""
    prepared = await prepare(terms(write(b"".join(ROWS), name), limits=Limits(max_rows=4)))

    assert [b"".join(ROWS[:4]), b"".join(ROWS[4:8]), b"".join(ROWS[8:])] == contents(prepared)
    assert [(1, 4), (5, 8), (9, 10)] == [
        (shard.first_line, shard.last_line) for shard in prepared.shards
    ]
    for shard, content in zip(prepared.shards, contents(prepared), strict=True):
        assert hashlib.sha256(content).hexdigest() == shard.sha256


async def test_rows_are_split_by_bytes(write):
    """Jobs of at most so many bytes."""
    limits = Limits(max_bytes=2 * len(ROWS[0]))
    prepared = await prepare(terms(write(b"".join(ROWS)), limits=limits))

    assert [2] * 5 == [shard.rows for shard in prepared.shards]


async def test_row_that_no_job_takes_is_a_bad_one(write):
    """A row that is longer alone than a job may be says both lengths."""
    prepared = await prepare(terms(write(b"".join(ROWS)), limits=Limits(max_bytes=71)))

    assert 10 == prepared.problem_count
    assert "has 72 bytes; a job takes 71 (Limits.max_bytes)" == prepared.problems[0].reason


BLANKS = {
    "blank lines": b"\n" + ROWS[0] + b" \t\r\n" + ROWS[1] + b"\n\n",
    "a byte order mark": b"\xef\xbb\xbf" + ROWS[0] + ROWS[1],
    "both": b"\xef\xbb\xbf\n" + ROWS[0] + b"\n" + ROWS[1],
}


@pytest.mark.parametrize("name", BLANKS)
async def test_what_is_no_row_is_left_out(write, name):
    """Blank lines and a byte order mark do not get into what is sent, nor into its digest."""
    prepared = await prepare(terms(write(BLANKS[name])))

    assert [ROWS[0] + ROWS[1]] == contents(prepared)
    assert hashlib.sha256(ROWS[0] + ROWS[1]).hexdigest() == prepared.shards[0].sha256
    assert 0 == prepared.problem_count


async def test_lines_are_numbered_as_an_editor_does(write):
    """Blank lines count, so that a bad row is found by its number."""
    prepared = await prepare(terms(write(b"\n\n" + ROWS[0] + b"\n{\n")))

    assert [5] == [problem.line for problem in prepared.problems]


async def test_compressed_file_is_written_out(write):
    """The server takes no gzip: the rows of a .gz are written into a file of their own."""
    prepared = await prepare(terms(write(b"".join(ROWS), "in.jsonl.gz")))

    assert [b"".join(ROWS)] == contents(prepared)
    assert "shard-0.jsonl" == prepared.shards[0].path.name


async def test_bad_rows_are_all_counted_and_some_named(write):
    """Problems come with line, id and reason, up to a limit; the count has no limit."""
    path = write(b"".join(ROWS) + b'{"custom_id":"x"}\n' * 5)
    prepared = await prepare(terms(path, most_problems=3))

    assert 5 == prepared.problem_count
    assert [(11, "x"), (12, "x"), (13, "x")] == [
        (problem.line, problem.custom_id) for problem in prepared.problems
    ]


async def test_bad_rows_can_be_left_out(write):
    """Skipped rows are not in what is sent; the rest is byte for byte what it was."""
    path = write(ROWS[0] + b"{\n" + ROWS[1] + row("") + ROWS[2])
    prepared = await prepare(terms(path, skip_bad=True))

    assert [b"".join(ROWS[:3])] == contents(prepared)
    assert 2 == prepared.problem_count
    assert (1, 5) == (prepared.shards[0].first_line, prepared.shards[0].last_line)


@pytest.mark.parametrize("limits", [Limits(), Limits(max_rows=2)])
async def test_twin_is_found_wherever_it_is(write, limits):
    """A custom_id that was used before is named with both its lines, also across jobs."""
    path = write(b"".join(ROWS) + row("r3") + row("r3", url="/"))
    prepared = await prepare(terms(path, limits=limits))

    assert [
        (11, "r3", "custom_id is that of line 4 too"),
        (12, "r3", "custom_id is that of line 4 too"),
    ] == [(problem.line, problem.custom_id, problem.reason) for problem in prepared.problems]


async def test_twins_can_be_left_out(write):
    """When bad rows are skipped, the first of several twins stays."""
    path = write(row("a", x=1) + row("b") + row("a", x=2) + row("a", x=3))
    prepared = await prepare(terms(path, skip_bad=True))

    assert [row("a", x=1) + row("b")] == contents(prepared)
    assert 2 == prepared.problem_count


async def test_strangers_with_one_hash_are_no_twins(write, monkeypatch):
    """Two different ids that share a hash are told apart, and nothing is wrong."""
    original = preflight.IdSet
    monkeypatch.setattr(preflight, "IdSet", lambda: original(hash_id=lambda _: 7))
    prepared = await prepare(terms(write(b"".join(ROWS)), limits=Limits(max_rows=6)))

    assert 0 == prepared.problem_count
    assert [6, 4] == [shard.rows for shard in prepared.shards]


async def test_check_alone_writes_nothing(write, tmp_path):
    """Without files to be made, the numbers are the same and the directory stays as it was."""
    path = write(b"\n".join(ROWS))
    made = await prepare(
        terms(path, limits=Limits(max_rows=3), directory=tmp_path / "no", write=False)
    )

    assert [3, 3, 3, 1] == [shard.rows for shard in made.shards]
    assert [path] == list(tmp_path.iterdir())


pieces = st.lists(
    st.sampled_from([*ROWS[:5], b"\n", b"{\n", row("x", url="/"), row("y", method="POST")]),
    max_size=12,
)


@settings(max_examples=60)
@given(pieces, st.integers(1, 200), st.integers(1, 4), st.booleans())
def test_blocks_make_no_difference(tmp_path_factory, lines, size, most_rows, has_end):
    """However a file is cut into blocks, jobs, digests and problems are the same."""
    directory = tmp_path_factory.mktemp("blocks")
    path = directory / "in.jsonl"
    content = b"".join(lines)
    path.write_bytes(content if has_end else content[:-1])

    def scan(block):
        scan = Scan(terms(path, limits=Limits(max_rows=most_rows), skip_bad=True))
        scan._blocks = input_files.read_blocks(scan._file, size=block)
        while scan.advance():
            pass
        return (
            [(s.rows, s.bytes, s.sha256, s.first_line, s.last_line) for s in scan.shards],
            [shard.path.read_bytes().removesuffix(b"\n") for shard in scan.shards],
            scan.problems,
            scan.blank_lines,
        )

    assert scan(10_000) == scan(size)


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
@pytest.mark.parametrize("has_end", [True, False])
async def test_line_that_is_no_row_by_its_length_is_a_bad_one(write, monkeypatch, name, has_end):
    """It is named as any other, passed over before it fills the memory, and can be left out."""
    monkeypatch.setattr(preflight, "LONGEST_LINE", 200)
    monkeypatch.setattr(input_files.read_blocks, "__kwdefaults__", {"size": 64, "longest": None})
    good, end = row("a" * 50) + row("b"), b"\n" if has_end else b""
    path = write(good + b" " * 10_000 + b"\n" + row("c") + b"x" * 400 + end, name)
    prepared = await prepare(terms(path))
    left = await prepare(terms(path, skip_bad=True))

    assert [3, 5] == [each.line for each in prepared.problems]
    assert "is longer than 0 MiB, which no request is" in prepared.problems[0].reason
    assert [good + row("c")] == contents(left)
    assert (1, 4) == (left.shards[0].first_line, left.shards[0].last_line)


def test_long_line_is_passed_over_in_steps(tmp_path):
    """So that nobody waits for a file without line ends; what follows stands where it stands."""
    path = tmp_path / "x"
    path.write_bytes(b"a\n" + b"x" * 1000 + b"\nb\n")
    with path.open("rb") as file:
        blocks = list(input_files.read_blocks(file, size=10, longest=20))

    assert len(blocks) > 90
    assert [(b"a\n", 0), (b"b\n", 1003)] == [
        (block.data, block.start) for block in blocks if block.data
    ]
    assert [2] == [block.start for block in blocks if block.is_too_long]


async def test_ids_are_compared_as_what_they_mean(write):
    """An escape is another spelling, and no other id; what only looks the same is one."""
    lines = [row("a"), row("a").replace(b'"a"', b'"\\u0061"'), row("\u00e9"), row("e\u0301")]
    prepared = await prepare(terms(write(b"".join(lines))))

    assert ["line 2 (custom_id 'a'): custom_id is that of line 1 too"] == [
        str(problem) for problem in prepared.problems
    ]


@pytest.mark.parametrize(
    "line",
    [
        row("a").replace(b"\n", b"\r\n"),
        row("a").replace(b"hi", b"hi\xe2\x80\xa8there"),
        row("a").replace(b'"hi"', b'"hi","n":123456789012345678901234567890'),
        row("a" * 10_000),
        row("\0"),
    ],
    ids=["CRLF", "U+2028", "a huge number", "a long id", "NUL"],
)
async def test_odd_rows_are_sent_as_they_are(write, line):
    """What JSON allows is no business of ours, and is sent byte for byte from where it is."""
    path = write(line + row("b"))
    prepared = await prepare(terms(path))

    assert () == prepared.problems
    assert [path] == [shard.path for shard in prepared.shards]
    assert 2 == prepared.rows


@pytest.mark.parametrize("custom_id", [rb"\ud800", rb"\udc00\ud800", b"\xed\xa0\x80", b"\xff"])
async def test_id_that_cannot_be_written_is_a_bad_row(write, custom_id):
    """Half a surrogate pair, or bytes that are no UTF-8: no other system would read it the same."""
    prepared = await prepare(terms(write(row("@").replace(b"@", custom_id) + row("b"))))

    (problem,) = prepared.problems
    assert problem.reason.startswith(("not JSON: ", "not UTF-8: "))
    str(problem).encode()


async def test_compressed_file_may_have_several_members(write, tmp_path):
    """As `cat a.gz b.gz` makes it: all of it is read."""
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(row("a")) + gzip.compress(row("b")[:9]) + gzip.compress(b""))
    with path.open("ab") as file:
        file.write(gzip.compress(row("b")[9:]))

    assert [row("a") + row("b")] == contents(await prepare(terms(path)))


@pytest.mark.parametrize("place", [12, 30, -6])
async def test_compressed_file_that_was_changed_is_an_error(write, tmp_path, place):
    """A bit that fell over, wherever, is no row less and no other row: nothing is sent."""
    path = tmp_path / "in.jsonl.gz"
    data = bytearray(gzip.compress(b"".join(ROWS)))
    data[place] ^= 0x10
    path.write_bytes(data)

    with pytest.raises(InputRowsError, match=r"cannot read '.*/in.jsonl.gz' to its end: "):
        await prepare(terms(path))


async def test_damaged_gzip_is_an_error(tmp_path):
    """A compressed file that was cut off says so."""
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(ROWS))[:-12])

    with pytest.raises(InputRowsError, match=r"cannot read '.*/in.jsonl.gz' to its end: "):
        await prepare(terms(path))


async def test_changed_file_is_noticed(write):
    """A file that is written to after the check is not sent under the old digest."""
    path = write(b"".join(ROWS))
    prepared = await prepare(terms(path))
    prepared.shards[0].check_unchanged()
    path.write_bytes(b"".join(ROWS[:5]))

    with pytest.raises(ConfigurationError, match="was changed after it was checked"):
        prepared.shards[0].check_unchanged()


@pytest.mark.parametrize("twin", [b"", row("b")])
async def test_index_is_told_the_ids_in_the_same_pass(write, tmp_path, twin):
    """What results are compared with are the rows that were checked, each once, in their order."""
    path = write(row("b") + row("a") + twin)
    index = ResultIndex(tmp_path / "index.sqlite")
    await prepare(terms(path, skip_bad=True), index)
    index.choose()
    found = [each.custom_id for each in index.page((Kind.MISSING,))]
    index.close()

    assert ["b", "a"] == found


# --- Requests that are no file ------------------------------------------------------------------


def mapping(custom_id="a") -> dict:
    """A good row as a mapping."""
    return {"custom_id": custom_id, "body": {"messages": [{"role": "user", "content": "é"}]}}


async def some(items):
    """An async iterable."""
    for item in items:
        yield item


@pytest.mark.parametrize(
    "make",
    [
        lambda items: items,
        iter,
        some,
        lambda items: (OrderedDict(item) for item in items),
        lambda items: [MappingProxyType(item) for item in items],
    ],
)
async def test_mappings_are_written_to_a_file(tmp_path, make):
    """Any iterable of any mappings, one a line, in its order."""
    items = [mapping(f"r{number}") for number in range(5)]
    spooled = await spool(make(items), tmp_path / "requests.jsonl")

    assert () == spooled.problems
    assert items == [orjson.loads(line) for line in spooled.path.read_bytes().splitlines()]


async def test_path_is_used_where_it_is(write, tmp_path):
    """A file is not copied, whether it is given as a text or as a path."""
    path = write(ROWS[0])

    assert Spooled(path) == await spool(str(path), tmp_path / "x")
    assert Spooled(path) == await spool(path, tmp_path / "x")


async def test_mapping_that_is_no_json_is_a_bad_row(tmp_path):
    """It is named by its number and id, and leaves a blank line, so that others keep theirs."""
    items = [mapping("a"), {"custom_id": "b", "body": {1, 2}}, mapping("c"), {"x": "\ud800"}]
    spooled = await spool(items, tmp_path / "requests.jsonl")

    assert [(2, "b"), (4, None)] == [(each.line, each.custom_id) for each in spooled.problems]
    assert "cannot be written as JSON: " in spooled.problems[0].reason
    few = await spool(items, tmp_path / "requests.jsonl", most_problems=1)
    assert (1, 2) == (len(few.problems), few.problem_count)
    assert [b"", b""] == spooled.path.read_bytes().split(b"\n")[1::2][:2]


@dataclasses.dataclass(slots=True)
class Body:
    """Something that it does."""

    messages: list
    top_p: float


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda number: {"temperature": number},
        lambda number: {"a": [{"b": (None, number)}]},
        lambda number: MappingProxyType({"a": number}),
        lambda number: Body([], number),
    ],
)
async def test_number_that_json_does_not_have_is_a_bad_row(tmp_path, number, wrap):
    """It would be sent as null in silence, wherever it stands."""
    items = [mapping("a"), {"custom_id": "b", "body": wrap(number)}]
    spooled = await spool(items, tmp_path / "requests.jsonl")

    assert [(2, "b", f"cannot be written as JSON: {number} is not a JSON number")] == [
        (each.line, each.custom_id, each.reason) for each in spooled.problems
    ]


async def test_null_is_a_value_as_any_other(tmp_path):
    """What the caller gives as None, or as the word, is sent as that."""
    items = [{"custom_id": "null", "body": {"stop": None, "a": Body([1.5, "null"], 0.5)}}]
    spooled = await spool(items, tmp_path / "requests.jsonl")

    assert () == spooled.problems
    assert {"stop": None, "a": {"messages": [1.5, "null"], "top_p": 0.5}} == orjson.loads(
        spooled.path.read_bytes()
    )["body"]


@pytest.mark.parametrize("requests", [7, None, b"abc", {"custom_id": "a"}])
async def test_what_are_no_requests_is_refused(tmp_path, requests):
    """What is neither a path nor an iterable of mappings is named by its type."""
    with pytest.raises(ConfigurationError, match=type(requests).__name__):
        await spool(requests, tmp_path / "x")


async def test_file_that_cannot_be_read_is_named(tmp_path):
    """A file that is not there, or is a directory, or of another kind, is an error."""
    (tmp_path / "d.jsonl").mkdir()

    with pytest.raises(LocalFileError, match=r"cannot read '.*no\.jsonl': No such file"):
        await spool(tmp_path / "no.jsonl", tmp_path / "x")
    with pytest.raises(LocalFileError, match=r"cannot read '.*d\.jsonl': it is a directory"):
        await spool(tmp_path / "d.jsonl", tmp_path / "x")
    with pytest.raises(LocalFileError, match=r"cannot read '.*': it is a directory"):
        await spool(tmp_path, tmp_path / "x")
    for name in ("rows.csv", "a\0b.jsonl"):
        with pytest.raises(ConfigurationError, match=r"ends in \.jsonl or \.jsonl\.gz"):
            await spool(tmp_path / name, tmp_path / "x")


async def test_pipe_is_not_waited_for(tmp_path):
    """Nobody may ever write to it, and it could not be read twice."""
    os.mkfifo(tmp_path / "pipe.jsonl")

    with pytest.raises(ConfigurationError, match=r"pipe\.jsonl' is a pipe or a device"):
        await spool(tmp_path / "pipe.jsonl", tmp_path / "x")


async def test_error_of_an_iterable_is_its_own(tmp_path):
    """What the caller's iterable raises comes through as it is."""

    def items():
        yield mapping()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await spool(items(), tmp_path / "x")


@pytest.mark.parametrize("is_async", [True, False])
async def test_generator_is_closed_when_it_is_given_up(tmp_path, is_async):
    """What it holds is let go at once, not when somebody collects the garbage."""
    closed = []

    def items():
        try:
            for number in range(10_000):
                yield mapping(f"r{number}")
        finally:
            closed.append(True)

    async def more():
        try:
            for number in range(10_000):
                yield mapping(f"r{number}")
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    given = more() if is_async else items()
    task = asyncio.create_task(spool(given, tmp_path / "y"))
    while not (tmp_path / "y").exists() or not (tmp_path / "y").stat().st_size:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [True] == closed


# --- Threads ------------------------------------------------------------------------------------


async def test_cancelled_work_is_told_and_waited_for():
    """Cancelling a step tells its thread, and returns only when the thread is done with files."""
    told, begun = threading.Event(), threading.Event()
    ended = []

    def work():
        begun.set()
        told.wait(10)
        ended.append(True)

    task = asyncio.create_task(off_loop(work, stop=told.set))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [True] == ended


async def test_what_cancelled_work_has_opened_is_closed(tmp_path):
    """What a thread makes for somebody who is gone is undone at once."""
    begun, go_on = threading.Event(), threading.Event()
    undone = []

    def work():
        begun.set()
        go_on.wait(10)
        return 7

    task = asyncio.create_task(off_loop(work, undo=undone.append))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [7] == undone


async def test_preflight_can_be_cancelled(write):
    """A pass that is given up closes its files and raises the cancellation."""
    path = write(b"".join(ROWS))
    with no_thread_free():
        task = asyncio.create_task(prepare(terms(path)))
        await asyncio.sleep(0)
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
