"""Answer the calls about accounts and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .answers import Answer, answer_json
from .filters import read_filter
from .masks import member_path, read_view
from .ordering import put_in_order, read_order
from .paging import ListQuestion, read_page_size
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
        question = ListQuestion.read(call)
        size = read_page_size(question.page_size)
        view = read_view(question.read_mask, ACCOUNT, self._world.setting.rules)
        accounts = self._wanted(question)
        tokens, now = self._world.tokens, self._world.clock.now()
        fingerprint = question.fingerprint("accounts")
        token = question.page_token
        start = tokens.read(token, fingerprint, now) if token else 0
        end = start + size
        more = end < len(accounts)
        return answer_json(
            {
                "accounts": [view.show(account) for account in accounts[start:end]],
                "nextPageToken": tokens.write(end, fingerprint, now) if more else "",
                "totalSize": len(accounts),
            }
        )

    def _wanted(self, question: ListQuestion) -> list[dict[str, object]]:
        accounts = [self._account(name) for name in self._world.setting.accounts]
        if question.filter.strip():
            terms = read_filter(question.filter, _path)
            accounts = [a for a in accounts if all(term.is_met_by(a) for term in terms)]
        return put_in_order(accounts, read_order(question.order_by, _path), lambda a: a)

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


def _path(name: str) -> tuple[str, ...]:
    return member_path(name, ACCOUNT, what="field")
