"""The API key: asked for before each request, and kept out of sight."""

import asyncio
import copy
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from fireworks_batch.models.errors import ConfigurationError, FireworksBatchError, TransportError
from fireworks_batch.models.names import check_id
from fireworks_batch.wire.answers import Answer, read_accounts
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import Request, list_accounts

__all__ = ["Account", "ApiKey", "KeySource", "Secret", "Shared", "hidden", "own"]


_T = TypeVar("_T")


_Error = TypeVar("_Error", bound=BaseException)


class Shared(Generic[_T]):
    """Work that is done once for all who want it while it is under way, its failure too.

    Whoever leaves, cancelled, strands nobody; the last one to leave ends the work.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        self._task: asyncio.Task[_T] | None = None
        self._waiting = 0

    async def get(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what the work gives; of several callers at once, one has theirs done.

        Args:
            work: Begins it.

        Raises:
            Exception: What the work raised; an error of ours as a copy for each caller.
        """
        while True:
            task = self._joined(work)
            try:
                await asyncio.wait([task])
            finally:
                await self._left(task)
            if not task.cancelled():
                break  # else somebody has ended it who does not wait for it
        error = task.exception()
        if error is not None:
            raise own(error)
        return task.result()

    def _joined(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> asyncio.Task[_T]:
        if self._task is None or self._task.done():
            self._task, self._waiting = asyncio.create_task(work()), 0
        self._waiting += 1
        return self._task

    async def _left(self, task: asyncio.Task[_T]) -> None:
        if task is not self._task:
            return
        self._waiting -= 1
        if not self._waiting:
            self._task = None
            task.cancel()
            # It is gone before whoever was cancelled is; its error, if it has one, is nobody's.
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()


def own(error: _Error) -> _Error:
    """Return an error for one of those whom it is told: a copy of it, if it is ours."""
    return copy.copy(error) if isinstance(error, FireworksBatchError) else error


class Account:
    """Knows the account's id, or looks it up once, when it is first needed."""

    def __init__(self, account_id: str | None) -> None:
        """Take what is known.

        Args:
            account_id: The id, or None.
        """
        self.id = account_id
        """The account's id; None until given or looked up."""
        self._look_ups: Shared[str] = Shared()

    async def resolve(self, send: Callable[[Request], Awaitable[Answer]]) -> str:
        """Return the account's id; of several callers at once, one asks.

        Args:
            send: Sends a request, and repeats it.

        Raises:
            ConfigurationError: The key sees no account, or more than one.
            FireworksBatchError: What ``send`` raises, or the answer cannot be read.
        """
        return self.id or await self._look_ups.get(partial(self.look_up, send))

    async def look_up(self, send: Callable[[Request], Awaitable[Answer]]) -> str:
        """Ask for the account's id, whoever else does, and remember it.

        Args:
            send: Sends a request.

        Raises:
            ConfigurationError: The key sees no account, or more than one.
            FireworksBatchError: What ``send`` raises, or the answer cannot be read.
        """
        answer = await send(list_accounts())
        self.id = _only_one(read_accounts(parse_json(answer.body)))
        return self.id


def _only_one(ids: list[str]) -> str:
    match ids:
        case [account_id]:
            return check_id("account id", account_id)
        case []:
            raise ConfigurationError("this API key sees no account: pass account_id=")
        case _:
            raise ConfigurationError(
                f"this API key sees several accounts ({', '.join(ids)}): pass account_id="
            )


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
