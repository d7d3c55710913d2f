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
from fireworks_batch.models.validators import new_id, text, whole_number
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


@attrs.frozen(kw_only=True)
class CreateOptions:
    """The options of `Datasets.create`."""

    dataset_id: str = attrs.field(validator=new_id("dataset id"))
    example_count: int = attrs.field(validator=whole_number())
    display_name: str | None = attrs.field(validator=_optional_text)
    format: DatasetFormat | str | None = attrs.field(validator=_optional_text)


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
            dataset: Id, resource name, or a dataset fetched before.

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
                it shows another dataset.
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
            filter: An AIP-160 expression with the wire's names, passed on unchanged.

            order_by: Members to sort by, passed on unchanged. By default the server's order,
                which is documented as by name.

            page_size: Datasets a page, 1 to 200.

            read_mask: Members to return, in snake_case; all members if empty.

        Returns:
            An async iterator in the server's order. A page is requested when its first item is
            needed, and one page is in memory at a time.

        Raises:
            ConfigurationError: An argument is malformed.
            APIStatusError: While iterating, like the following errors: the server refuses.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: A page cannot be read, or the pages go in a circle.
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
        """Create a dataset's record, without content; `upload` creates the record by itself.

        Args:
            dataset_id: The id: 1 to 63 characters of a-z, 0-9 and hyphen, with a letter first and
                no hyphen last.

            example_count: The number of rows, 1 or more. The server needs the number, does not
                check it, and computes a job's progress with it (seen live).

            display_name: A name for people; None for no name.

            format: The format of the rows; None to leave it unset.

        Returns:
            The dataset, UPLOADING. If the answer to an attempt was lost, the dataset that this
            attempt created.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            DatasetConflictError: The id is taken.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read, or shows another dataset; the dataset
                may have been created.
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
            format=DatasetFormat(options.format).wire if options.format else None,
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
        """Return the dataset that an attempt without an answer created, or raise the failure."""
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
            ConfigurationError: The dataset is malformed, or belongs to another account.
            NotFoundError: There is no such dataset; not raised if an earlier attempt of this
                call may have deleted it.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
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

        The source is read twice, off the event loop and in bounded memory: first its rows are
        counted, since the server needs their number beforehand, then the source is sent. Content
        of up to ``limits.max_upload_bytes`` goes through the API, larger content goes to storage
        by a signed URL.

        The call may be repeated after a crash: content that is READY under an id that derives from
        it is not sent again, and an unfinished upload is continued.

        Args:
            source: The path of a file of JSON lines, its content, or an async iterable of pieces
                of it, however they are cut. An iterable's content is stored in a temporary file.

            dataset_id: The id: 1 to 63 characters of a-z, 0-9 and hyphen, with a letter first and
                no hyphen last. By default ``d-`` and 40 digits of the content's SHA-256.

            reuse: Take a READY dataset of the given id for this content, whatever it holds.

            limits: How large the content may be, and from which size on it goes to storage.

            on_progress: A function that is called in the event loop, at most once for each half
                MiB, with the bytes that were sent and the bytes in all. The first number falls
                when an attempt fails. An exception that the function raises ends the upload.

        Returns:
            The dataset, READY.

        Raises:
            ConfigurationError: An argument is malformed.
            LocalFileError: The source cannot be read, or was changed while it was sent.
            InputRowsError: The source has no rows, or more than the limits allow; or the server
                refuses its content.
            DatasetConflictError: A dataset of the given id is READY, was created for another
                number of rows, or was uploaded by another client meanwhile.
            WaitTimeoutError: The content is uploaded, and the dataset was not READY within an hour.
            PollFailureError: The content is uploaded, and polls of the dataset failed for longer
                than the ``failure_budget`` of the client's policy.
            NotFoundError: The dataset was deleted meanwhile.
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

        A file is streamed to a temporary name in the directory, in bounded memory. A download is
        resumed where the connection broke, each time by a fresh URL. The whole file is compared
        with the length and the MD5 that the server announces, and then given its own name; it
        replaces a file of that name.

        Args:
            dataset: Id, resource name, or a dataset fetched before.

            directory: The directory of the files; made unless it exists. Unsafe characters of the
                server's names are percent-encoded, so that no file is written outside of it.

            lineage: Download all datasets of the continuation chain, each into a folder of its
                own, named after its id.

            on_progress: A function that is called in the event loop, at most once for each half
                MiB and at the end of each file, with the bytes done and the bytes of all files.
                The first number falls when a file is started over. An exception that the function
                raises ends the download.

        Returns:
            The paths of the files, sorted.

        Raises:
            ConfigurationError: An argument is malformed, or the dataset belongs to another
                account.
            NotFoundError: There is no such dataset.
            LocalFileError: A file cannot be written: no permission, a full disk. No temporary
                file is left, and no part of a file under its own name.
            ResponseDecodeError: The server's list of files cannot be read.
            APIStatusError: The server or the storage refuses for another reason.
            TransportError: As many attempts in a row as the retry policy allows brought no new
                bytes, or other bytes than announced.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/get-dataset-download-endpoint
        name = self._api.dataset_name(dataset)
        options = DownloadOptions(directory=directory, lineage=lineage, on_progress=on_progress)
        account_id = await self._account_of(name)
        return await download(self._api, account_id, name.dataset_id, options)

    async def _account_of(self, name: DatasetName) -> str:
        return name.account_id or await self._api.account_id()
