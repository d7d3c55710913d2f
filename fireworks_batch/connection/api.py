"""What all resources of a client share: access to the API, names, and listings."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Generic, Self, TypeVar

import attrs

from fireworks_batch.connection.credentials import Account
from fireworks_batch.connection.session import Session
from fireworks_batch.connection.transport import Transport
from fireworks_batch.models.dataset import Dataset, DatasetLike
from fireworks_batch.models.errors import (
    ConfigurationError,
    NotFoundError,
    ResponseDecodeError,
)
from fireworks_batch.models.job import BatchInferenceJob, JobLike
from fireworks_batch.models.names import (
    DatasetName,
    JobName,
    JobRef,
    parse_dataset_name,
    parse_job_name,
)
from fireworks_batch.models.policies import PollPolicy
from fireworks_batch.models.snapshot import EXPIRY_GRACE, LONGEST_TIME_LIMIT
from fireworks_batch.wire.answers import read_page
from fireworks_batch.wire.codec import Codec, parse_json
from fireworks_batch.wire.requests import Request

__all__ = ["Api", "Listing", "if_there"]

_log = logging.getLogger("fireworks_batch.http")
_T = TypeVar("_T")


@attrs.frozen(kw_only=True, eq=False)
class Api:
    """The API of one client, with the settings, the clocks and the randomness of this client.

    `BatchClient` makes one `Api`, and gives it to everything that sends requests.
    """

    base_url: str
    """The API's URL, without ``/v1``."""

    session: Session
    """The HTTP session, with the gate that all requests pass."""

    transport: Transport
    """Sends requests, and opens transfers."""

    account: Account
    """The account's id, given or learned from the server."""

    codec: Codec
    """Converts JSON to models, and models to JSON."""

    poll: PollPolicy
    """The policy of waits that have no policy of their own."""

    request_timeout: float
    """Seconds for one request."""

    time_scale: float
    """Seconds of this clock for one second of the server's clock."""

    clock: Callable[[], float]
    """Returns the monotonic time of the running loop, in seconds."""

    wall: Callable[[], datetime]
    """Returns the time of day, aware, in UTC."""

    draw: Callable[[], float]
    """Returns a random number from 0 up to 1."""

    # --- Calls ----------------------------------------------------------------------------------

    async def account_id(self) -> str:
        """Return the account's id, looked up if it is not known.

        Raises:
            ConfigurationError: The key sees no account, or several.
            ClientStateError: The client is closed, or belongs to another loop.
            FireworksBatchError: The look-up failed.
        """
        if self.account.id is not None:
            return self.account.id
        # A look-up that another event loop has begun would never wake this caller.
        self.session.ready()
        return await self.account.resolve(self.transport.send)

    async def delete(self, request: Request) -> None:
        """Send a DELETE, with repeats; a 404 is a success if an earlier answer was lost.

        Raises:
            NotFoundError: There is no such resource.
            ResponseDecodeError: The answer is not JSON: the API may not have got the request.
            FireworksBatchError: The call failed.
        """
        try:
            answer = await self.transport.send(request)
        except NotFoundError as refusal:
            if not (refusal.from_api and refusal.lost_before):
                raise
            return
        if answer.body.strip():  # a page of a proxy deletes nothing
            parse_json(answer.body)

    # --- Names ----------------------------------------------------------------------------------

    def job_name(self, job: JobLike) -> JobName:
        """Return the id of a job, and its account if that is given.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

        Raises:
            ConfigurationError: The job is malformed, or belongs to another account or host.
        """
        if isinstance(job, JobRef):
            if job.base_url != self.base_url:
                raise ConfigurationError(
                    f"job {job.job_id!r} belongs to another host, {job.base_url}; this client's "
                    f"is {self.base_url}"
                )
            name = JobName(job.account_id, job.job_id)
        else:
            name = parse_job_name(job.name if isinstance(job, BatchInferenceJob) else job)
        self._check_account("job", name.job_id, name.account_id)
        return name

    def job_ref(self, name: JobName) -> JobRef | None:
        """Return a reference to a job; None if the account is not known yet."""
        account_id = name.account_id or self.account.id
        return JobRef(account_id, name.job_id, self.base_url) if account_id else None

    def dataset_name(self, dataset: DatasetLike) -> DatasetName:
        """Return the id of a dataset, and its account if that is given.

        Args:
            dataset: The dataset's id or resource name, or a dataset fetched before.

        Raises:
            ConfigurationError: The dataset is malformed, or belongs to another account.
        """
        name = parse_dataset_name(dataset.name if isinstance(dataset, Dataset) else dataset)
        self._check_account("dataset", name.dataset_id, name.account_id)
        return name

    def _check_account(self, kind: str, id_: str, account_id: str | None) -> None:
        if account_id and self.account.id and account_id != self.account.id:
            raise ConfigurationError(
                f"{kind} {id_!r} belongs to account {account_id!r}; this client's is "
                f"{self.account.id!r}"
            )

    # --- Waits ----------------------------------------------------------------------------------

    @property
    def longest_timeout(self) -> float:
        """Seconds that a wait may last as long as the job's own time limit is unknown."""
        return (LONGEST_TIME_LIMIT + EXPIRY_GRACE) * self.time_scale


async def if_there(asking: Awaitable[_T]) -> _T | None:
    """Return the result of a request; None if the API answers that the resource does not exist.

    Only a 404 of the API itself counts. A proxy's 404 does not say whether the resource exists.

    Raises:
        NotFoundError: Another server than the API answered 404.
        FireworksBatchError: The request failed for another reason.
    """
    try:
        return await asking
    except NotFoundError as refusal:
        if not refusal.from_api:
            raise
        return None


# --- Listings -----------------------------------------------------------------------------------


# With a filter, pages may be empty, but hardly so many in a row. They stand for 200,000 items.
_MOST_EMPTY: Final = 1000


class Listing(AsyncIterator[_T], Generic[_T]):
    """An async iterator over the items of all pages; one page is in memory at a time.

    A page is requested when its first item is needed. The iteration can be left at any time, and
    nothing has to be closed. A listing raises `ResponseDecodeError` if the server returns a page
    token a second time, or if a thousand pages in a row are empty.
    """

    _api: Api
    _key: str
    _ask: Callable[[str, str], Request]
    _read: Callable[[Any], _T]
    _items: deque[_T]
    _token: str | None = ""
    _tokens: set[str]
    _empty: int

    @classmethod
    def _made(
        cls,
        api: Api,
        key: str,
        ask: Callable[[str, str], Request],
        read: Callable[[Any], _T],
    ) -> Self:
        """Return a listing; nothing is sent before the first item is needed.

        Args:
            api: The API that is asked.
            key: The member of a page that holds the items.
            ask: Returns the request for a page. The arguments are the account's id and the page's
                token, which is empty for the first page.
            read: Makes an item from its JSON value.
        """
        self = cls()
        self._api = api
        self._key = key
        self._ask = ask
        self._read = read
        self._items = deque()
        self._tokens = set()
        self._empty = 0
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        while not self._items:
            if self._token is None:
                raise StopAsyncIteration
            await self._fetch(self._token)
        return self._items.popleft()

    async def _fetch(self, token: str) -> None:
        request = self._ask(await self._api.account_id(), token)
        answer = await self._api.transport.send(request)
        page = read_page(parse_json(answer.body), self._key)
        if page.next_page_token in self._tokens:
            problem = f"nextPageToken: {page.next_page_token[:40]!r} came before"
            raise ResponseDecodeError(
                f"{request}: the listing repeats a page: {problem}", problems=[problem]
            )
        self._tokens.add(page.next_page_token)
        self._token = page.next_page_token or None
        self._items.extend(self._readable(page.items))
        self._empty = 0 if self._items else self._empty + 1
        if self._empty >= _MOST_EMPTY and self._token is not None:
            problem = f"nextPageToken: {self._empty:,} pages in a row had no items"
            raise ResponseDecodeError(
                f"{request}: the listing does not end: {problem}", problems=[problem]
            )

    def _readable(self, items: tuple[Any, ...]) -> list[_T]:
        """Read the items of a page. An item that cannot be read does not affect other items."""
        found: list[_T] = []
        for item in items:
            try:
                found.append(self._read(item))
            except ResponseDecodeError as error:
                fate = "left out" if error.partial is None else "kept, without these members"
                _log.warning("%s; this item of the listing is %s", error, fate)
                if error.partial is not None:
                    found.append(error.partial)
        return found
