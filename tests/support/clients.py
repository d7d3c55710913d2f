"""Clients of an emulator, as tests make them: with policies of milliseconds."""

from typing import Any

from fireworks_batch import BatchClient, PollPolicy, RetryPolicy
from fireworks_batch.emulator import Emulator

FAST = PollPolicy(
    initial_interval=0.002,
    min_interval=0.0,
    max_interval=0.005,
    failure_budget=0.5,
    not_found_grace=0.02,
)
"""Milliseconds, for tests in real time."""

QUICK = RetryPolicy(initial_delay=0.001, max_delay=0.004, rate_limit_budget=0.2)
"""The same for plain calls."""


def client_of(emulator: Emulator, **options: Any) -> BatchClient:
    """A client of the emulator that waits milliseconds, unless told otherwise."""
    of_it = {"api_key": emulator.api_key, "base_url": emulator.base_url}
    usual = {"account_id": emulator.account_id, "poll": FAST, "retry": QUICK}
    return BatchClient(**{**of_it, **usual, **options})
