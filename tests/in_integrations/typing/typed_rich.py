"""Bars fit `on_progress=`, and take what they can show. Checked by mypy, not run."""

from typing import assert_type

from fireworks_batch import BatchClient, integrations
from fireworks_batch.integrations.rich import Bars


async def run(client: BatchClient) -> None:
    """As a callback of a run."""
    await client.run([], model="accounts/a/models/b", on_progress=integrations.rich.bars())


async def follow(client: BatchClient) -> None:
    """With snapshots, and with the progress of a fleet."""
    fleet = client.jobs.watch(["a"])
    with integrations.rich.bars() as show:
        assert_type(show, Bars)
        async for snapshot in fleet:
            show(snapshot)
            show(fleet.progress)


def refuse(show: Bars) -> None:
    """A fleet itself is no progress."""
    show("nightly-eval")  # type: ignore[arg-type]
