"""The datasets of all accounts, with their files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from fireworks_batch.emulator.clock import SECOND, Instant
from fireworks_batch.emulator.datasets.bucket import Bucket, Signer
from fireworks_batch.emulator.datasets.dataset import DATASET, Dataset
from fireworks_batch.emulator.files import FileStore, StoredFile, file_chunks
from fireworks_batch.emulator.http.messages import read_members_of
from fireworks_batch.emulator.http.port import http_origin
from fireworks_batch.emulator.http.refusals import RefusalError
from fireworks_batch.emulator.members import ControlError, read_id, read_members, read_text
from fireworks_batch.emulator.setting import Setting

_Content: TypeAlias = bytes | Path
_MONTH: Final = 30 * 86_400 * SECOND


class DatasetStore:
    """Owns the datasets and their files, by account and id, in the order of their creation.

    Args:
        setting: What all parts of the emulator share.

        url_grace: The least time for which a signed URL is valid, in real seconds.
    """

    def __init__(self, setting: Setting, *, url_grace: float) -> None:
        self.bucket: Bucket = Bucket(FileStore())
        self.port = 0
        """The number of the storage's port; 0 until the storage listens."""

        self._setting = setting
        self._url_grace = url_grace
        self._is_mortal = setting.rules.dataset_retention == "30_days"
        self._datasets: dict[str, dict[str, Dataset]] = {}

    @property
    def signer(self) -> Signer:
        """The signer of URLs. A reset makes all earlier URLs invalid."""
        setting = self._setting
        return Signer(setting.secret, setting.clock, grace=self._url_grace)

    def storage_url(self, host: str) -> str:
        """Return the base URL of the storage, with the host that the client uses."""
        return http_origin(host, self.port)

    def clear(self) -> None:
        """Forget all datasets, and remove their files."""
        self._datasets.clear()
        self.bucket.clear()

    def make(self, account_id: str, dataset_id: str, members: Mapping[str, object]) -> Dataset:
        """Create an empty dataset now, and return it."""
        dataset = Dataset(
            account_id,
            dataset_id,
            members,
            clock=self._setting.clock,
            nanoseconds=self._setting.nanoseconds(),
        )
        self.add(dataset)
        return dataset

    def add(self, dataset: Dataset) -> None:
        """Add a dataset. A dataset of the same id is removed with its files."""
        known = self.find(dataset.account_id, dataset.dataset_id)
        if known is not None:
            self.delete(known)
        self._datasets.setdefault(dataset.account_id, {})[dataset.dataset_id] = dataset

    def add_described(self, dataset_id: str, value: object) -> Dataset:
        """Create a dataset with its files, as a test describes it. It is READY at once.

        Args:
            dataset_id: The last segment of the dataset's resource name.

            value: An object with ``files``, ``fields`` and ``account_id``.

        Raises:
            ControlError: The id or a member cannot be used.
        """
        read_id("dataset id", dataset_id)
        members = read_members("", value, ("files", "fields", "account_id"))
        contents = _read_files(members.get("files"))
        fields = _read_fields(members.get("fields") or {})
        account_id = self._setting.read_account(members)
        files = {n: self.bucket.files.store(_chunks(content)) for n, content in contents.items()}
        count = {"exampleCount": str(sum(_count_lines(file) for file in files.values()))}
        dataset = self.make(account_id, dataset_id, count | {"userUploaded": {}} | dict(fields))
        now = self._setting.clock.now()
        self.fill(dataset, files, now, ready=now)
        return dataset

    def replace_file(self, dataset_id: str, name: str, value: object) -> None:
        """Replace or add a file of a dataset.

        Args:
            dataset_id: The last segment of the dataset's resource name.

            name: The name of the file, without a folder.

            value: An object with ``content`` and ``account_id``.

        Raises:
            ControlError: There is no such dataset, or a member cannot be used.
        """
        members = read_members("", value, ("content", "account_id"))
        content = _read_content("content", members.get("content"))
        dataset = self.find(self._setting.read_account(members), dataset_id)
        if dataset is None:
            raise ControlError("dataset id", dataset_id, "the id of a dataset")
        file = self.bucket.files.store(_chunks(content))
        self.bucket.put(dataset.path(name), file, self._setting.clock.now())
        dataset.files[name] = file.size

    def find(self, account_id: str, dataset_id: str) -> Dataset | None:
        """Return a dataset; None if there is no such dataset."""
        self._forget_old(account_id)
        return self._datasets.get(account_id, {}).get(dataset_id)

    def find_name(self, name: str) -> Dataset | None:
        """Return a dataset by its resource name; None if there is no such dataset."""
        match name.split("/"):
            case ["accounts", account_id, "datasets", dataset_id]:
                return self.find(account_id, dataset_id)
        return None

    def get(self, account_id: str, dataset_id: str) -> Dataset:
        """Return a dataset.

        Raises:
            RefusalError: There is no such dataset, or it cannot be seen yet (404).
        """
        dataset = self.find(account_id, dataset_id)
        if dataset is None or not dataset.is_visible(self._setting.clock.now()):
            raise RefusalError("NOT_FOUND", "resource not found")
        return dataset

    def all(self, account_id: str) -> list[Dataset]:
        """Return the datasets of an account that can be seen, the oldest first."""
        self._forget_old(account_id)
        now = self._setting.clock.now()
        return [
            each for each in self._datasets.get(account_id, {}).values() if each.is_visible(now)
        ]

    def delete(self, dataset: Dataset) -> None:
        """Remove a dataset and its files."""
        datasets = self._datasets.get(dataset.account_id, {})
        if datasets.get(dataset.dataset_id) is dataset:
            del datasets[dataset.dataset_id]
        for name in {*dataset.files, *dataset.registered}:
            self.bucket.delete(dataset.path(name))

    def fill(
        self, dataset: Dataset, files: Mapping[str, StoredFile], now: Instant, *, ready: Instant
    ) -> None:
        """Put all files of a dataset in place."""
        for name, file in files.items():
            self.bucket.put(dataset.path(name), file, now)
        dataset.finish({name: file.size for name, file in files.items()}, ready=ready)

    def _forget_old(self, account_id: str) -> None:
        if not self._is_mortal:
            return
        oldest = self._setting.clock.now() - _MONTH
        for dataset in list(self._datasets.get(account_id, {}).values()):
            if dataset.created < oldest:
                self.delete(dataset)


def _read_files(value: object) -> dict[str, _Content]:
    if not isinstance(value, Mapping):
        raise ControlError("files", value, "an object")
    return {_read_name(name): _read_content(f"files.{name}", item) for name, item in value.items()}


def _read_name(name: object) -> str:
    text = read_text("files", name)
    if "/" in text:
        raise ControlError("files", name, "a base name")
    return text


def _read_content(field: str, value: object) -> _Content:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | Path):
        return value
    raise ControlError(field, value, "a text, bytes or a path")


def _read_fields(value: object) -> Mapping[str, object]:
    try:
        return read_members_of(DATASET, value)
    except RefusalError as error:
        raise ControlError("fields", value, f"members of a dataset: {error.message}") from None


def _chunks(content: _Content) -> Iterable[bytes]:
    return [content] if isinstance(content, bytes) else file_chunks(content)


def _count_lines(file: StoredFile) -> int:
    """Count the lines that are not blank."""
    return sum(1 for line in file.lines() if line.strip())
