"""Run the emulator: a real HTTP server, with the control protocol as methods."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from fireworks_batch.emulator.assumptions import Assumptions, read_assumptions
from fireworks_batch.emulator.clock import EmulatedClock
from fireworks_batch.emulator.control import ControlEndpoints
from fireworks_batch.emulator.http.faults import read_fault
from fireworks_batch.emulator.http.port import Port, http_origin
from fireworks_batch.emulator.http.request_log import RecordedRequest, Watch
from fireworks_batch.emulator.http.routing import Router
from fireworks_batch.emulator.jobs.responder import Responder, echo
from fireworks_batch.emulator.jobs.scripts import Phase, read_standing_script
from fireworks_batch.emulator.setting import Setting
from fireworks_batch.emulator.world import World


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
            the row; any other exception does so with code 500. May be async; who looks at the
            job waits until the rows are answered that are due by then. By default the text of
            the last message comes back.

        url_grace: Seconds of *clock* for which a signed URL is good in any case, 0 or more: where
            emulated time runs fast, ten minutes are over before a client can use it.

    Raises:
        ValueError: An argument is out of its range, or there is no such assumption.
    """

    _watches: ClassVar[list[Watch]] = []

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
        self._api_key = api_key
        self._account_id = account_id
        self._speed = speed
        self._clock = clock
        self._epoch = epoch
        rules, watches = read_assumptions(assume), tuple(self._watches)

        def make_world(emulated: EmulatedClock) -> World:
            setting = Setting(
                clock=emulated,
                rules=rules,
                api_key=api_key,
                account_id=account_id,
                accounts=(account_id,) if accounts is None else tuple(accounts),
                seed=seed,
            )
            return World(
                setting,
                tick=tick,
                requests_per_minute=requests_per_minute,
                responder=responder,
                url_grace=url_grace,
                watches=watches,
            )

        self._make_world = make_world
        self._known_world: World | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ports: tuple[Port, ...] = ()

    @classmethod
    @contextmanager
    def watched(cls, watch: Watch) -> Iterator[None]:
        """Let *watch* see every exchange of the emulators that are made within the `with`.

        For a test suite that checks something of every test. *watch* is called on the
        emulator's loop, once for each request, at its end. What it raises breaks the answer:
        collect instead, and judge afterwards.

        Args:
            watch: Takes an `Exchange`.
        """
        cls._watches.append(watch)
        try:
            yield
        finally:
            cls._watches.remove(watch)

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
        if self._ports:
            raise RuntimeError("the emulator is started already")
        world = self._wake_world()
        control = Router(wrong_method_status=405)
        ControlEndpoints(world).add_to(control)
        storage, api = world.storage_port(), world.api_port(control)
        self._storage_port = await storage.start(self._host, self._storage_port)
        try:
            self._port = await api.start(self._host, self._port)
        except BaseException:
            await storage.stop()
            raise
        world.datasets.port = self._storage_port
        self._ports = (api, storage)

    async def stop(self) -> None:
        """Close every connection and listen no more; what was remembered stays."""
        ports, self._ports = self._ports, ()
        for port in ports:
            await port.stop()
        if self._known_world is not None:
            await self._known_world.workshop.stop()

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
        return self._world().datasets.storage_url(self._host)

    @property
    def api_key(self) -> str:
        """The key that opens it."""
        return self._api_key

    @property
    def account_id(self) -> str:
        """The account that the key belongs to."""
        return self._account_id

    def now(self) -> datetime:
        """Give the emulated time, aware, in UTC.

        Raises:
            RuntimeError: The emulator was never started.
        """
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
        time_limit_seconds: float | None = None,
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

            time_limit_seconds: When it expires, in emulated seconds after its creation; a day for
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
            "time_limit_seconds": time_limit_seconds,
            "fields": fields,
            "account_id": account_id,
        }
        return self._world().jobs.script(job_id, script).origin.name

    def script_jobs(
        self,
        job: str = "*",
        *,
        phases: Sequence[Phase | str | Mapping[str, object]] | None = None,
        times: int | None = 1,
        rows: int | None = None,
        failed_rows: int | None = None,
        status: Mapping[str, str] | None = None,
        time_limit_seconds: float | None = None,
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

            time_limit_seconds: The same, whatever the client asks for.

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
            "time_limit_seconds": time_limit_seconds,
            "fields": fields,
        }
        self._world().jobs.scripts.add(read_standing_script(script))

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
        return self._world().datasets.add_described(dataset_id, value).name

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
        self._world().datasets.replace_file(dataset_id, name, value)

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
        """Take all faults down.

        Raises:
            RuntimeError: The emulator was never started.
        """
        self._world().faults.clear()

    def requests(self, since: int = 0) -> list[RecordedRequest]:
        """Give the requests that arrived, oldest first, those under way included.

        Args:
            since: Only those after this number, from 1; the newest 100,000 are kept.

        Raises:
            RuntimeError: The emulator was never started.
        """
        return self._world().log.since(since)

    def reset(self) -> None:
        """Forget jobs, datasets, faults and requests, and count these from 1 again; time goes on.

        Raises:
            RuntimeError: The emulator was never started.
        """
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
            self._known_world = self._make_world(
                EmulatedClock(tell, speed=self._speed, epoch=epoch)
            )
        elif self._clock is None and loop is not self._loop:
            clock = self._known_world.clock
            clock.rebase(tell, clock.now())
        self._loop = loop
        return self._known_world
