"""Which ids occur twice and which are in one set only, in bounded memory, collisions included."""

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.results.id_sets import Found, IdSet, find_all

IDS = st.lists(st.text(st.characters(), max_size=3))


def filled(ids, **kwargs) -> IdSet:
    """A set with the ids in it."""
    made = IdSet(**kwargs)
    made.update(ids)
    return made


def collide(custom_id: str) -> int:
    """A hash by which all ids of one length collide, with both signs."""
    return len(custom_id) * 2**56 - 2**58


def repeated(ids, **kwargs) -> Found:
    """Both passes."""
    suspects = filled(ids, **kwargs).duplicates()
    return find_all(ids, suspects, least=2)


@given(IDS)
def test_repeated_ids_are_named(ids):
    """Whatever the ids are: those that occur twice or more, once each, by first occurrence."""
    wanted = tuple(custom_id for custom_id, count in Counter(ids).items() if count > 1)

    assert Found(wanted, len(wanted)) == repeated(ids)


@given(IDS)
def test_repeated_ids_are_named_though_all_collide(ids):
    """Ids that only share a hash are suspects, and found innocent by the second pass."""
    wanted = tuple(custom_id for custom_id, count in Counter(ids).items() if count > 1)

    assert Found(wanted, len(wanted)) == repeated(ids, hash_id=collide)


@given(IDS, IDS)
def test_difference_names_what_is_in_one_set_only(ids, other):
    """Both ways round, each id once, in the order of the pass."""
    one, two = filled(ids), filled(other)
    for left, right, suspects in [
        (ids, other, one.difference(two)),
        (other, ids, two.difference(one)),
    ]:
        wanted = tuple(dict.fromkeys(x for x in left if x not in right))
        assert Found(wanted, len(wanted)) == find_all(left, suspects)


def test_ids_of_one_hash_are_told_apart_when_the_hash_is_missing():
    """Two ids that are missing and collide are two."""
    ids = ["aa", "bb", "ccc", "aa"]
    suspects = filled(ids, hash_id=collide).difference(filled(["ccc"], hash_id=collide))

    assert len(suspects) == 1
    assert Found(("aa", "bb"), 2) == find_all(ids, suspects)


def test_suspects_are_asked_by_id():
    """`in` takes an id: a second pass of anybody's own may ask."""
    suspects = filled(["a", "b", "a"]).duplicates()

    assert "a" in suspects
    assert "b" not in suspects
    assert len(suspects) == 1


def test_members_are_suspected_of_being_members():
    """And nobody else is."""
    suspects = filled(["a", "b", "a"]).suspects()

    assert len(suspects) == 2
    assert [True, True, False] == [x in suspects for x in "abc"]


def test_innocents_that_collide_are_suspects():
    """A first pass never acquits the guilty, and may suspect the innocent."""
    suspects = filled(["aa", "bb", "c"], hash_id=collide).duplicates()

    assert ["aa", "bb", "zz"] == [x for x in ["aa", "bb", "c", "zz"] if x in suspects]


def test_length_counts_additions():
    """A repeated id counts each time, added alone or in a batch."""
    made = filled(["a", "b", "a"])
    made.update(["a"])

    assert len(made) == 4


def test_more_suspects_than_are_tracked_are_counted_all_the_same():
    """The first ones are named; the count is that of all."""
    ids = [f"r-{number}" for number in range(100)]
    twice = [*ids, *ids]

    assert Found(("r-0", "r-1", "r-2"), 100) == find_all(
        ids, filled(ids).difference(IdSet()), tracked=3
    )
    assert Found(("r-0", "r-1", "r-2"), 100) == find_all(
        twice, filled(twice).duplicates(), least=2, tracked=3
    )


def test_nothing_suspected_reads_nothing():
    """Without suspects the second pass does not even begin."""
    suspects = filled(["a", "b"]).duplicates()

    assert Found((), 0) == find_all(iter(lambda: pytest.fail("it was read"), 1), suspects, least=2)


def test_surrogates_and_long_ids_are_ids():
    """What a JSON string can hold can be an id."""
    ids = ["\ud800", "x" * 10_000, "", "\x00", "\ud800"]

    assert Found(("\ud800",), 1) == repeated(ids)


def test_memory_is_some_ten_bytes_an_id():
    """Ten million ids fit into 150 MiB: two hundred thousand stay below a fiftieth of that."""
    tracemalloc.start()
    try:
        made = filled(f"request-{number}" for number in range(200_000))
        suspects = made.duplicates()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(suspects) == 0
    assert peak < 3 * 2**20
