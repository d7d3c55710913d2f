"""From requests to results on the command line, in this process, against an emulator."""

import gzip
import json
import re
import signal
import time

import pytest

from fireworks_batch.cli.display.run import (
    adopted_lines,
    check_line,
    code_of_report,
    progress_line,
    report_lines,
    rerun_hint,
)
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.models.states import JobState
from fireworks_batch.results.report import AdoptedJob, JobReport, RunReport
from fireworks_batch.runs.progress import CheckReport, JobPlan, RunProgress, RunStage

pytest_plugins = ["fireworks_batch.pytest_plugin"]

MODEL = ("--model", "accounts/fireworks/models/demo-8b")
PLAN = JobPlan(rows=1, bytes=80, first_line=1, last_line=1)


def a_request(number, content=None):
    """One request."""
    message = {"role": "user", "content": content or f"hello {number}"}
    return {"custom_id": f"r-{number}", "body": {"messages": [message]}}


def written(path, *rows):
    """A file of rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


@pytest.fixture
def requests(tmp_path):
    """A file of ten requests."""
    return written(tmp_path / "requests.jsonl", *map(a_request, range(10)))


@pytest.fixture
def half_good_requests(tmp_path):
    """Eight rows that succeed, and two that fail."""
    rows = [a_request(number, "fail" if number in {3, 5} else None) for number in range(10)]
    return written(tmp_path / "half.jsonl", *rows)


@pytest.fixture
def bad_requests(tmp_path):
    """Two good rows and two bad ones."""
    twin = a_request(0)
    return written(tmp_path / "bad.jsonl", a_request(0), twin, {"custom_id": "x"}, a_request(1))


def await_requests(server, method, path, count=1):
    """Wait until a server was asked for something so many times: nothing else tells of it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        asked = [one.path for one in server.requests() if one.method == method]
        if sum(one.endswith(path) for one in asked) >= count:
            return
        time.sleep(0.01)
    pytest.fail(f"no {count} times {method} {path}: {server.requests()}")


def await_creations(server, count):
    """Wait until so many jobs were asked for."""
    await_requests(server, "POST", "/batchInferenceJobs", count)


def texts(lines):
    """The responses' texts by id."""
    rows = map(json.loads, lines)
    return {row["custom_id"]: row["response"]["choices"][0]["message"]["content"] for row in rows}


# --- check --------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong(cli, requests, monkeypatch, server):
    """0, what it would be, and no key needed: nothing is sent."""
    monkeypatch.delenv("FIREWORKS_API_KEY")
    result = cli("check", str(requests))
    assert (result.code, result.out) == (0, "")
    assert result.err.endswith("requests.jsonl: 10 good rows, 850 B, 1 job\n")
    assert server.requests() == []


def test_check_remarks_upon_rows_without_a_cache_key(cli, tmp_path):
    """They are good: 0, and a note; in JSON the same text."""
    path = tmp_path / "tokens.jsonl"
    path.write_text('{"custom_id": "a", "body": {"prompt_token_ids": [1, 2]}}\n')
    result = cli("check", str(path))
    note = "1 row has prompt_token_ids and neither user nor prompt_cache_key: "
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-1].startswith(f"note: {note}")
    (report,) = cli("check", str(path), "--json").objects
    assert report["is_good"]
    assert [text.startswith(note) for text in report["remarks"]] == [True]


def test_check_refuses_a_model_that_run_refuses(cli, requests):
    """2, and what it should look like."""
    result = cli("check", str(requests), "--model", "demo-8b")
    assert (result.code, result.out) == (2, "")
    assert "'accounts/fireworks/models/demo-8b'" in result.err


def test_check_names_bad_rows(cli, bad_requests):
    """2, and a line each on stdout."""
    result = cli("check", str(bad_requests))
    assert result.code == 2
    assert [line.split(":")[0] for line in result.lines] == [
        "line 2 (custom_id 'r-0')",
        "line 3 (custom_id 'x')",
    ]
    assert "2 bad rows" in result.err


def test_check_gives_json(cli, bad_requests):
    """The report as one object."""
    (report,) = cli("check", str(bad_requests), "--json", "--max-problems", "1").objects
    assert (report["is_good"], report["rows"], report["problem_count"]) == (False, 2, 2)
    assert [problem["line"] for problem in report["problems"]] == [2]


@pytest.mark.parametrize("command", [("check",), ("submit", *MODEL), ("run", *MODEL)])
def test_a_file_that_is_not_there_is_bad_input(cli, tmp_path, command):
    """2, with its name and the system's reason."""
    result = cli(*command, str(tmp_path / "nope.jsonl"))
    assert result.code == 2
    assert "nope.jsonl" in result.err
    assert "No such file" in result.err


# --- submit -------------------------------------------------------------------------------------


def test_submit_writes_the_ids_of_the_jobs(cli, requests):
    """And the same again when it is repeated."""
    first = cli("submit", str(requests), *MODEL, "--name", "nightly", "--max-rows", "5")
    assert (first.code, len(first.lines)) == (0, 2)
    assert all(line.startswith("nightly-") for line in first.lines)
    again = cli("submit", str(requests), *MODEL, "--name", "nightly", "--max-rows", "5")
    assert again.lines == first.lines
    assert cli("wait", *first.lines).code == 0


def test_submit_gives_json(cli, requests):
    """The submission as one object."""
    (submission,) = cli("submit", str(requests), *MODEL, "--json").objects
    assert [shard["rows"] for shard in submission["shards"]] == [10]


def test_settings_of_the_jobs_are_sent(cli, requests, server):
    """As they were given."""
    options = ["--max-tokens", "9", "--temperature", "0.5", "--top-p", "0.9", "--top-k", "3"]
    options += ["--n", "2", "--extra-body", '{"stop": ["END"]}', "--system-prompt", "Be brief."]
    (job_id,) = cli("submit", str(requests), *MODEL, *options, "--max-job-duration", "48h").lines
    (job,) = cli("get", job_id, "--json").objects
    parameters = job["inference_parameters"]
    assert (parameters["max_tokens"], parameters["top_k"], parameters["n"]) == (9, 3, 2)
    assert (parameters["temperature"], parameters["top_p"]) == (0.5, 0.9)
    assert json.loads(parameters["extra_body"]) == {"stop": ["END"]}
    assert (job["system_prompt"], job["max_job_duration"]) == ("Be brief.", 48 * 3600)


# --- run ----------------------------------------------------------------------------------------


def test_run_writes_rows_to_stdout(cli, requests):
    """In the order of the requests; how it gets on, and the report, are talk."""
    result = cli("run", str(requests), *MODEL)
    assert result.code == 0
    assert texts(result.lines) == {f"r-{number}": f"hello {number}" for number in range(10)}
    assert result.err.splitlines()[0] == "checking"
    assert "running 100% (10 of 10 rows), 1 of 1 jobs ended" in result.err
    assert result.err.splitlines()[-1] == "10 of 10 rows succeeded, 0 failed, 0 are missing"


def test_run_writes_rows_to_a_file(cli, requests, tmp_path):
    """Which is whole when it is there; the report is on stdout."""
    result = cli("run", str(requests), *MODEL, "-o", str(tmp_path / "rows.jsonl"))
    assert (result.code, result.lines) == (0, ["10 of 10 rows succeeded, 0 failed, 0 are missing"])
    assert len(texts((tmp_path / "rows.jsonl").read_text().splitlines())) == 10


def test_run_gives_json(cli, requests, tmp_path):
    """With a file for the rows: progress, and the report at the end."""
    result = cli("run", str(requests), *MODEL, "-o", str(tmp_path / "rows.jsonl"), "--json")
    assert (result.code, result.err) == (0, "")
    *changes, end = result.objects
    assert {change["event"] for change in changes} == {"progress"}
    assert [changes[0]["stage"], changes[-1]["stage"]] == ["checking", "collecting"]
    assert (end["event"], end["exit_code"], end["succeeded"]) == ("end", 0, 10)


def test_failed_rows_are_6_and_have_a_file(cli, half_good_requests, tmp_path):
    """Without it, it says how to see them."""
    requests = half_good_requests
    result = cli("run", str(requests), *MODEL, "-o", str(tmp_path / "rows.jsonl"))
    assert result.code == 6
    assert result.lines == ["8 of 10 rows succeeded, 2 failed, 0 are missing"]
    assert "--errors FILE" in result.err
    result = cli("run", str(requests), *MODEL, "--errors", str(tmp_path / "errors.jsonl"))
    assert (result.code, len(result.lines)) == (6, 8)
    assert len((tmp_path / "errors.jsonl").read_text().splitlines()) == 2
    assert "--errors FILE" not in result.err


def test_a_job_that_fails_is_3(cli, server, tmp_path):
    """With the server's reason."""
    server.script_jobs(
        phases=["VALIDATING", "FAILED"],
        status={"code": "INVALID_ARGUMENT", "message": "invalid role pirate"},
    )
    requests = written(tmp_path / "requests.jsonl", a_request(0))
    result = cli("run", str(requests), *MODEL)
    assert (result.code, result.out) == (3, "")
    assert "FAILED: " in result.err
    assert "invalid role pirate" in result.err


def test_bad_rows_send_nothing(cli, bad_requests, server):
    """2, each of them named, and two ways to go on."""
    result = cli("run", str(bad_requests), *MODEL)
    assert (result.code, result.out) == (2, "")
    assert "error: 2 bad rows of input, nothing was sent:" in result.err
    assert "  line 3 (custom_id 'x'): " in result.err
    assert "  to leave them out: --on-bad-row skip" in result.err
    assert all(request.method == "GET" for request in server.requests())


def test_bad_rows_can_be_left_out(cli, bad_requests):
    """The others are run, and 6 says that not all were."""
    result = cli("run", str(bad_requests), *MODEL, "--on-bad-row", "skip")
    assert (result.code, len(result.lines)) == (6, 2)
    assert "bad rows left out: 2" in result.err


def test_a_run_without_a_model_is_a_usage_error(cli, requests):
    """Unless the environment has one."""
    result = cli("run", str(requests))
    assert result.code == 2
    assert "--model" in result.err


def test_a_run_detaches(terminal, requests, server):
    """Ctrl-C leaves the jobs running, says how to go on, and the same command finds them."""
    server.script_jobs(phases=["RUNNING"])
    screen = terminal("run", str(requests), *MODEL, "--name", "nightly", columns=200)
    screen.await_screen(r"running 0.0% \(0 of 10 rows\)|running \d")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    detached, again, stop = screen.lines[-3:]
    (job_id,) = re.findall(r"^detached: (nightly-\w+-0) runs on$", detached)
    assert again.startswith("  to come back: fireworks-batch run ")
    assert stop == f"  to delete:    fireworks-batch delete {job_id}"
    assert "warning" not in screen.text
    assert {request.method for request in server.requests()} == {"GET", "POST"}


def test_an_interrupt_leaves_no_part_of_a_bar_behind(terminal, requests, server):
    """At 40 columns, where the words of the bar take several lines."""
    server.script_jobs(phases=["RUNNING"], times=None)
    options = ("--max-rows", "3", "--name", "nightly-2026-11-23")
    screen = terminal("run", str(requests), *MODEL, *options, columns=40, lines=40)
    screen.await_screen(r"jobs ended(.|\n)*(nigh\S+ +RUNNING.*\n?){4}")
    screen.press_ctrl_c()
    assert screen.finish() == 130
    assert screen.lines[0] == "detached: 4 jobs run on"
    assert "RUNNING" not in screen.text
    assert "rows" not in "".join(screen.lines[1:]).replace("max-rows", "")


def test_a_bar_does_not_hide_a_bad_network(terminal, requests, server):
    """Each job has a line below it, with how many polls of it failed in a row."""
    server.script_jobs(phases=["RUNNING"], times=None)
    options = ("--max-rows", "1")
    screen = terminal("run", str(requests), *MODEL, *options, columns=200, lines=40)
    screen.await_screen("0 of 10 jobs ended")
    await_creations(server, 10)
    screen.await_screen(r"0 of 10 jobs ended *\njob +state.*(\nbatch-.*RUNNING.*){10}")
    server.add_fault("status", status=503, method="GET", times=None)
    screen.await_screen(
        r"failed polls of 10 jobs(.*\n){2}(batch-.*RUNNING.* [2-9]\d* failed polls *\n?){10}"
    )
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert "warning: " not in screen.text


def test_what_cannot_be_read_of_a_job_is_told_above_the_table(terminal, server):
    """No row has it, and it is told once."""
    server.script_job("odd", phases=["RUNNING"], fields={"createTime": 7})
    screen = terminal("wait", "odd", columns=200)
    screen.await_screen(r"warning: .*createTime(.|\n)*odd +RUNNING")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert screen.text.count("warning: ") == 1


def test_before_there_is_a_job_an_interrupt_names_none(terminal, requests, server):
    """It says so, and how to begin again."""
    server.add_fault("hang", path="*/datasets*", times=None)
    screen = terminal("run", str(requests), *MODEL, columns=200)
    screen.await_screen("queued 0.0%")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    said, again = screen.lines
    assert said == "interrupted: no job is known to run"
    assert again.startswith("  to come back: fireworks-batch run ")


@pytest.mark.parametrize("command", ["check", "submit"])
def test_what_takes_time_says_what_it_does(terminal, server, tmp_path, command):
    """Nobody looks at an empty screen."""
    server.add_fault("hang", times=None)
    path = tmp_path / "big.jsonl.gz"
    if command == "check":  # it sends nothing, and only reading takes its time
        path.write_bytes(gzip.compress(b"\n" * 20_000_000, 1))
    else:
        path.write_bytes(gzip.compress(json.dumps(a_request(0)).encode()))
    screen = terminal(command, str(path), *(MODEL if command == "submit" else ()))
    screen.await_screen("checking" if command == "check" else "checking and submitting")
    screen.process.kill()


def test_a_run_of_many_jobs_names_all_that_run_on(cli, terminal, requests, server, monkeypatch):
    """In the command that deletes them, with the options that were needed to get at them."""
    server.script_jobs(phases=["COMPLETED"])
    server.script_jobs(phases=["RUNNING"], times=None)
    options = ("--max-rows", "1", "--account-id", server.account_id)
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    screen = terminal("run", str(requests), *MODEL, *options, columns=800)
    screen.await_screen("1 of 10 jobs ended")
    await_creations(server, 10)
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert "detached: 9 jobs run on" in screen.text
    words = screen.lines[-1].split("fireworks-batch delete ")[1].split()
    running = {job["id"] for job in cli("list", "--json").objects if job["state"] == "RUNNING"}
    assert ({*words[:-2]}, words[-2:]) == (running, ["--account-id", server.account_id])


def test_a_run_deletes_its_jobs_on_interrupt(terminal, requests, server):
    """And says so, once."""
    server.script_jobs(phases=["RUNNING"])
    screen = terminal("run", str(requests), *MODEL, "--delete-on-interrupt", columns=120)
    screen.await_screen("running 0.0%")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    deleting, deleted = screen.lines[-2:]
    assert re.fullmatch("deleting batch-.*; a second Ctrl-C leaves the jobs that remain", deleting)
    assert re.fullmatch(r"batch-\w+-0 is deleted", deleted)
    assert "run on" not in screen.text
    assert server.requests()[-1].method == "DELETE"


def test_a_run_does_not_delete_a_job_that_it_found(cli, terminal, requests, server):
    """Another process may wait for it: it runs on, and the commands for it are named."""
    server.script_jobs(phases=["RUNNING"])
    (job_id,) = cli("submit", str(requests), *MODEL).lines
    screen = terminal("run", str(requests), *MODEL, "--delete-on-interrupt", columns=200)
    screen.await_screen("running 0.0%")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert f"detached: {job_id} runs on" in screen.text
    assert "DELETE" not in {request.method for request in server.requests()}


def test_a_job_that_a_proxy_does_not_find_is_not_said_to_be_deleted(terminal, requests, server):
    """It may run on, and the command to delete it is there."""
    server.script_jobs(phases=["RUNNING"])
    server.add_fault("html", method="DELETE", status=404, times=None)
    screen = terminal("run", str(requests), *MODEL, "--delete-on-interrupt", columns=200)
    screen.await_screen("running 0.0%")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert re.search(r"^batch-\w+-0 may run on: .*404", screen.text, re.MULTILINE)
    assert screen.lines[-1].startswith("  to delete: fireworks-batch delete batch-")


def test_an_error_is_no_interrupt(terminal, requests, server):
    """With --delete-on-interrupt, too: jobs that an error ends the following of run on."""
    server.script_jobs(phases=["RUNNING"])
    server.add_fault("status", status=402, method="GET", path="*/batchInferenceJobs/*", after=3)
    screen = terminal("run", str(requests), *MODEL, "--delete-on-interrupt", columns=200)
    assert screen.finish() == 8
    assert "jobs run on, and the same call finds them again: batch-" in screen.text
    assert "DELETE" not in {request.method for request in server.requests()}


@pytest.mark.parametrize("command", ["run", "wait"])
def test_a_second_interrupt_ends_the_deleting(terminal, requests, server, command):
    """At once, with 130, no traceback, and the jobs that may still run, ready to be deleted."""
    server.script_jobs(phases=["RUNNING"])
    server.add_fault("hang", method="DELETE", times=None)
    if command == "run":
        screen = terminal("run", str(requests), *MODEL, "--delete-on-interrupt", columns=120)
        screen.await_screen("running 0.0%")
    else:
        server.script_job("batch-0", phases=["RUNNING"], time_limit_seconds=10**7)
        screen = terminal("wait", "batch-0", "--delete-on-interrupt", columns=120)
        screen.await_screen("batch-0 +RUNNING")
    screen.process.send_signal(signal.SIGINT)
    screen.await_screen("a second Ctrl-C")
    await_requests(server, "DELETE", "-0")
    screen.process.send_signal(signal.SIGINT)
    assert screen.finish() == 130
    assert "Traceback" not in screen.text
    *_, left, stop = screen.lines
    (job_id,) = re.findall("^(batch-.*) may run on: interrupted before there was an answer$", left)
    assert stop == f"  to delete: fireworks-batch delete {job_id}"


@pytest.mark.parametrize(
    ("state", "hint"),
    [("COMPLETED", "another --name"), ("FAILED", "another --name, or with --on-previous new")],
)
def test_jobs_that_had_ended_are_told_once(cli, requests, server, state, hint):
    """In one line, however many, with the way to new results; submit says it, too."""
    server.script_jobs(phases=[state], times=None)
    options = (*MODEL, "--max-rows", "5")
    cli("run", str(requests), *options)
    again = cli("run", str(requests), *options)
    submitted = cli("submit", str(requests), *options)
    line = f"2 jobs had ended before (2 {state}): their results are not new"
    for result in (again, submitted):
        assert result.err.count(f"{line}\n") == 1
        assert f"to run the same rows again: run or submit them with {hint}\n" in result.err
        assert "warning" not in result.err


# --- collect ------------------------------------------------------------------------------------


@pytest.fixture
def submission(cli, requests, tmp_path):
    """A file with what `submit --json` wrote about ten requests in two jobs."""
    path = tmp_path / "submission.json"
    path.write_text(cli("submit", str(requests), *MODEL, "--max-rows", "5", "--json").out)
    return path


def test_collect_writes_the_rows_of_a_submission(cli, submission):
    """To stdout, in the order of their ids; the report is talk."""
    result = cli("collect", str(submission))
    assert result.code == 0
    assert list(texts(result.lines)) == [f"r-{number}" for number in range(10)]
    assert result.err.splitlines()[-1] == "10 of 10 rows succeeded, 0 failed, 0 are missing"


def test_collect_has_the_options_of_the_library(cli, server, submission, requests, tmp_path):
    """A file for the rows, the requests for their order, and what is deleted at the end."""
    output = tmp_path / "rows.jsonl"
    options = ("--requests", str(requests), "--cleanup", "datasets", "--timeout", "1h", "--json")
    result = cli("collect", str(submission), "-o", str(output), *options)
    assert result.code == 0
    assert (result.objects[-1]["event"], result.objects[-1]["succeeded"]) == ("end", 10)
    assert len(texts(output.read_text().splitlines())) == 10
    deleted = [one.path for one in server.requests() if one.method == "DELETE"]
    assert len(deleted) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("batch-0\nbatch-1\n", "not a stored submission"),
        ('{"custom_id": "r-1", "body": {}}\n', "a submission of version None"),
    ],
)
def test_what_is_no_submission_cannot_be_collected(cli, server, tmp_path, content, complaint):
    """2, and the command that writes one."""
    path = tmp_path / "ids"
    path.write_text(content)
    result = cli("collect", str(path))
    assert (result.code, result.out) == (2, "")
    assert complaint in result.err
    assert "'fireworks-batch submit --json' writes what 'collect' reads" in result.err
    assert server.requests() == []


def test_an_interrupted_collect_says_how_to_come_back(terminal, server, submission):
    """The jobs run on, and none is deleted."""
    submitted = json.loads(submission.read_text())["shards"]
    for shard in submitted:
        server.script_job(
            f"{shard['base_id']}-0", phases=["RUNNING"], time_limit_seconds=10**7, fields={}
        )
    screen = terminal("collect", str(submission), columns=400)
    screen.await_screen("0 of 2 jobs ended(.|\n)*RUNNING")
    screen.press_ctrl_c()
    assert screen.finish() == 130
    detached, again, _ = screen.lines
    assert detached == "detached: 2 jobs run on"
    assert again == f"  to come back: fireworks-batch collect {submission}"
    assert "DELETE" not in {request.method for request in server.requests()}


# --- Standard input -----------------------------------------------------------------------------


@pytest.mark.once
def test_requests_come_from_standard_input(shell, requests):
    """For check, submit and run; also if they are compressed."""
    assert shell(f"$CLI check - < {requests}").err == "standard input: 10 good rows, 850 B, 1 job\n"
    assert shell(f"gzip -c {requests} | $CLI check -").code == 0
    submitted = shell(f"cat {requests} | $CLI submit - {' '.join(MODEL)} --json | $CLI collect -")
    assert len(texts(submitted.lines)) == 10
    ran = shell(f"$CLI run - {' '.join(MODEL)} < {requests}")
    assert (ran.code, texts(ran.lines)) == (0, texts(submitted.lines))


@pytest.mark.once
def test_standard_input_may_be_closed_or_no_requests(shell):
    """2, and what was read."""
    closed = shell("$CLI check - <&-")
    assert (closed.code, closed.out) == (2, "")
    assert closed.err == "error: cannot read standard input: it is closed\n"
    assert shell("echo hello | $CLI check -").lines[0].startswith("line 1: ")


@pytest.mark.parametrize("command", ["check", "run"])
def test_an_interrupt_ends_the_reading_of_standard_input(terminal, command):
    """The command ends at once, with 130, while the input is still open."""
    screen = terminal(command, "-", *MODEL)
    screen.await_screen("reading standard input; Ctrl-D ends it")
    screen.press_ctrl_c()
    assert screen.finish() == 130
    assert "Traceback" not in screen.text


def test_to_come_back_standard_input_is_needed_again(terminal, requests, server):
    """The command alone would wait for it."""
    server.script_jobs(phases=["RUNNING"])
    with requests.open("rb") as file:
        screen = terminal("run", "-", *MODEL, columns=200, stdin=file)
        screen.await_screen("running 0.0%")
    screen.press_ctrl_c()
    assert screen.finish() == 130
    assert "  to come back, with the same input: fireworks-batch run - " in screen.text


# --- Told before anything is sent ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        (
            "--max-job-duration",
            "100h",
            "--max-job-duration: '100h' is out of the range, 12h to 72h",
        ),
        ("--max-job-duration", "none", "--max-job-duration: 'none' is out of the range"),
        ("--max-job-duration", "soon", "--max-job-duration: 'soon' is not a duration"),
        ("--model", "demo-8b", "'accounts/fireworks/models/demo-8b'"),
        ("--on-bad-row", "skp", "'skp' is not one of 'raise', 'skip'"),
        ("--on-previus", "new", "--on-previous"),
        ("--output", ".", "'.' is a directory"),
        ("--errors", ".", "'.' is a directory"),
    ],
)
@pytest.mark.parametrize("command", ["run"])
def test_a_wrong_value_is_told(cli, requests, server, command, option, value, complaint):
    """2, with what is right or near; nothing is sent."""
    result = cli(command, str(requests), *MODEL, option, value)
    assert (result.code, result.out) == (2, "")
    assert complaint in " ".join(result.err.split())
    assert server.requests() == []


@pytest.mark.parametrize(
    "command",
    [("check",), ("submit", *MODEL), ("run", *MODEL), ("collect",), ("datasets", "upload")],
)
def test_a_directory_is_said_to_be_one(cli, server, tmp_path, command):
    """2, where a file is needed."""
    result = cli(*command, str(tmp_path))
    assert (result.code, result.out) == (2, "")
    said = " ".join(result.err.split()).replace("File", "file")  # older typer has a capital
    assert f"file '{tmp_path}' is a directory" in said
    assert server.requests() == []


# --- demo ---------------------------------------------------------------------------------------


@pytest.mark.once
def test_the_demo_shows_a_whole_run(cli, monkeypatch):
    """Without a key, through a bad network, with a row that is sent again: 0, and 24 rows."""
    monkeypatch.delenv("FIREWORKS_API_KEY")
    result = cli("demo")
    assert result.code == 0
    assert result.lines[:2] == [
        "24 of 24 rows succeeded, 0 failed, 0 are missing",
        "rows sent again: 1",
    ]
    judged = dict(line.split()[:2] for line in result.lines[2:])
    assert len(judged) == 24
    assert set(judged.values()) == {"positive", "negative", "mixed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_names_no_job(terminal, number):
    """Its emulator ends with it: there is nothing to come back to, and nothing to delete."""
    screen = terminal("demo", columns=200)
    screen.await_screen(r"of 24 rows\)")
    screen.process.send_signal(number)
    assert screen.finish() == 130
    assert "detached" not in screen.text
    assert "fireworks-batch delete" not in screen.text


# --- Pure ---------------------------------------------------------------------------------------


def progress(**members):
    """A snapshot of a run."""
    defaults = {
        "stage": RunStage.RUNNING,
        "rows": 1000,
        "rows_done": 0,
        "rows_failed": 0,
        "jobs": 2,
        "jobs_submitted": 2,
        "jobs_ended": 0,
    }
    return RunProgress(**defaults | members)


def test_progress_in_a_line():
    """Stage, rows, jobs, and how long it may take."""
    half = progress(rows_done=500, rows_failed=3, rate=10.0, eta=50.0)
    line = "running 50.0% (500 of 1,000 rows, 3 failed), 0 of 2 jobs ended, 10/s"
    assert progress_line(half) == f"{line}, 50s left"
    assert progress_line(half, age=30.0) == f"{line}, 20s left"
    assert progress_line(half, age=60.0) == line
    failed = (("a", 2), ("b", 1))
    assert progress_line(progress(failed_polls=failed)).endswith(
        "jobs ended, failed polls of 2 jobs"
    )
    assert progress_line(progress(failed_polls=failed[:1])).endswith("ended, failed polls of 1 job")
    assert progress_line(progress(rows=0, stage=RunStage.CHECKING)) == "checking"


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (
            CheckReport(rows=1, bytes=80, jobs=(PLAN,), problem_count=1, blank_lines=1),
            "1 good row, 80 B, 1 job; 1 bad row; 1 blank line",
        ),
        (
            CheckReport(rows=1200, bytes=9600, jobs=(PLAN, PLAN), problem_count=2, blank_lines=3),
            "1,200 good rows, 9.6 kB, 2 jobs; 2 bad rows; 3 blank lines",
        ),
        (CheckReport(rows=0, bytes=0, jobs=()), "there are no rows"),
        (
            CheckReport(rows=0, bytes=0, jobs=(), problem_count=1),
            "0 good rows, 0 B, 0 jobs; 1 bad row",
        ),
    ],
)
def test_a_check_in_a_line(report, line):
    """What there is of each kind; of what is wrong only what there is."""
    assert check_line(report) == line


def a_report(succeeded=10, state="COMPLETED", reason="", **members):
    """A report of ten rows in one job."""
    job = JobReport(job_id="a-0", state=JobState(state), rows=10, reason=reason)
    defaults = {"rows": 10, "succeeded": succeeded, "failed": 10 - succeeded, "missing": 0}
    return RunReport(**defaults | {"jobs": (job,)} | members)


@pytest.mark.parametrize(
    ("count", "more"), [(10, None), (11, "and 1 more job"), (12, "and 2 more jobs")]
)
def test_of_many_jobs_that_ended_badly_ten_are_named(count, more):
    """The others are counted."""
    job = JobReport(job_id="a-0", state=JobState("FAILED"), rows=1, reason="INTERNAL: boo")
    _, *lines = report_lines(a_report(jobs=(job,) * count))
    assert lines == ["job a-0 FAILED: INTERNAL: boo"] * 10 + ([more] if more else [])


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (a_report(), ExitCode.SUCCEEDED),
        (a_report(state="EXPIRED"), ExitCode.SUCCEEDED),
        (a_report(skipped=1), ExitCode.ROWS_FAILED),
        (a_report(succeeded=9), ExitCode.ROWS_FAILED),
        (a_report(succeeded=9, state="EXPIRED"), ExitCode.EXPIRED),
        (a_report(succeeded=0, state="FAILED"), ExitCode.FAILED),
    ],
)
def test_the_code_of_a_run(report, code):
    """Complete is complete, whatever its jobs went through; else the worst of them counts."""
    assert code_of_report(report) is code


def test_one_job_that_had_ended_is_named():
    """With its state."""
    adopted = AdoptedJob(job_id="a-0", state=JobState("EXPIRED"), age=None)
    assert adopted_lines(()) == []
    assert adopted_lines((adopted,)) == [
        "job a-0 had ended EXPIRED before: its results are not new"
    ]


def test_several_jobs_that_had_ended_are_counted():
    """By their states; to run rows anew that did not succeed, there is a second way."""
    states = ("COMPLETED", "EXPIRED", "COMPLETED")
    adopted = [AdoptedJob(job_id="a-0", state=JobState(state), age=None) for state in states]
    assert adopted_lines(adopted) == [
        "3 jobs had ended before (2 COMPLETED, 1 EXPIRED): their results are not new"
    ]
    assert adopted_lines(adopted[:2])[0].startswith("2 jobs had ended before")
    hint = "to run the same rows again: run or submit them with another --name"
    assert rerun_hint(adopted) == f"{hint}, or with --on-previous new"
    assert rerun_hint(adopted[:1]) == hint


def test_a_report_names_jobs_that_ended_badly():
    """With the reason."""
    report = a_report(succeeded=0, state="FAILED", reason="INTERNAL: boo", skipped=1200)
    assert report_lines(report) == [
        "0 of 10 rows succeeded, 10 failed, 0 are missing, bad rows left out: 1200",
        "job a-0 FAILED: INTERNAL: boo",
    ]
