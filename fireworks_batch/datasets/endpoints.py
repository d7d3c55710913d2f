"""``client.datasets``: the endpoints, uploads and downloads."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs

from fireworks_batch.connection.api import Api, Listing
from fireworks_batch.datasets.download import DownloadOptions, Progress, download
from fireworks_batch.datasets.source import Source
from fireworks_batch.datasets.upload import Upload, UploadOptions
from fireworks_batch.models.dataset import Dataset, DatasetLike, Limits
from fireworks_batch.models.errors import (
    APIStatusError,
    ConflictError,
    DatasetConflictError,
    NotFoundError,
    TransportError,
)
from fireworks_batch.models.names import DatasetName, refuse_another
from fireworks_batch.models.states import DatasetFormat, DatasetState
from fireworks_batch.models.validators import new_id, published, text, whole_number
from fireworks_batch.wire.codec import mask_paths
from fireworks_batch.wire.requests import (
    ListQuery,
    create_dataset,
    delete_dataset,
    get_dataset,
    list_datasets,
)

__all__ = ["Datasets"]

_LIMITS: Final = Limits()

_optional_text: Final = attrs.validators.optional(text)


def _format(value: DatasetFormat | str | None) -> DatasetFormat | None:
    return published("format", DatasetFormat, value) if value else None


@attrs.frozen(kw_only=True)
class CreateOptions:
    """The options of `Datasets.create`."""

    dataset_id: str = attrs.field(validator=new_id("dataset id"))
    example_count: int = attrs.field(validator=whole_number())
    display_name: str | None = attrs.field(validator=_optional_text)
    format: DatasetFormat | None = attrs.field(converter=_format)


class Datasets:
    """The account's datasets: ``client.datasets``."""

    _api: Api

    @classmethod
    def _made(cls, api: Api) -> Self:
        """Return the datasets of a client's API."""
        self = cls()
        self._api = api
        return self

    async def get(self, dataset: DatasetLike, *, read_mask: Sequence[str] = ()) -> Dataset:
        """Fetch one dataset's record.

        Args:
            dataset: The dataset's id or resource name, or a dataset fetched before.

            read_mask: Members to return, in snake_case; all members if empty. ``name`` is always
                returned, and members that are not returned have their defaults.

        Returns:
            The dataset, as the server describes it now.

        Raises:
            ConfigurationError: The dataset or the mask is malformed, or the dataset belongs to
                another account.
            NotFoundError: There is no such dataset.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read; ``partial`` has the readable members. Or
                the answer shows another dataset.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/get-dataset
        name, mask = self._api.dataset_name(dataset), mask_paths(read_mask)
        account_id = await self._account_of(name)
        answer = await self._api.transport.send(get_dataset(account_id, name.dataset_id, mask))
        return self._read(answer.body, name.dataset_id)

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
            filter: An AIP-160 expression with the wire's names, sent unchanged. None lists all
                datasets.

            order_by: Members to sort by, sent unchanged. None means the server's order, which is
                documented as the order of names.

            page_size: Datasets in one page, 1 to 200.

            read_mask: Members to return, in snake_case; all members if empty. ``name`` is always
                returned, and members that are not returned have their defaults.

        Returns:
            An async iterator over the datasets, in the server's order. A page is requested when its
            first dataset is needed, and one page is in memory at a time. If a member of a dataset
            cannot be read, a warning is logged, and the member has its default. A dataset without a
            readable name is left out, with a warning.

        Raises:
            ConfigurationError: An argument is malformed.
            APIStatusError: While iterating, like the following errors: the server refuses.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: A page cannot be read, or the listing does not end.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/list-datasets
        query = ListQuery(
            page_size=page_size,
            filter=filter,
            order_by=order_by,
            read_mask=mask_paths(read_mask),
        )

        def read(item: Any) -> Dataset:
            return self._api.codec.structure(item, Dataset, required=("name",))

        return Listing._made(
            self._api,
            "datasets",
            lambda account_id, token: list_datasets(account_id, query, token),
            read,
        )

    async def create(
        self,
        dataset_id: str,
        *,
        example_count: int,
        display_name: str | None = None,
        format: DatasetFormat | str | None = None,  # noqa: A002 - the API's name
    ) -> Dataset:
        """Create a dataset's record, without content. `upload` creates the record itself.

        Args:
            dataset_id: The id: 1 to 63 characters of a-z, 0-9 and hyphen, with a letter first and
                no hyphen last.

            example_count: The number of rows, 1 or more. The server requires this number, but does
                not check it. The server computes a job's progress with it (seen live).

            display_name: A name for people; None for no name.

            format: The format of the rows; None to leave it unset.

        Returns:
            The dataset, in the state UPLOADING. If the answer to a request was lost, this is the
            dataset that the request created.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            DatasetConflictError: The id is taken.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read, or shows another dataset; the dataset
                may have been created.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/create-dataset
        options = CreateOptions(
            dataset_id=dataset_id,
            example_count=example_count,
            display_name=display_name,
            format=format,
        )
        account_id = await self._api.account_id()
        request = create_dataset(
            account_id,
            dataset_id,
            example_count=example_count,
            display_name=display_name,
            format=options.format.wire if options.format else None,
        )
        try:
            answer = await self._api.transport.send(request)
        except (APIStatusError, TransportError) as error:
            return await self._made_before(account_id, dataset_id, example_count, error)
        return self._read(answer.body, dataset_id)

    def _read(self, body: bytes, dataset_id: str) -> Dataset:
        dataset = self._api.codec.decode(body, Dataset, required=("name",))
        refuse_another("dataset", dataset.name, dataset_id)
        return dataset

    async def _made_before(
        self, account_id: str, dataset_id: str, count: int, failure: APIStatusError | TransportError
    ) -> Dataset:
        """Return the dataset that a request without an answer created, or raise the failure."""
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
            dataset: The dataset's id or resource name, or a dataset fetched before.

        Raises:
            ConfigurationError: The dataset is malformed, or belongs to another account.
            NotFoundError: There is no such dataset. Not raised if an earlier request of this call
                may have deleted the dataset.
            APIStatusError: The server refuses for another reason.
            ResponseDecodeError: The answer is not JSON, as that of a proxy: the dataset may still
                be there.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/delete-dataset
        name = self._api.dataset_name(dataset)
        account_id = await self._account_of(name)
        await self._api.delete(delete_dataset(account_id, name.dataset_id))

    async def upload(
        self,
        source: Source,
        *,
        dataset_id: str | None = None,
        reuse: bool = False,
        limits: Limits = _LIMITS,
        on_progress: Progress | None = None,
    ) -> Dataset:
        """Upload rows as a dataset, and wait until it is READY.

        The source is read twice, off the event loop and in bounded memory. The first reading counts
        the rows, because the server needs their number first. The second reading sends the
        content. Content of up to ``limits.max_upload_bytes`` is sent through the API. Larger
        content is sent to the storage, with a signed URL.

        The call may be repeated after a crash. By default the id of the dataset derives from the
        content. Content that is READY under such an id is not sent again, and an unfinished upload
        is continued.

        Args:
            source: The path of a file of JSON lines, the content as bytes, or an async iterable of
                bytes. An iterable may cut its content anywhere; the content is stored in a
                temporary file.

            dataset_id: The id: 1 to 63 characters of a-z, 0-9 and hyphen, with a letter first and
                no hyphen last. By default ``d-`` and 40 digits of the content's SHA-256.

            reuse: Whether to return a READY dataset of the given id without an upload. What the
                dataset holds is not checked.

            limits: The most rows and bytes of the dataset, and the most bytes that are sent through
                the API.

            on_progress: A plain function that is called in the event loop, with the bytes sent so
                far and the bytes in all. It is called at most once for each half MiB. The first
                number falls if the content has to be sent again. An exception that the function
                raises ends the upload.

        Returns:
            The dataset, in the state READY.

        Raises:
            ConfigurationError: An argument is malformed. Or the dataset is encrypted with a key of
                the customer (CMEK); nothing was uploaded. The vendor's client refuses this too.
            LocalFileError: The source cannot be read, or was changed while it was sent.
            InputRowsError: The source has no rows, or more rows or bytes than the limits allow. Or
                the server refuses the content.
            DatasetConflictError: The given id has a dataset that is READY, that was created for
                another number of rows, or that another client uploaded during the call.
            WaitTimeoutError: The content is uploaded, but the dataset was not READY in an hour.
            PollFailureError: The content is uploaded, but polls of the dataset failed for longer
                than the ``failure_budget`` of the client's policy.
            NotFoundError: The dataset was deleted during the call.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: An answer of the API cannot be read.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/upload-dataset-files
        options = UploadOptions(
            dataset_id=dataset_id, reuse=reuse, limits=limits, on_progress=on_progress
        )
        return await Upload(self._api, options).run(source)

    async def download(
        self,
        dataset: DatasetLike,
        directory: str | os.PathLike[str],
        *,
        lineage: bool = False,
        on_progress: Progress | None = None,
    ) -> tuple[Path, ...]:
        """Download all files of a dataset.

        A file is written under a temporary name in the directory, in bounded memory. If the
        connection breaks, the download is resumed at this point, with a new URL. The whole file is
        compared with the length and the MD5 that the server announces. Then the file gets its own
        name, and replaces an existing file of this name.

        Args:
            dataset: The dataset's id or resource name, or a dataset fetched before.

            directory: The directory for the files, which is made if it does not exist. Unsafe
                characters of the server's names are percent-encoded, so that no file is written
                outside the directory.

            lineage: Whether to download all datasets of the continuation chain. The files of each
                dataset are written to a folder that is named after the dataset's id.

            on_progress: A plain function that is called in the event loop, with the bytes done so
                far and the bytes of all files. It is called at most once for each half MiB, and at
                the end of each file. The first number falls if a file is downloaded from its
                beginning again. An exception that the function raises ends the download.

        Returns:
            The paths of the files, sorted.

        Raises:
            ConfigurationError: An argument is malformed, or the dataset belongs to another
                account.
            NotFoundError: There is no such dataset.
            LocalFileError: A file cannot be written: no permission, a full disk. The temporary file
                is removed, and no file with a part of the content is left.
            ResponseDecodeError: The server's list of files cannot be read.
            APIStatusError: The server or the storage refuses for another reason.
            TransportError: As many requests in a row as the retry policy allows gave no new bytes,
                bytes that do not match the announced MD5 or length, or compressed bytes, which were
                not asked for. Or the signed URL is not https, or has credentials.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/get-dataset-download-endpoint
        name = self._api.dataset_name(dataset)
        options = DownloadOptions(directory=directory, lineage=lineage, on_progress=on_progress)
        account_id = await self._account_of(name)
        return await download(self._api, account_id, name.dataset_id, options)

    async def _account_of(self, name: DatasetName) -> str:
        return name.account_id or await self._api.account_id()
