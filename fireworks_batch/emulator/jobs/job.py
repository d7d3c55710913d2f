"""A job, and the resource that the server would show at any instant. Performs no I/O."""

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import attrs

from fireworks_batch.emulator.assumptions import Assumptions
from fireworks_batch.emulator.clock import SECOND, EmulatedClock, Instant, proto_duration
from fireworks_batch.emulator.jobs.course import (
    Course,
    Leg,
    Ticks,
    end,
    fail_validation,
    lay_out,
    leave,
)
from fireworks_batch.emulator.jobs.scripts import PREFIX, JobScript
from fireworks_batch.emulator.jobs.work import Counters, Work

_INT32: Final = 2**31 - 1
_INPUT_TOKENS: Final = 42
_OUTPUT_TOKENS: Final = 17
_CACHED_TOKENS: Final = 20
"""The tokens of one row, about as many as tiny jobs showed."""

TOMBSTONES: Final[Mapping[str, str]] = {"tombstone": "DELETED", "archived": "ARCHIVED"}
"""The state that a deleted job stays in, by the switch `deleted_job`."""

_CLEANING: Final = 60 * SECOND
_SHOWS_STATUS: Final = frozenset({"FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "PAUSED"})
_OK: Final = {"code": "OK", "message": ""}
_INVALID_INPUT: Final = {
    "code": "INVALID_ARGUMENT",
    "message": "Dataset has a syntax error: chat dataset validation failed on input.jsonl:2:"
    " invalid role pirate in message 0",
}
"""The status that one source saw live. The file name and the line are invented."""

_INTERNAL: Final = {"code": "INTERNAL", "message": "internal error"}
_EXPIRED: Final = {
    "code": "DEADLINE_EXCEEDED",
    "message": "the job expired before all of its requests were processed",
}
_NO_PLACEMENT: Final = {
    "multiRegion": "MULTI_REGION_UNSPECIFIED",
    "region": "REGION_UNSPECIFIED",
    "regions": [],
}


@attrs.frozen
class JobOrigin:
    """The facts of a job that never change after its creation."""

    account_id: str
    job_id: str
    sequence: int
    """The number of the job among all jobs, in the order of creation."""

    created: Instant
    nanoseconds: int
    """The last three digits of the times in the answer to the creation. A GET shows six digits."""

    members: Mapping[str, object]
    """The members that the client has set, by JSON name."""

    output_dataset_id: str

    @property
    def name(self) -> str:
        """The resource name of the job."""
        return f"accounts/{self.account_id}/batchInferenceJobs/{self.job_id}"


class Job:
    """A job, with its origin, its script, and the course of the script."""

    def __init__(
        self,
        origin: JobOrigin,
        script: JobScript,
        *,
        clock: EmulatedClock,
        tick: Instant,
        rules: Assumptions,
    ) -> None:
        self.origin = origin
        self.script: JobScript = script
        self.gone: Instant | None = None
        self.work: Work | None = None
        """The work on uploaded rows; None if the job only counts made-up rows."""

        self.owes_output: bool = False
        """Whether rows are to be made up for its output, when that is asked for."""

        self.parent: Job | None = None
        """The job that this job continues."""

        self._failure: Mapping[str, str] | None = None
        self._clock = clock
        self._ticks = Ticks(origin.created, tick)
        self._rules = rules
        self._begin = origin.created
        self._before: Course | None = None
        self._course = self._lay_out()
        self._constant = self._constant_members()
        self._view: dict[str, object] = {}
        self._view_until: float = -1

    @property
    def expire(self) -> Instant:
        """The instant at which the job expires."""
        return self.origin.created + self.script.time_limit

    def follow(self, script: JobScript, now: Instant, *, is_restarted: bool) -> None:
        """Follow another script. If *is_restarted*, its phases begin at *now*."""
        self.script = script
        if is_restarted:
            self._failure = None
            self._begin, self._before = now, self._course
        self._course = self._lay_out()
        self._constant = self._constant_members()
        self._view_until = -1

    def delete(self, now: Instant) -> None:
        """Begin the deletion of the job. It is done at a later tick."""
        is_slow = self._rules.deletion_time == "a_minute"
        self.gone = self._ticks.next(now + _CLEANING) if is_slow else self._ticks.after(now)
        tombstone = TOMBSTONES.get(self._rules.deleted_job)
        self._course = leave(self._course, now=now, gone=self.gone, tombstone=tombstone)
        self._view_until = -1

    def is_gone(self, now: Instant) -> bool:
        """Whether the deletion of the job is done."""
        return self.gone is not None and now >= self.gone

    def fail_validation(self, status: Mapping[str, str], now: Instant) -> None:
        """Make the job FAILED at the end of VALIDATING, because of its input."""
        self._course = fail_validation(self._course, now)
        self._failure = status
        self._view_until = -1

    def end_as(self, state: str, status: Mapping[str, str], now: Instant) -> None:
        """End the job in another state than its script says."""
        self._course = end(self._course, state, now)
        self._failure = status
        self._view_until = -1

    def is_over(self, now: Instant) -> bool:
        """Whether the job has ended, or is being deleted."""
        return self.gone is not None or self.has_ended(now)

    def has_ended(self, now: Instant) -> bool:
        """Whether the state of the job is terminal."""
        return self._leg(now).is_terminal

    def is_validated(self, now: Instant) -> bool:
        """Whether the job is past its validation, as its script says."""
        return self._course.validated(now) is not None

    def has_run(self, now: Instant) -> bool:
        """Whether the job was ever RUNNING."""
        return self._course.run_started(now) is not None

    def state(self, now: Instant) -> str:
        """Return the state of the job, without the prefix of the wire."""
        return self._leg(now).state

    def shown_since(self, now: Instant) -> Instant:
        """Return the instant since which the job shows its state."""
        return self._leg(now).shown_from

    def processed_share(self, now: Instant) -> float:
        """Return the share of the rows that is processed, in [0, 1]."""
        return self._course.processed_share(self._ticks.last(now))

    @property
    def parent_output(self) -> str | None:
        """The output dataset of the job that this job continues; None if there is none."""
        return None if self.parent is None else self.parent.origin.output_dataset_id

    @property
    def datasets(self) -> tuple[str, str]:
        """The resource names of the input and the output dataset."""
        return str(self.origin.members.get("inputDatasetId", "")), self.origin.output_dataset_id

    def show(self, now: Instant) -> Mapping[str, object]:
        """Return the resource that a GET at *now* shows. Do not change it."""
        if now >= self._view_until:
            self._view, self._view_until = self._render(now)
        return self._view

    def show_created(self) -> dict[str, object]:
        """Return the resource that the answer to the creation shows.

        Its times have nine digits, and its sub-messages are null.
        """
        shown = dict(self.show(self.origin.created))
        for name in ("createTime", "updateTime", "expireTime"):
            shown[name] = f"{str(shown[name])[:-1]}{self.origin.nanoseconds:03d}Z"
        return shown | {"jobProgress": None, "lifecycle": None, "placement": None}

    def _leg(self, now: Instant) -> Leg:
        return self._course.legs[self._course.leg(now)]

    def _lay_out(self) -> Course:
        return lay_out(
            self.script.phases,
            ticks=self._ticks,
            begin=self._begin,
            expire=self.expire,
            before=self._before,
            does_pending_expire=self._rules.pending_at_expiry == "expire",
        )

    def _constant_members(self) -> dict[str, object]:
        members, origin = self.origin.members, self.origin
        precision = members.get("precision", "PRECISION_UNSPECIFIED")
        is_unset = "maxJobDuration" not in members
        hides_duration = is_unset and self._rules.unset_max_duration == "null"
        return {
            "name": origin.name,
            "displayName": members.get("displayName", ""),
            "createTime": self._clock.timestamp(origin.created),
            "updateTime": None,
            "expireTime": self._clock.timestamp(self.expire),
            "createdBy": f"dev@{origin.account_id}.example",
            "state": "",
            "status": _OK,
            "model": members.get("model", ""),
            "inputDatasetId": members.get("inputDatasetId", ""),
            "outputDatasetId": origin.output_dataset_id,
            "inferenceParameters": members.get("inferenceParameters"),
            "precision": "BF16" if precision == "PRECISION_UNSPECIFIED" else precision,
            "jobProgress": None,
            "lifecycle": None,
            "placement": None,
            "maxJobDuration": None if hides_duration else proto_duration(self.script.time_limit),
            "continuedFromJobName": members.get("continuedFromJobName", ""),
            "systemPrompt": members.get("systemPrompt", ""),
            "waitingOnCapacity": False,
        }

    def _render(self, now: Instant) -> tuple[dict[str, object], float]:
        number = self._course.leg(now)
        leg, until = self._course.legs[number], self._course.until(number)
        changed = leg.shown_from
        if leg.state == "RUNNING":
            changed = max(changed, self._ticks.last(now))
            until = min(until, self._ticks.after(now))
        view = self._constant | {
            "updateTime": self._clock.timestamp(changed),
            "state": PREFIX + leg.state,
            "status": self._status(leg.state, now),
            "waitingOnCapacity": leg.waiting_on_capacity,
        }
        if leg.state == "VALIDATING" and self._is_untouched(now):
            until = min(until, self._ticks.after(now))
        else:
            view["jobProgress"] = self._progress(leg, now)
            view["lifecycle"] = self._lifecycle(now)
            view["placement"] = self._placement
        view.update(self.script.fields)
        return view, until

    def _is_untouched(self, now: Instant) -> bool:
        return self._ticks.last(now) == self.origin.created or not self._ticks.period

    def _status(self, state: str, now: Instant) -> Mapping[str, str]:
        if state not in _SHOWS_STATUS:
            return _OK
        if state == "FAILED" and self._failure is not None:
            return self._failure
        if self.script.status is not None:
            return self.script.status
        if state == "EXPIRED":
            return _EXPIRED if self._rules.expired_status == "DEADLINE_EXCEEDED" else _OK
        if state == "FAILED":
            return _INTERNAL if self._course.validated(now) is not None else _INVALID_INPUT
        return _OK

    def _progress(self, leg: Leg, now: Instant) -> dict[str, int] | None:
        progress = self._real_progress(leg, now)
        return falsify(progress, self._rules.ended_counters) if leg.is_terminal else progress

    def _real_progress(self, leg: Leg, now: Instant) -> dict[str, int]:
        started = self._course.run_started(now)
        is_early = leg.state == "RUNNING" and now - leg.shown_from < self._ticks.period
        is_first_run = started == leg.shown_from
        is_total_known = leg.state == "COMPLETED" or (
            started is not None and not (is_early and is_first_run)
        )
        if self.work is not None:
            return show_counters(self.work.counters, total=self.work.total if is_total_known else 0)
        return count_progress(
            rows=self.script.rows,
            failed_rows=self.script.failed_rows,
            share=self.processed_share(now),
            is_total_known=is_total_known,
        )

    def _lifecycle(self, now: Instant) -> dict[str, str | None]:
        return {
            "validatedTime": self._timestamp(self._course.validated(now)),
            "runStartTime": self._timestamp(self._course.run_started(now)),
            "endTime": self._timestamp(self._course.ended(now)),
        }

    def _timestamp(self, instant: Instant | None) -> str | None:
        return None if instant is None else self._clock.timestamp(instant)

    @cached_property
    def _placement(self) -> Mapping[str, object]:
        asked = self.origin.members.get("placement")
        return {**_NO_PLACEMENT, **asked} if isinstance(asked, Mapping) else _NO_PLACEMENT


def count_progress(
    *, rows: int, failed_rows: int, share: float, is_total_known: bool
) -> dict[str, int]:
    """Return ``jobProgress`` when a share of the rows is processed.

    Every counter grows with *share*, and never falls.

    Args:
        rows: The number of rows of the input.

        failed_rows: The number of rows that fail.

        share: The share of the rows that is processed, in [0, 1].

        is_total_known: Whether the total is shown. One source saw live that the total is 0 early in
            RUNNING.
    """
    processed = min(rows, int(rows * share + 1e-6))
    failed = processed * failed_rows // rows if rows else 0
    succeeded = processed - failed
    counters = Counters(
        succeeded=succeeded,
        failed=failed,
        input_tokens=succeeded * _INPUT_TOKENS,
        output_tokens=succeeded * _OUTPUT_TOKENS,
        cached_tokens=succeeded * _CACHED_TOKENS,
    )
    return show_counters(counters, total=rows if is_total_known else 0)


def falsify(progress: dict[str, int], rule: str) -> dict[str, int] | None:
    """Return the ``jobProgress`` of a job that has ended, by the switch ``ended_counters``."""
    factors = {"right": 1.0, "zero": 0.0, "stale": 0.5, "cumulative": 2.0}
    if rule == "null":
        return None
    return {
        name: value if name == "totalInputRequests" else int(value * factors[rule])
        for name, value in progress.items()
    } | {"percent": min(100, int(progress["percent"] * factors[rule]))}


def show_counters(counters: Counters, *, total: int) -> dict[str, int]:
    """Return ``jobProgress``.

    Args:
        counters: The numbers of processed rows and their tokens so far.

        total: The number of all rows; 0 while the job does not show this number.
    """
    return {
        "percent": min(100, counters.processed * 100 // total) if total else 0,
        "epoch": 0,
        "totalInputRequests": total,
        "totalProcessedRequests": counters.processed,
        "successfullyProcessedRequests": counters.succeeded,
        "failedRequests": counters.failed,
        "outputRows": counters.succeeded,
        "inputTokens": min(_INT32, counters.input_tokens),
        "outputTokens": min(_INT32, counters.output_tokens),
        "cachedInputTokenCount": min(_INT32, counters.cached_tokens),
    }
