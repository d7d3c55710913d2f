"""Ids and resource names, and the reference by which a program finds a job again.

Performs no I/O.
"""

import json
import re
from typing import Any, Final, Self

import attrs

from fireworks_batch.models.errors import ConfigurationError, ResponseDecodeError, shown
from fireworks_batch.models.texts import did_you_mean

__all__ = [
    "DatasetName",
    "JobName",
    "JobRef",
    "account_in",
    "check_id",
    "check_new_id",
    "dataset_name",
    "job_name",
    "model_name",
    "parse_dataset_name",
    "parse_job_name",
    "read_stored",
    "refuse_another",
    "write_stored",
]


def write_stored(members: dict[str, Any], *, version: int) -> str:
    """Return members as a JSON object on one line, open enumerations as their names."""
    return json.dumps({"version": version, **members}, default=str)


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError) and not error.doc.strip():
        return "there is no text"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}"
    return str(error)


def read_stored(text: str | bytes, what: str, *, version: int) -> dict[str, Any]:
    """Read what `write_stored` wrote.

    Args:
        text: The JSON object.
        what: What was stored, for the error's text: ``"job reference"``.
        version: The version that this release reads.

    Raises:
        ConfigurationError: The text is not a JSON object, or has another version.
    """
    try:
        members = json.loads(text)
    except (ValueError, TypeError, RecursionError) as exc:
        raise ConfigurationError(f"not a stored {what}: {_why_unreadable(exc)}") from None
    if not isinstance(members, dict):
        raise ConfigurationError(
            f"not a stored {what}: expected a JSON object, not {shown(members)}"
        )
    if members.get("version") != version:
        raise ConfigurationError(
            f"a {what} of version {members.get('version')!r} cannot be read here; "
            f"this release reads version {version}"
        )
    return members


# What could change the meaning of a path: separators, dot segments, a query, a custom verb
# (":cancel"), an escape, white space, control characters, and lone surrogates.
_UNSAFE: Final = re.compile(r"[/\\?#%:\s\x00-\x1f\x7f-\x9f\ud800-\udfff]|^\.{1,2}$")


# The server's own rule for ids (documented).
_ID: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII).fullmatch


_JOBS: Final = "batchInferenceJobs"


_DATASETS: Final = "datasets"


_REF_VERSION: Final = 1


def check_id(kind: str, value: object) -> str:
    """Return an id if it is safe in the path of a URL.

    Args:
        kind: What the id names, for the error's text: ``"job id"``.
        value: The last segment of a resource name.

    Raises:
        ConfigurationError: The id is not a string, is empty, or could change the meaning of a path.
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


def check_new_id(kind: str, value: object) -> str:
    """Return an id if the server accepts it for a new resource.

    Args:
        kind: What the id names, for the error's text: ``"job id"``.
        value: The id.

    Raises:
        ConfigurationError: The id is not 1 to 63 characters of a-z, 0-9 and hyphen, with a letter
            first and no hyphen last.
    """
    if isinstance(value, str) and _ID(value):
        return value
    raise ConfigurationError(
        f"{kind} {value!r} cannot be given to a new resource: ids have 1 to 63 characters of a-z, "
        "0-9 and '-', with a letter first and no '-' last, as in 'nightly-eval'"
    )


@attrs.frozen
class JobName:
    """A job's id, and its account if the caller named one."""

    account_id: str | None
    """The account's id; None if only the job's id was given."""

    job_id: str
    """The last segment of the resource name."""


@attrs.frozen
class DatasetName:
    """A dataset's id, and its account if the caller named one."""

    account_id: str | None
    """The account's id; None if only the dataset's id was given."""

    dataset_id: str
    """The last segment of the resource name."""


def parse_job_name(value: object) -> JobName:
    """Read a job's id or its resource name.

    Args:
        value: ``"nightly-eval"`` or ``"accounts/acme/batchInferenceJobs/nightly-eval"``.

    Raises:
        ConfigurationError: The value is neither an id nor a job's resource name.
    """
    return JobName(*_parse(value, _JOBS, "job id", "a batch inference job", "nightly-eval"))


def parse_dataset_name(value: object) -> DatasetName:
    """Read a dataset's id or its resource name.

    Args:
        value: ``"reviews"`` or ``"accounts/acme/datasets/reviews"``.

    Raises:
        ConfigurationError: The value is neither an id nor a dataset's resource name.
    """
    return DatasetName(*_parse(value, _DATASETS, "dataset id", "a dataset", "reviews"))


def _parse(
    value: object, collection: str, kind: str, what: str, example: str
) -> tuple[str | None, str]:
    if not isinstance(value, str) or "/" not in value:
        return None, check_id(kind, value)
    match value.split("/"):
        case ["accounts", account_id, segment, resource_id] if segment == collection:
            return check_id("account id", account_id), check_id(kind, resource_id)
        case _:
            raise ConfigurationError(
                f"{value!r} is not the name of {what}; "
                f"one looks like 'accounts/acme/{collection}/{example}' or just {example!r}"
                f"{_meant(value, collection)}"
            )


def _meant(value: str, *collections: str) -> str:
    """Return the end of an error about a resource name that is nearly right; it may be empty."""
    *_, account_id, segment, resource_id = ["", "", *value.strip("/ ").split("/")]
    return did_you_mean(
        value,
        [
            f"accounts/{account_id}/{collection}/{resource_id}"
            for collection in collections
            if account_id and did_you_mean(segment, [collection])
        ],
    )


def job_name(account_id: str, job_id: str) -> str:
    """Return a job's resource name."""
    return f"accounts/{account_id}/{_JOBS}/{job_id}"


def dataset_name(account_id: str, dataset_id: str) -> str:
    """Return a dataset's resource name."""
    return f"accounts/{account_id}/{_DATASETS}/{dataset_id}"


def account_in(name: str) -> str:
    """Return the account in a resource name; empty if the name has another form."""
    match name.split("/"):
        case ["accounts", account_id, _, _]:
            return account_id
        case _:
            return ""


def model_name(value: object) -> str:
    """Return a model's resource name; for the name of a deployed model, the name of its model.

    Args:
        value: ``"accounts/fireworks/models/demo-8b"``, or the name of a router, as in
            ``"accounts/fireworks/routers/fast"``. The name of a router is returned unchanged. A
            bare id is refused, because the vendor and the account can have models of the same id.
            The server accepts a job whose model does not exist; such a job stays PENDING.

    Raises:
        ConfigurationError: The value is not the name of a model or of a router.
    """
    match value.split("/") if isinstance(value, str) else None:
        case ["accounts", account_id, "models" | "deployedModels", model_id]:
            account, model = check_id("account id", account_id), check_id("model id", model_id)
            return f"accounts/{account}/models/{model}"
        case ["accounts", account_id, "routers", router_id]:
            account, router = check_id("account id", account_id), check_id("router id", router_id)
            return f"accounts/{account}/routers/{router}"
        case [str(model_id)]:
            raise ConfigurationError(
                f"model {model_id!r} has no account: say 'accounts/fireworks/models/{model_id}' "
                f"for the vendor's, or 'accounts/YOUR-ACCOUNT/models/{model_id}' for your own"
            )
        case _:
            meant = _meant(value, "models", "routers") if isinstance(value, str) else ""
            raise ConfigurationError(
                f"{shown(value)} is not the name of a model; one looks like "
                f"'accounts/fireworks/models/demo-8b'{meant}"
            )


def _is_id(_ref: object, attribute: "attrs.Attribute[str]", value: object) -> None:
    check_id(attribute.name.replace("_", " "), value)


def _is_text(_ref: object, attribute: "attrs.Attribute[str]", value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"{attribute.name} of a JobRef must be a string that is not empty, not {shown(value)}"
        )


@attrs.frozen(repr=False)
class JobRef:
    """What a program needs to find a job again, also in another process; holds no secret.

    ``str()`` is the resource name.

    Raises:
        ConfigurationError: An id is not a string, is empty, or could change the meaning of a path.
            Or ``base_url`` is not a string, or is empty.
    """

    account_id: str = attrs.field(validator=_is_id)
    """The account's id."""

    job_id: str = attrs.field(validator=_is_id)
    """The last segment of the job's resource name."""

    base_url: str = attrs.field(validator=_is_text)
    """The base URL of the API that has the job, without ``/v1``."""

    def __str__(self) -> str:
        return job_name(self.account_id, self.job_id)

    def __repr__(self) -> str:
        return f"<JobRef {str(self)!r} on {self.base_url}>"

    def to_json(self) -> str:
        """Return the reference as a JSON object on one line, with its version."""
        return write_stored(attrs.asdict(self), version=_REF_VERSION)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The JSON object.

        Raises:
            ConfigurationError: The text is not a stored reference, or has another version.
        """
        members = read_stored(text, "job reference", version=_REF_VERSION)
        stored: Any = {name: members.get(name) for name in ("account_id", "job_id", "base_url")}
        return cls(**stored)


def refuse_another(kind: str, name: str, asked: str) -> None:
    """Refuse an answer that shows a job or a dataset other than the requested one.

    Only the ids are compared, because an account may have two names.

    Args:
        kind: ``"job"`` or ``"dataset"``, for the error's text.
        name: The resource name in the answer.
        asked: The id that was asked for.

    Raises:
        ResponseDecodeError: The ids differ.
    """
    if name.rpartition("/")[2] != asked:
        problem = f"name: expected that of {kind} {asked!r}, not {shown(name)}"
        raise ResponseDecodeError(f"the answer shows another {kind}: {problem}", problems=[problem])
