"""Resource names, and the reference by which a job is found again.

Performs no I/O.
"""

import json
import re
from typing import Final, Self

import attrs

from fireworks_batch.errors import ConfigurationError

__all__ = ["JobName", "JobRef", "check_id", "parse_job_name"]

# What could change the meaning of a path: separators, dot segments, a query, a custom verb
# (":cancel"), an escape, white space, control characters, and what UTF-8 cannot spell.
_UNSAFE: Final = re.compile(r"[/\\?#%:\s\x00-\x1f\x7f-\x9f\ud800-\udfff]|^\.{1,2}$")
_JOBS: Final = "batchInferenceJobs"
_REF_VERSION: Final = 1


def check_id(kind: str, value: object) -> str:
    """Return an id that is safe to put into a path.

    Args:
        kind: What the id names, for the error's text.
        value: The last segment of a resource name.

    Raises:
        ConfigurationError: It is no string, empty, or could change the meaning of the path.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{kind} must be a string, not {value!r}")
    if not value:
        raise ConfigurationError(f"{kind} is empty")
    if found := _UNSAFE.search(value):
        raise ConfigurationError(
            f"{kind} {value!r} cannot be used in a path because of {found[0]!r}; "
            "give the bare id, as in 'nightly-eval'"
        )
    return value


@attrs.frozen
class JobName:
    """Where a job is: its id, and its account where the caller said so."""

    account_id: str | None
    """The account's id; None if only the job's id was given."""

    job_id: str
    """The last segment of the resource name."""


def parse_job_name(value: object) -> JobName:
    """Read a job's id or its resource name.

    Args:
        value: ``"nightly-eval"`` or ``"accounts/acme/batchInferenceJobs/nightly-eval"``.

    Raises:
        ConfigurationError: It is neither.
    """
    if not isinstance(value, str) or "/" not in value:
        return JobName(None, check_id("job id", value))
    match value.split("/"):
        case ["accounts", account_id, segment, job_id] if segment == _JOBS:
            return JobName(check_id("account id", account_id), check_id("job id", job_id))
        case _:
            raise ConfigurationError(
                f"{value!r} is not the name of a batch inference job; "
                f"one looks like 'accounts/acme/{_JOBS}/nightly-eval' or just 'nightly-eval'"
            )


@attrs.frozen(repr=False)
class JobRef:
    """All that is needed to find a job again, in another process too; holds no secret.

    ``str()`` is the resource name.
    """

    account_id: str
    """The account's id."""

    job_id: str
    """The last segment of the job's resource name."""

    base_url: str
    """The API that the job lives on, without ``/v1``."""

    def __str__(self) -> str:
        return f"accounts/{self.account_id}/{_JOBS}/{self.job_id}"

    def __repr__(self) -> str:
        return f"<JobRef {str(self)!r} on {self.base_url}>"

    def to_json(self) -> str:
        """Return the reference as a JSON object on one line, with its version."""
        return json.dumps({"version": _REF_VERSION, **attrs.asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The JSON object.

        Raises:
            ConfigurationError: It is not such an object, or of a newer version.
        """
        try:
            members = json.loads(text)
        except (ValueError, TypeError, RecursionError) as exc:
            raise ConfigurationError(f"not a stored job reference: {exc}") from None
        if not isinstance(members, dict):
            raise ConfigurationError(f"not a stored job reference: {members!r}")
        if members.get("version") != _REF_VERSION:
            raise ConfigurationError(
                f"a job reference of version {members.get('version')!r} cannot be read here; "
                f"this release reads version {_REF_VERSION}"
            )
        return cls(
            account_id=check_id("account id", members.get("account_id")),
            job_id=check_id("job id", members.get("job_id")),
            base_url=_string("base_url", members.get("base_url")),
        )


def _string(member: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"a job reference needs its {member}, not {value!r}")
    return value
