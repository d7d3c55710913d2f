"""A Fireworks control plane on this machine, for tests of code that waits."""

from .assumptions import Assumptions
from .phases import Phase
from .request_log import RecordedRequest
from .rows import RowFailureError
from .server import Emulator

__all__ = ["Assumptions", "Emulator", "Phase", "RecordedRequest", "RowFailureError"]
