"""A Fireworks control plane on this machine, for tests of code that waits."""

from .assumptions import Assumptions
from .phases import Phase
from .request_log import RecordedRequest
from .rows import RowFailureError
from .server import Emulator
from .watching import Exchange

__all__ = ["Assumptions", "Emulator", "Exchange", "Phase", "RecordedRequest", "RowFailureError"]
