"""What a client may be told: each argument is checked before anything is made of it.

Each function raises a `ConfigurationError` that names the value and what would be right.
"""

import inspect
import re
import ssl as ssl_module
from collections.abc import Iterable, Sequence
from typing import Any, Final

import aiohttp

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.policies import is_number
from fireworks_batch.proxies import is_proxy_url

__all__ = [
    "check_headers",
    "check_positive",
    "check_proxy",
    "check_rate",
    "check_session",
    "check_several",
    "check_ssl",
    "check_teller",
    "check_text",
    "check_traces",
    "check_type",
    "check_whole",
]

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII).fullmatch
# Control characters, and what UTF-8 cannot spell.
_NOT_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]").search
_OUR_HEADERS: Final = frozenset({"content-length", "content-type", "transfer-encoding"})


def check_positive(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float."""
    if is_number(value) and value > 0:
        return float(value)
    raise ConfigurationError(f"{name} must be a number above 0, not {value!r}")


def check_rate(max_requests_per_minute: Any) -> float | None:
    """Return None, or a finite number above 0 as a float."""
    if max_requests_per_minute is None:
        return None
    return check_positive("max_requests_per_minute", max_requests_per_minute)


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number that is not too small."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_teller(name: str, value: Any) -> None:
    """Refuse what cannot be called with news, or would have to be awaited then."""
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
        raise ConfigurationError(f"{name} must be a plain function, not {value!r}")


def check_text(name: str, value: Any) -> str:
    """Return a string; an empty one for None."""
    if value is None or isinstance(value, str):
        return value or ""
    raise ConfigurationError(f"{name} must be a string, not {value!r}")


def check_type(name: str, value: Any, wanted: type[Any]) -> Any:
    """Return None, or a value of the wanted type."""
    if value is None or isinstance(value, wanted):
        return value
    raise ConfigurationError(f"{name} must be a {wanted.__name__}, not {value!r}")


def check_several(name: str, values: Any) -> list[Any]:
    """Return the members of an iterable; a string is one thing, not its characters."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return [*values]
    raise ConfigurationError(
        f"{name} must be a list or another iterable, not {values!r}: one of them is [{name[:-1]}], "
        f"and what an async iterator gives [{name[:-1]} async for {name[:-1]} in …]"
    )


def check_headers(headers: Any) -> dict[str, str]:
    """Return headers that can be sent beside our own."""
    try:
        checked: dict[Any, Any] = dict(headers or {})
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"headers must map strings to strings, not be {type(headers).__name__}"
        ) from None
    for name, value in checked.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise ConfigurationError(f"headers must map strings to strings, not {name!r}")
        if not _HEADER_NAME(name):
            raise ConfigurationError(f"{name!r} cannot be the name of a header")
        if _NOT_IN_HEADER(value):
            raise ConfigurationError(f"header {name!r} has a line break or control character")
        if name.lower() == "authorization":
            raise ConfigurationError("headers must not set Authorization: use api_key=")
        if name.lower() in _OUR_HEADERS:
            raise ConfigurationError(f"headers must not set {name}: each request has its own")
    return checked


def check_traces(
    trace_configs: Any, session: aiohttp.ClientSession | None
) -> tuple[aiohttp.TraceConfig, ...]:
    """Return tracing hooks, which only a session of our own takes."""
    is_sequence = isinstance(trace_configs, Sequence)
    if not is_sequence or not all(
        isinstance(trace, aiohttp.TraceConfig) for trace in trace_configs
    ):
        raise ConfigurationError(
            f"trace_configs must be a sequence of aiohttp.TraceConfig, not {trace_configs!r}"
        )
    if trace_configs and session is not None:
        raise ConfigurationError(
            "trace_configs are for the client's own session: give them to the session that you lend"
        )
    return tuple(trace_configs)


def check_session(session: Any) -> aiohttp.ClientSession | None:
    """Return None, or a session that adds nothing harmful to what we send."""
    if session is None:
        return None
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"session must be an aiohttp.ClientSession, not {session!r}")
    if session.trust_env:
        raise ConfigurationError(
            "a borrowed session must not have trust_env=True: with a netrc file it sends other "
            "credentials; proxies of the environment are used without it"
        )
    if session.auth or "Authorization" in session.headers:
        raise ConfigurationError(
            "a borrowed session must not carry credentials of its own (auth=, Authorization)"
        )
    if not session.auto_decompress:
        raise ConfigurationError("a borrowed session must not have auto_decompress=False")
    return session


def check_proxy(proxy: Any) -> str | bool | None:
    """Return the URL of a proxy, False, or None."""
    if proxy is None or proxy is False:
        return proxy
    if isinstance(proxy, str) and is_proxy_url(proxy):
        return proxy
    raise ConfigurationError("proxy must be an http(s) URL, False, or None for the environment's")


def check_ssl(ssl: Any) -> ssl_module.SSLContext | aiohttp.Fingerprint | bool:
    """Return what aiohttp takes as ssl; True by default."""
    if ssl is None:
        return True
    if isinstance(ssl, ssl_module.SSLContext | aiohttp.Fingerprint | bool):
        return ssl
    raise ConfigurationError(f"ssl must be an SSLContext, a Fingerprint or a bool, not {ssl!r}")
