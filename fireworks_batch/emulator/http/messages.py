"""The members of messages, which are read from JSON as protobuf does it. Performs no I/O."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Final

import attrs
import orjson

from fireworks_batch.emulator.http.refusals import invalid

_CAMEL_HUMP: Final = re.compile(r"(?<!^)(?=[A-Z])")
_INTEGER: Final = re.compile(r"-?\d+(\.0*)?")
_INT32: Final = 2**31
_INT64: Final = 2**63
_FLOAT_EXPONENT: Final = 1e21
"""The number from which on Go writes a float with an exponent."""


def snake_case(name: str) -> str:
    """Return the snake_case name of a JSON member."""
    return _CAMEL_HUMP.sub("_", name).lower()


@attrs.frozen
class Field:
    """One member of a message."""

    name: str
    """The JSON name, in lowerCamelCase."""

    kind: str = "string"
    """One of string, bool, int32, int64, float, strings, sizes, enum, duration and message."""

    zero: object = ""
    """The value that is shown if the member is not set."""

    is_output_only: bool = False
    """Whether a value that a client sends is ignored."""

    is_optional: bool = False
    """Whether the member is left out if it is not set (proto3 optional)."""

    message: Message | None = None
    """The members of a message."""

    values: frozenset[str] = frozenset()
    """The values of an enum."""


class Message:
    """The members of a message. They are found by JSON name and by snake_case name."""

    def __init__(self, *fields: Field) -> None:
        self.fields: dict[str, Field] = {field.name: field for field in fields}
        self._found = self.fields | {snake_case(field.name): field for field in fields}

    def find(self, name: str) -> Field | None:
        """Return a member by its JSON name or its snake_case name; None if there is none."""
        return self._found.get(name)

    def zeros(self) -> dict[str, object]:
        """Return the message with no member set."""
        return {field.name: field.zero for field in self.fields.values() if not field.is_optional}


def read_message(message: Message, body: bytes) -> dict[str, object]:
    """Return the message in the body of a request. An empty body is an empty message.

    Raises:
        RefusalError: The body is not JSON, or a member is unknown or of the wrong type (400).
    """
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"proto: syntax error (line {error.lineno}:{error.colno})") from None
    return _read_members(message, value, body, "")


def read_members_of(message: Message, value: object) -> dict[str, object]:
    """Return the message in a mapping.

    Raises:
        RefusalError: A member is unknown or of the wrong type (400).
    """
    return _read_members(message, value, b"", "")


def _read_members(message: Message, value: object, body: bytes, path: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise invalid(f"proto: syntax error (line 1:1): unexpected token {_shown(value)}")
    members: dict[str, object] = {}
    for name, item in value.items():
        field = message.find(name)
        if field is None:
            raise invalid(f"proto: {_place(name, body)}: unknown field {_shown(name)}")
        if field.name in members:
            raise invalid(f"proto: {_place(name, body)}: duplicate field {_shown(name)}")
        if item is None or field.is_output_only:
            continue
        members[field.name] = _read_value(field, item, body, f"{path}{field.name}")
    return members


def _read_value(field: Field, value: object, body: bytes, path: str) -> object:
    if field.message is not None:
        return _read_members(field.message, value, body, f"{path}.")
    read = _READERS[field.kind](value)
    if read is None or (field.values and read not in field.values):
        raise invalid(
            f"proto: {_place(field.name, body)}: invalid value for {field.kind} field"
            f" {path}: {_shown(value)}"
        )
    return read


def _place(name: str, body: bytes) -> str:
    before = body[: max(0, body.find(f'"{name}"'.encode()))]
    line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
    return f"(line {line}:{column})"


def _shown(value: object) -> str:
    return orjson.dumps(value).decode()


def _read_text(value: object) -> object:
    return value if isinstance(value, str) else None


def _read_flag(value: object) -> object:
    return value if isinstance(value, bool) else None


def _read_integer(value: object, bound: int) -> int | None:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value // 1 and -bound <= value < bound else None


def _read_int32(value: object) -> object:
    return _read_integer(value, _INT32)


def _read_int64(value: object) -> object:
    number = _read_integer(value, _INT64)
    return None if number is None else str(number)


def _read_sizes(value: object) -> object:
    if not isinstance(value, Mapping):
        return None
    sizes = {name: _read_integer(size, _INT64) for name, size in value.items()}
    return None if None in sizes.values() else sizes


def _read_float(value: object) -> object:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return single_precision(value)


def _read_texts(value: object) -> object:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_list else None


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "string": _read_text,
    "enum": _read_text,
    "duration": _read_text,
    "bool": _read_flag,
    "int32": _read_int32,
    "int64": _read_int64,
    "sizes": _read_sizes,
    "float": _read_float,
    "strings": _read_texts,
}


def single_precision(value: float) -> float | int | None:
    """Return the shortest number that is the same 32-bit float; None if *value* is too large."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        return None
    rounded = struct.unpack("<f", packed)[0]
    texts = (float(f"{rounded:.{digits}g}") for digits in range(1, 10))
    shortest = next((text for text in texts if struct.pack("<f", text) == packed), rounded)
    return int(shortest) if shortest.is_integer() and abs(shortest) < _FLOAT_EXPONENT else shortest
