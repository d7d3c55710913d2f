"""How protojson represents strings, numbers, times, enumerations and objects.

A reader is called with a JSON value, and with the type that cattrs gives to each hook. For a value
that cannot be read, a reader raises one of the errors in `UNREADABLE`, with a text that names what
was expected. Readers do not handle null: `member_reader` replaces null by the default of the model.
Performs no I/O.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeAlias

import attrs

from fireworks_batch.models.errors import ResponseDecodeError, shown
from fireworks_batch.models.states import OpenEnum

__all__ = [
    "EXTRA",
    "UNREADABLE",
    "Member",
    "Notice",
    "Reader",
    "camel",
    "enum_reader",
    "member_reader",
    "object_reader",
    "read_bool",
    "read_extra",
    "read_float",
    "read_int",
    "read_string",
    "read_strings",
    "seconds_reader",
    "time_reader",
    "unreadable",
    "write_seconds",
    "write_time",
]


Reader: TypeAlias = Callable[[Any, Any], Any]


Notice: TypeAlias = Callable[[OpenEnum], None]


UNREADABLE: Final = (ValueError, TypeError, OverflowError)


_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
).fullmatch


_DURATION: Final = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?s", re.ASCII).fullmatch


_INTEGER: Final = re.compile(r"-?\d{1,20}", re.ASCII).fullmatch


# The numbers that orjson reads as integers; it reads any other number as a float.
_INT64: Final = range(-(2**63), 2**64)


def camel(name: str) -> str:
    """Return the wire's name of a member."""
    head, *tail = name.split("_")
    return head + "".join(word.title() for word in tail)


# --- Reading ------------------------------------------------------------------------------------


def read_string(value: Any, _: Any) -> str:
    """Read a string; values of other types are not converted."""
    if type(value) is str:
        return value
    raise TypeError(f"expected a string, not {shown(value)}")


def read_bool(value: Any, _: Any) -> bool:
    """Read true or false; 1 and "false" are refused."""
    if value is True or value is False:
        return value
    raise TypeError(f"expected true or false, not {shown(value)}")


def read_int(value: Any, _: Any) -> int:
    """Read an integer; protojson sends an int64 as a string, and 3.0 is read as 3."""
    if type(value) is int:
        number = value
    elif (type(value) is float and value.is_integer()) or (type(value) is str and _INTEGER(value)):
        number = int(value)
    else:
        raise TypeError(f"expected an integer, not {shown(value)}")
    if number not in _INT64:
        raise ValueError(f"expected an integer of 64 bits, not {shown(value)}")
    return number


def read_float(value: Any, _: Any) -> float:
    """Read a number, with a point or without."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise TypeError(f"expected a number, not {shown(value)}")


def read_strings(value: Any, _: Any) -> tuple[str, ...]:
    """Read a list of strings."""
    if type(value) is not list:
        raise TypeError(f"expected a list, not {shown(value)}")
    for index, item in enumerate(value):
        if type(item) is not str:
            raise TypeError(f"expected strings, not {shown(item)} at [{index}]")
    return tuple(value)


def time_reader() -> Reader:
    """Return a reader of RFC 3339 times of any zone, as aware moments in UTC."""
    return _spelling_reader("a time like '2026-09-14T09:00:01Z'", _parse_time)


def _parse_time(text: str) -> datetime | None:
    if not _TIMESTAMP(text) and not _TIMESTAMP(text := text.upper()):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def seconds_reader() -> Reader:
    """Return a reader of protobuf durations, as seconds."""
    return _spelling_reader("a duration like '86400s'", _parse_seconds)


def _parse_seconds(text: str) -> float | None:
    return float(text[:-1]) if _DURATION(text) else None


def _spelling_reader(wanted: str, parse: Callable[[str], Any]) -> Reader:
    """Return a reader with a cache: each poll of a job shows most of its strings again."""

    def refuse(value: Any) -> NoReturn:
        raise TypeError(f"expected {wanted}, not {shown(value)}")

    # A text that is refused is not cached: it may have any length.
    @lru_cache(maxsize=1024)
    def remembered(text: str) -> Any:
        found = parse(text)
        return refuse(text) if found is None else found

    def read(value: Any, _: Any) -> Any:
        return remembered(value) if type(value) is str else refuse(value)

    return read


def enum_reader(cls: type[OpenEnum], on_unknown: Notice) -> Reader:
    """Return a reader of an enumeration's names and numbers.

    Args:
        cls: The enumeration.
        on_unknown: Called once for each of the first hundred values that are not published.
    """
    known = {member.wire: member for member in cls}
    zero = next(iter(cls))
    told: set[str] = set()

    def read(value: Any, _: Any) -> OpenEnum:
        try:
            return known[value]
        except (KeyError, TypeError):
            return read_other(value)

    def read_other(value: Any) -> OpenEnum:
        if value == "":
            return zero
        if type(value) is not str and type(value) is not int:
            raise TypeError(f"expected the name of a {cls.__name__}, not {shown(value)}")
        # protojson sends the number of a value if the server's gateway does not know its name.
        member = cls(str(value))
        if not member.is_known and member.wire not in told and len(told) < 100:
            told.add(member.wire)
            on_unknown(member)
        return member

    return read


# --- Objects ------------------------------------------------------------------------------------

EXTRA: Final = "extra"
"""The field of a model that keeps the members of an object that the model does not know."""


@attrs.frozen
class Member:
    """One member of an object."""

    key: str
    """The wire's name."""

    read: Reader
    """The reader. For null, and for an absent member, it returns the field's default."""


_SCALARS: Final = (str, bool, int, float)


def member_reader(reader: Reader, wanted: Any, default: Any) -> Reader:
    """Return a reader of a value that may be null.

    Args:
        reader: Reads a value that is not null.
        wanted: The type of the value.
        default: The value to return for null.
    """

    def read_scalar(value: Any, _: Any) -> Any:
        # Most values have the right type already, and need no second call.
        if type(value) is wanted:
            return value
        return default if value is None else reader(value, wanted)

    def read(value: Any, _: Any) -> Any:
        return default if value is None else reader(value, wanted)

    return read_scalar if wanted in _SCALARS else read


_DEEPEST: Final = 100  # protobuf's own limit


def read_extra(value: Any, _: Any) -> Any:
    """Return the members that a model does not know, unchanged.

    Deeply nested values are refused: code that copies or shows a model recurses through all levels,
    and Python stops a recursion at about a thousand levels.
    """
    if value is None:
        return {}
    level, depth = [*value.values()], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST} levels")
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return value


def object_reader(cls: type[Any], members: dict[str, Member], read_at_once: Reader) -> Reader:
    """Return a reader of JSON objects.

    The reader raises TypeError for a value that is not an object. It raises ResponseDecodeError for
    an object with members that cannot be read; to find them, it reads the members one by one.

    Args:
        cls: The model's class.
        members: The model's members, by the name of the field.
        read_at_once: Reads an object in which all members are present and readable, with the same
            readers. It raises KeyError if a member is absent.
    """
    nulls = dict.fromkeys(member.key for name, member in members.items() if name != EXTRA)
    known, size = frozenset(nulls), len(nulls)
    keeps_extra = EXTRA in members

    def read(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError(f"expected an object, not {shown(value)}")
        if keeps_extra and not known.issuperset(value):
            extra = {key: item for key, item in value.items() if key not in known}
            value = {**value, EXTRA: extra}
        try:
            return read_at_once(value if len(value) >= size else nulls | value, cls)
        except (*UNREADABLE, KeyError, ResponseDecodeError):  # KeyError: a member is absent
            pass
        return _read_one_by_one(value, cls, members)

    return read


def _read_one_by_one(value: dict[str, Any], cls: type[Any], members: dict[str, Member]) -> Any:
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name, member in members.items():
        try:
            found[name] = member.read(value.get(member.key), None)
        except ResponseDecodeError as exc:
            found[name] = exc.partial
            problems += [f"{member.key}.{problem}" for problem in exc.problems]
        except UNREADABLE as exc:
            found[name] = member.read(None, None)
            problems.append(f"{member.key}: {exc}")
    model = cls(**found)
    if not problems:
        return model
    raise unreadable(cls, problems, model)


def unreadable(cls: type[Any], problems: list[str], partial: Any) -> ResponseDecodeError:
    """Return the error for a value from which no whole model can be made.

    Args:
        cls: The model's class.
        problems: One text, with the path, for each member that is wrong.
        partial: The model with the readable members; None if there is no usable model.
    """
    text = f"cannot read a {cls.__name__}: {'; '.join(problems)}"
    return ResponseDecodeError(text, problems=problems, partial=partial)


# --- Writing ------------------------------------------------------------------------------------


def write_time(moment: datetime) -> str:
    """Return a moment as an RFC 3339 string."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def write_seconds(seconds: float | None) -> str | None:
    """Return seconds as the string of a protobuf duration; None for None."""
    if seconds is None:
        return None
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
