"""Faults: which request is struck by which fault, and what a fault answers. Performs no I/O."""

import fnmatch
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from random import Random
from typing import Any, Final

import attrs
import orjson

from fireworks_batch.emulator.http.answers import Answer, answer_html, answer_json
from fireworks_batch.emulator.http.refusals import body_for_status
from fireworks_batch.emulator.members import (
    ControlError,
    read_choice,
    read_count,
    read_members,
    read_number,
    read_text,
)

ACTIONS: Final = (
    "status",
    "reset",
    "truncate",
    "garbage",
    "html",
    "hang",
    "drop_answer",
    "delay",
)
_DEFAULT_STATUS: Final = {"status": 503, "html": 502, "garbage": 200}
_DEFAULT_SECONDS: Final = {"delay": 0.5}
_DEFAULT_BYTES: Final = {"reset": 0}
_GARBAGE: Final = b'\x00\x01{"name": "accounts/\xff\xfe'
_METHOD: Final = re.compile(r"[A-Z]+")


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong, with which requests, and how often. `Emulator.add_fault` explains more."""

    action: str
    """What goes wrong, one of `ACTIONS`."""

    method: str | None = None
    """The HTTP method of the requests that match; None means every method."""

    path: str = "*"
    """A glob that the path of a request must match, without its query. ``*`` matches slashes."""

    times: int | None = 1
    """How often the fault strikes, 1 or more; None means without end."""

    after: int = 0
    """The number of matching requests that are spared first."""

    probability: float = 1.0
    """The probability that the fault strikes a matching request, from 0 to 1.

    Only a request that is struck counts toward ``times``.
    """

    status: int = 503
    """The HTTP status of ``status``, ``html`` and ``garbage``."""

    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Further headers of ``status``, ``html`` and ``garbage``."""

    body: bytes | None = None
    """The body of ``status``. None is the error object that the server sends for the status."""

    is_json: bool = True
    """Whether ``body`` is JSON."""

    bytes: int = 100
    """How many bytes of the answer's body ``truncate`` sends. At least one byte is missing.

    For ``reset``, how many bytes of the request's body are read first.
    """

    seconds: float | None = None
    """Real seconds that ``delay`` waits, and after which ``hang`` resets the connection.

    With None, ``hang`` never ends.
    """

    def answer(self) -> Answer:
        """Return the answer of ``status``, ``html`` or ``garbage``."""
        match self.action:
            case "html":
                answer = answer_html(self.status, _title(self.status))
            case "garbage":
                answer = Answer(self.status, _GARBAGE)
            case _ if self.body is not None:
                content_type = "application/json" if self.is_json else "text/plain; charset=utf-8"
                answer = Answer(self.status, self.body, content_type)
            case _:
                answer = answer_json(body_for_status(self.status), status=self.status)
        answer.headers = self.headers
        return answer


class _Standing:
    """A fault that was added, and how often it still strikes."""

    __slots__ = ("_left", "_matched", "_pattern", "fault")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._pattern = re.compile(fnmatch.translate(fault.path))
        self._matched = 0
        self._left = fault.times

    @property
    def is_spent(self) -> bool:
        return self._left == 0

    def strikes(self, method: str, path: str, random: Random) -> bool:
        fault = self.fault
        if fault.method not in {None, method} or not self._pattern.match(path):
            return False
        self._matched += 1
        if self._matched <= fault.after or random.random() >= fault.probability:
            return False
        if self._left is not None:
            self._left -= 1
        return True


class FaultBook:
    """Owns the faults that were added. The first fault that strikes counts."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(seed)
        self._standing: list[_Standing] = []

    def reset(self) -> None:
        """Remove all faults, and begin their random numbers anew."""
        self.clear()
        self._random = Random(self._seed)

    def add(self, fault: Fault) -> None:
        """Add a fault after all others."""
        self._standing.append(_Standing(fault))

    def clear(self) -> None:
        """Remove all faults."""
        self._standing.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """Return the fault that strikes a request; None if there is none."""
        for standing in self._standing:
            if standing.strikes(method, path, self._random):
                if standing.is_spent:
                    self._standing.remove(standing)
                return standing.fault
        return None


def read_fault(value: object) -> Fault:
    """Return a fault that is given as a mapping.

    A member that is null gets its default. ``times`` may be null.

    Raises:
        ControlError: A member is unknown or cannot be used.
    """
    members = read_members("", value, _READERS.keys() | {"times"})
    action = read_choice("action", members.get("action"), ACTIONS)
    given = {n: _READERS[n](v) for n, v in members.items() if v is not None and n in _READERS}
    if "times" in members:
        times = members["times"]
        given["times"] = None if times is None else read_count("times", times, least=1)
    given.setdefault("status", _DEFAULT_STATUS.get(action, 503))
    given.setdefault("seconds", _DEFAULT_SECONDS.get(action))
    given.setdefault("bytes", _DEFAULT_BYTES.get(action, 100))
    if members.get("body") is not None:
        given["body"], given["is_json"] = _read_body(members["body"])
    return Fault(**given)


def _title(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _read_method(value: object) -> str:
    text = read_text("method", value).upper()
    if not _METHOD.fullmatch(text):
        raise ControlError("method", value, "an HTTP method")
    return text


def _read_headers(value: object) -> Mapping[str, str]:
    members = value if isinstance(value, Mapping) else None
    if members is None:
        raise ControlError("headers", value, "an object")
    for name, text in members.items():
        is_text = isinstance(name, str) and isinstance(text, str)
        if not is_text or not name or any(mark in name + text for mark in "\r\n\0"):
            raise ControlError(f"headers.{name}", text, "a text without line breaks")
    return dict(members)


def _read_body(value: object) -> tuple[bytes, bool]:
    if isinstance(value, str):
        return value.encode(), False
    try:
        return orjson.dumps(value), True
    except orjson.JSONEncodeError:
        raise ControlError("body", value, "JSON or a text") from None


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "action": lambda value: value,
    "method": _read_method,
    "path": lambda value: read_text("path", value),
    "after": lambda value: read_count("after", value),
    "probability": lambda value: read_number("probability", value, most=1.0),
    "status": lambda value: read_count("status", value, least=200, most=599),
    "headers": _read_headers,
    "body": lambda value: value,
    "bytes": lambda value: read_count("bytes", value),
    "seconds": lambda value: read_number("seconds", value),
}
