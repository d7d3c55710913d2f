"""Keep the datasets of all accounts, and their files in the bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .refusals import RefusalError

if TYPE_CHECKING:
    from .bucket import Bucket
    from .clock import Instant
    from .datasets import Dataset
    from .stored_files import StoredFile


class DatasetStore:
    """Owns the datasets, by account and id, in the order of their creation."""

    def __init__(
        self, bucket: Bucket, *, now: Callable[[], Instant], lifetime: Instant | None
    ) -> None:
        self._bucket = bucket
        self._now = now
        self._lifetime = lifetime
        self._datasets: dict[str, dict[str, Dataset]] = {}

    def add(self, dataset: Dataset) -> None:
        """Keep a dataset; one of the same id goes with its files."""
        known = self.find(dataset.account_id, dataset.dataset_id)
        if known is not None:
            self.delete(known)
        self._datasets.setdefault(dataset.account_id, {})[dataset.dataset_id] = dataset

    def find(self, account_id: str, dataset_id: str) -> Dataset | None:
        """Give a dataset, None if there is none."""
        self._forget_old(account_id)
        return self._datasets.get(account_id, {}).get(dataset_id)

    def find_name(self, name: str) -> Dataset | None:
        """Give a dataset by its resource name, None if there is none."""
        match name.split("/"):
            case ["accounts", account_id, "datasets", dataset_id]:
                return self.find(account_id, dataset_id)
        return None

    def get(self, account_id: str, dataset_id: str) -> Dataset:
        """Give a dataset.

        Raises:
            RefusalError: There is none (404).
        """
        dataset = self.find(account_id, dataset_id)
        if dataset is None:
            raise RefusalError("NOT_FOUND", "resource not found")
        return dataset

    def all(self, account_id: str) -> list[Dataset]:
        """Give an account's datasets, oldest first."""
        self._forget_old(account_id)
        return list(self._datasets.get(account_id, {}).values())

    def _forget_old(self, account_id: str) -> None:
        if self._lifetime is None:
            return
        oldest = self._now() - self._lifetime
        for dataset in list(self._datasets.get(account_id, {}).values()):
            if dataset.created < oldest:
                self.delete(dataset)

    def delete(self, dataset: Dataset) -> None:
        """Remove a dataset and its files."""
        datasets = self._datasets.get(dataset.account_id, {})
        if datasets.get(dataset.dataset_id) is dataset:
            del datasets[dataset.dataset_id]
        for name in {*dataset.files, *dataset.registered}:
            self._bucket.delete(dataset.path(name))

    def fill(
        self, dataset: Dataset, files: Mapping[str, StoredFile], now: Instant, *, ready: Instant
    ) -> None:
        """Give a dataset its files, all at once."""
        for name, file in files.items():
            self._bucket.put(dataset.path(name), file, now)
        dataset.finish({name: file.size for name, file in files.items()}, ready=ready)
