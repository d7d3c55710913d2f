"""Whether files can be written in the end, asked before anything is sent."""

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.local_io import reported

__all__ = ["check_targets"]


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
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a directory")
            if target.exists() and not target.is_file():
                # The finished file would take its place: /dev/null would be gone.
                raise OSError(errno.EINVAL, "it is there and no regular file")
            with tempfile.TemporaryFile(dir=target.parent):
                pass


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
