"""Result files on disk: which to read first, read in blocks, and again where ids are suspected.

All of it blocks, and is called in a thread.
"""

import io
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from fireworks_batch.expected_ids import ExpectedIds
from fireworks_batch.id_sets import IdSet, find_all, find_repeated
from fireworks_batch.local_io import reported
from fireworks_batch.result_report import Findings
from fireworks_batch.rows import read_rows

__all__ = ["BLOCK", "find_suspects", "is_error_file", "order_files", "read_block"]

BLOCK: Final = 1 << 21
"""Bytes of a block: as many as a thread needs to be worth its start."""


def is_error_file(path: Path) -> bool:
    """Tell a file of errors (``error-data``, which has no ending) from one of results."""
    return "error" in path.name.lower()


def order_files(paths: Iterable[Path], dataset_id: str) -> tuple[Path, ...]:
    """Return files in the order of reading: results before errors, the job's own before others'.

    Args:
        paths: What was downloaded; with its lineage, each dataset in a folder named after its id.
        dataset_id: The job's own output dataset.
    """

    def place(path: Path) -> tuple[bool, bool, Path]:
        return is_error_file(path), path.parent.name != dataset_id, path

    return tuple(sorted(paths, key=place))


def read_block(path: Path, offset: int, size: int = BLOCK) -> tuple[bytes, int]:
    """Return whole lines from an offset on, and the offset where they end.

    They are as many as the size takes, and the line that it cuts; none at the file's end. A byte
    order mark at the file's beginning is passed over.
    """
    with reported("read", str(path)), path.open("rb") as file:
        file.seek(offset)
        block = file.read(size)
        if block and not block.endswith(b"\n"):
            block += file.readline()
    end = offset + len(block)
    return (block if offset else block.removeprefix(BOM_UTF8)), end


def find_suspects(
    seen: IdSet,
    expected: ExpectedIds | None,
    paths: Sequence[Path],
    *,
    is_over: Callable[[], bool],
) -> Findings:
    """Compare the hashes, and read again what they name as suspects.

    Args:
        seen: The ids of the rows.
        expected: The ids that should have rows.
        paths: The files that the rows are in.
        is_over: Whether nobody waits for the findings any more; then they are cut short.
    """
    again = partial(_custom_ids, paths, is_over)
    repeated = find_repeated(again(), seen.duplicates())
    if expected is None:
        return Findings(repeated)
    missing = find_all(expected.again(is_over), expected.hashes.difference(seen))
    return Findings(repeated, missing, find_all(again(), seen.difference(expected.hashes)))


def _custom_ids(paths: Sequence[Path], is_over: Callable[[], bool]) -> Iterator[str]:
    for path in paths:
        offset = 0
        while not is_over():
            block, offset = read_block(path, offset)
            if not block:
                break
            for row in read_rows(io.BytesIO(block)):
                if row.custom_id is not None:
                    yield row.custom_id
