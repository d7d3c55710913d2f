"""Where one job's input ends and the next one's begins: as few jobs as the limits allow.

Rows keep their order, so taking as many as fit is the best there is. Performs no I/O.
"""

from collections.abc import Iterable, Iterator

import attrs

from fireworks_batch.limits import Limits

__all__ = ["Room", "cuts"]


@attrs.define
class Room:
    """What still fits into the job that is being filled."""

    limits: Limits
    """What one job takes."""

    rows: int = 0
    """Rows in it."""

    bytes: int = 0
    """Bytes in it, line ends included."""

    def fits(self, rows: int, size: int) -> bool:
        """Whether so many more rows, of so many bytes together, fit."""
        most = self.limits.max_rows
        return (
            most is None or self.rows + rows <= most
        ) and self.bytes + size <= self.limits.max_bytes

    def add(self, rows: int, size: int) -> None:
        """Put rows into the job."""
        self.rows += rows
        self.bytes += size

    def clear(self) -> None:
        """Begin the next job."""
        self.rows = self.bytes = 0


def cuts(room: Room, sizes: Iterable[int]) -> Iterator[int]:
    """Fill jobs with rows, and yield the index of each row that begins a new job.

    Args:
        room: What the job that is being filled already holds; it is kept up to date.
        sizes: Bytes of each row, line end included; none is above ``max_bytes``.
    """
    for index, size in enumerate(sizes):
        if not room.fits(1, size):
            room.clear()
            yield index
        room.add(1, size)
