"""What a wait says that ended without a terminal state: why, and how to come back.

Performs no I/O.
"""

from fireworks_batch.errors import (
    FireworksBatchError,
    JobGoneError,
    JobStalledError,
    PollFailureError,
    UnknownStateError,
    WaitError,
    WaitTimeoutError,
)
from fireworks_batch.events import GaveUp, Gone, Stalled, TimedOut, Unrecognised
from fireworks_batch.names import JobRef
from fireworks_batch.progress import JobSnapshot

__all__ = ["duration_text", "wait_error"]

_WAITING_FOREVER = (
    "; a model that cannot serve batch jobs is not refused, its jobs stay PENDING: "
    "check that the model can"
)


def wait_error(
    ending: TimedOut | Stalled | GaveUp | Gone | Unrecognised,
    *,
    job: str,
    ref: JobRef | None,
    last_snapshot: JobSnapshot | None,
    last_error: FireworksBatchError | None,
) -> WaitError:
    """Return the error for an ending.

    Args:
        ending: What the poll machine decided.
        job: What the caller called the job.
        ref: The job, if its account is known.
        last_snapshot: The newest good observation.
        last_error: What the newest lost look failed with, if the last look was lost.
    """
    error, reason = _reason(ending, last_snapshot, last_error)
    advice = (
        "it was deleted, by DELETE or by the console; its output dataset may still be there"
        if isinstance(ending, Gone)
        else "the job was not touched and may run on; wait for it again with "
        "client.jobs.wait_until_terminal() and this error's .ref, or stop it with "
        "client.jobs.delete()"
    )
    return error(
        f"job {job!r}: {reason}; {advice}",
        ref=ref,
        last_snapshot=last_snapshot,
        last_error=last_error,
    )


def _reason(
    ending: TimedOut | Stalled | GaveUp | Gone | Unrecognised,
    last: JobSnapshot | None,
    error: FireworksBatchError | None,
) -> tuple[type[WaitError], str]:
    seen = "it was never seen" if last is None else f"it was last seen {last.job.state}"
    lost = f"; the last look failed: {error}" if error is not None else ""
    match ending:
        case TimedOut(waited):
            return WaitTimeoutError, f"not terminal after {duration_text(waited)}, {seen}{lost}"
        case Stalled(idle_for):
            hint = _WAITING_FOREVER if last is not None and last.job.state == "PENDING" else ""
            return JobStalledError, (
                f"nothing visible has changed for {duration_text(idle_for)}, {seen}{hint}"
            )
        case GaveUp(failures, spent):
            return PollFailureError, (
                f"{failures} looks in a row failed over {duration_text(spent)}, {seen}{lost}"
            )
        case Unrecognised(unknown_for):
            return UnknownStateError, (
                f"in states unknown to this release for {duration_text(unknown_for)}, {seen}"
            )
        case Gone():
            return JobGoneError, f"not found any more, {seen}"


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``"2 h 5 min"``, ``"42 s"``, ``"0.25 s"``."""
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    minutes, hours = divmod(round(seconds / 60), 60)[::-1]
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
