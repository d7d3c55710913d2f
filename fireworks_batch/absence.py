"""What is not there: by the API's own word, since what a proxy does not find may well be."""

from collections.abc import Awaitable
from typing import TypeVar

from fireworks_batch.errors import NotFoundError

__all__ = ["if_there"]

_T = TypeVar("_T")


async def if_there(asking: Awaitable[_T]) -> _T | None:
    """Return what asking for something gives; None if the API says that it is not there.

    Raises:
        NotFoundError: Somebody else says so.
        FireworksBatchError: What asking raises otherwise.
    """
    try:
        return await asking
    except NotFoundError as refusal:
        if not refusal.from_api:
            raise
        return None
