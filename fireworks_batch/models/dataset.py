"""A dataset as a frozen value. Performs no I/O."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

import attrs

from fireworks_batch.models.job import Status
from fireworks_batch.models.names import account_in
from fireworks_batch.models.states import DatasetFormat, DatasetState, EncryptionState
from fireworks_batch.models.validators import whole_number

__all__ = ["Dataset", "DatasetLike", "Limits"]


_GIB = 1024**3


@attrs.frozen(kw_only=True)
class Limits:
    """The largest dataset to make, and the largest file to upload through the API.

    Raises:
        ConfigurationError: A value is not a whole number of at least 1.
    """

    max_rows: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole_number())
    )
    """Most rows of one dataset, 1 or more. None means no limit."""

    max_bytes: int = attrs.field(default=80 * _GIB, validator=whole_number())
    """Most bytes of one dataset, 1 or more; the server's limit is 80 GiB."""

    max_upload_bytes: int = attrs.field(default=150_000_000, validator=whole_number())
    """Most bytes of a file that is uploaded through the API, 1 or more. A larger file is uploaded
    to the storage, with a signed URL."""


@attrs.frozen(kw_only=True, repr=False)
class Dataset:
    """A dataset, as the server described it at one moment.

    The source of the dataset (``userUploaded`` and the like) stands in ``extra``.
    """

    name: str
    """The resource name, ``accounts/{account}/datasets/{id}``."""

    state: DatasetState = DatasetState.UNSPECIFIED
    """UPLOADING, then READY. There is no failed state; see ``status``."""

    display_name: str = ""
    """A name for people."""

    create_time: datetime | None = None
    """When the dataset was created, aware, in UTC."""

    update_time: datetime | None = None
    """When the record last changed, for any reason."""

    created_by: str = ""
    """The e-mail address of the creator."""

    status: Status | None = None
    """The server's report of the dataset's health."""

    example_count: int = 0
    """Number of rows, as the creator declared it. The server does not count rows (seen live)."""

    estimated_token_count: int = 0
    """The server's estimate of the dataset's tokens."""

    average_turn_count: float = 0.0
    """The server's estimate of the turns of a row."""

    format: DatasetFormat = DatasetFormat.UNSPECIFIED
    """The format of the rows, CHAT or COMPLETION, for example."""

    external_url: str = ""
    """The URL (``gs://...``) of files that the vendor does not store; empty for other datasets."""

    source_job_name: str = ""
    """The resource name of the job that made the dataset; empty if the server names none."""

    encryption_state: EncryptionState = EncryptionState.UNSPECIFIED
    """How the dataset is encrypted."""

    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False)
    """Members of the answer that this release does not know, as they came."""

    @property
    def id(self) -> str:
        """The last segment of the resource name."""
        return self.name.rpartition("/")[2]

    @property
    def account_id(self) -> str:
        """The account in the resource name; empty if the name has another form."""
        return account_in(self.name)

    @property
    def is_ready(self) -> bool:
        """Whether the dataset is READY, which means uploaded in full and usable by jobs."""
        return self.state == DatasetState.READY

    def __repr__(self) -> str:
        return f"<Dataset {self.id!r} {self.state}, {self.example_count} rows>"


DatasetLike: TypeAlias = str | Dataset
"""A dataset's id, its resource name, or the dataset as fetched before."""
