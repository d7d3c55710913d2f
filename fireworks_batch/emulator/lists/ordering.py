"""The order of the items of a list. Performs no I/O."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import attrs

from fireworks_batch.emulator.http.refusals import invalid


@attrs.frozen
class OrderTerm:
    """One field to order by."""

    path: tuple[str, ...]
    is_descending: bool = False


def read_order(text: str, resolve: Callable[[str], tuple[str, ...]]) -> tuple[OrderTerm, ...]:
    """Return the terms of an order.

    Args:
        text: The order, of the form ``field, field desc``; "" for no order.

        resolve: Returns the path of a field's name, or refuses the name.

    Raises:
        RefusalError: A field is unknown, or another word than ``desc`` follows it (400).
    """
    return tuple(_read_term(part, resolve) for part in text.split(",")) if text.strip() else ()


def _read_term(text: str, resolve: Callable[[str], tuple[str, ...]]) -> OrderTerm:
    match text.split():
        case [name]:
            return OrderTerm(resolve(name))
        case [name, "desc"]:
            return OrderTerm(resolve(name), is_descending=True)
        case _:
            raise invalid(f"invalid order_by: {text.strip()!r}")


def put_in_order(
    items: Iterable[Mapping[str, object]], terms: Iterable[OrderTerm]
) -> list[Mapping[str, object]]:
    """Return *items* sorted by *terms*. Equal items keep their order."""
    ordered = list(items)
    for term in reversed(tuple(terms)):
        ordered.sort(key=partial(_sort_key, term.path), reverse=term.is_descending)
    return ordered


def _sort_key(path: tuple[str, ...], item: Mapping[str, object]) -> tuple[int, float, str]:
    value: object = item
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, int | float):
        return (1, value, "")
    return (0, 0.0, "") if value is None else (2, 0.0, str(value))
