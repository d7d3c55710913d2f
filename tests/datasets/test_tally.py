"""How far a transfer is, and when its caller is told."""

import pytest

from fireworks_batch.datasets.download import Tally

STEP = 512 * 1024


@pytest.fixture
def told():
    """What was told."""
    return []


@pytest.fixture
def tally(told) -> Tally:
    """A tally of two files of a MiB each."""
    made = Tally(lambda *pair: told.append(pair))
    made.expect("a", 2 * STEP)
    made.expect("b", 2 * STEP)
    return made


def test_the_beginning_and_each_half_mib_is_told(tally, told):
    """And nothing in between."""
    for done in (0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP - 1, 2 * STEP):
        tally.set("a", done)

    assert told == [(0, 4 * STEP), (STEP, 4 * STEP), (2 * STEP, 4 * STEP)]


def test_the_end_of_a_file_is_told(tally, told):
    """However small; the files add up."""
    tally.end("a", 2 * STEP)
    tally.set("b", STEP)
    tally.end("b", STEP + 1)

    assert told == [(2 * STEP, 4 * STEP), (3 * STEP, 4 * STEP), (3 * STEP + 1, 3 * STEP + 1)]


def test_a_fall_is_told(tally, told):
    """A file that is started over."""
    tally.set("a", 2 * STEP)
    tally.set("a", 0)

    assert told == [(2 * STEP, 4 * STEP), (0, 4 * STEP)]


def test_there_is_never_more_done_than_in_all(told):
    """Also where a length is not known."""
    tally = Tally(lambda *pair: told.append(pair))
    tally.expect("a", None)
    tally.set("a", STEP)

    assert told == [(STEP, STEP)]


def test_nobody_need_be_told():
    """Without a callback it only counts."""
    tally = Tally(None)
    tally.set("a", STEP)
    tally.end("a", STEP)
