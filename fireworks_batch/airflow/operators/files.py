"""The files of a task: on this machine as they are, those of an object storage as copies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import attrs
from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowException

__all__ = ["PathLike", "TaskFiles", "TaskRequests", "task_files"]


PathLike: TypeAlias = str | Path | ObjectStoragePath
"""A local path, or one of an object storage: ``s3://bucket/key``."""


TaskRequests: TypeAlias = PathLike | Sequence[Mapping[str, Any]]
"""A file of requests, or the requests themselves."""


@attrs.frozen
class TaskFiles:
    """What the client is given: requests to read, and local files to write."""

    requests: Path | Sequence[Mapping[str, Any]]
    output: Path
    errors: Path | None
    _uploads: Sequence[tuple[Path, ObjectStoragePath]]

    def put(self) -> None:
        """Copy what was written to the object storage, if it belongs there."""
        for path, target in self._uploads:
            target.fs.put_file(str(path), target.path)


@contextmanager
def task_files(
    requests: TaskRequests, output: PathLike, errors: PathLike | None
) -> Iterator[TaskFiles]:
    """Make files local for the time of a block.

    Args:
        requests: A file of requests, or the requests.
        output: Where the rows with a response belong.
        errors: Where the rows with an error belong; None: nowhere.

    Raises:
        AirflowException: There is no directory for a local file that is to be written.
    """
    with TemporaryDirectory(prefix="fireworks-batch-") as directory:
        uploads: list[tuple[Path, ObjectStoragePath]] = []

        def written(path: PathLike, name: str) -> Path:
            local, remote = _place(path)
            if remote is None:
                _check_directory(local)
                return local
            uploads.append((Path(directory, name), remote))
            return Path(directory, name)

        yield TaskFiles(
            _read(requests, Path(directory)),
            written(output, "output.jsonl"),
            None if errors is None else written(errors, "errors.jsonl"),
            uploads,
        )


def _read(requests: TaskRequests, directory: Path) -> Path | Sequence[Mapping[str, Any]]:
    if not isinstance(requests, str | Path | ObjectStoragePath):
        return requests
    local, remote = _place(requests)
    if remote is None:
        return local
    # Whether it is packed shows in its name. An output may have the same name.
    copy = directory / "requests" / remote.name
    copy.parent.mkdir()
    remote.fs.get_file(remote.path, str(copy))
    return copy


def _check_directory(path: Path) -> None:
    """Refuse a target before anything is paid for."""
    if not path.parent.is_dir():
        raise AirflowException(f"there is no directory for {str(path)!r}: make it first")


def _place(path: PathLike) -> tuple[Path, ObjectStoragePath | None]:
    """Return a path as a local one, and as one of an object storage if it is that."""
    if isinstance(path, ObjectStoragePath):
        return Path(), path
    return Path(path), ObjectStoragePath(path) if "://" in str(path) else None
