"""How far a transfer is, and when its caller is told. Performs no I/O."""

from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["Progress", "Tally"]

Progress: TypeAlias = Callable[[int, int], object]
"""Is told bytes done and bytes in all."""

_STEP: Final = 512 * 1024


class Tally:
    """Bytes of all files of a transfer; the caller is told seldom enough to do something then."""

    def __init__(self, told: Progress | None) -> None:
        """Begin with nothing.

        Args:
            told: Whom to tell; nobody if None. What it raises goes to whoever counts.
        """
        self._told = told
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._last: int | None = None

    def expect(self, name: str, total: int | None) -> None:
        """Take a file's length, where it is known."""
        if total is not None:
            self._totals[name] = total

    def set(self, name: str, done: int) -> None:
        """Take how much of a file is done; tell it at first, and then for each half MiB."""
        self._done[name] = done
        now = sum(self._done.values())
        if self._last is None or abs(now - self._last) >= _STEP:
            self._tell(now)

    def end(self, name: str, size: int) -> None:
        """Take a file as done, and tell it."""
        self._done[name] = self._totals[name] = size
        self._tell(sum(self._done.values()))

    def _tell(self, now: int) -> None:
        self._last = now
        if self._told is not None:
            self._told(now, max(now, sum(self._totals.values())))
