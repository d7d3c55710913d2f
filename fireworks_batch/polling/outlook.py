"""What polls show in advance: when a job is expected to end, and when the server writes.

All moments are points on one monotonic clock, in seconds. The server's times are compared with each
other and with this clock, never with the machine's time of day. Performs no I/O.
"""

import math
from collections.abc import Sequence
from typing import Final

import attrs

from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.states import JobPhase
from fireworks_batch.polling.machine import Tick

__all__ = ["TickProof", "expected_end"]


def expected_end(job: BatchInferenceJob, moves: Sequence[tuple[float, int]]) -> float | None:
    """Return the moment at which the last row is done, if the present rate continues.

    The moment stays the same until the counter of rows moves again.

    Args:
        job: The job at the newest poll.
        moves: The newest values of the job's counter of rows (`History.moves`). Each has the moment
            of the first poll that showed this value.

    Returns:
        The moment, which may have passed. None if the job is not RUNNING, if the number of all rows
        is unknown, or if the counter has not moved.
    """
    rows = job.job_progress
    if job.state.phase is not JobPhase.RUNNING or rows is None or len(moves) < 2:
        return None
    if rows.total_input_requests <= 0:
        return None
    (since, first), (until, last) = moves[0], moves[-1]
    remaining = max(0, rows.total_input_requests - last)
    return until + (until - since) * (remaining / (last - first))


# Seconds from one write to the next of a server that ticks (seen live).
_PERIOD: Final = 60.0

# Seconds by which a write may differ from its tick.
_TOLERANCE: Final = 2.0

# The number of writes in a row that prove a tick.
_WRITES: Final = 3

# Least seconds between the least and the greatest age at which these writes were seen.
_SPREAD: Final = 15.0

# Each poll comes this many seconds sooner after a tick than the poll before, until a poll is too
# early.
_STEP: Final = 2.0

# From then on polls come this many seconds after a tick.
_MARGIN: Final = 0.5


@attrs.define
class TickProof:
    """Proves that the server writes once a minute, and finds the moments of the writes.

    The proof is three update times in a row, each whole minutes after the one before, which were
    seen at ages that differ by 15 s or more. If a server stamps each answer with the moment of the
    request, all update times have the same age, and nothing is proven. An update time that does
    not fit starts the proof again.

    The age of a write is the moment of a poll on this clock minus the update time on the server's
    clock. A poll at the least age seen so far comes late by an unknown number of seconds. So each
    poll comes two seconds sooner than this age, until a poll is too early. From then on polls come
    half a second after the least age.
    """

    scale: float = 1.0
    """Seconds of this clock for one second of the server's clock."""

    newest: float | None = None
    """The newest update time, in scaled seconds."""

    writes: int = 0
    """Number of update times in a row that are whole minutes apart."""

    is_regular: bool = False
    """Whether the newest write came one minute after the write before."""

    least_age: float = math.inf
    """The least age at which these update times were seen."""

    greatest_age: float = -math.inf
    """The greatest age at which these update times were seen."""

    late: float = math.inf
    """The least age at which any write was seen. A poll at this age is not too early."""

    early: float = -math.inf
    """A poll at this age, or at a lesser age, is too early."""

    due: float = -math.inf
    """When the poll before was due. That poll was not made earlier."""

    def see(self, update_time: float | None, *, due: float, now: float) -> Tick | None:
        """Note the update time of a successful poll; return the tick, or None before the proof.

        Args:
            update_time: The job's update time in POSIX seconds; None if the answer has none.
            due: When the poll was due.
            now: When the answer was read.
        """
        if update_time is None:
            self.newest, self.writes = None, 0
            return None
        write, period = update_time * self.scale, _PERIOD * self.scale
        if write != self.newest:
            self._take_write(write, now)
        elif self.is_regular and self.early < due - write - period < self.late:
            self.early = due - write - period  # the next write cannot be seen yet
        self.due = due
        self.least_age = min(self.least_age, now - write)
        self.greatest_age = max(self.greatest_age, now - write)
        spread = self.greatest_age - self.least_age
        if self.writes < _WRITES or spread < _SPREAD * self.scale:
            return None
        # Because of the margin, a rounded step is not tried again and again.
        is_found = self.late - self.early <= (_STEP + _MARGIN) * self.scale
        behind = _MARGIN if is_found else -_STEP
        return Tick(write + self.late + behind * self.scale, period)

    def _take_write(self, write: float, now: float) -> None:
        period, tolerance = _PERIOD * self.scale, _TOLERANCE * self.scale
        passed = -math.inf if self.newest is None else write - self.newest
        if passed < 0 or abs(math.remainder(passed, period)) > tolerance:
            self.writes, self.least_age, self.greatest_age = 0, math.inf, -math.inf
        self.is_regular = abs(passed - period) <= tolerance
        self.newest = write
        self.writes += 1
        early = self.due - write  # the poll before did not show this write
        if early >= self.late:  # the clocks have drifted apart
            self.late = early + _STEP * self.scale
        self.late = min(self.late, now - write)
        self.early = max(self.early, early)
        if self.early >= self.late:  # the clocks have drifted apart the other way
            self.early = early
