"""The codec: the wire's JSON to frozen models and back, the only user of cattrs.

Reading is strict and eager. A body with a member of a wrong type is read once more, member by
member, so that the error names each path as the wire spells it and carries what could be read.
Performs no I/O.
"""

import linecache
import re
import types
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import datetime
from functools import cache, partial
from operator import eq
from typing import (
    Any,
    Final,
    NoReturn,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
import orjson
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.v import format_exception

from fireworks_batch.models.errors import ConfigurationError, ResponseDecodeError
from fireworks_batch.models.job import Seconds
from fireworks_batch.models.states import OpenEnum
from fireworks_batch.wire.protojson import (
    UNREADABLE,
    Notice,
    Reader,
    camel,
    enum_reader,
    read_bool,
    read_float,
    read_int,
    read_seconds,
    read_string,
    read_strings,
    shown,
    time_reader,
    write_seconds,
    write_time,
)

__all__ = [
    "EXTRA",
    "Codec",
    "Member",
    "ReaderOf",
    "mask_paths",
    "members",
    "message_reader",
    "parse_json",
    "response_reader",
    "salvage",
]


_T = TypeVar("_T")


ReaderOf: TypeAlias = Callable[[Any], Reader]
"""Returns the reader of a type: cattrs' registry of hooks."""


EXTRA: Final = "extra"
"""The field that keeps members which the model does not know; no member itself."""


@attrs.frozen
class Member:
    """One member of a message."""

    name: str
    """The model's field."""

    key: str
    """The wire's name."""

    wanted: Any
    """The type of a value."""

    zero: Any
    """What stands for an absent or null one."""


@cache
def members(cls: type[attrs.AttrsInstance]) -> tuple[Member, ...]:
    """Return a model's members, in the order of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        Member(
            name=field.name,
            key=camel(field.name),
            wanted=_without_none(hints[field.name]),
            zero="" if field.default is attrs.NOTHING else field.default,
        )
        for field in attrs.fields(cls)
        if field.name != EXTRA
    )


def _without_none(wanted: Any) -> Any:
    if get_origin(wanted) in {Union, types.UnionType}:
        (wanted,) = (arg for arg in get_args(wanted) if arg is not types.NoneType)
    return wanted


@cache
def _thawed(cls: type[attrs.AttrsInstance]) -> type[Any]:
    """Return a subclass that is not frozen, to fill a model's slots one by one.

    It adds no slot, so that Python lets a filled instance become one of the class itself.
    """
    # Both, or assignments would go through a slower slot of the type.
    natural = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(cls.__name__, (cls,), {"__slots__": (), **natural})


# --- At once ------------------------------------------------------------------------------------

# The loop over the members is unrolled, there is no call for a value that has its type already, and
# none of __init__. Nothing is lost by that: of what __init__ adds, defaults are given here, and
# converters have nothing to convert.
_HEAD: Final = """\
def read(value, _):
    if type(value) is not dict:
        raise TypeError(f"expected an object, not {shown(value)}")
    model = new(thawed)
    get = value.get
"""


_MEMBER: Final = """\
    item = get({key!r})
    if type(item) is not type_{name}:
        item = zero_{name} if item is None else read_{name}(item, type_{name})
    model.{name} = item
"""


_REST: Final = """\
    model.extra = {} if keys.issuperset(value) else unknown(value, keys)
"""


_TAIL: Final = """\
    model.__class__ = cls
    return model
"""


def message_reader(cls: type[attrs.AttrsInstance], reader_of: ReaderOf) -> Reader:
    """Return a reader of JSON objects, which refuses without a path.

    Args:
        cls: The model's class.
        reader_of: Gives the readers of its members.
    """
    scope: dict[str, Any] = {
        "cls": cls,
        "thawed": _thawed(cls),
        "new": object.__new__,
        "shown": shown,
        "unknown": _unknown,
        "keys": frozenset(member.key for member in members(cls)),
    }
    for member in members(cls):
        scope[f"type_{member.name}"] = member.wanted
        scope[f"zero_{member.name}"] = member.zero
        scope[f"read_{member.name}"] = reader_of(member.wanted)
    exec(_code(cls), scope)  # noqa: S102 - made of the templates above and a class's own names
    reader: Reader = scope["read"]
    return reader


@cache
def _code(cls: type[attrs.AttrsInstance]) -> types.CodeType:
    """Compile a class's reader, once for all clients, with its source where tracebacks find it."""
    fields = [_MEMBER.format(key=member.key, name=member.name) for member in members(cls)]
    source = "".join([_HEAD, *fields, _REST if _keeps_extra(cls) else "", _TAIL])
    filename = f"<reader of {cls.__module__}.{cls.__qualname__}>"
    linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
    return compile(source, filename, "exec")


def _keeps_extra(cls: type[attrs.AttrsInstance]) -> bool:
    return EXTRA in attrs.fields_dict(cls)


def _unknown(value: Mapping[str, Any], keys: Container[str]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}


# --- Member by member ---------------------------------------------------------------------------


def salvage(
    value: Mapping[str, Any], cls: type[attrs.AttrsInstance], reader_of: ReaderOf, path: str = ""
) -> tuple[Any, list[str]]:
    """Read what can be read, the rest at defaults.

    Args:
        value: A JSON object.
        cls: The model's class.
        reader_of: Gives the readers of its members.
        path: Where the object stands, with a point at the end.

    Returns:
        A model, and what is wrong with the members that could not be read, each by its path.
    """
    model = object.__new__(_thawed(cls))
    problems: list[str] = []
    for member in members(cls):
        found, at = value.get(member.key), path + member.key
        item = member.zero
        if isinstance(found, dict) and attrs.has(member.wanted):
            item, deeper = salvage(found, member.wanted, reader_of, f"{at}.")
            problems += deeper
        elif found is not None:
            try:
                item = reader_of(member.wanted)(found, member.wanted)
            except UNREADABLE as exc:
                problems.append(f"{at}: {exc}")
        setattr(model, member.name, item)
    if _keeps_extra(cls):
        model.extra = _unknown(value, {member.key for member in members(cls)})
    model.__class__ = cls
    return model, problems


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


# --- The codec --------------------------------------------------------------------------------


class Codec:
    """Reads and writes the API's messages. Making one builds its hooks: one for each client."""

    def __init__(self, on_unknown: Notice = lambda _: None) -> None:
        """Build the hooks; those of a message when it is first met.

        Args:
            on_unknown: Called once for each enumeration value that is not published.
        """
        self._converter = _converter(on_unknown)
        self._reader_of: ReaderOf = cache(self._converter.get_structure_hook)

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
        missing = _missing(value, required)
        if not missing:
            try:
                model: _T = self._reader_of(cls)(value, cls)
            except UNREADABLE:
                pass
            else:
                return model
        # Raised outside the except: the cause would say the same without a path.
        raise self._refusal(value, cls, required, missing)

    def decode(self, body: bytes, cls: type[_T], *, required: Iterable[str] = ()) -> _T:
        """Make a model of a body: `parse_json`, then `structure`."""
        return self.structure(parse_json(body), cls, required=required)

    def unstructure(self, model: attrs.AttrsInstance) -> dict[str, Any]:
        """Return the wire's JSON value of a model: camelCase, and only what differs from unset."""
        value: dict[str, Any] = self._converter.unstructure(model)
        return value

    def _refusal(
        self, value: Any, cls: type[Any], required: Iterable[str], missing: list[str]
    ) -> ResponseDecodeError:
        what = cls.__name__
        if not isinstance(value, dict):
            problem = f"expected an object, not {shown(value)}"
            return ResponseDecodeError(f"cannot read a {what}: {problem}", problems=[problem])
        rest, problems = salvage(value, cls, self._reader_of)
        problems = [f"{key}: missing or empty" for key in missing] + problems
        is_usable = not any(
            problem.startswith(f"{key}:") for problem in problems for key in required
        )
        return ResponseDecodeError(
            f"cannot read a {what}: {'; '.join(problems)}",
            problems=problems,
            partial=rest if is_usable else None,
        )


def _missing(value: Any, required: Iterable[str]) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [key for key in required if value.get(key) in _EMPTY]


_EMPTY: Final = (None, "")


def _converter(on_unknown: Notice) -> Converter:
    converter = Converter(detailed_validation=False)
    for cls, reader in _SCALARS.items():
        converter.register_structure_hook(cls, reader)
    converter.register_structure_hook(datetime, time_reader())
    for enumeration in OpenEnum.__subclasses__():
        converter.register_structure_hook(enumeration, enum_reader(enumeration, on_unknown))
    converter.register_structure_hook_func(partial(eq, Seconds), read_seconds)
    converter.register_structure_hook_func(partial(eq, tuple[str, ...]), read_strings)
    converter.register_structure_hook_factory(
        attrs.has, lambda cls: message_reader(cls, converter.get_structure_hook)
    )
    converter.register_unstructure_hook(datetime, write_time)
    converter.register_unstructure_hook(OpenEnum, lambda member: member.wire)
    converter.register_unstructure_hook_factory(
        attrs.has, lambda cls: _message_writer(converter, cls)
    )
    return converter


_SCALARS: Final[dict[type, Reader]] = {
    str: read_string,
    bool: read_bool,
    int: read_int,
    float: read_float,
}


def _message_writer(
    converter: Converter, cls: type[attrs.AttrsInstance]
) -> Callable[[Any], dict[str, Any]]:
    overrides: dict[str, Any] = {
        member.name: override(
            rename=member.key, unstruct_hook=write_seconds if member.wanted == Seconds else None
        )
        for member in members(cls)
    }
    if EXTRA in attrs.fields_dict(cls):
        overrides[EXTRA] = override(omit=True)
    return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **overrides)


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
    paths = [".".join(camel(part) for part in _path(field).split(".")) for field in fields]
    if not paths or "*" in paths:
        return ""
    return ",".join(dict.fromkeys(["name", *paths]))


def _path(field: object) -> str:
    if isinstance(field, str) and re.fullmatch(r"\*|[A-Za-z]\w*(\.[A-Za-z]\w*)*", field, re.ASCII):
        return field
    raise ConfigurationError(
        f"read_mask has {field!r}; a path looks like 'state' or 'job_progress.percent'"
    )


# --- The user's own types ---------------------------------------------------------------------


def response_reader(wanted: Any) -> Callable[[Any], Any]:
    """Return a function that makes a value of the user's type of a row's response.

    Members keep their names, and those that a class does not have are passed over. Strings,
    numbers and truth values are read as those of the API's own answers: null is no string,
    ``"false"`` is no truth value.

    Args:
        wanted: An attrs class, a dataclass, a TypedDict, or what else cattrs structures.

    Returns:
        A function that raises ResponseDecodeError, with the paths of what does not fit.

    Raises:
        ConfigurationError: cattrs does not know how to make the type.
    """
    fast, slow = _plain_converter(), _plain_converter(detailed=True)
    structure = fast.get_structure_hook(wanted)

    def read(response: Any) -> Any:
        try:
            return structure(response, wanted)
        except Exception:  # noqa: BLE001, S110 - whatever it is, it is found again, with a path
            pass
        try:
            return slow.structure(response, wanted)
        except Exception as exc:  # noqa: BLE001 - a converter of the type's own may raise anything
            problems = transform_error(exc, path="response", format_exception=_said)
        raise ResponseDecodeError(
            f"cannot read a {_named(wanted)}: {'; '.join(problems)}", problems=problems
        )

    return read


def _plain_converter(*, detailed: bool = False) -> Converter:
    converter = Converter(detailed_validation=detailed, structure_fallback_factory=_refuse_to_make)
    for cls, reader in _SCALARS.items():
        converter.register_structure_hook(cls, reader)
    return converter


def _refuse_to_make(wanted: Any) -> NoReturn:
    raise ConfigurationError(
        f"decode: cattrs cannot make a {_named(wanted)}; give a function that takes the "
        "response's mapping instead"
    )


def _named(wanted: Any) -> str:
    return getattr(wanted, "__name__", None) or str(wanted)


def _said(exc: BaseException, wanted: type | None) -> str:
    if type(exc) in UNREADABLE and exc.args:
        return str(exc)
    return format_exception(exc, wanted)
