"""What goes through JSON and comes back in another process, with its version. Performs no I/O."""

import json
from typing import Any

from fireworks_batch.errors import ConfigurationError

__all__ = ["read_stored", "write_stored"]


def write_stored(members: dict[str, Any], *, version: int) -> str:
    """Return members as a JSON object on one line, open enumerations as their names."""
    return json.dumps({"version": version, **members}, default=str)


def read_stored(text: str | bytes, what: str, *, version: int) -> dict[str, Any]:
    """Read what `write_stored` wrote.

    Args:
        text: The JSON object.
        what: What it should be, for the error's text: ``"job reference"``.
        version: The one that can be read.

    Raises:
        ConfigurationError: It is no JSON object, or of another version.
    """
    try:
        members = json.loads(text)
    except (ValueError, TypeError, RecursionError) as exc:
        raise ConfigurationError(f"not a stored {what}: {exc}") from None
    if not isinstance(members, dict):
        raise ConfigurationError(f"not a stored {what}: {members!r}")
    if members.get("version") != version:
        raise ConfigurationError(
            f"a {what} of version {members.get('version')!r} cannot be read here; "
            f"this release reads version {version}"
        )
    return members
