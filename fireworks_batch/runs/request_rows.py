"""The rules for a line of requests. All lines are checked before anything is sent.

A row is a JSON object with a ``custom_id`` and a ``body`` that has ``messages`` or
``prompt_token_ids``. A row that needs no change is passed on byte for byte. Some members are taken
out of a row: ``method`` and ``url`` (the OpenAI batch format), a ``model`` equal to the job's, and
a ``stream`` that is false. A row without a ``response_format`` is given the caller's, if there is
one. Blank lines are left out, and so is a byte order mark at the beginning of the file.

Performs no I/O.
"""

import codecs
import json
from collections.abc import Iterable
from typing import Any, Final

import attrs
import orjson

from fireworks_batch.models.errors import RowProblem, shown

__all__ = ["Row", "RowRules", "check_row", "plain_ids"]


# The server's own words: "invalid role pirate in message 0".
_ROLES: Final = frozenset({"system", "user", "assistant", "tool"})


# Members of a body that only the slow path can judge.
_SUSPECT: Final = frozenset({"extra_body", "stream", "model", "prompt_token_ids"})


# orjson reads whole numbers from here on as floats, and would write them in another way.
_INEXACT: Final = 2.0**63


_SPACE: Final = b" \t\r\n"
# What files begin with that are often taken for JSON lines.
_OTHERS: Final = (
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
    (b"\x1f\x8b", "gzip, whose name has to end in .jsonl.gz"),
)


_ARRAY: Final = "a JSON array, not a JSON object: requests are JSON lines, one object on each line"


@attrs.frozen(kw_only=True)
class RowRules:
    """The settings of the job that rows must not contradict."""

    model: str | None = None
    """The resource name of the job's model. None if any model will do."""

    has_system_prompt: bool = False
    """Whether the job has a system prompt. Rows of token ids cannot take a system prompt."""

    response_format: str = ""
    """The response format of rows that bring none, as JSON. Empty if such rows have none."""


@attrs.frozen
class Row:
    """A good row, as it is sent."""

    custom_id: str
    """The id of the row."""

    line: bytes
    """The JSON of the row, without a line end."""

    lacks_cache_key: bool = False
    """Whether the row has token ids, but neither ``user`` nor ``prompt_cache_key``."""


# --- The fast path ------------------------------------------------------------------------------


def plain_ids(lines: Iterable[bytes]) -> list[str | None]:
    """Return the id of each line that can be passed on as it is.

    This runs for each of many millions of rows. So it makes no object and no call for a row.

    Args:
        lines: Lines, with or without their line ends.

    Returns:
        One item for each line, in their order: the id, or None if `check_row` must check the line.
    """
    ids: list[str | None] = []
    append, loads, roles, is_harmless = ids.append, orjson.loads, _ROLES, _SUSPECT.isdisjoint
    for line in lines:
        found = None
        try:
            row = loads(line)
            custom_id, body = row["custom_id"], row["body"]
            messages = body["messages"]
            if (
                type(custom_id) is str
                and type(messages) is list
                and messages
                and custom_id
                and len(row) == 2
                and is_harmless(body)
            ):
                for message in messages:
                    if message["role"] not in roles:
                        break
                else:
                    found = custom_id
        except (KeyError, TypeError, ValueError):
            pass  # the slow path finds the reason
        append(found)
    return ids


# --- The slow path ------------------------------------------------------------------------------


def check_row(line: bytes, number: int, rules: RowRules) -> Row | RowProblem | None:
    """Check one line with all rules.

    Args:
        line: The line, without a byte order mark.
        number: The number of the line in the requests, from 1.
        rules: The settings of the job.

    Returns:
        The row as it is to be sent, or the problem of a bad row, or None for a blank line.
    """
    line = line.rstrip(b"\n")
    if not line.strip(_SPACE):
        return None
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return RowProblem(number, None, _problem_of_line(line, number, exc))
    custom_id = row.get("custom_id") if isinstance(row, dict) else None
    reason = _problem(row, rules)
    if reason is not None:
        return RowProblem(number, custom_id if isinstance(custom_id, str) else None, reason)
    body = row["body"]
    lacks_cache_key = "prompt_token_ids" in body and not (
        body.get("user") or body.get("prompt_cache_key")
    )
    return Row(row["custom_id"], _as_sent(row, line, rules), lacks_cache_key)


def _problem_of_line(line: bytes, number: int, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as exc:
        byte = line[exc.start]
        other = next((kind for start, kind in _OTHERS if line.startswith(start)), None)
        hint = f"; the file looks like {other}" if other and number == 1 else ""
        return f"not UTF-8: byte 0x{byte:02x} at column {exc.start + 1}, counted in bytes{hint}"
    if number == 1 and line.lstrip(_SPACE).startswith(b"["):
        return _ARRAY
    # The error's own text would say "line 1" for each line of the file.
    hint = "; a request is one line" if line.strip(_SPACE) == b"{" else ""
    return f"not JSON: {error.msg}, at column {error.colno}{hint}"


def _problem(row: Any, rules: RowRules) -> str | None:
    if isinstance(row, list):
        return _ARRAY
    if not isinstance(row, dict):
        return f"expected a JSON object, not {shown(row)}"
    absent = [member for member in ("custom_id", "body") if member not in row]
    if absent:
        return f"there is no {' and no '.join(absent)}"
    custom_id, body = row["custom_id"], row["body"]
    if not isinstance(custom_id, str) or not custom_id:
        return f"custom_id must be a string that is not empty, not {shown(custom_id)}"
    if not isinstance(body, dict):
        return f"body must be an object, not {shown(body)}"
    return _problem_of_body(body, rules)


def _problem_of_body(body: dict[str, Any], rules: RowRules) -> str | None:
    if "extra_body" in body:
        return (
            "body has extra_body, which the server refuses in a row: "
            "put its members into the body itself"
        )
    if body.get("stream"):
        return "body has stream, which a batch cannot: leave it out"
    if not _is_same_model(body.get("model"), rules.model):
        return f"body has model {shown(body['model'])}, but the job's is {rules.model!r}"
    if "prompt_token_ids" in body:
        return _problem_of_tokens(body, rules)
    if "messages" not in body:
        return "body has neither messages nor prompt_token_ids"
    return _problem_of_messages(body["messages"])


def _problem_of_tokens(body: dict[str, Any], rules: RowRules) -> str | None:
    tokens = body["prompt_token_ids"]
    if "messages" in body:
        return "body has both messages and prompt_token_ids: only one of them can be"
    if rules.has_system_prompt:
        return "body has prompt_token_ids, which cannot take the job's system_prompt"
    if not isinstance(tokens, list) or set(map(type, tokens)) != {int}:
        return f"prompt_token_ids must be a list of whole numbers, not {shown(tokens)}"
    return None


def _problem_of_messages(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f"messages must be a list that is not empty, not {shown(messages)}"
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"message {index} must be an object, not {shown(message)}"
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            return (
                f"message {index} has role {shown(role)}; "
                "the server takes system, user, assistant and tool"
            )
    return None


def _is_same_model(wanted: Any, model: str | None) -> bool:
    """Whether a row's model is the job's model. The row may name just its last segment."""
    if wanted is None or model is None:
        return True
    return isinstance(wanted, str) and wanted in {model, model.rpartition("/")[2]}


def _as_sent(row: dict[str, Any], line: bytes, rules: RowRules) -> bytes:
    """Return the line as it is sent.

    The members that the job or the endpoint says already are left out. A response format is added
    if the row has none.
    """
    body = row["body"]
    lacks_format = rules.response_format and "response_format" not in body
    says_too_much = "method" in row or "url" in row or "model" in body or "stream" in body
    if not (lacks_format or says_too_much):
        return line
    has_large = _has_large_number(row)
    row = json.loads(line) if has_large else row
    sent = {key: value for key, value in row.items() if key not in {"method", "url"}}
    sent["body"] = {
        key: value for key, value in row["body"].items() if key not in {"model", "stream"}
    }
    if lacks_format:
        sent["body"]["response_format"] = json.loads(rules.response_format)
    return _dumps(sent) if has_large else orjson.dumps(sent)


def _has_large_number(row: dict[str, Any]) -> bool:
    """Whether a row has, at any depth, a number that orjson has read inexactly."""
    left: list[Any] = [row]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, float) and abs(value) >= _INEXACT:
            return True
    return False


def _dumps(row: Any) -> bytes:
    """Write a row with all its numbers as they are, also very large ones."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
