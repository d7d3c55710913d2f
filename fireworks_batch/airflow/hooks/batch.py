"""The hook: it makes a client for a connection of Airflow."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from airflow.sdk import BaseHook, Connection

from fireworks_batch import BatchClient, ConfigurationError, FireworksBatchError

__all__ = ["FireworksBatchHook", "client_arguments"]


# Members of the connection's extra that are passed to the client unchanged.
_EXTRA: Final = ("account_id", "max_requests_per_minute", "proxy", "allow_insecure_http")


_JSON: Final[Mapping[str, tuple[type, ...]]] = {
    "max_requests_per_minute": (int, float),
    "allow_insecure_http": (bool,),
}


def client_arguments(connection: Connection) -> dict[str, Any]:
    """Return the arguments of `BatchClient` for a connection. An empty field is left out.

    Args:
        connection: The connection. Its password is the API key, and its host is the base URL. Its
            extra may have ``account_id``, ``max_requests_per_minute``, ``proxy`` and
            ``allow_insecure_http``.

    Raises:
        ConfigurationError: The connection has no API key, the extra is not a JSON object, or a
            member of the extra has a wrong type.
    """
    if not connection.password:
        raise ConfigurationError(
            f"connection {connection.conn_id!r} has no API key: put it into the password field"
        )
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError as exc:
        raise ConfigurationError(
            f"the extra of connection {connection.conn_id!r} is not JSON: {exc}"
        ) from None
    if not isinstance(extra, dict):
        raise ConfigurationError(
            f"the extra of connection {connection.conn_id!r} is not a JSON object"
        )
    arguments = {name: extra[name] for name in _EXTRA if extra.get(name) not in (None, "")}
    for name in arguments.keys() & _JSON.keys():
        arguments[name] = _read(connection, name, arguments[name])
    if base_url := _base_url(connection):
        arguments["base_url"] = base_url
    return {**arguments, "api_key": connection.password}


def _read(connection: Connection, name: str, value: Any) -> Any:
    """Return a number or a boolean. A connection that was given as a URI has them as strings."""
    with contextlib.suppress(ValueError):
        value = json.loads(value) if isinstance(value, str) else value
    if isinstance(value, _JSON[name]):
        return value
    raise ConfigurationError(
        f"{name} in the extra of connection {connection.conn_id!r} must be "
        f"{'a number' if float in _JSON[name] else 'true or false'}, not {value!r}"
    )


def _base_url(connection: Connection) -> str:
    """Return the base URL. A connection that was given as a URI has its parts in several fields."""
    host = connection.host or ""
    if not host or "://" in host:
        return host
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}"


class FireworksBatchHook(BaseHook):
    """Makes clients for an Airflow connection.

    The connection has the type ``fireworks``. Its password is the API key. Its host is the base
    URL, and may be empty. Its extra may have ``account_id``, ``max_requests_per_minute``, ``proxy``
    and ``allow_insecure_http``: these are arguments of `BatchClient`.

    Args:
        fireworks_conn_id: The id of the connection, ``fireworks_default`` by default.
    """

    conn_name_attr = "fireworks_conn_id"
    default_conn_name = "fireworks_default"
    conn_type = "fireworks"
    hook_name = "Fireworks AI"

    def __init__(self, fireworks_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.fireworks_conn_id = fireworks_conn_id

    def get_conn(self) -> BatchClient:
        """Return a new client. Use it with ``async with``.

        The call blocks while Airflow reads the connection: call it outside of an event loop.

        Raises:
            AirflowNotFoundException: There is no such connection.
            ConfigurationError: A field of the connection is missing or malformed.
        """
        return BatchClient(**client_arguments(self.get_connection(self.fireworks_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Ask the server for one job of the account. The button "Test" of Airflow calls this.

        Returns:
            Whether the key and the account work, and a text for the user.
        """
        try:
            account_id = asyncio.run(_ask(self.get_conn()))
        except FireworksBatchError as error:
            return False, str(error)
        return True, f"the key is good for account {account_id!r}"


async def _ask(client: BatchClient) -> str | None:
    async with client:
        async for _ in client.jobs.list(page_size=1):
            break
        return client.account_id
