"""Read masks, and the members of a resource that they show. Performs no I/O."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

import attrs

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.http.messages import Message
from fireworks_batch.emulator.http.refusals import invalid

Mask: TypeAlias = Mapping[str, "Mask | None"]
"""The members to show. The value None shows the whole member, and a mask some of its members."""


@lru_cache(maxsize=256)
def read_mask(text: str, message: Message) -> Mask | None:
    """Return the mask of comma-separated paths, in camelCase or snake_case; None shows everything.

    Raises:
        RefusalError: A path names no field of *message* (400).
    """
    if text.strip() in {"", "*"}:
        return None
    mask: dict[str, Mask | None] = {}
    for path in text.split(","):
        _add(mask, member_path(path.strip(), message, what="read mask path"))
    return mask


def member_path(path: str, message: Message, *, what: str) -> tuple[str, ...]:
    """Return the JSON names of a dotted path.

    Raises:
        RefusalError: The path names no field of *message* (400).
    """
    names: list[str] = []
    inner: Message | None = message
    for part in path.split("."):
        field = inner.find(part) if inner is not None else None
        if field is None:
            raise invalid(f"invalid {what}: {path!r}")
        names.append(field.name)
        inner = field.message
    return tuple(names)


def _add(mask: dict[str, Mask | None], path: tuple[str, ...]) -> None:
    *parents, last = path
    for name in parents:
        inner = mask.setdefault(name, {})
        if not isinstance(inner, dict):  # the whole member is there already
            return
        mask = inner
    mask[last] = None


def apply_mask(
    mask: Mask, resource: Mapping[str, object], message: Message, *, emit_unpopulated: bool
) -> dict[str, object]:
    """Return the members of *resource* that *mask* names.

    Other members are shown with empty values if *emit_unpopulated*, and left out otherwise.
    """
    shown = message.zeros() if emit_unpopulated else {}
    for name, inner in mask.items():
        if name not in resource:
            continue
        value = resource[name]
        field = message.find(name)
        if inner is not None and isinstance(value, Mapping) and field and field.message:
            value = apply_mask(inner, value, field.message, emit_unpopulated=emit_unpopulated)
        shown[name] = value
    return shown


@attrs.frozen
class View:
    """The members of a resource that an answer shows."""

    mask: Mask | None
    message: Message
    emit_unpopulated: bool

    def show(self, resource: Mapping[str, object]) -> Mapping[str, object]:
        """Return the part of *resource* that the answer shows."""
        if self.mask is None:
            return resource
        return apply_mask(self.mask, resource, self.message, emit_unpopulated=self.emit_unpopulated)


def read_view(text: str, message: Message, rules: Assumptions) -> View:
    """Return the view of a ``readMask``, by the assumptions about masks.

    Raises:
        RefusalError: A path names no field, or all masks are refused (400).
    """
    mask = read_mask(text, message)
    if mask is not None and rules.mask_support == "refuse":
        raise invalid("read masks are not supported")
    if rules.mask_support == "ignore":
        mask = None
    return View(mask, message, rules.masked_answer == "emit_unpopulated")
