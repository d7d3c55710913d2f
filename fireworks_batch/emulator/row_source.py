"""Find the rows in a dataset's files."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from .rows import InvalidRowError, RowCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from .assumptions import Assumptions
    from .stored_files import StoredFile

ReadLine: TypeAlias = "Callable[[int], bytes]"
SLICE: Final = 200
"""How many rows are handled before others have their turn on the loop."""


class RowSource:
    """Knows where each row of some files lies, once they were scanned."""

    def __init__(self, files: Mapping[str, StoredFile]) -> None:
        self._files: Sequence[tuple[str, StoredFile]] = list(files.items())
        self._owners, self._starts, self._sizes = array("L"), array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._starts)

    async def scan(self, rules: Assumptions) -> None:
        """Check every row and remember its place.

        Raises:
            InvalidRowError: A row is bad; the text names its file and line.
        """
        owners, starts, sizes = array("L"), array("Q"), array("Q")
        check, first = RowCheck(rules), 1 if rules.line_numbers == "right" else 0
        for owner, (name, file) in enumerate(self._files):
            start = 0
            for number, line in enumerate(file.lines(), first):
                if number % SLICE == 0:
                    await asyncio.sleep(0)
                if _is_row(check, line, f"{name}:{number}"):
                    owners.append(owner)
                    starts.append(start)
                    sizes.append(len(line))
                start += len(line)
        self._owners, self._starts, self._sizes = owners, starts, sizes

    @contextmanager
    def reading(self) -> Iterator[ReadLine]:
        """Open the files; gives a function that reads a row's line by its number."""
        with ExitStack() as stack:
            files = [stack.enter_context(file.path.open("rb")) for _, file in self._files]

            def read(number: int) -> bytes:
                file = files[self._owners[number]]
                file.seek(self._starts[number])
                return file.read(self._sizes[number])

            yield read


def _is_row(check: RowCheck, line: bytes, place: str) -> bool:
    try:
        return check.is_row(line)
    except InvalidRowError as error:
        raise InvalidRowError(
            f"Dataset has a syntax error: chat dataset validation failed on {place}: {error}"
        ) from None
