"""The identity of a client: the API key, which is kept out of texts, and the account."""

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
    """Work that is done once for all callers that ask for the result while the work is under way.

    A caller may wait, until a given moment, for work that another caller begins. All callers get
    the result. Only callers that are due get a failure. When the last caller leaves, the work is
    cancelled; this caller returns when the work has ended.
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
            work: Begins the work. It is not called while the work of another caller is under way.
            due: A failure before this moment of the loop's clock does not concern this caller.
            latest: At this moment of the loop's clock the caller begins the work itself.

        Raises:
            Exception: The error of the work. Each caller gets its own copy of an error of this
                library.
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
                caller.exception()  # otherwise asyncio logs an error that was never read
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
            return  # the last caller has cancelled this task
        self._task = None
        waiting = [caller for caller in self._callers if not caller.done()]
        if task.cancelled():
            # Neither a caller nor `_stop` has cancelled the task.
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
                task.exception()  # see `get`


def own(error: _Error) -> _Error:
    """Return an error for one of several callers, as a copy if it is an error of this library."""
    return copy.copy(error) if isinstance(error, FireworksBatchError) else error


class Account:
    """Has the account's id, or asks the server for the id once, when it is first needed.

    Calls share a request that is repeated by the retry policy. Polls share a request that is sent
    once: the wait decides about the next one.
    """

    def __init__(self, account_id: str | None) -> None:
        """Keep the given id.

        Args:
            account_id: The account's id, or None.
        """
        self.id = account_id
        """The account's id; None until it is given, or learned from the server."""
        self._calls: Shared[str] = Shared()
        self._polls: Shared[str] = Shared()

    async def resolve(self, send: Callable[[Request], Awaitable[Answer]]) -> str:
        """Return the account's id; several callers at once share one request.

        Args:
            send: Sends a request, and repeats it.

        Raises:
            ConfigurationError: The key sees no account, or more than one.
            FireworksBatchError: The error of ``send``, or the answer cannot be read.
        """
        return self.id or await self._calls.get(partial(self._look_up, send))

    async def poll(
        self, send: Callable[[Request], Awaitable[Answer]], *, due: float, latest: float
    ) -> str:
        """Return the account's id for a wait; several waits at once share one request.

        Args:
            send: Sends a request once.
            due: A failure before this moment of the loop's clock does not concern the wait.
            latest: Until this moment of the loop's clock the wait may wait for another wait's
                request.

        Raises:
            ConfigurationError: The key sees no account, or more than one.
            FireworksBatchError: The error of ``send``, or the answer cannot be read.
        """
        return self.id or await self._polls.get(
            partial(self._look_up, send), due=due, latest=latest
        )

    def end_polls(self, error: Exception) -> None:
        """End the requests of all waits with an error."""
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
"""An API key, or a function, sync or async, that returns the key before each request."""


# This many of the newest keys are kept out of texts. Each request under way may have its own key.
_REMEMBERED: Final = 32


# Least characters of a key that is kept out of texts. A shorter key is a word for a test server,
# such as "test", which may also be in the data.
_SHORTEST: Final = 12


# The characters that an HTTP header can have, without white space.
_KEY: Final = re.compile(r"[!-~]+", re.ASCII).fullmatch


class KeySource:
    """Has the key, or asks for it; remembers the newest keys, to keep them out of texts."""

    def __init__(self, api_key: ApiKey) -> None:
        """Keep the key, or the function that returns it.

        Args:
            api_key: The key, or a function that returns the key.

        Raises:
            ConfigurationError: The value cannot be a key or a function.
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
            ConfigurationError: The function returned no valid key, or its first call failed.
            TransportError: A later call of the function failed; the next call may succeed.
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
        """Ask for the key, and hide the text of an error, since the text may show the key."""
        try:
            answer = ask()
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as exc:  # noqa: BLE001 - raised again below, without its text
            kind = type(exc).__name__
        if self._bearer is None:
            raise ConfigurationError(
                f"the api_key function raised {kind} when it was called for the first time"
            )
        raise TransportError(f"the api_key function raised {kind}")

    def scrub(self, text: str) -> str:
        """Return a text of the server with the keys replaced."""
        for key in self._newest:
            text = text.replace(key, "***")
        return text

    def scrubbed(self, answer: Answer) -> Answer:
        """Return an answer with the keys replaced; it is the same answer if it has no key in it.

        Models and errors are read only from the returned answer. Of the headers, only two are
        shown in texts.
        """
        body, headers = answer.body, answer.headers
        has_escapes = b"\\" in body and b"\\u00" in body  # the test for one byte is quick
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
    """Return a pattern of a key in JSON, where any letter may be escaped by its number."""
    spellings = (rf"(?:{re.escape(letter)}|(?<!\\)\\u00(?i:{ord(letter):02x}))" for letter in key)
    return "".join(spellings).encode()


def _bearer(key: Any) -> Secret:
    """Return the header's value; white space around the key is dropped."""
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
