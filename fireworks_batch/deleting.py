"""A DELETE that may be repeated: gone is what was wanted, unless it was gone before."""

from collections.abc import Awaitable, Callable

from fireworks_batch.calls import Request
from fireworks_batch.errors import NotFoundError
from fireworks_batch.http import Answer

__all__ = ["delete_once"]


async def delete_once(send: Callable[[Request], Awaitable[Answer]], request: Request) -> None:
    """Delete something.

    Raises:
        NotFoundError: It was not there; not raised where an earlier attempt may have done it.
        FireworksBatchError: What the server or the network said otherwise.
    """
    try:
        await send(request)
    except NotFoundError as error:
        if not (error.lost_before and error.from_api):
            raise
