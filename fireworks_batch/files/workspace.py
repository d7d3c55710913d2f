"""Temporary directories, locked by their process, and removed later if the process was killed."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Final

import attrs

from fireworks_batch.files.threads import off_loop, reported

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Workspace", "workspace"]

_PREFIX: Final = "fireworks-batch-"

_LOCK: Final = "lock"

# A directory without a lock that is older than this many seconds was left by a killed process.
_OLD: Final = 3600.0


@attrs.frozen
class Workspace:
    """A temporary directory of this process."""

    path: Path
    """The directory."""

    _lock: IO[bytes]

    def remove(self) -> None:
        """Remove the directory with its content."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


@asynccontextmanager
async def workspace(*, keep: bool = False) -> AsyncIterator[Workspace]:
    """Make a temporary directory, and remove it at the end of the block.

    Args:
        keep: Whether to keep the directory if the block succeeds.

    Raises:
        LocalFileError: The directory cannot be made.
    """
    made = await off_loop(_make, undo=Workspace.remove)
    is_kept = False
    try:
        yield made
        is_kept = keep
    finally:
        if not is_kept:
            await off_loop(made.remove)


def _make() -> Workspace:
    with reported("make a directory in", os.environ.get("TMPDIR", "the temporary directory")):
        sweep(Path(tempfile.gettempdir()))
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            # Another process must not find the lock file before it is locked.
            new = path / "new"
            lock = new.open("wb")
            with suppress(OSError):
                _hold(lock)
            with suppress(OSError):  # the system may not rename an open file
                new.rename(path / _LOCK)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return Workspace(path, lock)


def sweep(parent: Path) -> None:
    """Remove the directories of processes that were killed.

    Args:
        parent: The directory of temporary directories.
    """
    for path in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if _is_left(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    """Whether the process that made a directory has ended."""
    lock = path / _LOCK
    if not lock.exists():
        return (path / "new").exists() and time.time() - path.stat().st_mtime > _OLD
    with lock.open("r+b") as file:
        _hold(file)  # raises an error while the process runs
    return True


def _hold(file: IO[bytes]) -> None:
    """Lock a file until it is closed.

    Raises:
        OSError: The file is locked already.
    """
    if sys.platform == "win32":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
