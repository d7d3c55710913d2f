"""All items of a listing, page by page, each page asked for when it is needed."""

import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Generic, Self, TypeVar

import attrs

from fireworks_batch.connection.configuration import check_text
from fireworks_batch.connection.credentials import Account
from fireworks_batch.models.errors import ConfigurationError, NotFoundError, ResponseDecodeError
from fireworks_batch.models.job import BatchInferenceJob, JobLike
from fireworks_batch.models.names import JobName, JobRef, parse_job_name
from fireworks_batch.models.policies import PollPolicy, is_number
from fireworks_batch.models.snapshot import EXPIRY_GRACE, LONGEST_TIME_LIMIT
from fireworks_batch.wire.answers import Answer, read_page
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import ListQuery, Request

__all__ = [
    "JobNames",
    "Listing",
    "WaitDefaults",
    "check_policy",
    "check_timeout",
    "delete_once",
    "if_there",
    "list_query",
]


_T = TypeVar("_T")


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


_log = logging.getLogger("fireworks_batch.http")


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
        page = read_page(parse_json(answer.body), self._key)
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
        if _SURROGATE(check_text(name, text)):
            raise ConfigurationError(f"{name} {text!r} holds what UTF-8 cannot spell")
    if type(page_size) is not int or not 1 <= page_size <= 200:
        raise ConfigurationError(
            f"page_size must be a whole number from 1 to 200, not {page_size!r}"
        )
    return ListQuery(
        page_size=page_size, filter=filter_ or "", order_by=order_by or "", read_mask=read_mask
    )


@attrs.frozen(kw_only=True)
class WaitDefaults:
    """What all waits of a client have in common."""

    poll: PollPolicy
    """The policy of those that bring none."""

    time_scale: float
    """This clock's seconds for one of the server's."""

    wall: Callable[[], datetime]
    """Returns the time of day, aware, in UTC."""

    draw: Callable[[], float]
    """Returns a random number from 0 up to 1."""

    new_id: Callable[[], str]
    """Makes up an id that nobody has."""

    @property
    def longest_window(self) -> float:
        """Seconds that a wait may last before a job has said what its window is."""
        return (LONGEST_TIME_LIMIT + EXPIRY_GRACE) * self.time_scale


def check_timeout(timeout: Any) -> float | None:
    """Return the seconds of a timeout; None for no limit."""
    if timeout is None:
        return None
    if is_number(timeout) and timeout > 0:
        return float(timeout)
    raise ConfigurationError(
        f"timeout must be a number of seconds above 0, JOB_TIME_LIMIT or None, not {timeout!r}"
    )


def check_policy(poll: object) -> PollPolicy | None:
    """Return the policy given, if one is."""
    if poll is None or isinstance(poll, PollPolicy):
        return poll
    raise ConfigurationError(f"poll must be a PollPolicy, not {poll!r}")


class JobNames:
    """Reads what stands for a job, for a client of one account and host."""

    def __init__(self, account: Account, base_url: str) -> None:
        """Take whose jobs they are, and where the client's API is."""
        self._account = account
        self._base_url = base_url

    def read(self, job: JobLike) -> JobName:
        """Return the job's id, and its account where that was said.

        Raises:
            ConfigurationError: It is malformed, or belongs to another account or host.
        """
        name = self._parse(job)
        if name.account_id and self._account.id and name.account_id != self._account.id:
            raise ConfigurationError(
                f"job {name.job_id!r} belongs to account {name.account_id!r}; this client's is "
                f"{self._account.id!r}"
            )
        return name

    def _parse(self, job: JobLike) -> JobName:
        match job:
            case JobRef():
                if job.base_url != self._base_url:
                    raise ConfigurationError(
                        f"{job!r} belongs to another host; this client's is {self._base_url}"
                    )
                return JobName(job.account_id, job.job_id)
            case BatchInferenceJob():
                return parse_job_name(job.name)
            case _:
                return parse_job_name(job)

    def ref(self, name: JobName) -> JobRef | None:
        """Return a reference to a job; None while its account is not known."""
        account_id = name.account_id or self._account.id
        return JobRef(account_id, name.job_id, self._base_url) if account_id else None


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
