"""How an answer is read: every HTTP rule, as functions of plain values.

Performs no I/O.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import orjson

from fireworks_batch import errors
from fireworks_batch.calls import Request
from fireworks_batch.errors import APIStatusError, ConfigurationError, FireworksBatchError
from fireworks_batch.states import StatusCode

__all__ = [
    "TRANSIENT",
    "Answer",
    "check_base_url",
    "is_rate_limit",
    "is_refusal",
    "is_transient",
    "read_accounts",
    "read_refusal",
    "redirect_reason",
    "retry_after",
    "server_time",
]

# No usable answer in the server's own words: worth another look. 520 to 524 are a CDN's.
TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})
# The API's own, final refusals.
_FINAL: Final = frozenset({400, 401, 402, 403, 404, 412})
_LONGEST_RETRY_AFTER: Final = 3600.0

_CODES: Final = tuple(StatusCode)
_AUTH_CODES: Final = frozenset({"UNAUTHORIZED", "UNAUTHENTICATED"})
# White space, control characters, a backslash, and what is not ASCII.
_NOT_IN_URL: Final = re.compile(r"[^!-~]|\\").search
_SECONDS: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII).fullmatch


@attrs.frozen(kw_only=True)
class Answer:
    """What came back, whole."""

    status: int
    """The HTTP status."""

    headers: Mapping[str, str] = attrs.field(repr=False)
    """Case-insensitive."""

    body: bytes = attrs.field(repr=False)
    """After decompression."""


# --- Answers ------------------------------------------------------------------------------------


def read_refusal(
    request: Request, answer: Answer, *, now: datetime, scrub: Callable[[str], str] = str
) -> APIStatusError | None:
    """Read an answer that says no; None if it says yes.

    Args:
        request: What was asked.
        answer: The answer.
        now: This machine's time, aware, for a Retry-After that is a date and an answer without
            a Date.
        scrub: Takes secrets out of a text that the server may have put them into.
    """
    if 200 <= answer.status < 300:
        return None
    said = _read_error(answer)
    code = f" {said.code}" if said.code else ""
    error = _error_class(answer.status, said.code)
    return error(
        scrub(f"{request}: {answer.status}{code}: {said.reason}{_ADVICE.get(error, '')}"),
        status=answer.status,
        code=scrub(said.code),
        reason=scrub(said.reason),
        request_id=said.request_id or answer.headers.get("x-request-id"),
        retry_after=retry_after(answer.headers, now=now),
        from_api=said.from_api,
    )


_CLASSES: Final[dict[int, type[APIStatusError]]] = {
    401: errors.AuthenticationError,
    402: errors.AccountSuspendedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    408: errors.ServerError,
    409: errors.ConflictError,
    412: errors.AccountSuspendedError,
    425: errors.ServerError,
    429: errors.RateLimitError,
}

_ADVICE: Final[dict[type[APIStatusError], str]] = {
    errors.AuthenticationError: " (check FIREWORKS_API_KEY or api_key=)",
    errors.AccountSuspendedError: " (check the account's payment method and suspension)",
}


def _error_class(status: int, code: str) -> type[APIStatusError]:
    if status == 403 and code in _AUTH_CODES:
        return errors.AuthenticationError
    default = errors.BadRequestError if 400 <= status < 500 else errors.ServerError
    return _CLASSES.get(status, default)


@attrs.frozen
class _Said:
    """What an error answer says, whichever of the four shapes it has."""

    reason: str
    code: str = ""
    request_id: str | None = None
    from_api: bool = True


def _read_error(answer: Answer) -> _Said:
    if 300 <= answer.status < 400:
        return _Said(redirect_reason(answer.headers.get("location", "")), from_api=False)
    try:
        value = orjson.loads(answer.body)
    except ValueError:
        return _read_page(answer.body)
    return _read_json_error(value) or _read_page(answer.body)


_SIGNED_ADVICE: Final = "storage answers a signed URL itself: is a proxy in between?"


def redirect_reason(location: str, *, at_api: bool = True) -> str:
    """Name a redirect's host only: the rest may hold anything.

    Args:
        location: Where to; may be empty.
        at_api: Whether the API was asked, or a signed URL.
    """
    try:
        host = urlsplit(location).hostname or "another path"
    except ValueError:
        host = "somewhere unreadable"
    advice = "is base_url right?" if at_api else _SIGNED_ADVICE
    return f"a redirect to {host}, not followed; {advice}"


def _read_json_error(value: Any) -> _Said | None:
    """Read the gateway's shape, or the edge's envelope."""
    match value:
        case {"error": {"message": str(reason), **rest}}:
            return _Said(reason, _code(rest.get("code")), _text(value.get("request_id")))
        case {"error": str(reason)}:
            return _Said(reason, request_id=_text(value.get("request_id")))
        case {"code": int(code), "message": str(reason)}:
            return _Said(reason, _code(code))
        case _:
            return None


def _code(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return _CODES[value].value if 0 <= value < len(_CODES) else str(value)
    return value if isinstance(value, str) else ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read_page(body: bytes) -> _Said:
    """Read HTML, storage's XML or plain text: a title or message, else the first words."""
    text = body[:4000].decode("utf-8", "replace")
    storage = re.search(r"<Code>(.*?)</Code>", text, re.DOTALL)
    title = re.search(r"<(title|Message)[^>]*>(.*?)</\1>", text, re.DOTALL | re.IGNORECASE)
    words = title[2] if title else re.sub(r"<[^>]*>", " ", text)
    reason = " ".join(words.split())[:200]
    code = storage[1] if storage else ""
    return _Said(reason or "an answer without a text", code, from_api=False)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that the server asks to wait, from 0 to 3600; None if it does not.

    Args:
        headers: Case-insensitive. A date is taken relative to the answer's own Date.
        now: Stands in for a missing Date.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS(text):
        return min(float(text), _LONGEST_RETRY_AFTER)
    moment = _http_date(text)
    if moment is None:
        return None
    wait = (moment - (server_time(headers) or now)).total_seconds()
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER)


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the answer's Date, aware, in UTC; None if there is none that can be read."""
    return _http_date(headers.get("date", ""))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def is_transient(error: FireworksBatchError) -> bool:
    """Whether another attempt may do better: no usable answer, or not the API's final word."""
    if isinstance(error, APIStatusError):
        return error.status in TRANSIENT or not error.from_api
    return isinstance(error, errors.TransportError | errors.ResponseDecodeError)


def is_refusal(error: FireworksBatchError) -> bool:
    """Whether the API itself refuses, for good, in its own JSON."""
    return isinstance(error, APIStatusError) and error.from_api and error.status in _FINAL


def is_rate_limit(error: FireworksBatchError) -> bool:
    """Whether the error only says to wait: 429, or 503 with a Retry-After."""
    return isinstance(error, APIStatusError) and (
        error.status == 429 or (error.status == 503 and error.retry_after is not None)
    )


def read_accounts(value: Any) -> list[str]:
    """Return the ids of the accounts in a listing, and "…" if there is another page.

    Raises:
        ResponseDecodeError: It is no listing of accounts.
    """
    match value:
        case {"accounts": list(accounts), **rest}:
            names = [account.get("name") for account in accounts if isinstance(account, dict)]
            ids = [name.removeprefix("accounts/") for name in names if isinstance(name, str)]
            return [*ids, "…"] if rest.get("nextPageToken") else ids
        case {}:
            return []
        case _:
            problem = "expected an object with a list of accounts"
            raise errors.ResponseDecodeError(
                f"cannot read the accounts: {problem}", problems=[problem]
            )


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
