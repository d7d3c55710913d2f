"""Jobs and datasets as lines of text and as JSON objects. Performs no I/O."""

from datetime import datetime
from typing import Any

from fireworks_batch import BatchInferenceJob, Dataset, JobProgress, JobSnapshot, Status, to_dict
from fireworks_batch.cli.display.board import Outcome
from fireworks_batch.cli.display.figures import counted, percent, rate
from fireworks_batch.cli.durations import brief
from fireworks_batch.models.job import rows_text
from fireworks_batch.models.texts import moment, visible

__all__ = [
    "change_line",
    "change_record",
    "dataset_cells",
    "dataset_fields",
    "job_cells",
    "job_fields",
    "outcome_fields",
    "outcome_line",
    "outcome_record",
    "record",
]


def record(job: BatchInferenceJob | Dataset) -> dict[str, Any]:
    """Return a job, or a dataset, as a JSON object: its members, and its id first."""
    return {"id": job.id, **to_dict(job)}


def job_fields(job: BatchInferenceJob) -> tuple[object, ...]:
    """Return a job's columns: id, state, rows ok, rows failed, all rows, creation, model."""
    progress = job.job_progress or JobProgress()
    return (
        job.id,
        job.state,
        progress.successfully_processed_requests,
        progress.failed_requests,
        progress.total,
        moment(job.create_time),
        job.model,
    )


def job_cells(job: BatchInferenceJob) -> tuple[object, ...]:
    """Return a job's columns for people, with short times and names."""
    *others, _, _ = job_fields(job)
    return (*others, _day(job.create_time), job.model.rpartition("/")[2])


def dataset_fields(dataset: Dataset) -> tuple[object, ...]:
    """Return a dataset's columns: id, state, rows, creation."""
    return dataset.id, dataset.state, dataset.example_count, moment(dataset.create_time)


def dataset_cells(dataset: Dataset) -> tuple[object, ...]:
    """Return a dataset's columns for people, with short times."""
    return (*dataset_fields(dataset)[:-1], _day(dataset.create_time))


def _day(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"


# --- Following ----------------------------------------------------------------------------------


def change_line(snapshot: JobSnapshot) -> str:
    """Return a visible change as one plain line, with the time at which it was seen."""
    job = snapshot.job
    parts = [f"{snapshot.observed_at:%H:%M:%S}Z", visible(job.id), visible(str(job.state))]
    parts += [percent(snapshot.percent)] if snapshot.percent is not None else []
    if job.job_progress and job.job_progress.total:
        parts.append(f"({rows_text(job.job_progress)})")
    parts += [rate(snapshot.rate)] if snapshot.rate and not job.is_terminal else []
    parts += [f"{brief(snapshot.eta)} left"] if snapshot.eta else []
    parts += [f"after {counted(snapshot.failures, 'failed poll')}"] if snapshot.failures else []
    return " ".join(parts)


def change_record(snapshot: JobSnapshot) -> dict[str, Any]:
    """Return a snapshot as a JSON object, with the job as its last member."""
    members = to_dict(snapshot)
    job = members.pop("job")
    return {"event": "change", "id": snapshot.job.id, **members, "job": job}


def outcome_line(outcome: Outcome) -> str:
    """Return the outcome of a job in words."""
    job = outcome.job
    if job is None:
        return visible(outcome.job_id)
    parts = [visible(job.id), visible(str(job.state))]
    parts += [rows_text(job.job_progress)] if job.job_progress else []
    parts += [f"in {brief(job.duration)}"] if job.duration else []
    if job.status is not None and job.status != Status() and job.status.message:
        parts.append(visible(job.status.message))
    return "  ".join(parts)


def outcome_fields(outcome: Outcome) -> tuple[object, ...]:
    """Return the outcome of a job as columns: id, state, rows ok, rows failed, all rows."""
    return (outcome.job_id, "", 0, 0, 0) if outcome.job is None else job_fields(outcome.job)[:5]


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a job as a JSON object."""
    error = outcome.error
    return {
        "event": "end",
        "id": outcome.job_id,
        "state": None if outcome.job is None else str(outcome.job.state),
        "exit_code": int(outcome.code),
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "job": None if outcome.job is None else to_dict(outcome.job),
    }
