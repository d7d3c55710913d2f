"""Sets of ids of any number in bounded memory: which ids occur twice, or in one set only.

Ids are kept as 64-bit hashes, some ten bytes an id. Ids with equal hashes are suspects. A second
pass over the ids, restricted to the suspects, finds the exact ids. The hash is Python's own: it is
fast, and seeded for each process, so that an attacker cannot make ids that collide. Hashes are
never stored or sent.

Among ten million ids, the chance that two different ids share a hash is one in 300,000. The result
of `duplicates` is still exact, after the second pass. `difference` would miss such an id if the two
ids are in different sets. Performs no I/O.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import attrs

__all__ = ["Found", "IdSet", "Suspects", "find_all"]


HashId: TypeAlias = Callable[[str], int]

_BUCKETS: Final = 256  # Python keeps as many integers ready
_MASK: Final = _BUCKETS - 1

# Most ids that a second pass tracks. A report names fewer.
_TRACKED: Final = 10_000


class IdSet:
    """A multiset of ids. Ids are added in batches."""

    def __init__(self, *, hash_id: HashId = hash) -> None:
        """Make an empty set.

        Args:
            hash_id: Returns a signed 64-bit number for an id. Two sets that are compared need the
                same function.
        """
        self._hash_id = hash_id
        self._buckets = tuple(array("q") for _ in range(_BUCKETS))
        self._appends = tuple(bucket.append for bucket in self._buckets)

    def update(self, ids: Iterable[str]) -> None:
        """Add ids, at some 5 million a second."""
        appends = self._appends
        for hashed in map(self._hash_id, ids):
            appends[hashed & _MASK](hashed)

    def __len__(self) -> int:
        """Return the number of additions, repeated ones included."""
        return sum(map(len, self._buckets))

    def suspects(self) -> "Suspects":
        """Return hashes that find all ids of this set."""
        return Suspects(map(_distinct, self._buckets), hash_id=self._hash_id)

    def duplicates(self) -> "Suspects":
        """Return hashes that find all ids that were added more than once."""
        return Suspects(map(_repeated, self._buckets), hash_id=self._hash_id)

    def difference(self, other: "IdSet") -> "Suspects":
        """Return hashes that find the ids of this set that the other set does not have."""
        pairs = zip(self._buckets, other._buckets, strict=True)  # noqa: SLF001 - of our own class
        return Suspects((_only_first(*pair) for pair in pairs), hash_id=self._hash_id)


class Suspects:
    """Hashes of ids: ``id in suspects`` tells whether the second pass must count an id."""

    def __init__(self, buckets: Iterable[Sequence[int]], *, hash_id: HashId) -> None:
        """Take hashes from an `IdSet`, bucket by bucket, sorted within each bucket."""
        self._hash_id = hash_id
        self._buckets = tuple(array("q", bucket) for bucket in buckets)

    def __len__(self) -> int:
        """Return the number of different hashes."""
        return sum(map(len, self._buckets))

    def __contains__(self, custom_id: str) -> bool:
        hashed = self._hash_id(custom_id)
        bucket = self._buckets[hashed & _MASK]
        place = bisect_left(bucket, hashed)
        return place < len(bucket) and bucket[place] == hashed


@attrs.frozen
class Found:
    """The ids that a second pass found among the suspects."""

    ids: tuple[str, ...]
    """The ids, in the order of their first occurrence; at most 10,000."""

    count: int
    """The number of all such ids. ``ids`` may have fewer."""


def find_all(
    ids: Iterable[str], suspects: Suspects, *, least: int = 1, tracked: int = _TRACKED
) -> Found:
    """Return the ids that are suspects: the second pass after `IdSet.difference` or `duplicates`.

    Args:
        ids: All ids of the set, again.
        suspects: The result of the first pass.
        least: How often an id must occur, 1 or more; 2 after `IdSet.duplicates`.
        tracked: Most ids to keep in memory, and to return.

    Returns:
        Each id once. The count is exact if all ids are returned. Otherwise it is the number of
        hashes.
    """
    counts: dict[str, int] = {}
    is_whole = True
    for custom_id in filter(suspects.__contains__, ids) if len(suspects) else ():
        if custom_id in counts:
            counts[custom_id] += 1
        elif len(counts) < tracked:
            counts[custom_id] = 1
        else:
            is_whole = False
    found = tuple(custom_id for custom_id, count in counts.items() if count >= least)
    return Found(found, len(found) if is_whole else len(suspects))


def _distinct(bucket: Sequence[int]) -> list[int]:
    return sorted(set(bucket))


def _repeated(bucket: Sequence[int]) -> list[int]:
    if len(set(bucket)) == len(bucket):
        return []
    return sorted(hashed for hashed, count in Counter(bucket).items() if count > 1)


def _only_first(bucket: Sequence[int], other: Sequence[int]) -> list[int]:
    return sorted(set(bucket).difference(other))
