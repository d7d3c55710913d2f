"""What all parts of one emulator share: time, assumptions, accounts and random numbers."""

import string
from collections.abc import Mapping
from random import Random
from typing import Final
from uuid import UUID

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.clock import EmulatedClock
from fireworks_batch.emulator.members import read_choice

_LETTERS: Final = string.ascii_lowercase + string.digits


class Setting:
    """The time, the assumptions, the accounts and the random numbers of one emulator.

    Args:
        clock: The emulated time.

        rules: The positions of the switches.

        api_key: The only API key that is accepted.

        account_id: The id of the account that the key belongs to.

        accounts: The ids of the accounts that the key opens.

        seed: Determines everything that is random.
    """

    def __init__(
        self,
        *,
        clock: EmulatedClock,
        rules: Assumptions,
        api_key: str,
        account_id: str,
        accounts: tuple[str, ...],
        seed: int,
    ) -> None:
        self.clock = clock
        self.rules = rules
        self.api_key = api_key
        self.account_id = account_id
        self.accounts = accounts
        self.seed = seed
        self.has_altered_jobs = False
        """Whether any script has put ``fields`` into a job."""

        self._random = Random(seed)
        self._resets = 0

    def reset(self) -> None:
        """Begin the random numbers anew, and make all earlier signatures invalid."""
        self._random = Random(self.seed)
        self._resets += 1

    @property
    def secret(self) -> bytes:
        """The key of all signatures, until the next reset."""
        return f"{self.seed}/{self._resets}".encode()

    def random_id(self, prefix: str) -> str:
        """Return a new id in the server's form, *prefix* and eight letters or digits."""
        return prefix + "".join(self._random.choices(_LETTERS, k=8))

    def request_id(self) -> str:
        """Return a new id of a request."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def nanoseconds(self) -> int:
        """Return the last three of nine fractional digits of a time."""
        return self._random.randrange(1, 1000)

    def has_account(self, account_id: str) -> bool:
        """Whether the key opens this account."""
        return account_id == self.account_id or account_id in self.accounts

    def read_account(self, members: Mapping[str, object]) -> str:
        """Return the account that a control request names, or the emulator's own account.

        Raises:
            ControlError: The key does not open this account.
        """
        given = members.get("account_id") or self.account_id
        return read_choice(
            "account_id", given, {self.account_id: None, **dict.fromkeys(self.accounts)}
        )
