"""The checks of uploaded rows, and the requests made of them. Performs no I/O."""

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from fireworks_batch.emulator.assumptions import Assumptions

ROLES: Final = ("system", "user", "assistant", "tool")
_KNOWN: Final = frozenset({"custom_id", "body"})
_PARAMETERS: Final = {
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "n": "n",
    "topK": "top_k",
}


class InvalidRowError(Exception):
    """A bad row that makes the whole job fail."""


class RowFailureError(Exception):
    """The failure of one row. A ``responder=`` of the `Emulator` may raise or return it.

    Args:
        message: The message in the error of the row.

        code: The code in the error of the row, an HTTP status such as 429.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


@attrs.frozen
class Row:
    """One request of a batch."""

    custom_id: str
    body: dict[str, Any]


class RowCheck:
    """Checks the rows of one dataset, in their order."""

    def __init__(self, rules: Assumptions) -> None:
        self._rules = rules
        self._ids: set[str] = set()

    def is_row(self, line: bytes) -> bool:
        """Check a line, and return whether the line has a row.

        Raises:
            InvalidRowError: The line makes the job fail.
        """
        if not line.strip():
            if self._rules.blank_lines == "skip":
                return False
            raise InvalidRowError("unexpected end of JSON input")
        if self._rules.last_newline == "required" and not line.endswith(b"\n"):
            raise InvalidRowError("no newline at the end of the file")
        row = self._read(line)
        self._check_id(row.get("custom_id"))
        self._check_body(row.get("body"))
        if self._rules.row_extras == "fail_job" and not row.keys() <= _KNOWN:
            raise InvalidRowError(f"unknown field {min(row.keys() - _KNOWN)!r}")
        return True

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            row = read_json(line, self._rules)
        except orjson.JSONDecodeError:
            raise InvalidRowError("invalid JSON") from None
        if not isinstance(row, dict):
            raise InvalidRowError("a row must be a JSON object")
        return row

    def _check_id(self, custom_id: object) -> None:
        if not isinstance(custom_id, str) or not custom_id:
            raise InvalidRowError("custom_id is required")
        if custom_id in self._ids and self._rules.duplicate_ids == "fail_job":
            raise InvalidRowError(f"duplicate custom_id {custom_id!r}")
        self._ids.add(custom_id)

    def _check_body(self, body: object) -> None:
        if not isinstance(body, Mapping):
            raise InvalidRowError("body is required")
        messages, token_ids = body.get("messages"), body.get("prompt_token_ids")
        if (messages is None) == (token_ids is None):
            raise InvalidRowError("body must have either messages or prompt_token_ids")
        if messages is not None:
            _check_messages(messages)


def read_json(line: bytes, rules: Assumptions) -> Any:
    """Return the JSON of a line, without a byte order mark if the assumptions say so."""
    if rules.byte_order_mark == "skip":
        line = line.removeprefix(BOM_UTF8)
    return orjson.loads(line)


def _check_messages(messages: object) -> None:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise InvalidRowError("messages must be a list of at least one message")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ROLES:
            raise InvalidRowError(f"invalid role {role} in message {number}")


class RowReader:
    """Reads rows, and puts the settings of the job into their requests."""

    def __init__(self, job: Mapping[str, object], rules: Assumptions) -> None:
        self._rules = rules
        self._model = job.get("model")
        self._system_prompt = job.get("systemPrompt")
        self._defaults = _defaults(job.get("inferenceParameters"))

    def read(self, line: bytes) -> Row:
        """Return a row that was checked."""
        row = read_json(line, self._rules)
        return Row(row["custom_id"], row["body"])

    def complete(self, row: Row) -> dict[str, Any]:
        """Return the whole body of the row's request.

        Raises:
            RowFailureError: The inference server would refuse the request.
        """
        body = row.body
        if "extra_body" in body:
            raise RowFailureError("Extra inputs are not permitted, field: 'extra_body'")
        if body.get("stream") and self._rules.row_stream == "fail_row":
            raise RowFailureError("streaming is not supported in batch inference")
        if self._rules.row_model == "fail_row" and body.get("model", self._model) != self._model:
            raise RowFailureError(f"model {body['model']!r} is not the job's")
        wins = self._rules.parameter_precedence == "row"
        body = self._defaults | body if wins else body | self._defaults
        return body | {"model": self._model} | self._prompted(body)

    def _prompted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if not self._system_prompt:
            return {}
        if "prompt_token_ids" in body:
            raise RowFailureError("a system prompt cannot be combined with prompt_token_ids")
        messages = body["messages"]
        if messages[0]["role"] == "system":
            return {}
        return {"messages": [{"role": "system", "content": self._system_prompt}, *messages]}


def _defaults(parameters: object) -> dict[str, Any]:
    if not isinstance(parameters, Mapping):
        return {}
    named = {to: parameters[name] for name, to in _PARAMETERS.items() if name in parameters}
    try:
        extra = orjson.loads(parameters.get("extraBody") or "{}")
    except orjson.JSONDecodeError:
        return named
    return named | extra if isinstance(extra, dict) else named
