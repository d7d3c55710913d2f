"""A Fireworks control plane on this machine, for tests of code that waits."""

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.http.request_log import Exchange, RecordedRequest
from fireworks_batch.emulator.jobs.rows import RowFailureError
from fireworks_batch.emulator.jobs.scripts import Phase
from fireworks_batch.emulator.server import Emulator

__all__ = ["Assumptions", "Emulator", "Exchange", "Phase", "RecordedRequest", "RowFailureError"]
