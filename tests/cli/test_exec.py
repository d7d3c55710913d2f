"""`wait --exec`: a command for each job, when the job has an outcome."""

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from fireworks_batch.cli.display.board import Outcome
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.outcome_command import OutcomeCommand

pytest_plugins = ["fireworks_batch.pytest_plugin"]
pytestmark = pytest.mark.once

LONG = {"time_limit_seconds": 10**7}
TELL = "echo $FIREWORKS_BATCH_JOB:$FIREWORKS_BATCH_STATE:$FIREWORKS_BATCH_EXIT_CODE"

# Goes on when the server has refused the key twice, which ends the wait for the other job.
AFTER_REFUSALS = """
import json, os, time, urllib.request
url = os.environ["FIREWORKS_BASE_URL"] + "/_emulator/requests"
while True:
    with urllib.request.urlopen(url) as answer:
        seen = json.load(answer)["requests"]
    if sum(one["status"] == 401 for one in seen) >= 2:
        break
    time.sleep(0.01)
time.sleep(0.1)
print("done with", os.environ["FIREWORKS_BATCH_JOB"])
"""


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


def is_running(pid):
    """Whether a process is there, and is no zombie."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")  # Linux has it
        return not Path("/proc").exists() or ") Z " not in state.read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def await_pids(path):
    """Wait for a file with a whole line of numbers of processes, and return them."""
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [*map(int, path.read_text().split())]


def await_end(pid):
    """Wait until a process has gone."""
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_command_runs_once_for_each_job(cli, server):
    """With id, state and exit code in its environment; its output goes to stderr."""
    server.script_job("one", phases=["RUNNING", "COMPLETED"], rows=10, failed_rows=1)
    server.script_job("two", phases=["FAILED"])
    result = cli("wait", "one", "two", "--exec", TELL)
    assert result.code == 3
    told = [line for line in result.err.splitlines() if line.count(":") == 2 and "Z" not in line]
    assert sorted(told) == ["one:COMPLETED:6", "two:FAILED:3"]
    assert [line[0] for line in result.fields] == ["one", "two"]


def test_a_command_runs_when_a_wait_gives_up_too(cli, server):
    """The state is the last one that was seen; empty for a job that does not exist."""
    server.script_job("nightly", phases=["RUNNING"], **LONG)
    assert "nightly:RUNNING:7\n" in cli("wait", "nightly", "--timeout", "0.2", "--exec", TELL).err
    assert "nope::2\n" in cli("wait", "nope", "--exec", TELL).err


def test_stdout_of_json_stays_json(cli, server):
    """Whatever the command writes, on either of its streams."""
    server.script_job("nightly", phases=["COMPLETED"])
    result = cli("wait", "nightly", "--json", "--exec", "echo out; echo err >&2")
    assert result.objects[-1]["event"] == "end"
    assert result.err == "out\nerr\n"


def test_a_command_that_fails_is_told_and_counts(cli, server):
    """1, unless the key is refused: the outcomes of the jobs are still on stdout."""
    server.script_job("one", phases=["COMPLETED"])
    server.script_job("two", phases=["COMPLETED"])
    test = 'test "$FIREWORKS_BATCH_JOB" = one'
    result = cli("wait", "one", "two", "--exec", test)
    assert result.code == 1
    assert "--exec for two: exit code 1\n" in result.err
    assert "--exec for one" not in result.err
    assert [line[1] for line in result.fields] == ["COMPLETED", "COMPLETED"]
    assert "--exec for one: ended by signal 9\n" in cli("wait", "one", "--exec", "kill -9 $$").err


def test_a_command_reaches_the_same_account(cli, server, monkeypatch, tmp_path):
    """By its environment, which has the connection that was given by options."""
    server.script_job("nightly", phases=["COMPLETED"], rows=3)
    key = tmp_path / "key"
    key.write_text(server.api_key)
    for name in ("FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID", "FIREWORKS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    options = ("--api-key-file", str(key), "--base-url", server.base_url, "--account-id", "acme")
    command = f'{sys.executable} -m fireworks_batch.cli get "$FIREWORKS_BATCH_JOB"'
    result = cli("wait", "nightly", *options, "--exec", command)
    assert (result.code, "state" in result.err) == (0, True)
    assert re.search(r"^state +COMPLETED$", result.err, re.MULTILINE)


def test_a_command_does_not_hold_other_waits(shell, server, tmp_path):
    """The command of the first job waits until the outcome of the second one is written."""
    server.script_job("first", phases=["COMPLETED"])
    server.script_job("second", phases=["RUNNING", "COMPLETED"])
    log = tmp_path / "log"
    log.touch()
    seen = f'grep -q "end., .id.: .second" {log}'
    command = f'test "$FIREWORKS_BATCH_JOB" = second || until {seen}; do sleep 0.01; done'
    ended = shell(
        f"$CLI wait first second --json --exec '{command}' | tee {log} | grep -c exit_code"
    )
    assert (ended.code, ended.out, ended.err) == (0, "2\n", "")


def test_output_is_drawn_above_a_live_table(terminal, server):
    """The table goes on below it, and control characters are written, not obeyed."""
    server.script_job("one", phases=["COMPLETED"])
    server.script_job("two", phases=["RUNNING"], **LONG)
    command = r"printf 'done\twith %s\033[2J\n' $FIREWORKS_BATCH_JOB"
    screen = terminal("wait", "one", "two", "--exec", command)
    screen.await_screen(r"^done +with one\\x1b\[2J$(.|\n)*^two +RUNNING")
    server.script_job("two", phases=["COMPLETED"])
    assert screen.finish() == 0
    assert "done    with two" in screen.text


def test_an_interrupt_leaves_no_process_behind(terminal, server, tmp_path):
    """The command and what it has started get SIGTERM; 130, and the job is named."""
    server.script_job("one", phases=["COMPLETED"])
    pids = tmp_path / "pids"
    command = f"sleep 1000 & echo so far; echo $! $$ > {pids}; wait"
    screen = terminal("wait", "one", "--exec", command)
    started = await_pids(pids)
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert screen.lines == ["so far", "--exec for one: interrupted"]
    for pid in started:
        await_end(pid)


def test_a_process_in_the_background_holds_nothing(cli, server, tmp_path):
    """Though it keeps the output of the command open: the wait ends before it."""
    server.script_job("one", phases=["COMPLETED"])
    server.script_job("two", phases=["COMPLETED"])
    pids = tmp_path / "pids"
    result = cli("wait", "one", "two", "--exec", f"sleep 1000 & echo $! >> {pids}; echo started")
    left = await_pids(pids)
    assert [is_running(pid) for pid in left] == [True, True]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert (result.code, result.err.count("started\n")) == (0, 2)


def test_a_refused_key_waits_for_the_commands(cli, server, tmp_path):
    """A job that has ended has its command run to the end, whatever becomes of the others; 8."""
    server.script_job("ended", phases=["COMPLETED"])
    server.script_job("next", phases=["COMPLETED"])
    server.script_job("other", phases=["RUNNING"], **LONG)
    server.add_fault("status", status=401, path="*/other", after=1, times=None)
    script = tmp_path / "script.py"
    script.write_text(AFTER_REFUSALS)
    result = cli("wait", "ended", "next", "other", "--exec", f"{sys.executable} {script}")
    assert result.code == 8
    assert result.err.count("done with ended\n") == result.err.count("done with next\n") == 1
    assert "interrupted" not in result.err


# --- The command alone --------------------------------------------------------------------------


def command_of(script, environment=None, **options):
    """A command that writes to the streams of this process."""
    output = Output(as_json=False, is_verbose=False)
    return OutcomeCommand(script, output, environment or {}, **options)


async def run(command, *job_ids):
    """Run a command for jobs that no poll has shown."""
    for job_id in job_ids:
        command.add(Outcome(job_id, None, None))
    command.close()
    await command.run()


async def test_a_command_that_does_not_obey_is_killed(tmp_path, capsys):
    """After its grace, with what it has started; jobs whose turn did not come are named, too."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 1000 & echo $! $$ > {pids}; wait; sleep 1000"
    running = asyncio.create_task(run(command_of(script, grace=0.05), "one", "two"))
    started = await asyncio.to_thread(await_pids, pids)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for pid in started:
        await_end(pid)
    assert capsys.readouterr().err == "--exec for one: interrupted\n--exec for two: interrupted\n"


async def test_commands_run_one_at_a_time(tmp_path):
    """In the order of the outcomes."""
    log = tmp_path / "log"
    script = f"echo begin $FIREWORKS_BATCH_JOB >> {log}; echo end >> {log}"
    await run(command_of(script), "one", "two", "three")
    begun = [f"begin {job_id}" for job_id in ("one", "two", "three")]
    assert log.read_text().splitlines() == [word for line in begun for word in (line, "end")]


async def test_a_line_without_an_end_is_written_in_pieces(capsys):
    """A command may write any amount without a line feed; all of it is told."""
    command = command_of(f'{sys.executable} -c \'print("x" * 1_000_000, end="")\'')
    await run(command, "one")
    assert capsys.readouterr().err.count("x") == 1_000_000
    assert not command.has_failed


async def test_a_shell_that_cannot_be_run_is_told(capsys):
    """An environment that is too large, say: the wait goes on."""
    command = command_of("true", {"X": "x" * 10_000_000})
    await run(command, "one")
    assert command.has_failed
    assert "--exec for one: cannot run the shell: Argument list too long" in capsys.readouterr().err
