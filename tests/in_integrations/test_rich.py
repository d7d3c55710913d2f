"""Bars of runs, waits and fleets, on a terminal that pyte plays, and in a log."""

import asyncio
import io
from datetime import UTC, datetime

import attrs
import pyte
import pytest
from rich.console import Console

from fireworks_batch import (
    BatchInferenceJob,
    ConfigurationError,
    FleetProgress,
    InputRowsError,
    JobProgress,
    JobSnapshot,
    JobState,
    RunProgress,
    RunStage,
    WaitTimeoutError,
)
from fireworks_batch.integrations import rich
from fireworks_batch.integrations.rich import Bars, bars

MODEL = "accounts/fireworks/models/demo-8b"
NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)
WIDTH, HEIGHT = 80, 24


class Screen(io.StringIO):
    """A terminal: what was written to it, and what it shows."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def isatty(self):
        return True

    def write(self, text):
        self.writes.append(text)
        return super().write(text)

    @property
    def lines(self):
        """The lines from the first to the one above the cursor."""
        screen = self._played()
        return [line.rstrip() for line in screen.display[: screen.cursor.y]]

    @property
    def cursor(self):
        return self._played().cursor

    def _played(self):
        screen = pyte.Screen(WIDTH, HEIGHT)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return screen


class Hidden(Screen):
    """A stream that is no terminal."""

    def isatty(self):
        return False


class Gone(Screen):
    """A terminal whose window was closed."""

    def write(self, _):
        raise OSError(5, "Input/output error")


def bars_on(stream):
    """Bars on a stream."""
    return Bars(Console(file=stream, width=WIDTH, height=HEIGHT, force_terminal=stream.isatty()))


@pytest.fixture
def screen():
    """Give a terminal."""
    return Screen()


def snapshot(job_id="nightly", state="RUNNING", done=100, **members):
    """A snapshot of a job of a thousand rows."""
    progress = JobProgress(
        total_input_requests=1000,
        total_processed_requests=done,
        successfully_processed_requests=done,
    )
    job = BatchInferenceJob(
        name=f"accounts/acme/batchInferenceJobs/{job_id}",
        state=JobState(state),
        job_progress=progress,
    )
    defaults = {
        "job": job,
        "previous_state": None,
        "changed": True,
        "number": 1,
        "observed_at": NOON,
        "elapsed": 60.0,
        "unchanged_for": 10.0,
        "percent": done / 10,
        "rate": 2.0,
        "eta": 450.0,
    }
    return JobSnapshot(**defaults | members)


def progress(stage="running", done=100, **members):
    """The progress of a run of a thousand rows."""
    defaults = {
        "rows": 1000,
        "rows_done": done,
        "rows_failed": 0,
        "jobs": 1,
        "jobs_submitted": 1,
        "jobs_ended": int(done == 1000),
    }
    return RunProgress(stage=RunStage(stage), **defaults | members)


FLEET = FleetProgress(
    running=2, terminal=1, unseen=1, failed=1, rows_total=4000, rows_done=1000, rows_failed=3
)


# --- Runs, waits and fleets ---------------------------------------------------------------------


async def test_a_run_is_drawn_to_its_end(client, screen):
    """A bar with its words, and below it the job; the last drawing stays, and nothing else."""
    row = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "hi"}]}}
    async with await client.run([row], model=MODEL, on_progress=bars_on(screen)) as result:
        (job,) = result.report.jobs
    bar, heading, line = screen.lines
    assert bar.startswith("━━━━━━━━━━")
    assert bar.endswith("collecting 100% (1 of 1 rows), 1 of 1 jobs ended")
    assert heading.split()[:3] == ["job", "state", "done"]
    assert line.startswith(job.job_id[:8])
    assert line.split()[1] == "COMPLETED"


async def test_a_wait_is_drawn_to_its_end(emulator, client, screen):
    """One line for the job, as `fireworks-batch wait` has it."""
    emulator.script_job("nightly", phases=["RUNNING", "COMPLETED"], rows=100)
    show = bars_on(screen)
    async for each in client.jobs.wait_until_terminal("nightly"):
        show(each)
    heading, line = screen.lines
    assert heading.split() == ["job", "state", "done", "ok", "failed", "rate", "left"]
    assert line.split()[:2] == ["nightly", "COMPLETED"]


async def test_a_fleet_is_drawn_to_its_end(emulator, client, screen):
    """A bar of all jobs, and below it a line for each."""
    for job_id in ("a", "b"):
        emulator.script_job(job_id, phases=["RUNNING", "COMPLETED"], rows=100)
    fleet = client.jobs.watch(["a", "b"])
    with bars_on(screen) as show:
        async for each in fleet:
            show(each)
            show(fleet.progress)
    bar, _, *lines = screen.lines
    assert bar.endswith("2 jobs: 2 ended; 200 of 200 rows")
    assert [line.split()[:2] for line in lines] == [["a", "COMPLETED"], ["b", "COMPLETED"]]


def test_the_progress_of_a_fleet_is_one_bar(screen):
    """Its jobs by phase, and its rows."""
    bars_on(screen)(FLEET)
    assert " ".join(screen.lines).endswith(
        "4 jobs: 2 running, 1 unseen, 1 ended, 1 wait failed; 1,000 of 4,000 rows, 3 failed"
    )


async def test_many_jobs_are_a_summary_that_fits(screen):
    """No more lines than the terminal has, so that a drawing can be replaced."""
    with bars_on(screen) as show:
        for number in range(100):
            show(snapshot(f"job-{number}"))
    assert screen.lines[0] == "100 jobs: 100 running"
    assert len(screen.lines) < HEIGHT


# --- One drawing replaces the other -------------------------------------------------------------


def test_a_drawing_replaces_the_one_before(screen):
    """Also if it has fewer lines; what was above is left alone."""
    screen.write("before\n")
    show = bars_on(screen)
    show(progress(done=100, snapshots=(snapshot("a"), snapshot("b"))))
    show(progress(done=200))
    show(progress(done=300))
    first, bar, *others = screen.lines
    assert first == "before"
    assert "running 30.0% (300 of 1,000 rows)" in bar
    assert len(others) == 3


def test_a_key_that_was_typed_does_not_move_the_drawing(screen):
    """A terminal echoes it where the cursor is."""
    show = bars_on(screen)
    show(progress(done=100))
    screen.write("^C")
    show(progress(done=200))
    (bar,) = screen.lines
    assert bar.startswith("━")


def test_another_run_has_a_drawing_of_its_own(screen):
    """Below the drawing of the first, which stays."""
    show = bars_on(screen)
    show(progress("collecting", 1000))
    screen.write("between\n")
    show(progress("checking", 0, rows=0))
    show(progress("running", 500))
    first, between, second = screen.lines
    assert "collecting 100%" in first
    assert between == "between"
    assert "running 50.0%" in second


def test_what_is_written_after_the_block_stays(screen):
    """And a wait after it is drawn below."""
    with bars_on(screen) as show:
        show(snapshot("a", "COMPLETED", 1000))
    screen.write("after\n")
    with show:
        show(snapshot("b"))
    assert [line.split()[0] for line in screen.lines] == ["job", "a", "after", "job", "b"]


# --- Nothing is left behind ---------------------------------------------------------------------


async def test_a_run_that_fails_leaves_the_terminal_as_it_was(client, screen):
    """The cursor is visible, below the drawing, and nothing comes after the error."""
    show = bars_on(screen)
    with pytest.raises(InputRowsError):
        await client.run([], model=MODEL, on_progress=show)
    written = screen.getvalue()
    await asyncio.sleep(0)
    assert screen.lines == ["checking"]
    assert (screen.cursor.x, screen.cursor.hidden) == (0, False)
    assert screen.getvalue() == written
    assert "\x1b[?25l" not in written


async def test_without_a_block_no_snapshot_is_drawn_late(screen):
    """What is printed after the call is not drawn over."""
    show = bars_on(screen)
    for done in range(10):
        show(snapshot(done=done))
        assert f"{done / 10:.1f}%" in screen.lines[1]


async def test_without_a_block_the_progress_of_many_jobs_is_drawn_in_the_next_step(screen):
    """All that came in one step of the loop together, before a run can raise."""
    show = bars_on(screen)
    for done in range(1000):
        show(progress(done=done))
    await asyncio.sleep(0)
    assert "(999 of 1,000 rows)" in screen.lines[0]
    assert len(screen.writes) < 20


async def test_a_block_draws_little_and_the_last_at_its_end(screen):
    """A thousand snapshots of one poll are not a thousand drawings."""
    with pytest.raises(asyncio.CancelledError), bars_on(screen) as show:
        for done in range(1000):
            show(progress(done=done))
        raise asyncio.CancelledError
    assert "(999 of 1,000 rows)" in screen.lines[0]
    assert len(screen.writes) < 20
    written = len(screen.writes)
    await asyncio.sleep(0.3)  # longer than a drawing may wait
    assert len(screen.writes) == written


async def test_in_a_block_the_newest_is_drawn_without_another_call(screen):
    """A quarter of a second later, although the next poll may be a minute away."""
    with bars_on(screen) as show:
        show(progress(done=1))
        show(progress(done=2))
        assert "(1 of 1,000 rows)" in screen.lines[0]
        async with asyncio.timeout(5):
            while "(2 of 1,000 rows)" not in screen.lines[0]:
                await asyncio.sleep(0.01)


def test_a_block_around_several_loops_draws_in_each(screen):
    """The timer of a loop that was closed never comes."""

    async def main(done):
        show(progress(done=done))
        show(progress(done=done + 1))

    with bars_on(screen) as show:
        asyncio.run(main(1))
        show._next = 0.0  # a quarter of a second has passed
        asyncio.run(main(3))
        assert "(3 of 1,000 rows)" in screen.lines[0]
    assert "(4 of 1,000 rows)" in screen.lines[0]


def test_a_terminal_that_has_gone_ends_no_run():
    """Its window was closed."""
    stream = Gone()
    show = bars_on(stream)
    show(progress())
    assert stream.getvalue() == ""


# --- Elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_colours", [False, True])
def test_a_log_has_a_line_for_each_change(has_colours):
    """No bars: where stderr is a file, a line says what is new, and nothing is moved.

    Neither are there bars where FORCE_COLOR asks for the colours of a terminal.
    """
    stream = Hidden()
    show = Bars(Console(file=stream, width=WIDTH, height=HEIGHT, force_terminal=has_colours))
    show(progress(done=100))
    show(progress(done=100, rate=2.0))
    show(progress(done=200))
    assert stream.getvalue().splitlines() == [
        "running 10.0% (100 of 1,000 rows), 0 of 1 jobs ended",
        "running 20.0% (200 of 1,000 rows), 0 of 1 jobs ended",
    ]


def test_a_log_of_a_fleet():
    """A line for each visible change of a job, or of the whole."""
    stream = Hidden()
    show = bars_on(stream)
    show(snapshot())
    show(snapshot(changed=False))
    show(snapshot("late", changed=False, error=WaitTimeoutError("too long")))
    show(FLEET)
    show(FLEET)
    show(attrs.evolve(FLEET, rows_done=2000))
    assert stream.getvalue().splitlines() == [
        "12:00:00Z nightly RUNNING 10.0% (100 ok of 1,000) 2/s 8m left",
        "12:00:00Z late RUNNING 10.0% (100 ok of 1,000) 2/s 8m left: too long",
        "4 jobs: 2 running, 1 unseen, 1 ended, 1 wait failed; 1,000 of 4,000 rows, 3 failed",
        "4 jobs: 2 running, 1 unseen, 1 ended, 1 wait failed; 2,000 of 4,000 rows, 3 failed",
    ]


def test_bars_go_to_stderr(capsys):
    """Which is no terminal here."""
    bars()(progress())
    out, err = capsys.readouterr()
    assert not out
    assert err == "running 10.0% (100 of 1,000 rows), 0 of 1 jobs ended\n"


def test_something_else_is_refused(screen):
    """The error names it, and what would do."""
    with pytest.raises(ConfigurationError, match=r"fleet\.progress.*not 'nightly'"):
        bars_on(screen)("nightly")


# --- The colours of a notebook ------------------------------------------------------------------


def luminance(colour):
    """As WCAG has it."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (each / 255 for each in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("background", [(255, 255, 255), (30, 30, 30)])
def test_the_colours_are_readable_in_both_themes(background):
    """A contrast of 3.5 at least, to white and to the dark theme of an editor."""
    behind = luminance(background)
    for colour in rich._THEME.ansi_colors._colors:
        lighter, darker = sorted([luminance(colour), behind], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3.5
