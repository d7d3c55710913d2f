"""The exit codes, which scripts rely on. Performs no I/O."""

import enum
import errno
from collections.abc import Iterable
from typing import Final

from fireworks_batch.models import errors
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.states import JobState

__all__ = ["ExitCode", "code_of_error", "code_of_job", "code_of_state", "worst"]


class ExitCode(enum.IntEnum):
    """The codes; they keep their numbers and meanings."""

    SUCCEEDED = 0
    """All rows succeeded, or the command did what it was told."""

    TROUBLE = 1
    """No usable answer, or an unexpected error."""

    USAGE = 2
    """Usage or bad input: an option, a name, a file, a job that does not exist."""

    FAILED = 3
    """A job FAILED."""

    STOPPED = 4
    """A job was cancelled, stopped early, deleted or archived."""

    EXPIRED = 5
    """A job's time limit passed; the rows it finished are saved."""

    ROWS_FAILED = 6
    """A job completed, and rows failed, are missing or were left out."""

    GAVE_UP = 7
    """The wait ended, and the job has not ended, or was never seen."""

    UNAUTHORISED = 8
    """The key is refused or may not do this, or the account is suspended."""

    INTERRUPTED = 130
    """Ctrl-C or SIGTERM."""

    READER_LEFT = 141
    """The reader of stdout left, as in ``... | head``."""


_WORST_FIRST: Final = (
    ExitCode.UNAUTHORISED,
    ExitCode.TROUBLE,
    ExitCode.USAGE,
    ExitCode.FAILED,
    ExitCode.STOPPED,
    ExitCode.EXPIRED,
    ExitCode.GAVE_UP,
    ExitCode.ROWS_FAILED,
    ExitCode.SUCCEEDED,
)

_OF_STATE: Final = {
    JobState.FAILED: ExitCode.FAILED,
    JobState.CANCELLED: ExitCode.STOPPED,
    JobState.EARLY_STOPPED: ExitCode.STOPPED,
    JobState.DELETED: ExitCode.STOPPED,
    JobState.ARCHIVED: ExitCode.STOPPED,
    JobState.EXPIRED: ExitCode.EXPIRED,
}

_OF_ERROR: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], ExitCode], ...]] = (
    (
        (
            errors.AuthenticationError,
            errors.PermissionDeniedError,
            errors.AccountSuspendedError,
        ),
        ExitCode.UNAUTHORISED,
    ),
    (errors.JobGoneError, ExitCode.STOPPED),
    (errors.WaitError, ExitCode.GAVE_UP),
    (
        (
            errors.ConfigurationError,
            errors.BadRequestError,
            errors.NotFoundError,
            errors.ConflictError,
            errors.JobConflictError,
            errors.DatasetConflictError,
            errors.InputRowsError,
        ),
        ExitCode.USAGE,
    ),
)

# A path is wrong, or this user may not use it. A full disk is not among these.
_OF_THE_USER: Final = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EINVAL,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


def code_of_job(job: BatchInferenceJob) -> ExitCode:
    """Return the code for the state and rows of a job; `ExitCode.GAVE_UP` if it has not ended."""
    if job.is_success:
        failed = job.job_progress.failed_requests if job.job_progress else 0
        return ExitCode.ROWS_FAILED if failed else ExitCode.SUCCEEDED
    return code_of_state(job.state)


def code_of_state(state: JobState) -> ExitCode:
    """Return the code for a state alone, whether or not rows failed."""
    return ExitCode.SUCCEEDED if state.is_success else _OF_STATE.get(state, ExitCode.GAVE_UP)


def code_of_error(error: BaseException) -> ExitCode:
    """Return the code for an error."""
    if isinstance(error, errors.JobOutcomeError):
        return code_of_job(error.job)
    for kinds, code in _OF_ERROR:
        if isinstance(error, kinds):
            return code
    is_of_the_user = isinstance(error, OSError) and error.errno in _OF_THE_USER
    return ExitCode.USAGE if is_of_the_user else ExitCode.TROUBLE


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the worst of several codes: the first in the documented order."""
    return min(codes, key=_WORST_FIRST.index, default=ExitCode.SUCCEEDED)
