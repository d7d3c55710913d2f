"""Every error this library raises, each carrying what it knows.

::

    FireworksBatchError
    ├── ConfigurationError (ValueError)       bad key, account, name or option: before any request
    ├── ClientStateError (RuntimeError)       closed client, other event loop, JobWait used twice
    ├── LocalFileError (OSError)              a file here that cannot be read or written
    ├── TransportError                        no usable HTTP answer
    │   └── RequestTimeoutError (TimeoutError)
    ├── APIStatusError                        an answer that says no
    │   ├── BadRequestError                   400 and other refusals of what was sent
    │   ├── AuthenticationError               401, and 403 with code UNAUTHORIZED
    │   ├── PermissionDeniedError             403
    │   ├── NotFoundError                     404
    │   ├── ConflictError                     409
    │   ├── AccountSuspendedError             402, 412
    │   ├── RateLimitError                    429
    │   └── ServerError                       5xx, and what a proxy says in the API's place
    ├── ResponseDecodeError                   a 2xx that cannot be read
    ├── WaitError                             the wait ended without a terminal state
    │   ├── WaitTimeoutError (TimeoutError)   its time ran out
    │   ├── JobStalledError                   nothing visible changed for too long
    │   ├── PollFailureError                  looks failed for too long
    │   ├── JobGoneError                      the job was there, and is no more
    │   └── UnknownStateError                 a state nobody has heard of, for too long
    ├── JobOutcomeError                       raised by raise_for_outcome(), never by a wait
    │   ├── JobFailedError
    │   ├── JobCancelledError
    │   ├── JobExpiredError
    │   ├── JobStoppedError                   early stopped, deleted, archived
    │   └── JobNotFinishedError               by client.results(), too
    ├── JobConflictError                      the id is taken by a different job
    ├── DatasetConflictError                  the id is taken by a different dataset
    ├── InputRowsError                        rows that the server would refuse, or has refused
    └── ResultRowsError                       rows that failed, are missing or cannot be read

All of them survive pickle, copy and deepcopy with what they carry. Performs no I/O.
"""

from __future__ import annotations

from reprlib import Repr
from typing import TYPE_CHECKING, Any, Final

import attrs

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
    """Base of every error of this library."""

    ref: JobRef | None = None
    """The job concerned, where there is one: enough to come back to it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), self.__dict__


def _restore(cls: type[FireworksBatchError], args: tuple[Any, ...]) -> FireworksBatchError:
    """Make an error again without its __init__, whose arguments are not in ``args``."""
    error = cls.__new__(cls)
    error.args = args
    return error


# --- Mistakes of the calling code -----------------------------------------------------------


class ConfigurationError(FireworksBatchError, ValueError):
    """An argument or a setting is wrong; no request was sent."""


class ClientStateError(FireworksBatchError, RuntimeError):
    """The client is closed, belongs to another event loop, or a wait is used twice."""


# --- The machine here ---------------------------------------------------------------------------


class LocalFileError(FireworksBatchError, OSError):
    """A file on this machine cannot be read or written: not there, no permission, disk full.

    The text names it and the system's reason; ``errno`` is the system's number for that.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), {**self.__dict__, "errno": self.errno}


# --- No answer, or one that says no ---------------------------------------------------------


class TransportError(FireworksBatchError):
    """No usable HTTP answer arrived: refused, reset, cut short, or too large."""


class RequestTimeoutError(TransportError, TimeoutError):
    """One of the client's limits was passed: ``request_``, ``connect_`` or ``transfer_timeout``."""


class APIStatusError(FireworksBatchError):
    """The server answered with a status that says no."""

    lost_before: int = 0
    """Earlier attempts of the same call of which nobody knows whether they did their work."""

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
        self.status = status
        """The HTTP status."""
        self.code = code
        """The API's own code (``"NOT_FOUND"``, ``"UNAUTHORIZED"``), or an empty string."""
        self.message = reason or message
        """What the server said, without our framing."""
        self.request_id = request_id
        """The server's id of the request, where it gave one."""
        self.retry_after = retry_after
        """Seconds that the server asked to wait, at most 3600; None if it did not."""
        self.from_api = from_api
        """Whether the API itself said this, in its own JSON, and not a proxy before it."""


class BadRequestError(APIStatusError):
    """The server refuses what was sent (400, and other 4xx without a class of their own)."""


class AuthenticationError(APIStatusError):
    """The API key is not accepted (401, and 403 with the code UNAUTHORIZED)."""


class PermissionDeniedError(APIStatusError):
    """The key is good but may not do this (403)."""


class NotFoundError(APIStatusError):
    """There is no such resource (404)."""


class ConflictError(APIStatusError):
    """The id is taken, or the resource is being changed (409)."""


class AccountSuspendedError(APIStatusError):
    """The account is suspended or has to pay first (402, 412)."""


class RateLimitError(APIStatusError):
    """Too many requests (429), for longer than the retry policy waits."""


class ServerError(APIStatusError):
    """The server, or a proxy before it, failed (5xx, 408, a redirect, a page that is not JSON)."""


class ResponseDecodeError(FireworksBatchError):
    """The server answered 2xx, with something that cannot be read."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), partial: Any = None) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        """What could not be read, each with its path in the answer."""
        self.partial = partial
        """What could be read, the rest at defaults; None if nothing could."""


# --- The wait ended before the job ----------------------------------------------------------


class WaitError(FireworksBatchError):
    """The wait ended without a terminal state. The job itself is untouched and runs on."""

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
        self.last_snapshot = last_snapshot
        """The newest good observation of this wait; None if there was none."""
        self.last_error = last_error
        """What the newest lost look failed with; None if the last look was good."""


class WaitTimeoutError(WaitError, TimeoutError):
    """The time given to the wait ran out."""


class JobStalledError(WaitError):
    """Nothing visible has changed for ``stall_after`` seconds."""


class PollFailureError(WaitError):
    """Looks failed for longer than ``failure_budget``; ``last_error`` says with what."""


class JobGoneError(WaitError):
    """The job was there earlier in this wait and is no more: somebody deleted it."""


class UnknownStateError(WaitError):
    """The job is in a state this library has never heard of, and seems to have ended in it."""


# --- What became of the job -----------------------------------------------------------------


class JobOutcomeError(FireworksBatchError):
    """The job is not COMPLETED. Raised by ``raise_for_outcome()``, never by a wait."""

    def __init__(self, message: str, *, job: BatchInferenceJob) -> None:
        super().__init__(message)
        self.job = job
        """The job; look at its ``status`` and at ``may_have_results``."""


class JobFailedError(JobOutcomeError):
    """The job FAILED; its ``status`` says why."""


class JobCancelledError(JobOutcomeError):
    """The job was CANCELLED."""


class JobExpiredError(JobOutcomeError):
    """The job's window passed; the rows it finished are saved, and billed."""


class JobStoppedError(JobOutcomeError):
    """The job was stopped early, deleted or archived."""


class JobNotFinishedError(JobOutcomeError):
    """The job has not ended yet."""


# --- Submitting and collecting --------------------------------------------------------------


class JobConflictError(FireworksBatchError):
    """The job id is taken by a job that is not the one asked for, or another one was made."""


class DatasetConflictError(FireworksBatchError):
    """The dataset id is taken by a dataset that is not the one asked for."""


class InputRowsError(FireworksBatchError):
    """Rows of the input that the server would refuse, or has refused."""

    def __init__(
        self, message: str, *, problems: Sequence[RowProblem] = (), count: int | None = None
    ) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        """The first bad rows, each with its line, its id and what is wrong."""
        self.count = len(self.problems) if count is None else count
        """How many bad rows there are, also if not all of them are named."""


@attrs.frozen
class RowProblem:
    """A row of the input that the server would refuse."""

    line: int
    """Where it stands in the input, from 1: the line, or the number of the mapping."""

    custom_id: str | None
    """Its id, where it has one that can be read."""

    reason: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        named = "" if self.custom_id is None else f" (custom_id {shown(self.custom_id)})"
        return f"line {self.line}{named}: {self.reason}"


_SHOW: Final = Repr()


_SHOW.maxstring = _SHOW.maxother = 80


def shown(value: object) -> str:
    """Return a value as an error's text shows it: at most 80 characters, however large it is."""
    text = _SHOW.repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."
