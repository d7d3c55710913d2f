"""How a JSON object becomes a frozen model: at once, or member by member with what is wrong in it.

The first way is a function generated for each class, registered in cattrs as its hook; the second
is for an object that the first one refuses. Performs no I/O.
"""

import linecache
import types
from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs

from fireworks_batch.protojson import UNREADABLE, Reader, camel, shown

__all__ = ["EXTRA", "Member", "ReaderOf", "members", "message_reader", "salvage"]

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
