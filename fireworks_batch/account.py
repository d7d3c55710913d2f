"""Whose jobs they are: the account given, or the only one that the key can see."""

from collections.abc import Awaitable, Callable
from functools import partial

from fireworks_batch import calls, http, wire
from fireworks_batch.calls import Request
from fireworks_batch.errors import ConfigurationError
from fireworks_batch.http import Answer
from fireworks_batch.names import check_id
from fireworks_batch.sharing import Shared

__all__ = ["Account"]


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
        answer = await send(calls.list_accounts())
        self.id = _only_one(http.read_accounts(wire.parse_json(answer.body)))
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
