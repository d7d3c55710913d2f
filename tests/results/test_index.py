"""The index of results on disk: which result of a row counts, where it is, how many there are."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fireworks_batch.files.lines import LONGEST_LINE
from fireworks_batch.models.errors import LocalFileError
from fireworks_batch.results.index import Kind, ResultIndex


def line(custom_id, kind="OK", **members) -> bytes:
    """A result as a line."""
    return orjson.dumps({"custom_id": custom_id, "kind": kind, **members})


def read(text):
    """Read such a line."""
    try:
        value = orjson.loads(text)
        return value["custom_id"], Kind[value["kind"]]
    except (ValueError, KeyError, TypeError):
        return None


@pytest.fixture
def index(tmp_path):
    """An empty index."""
    made = ResultIndex(tmp_path / "index.sqlite")
    yield made
    made.close()


@pytest.fixture
def add(index, tmp_path):
    """Adds a file of results of a job."""

    def add(job, *lines):
        path = tmp_path / f"{len(index.files)}.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        for _ in index.add_job(job, [path], read):
            pass

    return add


def test_results_come_in_the_order_of_the_input(index, add):
    """However the server shuffles them, and from however many files."""
    index.expect(["c", "a", "b"])
    add(0, line("b"), line("c"))
    add(1, line("a", "FAILED"))
    tally = index.choose()

    kinds = (Kind.OK, Kind.FAILED, Kind.RETRYABLE)
    assert ["c", "a", "b"] == [each.custom_id for each in index.page(kinds)]
    assert [1, 2, 3] == [each.position for each in index.page(kinds)]
    assert ["c", "b"] == [each.custom_id for each in index.page((Kind.OK,))]
    assert (2, 1, 0) == (tally.succeeded, tally.failed, tally.missing)


def test_row_without_a_result_is_missing(index, add):
    """It is counted and named; there is nothing to find."""
    index.expect(["a", "b"])
    add(0, line("a"))

    assert 1 == index.choose().missing
    assert ["b"] == [each.custom_id for each in index.page((Kind.MISSING,))]
    assert index.find("b") is None


def test_success_beats_failure_whatever_came_first(index, add):
    """A row that succeeded once has succeeded; the first success counts, else the last failure."""
    index.expect(["a", "b", "c"])
    add(5, line("a", "FAILED"), line("b", n=5), line("c", "RETRYABLE", n=5))
    add(9, line("a", n=9), line("b", "FAILED"), line("c", "FAILED", n=9))
    add(7, line("b", n=7), line("c", "RETRYABLE", n=7))
    tally = index.choose()

    assert line("a", n=9) == index.find("a")
    assert line("b", n=5) == index.find("b")
    assert line("c", "FAILED", n=9) == index.find("c")
    assert (2, 1, 0) == (tally.succeeded, tally.failed, tally.duplicate)


def test_duplicates_are_those_of_one_job(index, add):
    """A row that came twice from one job is a duplicate; one that was sent again is not."""
    index.expect(["a", "b"])
    add(0, line("a"), line("a", "FAILED"), line("a"), line("b", "FAILED"))
    add(1, line("b"))

    assert 2 == index.choose().duplicate


def test_rows_nobody_asked_for_are_foreign(index, add):
    """They are counted, and are no results."""
    index.expect(["a"])
    add(0, line("a"), line("x"), line("y"), line("y"))
    tally = index.choose()

    assert (1, 2) == (tally.succeeded, tally.foreign)
    assert index.find("x") is None


def test_without_the_input_the_order_is_that_of_ids(index, add):
    """Where nobody says what was asked for, all rows count."""
    add(0, line("b"), line("a", "FAILED"))
    add(1, line("a"))
    tally = index.choose()

    assert ["a", "b"] == [each.custom_id for each in index.page((Kind.OK,))]
    assert (2, 0, 0, 0) == (tally.succeeded, tally.failed, tally.missing, tally.foreign)
    assert line("a") == index.find("a")


def test_more_can_be_added_and_chosen_later(index, add):
    """A second choice knows all files."""
    index.expect(["a", "b"])
    add(0, line("a"))
    assert 1 == index.choose().missing
    add(1, line("b"))

    tally = index.choose()
    assert 0 == tally.missing
    assert line("b") == index.find("b")


def test_lines_that_are_no_rows_are_counted(index, add):
    """An unreadable line costs itself only; blank ones cost nothing."""
    index.expect(["a"])
    add(0, b"{", b"", b"[]  ", line("a"))
    tally = index.choose()

    assert 2 == tally.unreadable
    assert 1 == tally.succeeded
    assert line("a") == index.find("a")


def test_result_may_be_of_any_length(index, add):
    """It was paid for: what is too long for a row of requests is no reason to lose it."""
    long = line("b", answer="x" * (LONGEST_LINE + 2**21))
    add(0, line("a"), long, line("c"))

    tally = index.choose()
    assert (3, 0) == (tally.succeeded, tally.unreadable)
    assert long == index.find("b")


def test_pages_go_on_where_they_stopped(index, add):
    """Pages of any size give each row once, and stop at a given position."""
    ids = [f"{number:02}" for number in range(10)]
    index.expect(ids)
    add(0, *map(line, reversed(ids)))
    index.choose()
    seen, after = [], 0
    while page := index.page((Kind.OK,), after=after, size=3):
        seen += [each.custom_id for each in page]
        after = page[-1].position

    assert ids == seen


def test_more_files_than_may_be_open(index, add):
    """Lines are found in any number of files, of which few are open at a time."""
    ids = [f"{number:03}" for number in range(100)]
    index.expect(ids)
    for number, custom_id in enumerate(ids):
        add(number, line(custom_id))
    index.choose()

    assert [line(each) for each in ids] == [index.find(each) for each in ids]
    assert len(index._open) <= 32


results = st.lists(
    st.tuples(
        st.sampled_from("abcde"), st.sampled_from(["OK", "FAILED", "RETRYABLE"]), st.integers(0, 3)
    ),
    max_size=20,
)


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abcd"), unique=True), results)
def test_numbers_add_up_whatever_comes(tmp_path_factory, expected, rows):
    """Each row asked for is succeeded, failed or missing; the rest is foreign or duplicate."""
    directory = tmp_path_factory.mktemp("index")
    index = ResultIndex(directory / "index.sqlite")
    if expected:
        index.expect(expected)
    jobs = sorted({job for _, _, job in rows})
    for job in jobs:
        path = directory / f"{job}.jsonl"
        path.write_bytes(b"".join(line(i, k) + b"\n" for i, k, j in rows if j == job))
        for _ in index.add_job(job, [path], read):
            pass
    tally = index.choose()
    index.close()
    wanted = set(expected) or {custom_id for custom_id, _, _ in rows}
    good = {custom_id for custom_id, kind, _ in rows if kind == "OK"} & wanted
    there = {custom_id for custom_id, _, _ in rows}

    assert len(wanted) == tally.succeeded + tally.failed + tally.missing
    assert len(good) == tally.succeeded
    assert len(wanted - there) == tally.missing
    assert len(there - wanted) == tally.foreign
    assert len(rows) - len({(custom_id, job) for custom_id, _, job in rows}) == tally.duplicate


def test_page_of_long_lines_is_short(index, add):
    """Pages are bounded by their bytes too, and still each row comes once."""
    ids = ["a", "b", "c", "d"]
    index.expect(ids)
    add(
        0,
        *(
            line(each, text="x" * 10**6 * size)
            for each, size in zip(ids, [3, 3, 3, 9], strict=True)
        ),
    )
    index.choose()
    pages, after = [], 0
    while page := index.page((Kind.OK,), after=after):
        pages.append([each.custom_id for each in page])
        after = page[-1].position

    assert [["a", "b"], ["c"], ["d"]] == pages


def test_files_of_a_job_replace_those_before(index, add):
    """An output that was half there is read again, and counts once."""
    add(1, line("z"))
    add(0, line("a"), b"{")
    add(0, line("a"), line("b", "FAILED"), line("a"))
    index.expect(["a", "b", "z"])
    tally = index.choose()

    assert (1, 2, 0) == index.rows_of(0)
    assert (2, 1, 0, 1) == (tally.succeeded, tally.failed, tally.unreadable, tally.duplicate)


def test_rows_to_be_run_again_are_those_of_some_jobs(index, add):
    """By their positions: the first success counts, else the newest failure."""
    index.expect(["x", "a", "b", "c", "d"])
    add(0, line("a"), line("b", "RETRYABLE"), line("c", "RETRYABLE"))
    add(1, line("a", "FAILED"), line("b", "FAILED"), line("d"))
    every = (Kind.MISSING, Kind.RETRYABLE, Kind.FAILED)

    assert [3, 4, 5] == index.positions(every, jobs=[0], first=2, last=5)
    assert [3, 4] == index.positions(every, jobs=[0, 1], first=2, last=5)
    assert [4] == index.positions((Kind.RETRYABLE, Kind.MISSING), jobs=[0, 1], first=2, last=5)
    assert [1] == index.positions((Kind.MISSING,), jobs=[7, 1], first=1, last=1)


def test_rows_that_the_results_lack(index, add):
    """Ids that were not asked for do not count, unless what was asked for is not known."""
    add(0, line("a"), line("b", "FAILED"))
    index.choose()
    assert index.lacks(["x"])
    index.expect(["a", "b", "c"])
    index.choose()

    assert not index.lacks(["a", "x"])
    assert index.lacks(["a", "b"])
    assert index.lacks(["c"])


def test_file_that_has_become_shorter_is_an_error(index, add):
    """A line is whole, or it is not read at all."""
    index.expect(["a"])
    add(0, line("a"))
    index.choose()
    with index.files[0].open("r+b") as file:
        file.truncate(3)

    with pytest.raises(LocalFileError, match="shorter"):
        index.find("a")


def test_file_that_is_gone_is_an_error_that_names_it(index, add):
    """Something may have emptied the temporary directory."""
    index.expect(["a"])
    add(0, line("a"))
    index.choose()
    index.files[0].unlink()

    with pytest.raises(LocalFileError, match=r"cannot read '.*': No such file"):
        index.find("a")
