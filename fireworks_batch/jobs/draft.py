"""A job that is to be created, and how it is compared with an existing job.

Performs no I/O.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import orjson

from fireworks_batch.models.dataset import Dataset
from fireworks_batch.models.errors import ConfigurationError, shown
from fireworks_batch.models.job import BatchInferenceJob, InferenceParameters, Placement
from fireworks_batch.models.names import (
    JobName,
    check_new_id,
    dataset_name,
    job_name,
    model_name,
    parse_dataset_name,
    parse_job_name,
)
from fireworks_batch.models.states import Precision
from fireworks_batch.models.texts import did_you_mean
from fireworks_batch.models.validators import is_finite, published

__all__ = ["differences", "draft_job", "sampling_defaults"]


# The API's whole numbers have 32 bits (documented).
_INT32: Final = 2**31

# The server bounds max_job_duration to these values (documented). Whether the server clamps or
# refuses another value is not documented: here another value is refused.
_SHORTEST_DURATION: Final = 12 * 3600.0


_LONGEST_DURATION: Final = 72 * 3600.0


# --- Drafting -----------------------------------------------------------------------------------


def draft_job(
    account_id: str,
    job_id: str,
    *,
    model: str | None = None,
    input_dataset: str | Dataset | None = None,
    output_dataset: str | Dataset | None = None,
    inference_parameters: InferenceParameters | Mapping[str, Any] | None = None,
    display_name: str | None = None,
    precision: Precision | str | None = None,
    continued_from: JobName | None = None,
    max_job_duration: float | None = None,
    system_prompt: str | None = None,
    placement: Placement | Mapping[str, Any] | None = None,
) -> BatchInferenceJob:
    """Return the job that is to be created, with full resource names; the server adds the others.

    Args:
        account_id: The account of the job, and of datasets that are given as bare ids.
        job_id: The id of the job, by the server's rule for new ids.
        model: The model's resource name.
        input_dataset: The dataset with the requests: id, resource name, or a dataset.
        output_dataset: The dataset for the results: id, resource name, or a dataset.
        inference_parameters: Sampling defaults; a mapping has snake_case names.
        display_name: A name for people.
        precision: The precision to serve the model with.
        continued_from: The job whose unfinished rows the new job runs.
        max_job_duration: The job time limit in seconds, 12 to 72 hours.
        system_prompt: A system message for rows that do not begin with one.
        placement: Where the job may run; a mapping has snake_case names.

    Raises:
        ConfigurationError: A value is malformed, or a required value is missing.
    """
    if continued_from is None and not (model and input_dataset):
        missing = "input_dataset" if model else "model"
        raise ConfigurationError(
            f"a job needs {missing}=, unless continued_from= names a job to continue"
        )
    return BatchInferenceJob(
        name=job_name(account_id, check_new_id("job id", job_id)),
        model=model_name(model) if model else "",
        input_dataset_id=_dataset(account_id, input_dataset) if input_dataset else "",
        output_dataset_id=_dataset(account_id, output_dataset) if output_dataset else "",
        inference_parameters=sampling_defaults(inference_parameters),
        display_name=_text("display_name", display_name),
        precision=_precision(precision),
        continued_from_job_name=_continued(account_id, continued_from),
        max_job_duration=_duration(max_job_duration),
        system_prompt=_text("system_prompt", system_prompt),
        placement=_message("placement", placement, Placement),
    )


def _dataset(account_id: str, value: object) -> str:
    name = parse_dataset_name(value.name if isinstance(value, Dataset) else value)
    return dataset_name(name.account_id or account_id, name.dataset_id)


def _continued(account_id: str, name: JobName | None) -> str:
    return job_name(name.account_id or account_id, name.job_id) if name is not None else ""


def _job(account_id: str, value: object) -> str:
    name = parse_job_name(value)
    return job_name(name.account_id or account_id, name.job_id)


def _text(name: str, value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise ConfigurationError(f"{name} must be a string, not {shown(value)}")


def _duration(value: Any) -> float | None:
    if value is None:
        return None
    if is_finite(value) and _SHORTEST_DURATION <= value <= _LONGEST_DURATION:
        return float(value)
    raise ConfigurationError(
        f"max_job_duration must be a number of seconds from {_SHORTEST_DURATION:g} (12 hours) to "
        f"{_LONGEST_DURATION:g} (72 hours), not {shown(value)}"
    )


def _precision(value: Precision | str | None) -> Precision:
    if not value:
        return Precision.UNSPECIFIED
    return published("precision", Precision, value)


def _message(name: str, value: object, cls: type[Any]) -> Any:
    if value is None or isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{name} must be a mapping, or an instance of {cls.__name__}, not {shown(value)}"
        )
    known = attrs.fields_dict(cls)
    for member in value:
        if member not in known:
            raise ConfigurationError(
                f"{name} has no member {shown(member)}; its members are {', '.join(known)}"
                f"{did_you_mean(member, known)}"
            )
    try:
        return cls(**value)
    except TypeError as exc:
        raise ConfigurationError(f"{name} cannot be {shown(value)}: {exc}") from None


def sampling_defaults(value: object) -> InferenceParameters | None:
    """Return the sampling defaults of a job's rows; None for none.

    Args:
        value: The defaults, a mapping with snake_case names, or None.

    Raises:
        ConfigurationError: A value is malformed.
    """
    parameters: InferenceParameters | None = _message(
        "inference_parameters", value, InferenceParameters
    )
    if parameters is None:
        return None
    for name in ("temperature", "top_p"):
        number = getattr(parameters, name)
        if isinstance(number, float) and not math.isfinite(number):
            # JSON has no such number. Null would be sent, which means that no value is given.
            raise ConfigurationError(
                f"inference_parameters.{name} must be a finite number, not {number!r}"
            )
    for name in ("max_tokens", "n", "top_k"):
        number = getattr(parameters, name)
        if isinstance(number, int) and not -_INT32 <= number < _INT32:
            raise ConfigurationError(
                f"inference_parameters.{name} must be a number of 32 bits, from {-_INT32} to "
                f"{_INT32 - 1}, not {shown(number)}"
            )
    if parameters.extra_body is not None:
        _check_extra_body(parameters.extra_body)
    return parameters


def _check_extra_body(text: object) -> None:
    try:
        is_object = isinstance(text, str) and isinstance(orjson.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise ConfigurationError(
            f"extra_body must be a mapping, or the JSON text of an object, not {shown(text)}"
        )


# --- Comparing ----------------------------------------------------------------------------------


def differences(draft: BatchInferenceJob, found: BatchInferenceJob) -> tuple[str, ...]:
    """Return how an existing job of a draft's id differs from the draft; empty if it does not.

    Only members that the draft sets are compared, in the form in which the server stores them.
    Names are compared as resource names, floats as 32 bits, and ``extra_body`` as parsed JSON. The
    placement is not compared if the existing job shows none: a new job shows no placement at first
    (seen live).

    Args:
        draft: The job that was to be created.
        found: The existing job.

    Returns:
        One text for each member that differs, in the order of the model's fields.
    """
    return tuple(
        f"{name} is {shown(there)}, not {shown(sent)}"
        for name, sent in _said(draft)
        if not _is_same(name, sent, there := _member(found, name), draft.account_id)
        and not (found.placement is None and name.startswith("placement."))
    )


_INPUT_FIELDS: Final = (
    "display_name",
    "model",
    "input_dataset_id",
    "output_dataset_id",
    "inference_parameters",
    "precision",
    "continued_from_job_name",
    "max_job_duration",
    "placement",
    "system_prompt",
)


_INSIDE: Final[dict[str, type[Any]]] = {
    "inference_parameters": InferenceParameters,
    "placement": Placement,
}


def _said(draft: BatchInferenceJob) -> list[tuple[str, Any]]:
    """List the members that a draft sets, each with its path and its value."""
    said: list[tuple[str, Any]] = []
    for name in _INPUT_FIELDS:
        value = getattr(draft, name)
        if name in _INSIDE and value is not None:
            said += [(f"{name}.{inner}", each) for inner, each in _set_members(value)]
        elif name not in _INSIDE and value not in {None, "", Precision.UNSPECIFIED}:
            said.append((name, value))
    return said


def _set_members(message: Any) -> list[tuple[str, Any]]:
    fields = attrs.fields(type(message))
    values = [(field, getattr(message, field.name)) for field in fields]
    return [(field.name, value) for field, value in values if value != field.default]


def _member(job: BatchInferenceJob, path: str) -> Any:
    value: Any = job
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _is_same(path: str, sent: Any, found: Any, account_id: str) -> bool:
    normal = _NORMAL.get(path)
    try:
        if normal is not None:
            return bool(normal(sent, account_id) == normal(found, account_id))
    except (ConfigurationError, ValueError, TypeError):
        return False
    return bool(_as_float32(sent) == _as_float32(found))


def _as_float32(value: Any) -> Any:
    """Return a float as the server returns it, in 32 bits; any other value unchanged."""
    if not isinstance(value, float):
        return value
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except (struct.error, OverflowError):
        return value


def _strict(value: Any) -> Any:
    """Return a JSON value in which true does not equal 1, as it does in Python."""
    match value:
        case bool():
            return (value,)
        case list():
            return [_strict(each) for each in value]
        case dict():
            return {name: _strict(each) for name, each in value.items()}
        case _:
            return value


_NORMAL: Final[dict[str, Callable[[Any, str], Any]]] = {
    "model": lambda value, _: model_name(value),
    "input_dataset_id": lambda value, account: _dataset(account, value),
    "output_dataset_id": lambda value, account: _dataset(account, value),
    "continued_from_job_name": lambda value, account: _job(account, value),
    # The server fills in an object without members (seen live).
    "inference_parameters.extra_body": lambda value, _: _strict(json.loads(value or "{}")),
}
