"""The session manager: configuration, one HTTP session, and the account's resources."""

import logging
import os
import platform
import random
import ssl as ssl_module
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

import aiohttp

from fireworks_batch.connection.api import WaitDefaults
from fireworks_batch.connection.configuration import (
    Environment,
    check_headers,
    check_positive,
    check_proxy,
    check_rate,
    check_session,
    check_ssl,
    check_traces,
    check_type,
    check_whole,
    read_base_url,
    read_identity,
    read_time_scale,
)
from fireworks_batch.connection.credentials import Account, ApiKey, KeySource, hidden
from fireworks_batch.connection.session import TransportOptions
from fireworks_batch.connection.transport import Transport
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.job import JobLike
from fireworks_batch.models.policies import PollPolicy, RetryPolicy, scaled
from fireworks_batch.models.states import OpenEnum
from fireworks_batch.polling.access import Pollers
from fireworks_batch.polling.observation import JobSource
from fireworks_batch.results.job_results import (
    Expected,
    JobResults,
    ResultsEffects,
    check_expected,
    read_decode,
)
from fireworks_batch.runs.methods import RunMethods
from fireworks_batch.runs.services import Services
from fireworks_batch.version import __version__
from fireworks_batch.wire.codec import Codec

if TYPE_CHECKING:
    from fireworks_batch.datasets.source import Source
    from fireworks_batch.datasets.upload import UploadTerms
    from fireworks_batch.models.dataset import Dataset

__all__ = ["BatchClient"]


_T = TypeVar("_T")


_log = logging.getLogger("fireworks_batch")


_log.addHandler(logging.NullHandler())


_MIB: Final = 1024 * 1024


_USER_AGENT: Final = (
    f"fireworks-batch/{__version__} "
    f"Python/{'.'.join(platform.python_version_tuple()[:2])} aiohttp/{aiohttp.__version__}"
)


class BatchClient(RunMethods):
    """A client of one account: ``async with BatchClient() as client: ...``.

    Owns its HTTP session, unless one is lent to it, and ends with the ``async with`` block or
    `aclose`. Making and entering it sends nothing and needs no running loop; it belongs to the
    loop that it is first used on, and to its process: after a fork, make a new one.
    """

    _transport: Transport | None = None  # until __init__ has succeeded

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        account_id: str | None = None,
        base_url: str | None = None,
        session: aiohttp.ClientSession | None = None,
        poll: PollPolicy | None = None,
        retry: RetryPolicy | None = None,
        request_timeout: float = 60.0,
        connect_timeout: float = 10.0,
        transfer_timeout: float = 60.0,
        max_connections: int = 20,
        max_requests_per_minute: float | None = None,
        max_body_bytes: int = 64 * _MIB,
        headers: Mapping[str, str] | None = None,
        proxy: str | bool | None = None,
        ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        allow_insecure_http: bool = False,
    ) -> None:
        """Configure a client.

        Args:
            api_key: The key, or a function, sync or async, that is asked for it before each
                request: keys may rotate during a wait of days. By default FIREWORKS_API_KEY,
                then ``~/.fireworks/auth.ini``.

            account_id: The account. By default FIREWORKS_ACCOUNT_ID, then the file that the key
                came from; if nobody names it, the only one that the key sees, looked up once.

            base_url: The API, ``https://api.fireworks.ai`` by default, or FIREWORKS_BASE_URL. A
                path prefix is kept, a trailing ``/v1`` is dropped.

            session: A session to borrow; it is never closed. It must not carry credentials.

            poll: The default policy of waits.

            retry: The policy of plain calls.

            request_timeout: Seconds for one request, headers and body; above 0.

            connect_timeout: Seconds for a connection, look-up and TLS included; above 0.

            transfer_timeout: Seconds for which an up- or download may stand still; above 0.

            max_connections: Connections, and requests, at a time; 1 or more.

            max_requests_per_minute: Requests a minute, evenly spaced; above 0. None: no limit.

            max_body_bytes: Largest answer to a call, after decompression; 1 or more.

            headers: Sent along with each call of the API.

            proxy: The URL of an HTTP proxy. None: HTTP(S)_PROXY and NO_PROXY of the environment.
                False: no proxy.

            ssl: A context, a fingerprint to pin, or False to trust anybody.

            trace_configs: aiohttp's hooks for tracing, for a session of our own.

            allow_insecure_http: Accept an ``http`` URL to another machine, which shows the key
                to everybody on the way.

        Raises:
            ConfigurationError: There is no key, or an argument or a variable of the environment
                is malformed. The text names the value, unless it is the key, and what is right.
        """
        api_key = hidden(api_key)  # before anything can raise
        environ = Environment(os.environ)
        scale = read_time_scale(environ)
        if scale != 1:
            _log.info("FIREWORKS_BATCH_TIME_SCALE: default durations are multiplied by %g", scale)
        identity = read_identity(api_key, account_id, environ=environ, home=_home())
        draw = random.Random().random
        options = TransportOptions(
            base_url=read_base_url(
                base_url, environ=environ, allow_insecure_http=allow_insecure_http
            ),
            user_agent=_USER_AGENT,
            headers=check_headers(headers),
            session=check_session(session),
            retry=check_type("retry", retry, RetryPolicy) or scaled(RetryPolicy(), scale),
            request_timeout=check_positive("request_timeout", request_timeout),
            connect_timeout=check_positive("connect_timeout", connect_timeout),
            transfer_timeout=check_positive("transfer_timeout", transfer_timeout),
            max_connections=check_whole("max_connections", max_connections),
            max_requests_per_minute=check_rate(max_requests_per_minute),
            max_body_bytes=check_whole("max_body_bytes", max_body_bytes),
            proxy=check_proxy(proxy),
            ssl=check_ssl(ssl),
            trace_configs=check_traces(trace_configs, session),
        )
        waits = WaitDefaults(
            poll=check_type("poll", poll, PollPolicy) or scaled(PollPolicy(), scale),
            time_scale=scale,
            wall=_wall,
            draw=draw,
            new_id=_new_id,
        )
        codec = Codec(_tell_unknown)
        self._account = Account(identity.account_id)
        self._transport = Transport(
            options, keys=KeySource(identity.api_key), draw=draw, wall=_wall
        )
        self._pollers = Pollers(self._account, JobSource(self._transport, codec, _wall))
        self._datasets = Datasets(self._transport, codec, self._account, waits=waits)
        self._jobs = Jobs._made(self._transport, codec, self._account, self._pollers, waits=waits)
        super().__init__(self._services_of_runs(self._transport, codec, waits), codec)

    def _services_of_runs(
        self, transport: Transport, codec: Codec, waits: WaitDefaults
    ) -> Services:
        return Services(
            jobs=self._jobs,
            datasets=self._datasets,
            upload=partial(_upload, transport, codec, self._account, waits),
            resolve=partial(self._account.resolve, transport.send),
            base_url=transport.base_url,
            wall=waits.wall,
            poll=waits.poll,
            clock=transport.now,
            sleep_until=transport.sleep_until,
        )

    @property
    def account_id(self) -> str | None:
        """The account; None until given or looked up."""
        return self._account.id

    @property
    def jobs(self) -> Jobs:
        """The account's batch inference jobs."""
        return self._jobs

    @property
    def datasets(self) -> Datasets:
        """The account's datasets."""
        return self._datasets

    @overload
    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: None = None,
        lineage: bool = False,
    ) -> JobResults[dict[str, Any]]: ...

    @overload
    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: type[_T] | Callable[[dict[str, Any]], _T],
        lineage: bool = False,
    ) -> JobResults[_T]: ...

    def results(
        self,
        job: JobLike,
        *,
        expected: Expected | None = None,
        decode: Any = None,
        lineage: bool = False,
    ) -> JobResults[Any]:
        """Read the rows of a job that has ended: those that succeeded, and those that failed.

        ::

            async with client.results("nightly-eval") as rows:
                async for row in rows:
                    print(row.custom_id, row.text if row.ok else row.error)
            print(rows.report)

        Every job that can change no more has what it has: the rows of an EXPIRED, CANCELLED or
        EARLY_STOPPED one were paid for; one that FAILED early has none (``report.no_output``).
        Entering downloads the output dataset into a temporary directory (TMPDIR, or the system's),
        which is removed at the exit. Rows are not in the input's order; see ``rows.ordered()``.

        Args:
            job: Id, resource name, reference, or a job fetched before; it is fetched, unless it
                is given as it ended.

            expected: The input's ids, of any number, consumed once; or the path of the input file.
                Then the report names those that are missing, and rows that nobody expected.

            decode: What a response is to be: an attrs class or another type that cattrs makes, or
                a function of the mapping. A response that does not fit is an error of its row,
                with the code ``"undecodable"``, and loses nothing: ``row.raw`` is the line.

            lineage: Read the rows of the whole continuation chain. The files of results come
                first, the job's own before older ones, then those of errors in the same order;
                an error is left out if its id was in a file before it: a later job has run the
                row again.

        Returns:
            A context manager and async iterator, good for one use; memory stays bounded.

        Raises:
            ConfigurationError: An argument is malformed; ``job`` and ``expected`` are looked at on
                entering.
            JobNotFinishedError: On entering, as all that follow: the job has not ended.
            NotFoundError: There is no such job.
            LocalFileError: The files cannot be stored: a full disk, say.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: An answer of the API cannot be read.
            ClientStateError: The client is closed; or, later, the rows are used twice.
        """
        effects = ResultsEffects(
            get_job=self._jobs.get,
            download=lambda dataset, directory, whole: self._datasets.download(
                dataset, directory, lineage=whole
            ),
        )
        return JobResults(
            job,
            effects,
            expected=check_expected(expected),
            decode=read_decode(decode),
            lineage=lineage,
        )

    async def aclose(self) -> None:
        """Close the client: waits and calls under way end with `ClientStateError`.

        Remote jobs are not touched. Closing twice does nothing.

        Raises:
            ClientStateError: The client was used on another event loop.
        """
        if self._transport is not None:
            await self._transport.aclose(self._pollers.close)
            await self._pollers.settled()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if self._transport is None:
            return "<BatchClient, not configured>"
        state = ", closed" if self._transport.is_closed else ""
        return f"<BatchClient of account {self.account_id!r} on {self._transport.base_url}{state}>"

    def __del__(self) -> None:
        if self._transport is not None and self._transport.is_open:
            self._transport.abandon()
            warnings.warn(
                f"{self!r} was never closed: use it with 'async with', or await aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


def _wall() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - here the clock is what is passed in


async def _upload(
    transport: Transport,
    codec: Codec,
    account: Account,
    waits: WaitDefaults,
    source: "Source",
    terms: "UploadTerms",
) -> "Dataset":
    from fireworks_batch.datasets.upload import upload

    return await upload(transport, codec, account, waits, source, terms)


def _new_id() -> str:
    return f"job-{os.urandom(8).hex()}"


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _tell_unknown(member: OpenEnum) -> None:
    _log.warning(
        "%s %r is none that this release knows; it is passed on as it is",
        type(member).__name__,
        member.wire,
    )
