"""What a run is made of: a file of requests, or requests as mappings."""

import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeAlias

__all__ = ["Requests"]

Requests: TypeAlias = (
    str | os.PathLike[str] | Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
)
"""A path (``.jsonl``, ``.jsonl.gz``), or mappings: any iterable of them, sync or async."""
