"""Give a test power over a running emulator: the control protocol, as methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .faults import read_fault
from .phases import Phase
from .request_log import RecordedRequest
from .standing_scripts import read_standing_script

if TYPE_CHECKING:
    from .world import World


class Powers(ABC):
    """What can be done to an emulator once it was started."""

    @abstractmethod
    def _world(self) -> World:
        """Give what the emulator remembers."""

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
