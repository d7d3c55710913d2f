"""What the value of an option may be: the one way to validate an argument.

The options of a call are the fields of a frozen attrs class. Each field has a validator of this
module. A validator raises `ConfigurationError`, which names the option, the value and what would be
right. Performs no I/O.
"""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from fireworks_batch.models.errors import ConfigurationError, shown
from fireworks_batch.models.names import check_new_id
from fireworks_batch.models.states import OpenEnum
from fireworks_batch.models.texts import did_you_mean

__all__ = [
    "Validator",
    "instance_of",
    "is_finite",
    "new_id",
    "number",
    "one_of",
    "plain_function",
    "published",
    "text",
    "whole_number",
]

Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]

_MODELS: Final = f"{__name__.rpartition('.')[0]}."

_SURROGATE: Final = re.compile(r"[\ud800-\udfff]").search


def _name(instance: object, attribute: "attrs.Attribute[Any]") -> str:
    """Return the name of the option, as the caller knows it.

    Callers make instances of the classes in `models`, so that the name of such a class is part of
    the option's name. Any other class holds the arguments of a call.
    """
    cls = type(instance)
    is_made_by_caller = cls.__module__.startswith(_MODELS)
    return f"{cls.__name__}.{attribute.name}" if is_made_by_caller else attribute.name


def _refuse(
    instance: object, attribute: "attrs.Attribute[Any]", wanted: str, value: Any, hint: str = ""
) -> None:
    name = _name(instance, attribute)
    raise ConfigurationError(f"{name} must be {wanted}, not {shown(value)}{hint}")


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number; True and False do not count as numbers."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max


def number(
    *, least: float | None = None, above: float | None = None, most: float | None = None
) -> Validator:
    """Accept finite numbers; True and False are refused.

    Args:
        least: The smallest number.
        above: A bound that the number must exceed; given instead of *least*.
        most: The largest number.
    """
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("above", above), ("at least", least), ("at most", most))
        if bound is not None
    ]
    wanted = f"a number {' and '.join(bounds)}"

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if (
            not is_finite(value)
            or (above is not None and value <= above)
            or (least is not None and value < least)
            or (most is not None and value > most)
        ):
            _refuse(instance, attribute, wanted, value)

    return validate


def whole_number(*, least: int = 1, most: int | None = None) -> Validator:
    """Accept whole numbers from *least* to *most*; True and False are refused."""
    wanted = (
        f"a whole number of at least {least}"
        if most is None
        else f"a whole number from {least} to {most}"
    )

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < least or (most is not None and value > most):
            _refuse(instance, attribute, wanted, value)

    return validate


def text(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept strings that UTF-8 can encode."""
    if not isinstance(value, str):
        _refuse(instance, attribute, "a string", value)
    if _SURROGATE(value):
        raise ConfigurationError(
            f"{_name(instance, attribute)} {value!r} has a character that UTF-8 cannot write"
        )


def one_of(*choices: str) -> Validator:
    """Accept one of several strings."""
    wanted = " or ".join(map(repr, choices))

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value not in choices:
            _refuse(instance, attribute, wanted, value, did_you_mean(value, choices))

    return validate


_E = TypeVar("_E", bound=OpenEnum)


def published(name: str, cls: type[_E], value: object) -> _E:
    """Return the member that a caller names; a misspelt name is refused.

    A member of the class is returned as it is, so that a caller can send a value that is newer than
    this release.

    Args:
        name: The option, for the text of an error.
        cls: The enumeration.
        value: A published value, bare or as the server spells it, or a member.

    Raises:
        ConfigurationError: The value is neither.
    """
    if isinstance(value, cls):
        return value
    member = cls(value) if isinstance(value, str) else None
    if member is None or not member.is_known:
        values = [each.value for each in cls]
        raise ConfigurationError(
            f"{name} must be one of {', '.join(values)}, not {shown(value)}"
            f"{did_you_mean(value, values)} (a value that is newer than this release is given as "
            f"{cls.__name__}(…))"
        )
    return member


def instance_of(cls: type[Any] | tuple[type[Any], ...], wanted: str = "") -> Validator:
    """Accept instances of a class.

    Args:
        cls: The class, or a tuple of classes.
        wanted: What the option must be, for the error's text; by default ``a`` and the name of the
            class.
    """
    words = wanted or f"a {getattr(cls, '__name__', cls)}"

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not isinstance(value, cls):
            _refuse(instance, attribute, words, value)

    return validate


def new_id(kind: str) -> Validator:
    """Accept ids that the server accepts for a new resource.

    Args:
        kind: The noun for the id, for the text of an error: ``"dataset id"``.
    """

    def validate(_: object, __: "attrs.Attribute[Any]", value: Any) -> None:
        check_new_id(kind, value)

    return validate


def plain_function(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Accept a function or another callable, unless it is a coroutine function."""
    calls = (value, type(value).__call__) if callable(value) else ()
    if not calls or any(map(inspect.iscoroutinefunction, calls)):
        _refuse(instance, attribute, "a function that is not async", value)
