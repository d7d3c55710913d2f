"""The pollers of a client, and the request for the account that waits make."""

from fireworks_batch.connection.api import Api
from fireworks_batch.models.errors import ClientStateError
from fireworks_batch.polling.followers import Follower
from fireworks_batch.polling.machine import Failure, PollMachine
from fireworks_batch.polling.observation import JobSource, attempt
from fireworks_batch.polling.poller import Poller
from fireworks_batch.polling.schedule import latest
from fireworks_batch.wire.answers import Answer
from fireworks_batch.wire.requests import Request

__all__ = ["Pollers"]


class Pollers:
    """The pollers of a client, one for each account whose jobs are followed."""

    def __init__(self, api: Api) -> None:
        """Begin without pollers."""
        self._api = api
        self._account = api.account
        self._source = JobSource(api)
        self._pollers: dict[str, Poller] = {}
        self._pauses: list[float] = []

    def of(self, account_id: str) -> Poller:
        """Return the poller of an account's jobs."""
        if account_id not in self._pollers:
            self._pollers[account_id] = Poller(account_id, self._source)
        return self._pollers[account_id]

    async def find_account(self, follower: Follower) -> None:
        """Find the client's account by the rules of a follower's wait.

        A failed request for the account is a failed poll. Like a poll, such a request waits for the
        requests of other waits for a quarter of its interval. So a thousand waits send as many
        requests as one wait.

        Returns when the account is known, or when the follower needs no other poll.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
            ConfigurationError: The key sees no account, or several.
        """
        goes_on = True
        while goes_on and self._account.id is None:
            found = await self._poll_account(follower.machine)
            goes_on = not isinstance(found, Failure) or follower.failed(found)

    async def _poll_account(self, machine: PollMachine) -> str | Failure:
        self._api.session.ready()
        pause, due, deadline = machine.pause, machine.due, machine.deadline
        until = latest(due, now=self._api.clock(), interval=pause, deadline=deadline)
        self._pauses.append(pause)
        try:
            return await attempt(
                self._account.poll(self._send, due=due, latest=until), deadline=deadline
            )
        finally:
            self._pauses.remove(pause)

    async def _send(self, request: Request) -> Answer:
        """Send a request once; a 429 closes the gate for the shortest pause of all waits."""
        await self._api.session.sleep_until(self._api.session.gate.opens_at)
        return await self._api.transport.send_once(request, pause=min(self._pauses, default=0.0))

    def close(self) -> None:
        """End all polls with `ClientStateError`."""
        error = ClientStateError("the client is closed")
        self._account.end_polls(error)
        for poller in self._pollers.values():
            poller.close(error)

    async def settled(self) -> None:
        """Wait until the requests of ended polls have ended too."""
        for poller in self._pollers.values():
            await poller.settled()
