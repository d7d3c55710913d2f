"""Datasets: the endpoints."""

from collections.abc import Sequence
from typing import Any

from fireworks_batch import calls
from fireworks_batch.account import Account
from fireworks_batch.calls import Request
from fireworks_batch.dataset_model import Dataset, DatasetLike
from fireworks_batch.deleting import delete_once
from fireworks_batch.errors import (
    APIStatusError,
    ConfigurationError,
    ConflictError,
    DatasetConflictError,
    NotFoundError,
    TransportError,
)
from fireworks_batch.listing import Listing, list_query
from fireworks_batch.names import DatasetName, check_new_id, parse_dataset_name
from fireworks_batch.states import DatasetFormat, DatasetState
from fireworks_batch.transport import Transport
from fireworks_batch.wire import Codec, mask_paths

__all__ = ["Datasets"]


class Datasets:
    """The account's datasets: ``client.datasets``."""

    def __init__(self, transport: Transport, codec: Codec, account: Account) -> None:
        """Take what a client shares between its resources; made by `BatchClient`."""
        self._transport = transport
        self._codec = codec
        self._account = account

    async def get(self, dataset: DatasetLike, *, read_mask: Sequence[str] = ()) -> Dataset:
        """Fetch one dataset's record.

        Args:
            dataset: Id, resource name, or a dataset fetched before.

            read_mask: Members to return, in snake_case; all of them if empty. ``name`` always
                comes, the rest is at defaults.

        Raises:
            ConfigurationError: The dataset or the mask is malformed, or it is not of this account.
            NotFoundError: There is no such dataset.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read; ``partial`` has what could be.
        """
        # https://docs.fireworks.ai/api-reference/get-dataset
        name, mask = self._name(dataset), mask_paths(read_mask)
        account_id = await self._account_of(name)
        answer = await self._transport.send(calls.get_dataset(account_id, name.dataset_id, mask))
        return self._codec.decode(answer.body, Dataset, required=("name",))

    def list(
        self,
        *,
        filter: str | None = None,  # noqa: A002 - the API's name
        order_by: str | None = None,
        page_size: int = 200,
        read_mask: Sequence[str] = (),
    ) -> Listing[Dataset]:
        """List the account's datasets, of all pages.

        Args:
            filter: An AIP-160 expression of the wire's names, passed on as it is.

            order_by: Members to sort by, passed on as they are. By default the server's order,
                which is documented as by name.

            page_size: Datasets a request, 1 to 200.

            read_mask: Members to return, in snake_case; all of them if empty.

        Returns:
            An async iterator in the server's order. It asks for a page when it is needed, and
            holds one at a time.

        Raises:
            ConfigurationError: An argument is malformed.
            APIStatusError: Later, as all that follow: the server refuses.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: A page cannot be read, or the pages go in a circle.
        """
        # https://docs.fireworks.ai/api-reference/list-datasets
        query = list_query(filter, order_by, page_size, mask_paths(read_mask))

        async def ask(token: str) -> Request:
            account_id = await self._account.resolve(self._transport.send)
            return calls.list_datasets(account_id, query, token)

        def read(item: Any) -> Dataset:
            return self._codec.structure(item, Dataset, required=("name",))

        return Listing("datasets", ask=ask, send=self._transport.send, read=read)

    async def create(
        self,
        dataset_id: str,
        *,
        example_count: int,
        display_name: str | None = None,
        format: DatasetFormat | str | None = None,  # noqa: A002 - the API's name
    ) -> Dataset:
        """Create a dataset's record, without content; `upload` does this and all that follows.

        Args:
            dataset_id: 1 to 63 characters of a-z, 0-9 and hyphen, a letter first.

            example_count: Its rows, 1 or more. The server needs the number, does not check it,
                and reckons a job's progress by it (seen live).

            display_name: A name for people.

            format: What its rows are; may stay unset.

        Returns:
            The dataset, UPLOADING. Where an answer was lost, the one that the lost attempt made.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            DatasetConflictError: The id is taken.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
        """
        # https://docs.fireworks.ai/api-reference/create-dataset
        check_new_id("dataset id", dataset_id)
        if type(example_count) is not int or example_count < 1:
            raise ConfigurationError(
                f"example_count must be a whole number of at least 1, not {example_count!r}"
            )
        body: dict[str, Any] = {"userUploaded": {}, "exampleCount": str(example_count)}
        body |= {"displayName": display_name} if display_name else {}
        body |= {"format": DatasetFormat(format).wire} if format else {}
        account_id = await self._account.resolve(self._transport.send)
        request = calls.create_dataset(account_id, dataset_id, body)
        try:
            answer = await self._transport.send(request)
        except (APIStatusError, TransportError) as error:
            return await self._made_before(account_id, dataset_id, example_count, error)
        return self._codec.decode(answer.body, Dataset, required=("name",))

    async def _made_before(
        self, account_id: str, dataset_id: str, count: int, failure: APIStatusError | TransportError
    ) -> Dataset:
        """Return the dataset that a lost attempt made, or raise what is the matter."""
        lost = failure.lost_before if isinstance(failure, APIStatusError) else 1
        if not lost and not isinstance(failure, ConflictError):
            raise failure
        try:
            found = await self.get(f"accounts/{account_id}/datasets/{dataset_id}")
        except (NotFoundError, TransportError):
            raise failure from None
        if lost and found.state == DatasetState.UPLOADING and found.example_count == count:
            return found
        raise DatasetConflictError(
            f"dataset id {dataset_id!r} is taken: it is {found.state}, with "
            f"{found.example_count} rows; choose another dataset_id"
        )

    async def delete(self, dataset: DatasetLike) -> None:
        """Remove a dataset with its files.

        Args:
            dataset: Id, resource name, or a dataset fetched before.

        Raises:
            ConfigurationError: The dataset is malformed, or not of this account.
            NotFoundError: There is no such dataset; not raised where an earlier attempt of this
                call may have deleted it.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
        """
        # https://docs.fireworks.ai/api-reference/delete-dataset
        name = self._name(dataset)
        account_id = await self._account_of(name)
        await delete_once(self._transport.send, calls.delete_dataset(account_id, name.dataset_id))

    def _name(self, dataset: DatasetLike) -> DatasetName:
        name = parse_dataset_name(dataset.name if isinstance(dataset, Dataset) else dataset)
        if name.account_id and self._account.id and name.account_id != self._account.id:
            raise ConfigurationError(
                f"dataset {name.dataset_id!r} belongs to account {name.account_id!r}; this "
                f"client's is {self._account.id!r}"
            )
        return name

    async def _account_of(self, name: DatasetName) -> str:
        return name.account_id or await self._account.resolve(self._transport.send)
