"""How a page of a listing is read, and what tells the last one. Performs no I/O."""

from typing import Any

import attrs

from fireworks_batch.errors import ResponseDecodeError

__all__ = ["Page", "read_page"]


@attrs.frozen(kw_only=True)
class Page:
    """One page of a listing, its items as they came."""

    items: tuple[Any, ...]
    """JSON values, one for each item."""

    next_page_token: str
    """What the next page is asked for with; empty on the last one."""


def read_page(value: Any, key: str) -> Page:
    """Read a page.

    Args:
        value: The answer's JSON value.
        key: The member that holds the items, as ``"batchInferenceJobs"``; absent, null and empty
            all mean that there are none.

    Raises:
        ResponseDecodeError: It is no page of such items.
    """
    if not isinstance(value, dict):
        raise _unreadable(key, "expected an object")
    items = value.get(key)
    if items is not None and not isinstance(items, list):
        raise _unreadable(key, f"{key}: expected a list, not {type(items).__name__}")
    # An absent and an empty token both end the list (documented).
    token = value.get("nextPageToken") or ""
    if not isinstance(token, str):
        raise _unreadable(key, f"nextPageToken: expected a string, not {type(token).__name__}")
    return Page(items=tuple(items or ()), next_page_token=token)


def _unreadable(key: str, problem: str) -> ResponseDecodeError:
    return ResponseDecodeError(f"cannot read a page of {key}: {problem}", problems=[problem])
