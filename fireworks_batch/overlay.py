"""What the server changes of a job, and how an answer that shows only that is laid over the rest.

A masked answer says nothing by the presence of a member: the gateway shows empty ones of what was
not asked for. So it is laid over by the mask's paths. Performs no I/O.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias

import attrs

from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.wire import mask_paths

__all__ = ["MASK", "Print", "lay_over", "named", "print_of"]

Print: TypeAlias = tuple[Any, ...]
"""The JSON values of what the server changes: equal if nothing of it has changed."""

_FIELDS: Final = (
    "state",
    "status",
    "job_progress",
    "lifecycle",
    "waiting_on_capacity",
    "update_time",
    "expire_time",
    "output_dataset_id",
    "placement",
)

MASK: Final = mask_paths(_FIELDS)
"""The read mask of later looks: ``name`` and what the server changes."""

_KEYS: Final = tuple(MASK.split(",")[1:])
_values: Final = itemgetter(*_KEYS)


def print_of(item: Mapping[str, Any]) -> Print:
    """Return what is compared with the look before; an absent member is null."""
    try:
        values: Print = _values(item)
    except KeyError:
        return tuple(map(item.get, _KEYS))
    return values


def named(item: Any) -> tuple[Any, Any]:
    """Return the name and the state of an item, which every job has; None for what is not there."""
    try:
        return item["name"], item["state"]
    except (KeyError, TypeError, IndexError):
        return None, None


def lay_over(whole: BatchInferenceJob, part: BatchInferenceJob) -> BatchInferenceJob:
    """Return the whole job with what a masked answer shows of it.

    Args:
        whole: As it was at the look before.
        part: What was read of the masked answer; only the mask's members of it count.
    """
    return attrs.evolve(whole, **{name: getattr(part, name) for name in _FIELDS})
