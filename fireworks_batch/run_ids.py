"""The ids of a run's datasets and jobs, made of what they are: the same call finds the same jobs.

An id has a readable part, a digest of all that distinguishes the job, and a generation:
``nightly-2026-11-23-k3vq6ifzh2lsxb7mqtea-g0``. Performs no I/O.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from fireworks_batch.errors import ConfigurationError

__all__ = ["RunKey", "check_run_name", "generation", "generation_of"]

# The server's rule; at most 63 characters in all.
_LONGEST: Final = 63
_DIGEST: Final = 20
_GENERATION: Final = len("-g99999")
_LONGEST_PREFIX: Final = _LONGEST - _DIGEST - 1 - _GENERATION
_DEFAULT_PREFIX: Final = "batch"
_LONGEST_NAME: Final = 500
# Changed whenever the same job would get another id, so that nobody is surprised in silence.
_SCHEME: Final = "fireworks-batch run 1"


@attrs.frozen(kw_only=True)
class RunKey:
    """All that distinguishes a job from another, but its content."""

    account_id: str
    """The account's id."""

    model: str
    """The model's resource name."""

    parameters: Mapping[str, Any]
    """The rest of what is sent to create the job, as the wire spells it."""

    name: str = ""
    """The run's key, chosen by the caller: the same input under another name is another job."""

    attempt: int = 0
    """0 for the rows as they were given, n for those that are sent again for the nth time."""

    def base(self, content: str) -> str:
        """Return the id of a job, and of its dataset, without the generation.

        Args:
            content: The digest of its input.
        """
        ingredients = [
            _SCHEME,
            self.account_id,
            self.model,
            _canonical(self.parameters),
            self.name,
            self.attempt,
            content,
        ]
        text = json.dumps(ingredients, ensure_ascii=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).digest()
        return f"{_prefix(self.name)}-{base64.b32encode(digest).decode()[:_DIGEST].lower()}"


def generation(base: str, number: int) -> str:
    """Return the id of one generation.

    Args:
        base: What `RunKey.base` returned.
        number: 0 for the first.
    """
    return f"{base}-g{number}"


def generation_of(job_id: str) -> int:
    """Return the number that `generation` put into an id.

    Args:
        job_id: The id.
    """
    return int(job_id.rpartition("-g")[2])


def check_run_name(name: object) -> str:
    """Return the name of a run; an empty one if there is none.

    Raises:
        ConfigurationError: It is no string, too long, or cannot be written in UTF-8.
    """
    if name is None:
        return ""
    if not isinstance(name, str):
        raise ConfigurationError(f"name must be a string or None, not {name!r}")
    if not name.strip() or len(name) > _LONGEST_NAME or re.search(r"[\ud800-\udfff]", name):
        raise ConfigurationError(
            f"name must have 1 to {_LONGEST_NAME} characters that can be written, "
            f"as in 'nightly-2026-11-23', not {name[:80]!r}"
        )
    return name


def _prefix(name: str) -> str:
    """Return what can be read of a name in an id: a letter first, no hyphen last."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if words and not words[0].isalpha():
        words = f"{_DEFAULT_PREFIX}-{words}"
    return words[:_LONGEST_PREFIX].rstrip("-") or _DEFAULT_PREFIX


def _canonical(value: Any) -> str:
    """Return JSON that is the same for equal values, whatever made them and in which order."""
    return json.dumps(_plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _plain(value: Any, key: str = "") -> Any:
    """Read the JSON inside the JSON: ``extraBody`` is a string of it."""
    if isinstance(value, Mapping):
        return {name: _plain(member, name) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if key == "extraBody" and isinstance(value, str):
        return _read(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _read(text: str) -> Any:
    try:
        return _plain(json.loads(text))
    except ValueError:
        return text
