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
from fireworks_batch.emulator.jobs.scripts import Phase, read_row_script, read_standing_script
from fireworks_batch.emulator.setting import Setting
from fireworks_batch.emulator.world import World


def _check_port(name: str, number: int) -> None:
    if not 0 <= number <= 65_535:
        raise ValueError(f"{name} must be 0 to 65535, not {number!r}")


class Emulator:
    """A Fireworks control plane on this machine, for tests of code that waits.

    The emulator owns two listening sockets, one for the API and one for the storage, from
    `start` (or `async with`) to `stop`. A `stop` is an outage: jobs and datasets are still there
    after the next `start`. The end of the `async with` removes the datasets. Their files lie in
    a temporary directory, which is removed with the datasets, or when the process ends.

    Args:
        host: The address to listen on.

        port: The port of the API, 0 to 65535; 0 takes a free port.

        storage_port: The port of the storage, to which signed URLs lead, 0 to 65535; 0 takes a
            free port.

        api_key: The only key that the emulator accepts.

        account_id: The account that the key belongs to.

        speed: Emulated seconds in one second of *clock*; above 0.

        tick: The time between two actions of the controller on a job, in emulated seconds,
            counted from the job's creation; 0 or more. With 0 the controller acts at every
            moment. Seen live by one source: 60.

        seed: Determines everything that is random.

        clock: Gives seconds that never go back; the running loop's time if None.

        epoch: The emulated time at the first start, aware; the real time if None.

        assume: The positions of those switches of `Assumptions` that are not at their defaults.

        requests_per_minute: How many requests the account may make in an emulated minute, 1 or
            more; None is no limit.

        accounts: The accounts that the key opens and `GET /v1/accounts` lists; only
            *account_id* if None.

        responder: Answers the rows of jobs whose input dataset was uploaded. It runs on the
            emulator's loop, and may be async. It gets `custom_id` and the request's body with
            the job's parameters, and returns the assistant's text or the whole response. A
            `RowFailureError`, raised or returned, fails the row; any other exception fails the
            row with code 500. A poll of the job waits until the rows that are due by then are
            answered. By default a row is answered with the text of its last message.

        url_grace: Seconds of *clock*, 0 or more, for which a signed URL is good at least. Where
            emulated time runs fast, the ten minutes of a signed URL would be over before a
            client could use the URL.

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
        _check_port("port", port)
        _check_port("storage_port", storage_port)
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

        This is for a test suite that checks every answer. *watch* is called on the emulator's
        loop, once for each request, at the end of the request. An exception of *watch* breaks
        the answer: let *watch* collect the exchanges, and check them afterwards.

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

        After a `stop`, the emulator goes on with the same jobs at the same ports.

        Raises:
            RuntimeError: The emulator is listening already.

            OSError: The address or a port cannot be had; the text names it. If this was the first
                `start`, there is no `base_url`: another server has the port.
        """
        if self._ports:
            raise RuntimeError("the emulator is started already")
        world = self._wake_world()
        control = Router(wrong_method_status=405)
        ControlEndpoints(world).add_to(control)
        storage, api = world.storage_port(), world.api_port(control)
        storage_port = await self._listen(storage, self._storage_port, "storage")
        try:
            self._port = await self._listen(api, self._port, "API")
        except BaseException:
            await storage.stop()
            raise
        world.datasets.port = self._storage_port = storage_port
        self._ports = (api, storage)
        self._known_world = world

    async def _listen(self, port: Port, number: int, what: str) -> int:
        try:
            return await port.start(self._host, number)
        except OSError as error:
            text = f"the emulator cannot listen on {self._host} port {number} ({what})"
            raise OSError(error.errno, f"{text}: {error.strerror or error}") from error

    async def stop(self) -> None:
        """Close every connection and stop listening; jobs and datasets are kept."""
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
        """The key that the emulator accepts."""
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
        output: Mapping[str, object] | None = None,
        status: Mapping[str, str] | None = None,
        time_limit_seconds: float | None = None,
        fields: Mapping[str, object] | None = None,
        account_id: str | None = None,
    ) -> str:
        """Make a job that goes through *phases*, or let an existing job do so from now on.

        An argument that is None leaves the existing job as it is, and gives a new job the
        default. The first phase of an existing job shows at once; the others wait for the job's
        ticks. The row counters grow through RUNNING; a job whose outcome is not COMPLETED
        processes half of its rows.

        Args:
            job_id: The last segment of its resource name.

            phases: States' names (60 s each), mappings with `state`, `seconds` and
                `waiting_on_capacity`, or `Phase` objects; the last one stays.

            rows: How many rows its input has, 0 or more; 100 for a new job.

            failed_rows: How many of *rows* fail, 0 to *rows*; 0 for a new job.
                They are spread evenly over the rows in the order of processing. Real rows fail
                with code 500.

            output: How late the output dataset of real rows can be seen: a mapping with
                `not_found_seconds`, for which it answers 404 after the job's end,
                `uploading_seconds`, for which it is UPLOADING after that, and `late_files`, for
                how many seconds a file is not listed after that, by the file's name
                (`BIJOutputSet.jsonl`, `error-data`). All are emulated seconds, from 0 to 366
                days, 0 if not given. Of no effect once the job has ended.

            status: The `code` and `message` of a job whose outcome is not COMPLETED.

            time_limit_seconds: The job's time limit: when it expires, in emulated seconds after
                its creation, from 0.001 to 366 days; a day for a new job.

            fields: Members of the wire to lay over the resource, known or unknown.

            account_id: The account of the job; the emulator's own account if None.

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
            "output": output,
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
        output: Mapping[str, object] | None = None,
        status: Mapping[str, str] | None = None,
        time_limit_seconds: float | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Give a script to jobs that a client creates later; the first script that matches counts.

        Args:
            job: A glob over the job's id.

            phases: States' names (60 s each), mappings with `state`, `seconds` and
                `waiting_on_capacity`, or `Phase` objects; the last one stays. None is the
                default course to COMPLETED.

            times: How many jobs get the script, 1 or more; None is all of them.

            rows: How many rows the job's input has, 0 or more; if None, the count of the input
                dataset, or 100. Of no effect where real rows are processed.

            failed_rows: How many of the rows fail, 0 or more; 0 if None. They are spread evenly
                over the rows in the order of processing. Real rows fail with code 500.

            output: How late the output dataset of real rows can be seen: a mapping with
                `not_found_seconds`, for which it answers 404 after the job's end,
                `uploading_seconds`, for which it is UPLOADING after that, and `late_files`, for
                how many seconds a file is not listed after that, by the file's name
                (`BIJOutputSet.jsonl`, `error-data`). All are emulated seconds, from 0 to 366
                days, 0 if not given.

            status: The `code` and `message` of a job whose outcome is not COMPLETED.

            time_limit_seconds: The job's time limit in emulated seconds after its creation, from
                0.001 to 366 days; it overrules the client's `maxJobDuration`. If None, the
                client's counts.

            fields: Members of the wire to lay over the resource, known or unknown.

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
            "output": output,
            "status": status,
            "time_limit_seconds": time_limit_seconds,
            "fields": fields,
        }
        self._world().jobs.scripts.add(read_standing_script(script))

    def fail_rows(
        self,
        row: str = "*",
        *,
        times: int | None = 1,
        code: int = 500,
        message: str | None = None,
    ) -> None:
        """Let real rows fail that are processed later; the first script that strikes a row counts.

        Args:
            row: A glob over the row's `custom_id`.

            times: How often each of the rows fails, 1 or more, counted over all jobs: a row that
                fails once succeeds when a second job processes it. None is each time.

            code: The code of the error, an HTTP status from 100 to 599.

            message: The message of the error; if None, the message names the script.

        Raises:
            ValueError: A value cannot be used; the text names it.

            RuntimeError: The emulator was never started.
        """
        script = {"row": row, "times": times, "code": code, "message": message}
        self._world().jobs.rows.add(read_row_script(script))

    def add_dataset(
        self,
        dataset_id: str,
        *,
        files: Mapping[str, bytes | Path],
        fields: Mapping[str, object] | None = None,
        account_id: str | None = None,
    ) -> str:
        """Add a dataset with its files, ready at once; it replaces a dataset of the same id.

        Args:
            dataset_id: The last segment of its resource name.

            files: The content of each file, or the path to copy it from, by the file's name.

            fields: Members of the wire that a client could set. Without `exampleCount`, the
                number of lines that are not blank is used.

            account_id: The account of the dataset; the emulator's own account if None.

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
        """Replace the content of a stored file; the file gets another ETag.

        A download that is under way goes on with the old content.

        Args:
            dataset_id: The last segment of the dataset's resource name.

            name: The file's base name; a new name adds a file.

            content: The new content, or the path to copy it from.

            account_id: The account of the dataset; the emulator's own account if None.

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
        """Make something go wrong with matching requests; the first fault that strikes counts.

        Args:
            action: What goes wrong. `status` answers *status*, *headers* and *body*; `html`
                answers a front end's page, `garbage` bytes that are not JSON; `reset` resets
                the connection, `drop_answer` does the work and then resets the connection;
                `truncate` sends part of the real body and closes; `hang` never answers; `delay`
                answers late (and does the work also when the client has left).

            method: The method of the requests that match; None is every method.

            path: A glob over the path without its query; `*` does not stop at a slash. A file
                in the storage has the path `/fireworks-{account}/dataset/{dataset}/{file}`.

            times: How often the fault strikes, 1 or more; None is for ever.

            after: How many matching requests are spared first, 0 or more.

            probability: The probability that the fault strikes a matching request, in [0, 1]; a
                request that is spared does not count toward *times*.

            status: The HTTP status of `status`, `html` and `garbage`, 200 to 599; if None, 503
                for `status`, 502 for `html`, 200 for `garbage`.

            headers: More headers of `status`, `html` and `garbage`.

            body: A text, or what is sent as JSON; the service's error object if None.

            bytes: For `truncate`, how many bytes of the answer's body are sent, at most all but
                one; 100 if None. For `reset`, how many bytes of the request's body are read
                first; 0 if None.

            seconds: For `delay`, how many real seconds to wait; 0.5 if None. For `hang`, after
                how many real seconds the connection is closed; never if None.

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
        """Remove all faults.

        Raises:
            RuntimeError: The emulator was never started.
        """
        self._world().faults.clear()

    def requests(self, since: int = 0) -> list[RecordedRequest]:
        """Return the requests that arrived, oldest first, those under way included.

        Args:
            since: The number of the last request to leave out, 0 or more; requests are numbered
                from 1, and the newest 100,000 are kept.

        Raises:
            RuntimeError: The emulator was never started.
        """
        return self._world().log.since(since)

    def reset(self) -> None:
        """Forget all jobs, datasets, faults and requests; number requests from 1 again.

        Emulated time goes on.

        Raises:
            RuntimeError: The emulator was never started.
        """
        self._world().reset()

    def _world(self) -> World:
        if self._known_world is None:
            raise RuntimeError("the emulator was never started")
        return self._known_world

    def _wake_world(self) -> World:
        """Return the world, with its clock on the running loop's time unless *clock* was given."""
        loop = asyncio.get_running_loop()
        tell = self._clock or loop.time
        world = self._known_world
        if world is None:
            epoch = self._epoch or datetime.fromtimestamp(time.time(), UTC)
            world = self._make_world(EmulatedClock(tell, speed=self._speed, epoch=epoch))
        elif self._clock is None and loop is not self._loop:
            world.clock.rebase(tell, world.clock.now())
        self._loop = loop
        return world
