"""The rows of a job on the command line, in this process, against an emulator."""

import json
import os

import pytest

pytest_plugins = ["fireworks_batch.pytest_plugin"]


def a_row(number):
    """A row that succeeded."""
    choice = {"index": 0, "message": {"role": "assistant", "content": f"hello {number}"}}
    return {"custom_id": f"r-{number}", "response": {"id": "x", "choices": [choice]}}


def an_error(number):
    """A row that failed."""
    return {"custom_id": f"r-{number}", "error": {"code": 400, "message": "no"}}


def lines(rows):
    """The rows as they stand in a file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(autouse=True)
def server(fireworks_emulator):
    """Every test has one."""
    return fireworks_emulator


@pytest.fixture
def ended_job(server):
    """Make a job with eight rows, and two that failed."""
    rows, errors = map(a_row, range(8)), map(an_error, (8, 9))
    files = {"BIJOutputSet.jsonl": lines(rows), "error-data": lines(errors)}
    name = server.add_dataset("out", files=files)
    fields = {"outputDatasetId": name}
    server.script_job("nightly", phases=["COMPLETED"], rows=10, failed_rows=2, fields=fields)
    return "nightly"


def test_rows_go_to_stdout(cli, ended_job):
    """As they are in the file, those with a response; what they come to is talk."""
    result = cli("results", ended_job)
    assert result.code == 6
    assert result.objects == [a_row(number) for number in range(8)]
    assert result.err == (
        "8 rows succeeded, 2 failed\n"
        "to see the rows that failed: the same command with --errors FILE\n"
    )


def test_rows_go_to_files(cli, ended_job, tmp_path):
    """One for the rows, one for the errors; the report is on stdout then."""
    rows, errors = tmp_path / "rows.jsonl", tmp_path / "errors.jsonl"
    result = cli("results", ended_job, "-o", str(rows), "--errors", str(errors))
    assert (result.code, result.out) == (6, "8 rows succeeded, 2 failed\n")
    assert result.err == ""
    assert rows.read_bytes() == lines(map(a_row, range(8)))
    assert errors.read_bytes() == lines(map(an_error, (8, 9)))


def test_the_report_may_be_json(cli, ended_job, tmp_path):
    """Where the rows go to a file."""
    result = cli("results", ended_job, "-o", str(tmp_path / "rows.jsonl"), "--json")
    (report,) = result.objects
    assert (report["succeeded"], report["failed"], report["counts_agree"]) == (8, 2, True)


def test_an_existing_file_stays_until_the_new_one_is_whole(cli, server, ended_job, tmp_path):
    """A download that fails leaves it as it is, and nothing beside it."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("old")
    server.add_fault("status", status=500, path="*:getDownloadEndpoint", times=None)
    assert cli("results", ended_job, "-o", str(rows)).code == 1
    assert rows.read_text() == "old"
    assert list(tmp_path.iterdir()) == [rows]


def test_missing_rows_are_named(cli, ended_job, tmp_path):
    """Where the input is at hand."""
    requests = tmp_path / "requests.jsonl"
    requests.write_bytes(lines({"custom_id": f"r-{number}"} for number in range(12)))
    result = cli("results", ended_job, "--expected", str(requests))
    assert result.code == 6
    assert "8 rows succeeded, 2 failed, 2 are missing" in result.err
    assert "  missing: r-10\n  missing: r-11\n" in result.err


def test_one_file_cannot_be_written_twice(cli, server, ended_job, tmp_path):
    """2, before anything is downloaded."""
    rows = str(tmp_path / "rows.jsonl")
    result = cli("results", ended_job, "-o", rows, "--errors", rows)
    assert result.code == 2
    assert f"{rows!r} is named twice" in result.err
    assert server.requests() == []


@pytest.mark.parametrize(
    "name", ["", "not/there", "x" * 256, "loop", "pipe", "file/below", "a-link-to-nothing"]
)
@pytest.mark.parametrize("option", ["--output", "--errors"])
@pytest.mark.parametrize("command", ["results", "run"])
def test_a_file_that_cannot_be_written_is_a_usage_error(
    cli, server, ended_job, tmp_path, command, option, name
):
    """2, whatever is wrong with it, before anything is downloaded; and nothing is replaced."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a-link-to-nothing").symlink_to("not/there")
    (tmp_path / "file").write_bytes(lines([{"custom_id": "r-1", "body": {}}]))
    os.mkfifo(tmp_path / "pipe")
    there = sorted(tmp_path.iterdir())
    model = ["--model", "accounts/fireworks/models/demo-8b"]
    arguments = {"results": [ended_job], "run": [str(tmp_path / "file"), *model]}[command]
    result = cli(command, *arguments, option, str(tmp_path / name))
    assert (result.code, result.out) == (2, "")
    assert ("cannot write" if name else "is a directory") in result.err
    assert server.requests() == []
    assert sorted(tmp_path.iterdir()) == there
    assert (tmp_path / "pipe").is_fifo()


def test_rows_are_written_through_a_link(cli, ended_job, tmp_path):
    """The link stays, as with `run`."""
    (tmp_path / "link").symlink_to(tmp_path / "rows.jsonl")
    assert cli("results", ended_job, "-o", str(tmp_path / "link")).code == 6
    assert (tmp_path / "link").is_symlink()
    assert len((tmp_path / "rows.jsonl").read_bytes().splitlines()) == 8


def test_a_job_that_runs_has_no_results_yet(cli, server):
    """7, with the command to wait for it."""
    server.script_job("nightly", phases=["RUNNING"])
    result = cli("results", "nightly")
    assert (result.code, result.out) == (7, "")
    assert "to wait for its end: fireworks-batch wait nightly" in result.err


def test_a_job_that_failed_early_has_none(cli, server):
    """3, as of the job, and no error."""
    server.script_job("nightly", phases=["FAILED"])
    result = cli("results", "nightly")
    assert (result.code, result.out) == (3, "")
    assert result.err == "no output: the job ended before any row was done\n"


def test_a_completed_job_without_output_is_trouble(cli, server):
    """1, not 0: its rows were paid for, and are not there."""
    gone = {"outputDatasetId": "accounts/acme/datasets/gone"}
    server.script_job("nightly", phases=["COMPLETED"], fields=gone)
    result = cli("results", "nightly")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "no output: the job completed, but its output dataset is gone or is empty\n"
    )
