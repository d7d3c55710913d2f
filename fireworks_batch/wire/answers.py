"""The HTTP rules by which an answer is read, as functions of plain values.

Performs no I/O.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import orjson

from fireworks_batch.models.errors import (
    AccountSuspendedError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    FireworksBatchError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    TransportError,
)
from fireworks_batch.models.states import StatusCode
from fireworks_batch.models.texts import Secret, fit
from fireworks_batch.wire.requests import Request

__all__ = [
    "TRANSIENT",
    "Answer",
    "Page",
    "is_rate_limit",
    "is_refusal",
    "is_transient",
    "is_transient_at_storage",
    "read_accounts",
    "read_page",
    "read_refusal",
    "read_signed_urls",
    "redirect_reason",
    "retry_after",
    "server_time",
    "url_of",
]


@attrs.frozen(kw_only=True)
class Answer:
    """A whole answer to one request."""

    status: int
    """The HTTP status."""

    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers; their names are case-insensitive."""

    body: bytes = attrs.field(repr=False)
    """The body, decompressed."""

    @property
    def request_id(self) -> str | None:
        """The server's id of the request; None if the answer has none."""
        text = self.headers.get("x-request-id")
        return None if text is None else fit(text)


# --- Errors ---------------------------------------------------------------------------------------


def read_refusal(request: Request, answer: Answer, *, now: datetime) -> APIStatusError | None:
    """Return the error for an answer; None if the status of the answer is a success.

    Args:
        request: The request that was answered.
        answer: The answer.
        now: This machine's time, aware; used if the answer has no Date.
    """
    if 200 <= answer.status < 300:
        return None
    said = _read_error(answer)
    code = f" {said.code}" if said.code else ""
    error = _error_class(answer.status, said.code)
    text = f"{answer.status}{code}: {said.reason}"
    if error is not NotFoundError or not request.not_found:
        text = f"{request}: {text}{_ADVICE.get(error, '')}"
    elif said.from_api:
        text = f"{request.not_found} ({text})"
    else:
        text = f"{request}: {text} (the API did not answer this: check base_url, and any proxy)"
    return error(
        text,
        status=answer.status,
        code=said.code,
        reason=said.reason,
        request_id=said.request_id or answer.request_id,
        retry_after=retry_after(answer.headers, now=now),
        from_api=said.from_api,
    )


_CLASSES: Final[dict[int, type[APIStatusError]]] = {
    401: AuthenticationError,
    402: AccountSuspendedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    409: ConflictError,
    412: AccountSuspendedError,
    425: ServerError,
    429: RateLimitError,
}


_ADVICE: Final[dict[type[APIStatusError], str]] = {
    AuthenticationError: " (check FIREWORKS_API_KEY or api_key=)",
    AccountSuspendedError: " (check the account's payment method and suspension)",
}


_AUTH_CODES: Final = frozenset({"UNAUTHORIZED", "UNAUTHENTICATED"})


def _error_class(status: int, code: str) -> type[APIStatusError]:
    if status == 403 and code in _AUTH_CODES:
        return AuthenticationError
    if code == "ALREADY_EXISTS":
        return ConflictError  # the documents do not say whether the status is 400 or 409
    default = BadRequestError if 400 <= status < 500 else ServerError
    return _CLASSES.get(status, default)


@attrs.frozen
class _Said:
    """The facts of an error answer, the same for each of the four shapes of such answers."""

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
        return _read_text(answer.body)
    return _read_json_error(value) or _read_text(answer.body)


_SIGNED_ADVICE: Final = "storage answers a signed URL itself: is a proxy in between?"


def redirect_reason(location: str, *, at_api: bool = True) -> str:
    """Describe a redirect by its host only: other parts of its location may hold a secret.

    Args:
        location: The header Location; may be empty.
        at_api: Whether the request was sent to the API; False for a signed URL.
    """
    try:
        host = urlsplit(location).hostname or "another path"
    except ValueError:
        host = "somewhere unreadable"
    advice = "is base_url right?" if at_api else _SIGNED_ADVICE
    return f"a redirect to {host}, not followed; {advice}"


def _read_json_error(value: Any) -> _Said | None:
    """Read an error of the gateway, or of the edge before it; None for any other JSON."""
    match value:
        case {"error": {"message": str(reason), **others}}:
            return _Said(reason, _code(others.get("code")), _text(value.get("request_id")))
        case {"error": str(reason)}:
            return _Said(reason, request_id=_text(value.get("request_id")))
        case {"code": int(code), "message": str(reason)}:
            return _Said(reason, _code(code))
        case _:
            return None


_CODES: Final = tuple(StatusCode)


def _code(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return _CODES[value].value if 0 <= value < len(_CODES) else str(value)
    return value if isinstance(value, str) else ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read_text(body: bytes) -> _Said:
    """Read HTML, XML of the storage, or plain text: the title or message, else the first words."""
    text = body[:4000].decode("utf-8", "replace")
    storage = re.search(r"<Code>(.*?)</Code>", text, re.DOTALL)
    title = re.search(r"<(title|Message)[^>]*>(.*?)</\1>", text, re.DOTALL | re.IGNORECASE)
    words = title[2] if title else re.sub(r"<[^>]*>", " ", text)
    reason = " ".join(words.split())[:200]
    code = storage[1] if storage else ""
    return _Said(reason or "an answer without a text", code, from_api=False)


# --- Retry-After and Date -------------------------------------------------------------------------


_LONGEST_RETRY_AFTER: Final = 3600.0


_SECONDS: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII).fullmatch


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that the server asks to wait, 0 to 3600; None if it asks for no wait.

    Args:
        headers: The headers of the answer, case-insensitive. If Retry-After is a date, the wait is
            counted from the Date of the answer.
        now: This machine's time, aware; used if the answer has no Date.
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
    """Return the Date of an answer, aware, in UTC; None if it is missing or cannot be read."""
    return _http_date(headers.get("date", ""))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


# --- What an error means --------------------------------------------------------------------------


# Statuses that do not say whether the request had an effect, or that are temporary. A CDN sends 520
# to 524.
TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})


# Statuses with which the API refuses a request for good.
_FINAL: Final = frozenset({400, 401, 402, 403, 404, 412})


def is_transient(error: FireworksBatchError) -> bool:
    """Whether a repeat may succeed: there was no usable answer, or the answer is not final."""
    if isinstance(error, APIStatusError):
        return error.status in TRANSIENT or not error.from_api
    return isinstance(error, TransportError | ResponseDecodeError)


def is_transient_at_storage(error: FireworksBatchError) -> bool:
    """Whether a repeat with a fresh signed URL may succeed."""
    if not isinstance(error, APIStatusError):
        return isinstance(error, TransportError)
    says_expired = "expired" in f"{error.code} {error.message}".lower()
    return error.status in TRANSIENT or (error.status in {400, 401, 403} and says_expired)


def is_refusal(error: FireworksBatchError) -> bool:
    """Whether the error is a final refusal by the API, in the API's own JSON."""
    return isinstance(error, APIStatusError) and error.from_api and error.status in _FINAL


def is_rate_limit(error: FireworksBatchError) -> bool:
    """Whether the server only asks the client to wait: 429, or 503 with a Retry-After."""
    return isinstance(error, APIStatusError) and (
        error.status == 429 or (error.status == 503 and error.retry_after is not None)
    )


# --- Listings -------------------------------------------------------------------------------------


def read_accounts(value: Any) -> list[str]:
    """Return the ids of the accounts in a listing, and "…" if there is another page.

    Raises:
        ResponseDecodeError: The value is not a listing of accounts.
    """
    match value:
        case {"accounts": list(accounts), **others}:
            names = [account.get("name") for account in accounts if isinstance(account, dict)]
            ids = [name.removeprefix("accounts/") for name in names if isinstance(name, str)]
            return [*ids, "…"] if others.get("nextPageToken") else ids
        case {}:
            return []
        case _:
            raise _unreadable("the accounts", "expected an object with a list of accounts")


# A token is sent back in a URL, and servers accept URLs of up to about 8,000 bytes.
_LONGEST_TOKEN: Final = 4096


@attrs.frozen(kw_only=True)
class Page:
    """One page of a listing, with its items unchanged."""

    items: tuple[Any, ...]
    """JSON values, one for each item."""

    next_page_token: str
    """The token that asks for the next page; empty on the last page."""


def read_page(value: Any, key: str) -> Page:
    """Read one page of a listing.

    Args:
        value: The answer's JSON value.
        key: The member that holds the items, as in ``"batchInferenceJobs"``. If the member is
            absent, null or empty, the page has no items.

    Raises:
        ResponseDecodeError: The value is not a page of such items, or its token is too long.
    """
    what = f"a page of {key}"
    if not isinstance(value, dict):
        raise _unreadable(what, "expected an object")
    items = value.get(key)
    if items is not None and not isinstance(items, list):
        raise _unreadable(what, f"{key}: expected a list, not {type(items).__name__}")
    # An absent and an empty token both end the list (documented).
    token = value.get("nextPageToken") or ""
    if not isinstance(token, str):
        raise _unreadable(what, f"nextPageToken: expected a string, not {type(token).__name__}")
    if len(token) > _LONGEST_TOKEN:
        problem = f"{len(token):,} characters, more than the {_LONGEST_TOKEN:,} that are sent back"
        raise _unreadable(what, f"nextPageToken: {problem}")
    return Page(items=tuple(items or ()), next_page_token=token)


# --- Signed URLs ----------------------------------------------------------------------------------


def read_signed_urls(value: Any) -> dict[str, str]:
    """Return the signed URL of each file, by the name of the file. The repr of a URL hides it.

    Args:
        value: The answer's JSON value.

    Raises:
        ResponseDecodeError: The answer has no object of URLs.
    """
    # The value is dropped: a traceback with local variables would show its signatures.
    urls, value = _signed_urls(value), None
    if urls is not None:
        return urls
    raise _unreadable("the signed URLs", "filenameToSignedUrls: expected an object of URLs")


def _signed_urls(value: Any) -> dict[str, str] | None:
    urls = value.get("filenameToSignedUrls") or {} if isinstance(value, dict) else None
    if isinstance(urls, dict) and all(isinstance(url, str) and url for url in urls.values()):
        return {name: Secret(url) for name, url in urls.items()}
    return None


def url_of(urls: dict[str, str], name: str) -> str:
    """Return the URL of one file.

    Raises:
        ResponseDecodeError: The file has no URL.
    """
    if name in urls:
        return urls[name]
    problem = f"filenameToSignedUrls: there is no URL for {name!r}"
    raise _unreadable("the signed URLs", problem)


def _unreadable(what: str, problem: str) -> ResponseDecodeError:
    return ResponseDecodeError(f"cannot read {what}: {problem}", problems=[problem])
