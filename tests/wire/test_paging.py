"""How a page of a listing is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.models.errors import ResponseDecodeError
from fireworks_batch.wire.answers import Page, read_page

KEY = "batchInferenceJobs"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_a_page_has_items_and_a_token():
    """Both are read as they stand; a total, or anything else, is passed over."""
    value = {KEY: [{"name": "a"}, 5], "nextPageToken": "CAE", "totalSize": 61}

    assert read_page(value, KEY) == Page(items=({"name": "a"}, 5), next_page_token="CAE")


@pytest.mark.parametrize(
    "value", [{}, {KEY: None, "nextPageToken": None}, {KEY: [], "nextPageToken": ""}]
)
def test_an_empty_page_is_the_last(value):
    """Absent, null and empty mean the same."""
    assert read_page(value, KEY) == Page(items=(), next_page_token="")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "expected an object"),
        ({KEY: {}}, f"{KEY}: expected a list, not dict"),
        ({KEY: [], "nextPageToken": 5}, "nextPageToken: expected a string, not int"),
    ],
)
def test_what_is_no_page_is_refused(value, problem):
    """The error says what was expected, and where."""
    with pytest.raises(ResponseDecodeError) as caught:
        read_page(value, KEY)

    assert f"cannot read a page of {KEY}: {problem}" == str(caught.value)
    assert (problem,) == caught.value.problems


@given(value=JSON | st.fixed_dictionaries({}, optional={KEY: JSON, "nextPageToken": JSON}))
def test_any_value_is_a_page_or_refused(value):
    """No other exception comes out."""
    try:
        page = read_page(value, KEY)
    except ResponseDecodeError:
        return
    assert isinstance(page.next_page_token, str)
