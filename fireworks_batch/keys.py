"""The API key: asked for before each request, and kept out of sight."""

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from fireworks_batch.errors import ConfigurationError, TransportError

__all__ = ["ApiKey", "KeySource", "Secret", "hidden"]

ApiKey: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A key, or a function, sync or async, that is asked for it before each request."""

# What an HTTP header can carry, without white space.
_KEY: Final = re.compile(r"[!-~]+", re.ASCII).fullmatch


class Secret(str):
    """A string that does not show itself in a repr, and so not among a traceback's locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def hidden(api_key: Any) -> Any:
    """Return a key that is a string as one that does not show itself, anything else as it is."""
    return Secret(api_key) if isinstance(api_key, str) else api_key


class KeySource:
    """Knows the key, or asks for it; remembers the newest one to keep it out of texts."""

    def __init__(self, api_key: ApiKey) -> None:
        """Take the key.

        Args:
            api_key: The key, or who is asked for it.

        Raises:
            ConfigurationError: It cannot be a key.
        """
        self._ask = None if isinstance(api_key, str) else api_key
        self._bearer = _bearer(api_key) if isinstance(api_key, str) else None
        if self._ask is not None and not callable(self._ask):
            raise ConfigurationError(
                f"api_key must be a string or a function, not {type(api_key).__name__}"
            )

    async def bearer(self) -> str:
        """Return the value of the Authorization header.

        Raises:
            ConfigurationError: The function returned no key, or failed when first asked.
            TransportError: It failed later: the next attempt may do better.
        """
        if self._ask is not None:
            self._bearer = _bearer(await self._asked(self._ask))
        return self._bearer or ""

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        """Ask for the key, and keep whatever the function raises, which may show it, to itself."""
        try:
            answer = ask()
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as exc:  # noqa: BLE001 - raised anew below, without its text
            kind = type(exc).__name__
        if self._bearer is None:
            raise ConfigurationError(f"the api_key function raised {kind} when first asked")
        raise TransportError(f"the api_key function raised {kind}")

    def scrub(self, text: str) -> str:
        """Return a text without the key in it."""
        key = (self._bearer or "").removeprefix("Bearer ")
        return text.replace(key, "***") if key else text


def _bearer(key: Any) -> Secret:
    """Return the header's value; a line break around the key, as in a file, is no part of it."""
    kind, key = type(key).__name__, Secret(key.strip() if isinstance(key, str) else "")
    if not key:
        what = "empty" if kind in {"str", "Secret"} else f"{kind}, not a string"
        raise ConfigurationError(f"the API key is {what}; one looks like 'fw_…'")
    if not _KEY(key):
        raise ConfigurationError(
            "the API key has white space or other characters in it that no header can carry; "
            "one looks like 'fw_…'"
        )
    return Secret(f"Bearer {key}")
