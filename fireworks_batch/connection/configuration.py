"""Where settings come from: arguments, then the environment, then the vendor's auth.ini."""

import ipaddress
import math
import re
import ssl as ssl_module
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from fireworks_batch.connection.credentials import ApiKey
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.names import check_id
from fireworks_batch.models.policies import PollPolicy, RetryPolicy
from fireworks_batch.models.texts import Secret, hidden
from fireworks_batch.models.validators import instance_of, number, whole_number

__all__ = [
    "ClientOptions",
    "Environment",
    "Identity",
    "Proxies",
    "check_base_url",
    "is_proxy_url",
    "read_base_url",
    "read_identity",
    "read_time_scale",
]


# White space, control characters, a backslash, and what is not ASCII.
_NOT_IN_URL: Final = re.compile(r"[^!-~]|\\").search


# --- The base URL -------------------------------------------------------------------------------


def check_base_url(text: str, *, allow_insecure_http: bool = False) -> str:
    """Return the base URL without a trailing slash or ``/v1``.

    Args:
        text: An https URL; a path prefix is kept.
        allow_insecure_http: Accept http to a host that is not this machine.

    Raises:
        ConfigurationError: It is no such URL, is the inference URL, or would send the key in the
            clear.
    """
    parts = _split_url(text)
    path = parts.path.rstrip("/")
    if path.endswith(("/inference/v1", "/inference")):
        right = f"{parts.scheme}://{parts.netloc}{path.rpartition('/inference')[0]}"
        raise ConfigurationError(
            f"base_url {text!r} is the inference URL; batch jobs live on {right!r}"
        )
    if parts.scheme == "http" and not (allow_insecure_http or _is_loopback(parts.hostname or "")):
        raise ConfigurationError(
            f"base_url {text!r} would send the API key in the clear; use 'https://…', or pass "
            "allow_insecure_http=True if that is meant"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{path.removesuffix('/v1').rstrip('/')}"


def _split_url(text: object) -> Any:
    wanted = "it should look like 'https://api.fireworks.ai'"
    if not isinstance(text, str):
        raise ConfigurationError(f"base_url must be a string, not {text!r}; {wanted}")
    if "@" in text:
        raise ConfigurationError(f"base_url has a user or password in it; {wanted}")
    if _NOT_IN_URL(text.strip()):
        raise ConfigurationError(f"base_url {text!r} has characters that no URL can have; {wanted}")
    try:
        parts = urlsplit(text.strip())
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as exc:
        raise ConfigurationError(f"base_url {text!r} is no URL: {exc}; {wanted}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        raise ConfigurationError(f"base_url {text!r} is no http(s) URL; {wanted}")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"base_url {text!r} has a query or fragment; {wanted}")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Proxies:
    """Knows the proxy of each origin: the one that was given, or the environment's."""

    def __init__(self, *, setting: str | bool | None) -> None:
        """Take the setting.

        Args:
            setting: A proxy's URL for all, False for none, None for the environment's.
        """
        self._setting = setting
        self._known: dict[tuple[str, str], str | None] = {}

    def proxy_for(self, url: URL) -> str | None:
        """Return the proxy for a URL; its credentials are its own, never a netrc file's.

        What goes to this machine goes through no proxy of the environment.

        Raises:
            ConfigurationError: The environment names one that is no http(s) URL.
        """
        if isinstance(self._setting, str):
            return self._setting
        if self._setting is False:
            return None
        host = (url.host or "").lower().rstrip(".")
        if _is_loopback(host) or host.endswith(".localhost"):
            return None
        origin = url.scheme, f"{host}:{url.port}"
        if origin not in self._known:
            self._known[origin] = _environment_proxy(*origin)
        return self._known[origin]


def is_proxy_url(text: str) -> bool:
    """Whether a text is the URL of a proxy that aiohttp can use."""
    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not set(text) & set(" \t\r\n")


def _environment_proxy(scheme: str, host: str) -> str | None:
    """Read HTTP(S)_PROXY and NO_PROXY, which takes long enough to do it once for a host."""
    proxy = hidden(urllib.request.getproxies_environment().get(scheme))
    if proxy is None or urllib.request.proxy_bypass(host):
        return None
    # Other programs take a bare host and port too.
    proxy = proxy if "://" in proxy else Secret(f"http://{proxy}")
    if is_proxy_url(proxy):
        return proxy
    raise ConfigurationError(
        f"{scheme.upper()}_PROXY of the environment is not the URL of an HTTP proxy, as in "
        "'http://proxy.example:3128'; correct it, or pass proxy="
    )


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII).fullmatch


# Control characters, and what UTF-8 cannot spell.
_NOT_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]").search


_OUR_HEADERS: Final = frozenset({"content-length", "content-type", "transfer-encoding"})


def _as_dict(headers: Any) -> Any:
    """Convert a mapping, or None; anything else is left to the validator."""
    try:
        return dict(headers or {})
    except (TypeError, ValueError):
        return headers


def _headers(_: object, __: "attrs.Attribute[Any]", headers: Any) -> None:
    """Take headers that can be sent beside our own."""
    if not isinstance(headers, dict):
        raise ConfigurationError(
            f"headers must map strings to strings, not be {type(headers).__name__}"
        )
    for name, value in headers.items():
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


def _session(_: object, __: "attrs.Attribute[Any]", session: aiohttp.ClientSession) -> None:
    """Take a session that adds nothing harmful to what we send."""
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


def _traces(options: "ClientOptions", _: "attrs.Attribute[Any]", traces: Any) -> None:
    """Take tracing hooks, which only a session of our own takes."""
    if not isinstance(traces, Sequence) or not all(
        isinstance(trace, aiohttp.TraceConfig) for trace in traces
    ):
        raise ConfigurationError(
            f"trace_configs must be a sequence of aiohttp.TraceConfig, not {traces!r}"
        )
    if traces and options.session is not None:
        raise ConfigurationError(
            "trace_configs are for the client's own session: give them to the session that you lend"
        )


def _proxy(_: object, __: "attrs.Attribute[Any]", proxy: Any) -> None:
    """Take the URL of a proxy, False, or None; a text that is refused may hold a password."""
    if proxy is None or proxy is False or (isinstance(proxy, str) and is_proxy_url(proxy)):
        return
    raise ConfigurationError("proxy must be an http(s) URL, False, or None for the environment's")


@attrs.frozen(kw_only=True)
class ClientOptions:
    """How a client talks; `BatchClient` documents each of them.

    Raises:
        ConfigurationError: A value is malformed.
    """

    base_url: str
    headers: dict[str, str] = attrs.field(repr=False, converter=_as_dict, validator=_headers)
    session: aiohttp.ClientSession | None = attrs.field(
        validator=attrs.validators.optional(
            [instance_of(aiohttp.ClientSession, "an aiohttp.ClientSession"), _session]
        )
    )
    poll: PollPolicy = attrs.field(validator=instance_of(PollPolicy))
    retry: RetryPolicy = attrs.field(validator=instance_of(RetryPolicy))
    request_timeout: float = attrs.field(validator=number(above=0))
    connect_timeout: float = attrs.field(validator=number(above=0))
    transfer_timeout: float = attrs.field(validator=number(above=0))
    max_connections: int = attrs.field(validator=whole_number())
    max_requests_per_minute: float | None = attrs.field(
        validator=attrs.validators.optional(number(above=0))
    )
    max_body_bytes: int = attrs.field(validator=whole_number())
    proxy: str | bool | None = attrs.field(repr=False, validator=_proxy)
    ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool = attrs.field(
        validator=instance_of(
            (ssl_module.SSLContext, aiohttp.Fingerprint, bool),
            "an SSLContext, a Fingerprint or a bool",
        )
    )
    trace_configs: Sequence[aiohttp.TraceConfig] = attrs.field(validator=_traces)


_DEFAULT_URL: Final = "https://api.fireworks.ai"


_AUTH_FILE: Final = Path(".fireworks", "auth.ini")


# The vendor's own tools write it flat, without a section; others put one in.
_SECTION: Final = "fireworks"


_LARGEST_SCALE: Final = 1e6


class Environment:
    """The environment's variables; a repr, and so a traceback with locals, shows none of them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Take the variables."""
        self._variables = variables

    def get(self, name: str) -> str | None:
        """Return a variable; None if it is not set, or empty."""
        return self._variables.get(name) or None


@attrs.frozen
class Identity:
    """Who calls: the key, and the account if anybody named it."""

    api_key: ApiKey = attrs.field(repr=False)
    account_id: str | None


def read_identity(
    api_key: ApiKey | None,
    account_id: str | None,
    *,
    environ: Environment,
    home: Path | None,
) -> Identity:
    """Find the key and the account.

    Args:
        api_key: As given, or None.
        account_id: As given, or None.
        environ: ``FIREWORKS_API_KEY``, ``FIREWORKS_ACCOUNT_ID``.
        home: Has ``.fireworks/auth.ini``, which is read only if no key was found elsewhere; its
            account counts only together with its key.

    Raises:
        ConfigurationError: There is no key, the file cannot be read, or the account is no id.
    """
    account = account_id if account_id is not None else environ.get("FIREWORKS_ACCOUNT_ID")
    key = api_key
    if key is None:
        key = Secret(environ.get("FIREWORKS_API_KEY") or "")
        if not key:
            stored = _read_auth_file(home)
            key = stored.get("api_key", Secret())
            account = account or str(stored.get("account_id", "")) or None
        if not key:
            raise ConfigurationError(
                "no API key: pass api_key=, set FIREWORKS_API_KEY, or store one in "
                f"~/{_AUTH_FILE.as_posix()}"
            )
    return Identity(key, None if account is None else _check_account(account))


def _check_account(account: object) -> str:
    if isinstance(account, str) and account.startswith("accounts/"):
        raise ConfigurationError(
            f"account_id {account!r} is a resource name; the id is {account[len('accounts/') :]!r}"
        )
    return check_id("account_id", account)


def _read_auth_file(home: Path | None) -> Mapping[str, Secret]:
    if home is None:
        return {}
    path = home / _AUTH_FILE
    try:
        # Editors of other systems put a byte order mark before the text.
        text = Secret(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        why = str(exc)
    else:
        return parse_auth_file(text)
    # Outside the except: the cause, and its frames, would show what was read.
    raise ConfigurationError(f"cannot read ~/{_AUTH_FILE.as_posix()}: {why}")


def parse_auth_file(text: str) -> Mapping[str, Secret]:
    """Read the vendor's auth.ini: flat, or with a ``[fireworks]`` section.

    Raises:
        ConfigurationError: It has another form. The text is not shown: it holds secrets.
    """
    import configparser  # noqa: PLC0415 - slow to import, and few have such a file

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(f"[{_SECTION}]\n{text}")
    except configparser.ParsingError as exc:
        lines = ", ".join(str(number - 1) for number, _ in exc.errors)
    else:
        return {key: Secret(value.strip("\"'")) for key, value in parser[_SECTION].items()}
    raise ConfigurationError(
        f"~/{_AUTH_FILE.as_posix()} has lines that are not 'key = value': {lines}"
    )


def read_base_url(base_url: str | None, *, environ: Environment, allow_insecure_http: bool) -> str:
    """Find the base URL: as given, or ``FIREWORKS_BASE_URL``, or the vendor's.

    Raises:
        ConfigurationError: It is no base URL of the API.
    """
    found = (
        base_url if base_url is not None else (environ.get("FIREWORKS_BASE_URL") or _DEFAULT_URL)
    )
    return check_base_url(found, allow_insecure_http=allow_insecure_http)


def read_time_scale(environ: Environment) -> float:
    """Read ``FIREWORKS_BATCH_TIME_SCALE``, the factor on all default durations; 1 if not set.

    Raises:
        ConfigurationError: It is no number above 0 and at most a million.
    """
    text = environ.get("FIREWORKS_BATCH_TIME_SCALE") or "1"
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 0 < scale <= _LARGEST_SCALE:
        raise ConfigurationError(
            f"FIREWORKS_BATCH_TIME_SCALE must be a number above 0 and at most "
            f"{_LARGEST_SCALE:g}, not {text!r}"
        )
    return scale
