"""The codec: the wire's JSON to frozen models and back, the only user of cattrs.

Reading is strict and eager. A body with a member of a wrong type is read once more, member by
member, so that the error names each path as the wire spells it and carries what could be read.
Performs no I/O.
"""

import re
import types
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from operator import eq
from reprlib import Repr
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import orjson
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from fireworks_batch.errors import ConfigurationError, ResponseDecodeError
from fireworks_batch.models import Seconds
from fireworks_batch.states import OpenEnum

__all__ = ["Codec", "mask_paths", "parse_json"]

_T = TypeVar("_T")
_Hook = Callable[[Any, Any], Any]
_Notice = Callable[[OpenEnum], None]

_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
).fullmatch
_DURATION: Final = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?s", re.ASCII).fullmatch
_INTEGER: Final = re.compile(r"-?\d{1,20}", re.ASCII).fullmatch
# What orjson reads as an integer; beyond that it reads a float.
_INT64: Final = range(-(2**63), 2**64)
_EXTRA: Final = "extra"
_SHOW: Final = Repr()
_SHOW.maxstring = _SHOW.maxother = 80
# What a hook may raise for a value it cannot read.
_UNREADABLE: Final = (ValueError, TypeError, OverflowError)


def parse_json(body: bytes) -> Any:
    """Return a body's JSON value.

    Raises:
        ResponseDecodeError: It is not JSON.
    """
    try:
        return orjson.loads(body)
    except ValueError as exc:
        problem = f"the body is not JSON: {exc}"
    # Raised outside the except: the cause would carry the whole body.
    raise ResponseDecodeError(problem, problems=[problem])


# --- Values -----------------------------------------------------------------------------------
# Absent and null are no values: the model's default stands in for both, before any hook.


def _shown(value: object) -> str:
    """Show a value in an error, at most a line of it, however large or deep it is."""
    text = _SHOW.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _string(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    raise TypeError(f"expected a string, not {_shown(value)}")


def _bool(value: Any, _: Any) -> bool:
    if value is True or value is False:
        return value
    raise TypeError(f"expected true or false, not {_shown(value)}")


def _int(value: Any, _: Any) -> int:
    """Read an integer; int64 comes as a string (protojson), and 3.0 is 3."""
    if type(value) is int:
        number = value
    elif (type(value) is float and value.is_integer()) or (type(value) is str and _INTEGER(value)):
        number = int(value)
    else:
        raise TypeError(f"expected an integer, not {_shown(value)}")
    if number not in _INT64:
        raise ValueError(f"expected an integer of 64 bits, not {_shown(value)}")
    return number


def _float(value: Any, _: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise TypeError(f"expected a number, not {_shown(value)}")


def _parse_time(text: str) -> datetime:
    if _TIMESTAMP(text) or _TIMESTAMP(text := text.upper()):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    raise TypeError(f"expected a time like '2026-09-14T09:00:01Z', not {_shown(text)}")


def _datetime_hook() -> _Hook:
    """Return a hook that remembers: a job that is polled says the same times again and again."""
    parse = lru_cache(maxsize=1024)(_parse_time)

    def structure(value: Any, _: Any) -> datetime:
        if type(value) is str:
            return parse(value)
        raise TypeError(f"expected a time like '2026-09-14T09:00:01Z', not {_shown(value)}")

    return structure


def _seconds(value: Any, _: Any) -> float:
    if type(value) is not str or not _DURATION(value):
        raise TypeError(f"expected a duration like '86400s', not {_shown(value)}")
    return float(value[:-1])


def _strings(value: Any, _: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise TypeError(f"expected a list, not {_shown(value)}")
    for index, item in enumerate(value):
        if type(item) is not str:
            raise TypeError(f"expected strings, not {_shown(item)} at [{index}]")
    return tuple(value)


def _enum_hook(cls: type[OpenEnum], on_unknown: _Notice) -> _Hook:
    known = {member.wire: member for member in cls}
    zero = next(iter(cls))
    seen: set[str] = set()

    def structure(value: Any, _: Any) -> OpenEnum:
        try:
            return known[value]
        except (KeyError, TypeError):
            return read(value)

    def read(value: Any) -> OpenEnum:
        if value == "":
            return zero
        if type(value) is not str and type(value) is not int:
            raise TypeError(f"expected the name of a {cls.__name__}, not {_shown(value)}")
        # A number is how protojson spells a value that the server's own gateway does not know.
        member = cls(str(value))
        if not member.is_known and member.wire not in seen and len(seen) < 100:
            seen.add(member.wire)
            on_unknown(member)
        return member

    return structure


# --- Messages ---------------------------------------------------------------------------------


@attrs.frozen
class _Member:
    """One member of a message: how it is spelled, read, and put into the frozen model's slot."""

    key: str
    wanted: Any
    zero: Any
    hook: _Hook
    put: Callable[[Any, Any], None]


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.title() for word in tail)


def _without_none(wanted: Any) -> Any:
    if get_origin(wanted) in {Union, types.UnionType}:
        (wanted,) = (arg for arg in get_args(wanted) if arg is not type(None))
    return wanted


def _members(converter: Converter, cls: type[Any]) -> list[_Member]:
    hints = get_type_hints(cls, include_extras=True)
    members: list[_Member] = []
    for field in attrs.fields(cls):
        if field.name == _EXTRA:
            continue
        wanted = _without_none(hints[field.name])
        zero = "" if field.default is attrs.NOTHING else field.default
        hook = converter.get_structure_hook(wanted)
        put = cls.__dict__[field.name].__set__
        members.append(_Member(_camel(field.name), wanted, zero, hook, put))
    return members


def _message_hook(converter: Converter, cls: type[Any]) -> _Hook:
    """Return a hook that fills a frozen model's slots, a third faster than its __init__ does.

    Nothing is lost by that: of what __init__ adds, defaults stand in the rows and converters
    have nothing to convert.
    """
    # Plain tuples, and no call for a value that has its type already: the loop below runs for
    # each member of each answer.
    rows = [attrs.astuple(member, recurse=False) for member in _members(converter, cls)]
    known = {row[0] for row in rows}
    keep = cls.__dict__[_EXTRA].__set__ if _EXTRA in attrs.fields_dict(cls) else None
    new = object.__new__

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError(f"expected an object, not {_shown(value)}")
        model = new(cls)
        get = value.get
        for key, wanted, zero, hook, put in rows:
            member = get(key)
            if type(member) is not wanted:
                member = zero if member is None else hook(member, wanted)
            put(model, member)
        if keep is not None:
            keep(model, {} if known.issuperset(value) else _unknown(value, known))
        return model

    return structure


def _unknown(value: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    return {key: member for key, member in value.items() if key not in known}


def _salvage(
    converter: Converter, value: Mapping[str, Any], cls: type[Any], path: str = ""
) -> tuple[Any, list[str]]:
    """Read what can be read, the rest at defaults, and name the rest by its path."""
    model = object.__new__(cls)
    problems: list[str] = []
    members = _members(converter, cls)
    for member in members:
        found = value.get(member.key)
        at = path + member.key
        try:
            member.put(model, member.zero if found is None else member.hook(found, member.wanted))
        except _UNREADABLE as exc:
            if isinstance(found, dict) and attrs.has(member.wanted):
                part, deeper = _salvage(converter, found, member.wanted, f"{at}.")
                member.put(model, part)
                problems += deeper
            else:
                member.put(model, member.zero)
                problems.append(f"{at}: {exc}")
    if _EXTRA in attrs.fields_dict(cls):
        known = [member.key for member in members]
        cls.__dict__[_EXTRA].__set__(model, _unknown(value, known))
    return model, problems


# --- The codec --------------------------------------------------------------------------------


class Codec:
    """Reads and writes the API's messages. Making one builds its hooks: one for each client."""

    def __init__(self, on_unknown: _Notice = lambda _: None) -> None:
        """Build the hooks.

        Args:
            on_unknown: Called once for each enumeration value that is not published.
        """
        self._converter = _converter(on_unknown)
        self._hook: Callable[[Any], _Hook] = cache(self._converter.get_structure_hook)

    def structure(self, value: Any, cls: type[_T], *, required: Iterable[str] = ()) -> _T:
        """Make a model of a JSON value.

        Args:
            value: What `parse_json` returned.
            cls: The model's class.
            required: The wire's names of members that must be there and not be empty.

        Raises:
            ResponseDecodeError: A member is of a wrong type, or a required one is missing; each
                stands in ``problems`` with its path, and what could be read is ``partial`` (None
                if the value is no object, or a required member is not readable).
        """
        missing = self._missing(value, required)
        if not missing:
            try:
                model: _T = self._hook(cls)(value, cls)
            except _UNREADABLE:
                pass
            else:
                return model
        raise self._refusal(value, cls, required, missing)

    def decode(self, body: bytes, cls: type[_T], *, required: Iterable[str] = ()) -> _T:
        """Make a model of a body: `parse_json`, then `structure`."""
        return self.structure(parse_json(body), cls, required=required)

    def unstructure(self, model: attrs.AttrsInstance) -> dict[str, Any]:
        """Return the wire's JSON value of a model: camelCase, and only what differs from unset."""
        value: dict[str, Any] = self._converter.unstructure(model)
        return value

    @staticmethod
    def _missing(value: Any, required: Iterable[str]) -> list[str]:
        if not isinstance(value, dict):
            return []
        return [key for key in required if value.get(key) is None or value[key] == ""]

    def _refusal(
        self, value: Any, cls: type[Any], required: Iterable[str], missing: list[str]
    ) -> ResponseDecodeError:
        what = cls.__name__
        if not isinstance(value, dict):
            problem = f"expected an object, not {_shown(value)}"
            return ResponseDecodeError(f"cannot read a {what}: {problem}", problems=[problem])
        rest, problems = _salvage(self._converter, value, cls)
        problems = [f"{key}: missing or empty" for key in missing] + problems
        is_usable = not any(
            problem.startswith(f"{key}:") for problem in problems for key in required
        )
        return ResponseDecodeError(
            f"cannot read a {what}: {'; '.join(problems)}",
            problems=problems,
            partial=rest if is_usable else None,
        )


def _converter(on_unknown: _Notice) -> Converter:
    converter = Converter(detailed_validation=False)
    for cls, hook in _SCALARS.items():
        converter.register_structure_hook(cls, hook)
    converter.register_structure_hook(datetime, _datetime_hook())
    for enumeration in OpenEnum.__subclasses__():
        converter.register_structure_hook(enumeration, _enum_hook(enumeration, on_unknown))
    converter.register_structure_hook_func(partial(eq, Seconds), _seconds)
    converter.register_structure_hook_func(partial(eq, tuple[str, ...]), _strings)
    converter.register_structure_hook_factory(attrs.has, lambda cls: _message_hook(converter, cls))
    converter.register_unstructure_hook(datetime, _rfc3339)
    converter.register_unstructure_hook(OpenEnum, lambda member: member.wire)
    converter.register_unstructure_hook_factory(
        attrs.has, lambda cls: _unstructure_hook(converter, cls)
    )
    return converter


_SCALARS: Final[dict[type, _Hook]] = {
    str: _string,
    bool: _bool,
    int: _int,
    float: _float,
}


def _unstructure_hook(converter: Converter, cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    overrides: dict[str, Any] = {
        field.name: _override(field.name, _without_none(hints[field.name]))
        for field in attrs.fields(cls)
    }
    return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **overrides)


def _override(name: str, wanted: Any) -> Any:
    if name == _EXTRA:
        return override(omit=True)
    return override(
        rename=_camel(name), unstruct_hook=_protobuf_duration if wanted == Seconds else None
    )


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _protobuf_duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


# --- Read masks -------------------------------------------------------------------------------


def mask_paths(fields: Iterable[str]) -> str:
    """Return the wire's read mask for snake_case paths, always with ``name``.

    Args:
        fields: Paths as in ``["state", "job_progress.percent"]``; none at all means everything.

    Raises:
        ConfigurationError: A path is empty, or no path.
    """
    if isinstance(fields, str):
        raise ConfigurationError(f"read_mask is a list of paths; give [{fields!r}]")
    paths = [".".join(_camel(part) for part in _path(field).split(".")) for field in fields]
    if not paths or "*" in paths:
        return ""
    return ",".join(dict.fromkeys(["name", *paths]))


def _path(field: object) -> str:
    if isinstance(field, str) and re.fullmatch(r"\*|[A-Za-z]\w*(\.[A-Za-z]\w*)*", field, re.ASCII):
        return field
    raise ConfigurationError(
        f"read_mask has {field!r}; a path looks like 'state' or 'job_progress.percent'"
    )
