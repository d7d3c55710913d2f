"""How many jobs end, and how far they are together.

Performs no I/O.
"""

from collections import Counter
from collections.abc import Iterable

import attrs

from fireworks_batch.errors import ClientStateError, FireworksBatchError
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.progress import JobSnapshot
from fireworks_batch.states import JobPhase

__all__ = ["FleetProgress", "JobEnding", "add_up"]


@attrs.frozen
class JobEnding:
    """How the wait for one of many jobs ended: with the job, or with an error."""

    ref: JobRef
    """The job."""

    job: BatchInferenceJob | None = None
    """The final job, whatever became of it; None if the wait failed."""

    error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """Why no more can be known of it; None if it ended."""

    def unwrap(self) -> BatchInferenceJob:
        """Return the final job, or raise why there is none.

        Raises:
            FireworksBatchError: The wait failed; it is what `wait_until_terminal` raises.
        """
        if self.error is not None:
            raise self.error
        if self.job is None:
            raise ClientStateError(f"{self!r} has neither a job nor an error")
        return self.job


@attrs.frozen(kw_only=True)
class FleetProgress:
    """Where many jobs stand together, by what was last seen of each."""

    queued: int = 0
    """Jobs that wait for their turn: see `JobPhase`."""

    running: int = 0
    """Jobs whose rows are processed."""

    finishing: int = 0
    """Jobs that write results, or are being cancelled."""

    paused: int = 0
    """Jobs that somebody has to look after."""

    leaving: int = 0
    """Jobs that are being deleted."""

    terminal: int = 0
    """Jobs that have ended."""

    unknown: int = 0
    """Jobs in states that this release does not know."""

    unseen: int = 0
    """Jobs of which no good look was had so far."""

    failed: int = 0
    """Waits that ended with an error; their jobs are counted by what was last seen of them too."""

    rows_total: int = 0
    """Rows of all jobs, as far as the server has counted them."""

    rows_done: int = 0
    """Rows done, well or badly."""

    rows_failed: int = 0
    """Rows that failed."""

    rate: float | None = None
    """Rows per second of late, of all jobs together; None until counters have moved."""

    eta: float | None = None
    """Seconds to the last row of those counted, at that rate; None if unknown."""

    @property
    def jobs(self) -> int:
        """All jobs."""
        phases = self.queued + self.running + self.finishing + self.paused + self.leaving
        return phases + self.terminal + self.unknown + self.unseen


def add_up(snapshots: Iterable[JobSnapshot | None], *, failed: int) -> FleetProgress:
    """Return where jobs stand together.

    Args:
        snapshots: The newest of each job; None for one that was never seen.
        failed: Waits that ended with an error.
    """
    newest = list(snapshots)
    seen = [snapshot for snapshot in newest if snapshot is not None]
    phases = Counter(snapshot.job.state.phase for snapshot in seen)
    rows = [counters for one in seen if (counters := one.job.job_progress) is not None]
    rates = [one.rate for one in seen if one.rate and not one.job.is_terminal]
    total = sum(counters.total for counters in rows)
    left = sum(_rows_left(snapshot.job) for snapshot in seen)
    rate = sum(rates) if rates else None
    return FleetProgress(
        **{phase.value: phases[phase] for phase in JobPhase},
        unseen=len(newest) - len(seen),
        failed=failed,
        rows_total=total,
        rows_done=sum(counters.total_processed_requests for counters in rows),
        rows_failed=sum(counters.failed_requests for counters in rows),
        rate=rate,
        eta=0.0 if phases[JobPhase.TERMINAL] == len(newest) else left / rate if rate else None,
    )


def _rows_left(job: BatchInferenceJob) -> int:
    rows = job.job_progress
    return 0 if rows is None or job.is_terminal else rows.total - rows.total_processed_requests
