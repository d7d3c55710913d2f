"""Errors become advice."""

from types import SimpleNamespace

import pytest

import fireworks_batch
from fireworks_batch import (
    AuthenticationError,
    BadRequestError,
    BatchInferenceJob,
    ConfigurationError,
    FireworksBatchError,
    InputRowsError,
    JobGoneError,
    JobNotFinishedError,
    JobOutcomeError,
    JobRef,
    JobStalledError,
    JobState,
    NotFoundError,
    PermissionDeniedError,
    PollFailureError,
    RateLimitError,
    ResponseDecodeError,
    RowProblem,
    TransportError,
    UnknownStateError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.cli.display.advice import advise, come_back

REF = JobRef("acme", "nightly", "https://api.fireworks.ai")
FAILED_POLL = "the last poll failed: boo"
LIBRARY = [
    value
    for value in (getattr(fireworks_batch, name) for name in fireworks_batch.__all__)
    if isinstance(value, type) and issubclass(value, FireworksBatchError)
]


def made(kind):
    """An error of a class, as the library makes it."""
    message = "it went wrong; pass api_key= or use client.jobs.wait_until_terminal()"
    if issubclass(kind, fireworks_batch.APIStatusError):
        return kind("it went wrong", status=400, code="CODE", reason="the server's words")
    if issubclass(kind, JobOutcomeError):
        job = BatchInferenceJob(name=str(REF), state=JobState.FAILED)
        return kind("it went wrong", job=job)
    return kind(message, ref=REF) if issubclass(kind, WaitError) else kind("it went wrong")


def snapshot(state, unchanged_for=7200.0):
    """The last snapshot of a wait."""
    job = BatchInferenceJob(name=str(REF), state=JobState(state))
    return SimpleNamespace(job=job, unchanged_for=unchanged_for)


@pytest.mark.parametrize("kind", LIBRARY, ids=lambda kind: kind.__name__)
def test_every_error_is_told_in_one_line(kind):
    """With the words it came with, or the job it is about, and nothing of the Python API."""
    advice = advise(made(kind))
    assert "internal error" not in advice.problem
    assert "\n" not in advice.problem
    assert (
        "went wrong" in advice.problem or "nightly" in advice.problem or "words" in advice.problem
    )
    assert not any("client." in text or "=" in text for text in (advice.problem, *advice.hints))


@pytest.mark.parametrize(
    "error",
    [
        WaitTimeoutError("x", ref=REF, last_snapshot=snapshot("RUNNING")),
        JobStalledError("x", ref=REF, last_snapshot=snapshot("RUNNING")),
        PollFailureError("x", ref=REF, last_snapshot=snapshot("RUNNING")),
        UnknownStateError("x", ref=REF, last_snapshot=snapshot("NEW")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_wait_that_gave_up_says_how_to_go_on(error):
    """The job runs on: the two commands to come back, and to stop it."""
    assert advise(error).hints[-2:] == (
        "the job runs on; to come back: fireworks-batch wait nightly",
        "to stop it: fireworks-batch delete nightly",
    )


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            WaitTimeoutError("x", ref=REF, last_snapshot=snapshot("RUNNING")),
            "gave up waiting for nightly: the time is up, it was last seen RUNNING",
        ),
        (
            WaitTimeoutError(
                "x", ref=REF, last_snapshot=snapshot("RUNNING"), last_error=TransportError("boo")
            ),
            "gave up waiting for nightly: the time is up, it was last seen RUNNING; " + FAILED_POLL,
        ),
        (
            JobStalledError("x", ref=REF, last_snapshot=snapshot("PENDING")),
            "gave up waiting for nightly: it was last seen PENDING, unchanged for 2h00m",
        ),
        (
            PollFailureError(
                "x", ref=REF, last_snapshot=snapshot("RUNNING"), last_error=TransportError("boo")
            ),
            "gave up waiting for nightly: polls keep failing, it was last seen RUNNING; "
            + FAILED_POLL,
        ),
        (
            JobGoneError("x", ref=REF, last_snapshot=snapshot("RUNNING")),
            "nightly does not exist any more: it was deleted, it was last seen RUNNING",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_wait_says_why_it_gave_up(error, problem):
    """With the state that was last seen, and the error of the last poll."""
    assert advise(error).problem == problem


def test_a_job_that_was_never_seen_is_not_said_to_run():
    """There is one thing to do: to try again. Who knows the job says its id."""
    error = WaitTimeoutError("x", last_error=NotFoundError("no", status=404))
    advice = advise(error, ("--account-id", "acme"), job_id="nightly")
    assert advice.problem.startswith("gave up waiting for nightly: the job was never seen; ")
    assert advice.hints == ("to try again: fireworks-batch wait nightly --account-id acme",)


def test_a_job_that_stays_poutcome_may_have_the_wrong_model():
    """That comes before how to go on."""
    stalled = JobStalledError("x", ref=REF, last_snapshot=snapshot("PENDING"))
    assert "can serve batch jobs" in advise(stalled).hints[0]
    running = JobStalledError("x", ref=REF, last_snapshot=snapshot("RUNNING"))
    assert len(advise(running).hints) == 2


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (AuthenticationError("x", status=401), "FIREWORKS_API_KEY"),
        (PermissionDeniedError("x", status=403), "zero-data-retention policy"),
        (NotFoundError("there is no job 'x' (404 NOT_FOUND)", status=404), "fireworks-batch list"),
        (NotFoundError("x", status=404), "--account-id"),
        (NotFoundError("x", status=404, from_api=False), "--base-url"),
        (BadRequestError("GET /v1/accounts/a/datasets: no", status=400), "--filter"),
        (WaitTimeoutError("x", ref=REF, last_error=ResponseDecodeError("y")), "--base-url"),
        (
            WaitTimeoutError(
                "x", ref=REF, last_error=NotFoundError("", status=404, from_api=False)
            ),
            "--base-url",
        ),
        (RateLimitError("x", status=429, retry_after=30.0), "try again in 30s"),
        (RateLimitError("x", status=429), "try again in a minute"),
        (TransportError("x"), "--base-url"),
        (ResponseDecodeError("x"), "--base-url"),
        (ConfigurationError("no API key: pass api_key="), "--api-key-file"),
        (
            ConfigurationError("this API key sees several accounts (a, b): pass account_id="),
            "--account-id",
        ),
        (InputRowsError("x", count=1), "--on-bad-row skip"),
        (InputRowsError("x", count=11), "fireworks-batch check, with the same requests"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_there_is_something_to_do(error, hint):
    """What to check, or which command to run."""
    assert hint in " ".join(advise(error).hints)


def test_rows_that_are_all_named_need_no_check():
    """Each of ten is named; the eleventh is counted, and a command names it, too."""
    problems = [RowProblem(line, None, "it is no JSON") for line in range(1, 12)]
    named = tuple(f"line {line}: it is no JSON" for line in range(1, 11))
    leave_out = "to leave them out: --on-bad-row skip"

    assert advise(InputRowsError("x\n  line 1: ...", problems=problems[:10])).hints == (
        *named,
        leave_out,
    )
    assert advise(InputRowsError("x", problems=problems)).hints == (
        *named,
        "and 1 more",
        "to see more of them: fireworks-batch check, with the same requests",
        leave_out,
    )


def test_a_file_without_a_bad_row_has_none_to_leave_out():
    """It is empty, say, or has more rows than one dataset takes."""
    assert advise(InputRowsError("x")).hints == ()


def test_a_file_that_cannot_be_read_is_named():
    """With the system's reason."""
    advice = advise(FileNotFoundError(2, "No such file or directory", "rows.jsonl"))
    assert advice.problem == "rows.jsonl: No such file or directory"


def test_a_listing_that_is_not_there_is_another_api():
    """No command that would list something else helps then."""
    error = NotFoundError("there is no account 'a' (404 NOT_FOUND: Not Found)", status=404)
    assert advise(error).hints == (
        "check --base-url, which is without /v1",
        "to use another account: --account-id",
    )


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            ConfigurationError("use 'https://…', or pass allow_insecure_http=True if that is so"),
            "use 'https://…'",
        ),
        (
            ConfigurationError(
                "precision must be one of FP8, not 'FP9'; did you mean 'FP8'? (a value that is "
                "newer than this release is given as Precision(…))"
            ),
            "precision must be one of FP8, not 'FP9'; did you mean 'FP8'?",
        ),
        (
            BadRequestError("GET /v1/accounts/a/batchInferenceJobs: 400: no such", status=400),
            "the server refuses the listing: 400: no such",
        ),
        (
            BadRequestError("GET /v1/accounts/a/batchInferenceJobs: 405: no", status=405),
            "GET /v1/accounts/a/batchInferenceJobs: 405: no",
        ),
        (
            NotFoundError("there is no job 'x' in account 'a' (404 NOT_FOUND: no)", status=404),
            "there is no job 'x' in account 'a'",
        ),
        (
            WaitTimeoutError("x", ref=REF, last_error=TransportError("GET /v1/x: boo")),
            "gave up waiting for nightly: nothing was reached at https://api.fireworks.ai: boo",
        ),
        (
            WaitTimeoutError("x", ref=REF, last_error=TransportError("nothing was reached at h:1")),
            "gave up waiting for nightly: nothing was reached at h:1",
        ),
        (
            WaitTimeoutError("dataset 'd' was not READY within an hour"),
            "dataset 'd' was not READY within an hour",
        ),
        (
            JobNotFinishedError("wait with client.jobs", job=snapshot("RUNNING").job),
            "job nightly has not ended: it is RUNNING",
        ),
    ],
)
def test_what_only_the_library_may_be_told_is_left_out(error, problem):
    """The command line has other ways out."""
    assert advise(error).problem == problem


def test_what_nobody_thought_of_is_to_be_reported():
    """It says what it is, without a traceback."""
    advice = advise(ZeroDivisionError("division by zero"))
    assert advice.problem == "internal error: ZeroDivisionError: division by zero"
    assert "--debug" in advice.hints[0]


def test_a_server_cannot_steer_the_terminal():
    """Control characters of its message are spelled out."""
    assert advise(TransportError("a\x1b[2Jb\nc")).problem == r"a\x1b[2Jb\nc"


def test_commands_can_be_pasted():
    """They name each job, however many, with what a shell would take for something else quoted."""
    assert come_back(["a", "b"]) == ("fireworks-batch wait a b", "fireworks-batch delete a b")
    assert come_back(["a"] * 500)[0].count(" a") == 500
    assert come_back(["a;b"], ("--account-id", "acme"))[1] == (
        "fireworks-batch delete 'a;b' --account-id acme"
    )
