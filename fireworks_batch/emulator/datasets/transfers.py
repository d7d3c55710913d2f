"""The answers to calls that upload and download the files of datasets."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from fireworks_batch.emulator.datasets.bucket import (
    CONTENT_TYPE,
    DOWNLOAD_SECONDS,
    LENGTH_RANGE,
    UPLOAD_SECONDS,
)
from fireworks_batch.emulator.datasets.dataset import (
    GET_UPLOAD_ENDPOINT,
    NOTHING,
    READY_AFTER,
    Dataset,
)
from fireworks_batch.emulator.datasets.endpoints import DATASET_PATH, DatasetEndpoints
from fireworks_batch.emulator.datasets.store import DatasetStore
from fireworks_batch.emulator.http.answers import Answer, answer_html, answer_json
from fireworks_batch.emulator.http.messages import read_message
from fireworks_batch.emulator.http.refusals import RefusalError, invalid
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.http.uploads import TooLargeError
from fireworks_batch.emulator.setting import Setting

_LIMITS: Final = {"150MB": 150_000_000, "150MiB": 150 * 2**20, "none": math.inf}
_FORM_BYTES: Final = 16_384
"""The most bytes that a form may add to its file."""


class DatasetTransfers:
    """The calls about the files of a dataset."""

    def __init__(
        self, setting: Setting, datasets: DatasetStore, endpoints: DatasetEndpoints
    ) -> None:
        self._clock = setting.clock
        self._rules = setting.rules
        self._datasets = datasets
        self._endpoints = endpoints
        self._most = _LIMITS[self._rules.upload_limit]

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("POST", DATASET_PATH + ":upload", self.upload)
        router.add("POST", DATASET_PATH + ":getUploadEndpoint", self.get_upload_endpoint)
        router.add("POST", DATASET_PATH + ":validateUpload", self.validate_upload)
        router.add("GET", DATASET_PATH + ":getDownloadEndpoint", self.get_download_endpoint)

    async def upload(self, call: Call) -> Answer:
        """Answer the upload of one file in a form. It makes the dataset READY."""
        dataset = await self._find_empty(call)
        upload = call.upload
        if upload is None:
            raise invalid("no form was sent")
        if (upload.request.content_length or 0) > self._most + _FORM_BYTES:
            return _too_large()
        try:
            name, file = await upload.store_part(self._datasets.bucket.files, most=self._most)
        except TooLargeError:
            return _too_large()
        if self._rules.concurrent_uploads == "first_wins":
            await self._find_empty(call)
        name = _base_name(name)
        if not file.size:
            raise invalid(f"file {name!r} is empty")
        now = self._clock.now()
        self._datasets.bucket.put(dataset.path(name), file, now)
        dataset.take_file(name, file.size, ready=now + READY_AFTER)
        return answer_json(
            {
                "id": dataset.name,
                "object": "file",
                "bytes": file.size,
                "created_at": int(self._clock.moment(now).timestamp()),
                "filename": name,
                "purpose": "dataset",
            }
        )

    async def get_upload_endpoint(self, call: Call) -> Answer:
        """Answer GetDatasetUploadEndpoint, and register the files that are to be uploaded."""
        dataset = await self._find_empty(call)
        sizes = read_message(GET_UPLOAD_ENDPOINT, call.body).get("filenameToSize")
        if not isinstance(sizes, Mapping) or not sizes:
            raise invalid("filename_to_size is required")
        for name, size in sizes.items():
            if name != _base_name(name) or size <= 0:
                raise invalid(f"invalid file {name!r} of {size} bytes")
        for name in dataset.registered.keys() - sizes.keys():
            self._datasets.bucket.delete(dataset.path(name))
        dataset.registered = dict(sizes)
        return answer_json(
            {"filenameToSignedUrls": {n: self._sign_put(call, dataset, n) for n in sizes}}
        )

    async def validate_upload(self, call: Call) -> Answer:
        """Answer ValidateDatasetUpload. All registered files must be there with their sizes."""
        dataset = await self._find_empty(call)
        read_message(NOTHING, call.body)
        if not dataset.registered:
            raise RefusalError("FAILED_PRECONDITION", "dataset has no files")
        for name, size in dataset.registered.items():
            stored = self._datasets.bucket.find(dataset.path(name))
            if stored is None or stored.file.size != size:
                raise RefusalError("FAILED_PRECONDITION", f"file {name!r} was not uploaded")
        now = self._clock.now()
        dataset.finish(dataset.registered, ready=now + READY_AFTER)
        return answer_json({})

    async def get_download_endpoint(self, call: Call) -> Answer:
        """Answer GetDatasetDownloadEndpoint. The front end refuses a GET with a body."""
        if call.body:
            return answer_html(400, "400 Bad Request")
        dataset = await self._endpoints.find(call)
        if not dataset.is_ready(self._clock.now()):
            status = int(self._rules.unready_download_status)
            raise RefusalError("FAILED_PRECONDITION", "dataset is not ready", status=status)
        if call.parameter("downloadLineage") != "true":
            return answer_json({"filenameToSignedUrls": self._sign_gets(call, [dataset])})
        urls = self._sign_gets(call, self._lineage(dataset), self._rules.lineage_keys)
        return answer_json({"filenameToSignedUrls": urls})

    def _lineage(self, dataset: Dataset) -> Iterator[Dataset]:
        """Yield the output datasets of a chain of continued jobs, the newest first."""
        found: Dataset | None = dataset
        while found is not None:
            yield found
            found = self._datasets.find_name(found.parent) if found.parent else None

    async def _find_empty(self, call: Call) -> Dataset:
        dataset = await self._endpoints.find(call)
        if dataset.is_uploaded:
            raise RefusalError(
                "FAILED_PRECONDITION",
                "dataset is already uploaded",
                status=int(self._rules.reupload_status),
            )
        return dataset

    def _sign_put(self, call: Call, dataset: Dataset, name: str) -> str:
        size = dataset.registered[name]
        headers = {"content-type": CONTENT_TYPE, LENGTH_RANGE: f"{size},{size}"}
        return self._datasets.signer.sign(
            "PUT",
            self._datasets.storage_url(call.host),
            dataset.path(name),
            seconds=UPLOAD_SECONDS,
            headers=headers,
        )

    def _sign_gets(
        self, call: Call, datasets: Iterable[Dataset], keys: str = "path"
    ) -> dict[str, str]:
        base_url, now = self._datasets.storage_url(call.host), self._clock.now()
        return {
            _key(dataset, name, keys): self._datasets.signer.sign(
                "GET", base_url, dataset.path(name), seconds=DOWNLOAD_SECONDS, headers={}
            )
            for dataset in datasets
            for name in dataset.listed_files(now)
        }


def _key(dataset: Dataset, name: str, keys: str) -> str:
    if keys == "path":
        return dataset.key(name)
    return f"{dataset.dataset_id}{'/' if keys == 'slash' else '_'}{name}"


def _base_name(name: str) -> str:
    base = name.replace("\\", "/").rpartition("/")[2]
    if base in {"", ".", ".."}:
        raise invalid(f"invalid file name {name!r}")
    return base


def _too_large() -> Answer:
    return answer_html(413, "413 Request Entity Too Large")
