"""Everything that README and examples show is run, each in a process of its own."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fireworks_batch import JobPhase
from fireworks_batch.emulator import Emulator
from fireworks_batch.states import JOB_PHASES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def environment(emulator: Emulator) -> dict[str, str]:
    """What a user would export."""
    return {
        **os.environ,
        "FIREWORKS_API_KEY": emulator.api_key,
        "FIREWORKS_ACCOUNT_ID": "acme",
        "FIREWORKS_BASE_URL": emulator.base_url,
        "FIREWORKS_BATCH_TIME_SCALE": "0.0001",
    }


async def run(emulator: Emulator, *arguments: object) -> tuple[int, str, str]:
    """Run Python on the arguments, and return exit code, stdout and stderr."""
    process = await start(emulator, *arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def start(emulator: Emulator, *arguments: object) -> asyncio.subprocess.Process:
    """Start Python on the arguments."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
async def test_every_snippet_of_the_readme_runs(emulator, tmp_path, number):
    """As a program of its own, with the environment a user would export."""
    emulator.script_job("nightly-eval", phases=["COMPLETED"])
    program = tmp_path / "snippet.py"
    program.write_text(SNIPPETS[number], encoding="utf-8")
    code, out, err = await run(emulator, program)
    assert (0, "") == (code, err)
    assert "COMPLETED" in out


def test_the_readme_has_the_states_of_the_table():
    """Each state stands in the README beside its phase."""
    rows = dict(re.findall(r"^\| (\w+) \| ([A-Z_, ]+?)(?:, and .*)? \|$", README, re.MULTILINE))
    table = {
        phase.value: {str(state) for state in JOB_PHASES if JOB_PHASES[state] is phase}
        for phase in JobPhase
    }
    assert table == {phase: set(states.split(", ")) for phase, states in rows.items()}


@pytest.mark.parametrize("name", ["follow_one_job", "follow_many_jobs", "pipeline_worker"])
def test_examples_are_short(name):
    """Each fits in forty lines."""
    assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) < 40


async def test_the_demo_shows_all_five_endings(emulator):
    """It exits with 0, after each of the five jobs has ended as it should."""
    code, out, err = await run(emulator, ROOT / "examples" / "demo.py")
    assert (0, "") == (code, err)
    endings = dict(line.split(maxsplit=1) for line in out.splitlines()[-5:])
    assert endings["reviews"] == "COMPLETED, 3 rows failed"
    assert "INVALID_ARGUMENT: invalid role pirate" in endings["bad-rows"]
    assert "rows that were finished may be in" in endings["too-slow"]
    assert endings["bad-network"] == "COMPLETED, 0 rows failed"
    assert endings["from-2030"] == "COMPLETED, 0 rows failed"
    assert "FROBNICATING" in out
    assert "lost looks" in out


async def test_follow_one_job_reports_the_outcome(emulator):
    """0 for a completed job; 1 and the server's reason for a failed one."""
    program = ROOT / "examples" / "follow_one_job.py"
    emulator.script_job("good", phases=["COMPLETED"])
    emulator.script_job("bad", phases=["FAILED"], status={"code": "INTERNAL", "message": "boo"})
    assert (await run(emulator, program, "good"))[:2] == (0, "COMPLETED 100.0 0.0\n")
    code, _, err = await run(emulator, program, "bad")
    assert code == 1
    assert "job 'bad' ended FAILED: INTERNAL: boo" in err


async def test_follow_many_jobs_reports_each(emulator):
    """One line a job, and 1 if one did not complete."""
    program = ROOT / "examples" / "follow_many_jobs.py"
    emulator.script_job("good", phases=["COMPLETED"])
    emulator.script_job("late", phases=["EXPIRED"])
    code, out, _ = await run(emulator, program, "good", "late")
    assert (1, "good COMPLETED\nlate EXPIRED\n") == (code, out)


async def test_a_killed_worker_comes_back_to_its_job(emulator, tmp_path):
    """SIGTERM ends it with 75, and the next one finds the job by the stored reference."""
    program = ROOT / "examples" / "pipeline_worker.py"
    store = tmp_path / "ref.json"
    emulator.script_job("nightly", phases=["RUNNING"], window_seconds=10**7)
    worker = await start(emulator, program, store, 60, "nightly")
    await worker.stdout.readline()
    while not emulator.requests():
        await asyncio.sleep(0.01)
    worker.send_signal(signal.SIGTERM)
    _, err = await worker.communicate()
    assert (75, b"") == (worker.returncode, err)
    emulator.script_job("nightly", phases=["COMPLETED"])
    code, out, _ = await run(emulator, program, store, 60)
    assert code == 0
    assert "nightly COMPLETED" in out


async def test_a_worker_out_of_time_is_to_be_run_again(emulator, tmp_path):
    """75 after a finite deadline."""
    program = ROOT / "examples" / "pipeline_worker.py"
    emulator.script_job("nightly", phases=["RUNNING"], window_seconds=10**7)
    code, _, err = await run(emulator, program, tmp_path / "ref.json", 0.3, "nightly")
    assert (75, "") == (code, err)
