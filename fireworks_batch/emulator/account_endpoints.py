"""Answer the calls about accounts and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .answers import Answer, answer_json
from .item_listing import ItemListing
from .schema import Field, Message

if TYPE_CHECKING:
    from .routing import Call, Router
    from .world import World

ACCOUNT: Final = Message(
    Field("name"),
    Field("displayName"),
    Field("createTime", zero=None),
    Field("email"),
    Field("state", kind="enum", zero="STATE_UNSPECIFIED"),
    Field(
        "status",
        "message",
        zero=None,
        message=Message(Field("code", kind="enum", zero="OK"), Field("message")),
    ),
    Field("suspendState", kind="enum", zero="UNSUSPENDED"),
    Field("updateTime", zero=None),
)


class AccountEndpoints:
    """The calls of one noun, the account."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "/v1/accounts", self.list_accounts)
        router.add("GET", "/verifyApiKey", self.verify_key)

    async def verify_key(self, _: Call) -> Answer:
        """Tell, in a header, whose key it is: known from one client's source."""
        account_id = self._world.setting.account_id
        return answer_json({}, headers={"x-fireworks-account-id": account_id})

    async def list_accounts(self, call: Call) -> Answer:
        """Answer ListAccounts: the accounts that the key opens."""
        listing = ItemListing(self._world, call, ACCOUNT, collection="accounts")
        accounts = self._world.setting.accounts
        return answer_json(listing.answer(self._account(name) for name in accounts))

    def _account(self, account_id: str) -> dict[str, object]:
        created = self._world.clock.timestamp(0)
        return {
            "name": f"accounts/{account_id}",
            "displayName": account_id,
            "createTime": created,
            "email": f"dev@{account_id}.example",
            "state": "READY",
            "status": {"code": "OK", "message": ""},
            "suspendState": "UNSUSPENDED",
            "updateTime": created,
        }
