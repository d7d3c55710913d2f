"""Run the emulator: a real HTTP server, and the powers over it as methods."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import ClassVar, Self

from .assumptions import Assumptions, read_assumptions
from .clock import EmulatedClock, microseconds
from .gateway import Gateway
from .listening import Listener
from .powers import Powers
from .responding import Responder, echo
from .storage import Storage
from .watching import Watch, Watches
from .world import Setting, World, http_origin


class Emulator(Powers):
    """A Fireworks control plane on this machine, for tests of code that waits.

    Owns two listening sockets, of the API and of the storage, from `start` (or `async with`) to
    `stop`. Jobs and datasets outlive a `stop`, which is an outage; the datasets end with the
    `async with`. Their contents lie in a temporary directory, which goes with them, at the
    latest when the process ends.

    Args:
        host: The address to listen on.

        port: The port to listen on; 0 takes a free one.

        storage_port: The same for signed URLs, which have an origin of their own.

        api_key: The only key that opens it.

        account_id: The account that the key belongs to.

        speed: Emulated seconds in one second of *clock*; above 0.

        tick: How often the controller acts on a job, in emulated seconds, counted from the
            job's creation; 0 is all the time. Seen live by one source: 60.

        seed: Determines everything that is random.

        clock: Gives seconds that never go back; the running loop's time if None.

        epoch: The emulated time at the start, aware; the real time if None.

        assume: Positions of switches of `Assumptions`, where they are not the defaults.

        requests_per_minute: How many requests the account may make in an emulated minute, 1 or
            more; None is no limit.

        accounts: The accounts that the key opens and `GET /v1/accounts` lists; just
            *account_id* if None.

        responder: Answers the rows of jobs whose input dataset is there, on the emulator's loop:
            gets `custom_id` and the request's body (the job's parameters in it), and gives the
            assistant's text or the whole response. A `RowFailureError`, raised or given, fails
            the row; any other exception does so with code 500. May be async; who looks at the
            job waits until the rows are answered that are due by then. By default the text of
            the last message comes back.

        url_grace: Seconds of *clock* for which a signed URL is good in any case, 0 or more: where
            emulated time runs fast, ten minutes are over before a client can use it.

    Raises:
        ValueError: An argument is out of its range, or there is no such assumption.
    """

    _watches: ClassVar = Watches()

    def __init__(  # the settings of a whole service
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        storage_port: int = 0,
        api_key: str = "fw_emulator",
        account_id: str = "acme",
        speed: float = 1.0,
        tick: float = 60.0,
        seed: int = 0,
        clock: Callable[[], float] | None = None,
        epoch: datetime | None = None,
        assume: Assumptions | Mapping[str, object] | None = None,
        requests_per_minute: int | None = None,
        accounts: Sequence[str] | None = None,
        responder: Responder = echo,
        url_grace: float = 30.0,
    ) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"speed must be above 0, not {speed!r}")
        if not (tick >= 0 and math.isfinite(tick)):
            raise ValueError(f"tick must be 0 or more seconds, not {tick!r}")
        if not (url_grace >= 0 and math.isfinite(url_grace)):
            raise ValueError(f"url_grace must be 0 or more seconds, not {url_grace!r}")
        if requests_per_minute is not None and requests_per_minute < 1:
            raise ValueError(f"requests_per_minute must be 1 or more, not {requests_per_minute!r}")
        if isinstance(accounts, str):
            raise ValueError(f"accounts must be several ids, not {accounts!r}")  # noqa: TRY004
        if epoch is not None and epoch.tzinfo is None:
            raise ValueError(f"epoch must be aware, not {epoch!r}")
        self._host = host
        self._port = port
        self._storage_port = storage_port
        self._speed = speed
        self._clock = clock
        self._epoch = epoch
        self._setting = Setting(
            api_key=api_key,
            account_id=account_id,
            accounts=(account_id,) if accounts is None else tuple(accounts),
            tick=microseconds(tick),
            seed=seed,
            requests_per_minute=requests_per_minute,
            rules=read_assumptions(assume),
            responder=responder,
            url_grace=url_grace,
            watches=self._watches.all(),
        )
        self._known_world: World | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: tuple[Listener, ...] = ()

    @classmethod
    def watched(cls, watch: Watch) -> AbstractContextManager[None]:
        """Let *watch* see every exchange of the emulators that are made within the `with`.

        For a test suite that checks something of every test. *watch* is called on the
        emulator's loop, once for each request, at its end. What it raises breaks the answer:
        collect instead, and judge afterwards.

        Args:
            watch: Takes an `Exchange`.
        """
        return cls._watches.keep(watch)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if self._known_world is not None:
            self._known_world.clear_datasets()

    async def start(self) -> None:
        """Listen.

        After a `stop`, go on with the same jobs at the same port: an outage is over.

        Raises:
            RuntimeError: It listens already.

            OSError: The address or port cannot be had.
        """
        if self._listeners:
            raise RuntimeError("the emulator is started already")
        world = self._wake_world()
        storage, gateway = Listener(Storage(world)), Listener(Gateway(world))
        self._storage_port = await storage.start(self._host, self._storage_port)
        try:
            self._port = await gateway.start(self._host, self._port)
        except BaseException:
            await storage.stop()
            raise
        world.storage_port = self._storage_port
        self._listeners = (gateway, storage)

    async def stop(self) -> None:
        """Close every connection and listen no more; what was remembered stays."""
        listeners, self._listeners = self._listeners, ()
        for listener in listeners:
            await listener.stop()

    @property
    def base_url(self) -> str:
        """The address to give a client, without a path.

        Raises:
            RuntimeError: The emulator was never started.
        """
        self._world()
        return http_origin(self._host, self._port)

    @property
    def storage_url(self) -> str:
        """The origin of signed URLs, without a path.

        Raises:
            RuntimeError: The emulator was never started.
        """
        return self._world().storage_url(self._host)

    @property
    def api_key(self) -> str:
        """The key that opens it."""
        return self._setting.api_key

    @property
    def account_id(self) -> str:
        """The account that the key belongs to."""
        return self._setting.account_id

    def _world(self) -> World:
        if self._known_world is None:
            raise RuntimeError("the emulator was never started")
        return self._known_world

    def _wake_world(self) -> World:
        """Give the world, its clock going by the running loop unless another was given."""
        loop = asyncio.get_running_loop()
        tell = self._clock or loop.time
        if self._known_world is None:
            epoch = self._epoch or datetime.fromtimestamp(time.time(), UTC)
            self._known_world = World(
                self._setting, EmulatedClock(tell, speed=self._speed, epoch=epoch)
            )
        elif self._clock is None and loop is not self._loop:
            clock = self._known_world.clock
            clock.rebase(tell, clock.now())
        self._loop = loop
        return self._known_world
