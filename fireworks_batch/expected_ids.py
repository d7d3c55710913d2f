"""Ids that should have rows: their hashes in memory, and a file to read them again from.

All of it blocks, and is called in a thread.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.id_sets import IdSet
from fireworks_batch.local_io import reported
from fireworks_batch.rows import read_rows

__all__ = ["ExpectedIds", "InputIds", "SpooledIds"]


class ExpectedIds(Protocol):
    """Ids of any number, read twice."""

    hashes: IdSet

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Return all of them once more, until it is over."""
        ...


class SpooledIds:
    """Ids of an iterable, which can be consumed once: they are kept in a file."""

    def __init__(self, path: Path) -> None:
        """Take the file, which is not there yet."""
        self.hashes = IdSet()
        self._path = path

    def add(self, ids: Sequence[str]) -> None:
        """Add some more."""
        self.hashes.update(ids)
        with reported("write", str(self._path)), self._path.open("ab") as file:
            file.writelines(json.dumps(custom_id).encode() + b"\n" for custom_id in ids)

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Return all of them once more, until it is over."""
        if not len(self.hashes):
            return
        with reported("read", str(self._path)), self._path.open("rb") as file:
            yield from map(json.loads, takewhile(lambda _: not is_over(), file))


class InputIds:
    """Ids of the rows of an input file."""

    def __init__(self, path: Path) -> None:
        """Read them for the first time.

        Raises:
            ConfigurationError: A row has no ``custom_id``.
            LocalFileError: The file cannot be read.
        """
        self.hashes = IdSet()
        self._path = path
        self.hashes.update(self.again(lambda: False))

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Return all of them once more, until it is over."""
        with reported("read", str(self._path)), self._path.open("rb") as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            lines = takewhile(lambda _: not is_over(), file)
            for number, row in enumerate(read_rows(lines), 1):
                if row.custom_id is None:
                    raise ConfigurationError(
                        f"expected: row {number} of '{self._path}' has no custom_id"
                    )
                yield row.custom_id
