"""Tell whoever watches what each request was and how it was answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import attrs

from .request_log import RecordedRequest


@attrs.frozen(kw_only=True)
class Exchange:
    """A request that is done with, and what the emulator answered."""

    request: RecordedRequest
    """The request as the log has it."""

    body: bytes | None
    """The answer's body; None if there was no answer, or if it was a file."""

    is_genuine: bool
    """Whether the answer is the emulator's own: no fault and no script's `fields` changed it."""


Watch: TypeAlias = Callable[[Exchange], None]


class Watches:
    """The watches under which an emulator is made."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []

    @contextmanager
    def keep(self, watch: Watch) -> Iterator[None]:
        """Keep *watch* for emulators made within."""
        self._watches.append(watch)
        try:
            yield
        finally:
            self._watches.remove(watch)

    def all(self) -> tuple[Watch, ...]:
        """Give the watches that are kept now."""
        return tuple(self._watches)
