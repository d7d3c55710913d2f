"""What the server changes of a job, and how an answer that shows only that is laid over the rest.

A masked answer says nothing by the presence of a member: the gateway shows empty ones of what was
not asked for. So it is laid over by the mask's paths. Performs no I/O.
"""

from datetime import timedelta
from operator import itemgetter
from typing import Any, Final, TypeAlias

import attrs

from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.wire import mask_paths

__all__ = ["MASK", "Print", "is_another", "lay_over", "print_of", "values"]

Print: TypeAlias = tuple[Any, ...]
"""The JSON values of name, state and the rest of what the server changes, in this order: equal if
nothing of it has changed."""

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

_MINUTE: Final = timedelta(minutes=1)

MASK: Final = mask_paths(_FIELDS)
"""The read mask of later looks: ``name`` and what the server changes."""

_KEYS: Final = tuple(MASK.split(","))

values: Final = itemgetter(*_KEYS)
"""Return the `Print` of an item that has all members, as most have; else raise."""


def print_of(item: Any) -> Print:
    """Return the `Print` of an item; what is absent is null, and all of what is no object."""
    try:
        values_: Print = values(item)
    except (KeyError, TypeError, IndexError):
        get = item.get if isinstance(item, dict) else dict[str, Any]().get
        return tuple(map(get, _KEYS))
    return values_


def lay_over(whole: BatchInferenceJob, part: BatchInferenceJob) -> BatchInferenceJob:
    """Return the whole job with what a masked answer shows of it.

    Args:
        whole: As it was at the look before.
        part: What was read of the masked answer; only the mask's members of it count.
    """
    return attrs.evolve(whole, **{name: getattr(part, name) for name in _FIELDS})


def is_another(whole: BatchInferenceJob, part: BatchInferenceJob) -> bool:
    """Say whether a masked answer is about another job of the same name: the first was deleted.

    The end of a job's window follows from its creation; a minute is no time to delete one.

    Args:
        whole: As it was at the look before.
        part: What was read of the masked answer.
    """
    before, after = whole.expire_time, part.expire_time
    return before is not None and after is not None and abs(after - before) > _MINUTE
