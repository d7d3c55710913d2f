"""The answers to calls about datasets, without the calls about their files."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

from fireworks_batch.emulator.datasets.dataset import (
    CREATE,
    DATASET,
    READY_AFTER,
    SOURCES,
    SPLIT,
    Dataset,
)
from fireworks_batch.emulator.datasets.store import DatasetStore
from fireworks_batch.emulator.files import file_chunks
from fireworks_batch.emulator.http.answers import Answer, answer_json
from fireworks_batch.emulator.http.messages import read_message
from fireworks_batch.emulator.http.refusals import RefusalError, invalid
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.lists.masks import read_view
from fireworks_batch.emulator.lists.ordering import OrderTerm
from fireworks_batch.emulator.lists.paging import Listing
from fireworks_batch.emulator.members import is_resource_id
from fireworks_batch.emulator.setting import Setting

DATASETS: Final = "/v1/accounts/{account}/datasets"
DATASET_PATH: Final = DATASETS + "/{dataset}"
_BY_NAME: Final = (OrderTerm(("name",)),)


_LEAST_CHUNK: Final = 200
"""The least rows of a part in a split. Documented."""


class Jobs(Protocol):
    """What the calls about datasets need of the jobs."""

    async def catch_up_account(self, account_id: str) -> object:
        """Do the work of an account's jobs that is due now, and write its output."""
        ...

    async def catch_up_outputs(self, account_id: str, dataset_id: str | None = None) -> None:
        """Do the same, and make up the output of jobs that only have a script."""
        ...

    def is_using(self, dataset: Dataset) -> bool:
        """Whether a job that has not ended reads or writes *dataset*."""
        ...


class DatasetEndpoints:
    """The calls about datasets.

    Args:
        setting: What all parts of the emulator share.

        datasets: The datasets.

        jobs: The jobs, which read and write datasets.
    """

    def __init__(self, setting: Setting, datasets: DatasetStore, jobs: Jobs) -> None:
        self._setting = setting
        self._clock = setting.clock
        self._rules = setting.rules
        self._datasets = datasets
        self._jobs = jobs

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", DATASETS, self.list_datasets)
        router.add("POST", DATASETS, self.create_dataset)
        router.add("GET", DATASET_PATH, self.get_dataset)
        router.add("PATCH", DATASET_PATH, self.update_dataset)
        router.add("DELETE", DATASET_PATH, self.delete_dataset)
        router.add("POST", DATASET_PATH + ":splitDataset", self.split_dataset)

    async def get_dataset(self, call: Call) -> Answer:
        """Answer GetDataset."""
        view = read_view(call.parameter("readMask"), DATASET, self._rules)
        dataset = await self.find(call)
        return answer_json(view.show(dataset.show(self._clock.now())))

    async def list_datasets(self, call: Call) -> Answer:
        """Answer ListDatasets. Without ``orderBy`` the order is by name, as documented."""
        account_id = call.places["account"]
        await self._jobs.catch_up_outputs(account_id)
        listing = Listing(
            self._setting, call, DATASET, collection="datasets", default_order=_BY_NAME
        )
        now = self._clock.now()
        datasets = self._datasets.all(account_id)
        return answer_json(listing.answer(dataset.show(now) for dataset in datasets))

    async def create_dataset(self, call: Call) -> Answer:
        """Answer CreateDataset with an empty dataset, or with a copy of a dataset."""
        account_id = call.places["account"]
        await self._jobs.catch_up_account(account_id)
        asked = read_message(CREATE, call.body)
        members = self._read_members(asked)
        dataset_id = str(asked.get("datasetId", ""))
        if not is_resource_id(dataset_id):
            raise invalid(f"invalid dataset_id {dataset_id!r}: a-z, 0-9 and -, a letter first")
        source = self._find_source(account_id, asked)
        if source is None and "exampleCount" not in members:
            raise invalid(
                "error validating dataset: example_count is required for uploaded datasets"
            )
        if self._datasets.find(account_id, dataset_id) is not None:
            raise RefusalError(
                "ALREADY_EXISTS",
                "dataset already exists",
                status=int(self._rules.duplicate_dataset_status),
            )
        dataset = self._datasets.make(account_id, dataset_id, members)
        if source is not None:
            self._copy(source, dataset)
        return answer_json(dataset.show_created())

    async def update_dataset(self, call: Call) -> Answer:
        """Answer UpdateDataset. Members that are not sent stay as they are."""
        dataset = await self.find(call)
        members = self._checked(read_message(DATASET, call.body))
        now = self._clock.now()
        if "format" in members and members["format"] != dataset.show(now)["format"]:
            raise invalid("format is immutable")
        dataset.update(members, now)
        return answer_json(dataset.show(now))

    async def delete_dataset(self, call: Call) -> Answer:
        """Answer DeleteDataset."""
        dataset = await self.find(call)
        if self._rules.dataset_in_use == "refuse" and self._jobs.is_using(dataset):
            raise RefusalError("FAILED_PRECONDITION", "dataset is in use by a batch inference job")
        self._datasets.delete(dataset)
        return answer_json({})

    async def split_dataset(self, call: Call) -> Answer:
        """Answer SplitDataset."""
        source = await self.find(call)
        size = read_message(SPLIT, call.body).get("chunkSize", 0)
        if not isinstance(size, int) or size < _LEAST_CHUNK:
            raise invalid(f"chunk_size must be at least {_LEAST_CHUNK}, not {size}")
        if not source.is_ready(self._clock.now()):
            raise RefusalError("FAILED_PRECONDITION", "dataset is not ready")
        rows, chunks = self._rows(source), list[Dataset]()
        while lines := list(islice(rows, size)):
            chunks.append(self._make_chunk(source, len(chunks) + 1, lines))
        return answer_json(
            {
                "chunkDatasetNames": [chunk.name for chunk in chunks],
                "chunksCreated": len(chunks),
                "totalExamples": str(sum(chunk.example_count for chunk in chunks)),
            }
        )

    async def find(self, call: Call) -> Dataset:
        """Return the dataset that a call names, with the output that is due now.

        Raises:
            RefusalError: There is no such dataset (404), or no dataset can have such an id (400).
        """
        account_id, dataset_id = call.places["account"], call.places["dataset"]
        await self._jobs.catch_up_outputs(account_id, dataset_id)
        if not is_resource_id(dataset_id) and self._rules.malformed_id_on_read == "400":
            raise invalid(f"invalid dataset id {dataset_id!r}")
        return self._datasets.get(account_id, dataset_id)

    def _read_members(self, asked: Mapping[str, object]) -> dict[str, object]:
        members = asked.get("dataset")
        if not isinstance(members, dict):
            raise invalid("error validating dataset: dataset is required")
        return self._checked(members)

    def _checked(self, members: dict[str, object]) -> dict[str, object]:
        if "displayName" in members and self._rules.dataset_display_name == "reject":
            raise invalid('proto: (line 1:1): unknown field "displayName"')
        sources = [source.name for source in SOURCES if source.name in members]
        if len(sources) > 1:
            raise invalid(f"proto: oneof data_source is already set: {' and '.join(sources)}")
        return members

    def _find_source(self, account_id: str, asked: Mapping[str, object]) -> Dataset | None:
        if "sourceDatasetId" not in asked:
            return None
        if asked.get("filter"):
            raise RefusalError("UNIMPLEMENTED", "this emulator does not filter datasets")
        name = str(asked["sourceDatasetId"])
        source = self._datasets.get(account_id, name.rpartition("/")[2])
        if not source.is_ready(self._clock.now()):
            raise RefusalError("FAILED_PRECONDITION", f"dataset {source.name!r} is not ready")
        return source

    def _copy(self, source: Dataset, dataset: Dataset) -> None:
        bucket, now = self._datasets.bucket, self._clock.now()
        files = {
            name: bucket.files.store(file_chunks(stored.file.path))
            for name in source.files
            if (stored := bucket.find(source.path(name))) is not None
        }
        members = {
            "exampleCount": str(source.example_count),
            "transformed": {"sourceDatasetId": source.name},
        }
        dataset.update(members, now)
        self._datasets.fill(dataset, files, now, ready=now + READY_AFTER)

    def _rows(self, source: Dataset) -> Iterator[bytes]:
        for name in source.files:
            stored = self._datasets.bucket.find(source.path(name))
            if stored is not None:
                yield from (line for line in stored.file.lines() if line.strip())

    def _make_chunk(self, source: Dataset, number: int, lines: list[bytes]) -> Dataset:
        file = self._datasets.bucket.files.store(lines)
        members = {
            "exampleCount": str(len(lines)),
            "splitted": {"sourceDatasetId": source.name},
        }
        chunk = self._datasets.make(
            source.account_id, f"{source.dataset_id[:52]}-chunk-{number}", members
        )
        now = self._clock.now()
        name = f"chunk-{number}.jsonl"
        self._datasets.fill(chunk, {name: file}, now, ready=now + READY_AFTER)
        return chunk
