"""Result files on disk: order, blocks of whole lines, expected ids, the second pass."""

import io
import json
from pathlib import Path

import pytest

from fireworks_batch import ConfigurationError
from fireworks_batch.models.errors import LocalFileError
from fireworks_batch.results.id_sets import Found, IdSet
from fireworks_batch.results.reading import (
    ExpectedIds,
    _block_at,
    find_suspects,
    is_error_file,
    order_files,
)
from fireworks_batch.results.rows import read_rows

BOM = b"\xef\xbb\xbf"


def never() -> bool:
    """The caller waits."""
    return False


def blocks(path: Path, size: int) -> list[bytes]:
    """All blocks of a file."""
    found, start = [], 0
    while block := _block_at(path, start, size):
        found.append(block.data)
        start = block.end
    return found


def test_lines_cut_at_every_byte_are_whole(tmp_path):
    """Whatever the size of a block: CRLF, U+2028, blank lines, a mark, no end of the last line."""
    lines = [
        {"custom_id": text, "response": {"n": number}}
        for number, text in enumerate(["a", "b\u2028\u0085c", "\U0001f600", "", "last"])
    ]
    ends = ["\n", "\r\n", "\n\r\n\n", "\n  \n", ""]
    text = "".join(
        json.dumps(line, ensure_ascii=False) + end for line, end in zip(lines, ends, strict=True)
    )
    path = tmp_path / "rows"
    path.write_bytes(BOM + text.encode())

    for size in range(1, len(text.encode()) + 10):
        cut = blocks(path, size)
        read = [row for block in cut for row in read_rows(io.BytesIO(block))]
        assert b"".join(cut) == text.encode()
        assert lines == [{"custom_id": row.custom_id, "response": row.response} for row in read]


def test_an_empty_file_has_no_block(tmp_path):
    """Nor has one that holds a mark alone."""
    path = tmp_path / "error-data"
    path.touch()
    assert blocks(path, 10) == []
    path.write_bytes(BOM)
    assert blocks(path, 10) == []


def test_a_line_of_fifty_megabytes_is_one_block(tmp_path):
    """It needs the memory that it needs, once; the line after it is not touched."""
    path = tmp_path / "rows"
    long = b'{"custom_id": "long", "response": {"text": "' + b"x" * 50_000_000 + b'"}}\n'
    path.write_bytes(b"\n" + long + b'{"custom_id": "short", "response": {}}')

    first, second = blocks(path, 1000)

    assert first == b"\n" + long
    (row,) = read_rows(io.BytesIO(first))
    assert len(row.response["text"]) == 50_000_000
    assert [row.custom_id for row in read_rows(io.BytesIO(second))] == ["short"]


def test_a_file_that_is_gone_is_named(tmp_path):
    """With the system's reason."""
    with pytest.raises(LocalFileError, match=r"cannot read '.*gone': No such file"):
        _block_at(tmp_path / "gone", 0, 10)


def test_files_of_errors_are_known_by_their_base_name(tmp_path):
    """`error-data` has no ending; a folder's name says nothing."""
    assert is_error_file(Path("error-data"))
    assert is_error_file(Path("BIJErrorSet.jsonl"))
    assert not is_error_file(Path("errors/BIJOutputSet.jsonl"))


def test_results_are_read_first_and_the_jobs_own_before_others():
    """Whatever order they come in."""
    names = ["b/error-data", "a/error-data", "c/BIJOutputSet.jsonl", "b/BIJOutputSet.jsonl"]
    paths = [Path(name) for name in names]

    assert order_files(paths, "b") == (paths[3], paths[2], paths[0], paths[1])


def write_rows(path: Path, *ids: str) -> Path:
    """A file with a row for each id."""
    path.write_text("".join(json.dumps({"custom_id": x, "response": {}}) + "\n" for x in ids))
    return path


def seen(*ids: str) -> IdSet:
    """The ids of rows."""
    made = IdSet()
    made.update(ids)
    return made


def test_suspects_are_named_after_a_second_pass_over_all_files(tmp_path):
    """Rows of all files, expected ids of the spool; what cannot be read has no part in it."""
    one, two = write_rows(tmp_path / "1", "a", "b"), write_rows(tmp_path / "2", "c", "a")
    one.write_bytes(b"no row\n" + one.read_bytes())
    expected = ExpectedIds(tmp_path / "expected")
    expected.add(["b", "\ud800", "a"])
    expected.add(["line\nbreak"])

    found = find_suspects(seen("a", "b", "c", "a"), expected, [one, two], is_over=never)

    assert found.repeated == Found(("a",), 1)
    assert found.missing == Found(("\ud800", "line\nbreak"), 2)
    assert found.foreign == Found(("c",), 1)


def test_without_suspects_no_file_is_read(tmp_path):
    """A file that is not there would be missed."""
    found = find_suspects(seen("a", "b"), None, [tmp_path / "gone"], is_over=never)

    assert found.repeated == Found((), 0)
    assert found.missing is None
    assert found.foreign is None


def test_passes_end_when_nobody_waits_for_them(tmp_path):
    """Before the next block of any file."""
    path = write_rows(tmp_path / "1", "a", "a")
    expected = ExpectedIds(tmp_path / "expected")
    expected.add(["b"])

    found = find_suspects(seen("a", "a"), expected, [path], is_over=lambda: True)

    assert (found.repeated, found.missing, found.foreign) == (Found((), 0),) * 3


def test_nothing_expected_leaves_no_file(tmp_path):
    """An empty iterable is one that expects nothing."""
    expected = ExpectedIds(tmp_path / "expected")

    found = find_suspects(seen("a"), expected, [write_rows(tmp_path / "1", "a")], is_over=never)

    assert (found.missing, found.foreign) == (Found((), 0), Found(("a",), 1))


def test_expected_ids_of_an_input_file(tmp_path):
    """Its rows' ids, read twice; a mark and blank lines are no rows."""
    path = tmp_path / "input.jsonl"
    path.write_bytes(BOM + b'{"custom_id": "a", "body": {}}\n\n{"custom_id": "b", "body": {}}')

    expected = ExpectedIds(path)
    expected.read()

    assert len(expected.hashes) == 2
    assert list(expected.again(never)) == ["a", "b"]
    assert list(expected.again(lambda: True)) == []


def test_an_input_row_without_an_id_is_named(tmp_path):
    """What is expected must be known."""
    path = tmp_path / "input.jsonl"
    path.write_bytes(b'{"custom_id": "a"}\n{"body": {}}\n')

    with pytest.raises(ConfigurationError, match=r"expected: row 2 of '.*input.jsonl' has no cust"):
        ExpectedIds(path).read()


def test_an_input_file_that_is_not_there_is_named(tmp_path):
    """With the system's reason."""
    with pytest.raises(LocalFileError, match=r"cannot read '.*gone.jsonl': No such file"):
        ExpectedIds(tmp_path / "gone.jsonl").read()
