"""Temporary directories: locked by the process that made them, swept when that process is gone."""

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

# Seconds after which a directory without a lock was left by a process that is gone.
_OLD: Final = 3600.0


@attrs.frozen
class Workspace:
    """A temporary directory of this process."""

    path: Path
    """The directory."""

    _lock: IO[bytes]

    def remove(self) -> None:
        """Remove the directory with all that is in it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


@asynccontextmanager
async def workspace(*, keep: bool = False) -> AsyncIterator[Workspace]:
    """Make a directory for the time of the block.

    Args:
        keep: Whether the directory is to stay when the block succeeds.

    Raises:
        LocalFileError: It cannot be made.
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
            # Another process must not meet the file before it is locked.
            new = path / "new"
            lock = new.open("wb")
            with suppress(OSError):
                _hold(lock)
            with suppress(OSError):  # where an open file cannot be renamed
                new.rename(path / _LOCK)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return Workspace(path, lock)


def sweep(parent: Path) -> None:
    """Remove the directories of processes that were killed.

    Args:
        parent: Where temporary directories are.
    """
    for path in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if _is_left(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    """Whether the process that made a directory is gone."""
    lock = path / _LOCK
    if not lock.exists():
        return (path / "new").exists() and time.time() - path.stat().st_mtime > _OLD
    with lock.open("r+b") as file:
        _hold(file)  # raises an error while the process lives
    return True


def _hold(file: IO[bytes]) -> None:
    """Lock a file until it is closed.

    Raises:
        OSError: It is locked already.
    """
    if sys.platform == "win32":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
