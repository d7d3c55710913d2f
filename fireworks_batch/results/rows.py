"""Rows of results: each line of a result file becomes a row.

A row that succeeded is ``{"custom_id", "response": {a chat completion}}``. A ``response`` wrapped
in ``{"status_code", "body"}`` is unwrapped. The form of a row that failed is not documented:
``error`` may be a mapping or a plain string, and its code may be a number or a word. A line that
cannot be read becomes a row with an error. It never raises an exception. Performs no I/O.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Generic, TypeVar

import attrs
import orjson

from fireworks_batch.models import html
from fireworks_batch.models.errors import ResponseDecodeError

__all__ = [
    "FIRST_ROWS",
    "INVALID_OUTPUT",
    "UNDECODABLE",
    "ResultRow",
    "RowError",
    "decode_row",
    "few",
    "first_table",
    "read_row",
    "read_rows",
    "text_of",
]

_T = TypeVar("_T")
_Decoded = TypeVar("_Decoded")

_UNREADABLE: Final = "unreadable"
INVALID_OUTPUT: Final = "invalid_output"
UNDECODABLE: Final = "undecodable"
_NO_RESPONSE: Final = "no_response"

# The members that may hold the code and the text of an error, the most likely member first.
_CODES: Final = ("code", "status_code", "status", "type")
_MESSAGES: Final = ("message", "detail", "error_message")

# Codes of rows that may well succeed in another job: HTTP statuses, the numbers and names of gRPC,
# and the words that inference servers use. All other codes are not retryable. A model may answer in
# another way where its answer did not fit; a mistake in a function of the caller's stays.
_RETRYABLE: Final = frozenset(
    {
        *("408", "409", "425", "429", "499", "500", "502", "503", "504"),
        *("520", "521", "522", "523", "524", "529"),
        *("1", "2", "4", "8", "10", "13", "14"),
        *("CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"),
        *("UNAVAILABLE", "RATE_LIMIT", "RATE_LIMITED", "RATE_LIMIT_ERROR", "RATE_LIMIT_EXCEEDED"),
        *("TOO_MANY_REQUESTS", "TIMEOUT", "TIMEOUT_ERROR", "REQUEST_TIMEOUT", "GATEWAY_TIMEOUT"),
        *("TIMED_OUT", "SERVER_ERROR", "INTERNAL_ERROR", "INTERNAL_SERVER_ERROR", "BAD_GATEWAY"),
        *("SERVICE_UNAVAILABLE", "OVERLOADED", "OVERLOADED_ERROR", "CONNECTION_ERROR"),
        *("EXPIRED", "BATCH_EXPIRED", "REQUEST_CANCELLED", "CANCELED"),
        INVALID_OUTPUT.upper(),
    }
)


@attrs.frozen
class RowError:
    """Why a row has no usable response."""

    code: str
    """The server's code as a string, such as ``"429"`` or ``"RESOURCE_EXHAUSTED"``.

    The code is an HTTP status, a number or a word. It is empty if the server gives no code. The
    library adds four codes: ``"unreadable"`` (the line is not a row, or has no
    ``custom_id``), ``"no_response"`` (the row has neither a response nor an error),
    ``"invalid_output"`` (the object ``decode=`` refused the text of the response) and
    ``"undecodable"`` (the type or the function ``decode=`` refused the response).
    """

    message: str
    """The server's message. For codes of the library, what is wrong with the line."""

    raw: Any = attrs.field(default=None, eq=False, repr=False)
    """The error as the server wrote it, a mapping or a string.

    For ``"invalid_output"`` and ``"undecodable"``, the text of the response (`ResultRow.text`).
    None for the other codes of the library.
    """


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


# Not `attrs.frozen`: a frozen class sets each attribute through `object.__setattr__`, which would
# make reading rows slower by a tenth. The properties make a row read-only just as well.
@attrs.define(repr=False, unsafe_hash=True, weakref_slot=False)
class ResultRow(Generic[_T]):
    """The result of one row of the input: a response or an error.

    Join a result to its input by ``custom_id``. A row is read-only. Two rows are equal if their
    ids, errors and lines are equal. The type parameter is the type of ``output``.
    """

    _custom_id: str | None = attrs.field(alias="custom_id")
    _response: dict[str, Any] | None = attrs.field(alias="response", eq=False)
    _error: RowError | None = attrs.field(alias="error")
    _line: bytes = attrs.field(alias="raw", eq=_without_end)
    _output: _T | None = attrs.field(alias="output", default=None, eq=False)

    @classmethod
    def from_line(cls, line: bytes) -> "ResultRow[None]":
        """Read a line of results: of a file that ``output=`` has written, say.

        Args:
            line: The line, with or without its line end.

        Returns:
            The row. A line that cannot be read is a row with the error ``"unreadable"``.
        """
        return read_row(line)

    @property
    def custom_id(self) -> str | None:
        """The id of the row of the input; None if the line has no readable id."""
        return self._custom_id

    @property
    def response(self) -> dict[str, Any] | None:
        """The response, which is a chat completion; None if the row has no response."""
        return self._response

    @property
    def output(self) -> _T | None:
        """What ``decode=`` made of the response; None without ``decode=``, or if the row failed."""
        return self._output

    @property
    def error(self) -> RowError | None:
        """Why the row failed; None if the row succeeded."""
        return self._error

    @property
    def ok(self) -> bool:
        """Whether the row has a response, and no error."""
        return self.error is None

    @property
    def raw(self) -> bytes:
        """The line of the file, byte for byte, without its line end."""
        return _without_end(self._line)

    @property
    def text(self) -> str | None:
        """The text of the response, which is the content of the message of the first choice.

        None if there is no such content: the row failed, or the model called a tool.
        """
        return text_of(self.response)

    @property
    def is_retryable(self) -> bool:
        """Whether the row failed, and the same row may succeed in another job.

        True for the codes of rate limits, timeouts, overload and faults of the server, and for
        ``"invalid_output"``. False for all other codes, and for rows that succeeded.
        """
        return self.error is not None and _normal(self.error.code) in _RETRYABLE

    def record(self) -> dict[str, str | int | None]:
        """Return the row as a flat record, which is a line of a table.

        Returns:
            The members ``custom_id``, ``text``, ``finish_reason`` (of the first choice),
            ``error_code``, ``error_message``, ``prompt_tokens``, ``completion_tokens`` and
            ``cached_tokens`` (the part of the prompt tokens that came from the cache), in this
            order. A member is None if the row has no such value. ``error_code`` is None if the row
            succeeded, and only then.
        """
        response, error = self._response, self._error
        choices = _member(response, "choices")
        first = choices[0] if type(choices) is list and choices else None
        usage = _member(response, "usage")
        details = _member(usage, "prompt_tokens_details")
        return {
            "custom_id": self._custom_id,
            "text": _string(_member(_member(first, "message"), "content")),
            "finish_reason": _string(_member(first, "finish_reason")),
            "error_code": None if error is None else error.code,
            "error_message": None if error is None else error.message,
            "prompt_tokens": _count(_member(usage, "prompt_tokens")),
            "completion_tokens": _count(_member(usage, "completion_tokens")),
            "cached_tokens": _count(_member(details, "cached_tokens")),
        }

    def __repr__(self) -> str:
        outcome = "ok" if self.error is None else f"{self.error.code} {self.error.message}".strip()
        return f"<ResultRow {self.custom_id!r} {outcome[:100]!r}>"


def text_of(response: Mapping[str, Any] | None) -> str | None:
    """Return the text of a response; None if there is no text."""
    match response:
        case {"choices": [{"message": {"content": str(content)}}, *_]}:
            return content
        case _:
            return None


def read_rows(lines: Iterable[bytes]) -> Iterator[ResultRow[None]]:
    r"""Yield the row of each line. A line is read when its row is asked for.

    Args:
        lines: Lines that end at ``\n`` only, like the lines of a binary file. Blank lines are left
            out.
    """
    loads = orjson.loads
    for line in lines:
        try:
            value = loads(line)
            custom_id, response = value["custom_id"], value["response"]
        except (ValueError, LookupError, TypeError):
            if not line.isspace():
                yield read_row(line)
            continue
        # Nearly all rows take this way.
        if (
            type(custom_id) is str
            and type(response) is dict
            and len(value) == 2
            and "body" not in response
        ):
            yield ResultRow(custom_id, response, None, line)
        else:
            yield _row(value, line)


def read_row(line: bytes) -> ResultRow[None]:
    """Read one line.

    The json module reads lines that orjson refuses, since their rows were paid for. Such lines have
    a lone surrogate, NaN or Infinity.
    """
    try:
        return _row(orjson.loads(line), line)
    except ValueError:
        pass
    try:
        return _row(json.loads(line), line)
    except (ValueError, RecursionError) as exc:
        return ResultRow(None, None, RowError(_UNREADABLE, f"the line cannot be read: {exc}"), line)


def decode_row(
    row: ResultRow[None], decode: Callable[[dict[str, Any]], _Decoded], code: str
) -> ResultRow[_Decoded]:
    """Return a row with the output that a function makes of its response.

    Args:
        row: The row.
        decode: Makes the output of a response.
        code: The code of the error that an exception of the function becomes.
    """
    error = row.error
    output: _Decoded | None = None
    if error is None and row.response is not None:
        try:
            output = decode(row.response)
        except ResponseDecodeError as exc:
            error = RowError(code, str(exc), row.text)
        except Exception as exc:  # noqa: BLE001 - of the user's code; the row keeps its text
            error = RowError(code, f"{type(exc).__name__}: {exc}", row.text)
    return ResultRow(row.custom_id, row.response, error, row._line, output)  # noqa: SLF001 - our own


# --- The first rows -------------------------------------------------------------------------------

FIRST_ROWS: Final = 5
"""A notebook shows so many rows."""

# It shows fewer if they have more bytes together. They are kept in memory.
_FIRST_BYTES: Final = 64 * 1024


def few(sizes: Iterable[int]) -> int:
    """Return how many of the first rows a notebook shows, by the sizes of their lines in bytes."""
    return sum(size <= _FIRST_BYTES for size in accumulate(sizes))


def first_table(rows: Sequence[ResultRow[Any]], of_all: str = "") -> str:
    """Return the first rows as a table of HTML.

    Args:
        rows: The rows.
        of_all: How many rows there are, as in ``" of 1,200"``; empty if it is not known.
    """
    return html.table(
        f"first {len(rows)}{of_all} rows",
        [(row.custom_id, _told(row), _refusal(row)) for row in rows],
        headings=("custom_id", "output", "error"),
    )


def _told(row: ResultRow[Any]) -> object:
    values = (row.output, row.text, row.response)
    return next((value for value in values if value is not None), None)


def _refusal(row: ResultRow[Any]) -> str:
    return "" if row.error is None else f"{row.error.code}: {row.error.message}"


# --- The members of a line ----------------------------------------------------------------------


def _row(value: Any, line: bytes) -> ResultRow[None]:
    if type(value) is not dict:
        problem = RowError(_UNREADABLE, f"the line is not a JSON object but {_shown(value)}")
        return ResultRow(None, None, problem, line)
    custom_id = _custom_id(value.get("custom_id"))
    response, error = _outcome(value.get("response"), value.get("error"))
    if custom_id is None and error is None:
        error = RowError(_UNREADABLE, "the line has no custom_id")
    return ResultRow(custom_id, response, error, line)


def _custom_id(value: Any) -> str | None:
    if type(value) is int:
        return str(value)
    return value if type(value) is str else None


def _outcome(response: Any, error: Any) -> tuple[dict[str, Any] | None, RowError | None]:
    """Return the response and the error of a row. An empty error beside a response is ignored."""
    if type(response) is dict and "body" in response and "choices" not in response:
        response, said = _unwrapped(response)
        error = error or said
    body = response if type(response) is dict else None
    if error:
        return body, _error(error)
    if response is None:
        return None, RowError(_NO_RESPONSE, "the row has neither response nor error", error)
    if body is None:
        return None, RowError(_NO_RESPONSE, f"the response is {_shown(response)}", response)
    return body, None


def _unwrapped(response: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the body of a wrapped response, or an error if its status is 400 or more."""
    status, body = _code(response.get("status_code")), response["body"]
    if not (status.isascii() and status.isdigit() and int(status[:9]) >= 400):
        return body, None
    message = _error(body).message if body else f"status {status}"
    return None, {"code": status, "message": message, "body": body}


def _error(said: Any) -> RowError:
    if type(said) is not dict:
        return RowError("", said if type(said) is str else _shown(said), said)
    inner = said.get("error")
    if inner and type(inner) in {str, dict} and "message" not in said:
        within = _error(inner)
        return RowError(within.code or _first_code(said), within.message, said)
    texts = (said.get(key) for key in _MESSAGES)
    message = next((text for text in texts if type(text) is str and text), None)
    return RowError(_first_code(said), _shown(said) if message is None else message, said)


def _first_code(said: Mapping[str, Any]) -> str:
    return next(filter(None, (_code(said.get(key)) for key in _CODES)), "")


def _code(value: Any) -> str:
    if type(value) is float and value.is_integer():
        value = int(value)
    return str(value) if type(value) in {int, str} else ""


def _normal(code: str) -> str:
    return code.strip().upper().replace("-", "_").replace(" ", "_")


def _shown(value: Any) -> str:
    """Return the text of a JSON value, cut to 200 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "nested too deeply to be shown"
    return text if len(text) <= 200 else f"{text[:197]}..."


# --- The members of a record --------------------------------------------------------------------


_LIMIT: Final = 1 << 63


def _member(value: Any, name: str) -> Any:
    return value.get(name) if type(value) is dict else None


def _string(value: Any) -> str | None:
    return value if type(value) is str else None


def _count(value: Any) -> int | None:
    """Return a whole number; None if the value is another one, or needs more than 64 bits."""
    return value if type(value) is int and -_LIMIT <= value < _LIMIT else None
