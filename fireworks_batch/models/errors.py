"""Every error this library raises.

::

    FireworksBatchError
    ├── ConfigurationError (ValueError)       bad key, account, name or option: before any request
    ├── ClientStateError (RuntimeError)       closed client, other event loop, JobWait used twice
    ├── LocalFileError (OSError)              a file here that cannot be read or written
    ├── TransportError                        no usable HTTP answer
    │   └── RequestTimeoutError (TimeoutError)
    ├── APIStatusError                        an HTTP status other than success
    │   ├── BadRequestError                   400 and other refusals of what was sent
    │   ├── AuthenticationError               401, and 403 with code UNAUTHORIZED
    │   ├── PermissionDeniedError             403
    │   ├── NotFoundError                     404
    │   ├── ConflictError                     409
    │   ├── AccountSuspendedError             402, 412
    │   ├── RateLimitError                    429
    │   └── ServerError                       5xx, and answers of a proxy in the API's place
    ├── ResponseDecodeError                   a 2xx that cannot be read
    ├── WaitError                             the wait ended without a terminal state
    │   ├── WaitTimeoutError (TimeoutError)   the timeout of the wait passed
    │   ├── JobStalledError                   nothing visible changed for too long
    │   ├── PollFailureError                  polls failed for too long
    │   ├── JobGoneError                      the job was deleted during the wait
    │   └── UnknownStateError                 a state that is not published, for too long
    ├── JobOutcomeError                       raised by raise_for_outcome(), never by a wait
    │   ├── JobFailedError
    │   ├── JobCancelledError
    │   ├── JobExpiredError
    │   ├── JobStoppedError                   early stopped, deleted, archived
    │   └── JobNotFinishedError               by client.results() too
    ├── JobConflictError                      the id is taken by a different job
    ├── DatasetConflictError                  the id is taken by a different dataset
    ├── InputRowsError                        input rows that the server refuses, or would refuse
    └── ResultRowsError                       result rows that failed, are missing or cannot be read

All errors survive pickle, copy and deepcopy with their attributes. Performs no I/O.
"""

from __future__ import annotations

from reprlib import Repr
from typing import TYPE_CHECKING, Any, Final

import attrs

from fireworks_batch.models.texts import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fireworks_batch.models.job import BatchInferenceJob
    from fireworks_batch.models.names import JobRef
    from fireworks_batch.models.snapshot import JobSnapshot

__all__ = [
    "APIStatusError",
    "AccountSuspendedError",
    "AuthenticationError",
    "BadRequestError",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "DatasetConflictError",
    "FireworksBatchError",
    "InputRowsError",
    "JobCancelledError",
    "JobConflictError",
    "JobExpiredError",
    "JobFailedError",
    "JobGoneError",
    "JobNotFinishedError",
    "JobOutcomeError",
    "JobStalledError",
    "JobStoppedError",
    "LocalFileError",
    "NotFoundError",
    "PermissionDeniedError",
    "PollFailureError",
    "RateLimitError",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "RowProblem",
    "ServerError",
    "TransportError",
    "UnknownStateError",
    "WaitError",
    "WaitTimeoutError",
    "shown",
]


class FireworksBatchError(Exception):
    """Base of every error of this library.

    The text of an error may hold text that a server sent. Each line of the text has at most 2,000
    characters, and control characters are escaped.
    """

    ref: JobRef | None = None
    """The job that the error is about; None if the error is not about one job."""

    def __init__(self, message: str, *lines: str) -> None:
        super().__init__("\n".join(map(fit, (message, *lines))))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), self.__dict__


def _restore(cls: type[FireworksBatchError], args: tuple[Any, ...]) -> FireworksBatchError:
    """Make an error again without calling its __init__: ``args`` does not hold the arguments."""
    error = cls.__new__(cls)
    error.args = args
    return error


# --- Mistakes of the calling code ---------------------------------------------------------------


class ConfigurationError(FireworksBatchError, ValueError):
    """An argument or a setting is wrong; no request was sent."""


class ClientStateError(FireworksBatchError, RuntimeError):
    """The client is closed, belongs to another event loop, or a wait is used twice."""


# --- Files of this machine ----------------------------------------------------------------------


class LocalFileError(FireworksBatchError, OSError):
    """A file on this machine cannot be read or written: not there, no permission, disk full.

    The text names the file and the system's reason; ``errno`` is the system's number of the reason.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), {**self.__dict__, "errno": self.errno}


# --- No answer, or an answer that is no success -------------------------------------------------


class TransportError(FireworksBatchError):
    """No usable HTTP answer arrived: refused, reset, cut short, or too large."""


class RequestTimeoutError(TransportError, TimeoutError):
    """One of the client's limits was passed: ``request_``, ``connect_`` or ``transfer_timeout``."""


class APIStatusError(FireworksBatchError):
    """The server answered with an HTTP status other than success."""

    lost_before: int = 0
    """Earlier requests of the same call that got no answer. Each of them may have taken effect."""

    from_storage: bool = False
    """Whether the answer came from the storage behind a signed URL, and not from the API."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        reason: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
        from_api: bool = True,
    ) -> None:
        super().__init__(message)
        self.status: int = status
        """The HTTP status."""
        self.code: str = fit(code)
        """The API's own code (``"NOT_FOUND"``, ``"UNAUTHORIZED"``), or an empty string."""
        self.message: str = fit(reason or message)
        """The server's own text, shortened to 2,000 characters, with control characters escaped."""
        self.request_id: str | None = None if request_id is None else fit(request_id)
        """The server's id of the request; None if the answer has none."""
        self.retry_after: float | None = retry_after
        """Seconds that the server asks to wait, 0 to 3600; None if it asks for no wait."""
        self.from_api: bool = from_api
        """Whether the answer is the API's own JSON. False for an answer of a proxy in front of the
        API, and for an answer of the storage."""


class BadRequestError(APIStatusError):
    """The server refuses the request (400, and other 4xx without a class of their own)."""


class AuthenticationError(APIStatusError):
    """The API key is not accepted (401, and 403 with the code UNAUTHORIZED)."""


class PermissionDeniedError(APIStatusError):
    """The key is good but may not do this (403)."""


class NotFoundError(APIStatusError):
    """There is no such resource (404)."""


class ConflictError(APIStatusError):
    """The id is taken, or the resource is being changed (409, or the code ALREADY_EXISTS)."""


class AccountSuspendedError(APIStatusError):
    """The account is suspended or has to pay first (402, 412)."""


class RateLimitError(APIStatusError):
    """Too many requests (429), for longer than the retry policy waits."""


class ServerError(APIStatusError):
    """The server failed, or a proxy in front of the server (5xx, 408, 425, a redirect)."""


class ResponseDecodeError(FireworksBatchError):
    """The server answered with success (2xx), but its answer cannot be read."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), partial: Any = None) -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = tuple(map(fit, problems))
        """One text for each member that cannot be read, with its path in the answer."""
        self.partial: Any = partial
        """The model, with the default for each member that cannot be read. None if the answer is
        not an object, or if a required member cannot be read."""


# --- The wait ended before the job --------------------------------------------------------------


class WaitError(FireworksBatchError):
    """The wait ended without a terminal state. The wait does nothing to the job."""

    def __init__(
        self,
        message: str,
        *,
        ref: JobRef | None = None,
        last_snapshot: JobSnapshot | None = None,
        last_error: FireworksBatchError | None = None,
    ) -> None:
        super().__init__(message)
        self.ref = ref
        self.last_snapshot: JobSnapshot | None = last_snapshot
        """The newest snapshot of this wait; None if no poll succeeded."""
        self.last_error: FireworksBatchError | None = last_error
        """The error of the last poll; None if that poll succeeded."""


class WaitTimeoutError(WaitError, TimeoutError):
    """The timeout of the wait passed."""


class JobStalledError(WaitError):
    """Nothing visible has changed for ``stall_after`` seconds."""


class PollFailureError(WaitError):
    """Polls failed for longer than ``failure_budget``; ``last_error`` is the newest error."""


class JobGoneError(WaitError):
    """The job was seen earlier in this wait, and does not exist any more, so it was deleted."""


class UnknownStateError(WaitError):
    """The job is in a state that this release does not know, and seems to have ended in it."""


# --- The outcome of the job ---------------------------------------------------------------------


class JobOutcomeError(FireworksBatchError):
    """The job is not COMPLETED. Raised by ``raise_for_outcome()``, never by a wait."""

    def __init__(self, message: str, *, job: BatchInferenceJob) -> None:
        super().__init__(message)
        self.job: BatchInferenceJob = job
        """The job; see its ``status`` and ``may_have_results``."""


class JobFailedError(JobOutcomeError):
    """The job FAILED; its ``status`` says why."""


class JobCancelledError(JobOutcomeError):
    """The job was CANCELLED."""


class JobExpiredError(JobOutcomeError):
    """The job's time limit passed; the rows that it finished are saved, and billed."""


class JobStoppedError(JobOutcomeError):
    """The job was stopped early, deleted or archived."""


class JobNotFinishedError(JobOutcomeError):
    """The job has not ended yet."""


# --- Submitting and collecting ------------------------------------------------------------------


class JobConflictError(FireworksBatchError):
    """The job id is taken by another job, or the server created a job under another id."""

    def __init__(self, message: str, *, job: BatchInferenceJob | None = None) -> None:
        super().__init__(message)
        self.job: BatchInferenceJob | None = job
        """The other job, as the server described it; None if the server did not show that job."""


class DatasetConflictError(FireworksBatchError):
    """The dataset id is taken by another dataset."""


class InputRowsError(FireworksBatchError):
    """Input rows that the server would refuse, or has refused."""

    def __init__(
        self,
        message: str,
        *lines: str,
        problems: Sequence[RowProblem] = (),
        count: int | None = None,
    ) -> None:
        super().__init__(message, *lines)
        self.problems: tuple[RowProblem, ...] = tuple(problems)
        """The first bad rows, each with its line, its id and the reason."""
        self.count: int = len(self.problems) if count is None else count
        """The number of all bad rows, including rows that ``problems`` leaves out."""


@attrs.frozen
class RowProblem:
    """An input row that the server would refuse."""

    line: int
    """The number of the line or of the mapping in the input, from 1."""

    custom_id: str | None
    """The row's id; None if it has no id that can be read."""

    reason: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        named = "" if self.custom_id is None else f" (custom_id {shown(self.custom_id)})"
        return f"line {self.line}{named}: {self.reason}"


_SHOW: Final = Repr()


_SHOW.maxstring = _SHOW.maxother = 80


def shown(value: object) -> str:
    """Return a value as the text of an error shows it, in at most 80 characters."""
    try:
        text = _SHOW.repr(str(value) if isinstance(value, str) else value)
    except ValueError:  # Python does not print a whole number of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
