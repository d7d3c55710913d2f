"""Requests: each endpoint of the API as a function that returns a request, a plain value.

Performs no I/O.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import orjson

from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.validators import text, whole_number

__all__ = [
    "ListQuery",
    "Request",
    "create_dataset",
    "create_job",
    "delete_dataset",
    "delete_job",
    "get_dataset",
    "get_download_urls",
    "get_job",
    "get_upload_urls",
    "list_accounts",
    "list_datasets",
    "list_jobs",
    "upload_form",
    "validate_upload",
]


@attrs.frozen(kw_only=True)
class Request:
    """One request to the API."""

    method: str
    """The HTTP method."""

    path: str
    """The path below the base URL, percent-encoded, without a query."""

    query: str = ""
    """The encoded query, without the question mark."""

    body: bytes | None = None
    """The JSON to send; None for a request without a body."""

    repeatable: bool = False
    """Whether sending the request twice has the same effect as sending it once."""

    not_found: str = attrs.field(default="", eq=False)
    """What a 404 of the API means, in words for the error; empty for a request to storage."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _given(value: str | None) -> str:
    return "" if value is None else value


@attrs.frozen(kw_only=True)
class ListQuery:
    """What to list, and how; the same for all pages of one listing.

    Raises:
        ConfigurationError: A member is malformed.
    """

    page_size: int = attrs.field(default=200, validator=whole_number(least=1, most=200))
    """Items of a page, 1 to 200. The server would reduce a larger number to 200."""

    filter: str = attrs.field(default="", converter=_given, validator=text)
    """An AIP-160 expression. If empty or None, everything is listed."""

    order_by: str = attrs.field(default="", converter=_given, validator=text)
    """Fields to sort by; the server's own order if empty or None."""

    read_mask: str = ""
    """The wire's paths of the members to return; empty for all members."""

    def encoded(self, page_token: str) -> str:
        """Return the URL's query for one page."""
        members = {
            "pageSize": str(self.page_size),
            "pageToken": page_token,
            "filter": self.filter,
            "orderBy": self.order_by,
            "readMask": self.read_mask,
        }
        return urlencode({name: value for name, value in members.items() if value})


# --- Accounts -----------------------------------------------------------------------------------


def list_accounts() -> Request:
    """Ask which accounts the key can see."""
    return Request(
        method="GET",
        path="/v1/accounts",
        query="pageSize=20",
        repeatable=True,
        not_found="the server at base_url does not list accounts",
    )


# --- Jobs ---------------------------------------------------------------------------------------


def get_job(account_id: str, job_id: str, mask: str = "") -> Request:
    """Ask for one job, or for the members of one job that a read mask names."""
    return _get(_job(account_id, job_id), mask, _no_job(account_id, job_id))


def list_jobs(account_id: str, query: ListQuery, page_token: str = "") -> Request:
    """Ask for one page of the account's jobs, the first page without a token."""
    return _list(account_id, _jobs(account_id), query, page_token)


def create_job(account_id: str, job_id: str, body: Mapping[str, Any]) -> Request:
    """Create a job under a chosen id, so that a repeated request cannot create a second job."""
    query = urlencode({"batchInferenceJobId": job_id})
    not_found = (
        f"job {job_id!r} cannot be created: its model, a dataset that it names, or account "
        f"{account_id!r} does not exist"
    )
    return _post(_jobs(account_id), body, query=query, not_found=not_found)


def delete_job(account_id: str, job_id: str) -> Request:
    """Stop a job and remove it."""
    return _delete(_job(account_id, job_id), _no_job(account_id, job_id))


# --- Datasets -----------------------------------------------------------------------------------


def get_dataset(account_id: str, dataset_id: str, mask: str = "") -> Request:
    """Ask for one dataset, or for the members of one dataset that a read mask names."""
    return _get(_dataset(account_id, dataset_id), mask, _no_dataset(account_id, dataset_id))


def list_datasets(account_id: str, query: ListQuery, page_token: str = "") -> Request:
    """Ask for one page of the account's datasets, the first page without a token."""
    return _list(account_id, _datasets(account_id), query, page_token)


def create_dataset(
    account_id: str,
    dataset_id: str,
    *,
    example_count: int,
    display_name: str | None = None,
    format: str | None = None,  # noqa: A002 - the API's name
) -> Request:
    """Create a dataset under a chosen id, without content.

    Args:
        account_id: The account's id.
        dataset_id: The dataset's id.
        example_count: The number of its rows, 1 or more.
        display_name: A name for people; None or empty for none.
        format: The wire name of the rows' format; None or empty for none.
    """
    dataset = {"userUploaded": {}, "exampleCount": str(example_count)}
    dataset |= {"displayName": display_name} if display_name else {}
    dataset |= {"format": format} if format else {}
    body = {"datasetId": dataset_id, "dataset": dataset}
    return _post(_datasets(account_id), body, not_found=_no_account(account_id))


def delete_dataset(account_id: str, dataset_id: str) -> Request:
    """Remove a dataset with its files."""
    return _delete(_dataset(account_id, dataset_id), _no_dataset(account_id, dataset_id))


def upload_form(account_id: str, dataset_id: str) -> Request:
    """Upload a small file as a form, which the caller sends as the body."""
    return Request(
        method="POST",
        path=f"{_dataset(account_id, dataset_id)}:upload",
        repeatable=True,
        not_found=_no_dataset(account_id, dataset_id),
    )


def get_upload_urls(account_id: str, dataset_id: str, sizes: Mapping[str, int]) -> Request:
    """Ask for signed URLs to upload files to. Each such request replaces the dataset's files.

    Args:
        account_id: The account's id.
        dataset_id: The dataset's id.
        sizes: The length in bytes of each file, by its name.
    """
    body = {"filenameToSize": {name: str(size) for name, size in sizes.items()}}
    path = f"{_dataset(account_id, dataset_id)}:getUploadEndpoint"
    return _post(path, body, not_found=_no_dataset(account_id, dataset_id))


def validate_upload(account_id: str, dataset_id: str) -> Request:
    """Tell the server that all files are uploaded."""
    path = f"{_dataset(account_id, dataset_id)}:validateUpload"
    return _post(path, {}, not_found=_no_dataset(account_id, dataset_id))


def get_download_urls(account_id: str, dataset_id: str, *, lineage: bool = False) -> Request:
    """Ask for signed URLs of a dataset's files, or of all datasets of its continuation chain.

    The request must have no body: the server's front end refuses a GET with a body (seen live).
    """
    return Request(
        method="GET",
        path=f"{_dataset(account_id, dataset_id)}:getDownloadEndpoint",
        query="downloadLineage=true" if lineage else "",
        repeatable=True,
        not_found=_no_dataset(account_id, dataset_id),
    )


# --- Parts of requests --------------------------------------------------------------------------


def _get(path: str, mask: str, not_found: str) -> Request:
    query = urlencode({"readMask": mask}) if mask else ""
    return Request(method="GET", path=path, query=query, repeatable=True, not_found=not_found)


def _list(account_id: str, path: str, query: ListQuery, page_token: str) -> Request:
    return Request(
        method="GET",
        path=path,
        query=query.encoded(page_token),
        repeatable=True,
        not_found=_no_account(account_id),
    )


def _post(path: str, body: Mapping[str, Any], *, query: str = "", not_found: str) -> Request:
    try:
        encoded = orjson.dumps(body)
    except orjson.JSONEncodeError as exc:
        # For example a lone surrogate, or an integer of more than 64 bits.
        raise ConfigurationError(
            f"POST {path} cannot be sent as JSON: {exc}: {body!r:.300}"
        ) from None
    return Request(
        method="POST", path=path, query=query, body=encoded, repeatable=True, not_found=not_found
    )


def _delete(path: str, not_found: str) -> Request:
    return Request(method="DELETE", path=path, repeatable=True, not_found=not_found)


def _no_account(account_id: str) -> str:
    return f"there is no account {account_id!r}"


def _no_job(account_id: str, job_id: str) -> str:
    return f"there is no job {job_id!r} in account {account_id!r}"


def _no_dataset(account_id: str, dataset_id: str) -> str:
    return f"there is no dataset {dataset_id!r} in account {account_id!r}"


@lru_cache  # a program uses few names
def _segment(name: str) -> str:
    return quote(name, safe="")


def _account(account_id: str) -> str:
    return f"/v1/accounts/{_segment(account_id)}"


def _jobs(account_id: str) -> str:
    return f"{_account(account_id)}/batchInferenceJobs"


def _job(account_id: str, job_id: str) -> str:
    return f"{_jobs(account_id)}/{_segment(job_id)}"


def _datasets(account_id: str) -> str:
    return f"{_account(account_id)}/datasets"


def _dataset(account_id: str, dataset_id: str) -> str:
    return f"{_datasets(account_id)}/{_segment(dataset_id)}"
