# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Names that do not exist: a checker that accepts one calls its comment unnecessary."""

import fireworks_batch
from fireworks_batch import BatchClent  # type: ignore[attr-defined]
from fireworks_batch.typing import JobWeight  # type: ignore[attr-defined]


def misspelt() -> list[object]:
    """Each is refused, however it is imported."""
    return [
        BatchClent,
        JobWeight,
        fireworks_batch.BatchClent,  # type: ignore[attr-defined]
        fireworks_batch.emulater,  # type: ignore[attr-defined]
        fireworks_batch.JobFleet,  # type: ignore[attr-defined] # it is in fireworks_batch.typing
    ]


def spelt() -> list[object]:
    """Public modules are attributes, as public names are."""
    return [
        fireworks_batch.BatchClient,
        fireworks_batch.__version__,
        fireworks_batch.emulator.Emulator,
        fireworks_batch.pytest_plugin.fireworks_client,
        fireworks_batch.typing.JobFleet,
    ]
