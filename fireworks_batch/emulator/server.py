"""Run the emulator: a real HTTP server, and the powers over it as methods."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from .assumptions import Assumptions, read_assumptions
from .clock import EmulatedClock, microseconds
from .faults import read_fault
from .gateway import Gateway
from .listening import Listener
from .phases import Phase
from .request_log import RecordedRequest
from .responding import Responder, echo
from .standing_scripts import read_standing_script
from .storage import Storage
from .world import Setting, World, http_origin


class Emulator:
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
            the row; any other exception does so with code 500. May be async. By default the
            text of the last message comes back.

    Raises:
        ValueError: An argument is out of its range, or there is no such assumption.
    """

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
    ) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"speed must be above 0, not {speed!r}")
        if not (tick >= 0 and math.isfinite(tick)):
            raise ValueError(f"tick must be 0 or more seconds, not {tick!r}")
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
        )
        self._known_world: World | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: tuple[Listener, ...] = ()

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
        """The address to give a client, without a path."""
        self._world()
        return http_origin(self._host, self._port)

    @property
    def storage_url(self) -> str:
        """The origin of signed URLs, without a path."""
        return self._world().storage_url(self._host)

    @property
    def api_key(self) -> str:
        """The key that opens it."""
        return self._setting.api_key

    @property
    def account_id(self) -> str:
        """The account that the key belongs to."""
        return self._setting.account_id

    def now(self) -> datetime:
        """Give the emulated time."""
        clock = self._world().clock
        return clock.moment(clock.now())

    def script_job(
        self,
        job_id: str,
        *,
        phases: Sequence[Phase | str | Mapping[str, object]] | None = None,
        rows: int | None = None,
        failed_rows: int | None = None,
        status: Mapping[str, str] | None = None,
        window_seconds: float | None = None,
        fields: Mapping[str, object] | None = None,
        account_id: str | None = None,
    ) -> str:
        """Make a job that goes through *phases*, or let one that is there do so from now on.

        What is not given stays as it is, or is the default of a new job. The first phase of a
        job that is there already shows at once; the others wait for its ticks. Rows grow
        through RUNNING; a job whose end is not COMPLETED processes half of them.

        Args:
            job_id: The last segment of its resource name.

            phases: States' names (60 s each), mappings with `state`, `seconds` and
                `waiting_on_capacity`, or `Phase` objects; the last one stays.

            rows: How many requests its input has; 100 for a new job.

            failed_rows: How many of *rows* fail; 0 for a new job.

            status: The `code` and `message` of a job that ends badly.

            window_seconds: When it expires, in emulated seconds after its creation; a day for
                a new job.

            fields: Members of the wire to lay over the resource, known ones or not.

            account_id: Whose job it is; the emulator's own account if not given.

        Returns:
            The job's resource name.

        Raises:
            ValueError: A value cannot be used; the text names it.

            RuntimeError: The emulator was never started.
        """
        script = {
            "phases": phases,
            "rows": rows,
            "failed_rows": failed_rows,
            "status": status,
            "window_seconds": window_seconds,
            "fields": fields,
            "account_id": account_id,
        }
        return self._world().script_job(job_id, script).origin.name

    def script_jobs(
        self,
        job: str = "*",
        *,
        phases: Sequence[Phase | str | Mapping[str, object]] | None = None,
        times: int | None = 1,
        rows: int | None = None,
        failed_rows: int | None = None,
        status: Mapping[str, str] | None = None,
        window_seconds: float | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Let jobs go by a script that a client creates later; the first that matches counts.

        Args:
            job: A glob over the job's id.

            phases: As with `script_job`.

            times: For how many jobs, 1 or more; None is for all that come.

            rows: As with `script_job`; of no effect where real rows are processed.

            failed_rows: The same.

            status: As with `script_job`.

            window_seconds: The same, whatever the client asks for.

            fields: The same.

        Raises:
            ValueError: A value cannot be used; the text names it.

            RuntimeError: The emulator was never started.
        """
        script = {
            "job": job,
            "times": times,
            "phases": phases,
            "rows": rows,
            "failed_rows": failed_rows,
            "status": status,
            "window_seconds": window_seconds,
            "fields": fields,
        }
        self._world().scripts.add(read_standing_script(script))

    def add_dataset(
        self,
        dataset_id: str,
        *,
        files: Mapping[str, bytes | Path],
        fields: Mapping[str, object] | None = None,
        account_id: str | None = None,
    ) -> str:
        """Put a dataset with its files there, ready at once, in place of one of the same id.

        Args:
            dataset_id: The last segment of its resource name.

            files: The contents, or the files to copy them from, by name.

            fields: Members of the wire that a client could set, such as `exampleCount` (else
                the number of lines).

            account_id: Whose dataset it is; the emulator's own account if not given.

        Returns:
            The dataset's resource name.

        Raises:
            ValueError: A value cannot be used; the text names it.

            OSError: A file cannot be read.

            RuntimeError: The emulator was never started.
        """
        value = {"files": files, "fields": fields, "account_id": account_id}
        return self._world().add_dataset(dataset_id, value).name

    def replace_file(
        self,
        dataset_id: str,
        name: str,
        content: bytes | Path,
        *,
        account_id: str | None = None,
    ) -> None:
        """Change a stored file, as if somebody had written it anew: another content and ETag.

        A download that is under way goes on with the old content.

        Args:
            dataset_id: The last segment of the dataset's resource name.

            name: The file's base name; it need not be there yet.

            content: The new content, or the file to copy it from.

            account_id: Whose dataset it is; the emulator's own account if not given.

        Raises:
            ValueError: There is no such dataset; the text names it.

            OSError: The file cannot be read.

            RuntimeError: The emulator was never started.
        """
        value = {"content": content, "account_id": account_id}
        self._world().replace_file(dataset_id, name, value)

    def add_fault(  # the members of the control protocol
        self,
        action: str,
        *,
        method: str | None = None,
        path: str = "*",
        times: int | None = 1,
        after: int = 0,
        probability: float = 1.0,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        bytes: int | None = None,  # noqa: A002  # the control protocol's name
        seconds: float | None = None,
    ) -> None:
        """Let something go wrong with the requests that match; the first fault that strikes wins.

        Args:
            action: What goes wrong. `status` answers *status*, *headers* and *body*; `html`
                answers a front end's page, `garbage` bytes that are not JSON; `reset` resets
                the connection, `drop_answer` does the work and then resets; `truncate` sends
                part of the real body and closes; `hang` never answers; `delay` answers late
                (and does the work also when the client has left).

            method: The method that it is for; None is every method.

            path: A glob over the path without its query; `*` does not stop at a slash. A file
                in the storage has the path `/fireworks-{account}/dataset/{dataset}/{file}`.

            times: How often it strikes, 1 or more; None is for ever.

            after: How many matching requests get away first.

            probability: How probable it is each time, in [0, 1]; a miss is not counted.

            status: 200 to 599; by default 503, of `html` 502, of `garbage` 200.

            headers: More headers of `status`, `html` and `garbage`.

            body: A text, or what is sent as JSON; the service's error object if None.

            bytes: How much of the answer's body `truncate` lets through, at least one byte less
                than all of it, 100 by default; how much of the request's body `reset` reads
                first, 0 by default.

            seconds: Real seconds that `delay` waits (0.5 by default), or after which `hang`
                closes the connection (never by default).

        Raises:
            ValueError: A value cannot be used; the text names it.

            RuntimeError: The emulator was never started.
        """
        fault = {
            "action": action,
            "method": method,
            "path": path,
            "times": times,
            "after": after,
            "probability": probability,
            "status": status,
            "headers": headers,
            "body": body,
            "bytes": bytes,
            "seconds": seconds,
        }
        self._world().faults.add(read_fault(fault))

    def clear_faults(self) -> None:
        """Take all faults down."""
        self._world().faults.clear()

    def requests(self, since: int = 0) -> list[RecordedRequest]:
        """Give the requests after number *since*, oldest first; the newest 100,000 are kept."""
        return self._world().log.since(since)

    def reset(self) -> None:
        """Forget jobs, datasets, faults and requests; time goes on."""
        self._world().reset()

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
