"""Changes of a JSON text at a random place, as a server in a later version, or a broken one, sends.

Performs no I/O.
"""

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, TypeAlias

import attrs

Path: TypeAlias = tuple[str | int, ...]

_RAW: Final = "@@raw@@"
"""Stands in a value for a text that `json` would not write."""

TYPES: Final = (None, True, False, 0, 1, -1, 1.5, "", "x", [], {}, [None], {"a": 1}, [[]], ["x"])
TEXTS: Final = (
    "",
    " ",
    "x" * 5000,
    "\x00",
    "\x1b[31mred",
    "\ud800",
    "ü" * 300,
    "a/../b",
    "../../etc/passwd",
    "accounts/acme/batchInferenceJobs/",
    "JOB_STATE_NEVER_SEEN",
    "COMPLETED",
    "UPLOADING",
    "2026-02-30T25:61:61Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "2026-09-14",
    "1e999s",
    "-5s",
    "http://127.0.0.1:1/else",
    "ftp://127.0.0.1/x",
    "https://[::1",
    "//x",
    "NaN",
    "true",
    "-1",
    "99999999999999999999999",
)
NUMBERS: Final = (
    -1,
    0,
    1,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    10**30,
    -(2**63) - 1,
    0.5,
    1e308,
    5e-324,
)
RAW_NUMBERS: Final = ("1e999", "-1e999", "9" * 5000, "NaN", "Infinity", "-0", "1E+2", "0.1e-9999")


@attrs.frozen
class Mutation:
    """What was done to a text."""

    kind: str
    """A key of `KINDS`."""

    text: bytes
    """What came of it."""

    place: str = ""
    """Where it was done."""

    def __str__(self) -> str:
        return f"{self.kind} at {self.place or 'the top'}"


def mutated(text: bytes, random: Random, *, others: Mapping[str, bytes]) -> Mutation:
    """Change a JSON text at one place.

    Args:
        text: The text of an answer.
        random: Chooses the change and its place.
        others: Answers to other questions, by what they are about.
    """
    kind = random.choice(tuple(KINDS))
    return KINDS[kind](kind, text, random, others)


# --- Of the value -------------------------------------------------------------------------------


def _places(value: Any, path: Path = ()) -> list[Path]:
    """List all places of a value, its top first."""
    match value:
        case dict():
            inner = [each for key in value for each in _places(value[key], (*path, key))]
        case list():
            inner = [each for at, item in enumerate(value) for each in _places(item, (*path, at))]
        case _:
            inner = []
    return [path, *inner]


def _place(places: list[Path], random: Random) -> Path:
    """Choose a place, of those near the top as often as of all."""
    if random.random() < 0.5:
        places = [path for path in places if len(path) <= 1] or places
    return random.choice(places)


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    _at(value, path[:-1])[path[-1]] = new
    return value


def _written(value: Any, raw: str = "") -> bytes:
    text = json.dumps(value).replace(f'"{_RAW}"', raw)
    return text.encode("utf-8", "surrogatepass")


_Change: TypeAlias = Callable[[str, bytes, Random, Mapping[str, bytes]], Mutation]


def _of_value(change: Callable[[Any, Random], Any]) -> _Change:
    """Make a change of a text of a function that gives another value for one."""

    def of_text(kind: str, text: bytes, random: Random, _: Mapping[str, bytes]) -> Mutation:
        value = json.loads(text)
        path = _place(_places(value), random)
        new = change(_at(value, path), random)
        raw = ""
        if isinstance(new, _Raw):
            raw, new = new.text, _RAW
        return Mutation(kind, _written(_put(value, path, new), raw), _named(path))

    return of_text


@attrs.frozen
class _Raw:
    text: str


def _named(path: Path) -> str:
    return ".".join(map(str, path))


def _other_value(value: Any, random: Random) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return random.choice(NUMBERS)
        case str():
            return random.choice((*TEXTS, value + "x", value[:-1], value.upper(), str(len(value))))
        case list():
            return [*value, *value]
        case dict():
            return {**value, random.choice(TEXTS[3:]): random.choice(TYPES)}
        case _:
            return random.choice(TYPES)


def _nested(value: Any, random: Random) -> Any:
    depth = random.choice((1, 2, 50, 500, 1500, 100_000))
    is_list = random.random() < 0.5
    if depth <= 2:
        for _ in range(depth):
            value = [value] if is_list else {"value": value}
        return value
    opening, closing = ("[", "]") if is_list else ('{"a":', "}")
    return _Raw(f"{opening * depth}1{closing * depth}")


def _reordered(value: Any, random: Random) -> Any:
    if isinstance(value, list):
        return random.sample(value, len(value))
    return dict(reversed(value.items())) if isinstance(value, dict) else value


def _number(_: Any, random: Random) -> Any:
    if random.random() < 0.5:
        return random.choice(NUMBERS)
    return _Raw(random.choice(RAW_NUMBERS))


def _removed(kind: str, text: bytes, random: Random, _: Mapping[str, bytes]) -> Mutation:
    value = json.loads(text)
    paths = _places(value)[1:]
    if not paths:
        return Mutation(kind, b"")
    path = _place(paths, random)
    del _at(value, path[:-1])[path[-1]]
    return Mutation(kind, _written(value), _named(path))


def _swapped_id(kind: str, text: bytes, random: Random, others: Mapping[str, bytes]) -> Mutation:
    """Put the id of one thing in the place of another's, everywhere or once."""
    ids = [each for each in others if each.encode() in text] or ["alpha"]
    old = random.choice(ids)
    new = random.choice([each for each in (*others, "never-seen") if each != old])
    count = random.choice((1, -1))
    return Mutation(kind, text.replace(old.encode(), new.encode(), count), f"{old}: {new}")


def _doubled(kind: str, text: bytes, random: Random, _: Mapping[str, bytes]) -> Mutation:
    """Send a member twice, with two values."""
    value = json.loads(text)
    paths = [path for path in _places(value) if path and isinstance(path[-1], str)]
    if not paths:
        return Mutation(kind, text + text)
    path = random.choice(paths)
    member = f"{json.dumps(path[-1])}:"
    old = json.dumps(_at(value, path))
    inner = _put(value, path, _RAW)
    raw = f"{json.dumps(random.choice(TYPES))},{member}{old}"
    return Mutation(kind, _written(inner, raw), _named(path))


# --- Of the bytes -------------------------------------------------------------------------------


def _truncated(kind: str, text: bytes, random: Random, _: Mapping[str, bytes]) -> Mutation:
    end = random.randrange(len(text) + 1)
    return Mutation(kind, text[:end], f"byte {end}")


def _bytes(kind: str, text: bytes, random: Random, _: Mapping[str, bytes]) -> Mutation:
    at = random.randrange(len(text) + 1)
    junk = random.choice(
        (b"\xff", b"\x00", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"}", b"{", b",")
    )
    return Mutation(kind, text[:at] + junk + text[at:], f"byte {at}")


def _another(kind: str, _: bytes, random: Random, others: Mapping[str, bytes]) -> Mutation:
    """Give the whole answer to another question."""
    what = random.choice(tuple(others))
    return Mutation(kind, others[what], what)


KINDS: Final[Mapping[str, _Change]] = {
    "removed": _removed,
    "null": _of_value(lambda _, __: None),
    "type": _of_value(lambda _, random: random.choice(TYPES)),
    "value": _of_value(_other_value),
    "text": _of_value(lambda _, random: random.choice(TEXTS)),
    "number": _of_value(_number),
    "nested": _of_value(_nested),
    "reordered": _of_value(_reordered),
    "swapped id": _swapped_id,
    "doubled": _doubled,
    "truncated": _truncated,
    "bytes": _bytes,
    "another": _another,
}
