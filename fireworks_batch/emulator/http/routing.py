"""Find the endpoint for a method and a path; performs no I/O."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import attrs

from fireworks_batch.emulator.http.answers import Answer
from fireworks_batch.emulator.http.messages import snake_case
from fireworks_batch.emulator.http.refusals import RefusalError
from fireworks_batch.emulator.http.uploads import Upload

_PARAMETER: Final = re.compile(r"\\\{(\w+)\\\}")


@attrs.frozen
class Call:
    """One request on its way to an endpoint."""

    query: Mapping[str, str]
    body: bytes
    places: Mapping[str, str]
    """The parts of the path that the route left open."""

    host: str = ""
    """The emulator's host, as the client calls it."""

    upload: Upload | None = None
    """A body that was not read yet."""

    def parameter(self, name: str) -> str:
        """Give a query parameter by its JSON name or its proto name; "" if there is none."""
        value = self.query.get(name)
        return self.query.get(snake_case(name), "") if value is None else value


Endpoint: TypeAlias = Callable[[Call], Awaitable[Answer]]


class Router:
    """Owns the routes: path templates such as `/v1/accounts/{account}`, and their methods."""

    def __init__(self, *, wrong_method_status: int) -> None:
        self._wrong_method_status = wrong_method_status
        self._routes: dict[int, list[tuple[re.Pattern[str], dict[str, Endpoint]]]] = {}
        self._known: dict[str, dict[str, Endpoint]] = {}

    def add(self, method: str, template: str, endpoint: Endpoint) -> None:
        """Add a route; an open part takes what has neither slash nor colon."""
        if template not in self._known:
            pattern = re.compile(_PARAMETER.sub(r"(?P<\1>[^/:]+)", re.escape(template)))
            self._known[template] = {}
            routes = self._routes.setdefault(template.count("/"), [])
            routes.append((pattern, self._known[template]))
        self._known[template][method] = endpoint

    def find(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """Find the endpoint, and what the open parts are.

        Raises:
            RefusalError: No template has this path (404), or none with this method.
        """
        for pattern, endpoints in self._routes.get(path.count("/"), ()):
            found = pattern.fullmatch(path)
            if found is not None:
                return self._choose(endpoints, method), found.groupdict()
        raise RefusalError("NOT_FOUND", "Not Found")

    def _choose(self, endpoints: Mapping[str, Endpoint], method: str) -> Endpoint:
        if method not in endpoints:
            status = self._wrong_method_status
            raise RefusalError("UNIMPLEMENTED", "Method Not Allowed", status=status)
        return endpoints[method]
