"""All items of a listing, page by page, each page asked for when it is needed."""

import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Generic, Self, TypeVar

from fireworks_batch import arguments, wire
from fireworks_batch.calls import ListQuery, Request
from fireworks_batch.errors import ConfigurationError, ResponseDecodeError
from fireworks_batch.http import Answer
from fireworks_batch.paging import read_page

__all__ = ["Listing", "list_query"]

_log = logging.getLogger("fireworks_batch.http")
_T = TypeVar("_T")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]").search


class Listing(AsyncIterator[_T], Generic[_T]):
    """An async iterator over the items of all pages; one page is in memory at a time.

    Stopping early leaves nothing behind: nothing is held between two items.
    """

    def __init__(
        self,
        key: str,
        *,
        ask: Callable[[str], Awaitable[Request]],
        send: Callable[[Request], Awaitable[Answer]],
        read: Callable[[Any], _T],
    ) -> None:
        """Take what a listing is made with; nothing is sent before the first item is asked for.

        Args:
            key: The member of a page that holds its items.
            ask: Returns the request for the page of a token; the first page's is empty.
            send: Sends it.
            read: Makes an item of its JSON value.
        """
        self._key = key
        self._ask = ask
        self._send = send
        self._read = read
        self._items: deque[_T] = deque()
        self._token: str | None = ""
        self._tokens: set[str] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        while not self._items:
            if self._token is None:
                raise StopAsyncIteration
            await self._fetch(self._token)
        return self._items.popleft()

    async def _fetch(self, token: str) -> None:
        request = await self._ask(token)
        answer = await self._send(request)
        page = read_page(wire.parse_json(answer.body), self._key)
        if page.next_page_token in self._tokens:
            problem = f"nextPageToken: {page.next_page_token[:40]!r} came before"
            raise ResponseDecodeError(
                f"{request}: the pages go in a circle: {problem}", problems=[problem]
            )
        self._tokens.add(page.next_page_token)
        self._token = page.next_page_token or None
        self._items.extend(self._readable(page.items))

    def _readable(self, items: tuple[Any, ...]) -> list[_T]:
        """Read a page's items; what cannot be read of one never costs the others."""
        found: list[_T] = []
        for item in items:
            try:
                found.append(self._read(item))
            except ResponseDecodeError as error:
                _log.warning("%s; %s", error, "left out" if error.partial is None else "kept")
                if error.partial is not None:
                    found.append(error.partial)
        return found


def list_query(
    filter_: str | None, order_by: str | None, page_size: int, read_mask: str
) -> ListQuery:
    """Return the checked question of a listing.

    Args:
        filter_: As given by the caller.
        order_by: As given by the caller.
        page_size: 1 to 200; the server would quietly take 200 for more.
        read_mask: The wire's paths.

    Raises:
        ConfigurationError: An argument is malformed.
    """
    for name, text in (("filter", filter_), ("order_by", order_by)):
        if _SURROGATE(arguments.check_text(name, text)):
            raise ConfigurationError(f"{name} {text!r} holds what UTF-8 cannot spell")
    if type(page_size) is not int or not 1 <= page_size <= 200:
        raise ConfigurationError(
            f"page_size must be a whole number from 1 to 200, not {page_size!r}"
        )
    return ListQuery(
        page_size=page_size, filter=filter_ or "", order_by=order_by or "", read_mask=read_mask
    )
