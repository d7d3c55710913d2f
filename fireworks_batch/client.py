"""The session manager: configuration, one HTTP session, and the account's resources."""

import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp

from fireworks_batch.jobs import Jobs
from fireworks_batch.policies import PollPolicy, RetryPolicy

__all__ = ["ApiKey", "BatchClient"]

ApiKey: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A key, or a function, sync or async, that is asked for it before each request."""

_MIB = 1024 * 1024


class BatchClient:
    """A client of one account."""

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
    ) -> None:
        raise NotImplementedError

    @property
    def account_id(self) -> str | None:
        """The account; None until given or looked up."""
        raise NotImplementedError

    @property
    def jobs(self) -> Jobs:
        """The account's batch inference jobs."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the client."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise NotImplementedError
