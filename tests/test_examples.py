"""Everything that README and examples show is run.

Most of it in a thread of this process, where a warning is an error. What handles signals, is
killed, or imports the vendor's SDK has a process of its own.
"""

import asyncio
import contextlib
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fireworks_batch.emulator import Emulator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
del PAGES[ROOT / "docs" / "in-a-notebook.md"]  # whose cells are run by test_notebook
SNIPPETS = [
    snippet
    for text in (README, *PAGES.values())
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
MODEL = "accounts/fireworks/models/demo-8b"


def environment(emulator: Emulator) -> dict[str, str]:
    """What a user would export."""
    return {
        **os.environ,
        "FIREWORKS_API_KEY": emulator.api_key,
        "FIREWORKS_ACCOUNT_ID": "acme",
        "FIREWORKS_BASE_URL": emulator.base_url,
        "FIREWORKS_BATCH_TIME_SCALE": "0.0001",
    }


async def run(
    emulator: Emulator, program: Path, *arguments: object, **settings: str
) -> tuple[int, str, str]:
    """Run a program on the arguments in this process, and return exit code, stdout and stderr."""
    out, err, code = io.StringIO(), io.StringIO(), None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment(emulator), **settings}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", [*map(str, (program, *arguments))])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                await asyncio.to_thread(runpy.run_path, str(program), run_name="__main__")
            except SystemExit as exit_:
                code = exit_.code
    if isinstance(code, str):  # which the interpreter would print
        err.write(f"{code}\n")
        code = 1
    return code or 0, out.getvalue(), err.getvalue()


async def run_process(
    emulator: Emulator, *arguments: object, **settings: str
) -> tuple[int, str, str]:
    """Run a program in a process of its own, and return exit code, stdout and stderr."""
    process = await start(emulator, *arguments, **settings)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def start(
    emulator: Emulator, *arguments: object, **settings: str
) -> asyncio.subprocess.Process:
    """Start Python on the arguments, in a user's environment with other settings."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, arguments),
        env={**environment(emulator), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def write_requests(path: Path, *, bad: bool = False) -> Path:
    """Write three requests; a role nobody knows is in one of them if it is to be bad."""
    rows = [
        {"custom_id": f"r{number}", "body": {"messages": [{"role": role, "content": "hi"}]}}
        for number, role in enumerate(["user", "user", "pirate" if bad else "user"])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.once
@pytest.mark.parametrize("number", range(len(SNIPPETS)))
async def test_every_snippet_runs(emulator, tmp_path, monkeypatch, number):
    """With what a user would export at least, beside some requests."""
    monkeypatch.chdir(tmp_path)
    emulator.script_job("nightly-eval", phases=["COMPLETED"])
    write_requests(tmp_path / "requests.jsonl")
    (tmp_path / "reviews.csv").write_text("id,text\na,Great!\nb,It broke.\n", encoding="utf-8")
    program = tmp_path / "snippet.py"
    program.write_text(SNIPPETS[number], encoding="utf-8")
    if "AsyncFireworks" in SNIPPETS[number]:
        code, out, err = await run_process(emulator, program)
    else:  # readers may have a key and nothing else
        code, out, err = await run(emulator, program, FIREWORKS_ACCOUNT_ID="")
    assert (0, "") == (code, err)
    assert out


SHORT = [
    "follow_one_job",
    "follow_many_jobs",
    "pipeline_worker",
    "read_results",
    "resume_download",
    "upload_and_create",
]


@pytest.mark.parametrize("name", SHORT)
def test_examples_are_short(name):
    """Each fits in forty lines."""
    assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) < 40


@pytest.mark.once
async def test_the_demo_shows_all_five_outcomes(emulator):
    """It exits with 0, after each of the five jobs has ended as it should."""
    code, out, err = await run_process(emulator, ROOT / "examples" / "demo.py")
    assert (0, "") == (code, err)
    outcomes = dict(line.split(maxsplit=1) for line in out.splitlines()[-5:])
    assert outcomes["reviews"] == "COMPLETED, 3 rows failed"
    assert "INVALID_ARGUMENT: invalid role pirate" in outcomes["bad-rows"]
    assert "rows that were finished may be in" in outcomes["too-slow"]
    assert outcomes["bad-network"] == "COMPLETED, 0 rows failed"
    assert outcomes["from-2030"] == "COMPLETED, 0 rows failed"
    assert "FROBNICATING" in out
    assert "failed polls" in out


# Those for Temporal and Airflow are tested where these are.
PROGRAMS = {*(ROOT / "examples").glob("*.py")} - {
    ROOT / "examples" / name for name in ("demo.py", "temporal_worker.py")
}


@pytest.mark.parametrize("program", sorted(PROGRAMS), ids=lambda path: path.stem)
async def test_an_example_without_arguments_says_how_it_is_called(emulator, program):
    """By the first line of its own docstring, with 1; all but the demo, which takes none."""
    code, out, err = await run(emulator, program)
    assert (1, "") == (code, out)
    assert f": python {program.name} " in err.splitlines()[0]
    assert [] == emulator.requests()


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


@pytest.mark.once
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("moment", ["before the first poll", "asking", "sleeping"])
async def test_a_killed_worker_comes_back_to_its_job(emulator, tmp_path, moment):
    """SIGTERM ends it with 75, and the next one finds the job by the stored reference."""
    if moment == "asking":
        emulator.add_fault("hang", seconds=600)
    program = ROOT / "examples" / "pipeline_worker.py"
    store = tmp_path / "ref.json"
    emulator.script_job("nightly", phases=["RUNNING"], time_limit_seconds=10**7)
    worker = await start(emulator, program, store, 60, "nightly")
    await worker.stdout.readline()
    while moment != "before the first poll" and not emulator.requests():
        await asyncio.sleep(0.01)
    worker.send_signal(signal.SIGTERM)
    _, err = await worker.communicate()
    assert (75, b"") == (worker.returncode, err)
    emulator.clear_faults()
    emulator.script_job("nightly", phases=["COMPLETED"])
    code, out, _ = await run_process(emulator, program, store, 60)
    assert code == 0
    assert "nightly COMPLETED" in out


async def test_a_worker_out_of_time_is_to_be_run_again(emulator, tmp_path):
    """75 after a finite deadline."""
    program = ROOT / "examples" / "pipeline_worker.py"
    emulator.script_job("nightly", phases=["RUNNING"], time_limit_seconds=10**7)
    code, _, err = await run_process(emulator, program, tmp_path / "ref.json", 0.3, "nightly")
    assert (75, "") == (code, err)


async def test_an_upload_may_be_repeated(tmp_path):
    """The second time, nothing is sent, and the job is the same."""
    program = ROOT / "examples" / "upload_and_create.py"
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"custom_id": "r-1", "body": {"messages": []}}\n', encoding="utf-8")
    async with Emulator(speed=600, account_id="acme") as emulator:
        model = "accounts/fireworks/models/demo-8b"
        code, out, err = await run(emulator, program, model, rows, "nightly")
        assert (0, "") == (code, err)
        assert out.splitlines()[-2].endswith(" READY 1 rows")
        assert out.splitlines()[-1].startswith("nightly ")
        code, out, err = await run(emulator, program, model, rows, "nightly")
        assert (0, "") == (code, err)
        assert "bytes" not in out
        assert len([r for r in emulator.requests() if r.path.endswith(":upload")]) == 1


async def test_a_download_survives_a_bad_line(tmp_path):
    """Each break is resumed."""
    program = ROOT / "examples" / "resume_download.py"
    content = os.urandom(500_000)
    async with Emulator(account_id="acme") as emulator:
        emulator.add_dataset("out", files={"r.jsonl": content})
        emulator.add_fault("truncate", path="/fireworks-acme/*", after=1, times=3, bytes=100_000)
        code, out, err = await run(emulator, program, "out", tmp_path)
        assert (0, "") == (code, err)
        assert out.splitlines()[-1] == str(tmp_path / "r.jsonl")
        assert (tmp_path / "r.jsonl").read_bytes() == content
        statuses = [r.status for r in emulator.requests() if r.origin == "storage"]
        assert statuses[2:] == [206, 206, 206]


async def test_many_jobs_are_orchestrated(tmp_path):
    """One that fails and one that cannot be created stop no other; the exit code is 1."""
    program = ROOT / "examples" / "orchestrate_many.py"
    content = b'{"custom_id": "r-1", "body": {"messages": [{"role": "user", "content": "x"}]}}\n'
    async with Emulator(speed=6000, account_id="acme") as emulator:
        for number in range(6):
            emulator.add_dataset(f"rows-{number}", files={"rows.jsonl": content})
        emulator.script_jobs(phases=["VALIDATING", "FAILED"])
        names = [f"rows-{number}" for number in range(6)]
        code, out, err = await run(emulator, program, "accounts/m/models/x", *names, "none")
    assert code == 1
    assert out.count(" COMPLETED accounts/acme/datasets/bij-") == 5
    assert err.count("failed: job 'job-") == 1
    assert err.count("none: not created: job ") == 1


EXAMPLES = {
    "follow_one_job": ["nightly"],
    "follow_many_jobs": ["nightly", "other"],
    "orchestrate_many": ["accounts/m/models/x", "rows"],
    "pipeline_worker": ["ref.json", "3", "nightly"],
    "queue_worker": ['{"requests": "r.jsonl", "model": "m", "name": "n", "output": "o.jsonl"}'],
    "resume_download": ["out", "down"],
    "upload_and_create": ["accounts/fireworks/models/demo-8b", "rows.jsonl", "nightly"],
}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_tells_what_is_wrong_in_one_line(emulator, tmp_path, monkeypatch, name):
    """A bad environment is no traceback."""
    monkeypatch.chdir(tmp_path)
    program = ROOT / "examples" / f"{name}.py"
    runner = run_process if name == "pipeline_worker" else run  # handles signals
    code, out, err = await runner(emulator, program, *EXAMPLES[name], FIREWORKS_BASE_URL="nowhere")
    assert (1, "") == (code, out)
    assert err.startswith("error: base_url 'nowhere' is not an http(s) URL; it should look like")
    assert err.count("\n") == 1


async def test_a_worker_without_its_file_says_so(emulator, tmp_path):
    """It was never started with a job."""
    program = ROOT / "examples" / "pipeline_worker.py"
    code, _, err = await run_process(emulator, program, tmp_path / "none.json", 3)
    assert code == 1
    assert err.startswith("error: [Errno 2] No such file or directory: ")
    (tmp_path / "cut.json").write_text('{"version": 1, "acc')
    code, _, err = await run_process(emulator, program, tmp_path / "cut.json", 3)
    assert code == 1
    assert err.startswith("error: not a stored job reference: ")


async def test_read_results_prints_texts_and_names_the_rest(emulator, tmp_path):
    """Texts on stdout, the report on stderr, 1 if rows failed or are missing."""
    good = b'{"custom_id": "a", "response": {"choices": [{"message": {"content": "yes"}}]}}\n'
    bad = b'{"custom_id": "b", "error": {"code": 429, "message": "slow"}}\n'
    bad += b'{"custom_id": "c", "error": {"code": 400, "message": "wrong"}}\n'
    inputs = tmp_path / "input.jsonl"
    inputs.write_text("".join(f'{{"custom_id": "{name}", "body": {{}}}}\n' for name in "abcd"))
    output = emulator.add_dataset("out", files={"BIJOutputSet.jsonl": good, "error-data": bad})
    emulator.script_job("nightly", phases=["EXPIRED"], fields={"outputDatasetId": output})

    code, out, err = await run(emulator, ROOT / "examples" / "read_results.py", "nightly", inputs)

    assert (1, '{"custom_id": "a", "text": "yes"}\n') == (code, out)
    assert "c RowError(code='400', message='wrong')" in err
    assert "<ResultsReport: 1 succeeded, 2 failed, 1 missing" in err
    assert "to be run again: b d" in err


async def test_run_file_goes_from_requests_to_results(emulator, tmp_path):
    """0 and two files; 2 and the bad lines, and nothing sent, when rows are bad."""
    program = ROOT / "examples" / "run_file.py"
    requests = write_requests(tmp_path / "requests.jsonl")
    code, out, err = await run(emulator, program, requests, MODEL, "nightly")
    assert (0, "") == (code, err)
    assert out.endswith("3 of 3 rows succeeded, 0 failed, 0 are missing\n")
    assert 3 == len((tmp_path / "requests.jsonl.results").read_text().splitlines())
    before = len(emulator.requests())
    bad = write_requests(tmp_path / "bad.jsonl", bad=True)
    code, _, err = await run(emulator, program, bad, MODEL, "nightly")
    assert code == 2
    assert "line 3 (custom_id 'r2'): message 0 has role 'pirate'" in err
    assert before == len(emulator.requests())


@pytest.mark.once
@pytest.mark.parametrize("killed_by", [signal.SIGTERM, signal.SIGKILL])
async def test_a_killed_run_is_gone_on_with(emulator, tmp_path, killed_by):
    """The worker is killed while its job runs; the same command line collects that job."""
    program = ROOT / "examples" / "run_in_worker.py"
    requests = write_requests(tmp_path / "requests.jsonl")
    order = (program, requests, MODEL, "nightly", tmp_path / "output.jsonl")
    emulator.add_fault("hang", path="*/batchInferenceJobs/nightly-*")
    worker = await start(emulator, *order)
    while not any(entry.fault == "hang" for entry in emulator.requests()):
        await asyncio.sleep(0.01)
    worker.send_signal(killed_by)
    out, err = await worker.communicate()
    if killed_by == signal.SIGTERM:
        assert (75, b"") == (worker.returncode, err)
        assert b"jobs run on, and the same call finds them again: nightly-" in out
    emulator.clear_faults()
    code, text, _ = await run_process(emulator, *order)
    assert code == 0
    assert "had ended before: nightly-" in text
    assert text.endswith("3 of 3 rows succeeded, 0 failed, 0 are missing\n")
    created = [
        entry
        for entry in emulator.requests()
        if entry.method == "POST" and entry.path.endswith("InferenceJobs")
    ]
    assert 1 == len(created)


def message_for(directory: Path) -> tuple[str, Path]:
    """Write requests, and return a message about them, and the path of its output."""
    output = directory / "output.jsonl"
    requests = write_requests(directory / "requests.jsonl")
    message = {"requests": str(requests), "model": MODEL, "name": "n", "output": str(output)}
    return json.dumps(message), output


async def test_a_message_that_comes_again_makes_no_second_job(emulator, client, tmp_path):
    """The task returns the same, and writes the same file."""
    message, output = message_for(tmp_path)
    outcomes = []
    for _ in range(2):
        outcome = await run(emulator, ROOT / "examples" / "queue_worker.py", message)
        outcomes.append((*outcome, output.read_bytes()))
        output.unlink()

    [job] = [job async for job in client.jobs.list()]
    manifest = {"output": str(output), "succeeded": 3, "failed": 0, "missing": 0, "jobs": [job.id]}
    assert outcomes[0] == outcomes[1]
    code, out, err, _ = outcomes[0]
    assert (0, manifest, "") == (code, json.loads(out), err)


@pytest.mark.once
async def test_a_message_that_two_workers_have_at_once_makes_one_job(emulator, client, tmp_path):
    """Both find it, wait for its end, and write the same file."""
    message, output = message_for(tmp_path)
    emulator.script_jobs(phases=["RUNNING"], times=None, time_limit_seconds=10**7)
    program = ROOT / "examples" / "queue_worker.py"
    workers = [await start(emulator, program, message) for _ in range(2)]
    try:
        async with asyncio.timeout(20):
            while len([entry for entry in emulator.requests() if entry.path.endswith("Jobs")]) < 3:
                await asyncio.sleep(0.01)  # until both have searched for jobs, and one has made one
            [job] = [job async for job in client.jobs.list()]
            emulator.script_job(job.id, phases=["COMPLETED"])
            outs = [await worker.communicate() for worker in workers]
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    assert [0, 0] == [worker.returncode for worker in workers]
    assert [job.id] == [job.id async for job in client.jobs.list()]
    assert outs[0] == outs[1]
    ids = [json.loads(line)["custom_id"] for line in output.read_text("utf-8").splitlines()]
    assert ["r0", "r1", "r2"] == ids
