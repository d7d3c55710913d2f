"""Where settings come from: arguments, then the environment, then the vendor's auth.ini."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from fireworks_batch.errors import ConfigurationError
from fireworks_batch.http import check_base_url
from fireworks_batch.keys import ApiKey, Secret
from fireworks_batch.names import check_id

__all__ = ["Environment", "Identity", "read_base_url", "read_identity", "read_time_scale"]

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
