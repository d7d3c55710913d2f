"""Looks at jobs: the account found out, and one poller for all looks at an account's jobs."""

import asyncio
import contextvars
import math
from collections.abc import Awaitable
from functools import partial
from typing import Any

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.connection.credentials import own
from fireworks_batch.models.errors import ClientStateError, ConfigurationError, FireworksBatchError
from fireworks_batch.models.names import JobRef
from fireworks_batch.polling.followers import Interest
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.polling.observation import Failure, Follower, JobReader, failure_of
from fireworks_batch.polling.poller import Poller
from fireworks_batch.polling.schedule import latest as schedule_latest

__all__ = ["Locator", "Looks"]


@attrs.define(eq=False)
class _Asker:
    """Somebody who waits for the account's id."""

    due: float
    pause: float
    future: "asyncio.Future[str | Failure]"
    has_asked: bool = False
    """Whether they have waited for others for long enough."""


class Locator:
    """Looks the account up for waits: each by its own rules, and all with the same requests.

    One look-up answers all who are due at its end. One that is due waits for others as a look
    does; where look-ups fail, a thousand waits ask as often as one. Nothing is left behind when
    the last one who asks has left.
    """

    def __init__(self, api: Api) -> None:
        """Take what it asks with.

        Args:
            api: Sends.
        """
        self._api = api
        self._account = api.account
        self._askers: set[_Asker] = set()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def locate(self, *, due: float, deadline: float, pause: float) -> str | Failure:
        """Return the account's id, or how a look-up failed; see `effects.Locate`.

        Raises:
            ClientStateError: The client is closed, or belongs to another loop.
            ConfigurationError: The key sees no account, or several.
        """
        self._api.session.ready()
        if self._account.id is not None:
            return self._account.id
        loop = asyncio.get_running_loop()
        latest = schedule_latest(due, now=loop.time(), interval=pause, deadline=deadline)
        asker = _Asker(due, pause, loop.create_future())
        self._askers.add(asker)
        timer = loop.call_at(latest, self._begin, asker, context=contextvars.Context())
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                return await asker.future
        except FireworksBatchError:
            raise
        except TimeoutError:
            return Failure(FailureKind.CUT, None)
        finally:
            timer.cancel()
            self._askers.discard(asker)
            if not self._askers:
                self._stop()

    def close(self) -> None:
        """Wake everybody with `ClientStateError`."""
        self._end(ClientStateError("the client is closed"))

    async def settled(self) -> None:
        """Wait for the last request to be gone, after everybody has left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, asker: _Asker) -> None:
        asker.has_asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(
                self._look_up(), context=contextvars.Context()
            )
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _look_up(self) -> None:
        pause = min(one.pause for one in self._askers)
        try:
            await self._api.session.sleep_until(self._api.session.gate.opens_at)
            news: Any = await self._account.look_up(
                partial(self._api.transport.send_once, pause=pause)
            )
        except (ClientStateError, ConfigurationError) as error:
            self._end(error)
        except FireworksBatchError as error:
            self._tell(failure_of(error))
        except Exception as bug:  # noqa: BLE001 - handed on to everybody
            self._end(bug)
        else:
            self._tell(news)

    def _tell(self, news: str | Failure) -> None:
        """Tell all who are due, each of an error of their own; an id is for everybody."""
        now = self._api.clock()
        for asker in self._askers:
            if isinstance(news, str):
                _answer(asker, news)
            elif asker.has_asked or asker.due <= now:
                _answer(asker, attrs.evolve(news, error=own(news.error) if news.error else None))

    def _end(self, error: Exception) -> None:
        for asker in self._askers:
            if not asker.future.done():
                asker.future.set_exception(own(error))


def _answer(asker: _Asker, news: str | Failure) -> None:
    if not asker.future.done():
        asker.future.set_result(news)


class Looks:
    """All looks of a client. Ends with `close`."""

    def __init__(self, api: Api, reader: JobReader) -> None:
        """Take what looks are made with.

        Args:
            api: Sends.
            reader: Reads what comes back.
        """
        self._api = api
        self._locator = Locator(api)
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
        self._api.session.ready()

    def poller(self, account_id: str) -> Poller:
        """Return who looks at the jobs of an account."""
        if account_id not in self._pollers:
            self._pollers[account_id] = Poller(account_id, self._api, self._reader)
        return self._pollers[account_id]

    async def locate(
        self, job_id: str, *, due: float, deadline: float, pause: float
    ) -> JobRef | Failure:
        """Find out the account of a job: see `effects.Locate`."""
        found = await self._locator.locate(due=due, deadline=deadline, pause=pause)
        if isinstance(found, Failure):
            return found
        return JobRef(found, job_id, self._api.base_url)

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
