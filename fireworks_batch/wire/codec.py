"""The codec, which converts JSON to frozen models and back; the only user of cattrs.

Reading is strict and eager. cattrs makes the reader of a message from the readers of its members.
If a message cannot be read, the same readers read its members one by one. The error then names the
path of each bad member by its wire names, and carries the readable members. Performs no I/O.
"""

import re
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from functools import cache, partial
from operator import eq
from types import NoneType
from typing import Any, Final, NoReturn, TypeVar, get_args

import attrs
import orjson
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn, override
from cattrs.v import format_exception

from fireworks_batch.models.errors import ConfigurationError, ResponseDecodeError
from fireworks_batch.models.job import Seconds
from fireworks_batch.models.states import OpenEnum
from fireworks_batch.wire.protojson import (
    EXTRA,
    UNREADABLE,
    Member,
    Notice,
    Reader,
    camel,
    enum_reader,
    member_reader,
    object_reader,
    read_bool,
    read_extra,
    read_float,
    read_int,
    read_string,
    read_strings,
    seconds_reader,
    time_reader,
    unreadable,
    write_seconds,
    write_time,
)

__all__ = ["Codec", "mask_paths", "parse_json", "response_reader"]


_T = TypeVar("_T")


def parse_json(body: bytes) -> Any:
    """Return a body's JSON value.

    Raises:
        ResponseDecodeError: The body is not JSON.
    """
    try:
        return orjson.loads(body)
    except ValueError as exc:
        problem = f"the body is not JSON: {exc}"
    # Raised outside the except: the cause would carry the whole body.
    raise ResponseDecodeError(problem, problems=[problem])


# --- The codec ----------------------------------------------------------------------------------


class Codec:
    """Reads and writes the API's messages; each client has its own."""

    def __init__(self, on_unknown: Notice = lambda _: None) -> None:
        """Build the hooks. The hooks of a message are built when they are first needed.

        Args:
            on_unknown: Called once for each enumeration value that is not published.
        """
        self._converter = _converter(on_unknown)
        self._reader_of: Callable[[Any], Reader] = cache(self._converter.get_structure_hook)

    def structure(self, value: Any, cls: type[_T], *, required: Collection[str] = ()) -> _T:
        """Make a model of a JSON value.

        Args:
            value: What `parse_json` returned.
            cls: The model's class.
            required: The wire's names of members that must be there and not be empty.

        Raises:
            ResponseDecodeError: A member has a wrong type, or a required member is missing.
                ``problems`` has each such member with its path. ``partial`` is the model with the
                readable members. It is None if the value is not an object, or if a required member
                cannot be read.
        """
        model: _T | None = None
        problems: list[str] = []
        try:
            model = self._reader_of(cls)(value, cls)
        except TypeError as exc:  # the value is not an object
            problems, required = [str(exc)], ()
        except ResponseDecodeError as exc:
            model, problems = exc.partial, [*exc.problems]
        missing = [f"{key}: missing or empty" for key in required if value.get(key) in _EMPTY]
        problems = missing + problems
        if model is not None and not problems:
            return model
        # Raised outside the except: a cause would repeat the text without the required members.
        is_usable = {*required}.isdisjoint(problem.partition(":")[0] for problem in problems)
        raise unreadable(cls, problems, model if is_usable else None)

    def decode(self, body: bytes, cls: type[_T], *, required: Collection[str] = ()) -> _T:
        """Make a model of a body: `parse_json`, then `structure`."""
        return self.structure(parse_json(body), cls, required=required)

    def unstructure(self, model: attrs.AttrsInstance) -> dict[str, Any]:
        """Return a model as a JSON value with wire names; members at their default are left out."""
        value: dict[str, Any] = self._converter.unstructure(model)
        return value


_EMPTY: Final = (None, "")


# --- Messages -----------------------------------------------------------------------------------


def _converter(on_unknown: Notice) -> Converter:
    converter = Converter(detailed_validation=False)
    for cls, reader in _SCALARS.items():
        converter.register_structure_hook(cls, reader)
    converter.register_structure_hook(datetime, time_reader())
    for enumeration in OpenEnum.__subclasses__():
        converter.register_structure_hook(enumeration, enum_reader(enumeration, on_unknown))
    converter.register_structure_hook_func(partial(eq, Seconds), seconds_reader())
    converter.register_structure_hook_func(partial(eq, tuple[str, ...]), read_strings)
    converter.register_structure_hook_factory(attrs.has, partial(_message_reader, converter))
    converter.register_unstructure_hook(datetime, write_time)
    converter.register_unstructure_hook(OpenEnum, lambda member: member.wire)
    converter.register_unstructure_hook_factory(attrs.has, partial(_message_writer, converter))
    return converter


_SCALARS: Final[dict[type, Reader]] = {
    str: read_string,
    bool: read_bool,
    int: read_int,
    float: read_float,
}


def _message_reader(converter: Converter, cls: type[attrs.AttrsInstance]) -> Reader:
    """Return a reader of JSON objects, made from the readers of their members."""
    members = {field.name: _member(converter, field) for field in attrs.fields(cls)}
    overrides: dict[str, Any] = {
        name: override(rename=member.key, struct_hook=member.read)
        for name, member in members.items()
    }
    # cattrs makes a shorter function for fields without defaults. The reader of an absent member
    # returns the default.
    fields = [
        field if field.name == EXTRA else field.evolve(default=attrs.NOTHING)
        for field in attrs.fields(cls)
    ]
    read_at_once = make_dict_structure_fn_from_attrs(fields, cls, converter, **overrides)
    return object_reader(cls, members, read_at_once)


def _member(converter: Converter, field: "attrs.Attribute[Any]") -> Member:
    if field.name == EXTRA:
        return Member(EXTRA, read_extra)
    wanted = _without_none(field.type)
    default = "" if field.default is attrs.NOTHING else field.default
    reader = member_reader(converter.get_structure_hook(wanted), wanted, default)
    return Member(camel(field.name), reader)


def _without_none(wanted: Any) -> Any:
    others = [arg for arg in get_args(wanted) if arg is not NoneType]
    return others[0] if len(others) < len(get_args(wanted)) else wanted


def _message_writer(
    converter: Converter, cls: type[attrs.AttrsInstance]
) -> Callable[[Any], dict[str, Any]]:
    overrides: dict[str, Any] = {
        field.name: override(
            rename=camel(field.name),
            omit=field.name == EXTRA,
            unstruct_hook=write_seconds if _without_none(field.type) == Seconds else None,
        )
        for field in attrs.fields(cls)
    }
    return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **overrides)


# --- Read masks ---------------------------------------------------------------------------------


def mask_paths(fields: Iterable[str]) -> str:
    """Return the read mask, in wire names, for snake_case paths; it always has ``name``.

    Args:
        fields: Paths as in ``["state", "job_progress.percent"]``; no path, or ``"*"``, means all
            members.

    Raises:
        ConfigurationError: A path is malformed, or ``fields`` is one string.
    """
    if isinstance(fields, str):
        raise ConfigurationError(
            f"read_mask must be a list of paths, as in [{fields!r}], not {fields!r}"
        )
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


# --- The user's own types -----------------------------------------------------------------------


def response_reader(wanted: Any) -> Callable[[Any], Any]:
    """Return a function that makes a value of the user's type from a row's response.

    The members have the same names in the response and in the type. Members that the type does not
    have are ignored. Strings, numbers and truth values are read as strictly as in the API's own
    answers: null is refused for a string, and ``"false"`` is refused for a truth value.

    Args:
        wanted: An attrs class, a dataclass, a TypedDict, or another type that cattrs structures.

    Returns:
        A function that takes the response, and raises ResponseDecodeError with the path of each
        member that does not fit the type.

    Raises:
        ConfigurationError: cattrs does not know how to make the type.
    """
    fast, slow = _plain_converter(), _plain_converter(detailed=True)
    structure = fast.get_structure_hook(wanted)

    def read(response: Any) -> Any:
        try:
            return structure(response, wanted)
        except Exception:  # noqa: BLE001, S110 - the slow converter raises it again, with a path
            pass
        try:
            return slow.structure(response, wanted)
        except Exception as exc:  # noqa: BLE001 - the user's own converter may raise any error
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
        "response's mapping, or, for a model of pydantic, integrations.pydantic.output(...)"
    )


def _named(wanted: Any) -> str:
    return getattr(wanted, "__name__", None) or str(wanted)


def _said(exc: BaseException, wanted: type | None) -> str:
    if type(exc) in UNREADABLE and exc.args:
        return str(exc)
    return format_exception(exc, wanted)
