"""The emulator: a real HTTP server, with the control protocol as methods."""

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

    Use it as ``async with Emulator(speed=600) as emulator``, or call `start` and `stop`. From
    `start` to `stop` the emulator listens on two ports, one for the API and one for the storage. A
    `stop` is an outage: after the next `start`, jobs and datasets still exist. The end of the
    ``async with`` removes the datasets. Their files are in a temporary directory, which is removed
    with the datasets, or when the process ends.

    All durations of the emulated server are in emulated time, which runs ``speed`` times as fast as
    real time. Set the environment variable ``FIREWORKS_BATCH_TIME_SCALE`` to ``1 / speed``, so that
    the default policies of a client poll in emulated time, too.

    Call the methods in the thread of the emulator's event loop. To use the emulator from a
    synchronous test, take the fixture ``fireworks_emulator`` of ``fireworks_batch.pytest_plugin``.

    Args:
        host: The address to listen on, such as ``"127.0.0.1"`` or ``"0.0.0.0"``.

        port: The port of the API, 0 to 65535. 0 takes a free port.

        storage_port: The port of the storage, 0 to 65535. Signed URLs lead to it. 0 takes a free
            port.

        api_key: The only API key that the emulator accepts.

        account_id: The id of the account that the key belongs to.

        speed: The emulated seconds in one second of *clock*, above 0. With 600, an hour of a job
            takes six seconds.

        tick: The time between two actions of the emulated server on a job, in emulated seconds, 0
            or more. A job changes its state and its counters only at a tick. Ticks are counted from
            the job's creation. With 0, a job changes at any moment. One source saw ticks of 60
            seconds live.

        seed: Determines everything that is random, such as the order of result rows and the
            ids that the emulator makes up.

        clock: Returns the time in seconds; it must never go back. If None, the time of the running
            event loop is used.

        epoch: The emulated time at the first `start`, as an aware datetime. If None, emulated time
            begins with the real time.

        assume: The switches of `Assumptions` that are not at their defaults, as an instance or as a
            mapping: ``{"deleted_job": "tombstone"}``.

        requests_per_minute: The most requests that the account may send in an emulated minute, 1 or
            more. Further requests are answered by 429. None means no limit.

        accounts: The ids of the accounts that the key opens, and that ``GET /v1/accounts`` lists.
            If None, only *account_id*.

        responder: A function, plain or async, that answers the rows of jobs whose input dataset was
            uploaded. It gets the ``custom_id`` and the row's ``body``, with the parameters of the
            job in it. It returns the text of the assistant, or the whole response as a mapping. A
            `RowFailureError`, raised or returned, makes the row fail. Any other exception makes the
            row fail with code 500. The function runs in the emulator's event loop. A poll of the
            job is answered when all rows are answered that are due at that moment. By default, a
            row is answered with the text of its last message.

        url_grace: The least time for which a signed URL is valid, in seconds of *clock*, 0 or more.
            A signed URL is valid for ten emulated minutes (for an hour, if it is for an upload).
            At a high speed, this time would be over before a client can use the URL.

    Raises:
        ValueError: An argument is out of its range, or there is no such switch or position.
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
            raise ValueError(f"accounts must be a list of ids, not {accounts!r}")  # noqa: TRY004
        if epoch is not None and epoch.tzinfo is None:
            raise ValueError(f"epoch must have a time zone, not be {epoch!r}")
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
        """Call a function with every request and its answer, for emulators made in the ``with``.

        This is for a test suite that checks every answer.

        Args:
            watch: Called with an `Exchange` at the end of each request, in the emulator's event
                loop. If it raises, the request gets no proper answer. So let it collect the
                exchanges, and check them afterwards.
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
        """Listen on the two ports.

        After a `stop`, the emulator goes on with the same jobs and datasets at the same ports.
        Emulated time went on meanwhile.

        Raises:
            RuntimeError: The emulator listens already.

            OSError: The emulator cannot listen on the address or a port. The text names the port.
                After a failed first `start`, `base_url` raises.
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
        """Close every connection, and stop listening. Jobs and datasets are kept.

        A stopped emulator is an outage for its clients. A second call does nothing.
        """
        ports, self._ports = self._ports, ()
        for port in ports:
            await port.stop()
        if self._known_world is not None:
            await self._known_world.workshop.stop()

    @property
    def base_url(self) -> str:
        """The base URL of the API, such as ``"http://127.0.0.1:8123"``. Give it to a client.

        Raises:
            RuntimeError: The emulator was never started.
        """
        self._world()
        return http_origin(self._host, self._port)

    @property
    def storage_url(self) -> str:
        """The base URL of the storage, such as ``"http://127.0.0.1:8124"``. Signed URLs have it.

        Raises:
            RuntimeError: The emulator was never started.
        """
        return self._world().datasets.storage_url(self._host)

    @property
    def api_key(self) -> str:
        """The API key that the emulator accepts."""
        return self._api_key

    @property
    def account_id(self) -> str:
        """The id of the account that the API key belongs to."""
        return self._account_id

    def now(self) -> datetime:
        """Return the emulated time, as an aware datetime in UTC.

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
        """Create a job that follows a script, or give a script to an existing job.

        A new job has no rows of a client. When it has ended, its output dataset has as many
        made-up rows as the job counts. A job of more than 100,000 rows has no output.

        An existing job follows the script from now on: its first phase shows at once, and the next
        phases wait for the job's ticks. An argument that is None leaves an existing job as it is,
        and gives a new job the default. The counters of rows grow in state RUNNING. A job whose
        outcome is not COMPLETED processes half of its rows.

        ::

            emulator.script_job(
                "nightly-eval",
                phases=["VALIDATING", {"state": "RUNNING", "seconds": 600}, "FAILED"],
                rows=1000,
                status={"code": "INTERNAL", "message": "out of memory"},
            )

        Args:
            job_id: The id of the job: the last segment of its resource name.

            phases: The states that the job goes through, in order. Each is the name of a state
                (for 60 emulated seconds), a `Phase`, or a mapping with the members of a `Phase`:
                ``{"state": "RUNNING", "seconds": 600, "waiting_on_capacity": True}``. The job stays
                in the last phase. The default is VALIDATING, PENDING and CREATING for 60 seconds
                each, RUNNING for 300 seconds, then COMPLETED.

            rows: The number of rows of the job's input, 0 to 2147483647; 100 for a new job. It has
                no effect on a job that really processes uploaded rows.

            failed_rows: The number of rows that fail, 0 to *rows*; 0 for a new job. They are spread
                evenly over the rows, in the order of processing. Uploaded rows fail with code 500.

            output: The delays of the output dataset, as in
                ``{"not_found_seconds": 60, "late_files": {"error-data": 120}}``. All values are
                emulated seconds, from 0 to 366 days, and 0 by default. Set them before the job has
                ended. The members are:

                - ``not_found_seconds``: for this time after the job's end, the dataset answers 404.
                - ``uploading_seconds``: for this time after that, the dataset is UPLOADING.
                - ``late_files``: for this time after that, a file is not listed. It is a mapping
                  from the file's name (``"BIJOutputSet.jsonl"`` or ``"error-data"``) to seconds.

            status: The ``status`` of the job in state FAILED, CANCELLED, EXPIRED, EARLY_STOPPED or
                PAUSED, as a mapping of ``code`` (``"INTERNAL"`` by default) and ``message``.

            time_limit_seconds: The job time limit in emulated seconds, from 0.001 to 366 days; a
                day for a new job. The job expires this time after its creation.

            fields: Members of the wire to put into the resource, known or unknown ones, as in
                ``{"createdBy": "me", "newMember": 1}``. They replace what the emulator would show.

            account_id: The id of the account that has the job. If None, the emulator's own account.

        Returns:
            The resource name of the job, ``accounts/{account}/batchInferenceJobs/{job}``.

        Raises:
            ValueError: A value cannot be used. The text names the value.

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
        """Give a script to jobs that a client creates later.

        If several scripts match a new job, the job follows the script that was given first.

        ::

            emulator.script_jobs("nightly-*", phases=["RUNNING", "FAILED"], times=2)

        Args:
            job: A glob that the job's id must match, such as ``"nightly-*"``. It is case-sensitive.

            phases: The states that the job goes through, in order. Each is the name of a state
                (for 60 emulated seconds), a `Phase`, or a mapping with the members of a `Phase`:
                ``{"state": "RUNNING", "seconds": 600, "waiting_on_capacity": True}``. The job stays
                in the last phase. The default is VALIDATING, PENDING and CREATING for 60 seconds
                each, RUNNING for 300 seconds, then COMPLETED.

            times: The number of jobs that get the script, 1 or more. None means every job.

            rows: The number of rows of the job's input, 0 to 2147483647. If None, the
                ``exampleCount`` of the input dataset is used, or 100. It has no effect on a job
                that really processes uploaded rows.

            failed_rows: The number of rows that fail, 0 or more; 0 if None. They are spread evenly
                over the rows, in the order of processing. Uploaded rows fail with code 500.

            output: The delays of the output dataset, for a job that processes uploaded rows, as in
                ``{"not_found_seconds": 60, "late_files": {"error-data": 120}}``. All values are
                emulated seconds, from 0 to 366 days, and 0 by default. The members are:

                - ``not_found_seconds``: for this time after the job's end, the dataset answers 404.
                - ``uploading_seconds``: for this time after that, the dataset is UPLOADING.
                - ``late_files``: for this time after that, a file is not listed. It is a mapping
                  from the file's name (``"BIJOutputSet.jsonl"`` or ``"error-data"``) to seconds.

            status: The ``status`` of the job in state FAILED, CANCELLED, EXPIRED, EARLY_STOPPED or
                PAUSED, as a mapping of ``code`` (``"INTERNAL"`` by default) and ``message``.

            time_limit_seconds: The job time limit in emulated seconds, from 0.001 to 366 days. The
                job expires this time after its creation, and the client's ``maxJobDuration`` has no
                effect. If None, the client's ``maxJobDuration`` counts.

            fields: Members of the wire to put into the resource, known or unknown ones, as in
                ``{"createdBy": "me", "newMember": 1}``. They replace what the emulator would show.

        Raises:
            ValueError: A value cannot be used. The text names the value.

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
        """Make uploaded rows fail when they are processed later.

        If several scripts match a row, the script that was given first and still applies counts.

        ::

            emulator.fail_rows("r7*", times=2, code=503)

        Args:
            row: A glob that the row's ``custom_id`` must match, such as ``"r7*"``. It is
                case-sensitive.

            times: How often each matching row fails, 1 or more, counted over all jobs. With 1, a
                row fails in its first job, and succeeds in a second job. None means every time.

            code: The code of the error, an HTTP status from 100 to 599, such as 503 (retryable) or
                400 (not retryable).

            message: The message of the error. If None, it says that the row fails by a script.

        Raises:
            ValueError: A value cannot be used. The text names the value.

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
        """Add a dataset with its files. It is READY at once.

        A dataset of the same id is replaced.

        Args:
            dataset_id: The id of the dataset: the last segment of its resource name.

            files: A mapping from the name of each file to its content, as bytes or as the path of a
                file to copy: ``{"rows.jsonl": b"..."}``.

            fields: Members of the wire that a client could set, such as ``{"format": "CHAT"}``.
                Without an ``exampleCount``, the lines that are not blank are counted.

            account_id: The id of the account that has the dataset. If None, the emulator's own
                account.

        Returns:
            The resource name of the dataset, ``accounts/{account}/datasets/{dataset}``.

        Raises:
            ValueError: A value cannot be used. The text names the value.

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
        """Replace the content of a file of a dataset. The file gets another ETag.

        A download that is under way goes on with the old content.

        Args:
            dataset_id: The id of the dataset: the last segment of its resource name.

            name: The name of the file, without a folder. A new name adds a file.

            content: The new content, as bytes or as the path of a file to copy.

            account_id: The id of the account that has the dataset. If None, the emulator's own
                account.

        Raises:
            ValueError: There is no such dataset. The text names the dataset.

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
        """Make something go wrong with requests that match.

        If several faults match a request, the fault that was added first and strikes counts.

        ::

            emulator.add_fault("status", status=429, headers={"Retry-After": "2"}, times=3)
            emulator.add_fault("reset", method="GET", path="*/batchInferenceJobs/*", after=2)

        Args:
            action: What goes wrong with the request:

                - ``"status"`` answers with *status*, *headers* and *body*. Nothing else is done.
                - ``"html"`` answers with an HTML page, as a proxy or a front end does. Nothing else
                  is done.
                - ``"garbage"`` answers with bytes that are not JSON. Nothing else is done.
                - ``"reset"`` resets the connection (TCP RST) without an answer. Nothing else is
                  done.
                - ``"drop_answer"`` does what the request asks for, and then resets the connection.
                - ``"truncate"`` does what the request asks for, announces the whole body, sends
                  only *bytes* bytes of it, and closes the connection.
                - ``"hang"`` never answers, and does nothing. *seconds* may end it.
                - ``"delay"`` waits for *seconds*, and then answers as usual. The emulator does what
                  the request asks for even if the client has left meanwhile (except for an upload
                  of a file).

            method: The HTTP method of the requests that match, such as ``"GET"``. None means every
                method.

            path: A glob that the path of a request must match, without its query. ``*`` also
                matches slashes. The path of a file in the storage is
                ``/fireworks-{account}/dataset/{dataset}/{file}``.

            times: How often the fault strikes, 1 or more. None means without end.

            after: The number of matching requests that are spared first, 0 or more.

            probability: The probability that the fault strikes a matching request, from 0 to 1.
                Only a request that is struck counts toward *times*.

            status: The HTTP status of the answer of ``"status"``, ``"html"`` and ``"garbage"``, 200
                to 599. If None, it is 503, 502 and 200.

            headers: Further headers of the answer of ``"status"``, ``"html"`` and ``"garbage"``,
                such as ``{"Retry-After": "2"}``.

            body: The body of the answer of ``"status"``, as a text or as a value that is sent as
                JSON. If None, it is the error object that the server sends for the status.

            bytes: For ``"truncate"``, how many bytes of the body are sent, 0 or more; 100 if None.
                At least one byte is missing. For ``"reset"``, how many bytes of the request's body
                are read first, 0 or more; 0 if None.

            seconds: For ``"delay"``, how long the answer is delayed, in real seconds, 0 or more;
                0.5 if None. For ``"hang"``, after how many real seconds the connection is reset;
                never if None.

        Raises:
            ValueError: A value cannot be used. The text names the value.

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
        """Return the requests that have arrived, the oldest first.

        Requests that are under way are among them. The newest 100,000 requests are kept.

        Args:
            since: Return only requests with a higher number than this, 0 or more. Requests are
                numbered from 1.

        Raises:
            RuntimeError: The emulator was never started.
        """
        return self._world().log.since(since)

    def reset(self) -> None:
        """Forget all jobs, datasets, scripts, faults and requests.

        Requests are numbered from 1 again. All signed URLs and page tokens become invalid. Emulated
        time goes on.

        Raises:
            RuntimeError: The emulator was never started.
        """
        self._world().reset()

    def _world(self) -> World:
        if self._known_world is None:
            raise RuntimeError(
                "the emulator was not started: enter it with 'async with', or await start()"
            )
        return self._known_world

    def _wake_world(self) -> World:
        """Return the world. Without a *clock*, it goes by the time of the running loop."""
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
