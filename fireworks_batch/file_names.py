"""Under which names a dataset's files are stored here: names from the server stay in the directory.

Performs no I/O.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from fireworks_batch.errors import ResponseDecodeError

__all__ = ["local_names"]

# What means something to a file system: separators of all systems, control characters, drives and
# streams, a leading dot (dot segments, hidden files), what Windows drops or keeps for devices; and
# the escape itself, so that no two names become one.
_UNSAFE: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"|?*/\\%\ud800-\udfff]'
    r"|^\.|[. ]$"
    r"|^(?i:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=$|[. ])"
)


def local_names(
    keys: Iterable[str], *, dataset_id: str, lineage: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return where each file goes: folders, and its name.

    Args:
        keys: The server's names, ``dataset/{id}/{file}``, path-prefixed (seen live).
        dataset_id: The dataset's id.
        lineage: Whether each dataset of a chain gets a folder of its own.

    Returns:
        By key. Each part is a plain file name; what is unsafe in one is percent-encoded. A base
        name that several files share keeps as many of its folders as tell them apart.

    Raises:
        ResponseDecodeError: A key names no file, or two of them the same one.
    """
    paths = {key: _segments(key) for key in keys}
    least = 2 if lineage else 1
    for key, segments in paths.items():
        if lineage and len(segments) == 1:
            paths[key] = (dataset_id, *segments)
    chosen = {key: segments[-least:] for key, segments in paths.items()}
    depth = least
    while shared := _shared(chosen):
        if depth >= max(len(paths[key]) for key in shared):
            raise _unreadable(f"{shared[0]!r} and {shared[1]!r} are the same file here")
        depth += 1
        chosen.update({key: paths[key][-depth:] for key in shared})
    return {key: tuple(map(_safe, segments)) for key, segments in chosen.items()}


def _segments(key: str) -> tuple[str, ...]:
    base = key.rpartition("/")[2]
    if not base:
        raise _unreadable(f"{key!r} names no file")
    return tuple(segment for segment in key.split("/") if segment)


def _shared(chosen: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the keys whose files are the same where letters have no case, as on macOS."""
    places = {key: _place(segments) for key, segments in chosen.items()}
    count = Counter(places.values())
    shared = [key for key, place in places.items() if count[place] > 1]
    return sorted(shared, key=places.__getitem__)


def _place(segments: tuple[str, ...]) -> str:
    return "/".join(map(_safe, segments)).casefold()


def _safe(segment: str) -> str:
    return _UNSAFE.sub(_escape, segment)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _unreadable(problem: str) -> ResponseDecodeError:
    return ResponseDecodeError(
        f"cannot store the dataset's files: {problem}",
        problems=[f"filenameToSignedUrls: {problem}"],
    )
