"""The connection of Airflow, and the client that it makes."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Final

from airflow.sdk import BaseHook, Connection

from fireworks_batch import BatchClient, ConfigurationError, FireworksBatchError

__all__ = ["FireworksBatchHook", "client_arguments"]


# Members of the connection's extra that are arguments of the client as they are.
_EXTRA: Final = ("account_id", "max_requests_per_minute", "proxy", "allow_insecure_http")


_JSON: Final[Mapping[str, tuple[type, ...]]] = {
    "max_requests_per_minute": (int, float),
    "allow_insecure_http": (bool,),
}


def client_arguments(connection: Connection) -> dict[str, Any]:
    """Return what `BatchClient` is given for a connection; an empty field is left out.

    Args:
        connection: The password is the API key, the host the base URL; the account and the like
            are members of the extra.

    Raises:
        ConfigurationError: There is no key, or the extra is no JSON object.
    """
    if not connection.password:
        raise ConfigurationError(
            f"connection {connection.conn_id!r} has no API key: it belongs into the password field"
        )
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError as exc:
        raise ConfigurationError(
            f"the extra of connection {connection.conn_id!r} is no JSON: {exc}"
        ) from None
    if not isinstance(extra, dict):
        raise ConfigurationError(f"the extra of connection {connection.conn_id!r} is no object")
    arguments = {name: extra[name] for name in _EXTRA if extra.get(name) not in (None, "")}
    for name in arguments.keys() & _JSON.keys():
        arguments[name] = _read(connection, name, arguments[name])
    if base_url := _base_url(connection):
        arguments["base_url"] = base_url
    return {**arguments, "api_key": connection.password}


def _read(connection: Connection, name: str, value: Any) -> Any:
    """Return a number or a flag; a connection that was given as a URI has them as strings."""
    with contextlib.suppress(ValueError):
        value = json.loads(value) if isinstance(value, str) else value
    if isinstance(value, _JSON[name]):
        return value
    raise ConfigurationError(
        f"{name} in the extra of connection {connection.conn_id!r} must be "
        f"{'a number' if float in _JSON[name] else 'true or false'}, not {value!r}"
    )


def _base_url(connection: Connection) -> str:
    """Return the base URL; a connection that was given as a URI has it in parts."""
    host = connection.host or ""
    if not host or "://" in host:
        return host
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}"


class FireworksBatchHook(BaseHook):
    """Makes clients of the account that an Airflow connection names.

    Args:
        fireworks_conn_id: The id of the connection.
    """

    conn_name_attr = "fireworks_conn_id"
    default_conn_name = "fireworks_default"
    conn_type = "fireworks"
    hook_name = "Fireworks AI"

    def __init__(self, fireworks_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.fireworks_conn_id = fireworks_conn_id

    def get_conn(self) -> BatchClient:
        """Return a new client, to be used with ``async with``.

        Blocks while Airflow looks the connection up: call it outside of an event loop.

        Raises:
            AirflowNotFoundException: There is no such connection.
            ConfigurationError: A field of the connection is missing or malformed.
        """
        return BatchClient(**client_arguments(self.get_connection(self.fireworks_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Ask for one job of the account, as the button "Test" does; return how it went."""
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
