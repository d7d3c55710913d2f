"""One look at anything: sleep until it is due, ask once, and say what a failure means."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fireworks_batch import http
from fireworks_batch.effects import Failure
from fireworks_batch.errors import (
    APIStatusError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
)
from fireworks_batch.events import FailureKind
from fireworks_batch.transport import Transport

__all__ = ["attempt", "failure_of"]

_T = TypeVar("_T")


async def attempt(
    transport: Transport, ask: Callable[[], Awaitable[_T]], *, due: float, deadline: float
) -> _T | Failure:
    """Ask once, when it is due and the gate is open; the deadline cuts whatever goes on.

    Args:
        transport: Knows the gate, and sleeps.
        ask: Sends one request.
        due: It is asked no earlier than at this moment of the loop's clock.
        deadline: At this moment the attempt ends, with a `Failure` of kind CUT.

    Raises:
        ClientStateError: The client was closed.
        ConfigurationError: The call cannot be made at all.
    """
    try:
        async with asyncio.timeout_at(None if deadline == math.inf else deadline):
            await transport.sleep_until(max(due, transport.gate_opens_at()))
            return await ask()
    except (ClientStateError, ConfigurationError):
        raise
    except FireworksBatchError as error:
        return failure_of(error)
    except TimeoutError:
        return Failure(FailureKind.CUT, None)


def failure_of(error: FireworksBatchError) -> Failure:
    """Return what an error means for whoever waits."""
    retry_after = error.retry_after if isinstance(error, APIStatusError) else None
    return Failure(_kind(error), error, retry_after)


def _kind(error: FireworksBatchError) -> FailureKind:
    if not isinstance(error, APIStatusError):
        return FailureKind.LOST
    if error.status == 429:
        return FailureKind.RATE_LIMITED
    if not http.is_refusal(error):
        return FailureKind.LOST
    return _REFUSALS.get(error.status, FailureKind.REFUSED)


_REFUSALS: Final = {
    401: FailureKind.UNAUTHORIZED,
    403: FailureKind.UNAUTHORIZED,
    404: FailureKind.NOT_FOUND,
}
