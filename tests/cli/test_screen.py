"""What is shown of jobs that are followed: rows from snapshots, and tables from rows."""

import io
import re
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fireworks_batch import (
    AuthenticationError,
    BatchInferenceJob,
    JobPhase,
    JobProgress,
    JobSnapshot,
    JobState,
    WaitTimeoutError,
)
from fireworks_batch.cli.display.board import Board, Outcome, Row, slowest, totals
from fireworks_batch.cli.display.screen import bar, screen, whole
from fireworks_batch.cli.exit_codes import ExitCode

CODES = re.compile(r"\x1b\[[0-9;]*m")
NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)


def a_job(job_id="nightly", state="RUNNING", ok=97, failed=3, total=1000):
    """A job with counters."""
    progress = JobProgress(
        total_input_requests=total,
        total_processed_requests=ok + failed,
        successfully_processed_requests=ok,
        failed_requests=failed,
    )
    return BatchInferenceJob(
        name=f"accounts/acme/batchInferenceJobs/{job_id}",
        state=JobState(state),
        job_progress=progress,
    )


def a_snapshot(job=None, **members):
    """A snapshot of a job."""
    defaults = {
        "job": job or a_job(),
        "previous_state": None,
        "changed": True,
        "number": 1,
        "observed_at": NOON,
        "elapsed": 60.0,
        "unchanged_for": 10.0,
        "percent": 10.0,
        "rate": 2.0,
        "eta": 450.0,
    }
    return JobSnapshot(**defaults | members)


def drawn(rows, *, width=80, height=24, shown=None):
    """The lines of a screen."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, no_color=True)
    console.print(shown or screen(rows, width=width, height=height))
    return [line.rstrip() for line in CODES.sub("", out.getvalue()).split("\n")[:-1]]


# --- The board ----------------------------------------------------------------------------------


def test_a_job_nobody_has_seen_has_a_row():
    """With its name, and an ellipsis for its state."""
    (row,) = Board(["nightly"]).rows(now=0.0)
    assert (row.job_id, row.state, row.percent) == ("nightly", "…", None)


def test_a_row_is_the_newest_snapshot():
    """State, rows, rate and what is left, as observed."""
    board = Board(["nightly"])
    board.see(a_snapshot(), now=100.0)
    (row,) = board.rows(now=100.0)
    assert row == Row(
        job_id="nightly",
        state="RUNNING",
        phase=JobPhase.RUNNING,
        percent=10.0,
        succeeded=97,
        failed=3,
        total=1000,
        rate=2.0,
        eta=450.0,
        unchanged_for=10.0,
        is_seen=True,
    )


def test_times_are_carried_on_between_two_snapshots():
    """What is left counts down to 0, what has not changed counts up."""
    board = Board(["nightly"])
    board.see(a_snapshot(), now=100.0)
    (row,) = board.rows(now=130.0)
    assert (row.eta, row.unchanged_for) == (420.0, 40.0)
    (row,) = board.rows(now=1000.0)
    assert row.eta == 0.0


def test_failed_polls_are_counted_until_a_snapshot():
    """A snapshot clears the number."""
    board = Board(["nightly"])
    board.count_failed_polls("nightly", 3)
    assert board.rows(now=0.0)[0].failed_polls == 3
    board.see(a_snapshot(), now=1.0)
    assert board.rows(now=1.0)[0].failed_polls == 0


def test_an_ended_job_stands_still():
    """Its code is known, nothing is left, and its times go on no more."""
    board = Board(["nightly"])
    job = a_job(state="COMPLETED", ok=997)
    board.see(a_snapshot(job, percent=100.0), now=0.0)
    board.end(Outcome("nightly", job, None))
    (row,) = board.rows(now=500.0)
    assert (row.code, row.eta, row.rate) == (ExitCode.ROWS_FAILED, None, None)
    assert row.unchanged_for == 10.0
    assert board.open_rows == []


def test_the_code_of_a_board_is_its_worst():
    """A job that was given up counts by its error."""
    board = Board(["one", "two", "three"])
    assert board.code is ExitCode.SUCCEEDED
    board.end(Outcome("one", a_job("one", "COMPLETED", failed=0), None))
    board.end(Outcome("two", a_job("two"), WaitTimeoutError("no")))
    assert board.code is ExitCode.GAVE_UP
    assert [row.job_id for row in board.open_rows] == ["three"]
    board.end(Outcome("three", None, AuthenticationError("no", status=401)))
    assert board.code is ExitCode.UNAUTHORISED


def test_a_job_given_twice_is_one_job():
    """In the order of the first mention."""
    assert Board(["b", "a", "b"]).job_ids == ["b", "a"]


def test_totals_are_sums():
    """Rates add up; the last job to end says how long it takes."""
    board = Board(["one", "two", "three", "four"])
    board.see(a_snapshot(a_job("one")), now=0.0)
    board.see(a_snapshot(a_job("two"), rate=3.0, eta=100.0), now=0.0)
    failed = a_job("three", "FAILED", 0, 0, 0)
    board.see(a_snapshot(failed, rate=None, eta=0.0), now=0.0)
    board.end(Outcome("three", failed, None))
    sums = totals(board.rows(now=0.0))
    assert (sums.jobs, sums.ended, sums.unsuccessful) == (4, 1, 1)
    assert (sums.succeeded, sums.failed, sums.total) == (194, 6, 2000)
    assert (sums.rate, sums.eta) == (5.0, 450.0)
    assert sums.phases == {JobPhase.RUNNING: 2, JobPhase.TERMINAL: 1, JobPhase.UNKNOWN: 1}


def test_the_slowest_are_those_least_far_along():
    """Of two that are as far, the one that has stood still longer; ended ones are left out."""
    rows = [
        Row(job_id="far", percent=80.0),
        Row(job_id="fresh", percent=10.0, unchanged_for=1.0),
        Row(job_id="stuck", percent=10.0, unchanged_for=900.0),
        Row(job_id="unseen"),
        Row(job_id="over", percent=5.0, code=ExitCode.EXPIRED),
    ]
    assert [row.job_id for row in slowest(rows, 3)] == ["unseen", "stuck", "fresh"]


# --- The screen ---------------------------------------------------------------------------------

RUNNING = Row(
    job_id="nightly-eval",
    state="RUNNING",
    phase=JobPhase.RUNNING,
    percent=45.0,
    succeeded=4497,
    failed=3,
    total=10_000,
    rate=12.3,
    eta=447.0,
    unchanged_for=5.0,
)


def test_at_120_columns_all_is_there():
    """Job, state, bar, percent, rows ok and failed, rate, and what is left."""
    heading, line = drawn([RUNNING], width=120)
    assert heading.split() == ["job", "state", "done", "ok", "failed", "rate", "left"]
    assert [word for word in line.split() if "━" not in word] == [
        "nightly-eval",
        "RUNNING",
        "45.0%",
        "4,497",
        "3",
        "12/s",
        "7m",
    ]
    assert "━━━━" in line


def test_at_80_columns_only_the_bar_is_shorter():
    """Even with a long state and something to note."""
    row = attrs.evolve(RUNNING, state="WRITING_RESULTS", unchanged_for=300.0)
    heading, line = drawn([row], width=80)
    assert heading.split() == ["job", "state", "done", "ok", "failed", "rate", "left"]
    assert re.split(" {2,}| (?=[━W])", line)[:3] == ["nightly-eval", "WRITING_RESULTS", "━━━╸"]
    assert line.endswith("45.0% 4,497      3 12/s   7m same 5m")


def test_at_64_columns_bar_and_failed_rows_stay():
    """Rows done well and the rate go first."""
    heading, line = drawn([RUNNING], width=64)
    assert heading.split() == ["job", "state", "done", "failed", "left"]
    assert "━━━" in line


def test_at_40_columns_job_state_and_percent_stay():
    """Nothing is broken over two lines."""
    heading, line = drawn([RUNNING], width=40)
    assert heading.split() == ["job", "state", "done"]
    assert line.split() == ["nightly-eval", "RUNNING", "45.0%"]


@pytest.mark.parametrize("width", [40, 50, 60, 70, 80])
def test_a_long_id_is_cut_in_its_middle_and_no_figure_is(width):
    """As a run makes them: a name, what is different about the job, and a generation."""
    row = attrs.evolve(RUNNING, job_id="nightly-2026-11-23-5fnhbr3ecgsmjqgrkdtx-0")
    heading, line = drawn([row], width=width)
    job, *others = line.split()
    assert re.fullmatch(r"nigh[\w-]*…[\w-]+-0", job)
    assert "…" not in heading
    assert not {"RUNNING", "45.0%"} - {*others}
    assert width - 9 <= len(line) <= width  # a bar, a rate and what is left may be shorter


def test_words_that_do_not_fit_beside_a_bar_stand_below():
    """And on a narrow terminal they are all there is, on as many lines as they take."""
    words = "running 40.0% (160 of 400 rows), 0 of 8 jobs ended, 308/s, 1.2s left"

    def lines(width):
        out = io.StringIO()
        Console(file=out, width=width).print(bar(40.0, words, width=width))
        return out.getvalue().splitlines()

    assert len(lines(100)) == 1
    assert [set(line) <= set("━╸╺ ") for line in lines(80)] == [True, False]
    assert lines(80)[1].strip() == words
    assert " ".join(map(str.strip, lines(40))) == words


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"failed_polls": 2}, "2 failed polls"),
        ({"failed_polls": 1234}, "99+ failed polls"),
        ({"unchanged_for": 300.0}, "same 5m"),
        ({"unchanged_for": 80.0}, ""),
        ({"code": ExitCode.GAVE_UP}, "gave up"),
        ({"code": ExitCode.FAILED, "unchanged_for": 300.0}, ""),
    ],
)
def test_what_is_unusual_is_noted(change, note):
    """Failed polls first, then how long nothing has changed, if that is long."""
    line = drawn([attrs.evolve(RUNNING, **change)], width=120)[1]
    assert line.partition("7m")[2].strip() == note


def test_many_jobs_are_summed_up():
    """Phases, rows and failures of all, and below them the slowest that fit."""
    rows = [
        attrs.evolve(RUNNING, job_id=f"shard-{number:03}", percent=number / 5)
        for number in range(500)
    ]
    rows[499] = attrs.evolve(rows[499], code=ExitCode.FAILED, phase=JobPhase.TERMINAL)
    lines = drawn(rows)
    assert lines[0] == "500 jobs: 499 running, 1 ended, 1 of them without success"
    assert lines[1].endswith("45.0%")
    assert lines[2] == "2.2M of 5.0M rows, 1,500 failed, 6,150/s, 7m left"
    assert lines[3] == "slowest:"
    assert [line.split()[0] for line in lines[5:8]] == ["shard-000", "shard-001", "shard-002"]
    assert len(lines) <= 23


@settings(max_examples=40)
@given(
    count=st.integers(1, 60),
    width=st.integers(20, 200),
    height=st.integers(5, 60),
    name=st.text(min_size=1, max_size=80),
    number=st.integers(0, 10**9),
)
def test_no_screen_is_larger_than_its_terminal(count, width, height, name, number):
    """Whatever the names and numbers are: no line is broken, and nothing scrolls."""
    row = attrs.evolve(RUNNING, job_id=name, state="CREATING_INPUT_DATASET", succeeded=number)
    lines = drawn([row] * count, width=width, height=height)
    assert len(lines) < height
    assert all(cell_len(line) <= width for line in lines)


WORDS = "running 45.0% (450 of 1,000 rows, 3 failed), 0 of 2 jobs ended, 10/s, 50s left"


def test_below_the_bar_of_a_whole_stand_its_jobs():
    """A line each, with their own figures."""
    rows = [RUNNING, attrs.evolve(RUNNING, job_id="other")]
    _, words, heading, *jobs = drawn(rows, shown=whole(45.0, WORDS, rows, width=80, height=24))
    assert words == WORDS
    assert heading.split()[:2] == ["job", "state"]
    assert [line.split()[0] for line in jobs] == [RUNNING.job_id, "other"]


@settings(max_examples=40)
@given(count=st.integers(1, 60), width=st.integers(20, 200), height=st.integers(8, 60))
def test_a_whole_and_its_jobs_are_no_larger_than_their_terminal(count, width, height):
    """Where there is no room for jobs, the bar stands alone."""
    rows = [RUNNING] * count
    lines = drawn(rows, width=width, shown=whole(45.0, WORDS, rows, width=width, height=height))
    assert len(lines) < height
    assert all(cell_len(line) <= width for line in lines)
