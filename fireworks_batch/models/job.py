"""A batch inference job as a frozen value, every field typed.

A field that the server leaves out, or sends as null, has its default. The default of a scalar is
proto3's zero. The default of a message, a time, a duration and an optional scalar is None.
Performs no I/O.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self, TypeAlias

import attrs

from fireworks_batch.models import html
from fireworks_batch.models.errors import (
    ConfigurationError,
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    JobNotFinishedError,
    JobOutcomeError,
    JobStoppedError,
    shown,
)
from fireworks_batch.models.names import JobRef, account_in
from fireworks_batch.models.states import (
    JobPhase,
    JobState,
    MultiRegion,
    OpenEnum,
    Precision,
    StatusCode,
)
from fireworks_batch.models.texts import moment
from fireworks_batch.models.validators import published

__all__ = [
    "BatchInferenceJob",
    "InferenceParameters",
    "JobLike",
    "JobProgress",
    "Lifecycle",
    "Placement",
    "Seconds",
    "Status",
    "job_details",
    "rows_text",
    "to_dict",
]


Seconds: TypeAlias = Annotated[float, "google.protobuf.Duration"]
"""A duration in seconds; on the wire it is a string such as ``"86400s"``."""


def _extra_body(value: str | Mapping[str, Any] | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigurationError(
            f"extra_body must be a mapping, or the JSON text of an object, not {shown(value)} "
            f"({exc})"
        ) from None


def _multi_region(value: MultiRegion | str) -> MultiRegion:
    return published("multi_region", MultiRegion, value)


def _regions(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    if isinstance(value, str):
        raise ConfigurationError(f"regions must be a list, as in [{value!r}], not {value!r}")
    return tuple(value)


@attrs.frozen(kw_only=True)
class Status:
    """The server's report of a resource's health; ``OK`` while nothing is wrong."""

    code: StatusCode = StatusCode.OK
    """The canonical code."""

    message: str = ""
    """A text for developers, in English."""


@attrs.frozen(kw_only=True)
class InferenceParameters:
    """Sampling defaults of the job's rows. None means that the server's default applies."""

    max_tokens: int | None = None
    """Most tokens to generate for a response. The server reduces a too large value (seen live)."""

    temperature: float | None = None
    """Sampling temperature, usually between 0 and 2."""

    top_p: float | None = None
    """Nucleus sampling, between 0 and 1."""

    n: int | None = None
    """Number of candidate responses for each row."""

    top_k: int | None = None
    """Number of the likeliest tokens to sample from."""

    extra_body: str | None = attrs.field(default=None, converter=_extra_body)
    """Further members of each row's request, as the JSON text of an object. A mapping is accepted,
    and stored as JSON text."""


@attrs.frozen(kw_only=True)
class JobProgress:
    """The server's ten counters. They change about once a minute (inferred from recorded times)."""

    percent: int = 0
    """The server's own percentage, from 0 to 100."""

    epoch: int = 0
    """Unused by batch inference jobs."""

    total_input_requests: int = 0
    """Rows declared when the input dataset was made; 0 early in RUNNING (seen live)."""

    total_processed_requests: int = 0
    """Rows processed, the failed ones included."""

    successfully_processed_requests: int = 0
    """Rows processed without an error."""

    failed_requests: int = 0
    """Rows that failed; a job with failed rows can be COMPLETED."""

    output_rows: int = 0
    """Rows written to the output dataset."""

    input_tokens: int = 0
    """Tokens read, the cached ones included (inferred)."""

    output_tokens: int = 0
    """Tokens generated."""

    cached_input_token_count: int = 0
    """Input tokens that came from the prompt cache."""

    @property
    def total(self) -> int:
        """The larger of ``total_input_requests`` and ``total_processed_requests``."""
        return max(self.total_input_requests, self.total_processed_requests)


@attrs.frozen(kw_only=True)
class Lifecycle:
    """When the job passed its milestones; None for a milestone that the job has not reached."""

    validated_time: datetime | None = None
    """The input passed validation."""

    run_start_time: datetime | None = None
    """The first row could be processed."""

    end_time: datetime | None = None
    """The job became COMPLETED, FAILED, EXPIRED or CANCELLED."""


@attrs.frozen(kw_only=True)
class Placement:
    """Where the job may run."""

    multi_region: MultiRegion = attrs.field(
        default=MultiRegion.UNSPECIFIED, converter=_multi_region
    )
    """A group of regions."""

    region: str = ""
    """One region, by the server's name."""

    regions: tuple[str, ...] = attrs.field(default=(), converter=_regions)
    """Several regions."""


@attrs.frozen(kw_only=True, repr=False)
class BatchInferenceJob:
    """A batch inference job, as the server described it at one moment."""

    name: str
    """The resource name, ``accounts/{account}/batchInferenceJobs/{id}``."""

    state: JobState = JobState.UNSPECIFIED
    """The state; see ``is_terminal``, ``is_success`` and ``may_have_results``."""

    display_name: str = ""
    """A name for people."""

    create_time: datetime | None = None
    """When the job was created, aware, in UTC."""

    update_time: datetime | None = None
    """When the record last changed, for any reason."""

    expire_time: datetime | None = None
    """When the job expires, about ``max_job_duration`` after its creation."""

    created_by: str = ""
    """The e-mail address of the creator."""

    status: Status | None = None
    """The server's report of the job's health; for a FAILED job, the reason."""

    model: str = ""
    """The model's resource name."""

    input_dataset_id: str = ""
    """The input dataset's resource name."""

    output_dataset_id: str = ""
    """The resource name of the dataset for results and errors. The server chooses the name if the
    request does not give it."""

    inference_parameters: InferenceParameters | None = None
    """Sampling defaults of all rows."""

    precision: Precision = Precision.UNSPECIFIED
    """The precision in which the model is served, as the server resolved it."""

    job_progress: JobProgress | None = None
    """The counters; None in the answer to the request that creates the job."""

    continued_from_job_name: str = ""
    """The resource name of the job whose unfinished rows this job runs; empty if there is none."""

    max_job_duration: Seconds | None = None
    """The job time limit asked for, in seconds; the server bounds it to 12 to 72 hours."""

    lifecycle: Lifecycle | None = None
    """When the job passed its milestones."""

    placement: Placement | None = None
    """Where the job may run."""

    system_prompt: str = ""
    """The system message of rows that do not begin with one."""

    waiting_on_capacity: bool = False
    """Whether the job is RUNNING, but waits for its machines."""

    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False)
    """Members of the answer that this release does not know, as they came."""

    @property
    def id(self) -> str:
        """The last segment of the resource name."""
        return self.name.rpartition("/")[2]

    @property
    def account_id(self) -> str:
        """The account in the resource name; empty if the name has another form."""
        return account_in(self.name)

    @property
    def is_terminal(self) -> bool:
        """Whether the state is terminal, which means that it never changes again."""
        return self.state.is_terminal

    @property
    def is_success(self) -> bool:
        """Whether the job is COMPLETED.

        A COMPLETED job can have failed rows: see ``job_progress.failed_requests``.
        """
        return self.state.is_success

    @property
    def may_have_results(self) -> bool:
        """Whether the output dataset may have rows to read.

        True for a job in a terminal state that names an output dataset, unless the job FAILED
        before a row was processed: the output dataset of a job that failed validation does not
        exist (seen live).
        """
        failed_early = self.state == JobState.FAILED and not self._rows_processed
        return self.is_terminal and bool(self.output_dataset_id) and not failed_early

    @property
    def has_token_counts(self) -> bool:
        """Whether ``job_progress`` says how many tokens the job has read and generated so far.

        False without ``job_progress``. False also if no tokens are counted although rows succeeded,
        or although the job is COMPLETED: then the counters are late.
        """
        progress = self.job_progress
        if progress is None:
            return False
        counts_nothing = not (progress.input_tokens or progress.output_tokens)
        # All rows of a COMPLETED job may have failed. Then it counts failed rows, and no tokens.
        is_late = self.is_success and not progress.failed_requests
        return not (counts_nothing and (progress.successfully_processed_requests or is_late))

    @property
    def duration(self) -> float | None:
        """Seconds from the job's creation to its end; None before the end, or without the times."""
        if self.create_time is None or not self.is_terminal:
            return None
        ended = (self.lifecycle and self.lifecycle.end_time) or self.update_time
        return (ended - self.create_time).total_seconds() if ended else None

    def raise_for_outcome(self) -> Self:
        """Return the job itself if it is COMPLETED.

        Raises:
            JobFailedError: The job FAILED; the text has the server's reason.
            JobCancelledError: The job was CANCELLED.
            JobExpiredError: The job's time limit passed.
            JobStoppedError: The job was stopped early, deleted or archived.
            JobNotFinishedError: The job has not ended.
        """
        if self.is_success:
            return self
        if not self.is_terminal:
            raise JobNotFinishedError(
                f"job {self.id!r} has not ended: it is {self.state}", job=self
            )
        error = _OUTCOMES.get(self.state, JobStoppedError)
        raise error(self._outcome_text(), job=self)

    @property
    def _rows_processed(self) -> int:
        progress = self.job_progress
        return max(progress.total_processed_requests, progress.output_rows) if progress else 0

    def _outcome_text(self) -> str:
        status = self.status or Status()
        said = f": {status.code}" if status != Status() else ""
        said += f": {status.message}" if status.message else ""
        kept = (
            f"; rows that were finished may be in {self.output_dataset_id}"
            if self.may_have_results
            else ""
        )
        return f"job {self.id!r} ended {self.state}{said}{kept}"

    def __repr__(self) -> str:
        progress = self.job_progress
        rows = f" {progress.total_processed_requests}/{progress.total} rows" if progress else ""
        failed = f", {progress.failed_requests} failed" if progress else ""
        return f"<BatchInferenceJob {self.id!r} {self.state}{rows}{failed}>"

    def _repr_html_(self) -> str:
        return html.facts("BatchInferenceJob", dict(job_details(self)))


_OUTCOMES: dict[JobState, type[JobOutcomeError]] = {
    JobState.FAILED: JobFailedError,
    JobState.CANCELLED: JobCancelledError,
    JobState.EXPIRED: JobExpiredError,
}


def to_dict(model: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a model or a snapshot as JSON-safe values under its snake_case names.

    Args:
        model: Any model of this library.

    Returns:
        A new dictionary. Times are RFC 3339 strings, members of enumerations are their bare names,
        tuples are lists, errors are their texts. The line of a `ResultRow` is a string.
    """
    members = attrs.asdict(model, value_serializer=_json_safe)
    return {field.alias: members[field.name] for field in attrs.fields(type(model))}


def _json_safe(_model: object, _field: object, value: Any) -> Any:
    match value:
        case OpenEnum() | JobPhase():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case tuple():
            return list(value)
        case bytes():
            return value.decode(errors="replace").rstrip("\r\n")
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case _:
            return value


# --- For people ---------------------------------------------------------------------------------


def job_details(job: BatchInferenceJob) -> Iterator[tuple[str, str]]:
    """Yield the members of a job that say something, each with its heading."""
    progress = job.job_progress or JobProgress()
    lifecycle = job.lifecycle
    yield "job", job.id
    yield from _if_any("display name", job.display_name)
    yield "state", f"{job.state}{' (waiting for capacity)' if job.waiting_on_capacity else ''}"
    if job.status is not None and job.status != Status():
        yield "status", f"{job.status.code}: {job.status.message}".removesuffix(": ")
    yield "rows", rows_text(progress)
    yield from _if_any("tokens", _tokens(progress))
    yield from _if_any("model", job.model)
    yield from _if_any("input", job.input_dataset_id)
    yield from _if_any("output", job.output_dataset_id)
    yield from _if_any("continues", job.continued_from_job_name)
    yield from _if_any("created", moment(job.create_time))
    yield from _if_any("expires", "" if job.is_terminal else moment(job.expire_time))
    yield from _if_any("ended", moment(lifecycle.end_time) if lifecycle else "")


def rows_text(progress: JobProgress) -> str:
    """Return the rows of a job in words: ``"97 ok, 3 failed of 100"``."""
    failed = f", {progress.failed_requests:,} failed" if progress.failed_requests else ""
    of_all = f" of {progress.total:,}" if progress.total else ""
    return f"{progress.successfully_processed_requests:,} ok{failed}{of_all}"


def _tokens(progress: JobProgress) -> str:
    if not (progress.input_tokens or progress.output_tokens):
        return ""
    cached = progress.cached_input_token_count
    return (
        f"{progress.input_tokens:,} in{f' ({cached:,} cached)' if cached else ''}, "
        f"{progress.output_tokens:,} out"
    )


def _if_any(heading: str, text: str) -> Iterator[tuple[str, str]]:
    if text:
        yield heading, text


JobLike: TypeAlias = str | JobRef | BatchInferenceJob
"""A job's id, its resource name, a reference to it, or the job as fetched before."""
