"""Answer the calls about datasets, but for their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .answers import Answer, answer_json
from .dataset_schema import CREATE, DATASET, SOURCES
from .datasets import READY_AFTER, Dataset
from .item_listing import ItemListing
from .job_creation import is_resource_id
from .masks import read_view
from .ordering import OrderTerm
from .refusals import RefusalError, invalid
from .schema import read_message
from .stored_files import file_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .routing import Call, Router
    from .world import World

DATASETS: Final = "/v1/accounts/{account}/datasets"
DATASET_PATH: Final = DATASETS + "/{dataset}"
_BY_NAME: Final = (OrderTerm(("name",)),)


class DatasetEndpoints:
    """The calls of one noun, the dataset."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rules = world.setting.rules

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", DATASETS, self.list_datasets)
        router.add("POST", DATASETS, self.create_dataset)
        router.add("GET", DATASET_PATH, self.get_dataset)
        router.add("PATCH", DATASET_PATH, self.update_dataset)
        router.add("DELETE", DATASET_PATH, self.delete_dataset)

    async def get_dataset(self, call: Call) -> Answer:
        """Answer GetDataset."""
        view = read_view(call.parameter("readMask"), DATASET, self._rules)
        dataset = find_dataset(self._world, call)
        return answer_json(view.show(dataset.show(self._world.clock.now())))

    async def list_datasets(self, call: Call) -> Answer:
        """Answer ListDatasets; by name unless asked otherwise, as documented."""
        listing = ItemListing(
            self._world, call, DATASET, collection="datasets", default_order=_BY_NAME
        )
        now = self._world.clock.now()
        datasets = self._world.datasets.all(call.places["account"])
        return answer_json(listing.answer(dataset.show(now) for dataset in datasets))

    async def create_dataset(self, call: Call) -> Answer:
        """Answer CreateDataset: an empty one that waits for its files, or a copy."""
        world, account_id = self._world, call.places["account"]
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
        if world.datasets.find(account_id, dataset_id) is not None:
            raise RefusalError(
                "ALREADY_EXISTS",
                "dataset already exists",
                status=int(self._rules.duplicate_dataset_status),
            )
        dataset = world.make_dataset(account_id, dataset_id, members)
        if source is not None:
            self._copy(source, dataset)
        return answer_json(dataset.show_created())

    async def update_dataset(self, call: Call) -> Answer:
        """Answer UpdateDataset; members that are not sent stay."""
        dataset = find_dataset(self._world, call)
        members = self._checked(read_message(DATASET, call.body))
        now = self._world.clock.now()
        if "format" in members and members["format"] != dataset.show(now)["format"]:
            raise invalid("format is immutable")
        dataset.update(members, now)
        return answer_json(dataset.show(now))

    async def delete_dataset(self, call: Call) -> Answer:
        """Answer DeleteDataset."""
        dataset = find_dataset(self._world, call)
        if self._rules.dataset_in_use == "refuse" and self._world.is_in_use(dataset):
            raise RefusalError("FAILED_PRECONDITION", "dataset is in use by a batch inference job")
        self._world.datasets.delete(dataset)
        return answer_json({})

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
        source = self._world.datasets.get(account_id, name.rpartition("/")[2])
        if not source.is_ready(self._world.clock.now()):
            raise RefusalError("FAILED_PRECONDITION", f"dataset {source.name!r} is not ready")
        return source

    def _copy(self, source: Dataset, dataset: Dataset) -> None:
        bucket, now = self._world.bucket, self._world.clock.now()
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
        self._world.datasets.fill(dataset, files, now, ready=now + READY_AFTER)


def find_dataset(world: World, call: Call) -> Dataset:
    """Give the dataset that a call is about.

    Raises:
        RefusalError: There is none (404), or there can be none of such an id (400).
    """
    dataset_id = call.places["dataset"]
    if not is_resource_id(dataset_id) and world.setting.rules.malformed_id_on_read == "400":
        raise invalid(f"invalid dataset id {dataset_id!r}")
    return world.datasets.get(call.places["account"], dataset_id)
