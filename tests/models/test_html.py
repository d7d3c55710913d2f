"""What a notebook shows of values: tables, with every value escaped."""

import re
from datetime import UTC, datetime
from html import escape

import attrs
import pytest
from html_tables import shown, tables
from hypothesis import example, given
from hypothesis import strategies as st

from fireworks_batch import (
    AdoptedJob,
    BatchInferenceJob,
    CheckReport,
    FleetProgress,
    JobPlan,
    JobProgress,
    JobReport,
    JobSnapshot,
    JobState,
    ResultsReport,
    RowContents,
    RowProblem,
    RunProgress,
    RunReport,
    RunStage,
    Status,
    StatusCode,
    TransportError,
)
from fireworks_batch.models.html import duration, facts, percent, rate, some, table

NOON = datetime(2026, 9, 14, 12, 0, 5, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script><img src=\"x\" onerror=x>&amp;"
# --- The table ----------------------------------------------------------------------------------


def test_a_table_has_its_cells():
    """A caption, headings, and rows whose first cell is their heading."""
    html = table("jobs", [("a", 1234), ("b", None)], headings=("job", "rows"))
    reader = tables(html)
    assert reader.captions == ["jobs"]
    assert reader.rows == [["job", "rows"], ["a", "1,234"], ["b", ""]]
    assert html.count("<th ") == 4


def test_a_table_without_rows_is_nothing():
    """Not even its caption."""
    assert table("jobs", [], headings=("job",)) == ""


def test_what_has_no_value_has_no_row():
    """None and an empty text are left out; a zero is a value."""
    assert tables(facts("x", {"a": None, "b": "", "c": 0, "d": False})).facts == {
        "c": "0",
        "d": "False",
    }


def test_there_are_no_colours():
    """The theme of the notebook has them."""
    html = table("x", [("a", 1)], headings=("b", "c")) + facts("x", {"a": 1})
    assert set(re.findall(r"([a-z-]+):", html)) == {"text-align", "white-space"}


@given(st.text(st.characters(), max_size=40))
@example(HOSTILE)
def test_a_text_of_any_characters_is_text(text):
    """It opens no tag, comes out as it went in but for its white space, and is UTF-8."""
    html = table(text, [(text, text)], headings=(text, text))
    html.encode()
    reader = tables(html)
    found = {*reader.captions, *reader.rows[0], *reader.rows[1]}
    assert len(found) == 1
    if text.isprintable() and text == " ".join(text.split()):
        assert found == {text}
        assert f">{escape(text)}</td>" in html


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n\tb", "a b"),
        ("\x1b[2Ja", r"\x1b[2Ja"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        ("x" * 500, "x" * 500),
        ("x" * 10_000, "x" * 500 + "…"),
    ],
)
def test_a_text_is_one_line(text, said):
    """White space is a space, other control characters are spelled out, a long text is cut."""
    assert tables(facts("x", {"a": text})).facts == {"a": said}


def test_a_value_that_has_no_text_leaves_the_others():
    """A class of the user's, say."""

    class Broken:
        def __str__(self):
            raise ValueError("no")

    html = table("x", [("a", Broken()), ("b", 1)])
    assert tables(html).facts == {"a": "Broken: str() raised ValueError", "b": "1"}


@pytest.mark.parametrize(
    ("texts", "count", "said"),
    [
        ((), None, ""),
        (("a", "b"), None, "a, b"),
        ("abcdefg", None, "a, b, c, d, e and 2 more"),
        ("abcdefg", 1200, "a, b, c, d, e and 1,195 more"),
        ((), 0, ""),
    ],
)
def test_some_of_many(texts, count, said):
    """The first five, and how many more there are."""
    assert some(texts, count) == said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (percent(None), ""),
        (percent(43.21), "43.2%"),
        (percent(99.97), "99.9%"),
        (percent(100.0), "100.0%"),
        (rate(None), ""),
        (rate(0.0), ""),
        (rate(1234.5), "1,234.50 rows/s"),
        (duration(None), ""),
        (duration(59.6), "0:01:00"),
        (duration(90_000), "1 day, 1:00:00"),
        (duration(1e300), ""),
    ],
)
def test_figures(said, expected):
    """A hundred per cent only when they are reached; nothing of what is not known."""
    assert said == expected


# --- The values ---------------------------------------------------------------------------------

COUNTERS = JobProgress(
    total_input_requests=1000,
    total_processed_requests=100,
    successfully_processed_requests=97,
    failed_requests=3,
)
JOB = BatchInferenceJob(
    name="accounts/acme/batchInferenceJobs/nightly",
    state=JobState.RUNNING,
    create_time=NOON,
    model="accounts/fireworks/models/demo-8b",
    job_progress=COUNTERS,
)
SNAPSHOT = JobSnapshot(
    job=JOB,
    previous_state=JobState.VALIDATING,
    changed=True,
    number=2,
    observed_at=NOON,
    elapsed=60.0,
    unchanged_for=0.0,
    percent=10.0,
    rate=2.0,
    eta=450.0,
    failures=2,
    last_error=TransportError("cannot connect"),
)
FLEET = FleetProgress(
    running=2, terminal=1, unseen=1, failed=1, rows_total=4000, rows_done=1000, rows_failed=3
)
PROGRESS = RunProgress(
    stage=RunStage.RUNNING,
    rows=1000,
    rows_done=100,
    rows_failed=3,
    jobs=2,
    jobs_submitted=2,
    jobs_ended=1,
    rate=2.0,
    eta=450.0,
    under_way=("nightly",),
    failed_polls=(("nightly", 2),),
)
CHECK = CheckReport(
    model="accounts/fireworks/models/demo-8b",
    rows=1000,
    bytes=80_000,
    jobs=(JobPlan(rows=1000, bytes=80_000, first_line=1, last_line=1012),),
    problems=tuple(RowProblem(line, f"r{line}", "no messages") for line in range(1, 13)),
    problem_count=12,
    content=RowContents(characters=500_000, max_tokens=256_000),
)
REPORT = RunReport(
    rows=1000,
    succeeded=990,
    failed=10,
    missing=0,
    input_tokens=12_000,
    jobs=(
        JobReport(job_id="nightly", state=JobState.COMPLETED, rows=1000, reason="10 rows failed"),
    ),
    adopted=(AdoptedJob(job_id="nightly", state=JobState.COMPLETED, age=60.0),),
)
RESULTS = ResultsReport(
    succeeded=990, failed=10, missing_count=7, missing_ids=tuple("abcdefg"), counts_agree=False
)


def test_a_job():
    """What the command line tells of it, too."""
    reader = shown(JOB)
    assert reader.captions == ["BatchInferenceJob"]
    assert reader.facts == {
        "job": "nightly",
        "state": "RUNNING",
        "rows": "97 ok, 3 failed of 1,000",
        "model": "accounts/fireworks/models/demo-8b",
        "created": "2026-09-14T12:00:05Z",
    }


def test_a_snapshot():
    """The state, how far the job is, and why polls failed."""
    assert shown(SNAPSHOT).facts == {
        "job": "nightly",
        "state": "RUNNING",
        "state before": "VALIDATING",
        "done": "10.0%",
        "rows": "97 ok, 3 failed of 1,000",
        "rate": "2.00 rows/s",
        "left": "0:07:30",
        "unchanged for": "0:00:00",
        "failed polls": "2",
        "error": "TransportError: cannot connect",
        "seen": "2026-09-14T12:00:05Z",
    }


def test_a_fleet():
    """The jobs by phase, and the rows of all."""
    assert shown(FLEET).facts == {
        "jobs": "4",
        "running": "2",
        "unseen": "1",
        "ended": "1",
        "failed waits": "1",
        "rows": "1,000 of 4,000",
        "failed rows": "3",
    }


def test_the_progress_of_a_run():
    """The stage, the rows, and the jobs."""
    assert shown(PROGRESS).facts == {
        "stage": "running",
        "done": "10.0%",
        "rows": "100 of 1,000",
        "failed rows": "3",
        "jobs": "1 of 2 ended",
        "jobs submitted": "2",
        "under way": "nightly",
        "rate": "2.00 rows/s",
        "left": "0:07:30",
        "failed polls": "nightly: 2",
    }


def test_a_check():
    """The numbers, and the first bad rows with the reasons."""
    reader = shown(CHECK)
    assert reader.captions == ["CheckReport", "first 10 of 12 bad rows"]
    assert reader.facts["rows"] == "1,000"
    assert reader.facts["characters"] == "500,000"
    assert reader.rows[-10:][0] == ["1", "r1", "no messages"]


def test_the_report_of_a_run():
    """The rows by kind, and the jobs."""
    reader = shown(REPORT)
    assert reader.captions == ["RunReport", "1 of 1 jobs"]
    assert reader.facts == {
        "rows": "1,000",
        "succeeded": "990",
        "failed": "10",
        "missing": "0",
        "input tokens": "12,000",
        "adopted jobs": "nightly",
    }
    assert reader.rows[-1] == ["nightly", "COMPLETED", "1,000", "10 rows failed"]


def test_the_report_of_a_reading():
    """The rows by kind, and the first ids that are missing."""
    assert shown(RESULTS).facts == {
        "succeeded": "990",
        "failed": "10",
        "missing": "7",
        "missing ids": "a, b, c, d, e and 2 more",
        "counts": "differ from the server's",
    }


def test_no_text_of_others_is_html():
    """Wherever it comes from: ids, states, messages, reasons, remarks."""
    job = attrs.evolve(
        JOB,
        name=f"accounts/acme/batchInferenceJobs/{HOSTILE.replace('/', '|')}",
        state=JobState(HOSTILE),
        display_name=HOSTILE,
        status=Status(code=StatusCode.INTERNAL, message=HOSTILE),
        model=HOSTILE,
    )
    error = TransportError(HOSTILE)
    values = (
        job,
        attrs.evolve(SNAPSHOT, job=job, last_error=error, problems=(HOSTILE,)),
        attrs.evolve(PROGRESS, under_way=(HOSTILE,), failed_polls=((HOSTILE, 2),)),
        attrs.evolve(
            CHECK, model=HOSTILE, problems=(RowProblem(1, HOSTILE, HOSTILE),), remarks=(HOSTILE,)
        ),
        attrs.evolve(
            REPORT,
            jobs=(attrs.evolve(REPORT.jobs[0], job_id=HOSTILE, reason=HOSTILE),),
            adopted=(attrs.evolve(REPORT.adopted[0], job_id=HOSTILE),),
            remarks=(HOSTILE,),
            not_retried=(HOSTILE,),
            not_cleaned=(HOSTILE,),
        ),
        attrs.evolve(RESULTS, missing_ids=(HOSTILE,), duplicate_ids=(HOSTILE,)),
    )
    for value in values:
        assert "script" in "".join(cell for row in shown(value).rows for cell in row)
