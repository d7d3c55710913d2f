"""Who the client is: the API key, kept out of sight, and the account."""

import asyncio
import copy
import inspect
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs
from multidict import CIMultiDict

from fireworks_batch.models.errors import ConfigurationError, FireworksBatchError, TransportError
from fireworks_batch.models.names import check_id
from fireworks_batch.models.texts import Secret
from fireworks_batch.wire.answers import Answer, read_accounts
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import Request, list_accounts

__all__ = ["Account", "ApiKey", "KeySource", "Shared", "own"]


_T = TypeVar("_T")


_Error = TypeVar("_Error", bound=BaseException)


class Shared(Generic[_T]):
    """Work that is done once for all callers who want its result while it is under way.

    A caller may wait for work that another caller begins, until a moment of its own. A result is
    for all callers. A failure is for the callers whose moment has come. The last caller to leave
    ends the work, and is gone no earlier than the work is.
    """

    def __init__(self) -> None:
        """Begin without callers."""
        self._task: asyncio.Task[_T] | None = None
        self._callers: dict[asyncio.Future[_T], float] = {}

    async def get(
        self,
        work: Callable[[], Coroutine[Any, Any, _T]],
        *,
        due: float = -math.inf,
        latest: float = -math.inf,
    ) -> _T:
        """Return the result of the work.

        Args:
            work: Begins the work, unless the work of another caller is under way.
            due: A failure before this moment of the loop's clock is not this caller's.
            latest: At this moment of the loop's clock the caller begins the work itself.

        Raises:
            Exception: What the work raised; an error of ours as a copy for each caller.
        """
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[_T] = loop.create_future()
        self._callers[caller] = due
        timer = None
        if latest > loop.time():
            timer = loop.call_at(latest, self._begin, work, caller)
        else:
            self._begin(work, caller)
        try:
            return await caller
        finally:
            if timer is not None:
                timer.cancel()
            if not caller.cancelled() and caller.done():
                caller.exception()  # asyncio complains of one that nobody has asked for
            del self._callers[caller]
            if not self._callers:
                await self._stop()

    def end(self, error: Exception) -> None:
        """End the wait of all callers with an error."""
        for caller in self._callers:
            if not caller.done():
                caller.set_exception(own(error))

    def _begin(
        self, work: Callable[[], Coroutine[Any, Any, _T]], caller: asyncio.Future[_T]
    ) -> None:
        if caller.done():
            return
        self._callers[caller] = -math.inf
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(work())
            self._task.add_done_callback(partial(self._done, work))

    def _done(self, work: Callable[[], Coroutine[Any, Any, _T]], task: asyncio.Task[_T]) -> None:
        if task is not self._task:
            return  # the last caller has ended it
        self._task = None
        waiting = [caller for caller in self._callers if not caller.done()]
        if task.cancelled():
            # Another task than the callers has cancelled it.
            for caller in waiting[:1]:
                self._begin(work, caller)
            return
        error, now = task.exception(), asyncio.get_running_loop().time()
        for caller in waiting:
            if error is None:
                caller.set_result(task.result())
            elif self._callers[caller] <= now:
                caller.set_exception(own(error))

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # as above


def own(error: _Error) -> _Error:
    """Return an error for one of several callers: a copy of the error, if it is ours."""
    return copy.copy(error) if isinstance(error, FireworksBatchError) else error


class Account:
    """Knows the account's id, or looks it up once, when it is first needed.

    Plain calls share look-ups whose requests are repeated. Polls share look-ups of one request
    each: the wait decides about the next one.
    """

    def __init__(self, account_id: str | None) -> None:
        """Take what is known.

        Args:
            account_id: The id, or None.
        """
        self.id = account_id
        """The account's id; None until given or looked up."""
        self._calls: Shared[str] = Shared()
        self._polls: Shared[str] = Shared()

    async def resolve(self, send: Callable[[Request], Awaitable[Answer]]) -> str:
        """Return the account's id; of several callers at once, one asks.

        Args:
            send: Sends a request, and repeats it.

        Raises:
            ConfigurationError: The key sees no account, or more than one.
            FireworksBatchError: What ``send`` raises, or the answer cannot be read.
        """
        return self.id or await self._calls.get(partial(self._look_up, send))

    async def poll(
        self, send: Callable[[Request], Awaitable[Answer]], *, due: float, latest: float
    ) -> str:
        """Return the account's id, for a wait; of several waits at once, one asks.

        Args:
            send: Sends a request once.
            due: The wait takes no failure before this moment of the loop's clock.
            latest: Until this moment of the loop's clock the wait waits for the request of another.

        Raises:
            ConfigurationError: The key sees no account, or more than one.
            FireworksBatchError: What ``send`` raises, or the answer cannot be read.
        """
        return self.id or await self._polls.get(
            partial(self._look_up, send), due=due, latest=latest
        )

    def end_polls(self, error: Exception) -> None:
        """End the look-ups of all waits with an error."""
        self._polls.end(error)

    async def _look_up(self, send: Callable[[Request], Awaitable[Answer]]) -> str:
        if self.id is None:
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


# Keys that a server may echo: those of the requests under way, if each of them has another one.
_REMEMBERED: Final = 32


# Characters of a key, at least. A shorter text is a word for a server of tests, as "test", and may
# stand in the data.
_SHORTEST: Final = 12


# What an HTTP header can carry, without white space.
_KEY: Final = re.compile(r"[!-~]+", re.ASCII).fullmatch


class KeySource:
    """Knows the key, or asks for it; remembers the newest ones to keep them out of texts."""

    def __init__(self, api_key: ApiKey) -> None:
        """Take the key.

        Args:
            api_key: The key, or who is asked for it.

        Raises:
            ConfigurationError: It cannot be a key.
        """
        self._ask = None if isinstance(api_key, str) else api_key
        self._newest: deque[Secret] = deque(maxlen=_REMEMBERED)
        self._bearer = self._noted(_bearer(api_key)) if isinstance(api_key, str) else None
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
            self._bearer = self._noted(_bearer(await self._asked(self._ask)))
        return self._bearer or ""

    def _noted(self, bearer: Secret) -> Secret:
        """Return the header's value, and remember the key in it."""
        key = Secret(bearer.removeprefix("Bearer "))
        if len(key) >= _SHORTEST and key not in self._newest:
            self._newest.append(key)
        return bearer

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
        """Return a text of the server without the keys in it."""
        for key in self._newest:
            text = text.replace(key, "***")
        return text

    def scrubbed(self, answer: Answer) -> Answer:
        """Return an answer without the keys in it: the same answer, unless the server echoes one.

        All that is read of an answer, models and errors, is read of what is returned here. Of the
        headers, texts show two.
        """
        body, headers = answer.body, answer.headers
        has_escapes = b"\\" in body and b"\\u00" in body  # to look for one byte takes no time
        shown = headers.get("x-request-id", "") + headers.get("location", "")
        for key in self._newest:
            body = body.replace(key.encode(), b"***")
            if has_escapes:
                body = re.sub(_in_json(key), b"***", body)
            if key in shown:
                headers = CIMultiDict(
                    (name, value.replace(key, "***")) for name, value in headers.items()
                )
        if body is answer.body and headers is answer.headers:
            return answer
        return attrs.evolve(answer, body=body, headers=headers)


def _in_json(key: str) -> bytes:
    """Return a pattern of a key in JSON, where any letter may be spelled by its number."""
    spellings = (rf"(?:{re.escape(letter)}|(?<!\\)\\u00(?i:{ord(letter):02x}))" for letter in key)
    return "".join(spellings).encode()


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
