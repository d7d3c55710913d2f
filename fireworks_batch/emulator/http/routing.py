"""The routes from a method and a path to an endpoint. Performs no I/O."""

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
    """The variable parts of the path, by their names in the route."""

    host: str = ""
    """The host in the request."""

    upload: Upload | None = None
    """The body, if it was not read yet."""

    def parameter(self, name: str) -> str:
        """Return a query parameter by its camelCase or snake_case name; "" if it is not given."""
        value = self.query.get(name)
        return self.query.get(snake_case(name), "") if value is None else value


Endpoint: TypeAlias = Callable[[Call], Awaitable[Answer]]


class Router:
    """Owns the routes, which are path templates like ``/v1/accounts/{account}`` with methods."""

    def __init__(self, *, wrong_method_status: int) -> None:
        self._wrong_method_status = wrong_method_status
        self._routes: dict[int, list[tuple[re.Pattern[str], dict[str, Endpoint]]]] = {}
        self._known: dict[str, dict[str, Endpoint]] = {}

    def add(self, method: str, template: str, endpoint: Endpoint) -> None:
        """Add a route. A variable part of its path matches any text without slash and colon."""
        if template not in self._known:
            pattern = re.compile(_PARAMETER.sub(r"(?P<\1>[^/:]+)", re.escape(template)))
            self._known[template] = {}
            routes = self._routes.setdefault(template.count("/"), [])
            routes.append((pattern, self._known[template]))
        self._known[template][method] = endpoint

    def find(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """Return the endpoint, and the values of the variable parts.

        Raises:
            RefusalError: No route has the path (404), or the path has no such method.
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
