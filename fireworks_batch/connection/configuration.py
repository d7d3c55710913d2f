"""The settings of a client, from arguments, the environment, and the vendor's auth.ini."""

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


# White space, control characters, a backslash, and characters outside ASCII.
_NOT_IN_URL: Final = re.compile(r"[^!-~]|\\").search


# --- The base URL -------------------------------------------------------------------------------


def check_base_url(text: str, *, allow_insecure_http: bool = False) -> str:
    """Return the base URL without a trailing slash or ``/v1``.

    Args:
        text: An https URL; a path prefix is kept.
        allow_insecure_http: Whether to accept http to another machine.

    Raises:
        ConfigurationError: The text is not such a URL, is the inference URL, or would send the key
            unencrypted.
    """
    parts = _split_url(text)
    path = parts.path.rstrip("/")
    if path.endswith(("/inference/v1", "/inference")):
        right = f"{parts.scheme}://{parts.netloc}{path.rpartition('/inference')[0]}"
        raise ConfigurationError(
            f"base_url {text!r} is the address for inference; batch jobs are at {right!r}"
        )
    if parts.scheme == "http" and not (allow_insecure_http or _is_loopback(parts.hostname or "")):
        raise ConfigurationError(
            f"base_url {text!r} would send the API key unencrypted; use 'https://…', or pass "
            "allow_insecure_http=True to allow it"
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
        raise ConfigurationError(f"base_url {text!r} is not a URL: {exc}; {wanted}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid:
        raise ConfigurationError(f"base_url {text!r} is not an http(s) URL; {wanted}")
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
    """Finds the proxy for each origin: the given proxy, or the environment's."""

    def __init__(self, *, setting: str | bool | None) -> None:
        """Keep the setting.

        Args:
            setting: The URL of one proxy for all origins. False means no proxy, None means the
                environment's proxies.
        """
        self._setting = setting
        self._known: dict[tuple[str, str], str | None] = {}

    def proxy_for(self, url: URL) -> str | None:
        """Return the URL of the proxy for a URL; None for no proxy.

        Credentials come only from the proxy's URL, never from a netrc file. Requests to this
        machine do not use a proxy of the environment.

        Raises:
            ConfigurationError: A proxy of the environment is not an http(s) URL.
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
    """Read HTTP(S)_PROXY and NO_PROXY; this is slow, and so is done once for each host."""
    proxy = hidden(urllib.request.getproxies_environment().get(scheme))
    if proxy is None or urllib.request.proxy_bypass(host):
        return None
    # Other programs accept a bare host and port too.
    proxy = proxy if "://" in proxy else Secret(f"http://{proxy}")
    if is_proxy_url(proxy):
        return proxy
    raise ConfigurationError(
        f"{scheme.upper()}_PROXY of the environment is not the URL of an HTTP proxy, as in "
        "'http://proxy.example:3128'; correct it, or pass proxy="
    )


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII).fullmatch


# Control characters, and surrogates, which UTF-8 cannot encode.
_NOT_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]").search


_OUR_HEADERS: Final = frozenset({"content-length", "content-type", "transfer-encoding"})


def _as_dict(headers: Any) -> Any:
    """Convert a mapping or None to a dictionary; leave any other value to the validator."""
    try:
        return dict(headers or {})
    except (TypeError, ValueError):
        return headers


def _headers(_: object, __: "attrs.Attribute[Any]", headers: Any) -> None:
    """Accept headers that can be sent with the headers of this library."""
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
    """Accept a session that does not add credentials or change answers."""
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
    """Accept tracing hooks, which can be used only with a session of the client's own."""
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
    """Accept a proxy's URL, False, or None. The error hides the value: it may hold a password."""
    if proxy is None or proxy is False or (isinstance(proxy, str) and is_proxy_url(proxy)):
        return
    raise ConfigurationError("proxy must be an http(s) URL, False, or None for the environment's")


@attrs.frozen(kw_only=True)
class ClientOptions:
    """The options of a client; `BatchClient` documents each of them.

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
    allow_insecure_http: bool

    @property
    def allows_http(self) -> bool:
        """Whether a signed URL may be http, which the user or a local API allows."""
        return self.allow_insecure_http or _is_loopback(urlsplit(self.base_url).hostname or "")


_DEFAULT_URL: Final = "https://api.fireworks.ai"


_AUTH_FILE: Final = Path(".fireworks", "auth.ini")


# The vendor's own tools write the file without sections; other tools write this section.
_SECTION: Final = "fireworks"


_LARGEST_SCALE: Final = 1e6


class Environment:
    """The environment's variables. No repr shows them, and so no traceback with local variables."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Keep the variables."""
        self._variables = variables

    def get(self, name: str) -> str | None:
        """Return a variable; None if it is not set, or empty."""
        return self._variables.get(name) or None


@attrs.frozen
class Identity:
    """The identity of the caller: the key, and the account if it is given."""

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
        api_key: The key of the caller, or None.
        account_id: The account of the caller, or None.
        environ: Has ``FIREWORKS_API_KEY`` and ``FIREWORKS_ACCOUNT_ID``.
        home: The directory that has ``.fireworks/auth.ini``. The file is read only if no key was
            found elsewhere; its account is used only together with its key.

    Raises:
        ConfigurationError: There is no key, the file cannot be read, or the account is not an id.
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
        # Some editors put a byte order mark before the text.
        text = Secret(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        why = str(exc)
    else:
        return parse_auth_file(text)
    # Outside the except: a cause, and its frames, would show the text of the file.
    raise ConfigurationError(f"cannot read ~/{_AUTH_FILE.as_posix()}: {why}")


def parse_auth_file(text: str) -> Mapping[str, Secret]:
    """Read the text of the vendor's auth.ini, without sections or with a ``[fireworks]`` section.

    Raises:
        ConfigurationError: The text has another form. The error does not show the text, because it
            holds secrets.
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
    """Return the given base URL, else ``FIREWORKS_BASE_URL``, else the vendor's URL.

    Raises:
        ConfigurationError: The URL cannot be a base URL of the API.
    """
    found = (
        base_url if base_url is not None else (environ.get("FIREWORKS_BASE_URL") or _DEFAULT_URL)
    )
    return check_base_url(found, allow_insecure_http=allow_insecure_http)


def read_time_scale(environ: Environment) -> float:
    """Read ``FIREWORKS_BATCH_TIME_SCALE``, the factor on all default durations; 1 if not set.

    Raises:
        ConfigurationError: The value is not a number above 0 and at most a million.
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
