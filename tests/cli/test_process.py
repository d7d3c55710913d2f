"""The command line as a process: on a terminal, interrupted, and with nobody reading."""

import re
import signal
import sys
import sysconfig
from pathlib import Path

import pytest

pytest_plugins = ["fireworks_batch.pytest_plugin"]
pytestmark = pytest.mark.once  # seconds

PROGRAM = Path(sysconfig.get_path("scripts")) / "fireworks-batch"
LONG = {"time_limit_seconds": 10**7}


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


def standing(ok, failed, total):
    """The counters of a job that stands still, as members of the wire."""
    counters = {
        "totalInputRequests": total,
        "totalProcessedRequests": ok + failed,
        "successfullyProcessedRequests": ok,
        "failedRequests": failed,
    }
    return {"jobProgress": counters}


def columns(line):
    """What stands in a line, without the bar."""
    return [word for word in line.split() if not set(word) <= set("━╸╺")]


# --- On a terminal ------------------------------------------------------------------------------


def test_wait_at_80_columns(terminal, server):
    """A row a job with all there is to say; when it is over, a line a job stays."""
    server.script_job("reviews", phases=["RUNNING"], fields=standing(447, 3, 1000), **LONG)
    server.script_job("waiting", phases=["PENDING"], **LONG)
    screen = terminal("wait", "reviews", "waiting", columns=80)
    heading, reviews, waiting = screen.await_screen(r"^waiting +PENDING.* 0.0%$").splitlines()[:3]
    assert heading.split() == ["job", "state", "done", "ok", "failed", "rate", "left"]
    assert columns(reviews) == ["reviews", "RUNNING", "45.0%", "447", "3"]
    assert "━━━" in reviews
    assert columns(waiting) == ["waiting", "PENDING", "0.0%"]

    for job, failed in (("reviews", 3), ("waiting", 0)):
        server.script_job(job, phases=["COMPLETED"], rows=1000, failed_rows=failed, fields={})
    assert screen.finish() == 6
    assert [re.split(" {2,}", line)[:3] for line in screen.lines] == [
        ["reviews", "COMPLETED", "997 ok, 3 failed of 1,000"],
        ["waiting", "COMPLETED", "1,000 ok of 1,000"],
    ]


def test_wait_at_40_columns_and_failed_polls(terminal, server):
    """Nothing is broken over two lines, and polls that fail in a row are counted."""
    server.script_job("reviews", phases=["RUNNING"], fields=standing(447, 3, 1000), **LONG)
    server.add_fault("status", status=503, path="*/reviews", after=1, times=None)
    screen = terminal("wait", "reviews", columns=40)
    heading, reviews = screen.await_screen(r"\d failed polls?$").splitlines()
    assert heading.split() == ["job", "state", "done"]
    assert re.fullmatch(r"reviews +RUNNING +45.0% +\d+ failed polls?", reviews)
    server.clear_faults()
    server.script_job("reviews", phases=["FAILED"])
    assert screen.finish() == 3


def test_500_jobs_are_summed_up(terminal, server):
    """In one screen, with the slowest of them."""
    jobs = [f"shard-{number:03}" for number in range(500)]
    for number, job in enumerate(jobs):
        state = "RUNNING" if number % 2 else "FAILED"
        server.script_job(job, phases=[state], fields=standing(number, 0, 1000), **LONG)
    screen = terminal("wait", *jobs, columns=80, lines=24)
    text = screen.await_screen(r"250 of them without success$(.|\n)*^shard-033 +RUNNING.*%")
    assert text.startswith("500 jobs: 250 running, 250 ended, 250 of them without success\n")
    assert re.search(r"^125k of 500k rows$", text, re.MULTILINE)
    assert re.search(r"^shard-001 +RUNNING +\S+ +0.1%", text, re.MULTILINE)
    assert len(text.splitlines()) < 24
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert screen.lines[-1] == "detached: 250 jobs run on"
    for command in ("wait", "delete"):
        pasted = re.search(rf"fireworks-batch {command} (.*?)\r\n", screen.raw.decode())
        assert pasted[1].split() == jobs[1::2]


def test_list_on_a_terminal_is_a_table(terminal, server):
    """With headings, and no colour codes when NO_COLOR says so."""
    server.script_job("reviews", phases=["RUNNING"], fields=standing(447, 3, 1000), **LONG)
    screen = terminal("list", columns=60)
    assert screen.finish() == 0
    heading, row = screen.lines
    assert heading.split() == ["job", "state", "ok", "failed", "rows", "created", "(UTC)"]
    assert row.split()[:5] == ["reviews", "RUNNING", "447", "3", "1,000"]


def test_a_narrow_list_cuts_ids_and_no_states(terminal, server):
    """In their middle: jobs of one run begin alike."""
    server.script_job("nightly-2026-11-23-5fnhbr3ecgsmjqgrkdtx-g0", phases=["RUNNING"], **LONG)
    screen = terminal("list", columns=40)
    assert screen.finish() == 0
    assert screen.lines[-1].split() == ["nightly-2026-11…cgsmjqgrkdtx-g0", "RUNNING"]


def test_no_color_is_obeyed(terminal, server, monkeypatch):
    """A live table moves the cursor, and sets no colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    server.script_job("reviews", phases=["RUNNING"], **LONG)
    screen = terminal("wait", "reviews")
    screen.await_screen("reviews +RUNNING")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    colours = re.findall(rb"\x1b\[([0-9;]*)m", screen.raw)
    assert {code for codes in colours for code in codes.split(b";")} <= {b"0", b"", b"1", b"2"}


def test_stdout_can_be_a_file_beside_a_live_table(terminal, server, tmp_path):
    """The table is drawn on the terminal; the file has the data, and nothing else."""
    server.script_job("reviews", phases=["RUNNING", "COMPLETED"], rows=100)
    with (tmp_path / "out").open("wb") as file:
        screen = terminal("wait", "reviews", stdout=file)
        assert screen.finish() == 0
    assert (tmp_path / "out").read_text() == "reviews\tCOMPLETED\t100\t0\t100\n"
    assert b"\x1b[" in screen.raw


# --- Interrupted --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_the_job_running(terminal, server, number):
    """It says so, and how to come back or to delete; the code is 130."""
    server.script_job("reviews", phases=["RUNNING"], fields=standing(450, 0, 1000), **LONG)
    screen = terminal("wait", "reviews")
    screen.await_screen("reviews +RUNNING")
    screen.process.send_signal(number)
    assert screen.finish() == 130
    assert screen.lines == [
        "detached: reviews runs on (RUNNING, 45.0%)",
        "  to come back: fireworks-batch wait reviews",
        "  to delete:    fireworks-batch delete reviews",
    ]
    assert {request.method for request in server.requests()} == {"GET"}


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        (["one"], "interrupted: one was not seen so far"),
        (["one", "two"], "interrupted: 2 jobs were not seen so far"),
        (
            ["seen", "one", "two"],
            "detached: 1 of 3 jobs run on; the others were not seen so far",
        ),
    ],
)
def test_an_interrupt_does_not_say_that_an_unseen_job_runs_on(terminal, server, jobs, said):
    """No poll has shown the job: whether it runs is not known."""
    server.script_job("seen", phases=["RUNNING"], **LONG)
    for job in ("one", "two"):
        server.add_fault("hang", path=f"*/{job}", times=None)
    screen = terminal("wait", *jobs, columns=100)
    screen.await_screen(r"seen +RUNNING" if "seen" in jobs else r"one +…")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert screen.lines[0] == said


@pytest.mark.parametrize("columns", [40, 80])
def test_an_interrupt_leaves_no_part_of_the_table_behind(terminal, server, columns):
    """Whatever the width: the "^C" of the terminal finds room beside the table."""
    jobs = [f"nightly-2026-11-23-5fnhbr3ecgsmjqgrkdtx-{number}" for number in range(3)]
    for job in jobs:
        server.script_job(job, phases=["RUNNING"], fields=standing(447, 3, 1000), **LONG)
    screen = terminal("wait", *jobs, columns=columns, lines=30)
    screen.await_screen(r"(nigh\S+ +RUNNING.*45.0%.*\n?){3}")
    screen.press_ctrl_c()
    assert screen.finish() == 130
    assert screen.lines[0] == "detached: 3 jobs run on"
    said = screen.text.replace("\n", "")
    assert said == (
        f"detached: 3 jobs run on  to come back: fireworks-batch wait {' '.join(jobs)}"
        f"  to delete:    fireworks-batch delete {' '.join(jobs)}"
    )


def test_delete_on_interrupt_stops_the_job(terminal, server):
    """And says so."""
    server.script_job("reviews", phases=["RUNNING"], **LONG)
    screen = terminal("wait", "reviews", "--delete-on-interrupt")
    screen.await_screen("reviews +RUNNING")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert screen.lines == [
        "deleting reviews; a second Ctrl-C leaves the jobs that remain",
        "reviews is deleted",
    ]
    assert server.requests()[-1].method == "DELETE"


def test_jobs_that_cannot_be_deleted_are_named(terminal, server):
    """With the reason; one that is not there any more is not among them."""
    for job in ("reviews", "titles", "gone"):
        server.script_job(job, phases=["RUNNING"], **LONG)
    server.add_fault("status", method="DELETE", path="*/reviews", status=403, times=None)
    server.add_fault("status", method="DELETE", path="*/gone", status=404, times=None)
    screen = terminal("wait", "reviews", "titles", "gone", "--delete-on-interrupt", columns=160)
    screen.await_screen("reviews +RUNNING(.|\n)*gone +RUNNING")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    deleting, deleted, left, stop = screen.lines
    assert deleting.startswith("deleting 3 jobs; ")
    assert deleted == "2 jobs are deleted"
    assert left.startswith("reviews may run on: DELETE ")
    assert stop == "  to delete: fireworks-batch delete reviews"


# --- Nobody reads -------------------------------------------------------------------------------


def test_a_reader_may_leave(shell, server):
    """`| head` ends the program quietly, with the code that a shell knows for it."""
    for number in range(300):
        server.script_job(f"job-{number:04}", phases=["RUNNING"])
    ended = shell("$CLI list --json | head -n 1")
    assert ended.code == 141
    assert '"id": "job-0000"' in ended.out
    assert ended.err == ""


def test_stdout_may_be_closed(shell, server):
    """The code says it all."""
    server.script_job("reviews", phases=["EXPIRED"])
    ended = shell("$CLI wait reviews >&-")
    assert (ended.code, ended.out) == (5, "")
    assert "EXPIRED" in ended.err


def test_stderr_may_be_closed(shell, server):
    """Data comes all the same."""
    server.script_job("reviews", phases=["COMPLETED"], rows=10)
    ended = shell("$CLI wait reviews 2>&-")
    assert (ended.code, ended.out) == (0, "reviews\tCOMPLETED\t10\t0\t10\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "datasets --help",
        "run --help",
        "--version",
        "emulator --help",
        "list",
        "list --json",
    ],
)
def test_a_full_disk_is_told(shell, server, monkeypatch, command):
    """1, in one line: for the help of a command as for its data."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    server.script_job("reviews", phases=["RUNNING"])
    ended = shell(f"$CLI {command} > /dev/full")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: cannot write to stdout: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("buffered", [False, True])
def test_messages_that_cannot_be_written_change_no_code(shell, server, monkeypatch, buffered):
    """Data comes all the same."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "" if buffered else "1")
    server.script_job("reviews", phases=["COMPLETED"], rows=10)
    ended = shell("$CLI wait reviews 2> /dev/full")
    assert (ended.code, ended.out) == (0, "reviews\tCOMPLETED\t10\t0\t10\n")


@pytest.mark.parametrize("command", ["--help", "run --help", "--version"])
@pytest.mark.parametrize("buffered", [False, True])
def test_the_reader_of_a_help_may_leave(shell, monkeypatch, command, buffered):
    """Quietly, with the code that a shell knows for it."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "" if buffered else "1")
    ended = shell(f"$CLI {command} | true")
    assert (ended.code, ended.err) == (141, "")


def test_the_reader_of_the_help_of_the_emulator_may_leave(shell, monkeypatch):
    """The help stays in a buffer to the end."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    ended = shell("$CLI emulator --help | true")
    assert (ended.code, ended.err) == (141, "")


# --- The start ----------------------------------------------------------------------------------


def test_without_its_extra_it_says_what_to_install(process, tmp_path):
    """In plain text, with 2: what is missing may be what would draw it."""
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(name='typer')")
    code = f"import fireworks_batch.cli, sys; sys.path.insert(0, {str(tmp_path)!r})"
    ended = process(sys.executable, "-c", f"{code}; fireworks_batch.cli.main()")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "fireworks-batch needs typer, which is not installed: its packages are an extra.\n"
        "  try: pip install 'fireworks-batch[cli]'\n"
    )


def test_help_does_not_load_the_library(process):
    """Nor does a completion in a shell, which starts a process for each press of a key."""
    code = "import fireworks_batch.cli.app, sys; print(*sorted(sys.modules), sep='\\n')"
    loaded = process(sys.executable, "-c", code).lines
    assert [name for name in loaded if name.startswith("fireworks_batch")] == [
        "fireworks_batch",
        "fireworks_batch.cli",
        "fireworks_batch.cli.app",
        "fireworks_batch.cli.options",
    ]
    assert not {"aiohttp", "attr", "orjson"} & {*loaded}


def test_a_shell_can_complete(process, monkeypatch):
    """By typer's protocol: the commands that begin with what was typed."""
    monkeypatch.setenv("_FIREWORKS_BATCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "fireworks-batch d")
    monkeypatch.setenv("COMP_CWORD", "1")
    completed = process(PROGRAM)
    assert (completed.code, completed.err) == (0, "")
    assert {*completed.lines} == {"delete", "datasets", "demo"}
