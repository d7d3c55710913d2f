"""Files that are written, and get their names only when they are complete."""

import asyncio
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from fireworks_batch.files.threads import begin, ended, off_loop, reported
from fireworks_batch.models.errors import ConfigurationError, LocalFileError
from fireworks_batch.models.validators import instance_of

__all__ = [
    "PartFile",
    "check_names",
    "check_targets",
    "is_path",
    "make_directory",
    "path",
    "set_aside",
    "written_to",
]


def path(value: Any) -> Any:
    """Convert a path to a `Path`, and leave any other value to a validator."""
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(found, str) and found and "\0" not in found:
        return Path(found)
    return value


is_path: Final = instance_of(Path, "a path")
"""Accept paths that `path` has converted."""

# Bytes written in one step, in a thread: enough that a step is rarely started.
_COLLECTED: Final = 1024 * 1024

# Bytes of the file's own buffer. Smaller pieces, such as rows, share a write.
_BUFFER: Final = 64 * 1024

_PRIVATE: Final = 0o600  # the permissions of a file that is being written


async def make_directory(directory: Path) -> None:
    """Make a directory, and the directories above it, unless they exist.

    Raises:
        LocalFileError: A directory cannot be made.
    """

    def make() -> None:
        with reported("make directory", str(directory)):
            directory.mkdir(parents=True, exist_ok=True)

    await off_loop(make)


class PartFile:
    """A file with a temporary name, in its final directory. `finish` gives it the final name.

    Without `finish` the file is removed at the end of ``async with``. The file is written in large
    pieces, in threads: a piece is written while the next piece is collected. Only the file's owner
    can read it before `finish`. Then the file gets the permissions of the file that it replaces, or
    the permissions of a new file.
    """

    def __init__(self, path: Path) -> None:
        """Choose the temporary name; entering the object makes the file.

        Args:
            path: The final name, in a directory that exists.
        """
        self._path = path
        self._part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
        self._pieces: list[bytes] = []
        self._collected = 0
        self._size = 0
        self._hash: Any = None
        self._file: Any = None
        self._step: asyncio.Future[None] | None = None
        self._permissions = _PRIVATE

    async def __aenter__(self) -> Self:
        try:
            await off_loop(self._make)
        except BaseException:
            await off_loop(self._remove)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            with suppress(LocalFileError):
                await self._settle()
        finally:
            await off_loop(self._remove)

    @property
    def size(self) -> int:
        """Number of bytes that were given to `write` since the file was last empty."""
        return self._size

    @property
    def md5(self) -> bytes | None:
        """The MD5 of the bytes written so far; None without ``empty(hashed=True)``."""
        return self._hash.digest() if self._hash else None

    async def empty(self, *, hashed: bool) -> None:
        """Drop the content.

        Args:
            hashed: Whether to compute the MD5 of the bytes that follow.

        Raises:
            LocalFileError: The file cannot be written.
        """
        self._hash = hashlib.md5(usedforsecurity=False) if hashed else None
        if self._size:
            await self._settle()
            self._pieces, self._collected, self._size = [], 0, 0
            await off_loop(self._truncate)

    async def write(self, piece: bytes) -> None:
        """Append a piece; several pieces are collected before they are written.

        Raises:
            LocalFileError: The file cannot be written; the disk may be full.
        """
        self._pieces.append(piece)
        self._collected += len(piece)
        self._size += len(piece)
        if self._collected >= _COLLECTED:
            await self._hand_over()

    async def flush(self) -> None:
        """Write the collected pieces, and wait until they are written.

        Raises:
            LocalFileError: The file cannot be written.
        """
        await self._hand_over()
        await self._settle()

    async def _hand_over(self) -> None:
        await self._settle()
        pieces, self._pieces, self._collected = self._pieces, [], 0
        self._step = begin(self._append, pieces)

    async def _settle(self) -> None:
        """Wait for the piece that is being written."""
        step, self._step = self._step, None
        if step is not None:
            await ended(step)

    async def finish(self) -> None:
        """Give the file its final name, and replace an existing file of this name.

        Raises:
            LocalFileError: The file cannot be written or renamed.
        """
        await self.flush()
        await off_loop(self._rename)

    def _make(self) -> None:
        with reported("write", str(self._path)):
            # The process's umask cannot be read without changing it for other threads. So an empty
            # file is made, which shows the permissions of a new file.
            self._file = self._part.open("xb")
            self._permissions = _permissions_of(os.fstat(self._file.fileno()))
            self._file.close()
            self._part.unlink()
            self._file = open(self._part, "xb", _BUFFER, opener=_open_private)  # noqa: SIM115

    def _truncate(self) -> None:
        with reported("write", str(self._path)):
            self._file.seek(0)
            self._file.truncate()

    def _append(self, pieces: list[bytes]) -> None:
        with reported("write", str(self._path)):
            if self._hash is not None:
                for piece in pieces:
                    self._hash.update(piece)
            self._file.writelines(pieces)
            self._file.flush()

    def _rename(self) -> None:
        with reported("write", str(self._path)):
            # After a power failure, the final name must not name a file without content.
            os.fsync(self._file.fileno())
            self._file.close()
            with suppress(OSError):  # there is no file to replace
                self._permissions = _permissions_of(self._path.stat())
            with suppress(OSError):  # the file system has no permissions
                self._part.chmod(self._permissions)
            self._part.replace(self._path)
        with suppress(OSError):  # not every system can open a directory, and write it to disk
            _sync_directory(self._path.parent)

    def _remove(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._part.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    """Open a new file that only its owner can read; an opener for `open`."""
    return os.open(path, flags, _PRIVATE)


def _permissions_of(found: os.stat_result) -> int:
    """Return the permissions of a file, without the set-user-ID and set-group-ID bits."""
    return found.st_mode & 0o777


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_targets(targets: Sequence[Path | None], requests: object) -> None:
    """Refuse files that cannot be written, or that would overwrite each other or the requests.

    Args:
        targets: The files; None for a file that is not wanted.
        requests: The requests in the form that the caller gave.

    Raises:
        ConfigurationError: Two of the files are the same.
        LocalFileError: A file cannot be written: no such directory, no permission.
    """
    seen = [Path(requests)] if isinstance(requests, str | os.PathLike) else []
    for target in targets:
        if target is None:
            continue
        if any(_is_same(target, other) for other in seen):
            raise ConfigurationError(
                f"{str(target)!r} is named twice: requests, output and errors must be different "
                "files"
            )
        seen.append(target)
        with reported("write", str(target)):
            _check_target(target)


def check_names(places: Iterable[Path]) -> None:
    """Refuse names that no file can have: names that are too long, and names of directories.

    Raises:
        LocalFileError: A file cannot have its name.
    """
    for place in places:
        with reported("write", str(place)):
            _mode_of_file(place)


def _check_target(target: Path) -> None:
    place = written_to(target)
    found = _mode_of_file(place)
    if found is not None and not stat.S_ISREG(found):
        # The file would replace a device such as /dev/null.
        raise OSError(errno.EINVAL, "it is a pipe or a device")
    with tempfile.TemporaryFile(dir=place.parent):
        pass


def written_to(target: Path) -> Path:
    """Return the file to write for a target; of a symbolic link, this is the file that it names.

    Raises:
        OSError: The links form a circle, or the name is malformed.
    """
    place = Path(os.path.realpath(target))
    if (mode := _mode(place)) is not None and stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return place


def set_aside(place: Path) -> Path:
    """Rename a file that is about to be replaced, and return the new name.

    The new name ends in ``.previous``, and in a number if there is such a file.

    Raises:
        OSError: The file cannot be renamed.
    """
    number, kept = 1, place.with_name(f"{place.name}.previous")
    while kept.exists():
        number += 1
        kept = place.with_name(f"{place.name}.previous.{number}")
    place.rename(kept)
    return kept


def _mode_of_file(place: Path) -> int | None:
    """Return the mode of the file at a place; None if no file is there.

    Raises:
        OSError: There is a directory, or the name is too long.
    """
    found = _mode(place)
    if found is not None and stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    return found


def _mode(place: Path) -> int | None:
    """Return the mode of the file at a place; None if no file is there."""
    try:
        return place.lstat().st_mode
    except FileNotFoundError:
        return None


def _is_same(one: Path, other: Path) -> bool:
    try:
        # Files may not exist yet. One file may have two names, in upper and lower case.
        return os.path.realpath(one) == os.path.realpath(other) or one.samefile(other)
    except (OSError, ValueError):  # `_check_target` refuses a name that no file can have
        return False
