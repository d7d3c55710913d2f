"""The clients of one process of Airflow. All triggers of a connection share one of them.

This is the only registry of the library. A triggerer runs its triggers in one event loop, and
creates each trigger from the metadata database. So the triggers can find a common client only here.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException

from fireworks_batch import BatchClient, FireworksBatchError
from fireworks_batch.airflow.hooks.batch import FireworksBatchHook, client_arguments

__all__ = ["SharedClients", "shared_client"]


_log = logging.getLogger("fireworks_batch.http")


_MINUTE: Final = 60.0


@attrs.define(eq=False)
class _Shared:
    """A client, and the number of its users."""

    client: BatchClient
    users: int = 0
    closing: asyncio.TimerHandle | None = None


@attrs.define(eq=False)
class SharedClients:
    """The clients of one event loop.

    There is one client for each connection and its fields. The API key may change meanwhile.
    """

    read_connection: Callable[[str], Awaitable[Connection]]
    """Returns the connection with an id."""

    linger: float = _MINUTE
    """Seconds for which an unused client stays open, and a connection is not read again."""

    _clients: dict[tuple[str, str], _Shared] = attrs.field(factory=dict, init=False)
    _reads: dict[str, tuple[float, "asyncio.Task[dict[str, Any]]"]] = attrs.field(
        factory=dict, init=False, repr=False
    )
    _keys: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    _closings: set["asyncio.Task[None]"] = attrs.field(factory=set, init=False)

    @asynccontextmanager
    async def lease(self, conn_id: str) -> AsyncIterator[BatchClient]:
        """Yield the client of a connection for an ``async with``.

        Args:
            conn_id: The id of the connection.

        Raises:
            AirflowNotFoundException: There is no such connection.
            ConfigurationError: A field of the connection is missing or malformed.
        """
        arguments = {**await self._arguments(conn_id)}
        self._keys[conn_id] = arguments.pop("api_key")
        key = conn_id, hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
        shared = self._clients.get(key)
        if shared is None:
            client = BatchClient(**arguments, api_key=partial(self._api_key, conn_id))
            shared = self._clients[key] = _Shared(client)
        if shared.closing is not None:
            shared.closing.cancel()
        shared.users += 1
        try:
            yield shared.client
        finally:
            shared.users -= 1
            if not shared.users:
                loop = asyncio.get_running_loop()
                shared.closing = loop.call_later(self.linger, self._close, key)

    async def _api_key(self, conn_id: str) -> str:
        """Return the present API key of the connection. It may change while triggers wait."""
        try:
            self._keys[conn_id] = (await self._arguments(conn_id))["api_key"]
        except (AirflowException, FireworksBatchError) as error:
            _log.warning("connection %r: %s: its last key is used on", conn_id, error)
        return self._keys[conn_id]

    async def _arguments(self, conn_id: str) -> dict[str, Any]:
        """Return the arguments of a connection. Read the connection at most once a minute.

        All triggers share one read: many reads at once can dead-lock a triggerer
        (apache/airflow#63913).
        """
        loop = asyncio.get_running_loop()
        since, task = self._reads.get(conn_id, (0.0, None))
        is_old = loop.time() - since > self.linger
        if task is None or (task.done() and (is_old or task.cancelled() or task.exception())):
            task = loop.create_task(self._read(conn_id))
            self._reads[conn_id] = loop.time(), task
        # The cancellation of one trigger must not end the read for the others.
        return await asyncio.shield(task)

    async def _read(self, conn_id: str) -> dict[str, Any]:
        return client_arguments(await self.read_connection(conn_id))

    def _close(self, key: tuple[str, str]) -> None:
        task = asyncio.get_running_loop().create_task(self._clients.pop(key).client.aclose())
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)


_OF_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, SharedClients] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(conn_id: str) -> AsyncIterator[BatchClient]:
    """Yield the client that all triggers of this event loop share, for an ``async with``.

    Args:
        conn_id: The id of the Airflow connection.

    Raises:
        AirflowNotFoundException: There is no such connection.
        ConfigurationError: A field of the connection is missing or malformed.
    """
    loop = asyncio.get_running_loop()
    clients = _OF_LOOPS.get(loop)
    if clients is None:
        clients = _OF_LOOPS[loop] = SharedClients(FireworksBatchHook.aget_connection)
    async with clients.lease(conn_id) as client:
        yield client
