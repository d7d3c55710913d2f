"""Looks at jobs: the account found out, and one poller for all looks at an account's jobs."""

from collections.abc import Awaitable

from fireworks_batch.account import Account
from fireworks_batch.effects import Failure, Follower
from fireworks_batch.locating import Locator
from fireworks_batch.names import JobRef
from fireworks_batch.poller import Poller
from fireworks_batch.reading import JobReader
from fireworks_batch.subjects import Interest
from fireworks_batch.transport import Transport

__all__ = ["Looks"]


class Looks:
    """All looks of a client. Ends with `close`."""

    def __init__(self, transport: Transport, account: Account, reader: JobReader) -> None:
        """Take what looks are made with.

        Args:
            transport: Sends.
            account: Knows whose jobs they are.
            reader: Reads what comes back.
        """
        self._transport = transport
        self._locator = Locator(transport, account)
        self._reader = reader
        self._pollers: dict[str, Poller] = {}

    def follow(self, ref: JobRef, follower: Follower) -> Awaitable[None]:
        """Look at a job until the follower has enough: see `effects.Follow`."""
        return self.poller(ref.account_id).follow(ref, follower)

    def join(self, ref: JobRef, follower: Follower) -> Interest:
        """Begin to look at a job; whoever does has to `leave`."""
        return self.poller(ref.account_id).join(ref, follower)

    def leave(self, ref: JobRef, interest: Interest) -> None:
        """Look no more."""
        self.poller(ref.account_id).leave(interest)

    def check(self) -> None:
        """Raise `ClientStateError` unless looks could be made now, on this loop."""
        self._transport.check()

    def poller(self, account_id: str) -> Poller:
        """Return who looks at the jobs of an account."""
        if account_id not in self._pollers:
            self._pollers[account_id] = Poller(account_id, self._transport, self._reader)
        return self._pollers[account_id]

    async def locate(
        self, job_id: str, *, due: float, deadline: float, pause: float
    ) -> JobRef | Failure:
        """Find out the account of a job: see `effects.Locate`."""
        found = await self._locator.locate(due=due, deadline=deadline, pause=pause)
        if isinstance(found, Failure):
            return found
        return JobRef(found, job_id, self._transport.base_url)

    def close(self) -> None:
        """End all looks with `ClientStateError`."""
        self._locator.close()
        for poller in self._pollers.values():
            poller.close()

    async def settled(self) -> None:
        """Wait until the requests of looks that have ended are gone too."""
        await self._locator.settled()
        for poller in self._pollers.values():
            await poller.settled()
