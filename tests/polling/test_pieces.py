"""A page cut into the texts of its jobs says what the whole page says."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models.errors import ResponseDecodeError
from fireworks_batch.polling.page_round import cut

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def job(number: int, **members) -> dict:
    """An item of a page."""
    return {"name": f"accounts/acme/batchInferenceJobs/job-{number}", "state": "RUNNING", **members}


def page(items: list, token: str = "next") -> bytes:  # noqa: S107 - a page token
    """A page as the server writes it."""
    return orjson.dumps({"batchInferenceJobs": items, "nextPageToken": token, "totalSize": 7})


@given(st.lists(st.dictionaries(st.text(), values, max_size=3), min_size=1, max_size=5), st.text())
def test_the_pieces_are_the_page(members, token):
    """Whatever the members hold: each text reads as its job, and the tail as the last one."""
    items = [{**job(number), **extra, **job(number)} for number, extra in enumerate(members)]
    pieces = cut(page(items, token), "acme")
    assert pieces is not None
    assert [pieces.read(text) for text in pieces.texts] + list(pieces.tail.items) == items
    assert pieces.tail.next_page_token == token
    assert [text[: text.find(b'"')] for text in pieces.texts] == [
        f"job-{number}".encode() for number in range(len(items) - 1)
    ]


@given(st.text())
def test_a_head_within_a_string_is_no_head(text):
    """Its quotation marks are escaped there."""
    evil = '{"name":"accounts/acme/batchInferenceJobs/job-9"' + text
    items = [job(0, displayName=evil), job(1)]
    pieces = cut(page(items), "acme")
    assert [pieces.read(piece) for piece in pieces.texts] == items[:1]


def test_white_space_does_no_harm():
    """Protojson may write a space here and there."""
    body = (
        b'{ "batchInferenceJobs": [{"name": "accounts/acme/batchInferenceJobs/a", "n": 1}, '
        b'{"name": "accounts/acme/batchInferenceJobs/b", "n": 2}], "nextPageToken": "t"}'
    )
    pieces = cut(body, "acme")
    assert pieces.read(pieces.texts[0])["n"] == 1
    assert pieces.tail.items[0]["n"] == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"not JSON",
        page([]),
        page([{"state": "X", "name": "y"}]),
        page([{"name": "accounts/other/batchInferenceJobs/a"}]),
        page([job(0), job(1)])[:-10],
        b'{"totalSize":1,' + page([job(0)])[1:],
    ],
)
def test_a_page_that_is_written_otherwise_is_not_cut(body):
    """It is read as a whole then, or refused as a whole."""
    assert cut(body, "acme") is None


def test_a_job_within_a_job_is_found_out():
    """A text that is no whole job is refused, and the page is read as a whole."""
    pieces = cut(page([job(0, before=job(7), after=1), job(1)]), "acme")
    with pytest.raises(ResponseDecodeError):
        pieces.read(pieces.texts[0])
