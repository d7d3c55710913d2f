"""The codec: the wire's JSON to frozen models and back, the only user of cattrs.

Reading is strict and eager. A body with a member of a wrong type is read once more, member by
member, so that the error names each path as the wire spells it and carries what could be read.
Performs no I/O.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache, partial
from operator import eq
from typing import Any, Final, NoReturn, TypeVar

import attrs
import orjson
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.v import format_exception

from fireworks_batch.errors import ConfigurationError, ResponseDecodeError
from fireworks_batch.messages import EXTRA, ReaderOf, members, message_reader, salvage
from fireworks_batch.models import Seconds
from fireworks_batch.protojson import (
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
from fireworks_batch.states import OpenEnum

__all__ = ["Codec", "mask_paths", "parse_json", "response_reader"]

_T = TypeVar("_T")


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
