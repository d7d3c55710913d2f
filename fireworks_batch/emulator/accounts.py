"""The answers to calls about accounts and API keys."""

from typing import Final

from fireworks_batch.emulator.http.answers import Answer, answer_json
from fireworks_batch.emulator.http.messages import Field, Message
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.lists.paging import Listing
from fireworks_batch.emulator.setting import Setting

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
    """The calls about accounts."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "/v1/accounts", self.list_accounts)
        router.add("GET", "/verifyApiKey", self.verify_key)

    async def verify_key(self, _: Call) -> Answer:
        """Answer the check of a key: a header names its account (from one client's source)."""
        account_id = self._setting.account_id
        return answer_json({}, headers={"x-fireworks-account-id": account_id})

    async def list_accounts(self, call: Call) -> Answer:
        """Answer ListAccounts with the accounts that the key opens."""
        listing = Listing(self._setting, call, ACCOUNT, collection="accounts")
        return answer_json(listing.answer(map(self._account, self._setting.accounts)))

    def _account(self, account_id: str) -> dict[str, object]:
        created = self._setting.clock.timestamp(0)
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
