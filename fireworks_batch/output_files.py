"""The files that results are written to: which those are, and whether they can be written."""

import errno
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.local_io import reported

__all__ = ["check_targets", "written_to"]


def check_targets(targets: Sequence[Path | None], requests: object) -> None:
    """Refuse files that cannot be written, or that would overwrite each other or the requests.

    Args:
        targets: The files; None for one that is not wanted.
        requests: What the caller gave for requests.

    Raises:
        ConfigurationError: Two of them are the same.
        LocalFileError: One cannot be written: no such directory, no permission.
    """
    seen = [Path(requests)] if isinstance(requests, str | os.PathLike) else []
    for target in targets:
        if target is None:
            continue
        if any(_is_same(target, other) for other in seen):
            raise ConfigurationError(
                f"{str(target)!r} is named twice: requests, output and errors are different files"
            )
        seen.append(target)
        with reported("write", str(target)):
            _check_target(target)


def _check_target(target: Path) -> None:
    place = written_to(target)
    found = _mode(place)
    if found is not None and stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    if found is not None and not stat.S_ISREG(found):
        # The finished file would take its place: /dev/null would be gone.
        raise OSError(errno.EINVAL, "it is there and no regular file")
    with tempfile.TemporaryFile(dir=place.parent):
        pass


def written_to(target: Path) -> Path:
    """Return the file that a target stands for: what a symbolic link names, so that the link stays.

    Raises:
        OSError: There is no such name.
    """
    place = Path(os.path.realpath(target))
    if (mode := _mode(place)) is not None and stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return place


def _mode(place: Path) -> int | None:
    """Return what is there, and None if there is nothing; a name that cannot be is an error."""
    try:
        return place.lstat().st_mode
    except FileNotFoundError:
        return None


def _is_same(one: Path, other: Path) -> bool:
    try:
        # Two files may not be there yet; one may have two spellings, of upper and lower case.
        return os.path.realpath(one) == os.path.realpath(other) or one.samefile(other)
    except (OSError, ValueError):  # a name that no file can have is found out later
        return False
