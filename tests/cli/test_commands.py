"""The commands, called in this process without a terminal, against an emulator."""

import json
import logging
import os
import re
import time

import pytest

from fireworks_batch import PollPolicy, __version__

pytest_plugins = ["fireworks_batch.pytest_plugin"]

WHOLE_LIFE = ["VALIDATING", "PENDING", "RUNNING", "COMPLETED"]


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


# --- get, list, delete --------------------------------------------------------------------------


def test_get_shows_a_job(cli, server):
    """What there is to say of it, a line each, on stdout; 0, whatever became of the job."""
    status = {"code": "INVALID_ARGUMENT", "message": "invalid role pirate"}
    server.script_job("nightly", phases=["FAILED"], status=status, rows=100)
    result = cli("get", "nightly")
    assert (result.code, result.err) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in result.lines)
    assert shown["job"] == "nightly"
    assert shown["state"] == "FAILED"
    assert shown["status"] == "INVALID_ARGUMENT: invalid role pirate"
    assert shown["output"].startswith("accounts/acme/datasets/")


def test_get_gives_json(cli, server):
    """One object on one line: the id, and all members by their Python names."""
    server.script_job("nightly", phases=["RUNNING"])
    (job,) = cli("get", "nightly", "--json").objects
    assert (job["id"], job["state"]) == ("nightly", "RUNNING")
    assert job["job_progress"]["total_input_requests"] >= 0


def test_list_gives_fields(cli, server):
    """Without a terminal, a job a line, with tabs, in the server's order."""
    server.script_job("one", phases=["RUNNING"], rows=100)
    server.script_job("two", phases=["COMPLETED"], rows=100, failed_rows=3)
    result = cli("list")
    assert result.code == 0
    assert [line[:5] for line in result.fields][1] == ["two", "COMPLETED", "97", "3", "100"]
    assert result.fields[0][6] == "accounts/fireworks/models/demo-8b"


def test_list_stops_at_its_limit(cli, server):
    """And asks for no more than that."""
    for number in range(5):
        server.script_job(f"job-{number}", phases=["RUNNING"])
    assert [job["id"] for job in cli("list", "-n", "2", "--json").objects] == ["job-0", "job-1"]
    assert server.requests()[-1].query == {"pageSize": "2"}


def test_list_passes_filter_and_order_on(cli, server):
    """As they were typed."""
    server.script_job("one", phases=["RUNNING"])
    server.script_job("two", phases=["COMPLETED"])
    result = cli(
        "list", "--filter", 'state="JOB_STATE_COMPLETED"', "--order-by", "create_time desc"
    )
    assert [line[0] for line in result.fields] == ["two"]


def test_delete_stops_jobs(cli, server):
    """Each of those given; what it did is talk."""
    server.script_job("one", phases=["RUNNING"])
    server.script_job("two", phases=["RUNNING"])
    result = cli("delete", "one", "two", "--wait")
    assert (result.code, result.out) == (0, "")
    assert {*result.err.splitlines()} == {"one is gone", "two is gone"}
    assert cli("get", "one").code == 2


def test_jobs_are_deleted_together(cli, server):
    """Those that are not there are named, and the time is not that of one after the other."""
    jobs = [f"job-{number:02}" for number in range(30)]
    for job in jobs[1:]:
        server.script_job(job, phases=["RUNNING"])
    result = cli("delete", *jobs)
    assert result.code == 2
    gone = {line.split()[0] for line in result.err.splitlines() if "being deleted" in line}
    assert gone == {*jobs[1:]}
    assert "there is no job 'job-00' in account 'acme'" in result.err


def test_delete_goes_on_after_a_job_that_is_not_there(cli, server):
    """The other is deleted all the same, and the code tells of the first."""
    server.script_job("two", phases=["RUNNING"])
    result = cli("delete", "one", "two")
    assert result.code == 2
    assert "error: there is no job 'one' in account 'acme'\n" in result.err
    assert "two is being deleted" in result.err


def test_datasets_are_listed_and_deleted(cli, server):
    """As jobs are."""
    server.add_dataset("reviews", files={"rows.jsonl": b"{}\n{}\n"})
    assert cli("datasets", "list").fields[0][:3] == ["reviews", "READY", "2"]
    assert cli("datasets", "list", "--json").objects[0]["example_count"] == 2
    assert cli("datasets", "delete", "reviews").err == "reviews is deleted\n"
    assert cli("datasets", "list").out == ""


def test_datasets_go_up_and_down(cli, tmp_path):
    """Upload writes the id when it is READY, download the paths."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"custom_id": "r-1", "body": {}}\n' * 3)
    up = cli("datasets", "upload", str(rows), "--dataset-id", "mine")
    assert (up.code, up.out) == (0, "mine\n")
    assert up.err == "uploading 100% (99 B of 99 B)\n"
    taken = cli("datasets", "upload", str(rows), "--dataset-id", "mine")
    assert taken.code == 2
    assert "error: dataset 'mine' is READY: its content is not known\n" in taken.err
    assert "  to use it in place of the file, whatever it holds: --reuse\n" in taken.err
    assert "reuse=" not in taken.err
    assert cli("datasets", "upload", str(rows), "--dataset-id", "mine", "--reuse").code == 0
    down = cli("datasets", "download", "mine", "-d", str(tmp_path / "down"))
    assert down.lines == [str(tmp_path / "down" / "rows.jsonl")]
    assert (tmp_path / "down" / "rows.jsonl").read_bytes() == rows.read_bytes()
    assert cli("datasets", "download", "mine", "-d", str(tmp_path), "--json").objects == [
        {"path": str(rows), "bytes": 99}
    ]


def test_a_file_that_is_not_there_is_bad_input(cli, tmp_path):
    """2, with its name and the system's reason."""
    result = cli("datasets", "upload", str(tmp_path / "nope.jsonl"))
    assert result.code == 2
    assert "nope.jsonl" in result.err
    assert "No such file" in result.err


# --- wait ---------------------------------------------------------------------------------------


def test_wait_tells_of_changes_and_writes_the_end(cli, server):
    """One line a change on stderr, one line a job on stdout."""
    server.script_job("nightly", phases=WHOLE_LIFE, rows=100)
    result = cli("wait", "nightly")
    assert result.code == 0
    assert result.fields == [["nightly", "COMPLETED", "100", "0", "100"]]
    states = dict.fromkeys(line.split()[2] for line in result.err.splitlines())
    # A machine with much to do may miss the first ones.
    assert list(states) == [state for state in WHOLE_LIFE if state in states]
    assert result.err.splitlines()[-1].endswith("nightly COMPLETED 100% (100 ok of 100)")


def test_wait_gives_json(cli, server):
    """A line a change, and one for the end with the code; stderr stays empty."""
    server.script_job("nightly", phases=WHOLE_LIFE, rows=100, failed_rows=3)
    result = cli("wait", "nightly", "--json")
    assert (result.code, result.err) == (6, "")
    *changes, end = result.objects
    assert {change["event"] for change in changes} == {"change"}
    assert {change["id"] for change in changes} == {"nightly"}
    assert changes[0]["number"] == 1
    assert changes[-1]["percent"] == 100.0
    assert changes[-1]["job"]["state"] == "COMPLETED"
    assert (end["event"], end["state"], end["exit_code"]) == ("end", "COMPLETED", 6)
    assert end["error"] is None
    assert end["job"]["job_progress"]["failed_requests"] == 3


@pytest.mark.parametrize(
    ("phases", "options", "code"),
    [
        (["COMPLETED"], {}, 0),
        (["FAILED"], {}, 3),
        (["CANCELLED"], {}, 4),
        (["EXPIRED"], {}, 5),
        (["COMPLETED"], {"rows": 10, "failed_rows": 1}, 6),
    ],
)
def test_the_code_says_how_the_job_ended(cli, server, phases, options, code):
    """Each end has its number."""
    server.script_job("nightly", phases=phases, **options)
    assert cli("wait", "nightly").code == code


def test_of_several_jobs_the_worst_counts(cli, server):
    """A line for each, in the order given, once for a job that was given twice."""
    for name, state in (("one", "COMPLETED"), ("two", "FAILED"), ("three", "EXPIRED")):
        server.script_job(name, phases=[state])
    whole = "accounts/acme/batchInferenceJobs/three"
    result = cli("wait", whole, "one", "two", "one")
    assert result.code == 3
    assert [line[:2] for line in result.fields] == [
        ["three", "EXPIRED"],
        ["one", "COMPLETED"],
        ["two", "FAILED"],
    ]


def test_a_wait_gives_up_after_its_timeout(cli, server):
    """With 7, what was last seen, and how to go on; stdout has the job as it stands."""
    server.script_job("nightly", phases=["RUNNING"], time_limit_seconds=10**7)
    result = cli("wait", "nightly", "--timeout", "0.2")
    assert result.code == 7
    assert (
        "error: gave up waiting for nightly: the time is up, it was last seen RUNNING" in result.err
    )
    assert "  the job runs on; to come back: fireworks-batch wait nightly" in result.err
    assert result.fields[0][:2] == ["nightly", "RUNNING"]


def test_wait_for_all_takes_the_jobs_that_have_not_ended(cli, server):
    """Those that have ended are left out; with no job there is nothing to wait for: 0."""
    assert cli("wait", "--all").err == "no jobs to wait for\n"
    for job, state in (("over", "FAILED"), ("one", "RUNNING"), ("two", "PENDING")):
        server.script_job(job, phases=[state], time_limit_seconds=10**7)
    result = cli("wait", "--all", "--timeout", "0.05")
    assert result.code == 7
    assert {line[0] for line in result.fields} == {"one", "two"}


def test_wait_takes_the_filter_of_list(cli, server):
    """As it was typed; jobs that have ended are among them."""
    server.script_job("one", phases=["RUNNING"])
    server.script_job("two", phases=["FAILED"])
    result = cli("wait", "--filter", 'state="JOB_STATE_FAILED"')
    assert result.code == 3
    assert [line[:2] for line in result.fields] == [["two", "FAILED"]]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((), "give the ids of jobs, --all or --filter"),
        (("one", "--all"), "give only one of these: the ids of jobs, --all, --filter"),
        (("one", "--filter", "x"), "give only one of these: the ids of jobs, --all, --filter"),
        (("--all", "--filter", "x"), "give only one of these: the ids of jobs, --all, --filter"),
    ],
)
def test_jobs_are_named_in_one_of_three_ways(cli, server, given, complaint):
    """2, and nothing is sent."""
    result = cli("wait", *given)
    assert (result.code, result.err) == (2, f"error: {complaint}\n")
    assert server.requests() == []


def test_wait_says_at_once_that_there_is_no_such_job(cli, server):
    """With the seconds that it waits for the job, and the ids that are near, by one listing."""
    for job in ("nightly-eval", "nightly-evaluation", "other"):
        server.script_job(job, phases=["RUNNING"])
    result = cli("wait", "nightly-evl", "nightly-vl")
    for job in ("nightly-evl", "nightly-vl"):
        assert f"there is no job '{job}' so far; waiting up to " in result.err
        assert f"  ids like '{job}': nightly-eval, nightly-evaluation\n" in result.err
    assert "GET " not in result.err
    assert "JOB" not in result.err
    listings = [one for one in server.requests() if one.path.endswith("/batchInferenceJobs")]
    assert len(listings) == 1


def test_the_seconds_for_a_job_that_is_not_there_are_true(cli):
    """They are those of the policy; when they have passed, 2, and the job's name."""
    started = time.monotonic()
    result = cli("wait", "nope")
    patience = float(re.search(r"waiting up to ([\d.]+) s for it", result.err)[1])
    scale = float(os.environ["FIREWORKS_BATCH_TIME_SCALE"])
    assert patience == pytest.approx(PollPolicy().not_found_grace * scale, rel=0.01)
    assert time.monotonic() - started >= patience
    assert result.code == 2
    assert "error: there is no job 'nope' in account 'acme'\n" in result.err


def test_ids_that_cannot_be_listed_do_not_fail_the_wait(cli, server):
    """A job that comes in time is followed to its end."""
    server.add_fault("status", status=403, path="*/batchInferenceJobs", times=None)
    server.add_fault("status", status=404, path="*/nightly", times=1)
    server.script_job("nightly", phases=["COMPLETED"])
    result = cli("wait", "nightly")
    assert result.code == 0
    assert "there is no job 'nightly' so far" in result.err
    assert "403" not in result.err


@pytest.mark.parametrize("account", ["acme", ""])
def test_a_wait_without_a_server_says_that_nothing_was_reached(cli, monkeypatch, account):
    """And where; whether the job runs is not known."""
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", account)
    result = cli("wait", "nightly", "--timeout", "0.2")
    assert result.code == 7
    *_, problem, network, again = result.err.splitlines()
    assert problem.startswith("error: gave up waiting for nightly: nothing was reached")
    assert "127.0.0.1:1" in problem
    assert network == "  check the network, HTTPS_PROXY and --base-url"
    assert again == "  to try again: fireworks-batch wait nightly"
    assert "runs on" not in result.err


@pytest.mark.parametrize("command", [("wait", "--timeout", "0.05"), ("results",)])
def test_a_command_to_come_back_with_reaches_the_same_account(cli, server, monkeypatch, command):
    """It has the options that were needed, and not those that the environment says."""
    server.script_job("nightly", phases=["RUNNING"])
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    name, *options = command
    result = cli(name, "nightly", *options, "--account-id", server.account_id)
    again = f": fireworks-batch wait nightly --account-id {server.account_id}\n"
    assert again in result.err


def test_a_wait_gives_up_on_a_job_that_stands_still(cli, server):
    """A model that cannot serve batch jobs leaves them PENDING."""
    server.script_job("nightly", phases=["PENDING"], time_limit_seconds=10**7)
    result = cli("wait", "nightly", "--stall-after", "0.1s")
    assert result.code == 7
    assert "check that the model or router can serve batch jobs" in result.err


def test_one_job_that_is_not_there_does_not_end_the_others(cli, server):
    """It costs its own line, and the code."""
    server.script_job("one", phases=WHOLE_LIFE)
    result = cli("wait", "nope", "one", "--json")
    assert result.code == 2
    ends = {end["id"]: end for end in result.objects if end["event"] == "end"}
    assert ends["nope"]["error"].startswith("NotFoundError")
    assert (ends["nope"]["job"], ends["nope"]["exit_code"]) == (None, 2)
    assert ends["one"]["exit_code"] == 0


def test_failed_polls_are_told(cli, server):
    """As a warning at once, and with the next snapshot."""
    server.script_job("nightly", phases=WHOLE_LIFE)
    server.add_fault("status", status=503, path="*/nightly", times=2)
    result = cli("wait", "nightly")
    assert result.code == 0
    assert "warning: job 'nightly': a poll failed (1 in a row), the wait goes on" in result.err
    assert "after 2 failed polls" in result.err


def test_a_refused_key_ends_the_wait_for_all(cli, server, monkeypatch):
    """Once, with 8, and without the key."""
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret_and_wrong")
    result = cli("wait", "one", "two")
    assert result.code == 8
    assert result.out == ""
    assert result.err.count("error:") == 1
    assert "the key is refused: The API key you provided is invalid." in result.err
    assert "fw_secret" not in result.err


# --- Configuration and errors -------------------------------------------------------------------


def test_without_a_key_nothing_is_sent(cli, server, monkeypatch):
    """2, and the three places where a key may be."""
    monkeypatch.delenv("FIREWORKS_API_KEY")
    result = cli("get", "nightly")
    assert result.code == 2
    assert result.err.startswith("error: no API key\n")
    assert all(word in result.err for word in ("FIREWORKS_API_KEY", "--api-key-file", "auth.ini"))
    assert server.requests() == []


def test_the_key_may_be_in_a_file(cli, server, monkeypatch, tmp_path):
    """Which is named by an option or the environment, and goes before FIREWORKS_API_KEY."""
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_wrong")
    server.script_job("nightly", phases=["RUNNING"])
    key = tmp_path / "key"
    key.write_text(f"{server.api_key}\n")
    assert cli("get", "nightly", "--api-key-file", str(key)).code == 0
    monkeypatch.setenv("FIREWORKS_API_KEY_FILE", str(key))
    assert cli("get", "nightly").code == 0


def test_a_file_without_a_key_is_refused(cli, tmp_path):
    """Empty, or not there: 2, and the file's name."""
    key = tmp_path / "key"
    result = cli("get", "nightly", "--api-key-file", str(key))
    assert (result.code, str(key.name) in result.err) == (2, True)
    key.touch()
    result = cli("get", "nightly", "--api-key-file", str(key))
    assert result.code == 2
    assert f"{key} is empty; it should hold the API key" in result.err


def test_account_and_base_url_are_options(cli, server, monkeypatch):
    """They go before the environment."""
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "nobody")
    server.script_job("nightly", phases=["RUNNING"])
    result = cli("get", "nightly", "--base-url", server.base_url, "--account-id", "acme")
    assert result.code == 0


def test_no_answer_is_trouble(cli, monkeypatch):
    """1, after the repeats of the retry policy, and what to check."""
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:1")
    result = cli("get", "nightly")
    assert result.code == 1
    assert "check the network, HTTPS_PROXY and --base-url" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("get",), "job"),
        (("results",), "job"),
        (("delete",), "job"),
        (("datasets", "download"), "dataset"),
        (("datasets", "delete"), "dataset"),
    ],
)
def test_what_is_not_there_is_bad_input(cli, command, kind):
    """2, what it is, and where to look for the right name; no request of HTTP is named."""
    result = cli(*command, "nope")
    listing = "list" if kind == "job" else "datasets list"
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: there is no {kind} 'nope' in account 'acme'\n"
        f"  to see what there is: fireworks-batch {listing}\n"
        "  to use another account: --account-id\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("get", "a/b"), "'a/b' is not the name of a batch inference job"),
        (("wait", "a", "--timeout", "soon"), "--timeout: 'soon' is not a duration"),
        (("wait", "a", "--stall-after", "0"), "--stall-after: '0' is not a duration above 0"),
        (("get",), "Missing argument"),
        (("frobnicate",), "No such command"),
        (("list", "-n", "0"), "--limit"),
    ],
)
def test_usage_is_2(cli, server, arguments, complaint):
    """Nothing was sent, and the complaint is on stderr."""
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert complaint in " ".join(result.err.split())
    assert server.requests() == []


def test_debug_shows_log_and_traceback(cli, server):
    """And the advice after it; never the key."""
    result = cli("get", "nope", "--debug")
    assert result.code == 2
    assert "Traceback (most recent call last)" in result.err
    assert "NotFoundError" in result.err
    assert result.err.rstrip().splitlines()[-1].startswith("  to use another account: --account-id")
    assert server.api_key not in result.err
    assert logging.getLogger("fireworks_batch").level == logging.NOTSET


def test_debug_shows_foreign_texts_on_one_line(cli, server):
    """In log, traceback and advice: cut, and with their control characters spelled out."""
    text = "a\x1b[2J\n" * 10_000
    body = {"error": {"message": text, "code": "INVALID_ARGUMENT"}}
    server.add_fault("status", status=400, body=body)
    result = cli("get", "nightly", "--debug")
    assert result.code == 2
    assert r"a\x1b[2J\na\x1b[2J\n" in result.err
    assert "\x1b" not in result.err
    assert max(map(len, result.err.splitlines())) < 2100


def test_debug_shows_an_unexpected_error_on_one_line(cli, monkeypatch):
    """It may hold a foreign text, too."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a\x1b[2J" * 10_000)

    monkeypatch.setattr("fireworks_batch.cli.session._client", fail)
    result = cli("get", "nightly", "--debug")
    assert result.code == 1
    assert r"RuntimeError: a\x1b[2Ja\x1b[2J" in result.err
    assert "\x1b" not in result.err
    assert max(map(len, result.err.splitlines())) < 2100


def test_a_foreign_name_cannot_steer_the_terminal(cli, server):
    """What a server says is written, not obeyed."""
    server.script_job("nightly", phases=["RUNNING"], fields={"displayName": "a\x1b[2Jb\tc"})
    assert r"a\x1b[2Jb\tc" in cli("get", "nightly").out
    assert json.loads(cli("get", "nightly", "--json").out)["display_name"] == "a\x1b[2Jb\tc"


def test_version_is_printed(cli):
    """That of the package."""
    assert cli("--version").out == f"{__version__}\n"


def test_the_emulator_refuses_wrong_options_in_its_own_words(cli):
    """Its options are its own; its name is the command's."""
    result = cli("emulator", "--speed", "fast")
    assert result.code == 2
    assert "usage: fireworks-batch emulator" in result.err
    assert "invalid float value: 'fast'" in result.err


def test_every_option_has_a_help_and_the_shared_ones_a_variable(cli, monkeypatch):
    """As `--help` of each command shows."""
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("get", "list", "wait", "delete"):
        text = cli(command, "--help").out
        for name in ("API_KEY_FILE", "ACCOUNT_ID", "BASE_URL", "BATCH_JSON", "BATCH_DEBUG"):
            assert f"FIREWORKS_{name}" in text
