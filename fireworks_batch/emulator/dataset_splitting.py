"""Cut a dataset into smaller ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from .answers import Answer, answer_json
from .dataset_endpoints import DATASET_PATH, find_dataset
from .dataset_schema import SPLIT
from .datasets import READY_AFTER, Dataset
from .refusals import RefusalError, invalid
from .schema import read_message

if TYPE_CHECKING:
    from .routing import Call, Router
    from .world import World

_LEAST: Final = 200
"""Documented."""


class DatasetSplitting:
    """The call that makes many datasets of one; what it calls them is made up."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: Router) -> None:
        """Add the route."""
        router.add("POST", DATASET_PATH + ":splitDataset", self.split_dataset)

    async def split_dataset(self, call: Call) -> Answer:
        """Answer SplitDataset."""
        source = find_dataset(self._world, call)
        size = read_message(SPLIT, call.body).get("chunkSize", 0)
        if not isinstance(size, int) or size < _LEAST:
            raise invalid(f"chunk_size must be at least {_LEAST}, not {size}")
        if not source.is_ready(self._world.clock.now()):
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

    def _rows(self, source: Dataset) -> Iterator[bytes]:
        for name in source.files:
            stored = self._world.bucket.find(source.path(name))
            if stored is not None:
                yield from (line for line in stored.file.lines() if line.strip())

    def _make_chunk(self, source: Dataset, number: int, lines: list[bytes]) -> Dataset:
        world = self._world
        file = world.bucket.files.store(lines)
        members = {
            "exampleCount": str(len(lines)),
            "splitted": {"sourceDatasetId": source.name},
        }
        chunk = world.make_dataset(
            source.account_id, f"{source.dataset_id[:52]}-chunk-{number}", members
        )
        now = world.clock.now()
        name = f"chunk-{number}.jsonl"
        world.datasets.fill(chunk, {name: file}, now, ready=now + READY_AFTER)
        return chunk
