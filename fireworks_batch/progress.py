"""What a wait has seen: one observation of a job, and what a series of them says of its progress.

Performs no I/O.
"""

from datetime import datetime

import attrs

from fireworks_batch.errors import FireworksBatchError
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.states import JobState

__all__ = ["JobSnapshot"]


@attrs.frozen(kw_only=True, repr=False)
class JobSnapshot:
    """One good observation of a job."""

    job: BatchInferenceJob
    """The whole job, as observed."""

    previous_state: JobState | None
    """The state at the observation before; None on the first."""

    changed: bool
    """Whether anything visible differs from the observation before; True on the first."""

    number: int
    """Good observations of this wait so far, from 1."""

    observed_at: datetime
    """When the answer was read, aware, in UTC, by this machine's clock."""

    elapsed: float
    """Seconds since the wait began."""

    unchanged_for: float
    """Seconds since the last visible change."""

    percent: float | None
    """Rows done of all rows, 0 to 100, at most 99.9 before COMPLETED; None if unknown."""

    rate: float | None
    """Rows per second of late; None until the counters have moved."""

    eta: float | None
    """Seconds to the last row at that rate; None if unknown."""

    failures: int
    """Looks that were lost between the observation before and this one."""

    last_error: FireworksBatchError | None = attrs.field(eq=False)
    """What the newest of them failed with; None if there was none."""

    problems: tuple[str, ...] = ()
    """Members of the answer that could not be read, each with its path; they are at defaults."""

    def __repr__(self) -> str:
        percent = "" if self.percent is None else f" {self.percent:.1f}%"
        return f"<JobSnapshot {self.number} of {self.job.id!r} {self.job.state}{percent}>"
