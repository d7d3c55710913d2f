"""Filters, in the small part of AIP-160 that people use. Performs no I/O."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from fireworks_batch.emulator.http.refusals import invalid

_TERM: Final = re.compile(
    r"""\s*(?P<field>[A-Za-z_][\w.]*)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[\w./:-]+))\s*"""
)
_AND: Final = re.compile(r"AND(?=\s)")
_ESCAPE: Final = re.compile(r"\\(.)")


@attrs.frozen
class Term:
    """One comparison, which says that the member at *path* equals *value*."""

    path: tuple[str, ...]
    value: str

    def is_met_by(self, resource: Mapping[str, object]) -> bool:
        """Whether a resource has this value."""
        return text_at(resource, self.path) == self.value


def read_filter(text: str, resolve: Callable[[str], tuple[str, ...]]) -> tuple[Term, ...]:
    """Return the terms of a filter.

    Args:
        text: The filter, terms of the form ``field="value"`` or ``field=value``, joined by AND.

        resolve: Returns the path of a field's name, or refuses the name.

    Raises:
        RefusalError: The filter has another form (400).
    """
    terms: list[Term] = []
    position = 0
    while position < len(text) or not terms:
        joint = _AND.match(text, position) if terms else None
        if terms and joint is None:
            raise invalid(f"invalid filter: {text!r}")
        found = _TERM.match(text, joint.end() if joint else position)
        if found is None:
            raise invalid(f"invalid filter: {text!r}")
        quoted, bare = found["quoted"], found["bare"]
        value = bare if quoted is None else _ESCAPE.sub(r"\1", quoted)
        terms.append(Term(resolve(found["field"]), value))
        position = found.end()
    return tuple(terms)


def text_at(resource: Mapping[str, object], path: tuple[str, ...]) -> str:
    """Return the text by which a filter compares the member at *path*; "" if it is not set."""
    value: object = resource
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
