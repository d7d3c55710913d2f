"""Requests to create a job, refused where the server refuses them. Performs no I/O."""

import re
from collections.abc import Mapping
from typing import Final

import orjson

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.clock import SECOND, Instant
from fireworks_batch.emulator.http.messages import read_message
from fireworks_batch.emulator.http.refusals import RefusalError, invalid
from fireworks_batch.emulator.jobs.schema import JOB
from fireworks_batch.emulator.members import is_resource_id

_BARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DURATION: Final = re.compile(r"(-?\d+)(?:\.(\d{1,9}))?s")
_UNITS: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_FOREIGN_MODEL: Final = re.compile(r"accounts/(?!fireworks/)([^/]+)/.*")
_NAMES: Final = {
    "model": re.compile(r"accounts/[^/]+/(models|routers)/[^/]+"),
    "inputDatasetId": re.compile(r"accounts/[^/]+/datasets/[^/]+"),
    "outputDatasetId": re.compile(r"accounts/[^/]+/datasets/[^/]+"),
    "continuedFromJobName": re.compile(r"accounts/[^/]+/batchInferenceJobs/[^/]+"),
}
_COLLECTIONS: Final = {
    "model": "models",
    "inputDatasetId": "datasets",
    "outputDatasetId": "datasets",
    "continuedFromJobName": "batchInferenceJobs",
}
SHORTEST_TIME_LIMIT: Final = 12 * 3600 * SECOND
LONGEST_TIME_LIMIT: Final = 72 * 3600 * SECOND
DEFAULT_TIME_LIMIT: Final = 24 * 3600 * SECOND
"""The time limit of a job is 12 to 72 hours, and 24 by default. Documented."""


def check_job_id(text: str) -> None:
    """Check an id for a new job.

    Raises:
        RefusalError: The id breaks the documented rule (400).
    """
    if not is_resource_id(text):
        raise invalid(
            f"invalid batch_inference_job_id {text!r}: 1 to 63 lower-case letters, digits and"
            " hyphens, beginning with a letter and not ending with a hyphen"
        )


def read_create(body: bytes, account_id: str, rules: Assumptions) -> dict[str, object]:
    """Return the members that the client has set in the body of a create request.

    Raises:
        RefusalError: The server would refuse the request.
    """
    if rules.zero_data_retention != "no":
        raise RefusalError(
            "PERMISSION_DENIED" if rules.zero_data_retention == "403" else "FAILED_PRECONDITION",
            "the account's zero data retention policy does not allow batch inference jobs",
        )
    members = read_message(JOB, body)
    members = {name: value for name, value in members.items() if value != ""}
    for name in _NAMES:
        if name in members:
            members[name] = _read_name(name, str(members[name]), account_id, rules)
    if "continuedFromJobName" not in members:
        _require(members, "model", "inputDatasetId")
    _check_model(str(members.get("model", "")), account_id, rules)
    if "inferenceParameters" in members:
        members["inferenceParameters"] = _fill_parameters(members["inferenceParameters"], rules)
    return members


def read_time_limit(members: Mapping[str, object], rules: Assumptions) -> Instant:
    """Return the time limit of a new job.

    Raises:
        RefusalError: ``maxJobDuration`` is not a duration, or is refused as out of range (400).
    """
    text = members.get("maxJobDuration")
    if text is None:
        return DEFAULT_TIME_LIMIT
    found = _DURATION.fullmatch(_in_seconds(str(text), rules))
    if found is None:
        raise invalid(f"proto: invalid google.protobuf.Duration value {str(text)!r}")
    time_limit = int(found[1]) * SECOND + int((found[2] or "").ljust(6, "0")[:6])
    bounded = max(SHORTEST_TIME_LIMIT, min(time_limit, LONGEST_TIME_LIMIT))
    if time_limit != bounded and rules.max_duration_out_of_range == "reject":
        raise invalid(f"max_job_duration must be between 12h and 72h, not {text}")
    return bounded


def _in_seconds(text: str, rules: Assumptions) -> str:
    found = _UNITS.fullmatch(text) if rules.duration_spelling == "units" else None
    if found is None or not text:
        return text
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return f"{hours * 3600 + minutes * 60 + seconds}s"


def _check_model(model: str, account_id: str, rules: Assumptions) -> None:
    if rules.router_model == "refuse" and _is_router(model):
        raise RefusalError("NOT_FOUND", f"model not found: {model}")
    found = _FOREIGN_MODEL.fullmatch(model)
    if rules.foreign_model == "refuse" and found is not None and found[1] != account_id:
        raise RefusalError("NOT_FOUND", f"model not found: {model}")


def _is_router(model: str) -> bool:
    return "/routers/" in model


def stays_pending(members: Mapping[str, object], rules: Assumptions) -> bool:
    """Whether a new job stays PENDING, since its model cannot serve it."""
    return rules.router_model == "stay_pending" and _is_router(str(members.get("model", "")))


def _require(members: Mapping[str, object], *names: str) -> None:
    for name in names:
        if name not in members:
            raise invalid(f"error validating batch inference job: {name} is required")


def _read_name(field: str, text: str, account_id: str, rules: Assumptions) -> str:
    if _NAMES[field].fullmatch(text):
        return text
    if rules.bare_ids == "accept" and _BARE.fullmatch(text):
        return f"accounts/{account_id}/{_COLLECTIONS[field]}/{text}"
    raise invalid(f"invalid {field} {text!r}: a resource name is needed")


def _fill_parameters(parameters: object, rules: Assumptions) -> dict[str, object]:
    given: Mapping[str, object] = parameters if isinstance(parameters, Mapping) else {}
    filled = {**given, "extraBody": given.get("extraBody") or "{}"}
    if rules.invalid_extra_body == "reject" and not _is_json_object(str(filled["extraBody"])):
        raise invalid("invalid extra_body: it must be the JSON text of an object")
    return filled


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
