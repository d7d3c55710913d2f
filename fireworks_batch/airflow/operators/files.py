"""The files of a task. Files in an object storage are copied to this machine and back."""

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
"""A local path, or a path in an object storage like ``s3://bucket/key``."""


TaskRequests: TypeAlias = PathLike | Sequence[Mapping[str, Any]]
"""A file of requests, or the requests themselves."""


@attrs.frozen
class TaskFiles:
    """The requests to read, and the local files to write."""

    requests: Path | Sequence[Mapping[str, Any]]
    output: Path
    errors: Path | None
    _uploads: Sequence[tuple[Path, ObjectStoragePath]]

    def put(self) -> None:
        """Copy the written files to the object storage, if they belong there."""
        for path, target in self._uploads:
            target.fs.put_file(str(path), target.path)


@contextmanager
def task_files(
    requests: TaskRequests, output: PathLike, errors: PathLike | None
) -> Iterator[TaskFiles]:
    """Yield local files for a ``with``.

    Args:
        requests: The file of requests, or the requests themselves.
        output: The file for the rows with a response.
        errors: The file for the rows with an error; None for no file.

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
    # The copy keeps its name, since ``.gz`` says that it is packed. An output may have this name.
    copy = directory / "requests" / remote.name
    copy.parent.mkdir()
    remote.fs.get_file(remote.path, str(copy))
    return copy


def _check_directory(path: Path) -> None:
    """Refuse a target before anything is paid for."""
    if not path.parent.is_dir():
        raise AirflowException(f"there is no directory for {str(path)!r}: make it first")


def _place(path: PathLike) -> tuple[Path, ObjectStoragePath | None]:
    """Return a local path, and the path in an object storage if it is one."""
    if isinstance(path, ObjectStoragePath):
        return Path(), path
    return Path(path), ObjectStoragePath(path) if "://" in str(path) else None
