"""What the process says with its exit code."""

import errno
import itertools

import pytest

from fireworks_batch import (
    AccountSuspendedError,
    AuthenticationError,
    BadRequestError,
    BatchInferenceJob,
    ClientStateError,
    ConfigurationError,
    ConflictError,
    DatasetConflictError,
    InputRowsError,
    JobConflictError,
    JobGoneError,
    JobProgress,
    JobStalledError,
    JobState,
    LocalFileError,
    NotFoundError,
    PermissionDeniedError,
    PollFailureError,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    ResultRowsError,
    ServerError,
    TransportError,
    UnknownStateError,
    WaitTimeoutError,
)
from fireworks_batch.cli.exit_codes import ExitCode, code_of_error, code_of_job, worst

NAME = "accounts/acme/batchInferenceJobs/nightly"


def refusal(kind):
    """An error that needs a status."""
    return kind("no", status=400)


def job(state, **progress):
    """A job in a state."""
    return BatchInferenceJob(name=NAME, state=JobState(state), job_progress=JobProgress(**progress))


def test_the_numbers_are_a_promise():
    """Scripts compare with them."""
    assert {code.name: int(code) for code in ExitCode} == {
        "SUCCEEDED": 0,
        "TROUBLE": 1,
        "USAGE": 2,
        "FAILED": 3,
        "STOPPED": 4,
        "EXPIRED": 5,
        "ROWS_FAILED": 6,
        "GAVE_UP": 7,
        "UNAUTHORISED": 8,
        "INTERRUPTED": 130,
        "READER_LEFT": 141,
    }


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("COMPLETED", 0),
        ("FAILED", 3),
        ("CANCELLED", 4),
        ("EARLY_STOPPED", 4),
        ("DELETED", 4),
        ("ARCHIVED", 4),
        ("EXPIRED", 5),
        ("RUNNING", 7),
        ("FROBNICATING", 7),
    ],
)
def test_each_state_has_its_code(state, code):
    """A job that has not ended runs on."""
    assert code_of_job(job(state)) == code


def test_every_terminal_state_has_a_code_of_its_own():
    """None of them counts as still running."""
    terminal = [state for state in JobState if state.is_terminal]
    assert all(code_of_job(job(state)) != ExitCode.GAVE_UP for state in terminal)


def test_failed_rows_are_no_success():
    """A completed job tells of them by 6; without counters it succeeded."""
    assert code_of_job(job("COMPLETED", failed_requests=1)) == 6
    assert code_of_job(BatchInferenceJob(name=NAME, state=JobState.COMPLETED)) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal(AuthenticationError), 8),
        (refusal(PermissionDeniedError), 8),
        (refusal(AccountSuspendedError), 8),
        (JobGoneError("no"), 4),
        (WaitTimeoutError("no"), 7),
        (JobStalledError("no"), 7),
        (PollFailureError("no"), 7),
        (UnknownStateError("no"), 7),
        (ConfigurationError("no"), 2),
        (refusal(BadRequestError), 2),
        (refusal(NotFoundError), 2),
        (refusal(ConflictError), 2),
        (JobConflictError("no"), 2),
        (DatasetConflictError("no"), 2),
        (InputRowsError("no"), 2),
        (FileNotFoundError(2, "No such file", "rows.jsonl"), 2),
        (OSError(28, "No space left on device"), 1),
        (LocalFileError("no", errno=errno.ENOENT), 2),
        (LocalFileError("no", errno=errno.EROFS), 2),
        (LocalFileError("no", errno=errno.ENOSPC), 1),
        (refusal(RateLimitError), 1),
        (refusal(ServerError), 1),
        (TransportError("no"), 1),
        (RequestTimeoutError("no"), 1),
        (ResponseDecodeError("no"), 1),
        (ResultRowsError("no"), 1),
        (ClientStateError("no"), 1),
        (ValueError("no"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_code(error, code):
    """What the user can mend is 2, what the key may not do is 8, what runs on is 7."""
    assert code_of_error(error) == code


def test_the_outcome_of_a_job_has_the_code_of_the_job():
    """As `raise_for_outcome` raises it."""
    with pytest.raises(Exception, match="EXPIRED") as caught:
        job("EXPIRED").raise_for_outcome()
    assert code_of_error(caught.value) == 5


def test_of_several_the_first_in_the_documented_order_counts():
    """Each of two codes loses to those before it."""
    order = [8, 1, 2, 3, 4, 5, 7, 6, 0]
    for worse, better in itertools.combinations(map(ExitCode, order), 2):
        assert worst([better, worse, better]) is worse
    assert worst([]) is ExitCode.SUCCEEDED
