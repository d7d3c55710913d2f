"""What the polls of a wait tell in advance: the job's expected end, and when the server writes.

All moments are points on one monotonic clock, in seconds. The server's times are compared with each
other and with that clock, never with this machine's time of day. Performs no I/O.
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
    """Return the moment at which the last row is done if rows go on at the rate of late.

    The moment stays put until the counter of rows moves again.

    Args:
        job: The job at the newest poll.
        moves: The newest values of its counter of rows, each with the moment of the poll that
            showed the value first: `History.moves`.

    Returns:
        The moment, which may have passed; None if the job is not RUNNING, if its total is not
        known, or if the counter has not moved.
    """
    rows = job.job_progress
    if job.state.phase is not JobPhase.RUNNING or rows is None or len(moves) < 2:
        return None
    if rows.total_input_requests <= 0:
        return None
    (since, first), (until, last) = moves[0], moves[-1]
    left = max(0, rows.total_input_requests - last)
    return until + (until - since) * (left / (last - first))


# Seconds from one write to the next of a server that ticks (seen live).
_PERIOD: Final = 60.0

# Seconds by which a write may miss its tick.
_TOLERANCE: Final = 2.0

# Writes in a row that prove a tick.
_WRITES: Final = 3

# Seconds between the least and the greatest age at which these writes were seen.
_SPREAD: Final = 15.0

# Seconds by which polls come sooner and sooner after a tick, until one is too early.
_STEP: Final = 2.0

# Seconds that polls keep behind a tick from then on.
_MARGIN: Final = 0.5


@attrs.define
class TickProof:
    """Proves that the server writes once a minute, and finds out when.

    Three update times in a row, each whole minutes after the one before, are the proof, if they
    were seen at ages at least 15 s apart. A server that stamps the moment of the request shows all
    of them at one age, and proves nothing. An update time off the grid starts the proof anew.

    The age of a write is the moment of a poll on this clock less the update time on the server's.
    A poll at the least age that was seen comes late by an unknown number of seconds. So each poll
    comes two seconds sooner than that, until one is too early. From then on polls keep half a
    second behind the least age.
    """

    scale: float = 1.0
    """Seconds of this clock for one of the server's."""

    newest: float | None = None
    """The newest update time, in scaled seconds."""

    writes: int = 0
    """Update times in a row that are whole minutes apart."""

    is_regular: bool = False
    """Whether the newest write came one minute after the one before."""

    least_age: float = math.inf
    """The least age at which these were seen."""

    greatest_age: float = -math.inf
    """The greatest age at which these were seen."""

    late: float = math.inf
    """The least age at which a write was seen at any time: a poll at this age is not too early."""

    early: float = -math.inf
    """A poll at this age, or a lesser one, is too early."""

    due: float = -math.inf
    """When the poll before was due: that poll was made no earlier."""

    def see(self, update_time: float | None, *, due: float, now: float) -> Tick | None:
        """Take what a successful poll showed, and return the tick once it is proven.

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
            self.early = due - write - period  # the next write is not to be seen yet
        self.due = due
        self.least_age = min(self.least_age, now - write)
        self.greatest_age = max(self.greatest_age, now - write)
        spread = self.greatest_age - self.least_age
        if self.writes < _WRITES or spread < _SPREAD * self.scale:
            return None
        # The margin keeps a step that is rounded from being tried again and again.
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
        if self.early >= self.late:  # and here the other way
            self.early = early
