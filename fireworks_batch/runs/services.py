"""What a run needs of a client: apart from the run, which is imported when it is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from fireworks_batch.datasets.endpoints import Datasets
    from fireworks_batch.datasets.source import Source
    from fireworks_batch.datasets.upload import UploadTerms
    from fireworks_batch.jobs.endpoints import Jobs
    from fireworks_batch.models.dataset import Dataset
    from fireworks_batch.models.policies import PollPolicy

__all__ = ["Services"]


@attrs.frozen(kw_only=True)
class Services:
    """What a run needs of a client."""

    jobs: Jobs
    """The account's jobs."""

    datasets: Datasets
    """Its datasets."""

    upload: Callable[[Source, UploadTerms], Awaitable[Dataset]]
    """Uploads a dataset on terms, and waits until it is READY."""

    resolve: Callable[[], Awaitable[str]]
    """Returns the account's id."""

    base_url: str
    """The API that it lives on."""

    wall: Callable[[], datetime]
    """Returns the time of day, aware, in UTC."""

    poll: PollPolicy
    """The policy of runs that bring none."""

    clock: Callable[[], float]
    """Returns the monotonic time."""

    sleep_until: Callable[[float], Awaitable[object]]
    """Sleeps until a moment of that clock."""
