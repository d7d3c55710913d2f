"""The door to the polls of a client: its pollers, and the look-up of the account for waits."""

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
        """Look up the client's account by the rules of a follower's wait.

        A failed look-up is a failed poll. As polls do, it waits for the look-ups of others for a
        quarter of its interval, so that a thousand waits ask as often as one.

        Returns when the account is known, or the follower needs no other poll.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
            ConfigurationError: The key sees no account, or several.
        """
        goes_on = True
        while goes_on and self._account.id is None:
            found = await self._look_up(follower.machine)
            goes_on = not isinstance(found, Failure) or follower.failed(found)

    async def _look_up(self, machine: PollMachine) -> str | Failure:
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
        """Send a request once; a 429 closes the gate for the shortest pause of all who wait."""
        await self._api.session.sleep_until(self._api.session.gate.opens_at)
        return await self._api.transport.send_once(request, pause=min(self._pauses, default=0.0))

    def close(self) -> None:
        """End all polls with `ClientStateError`."""
        error = ClientStateError("the client is closed")
        self._account.end_polls(error)
        for poller in self._pollers.values():
            poller.close(error)

    async def settled(self) -> None:
        """Wait until the requests of polls that have ended are gone too."""
        for poller in self._pollers.values():
            await poller.settled()
