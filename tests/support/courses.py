"""Random courses of runs: callers, people and a server that misbehave, and what must be true then.

A course is drawn from a seed: the rows and what becomes of each, the ends of the jobs, how late
their outputs are, the switches of the emulator, and acts one after the other: calls of `run`, or of
`submit` and `collect`, that end, are cancelled, or meet faults; two calls at once; jobs and outputs
that a person deletes. Then comes a last call, and the identical call once more. All of it takes
place in virtual time, in one process, and in the same order each time.

`Witness` sits in the emulator, sees each job at its creation and each row as it is answered, and
holds them against the rules of a run, which are written here anew and not taken from the library:

1. Each id is exactly once in the result, and the report adds up.
2. No row that an attempt has answered is run again, as long as that attempt is there. Answers of
   an attempt whose output answers 404 may be given up: with `on_previous="new"`, and a warning.
3. A job is made for a reason: there is none of these rows; or the newest one is COMPLETED, EXPIRED
   or EARLY_STOPPED, and `retry_rows` allows one more, of retryable and missing rows; or the newest
   one ended badly, and the caller says "new", once for each call.
4. No answer that can be read is absent from the result, and none is lost from the output file.
5. The identical call makes no job, unless an attempt became settled since, or by "new".
6. No temporary file is left, and the key is nowhere.
7. Where rows can be run again, and may be, they are.
"""

import asyncio
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import aiohttp
import attrs
from virtual_loop import VirtualLoop

from fireworks_batch import (
    BatchClient,
    DatasetConflictError,
    FireworksBatchError,
    JobConflictError,
    Limits,
    PollPolicy,
    RetryPolicy,
    Submission,
)
from fireworks_batch.emulator import Assumptions, Emulator, RowFailureError

MODEL = "accounts/fireworks/models/demo-8b"
KEY = "fw_this_key_must_be_nowhere"
RESULTS, ERRORS = "BIJOutputSet.jsonl", "error-data"
FILES = ("requests.jsonl", "again.jsonl", "packed.jsonl.gz")
GRACE = 30.0
POLL = PollPolicy(
    initial_interval=3.0,
    min_interval=1.0,
    max_interval=12.0,
    growth=2.0,
    jitter=0.0,
    failure_budget=600.0,
    not_found_grace=GRACE,
)
RETRY = RetryPolicy(max_attempts=5, initial_delay=0.5, max_delay=4.0, jitter=0.0)
EPOCH = datetime(2026, 9, 14, 9, 0, tzinfo=UTC)
RETRYABLE = (500, 503, 429)
ORDERLY = ("COMPLETED", "EXPIRED", "EARLY_STOPPED")
BAD_ENDS = ("FAILED", "CANCELLED", "EXPIRED", "EARLY_STOPPED", "DELETED", "ARCHIVED")
CAN_FORK = hasattr(os, "fork")
QUICK = [{"state": "RUNNING", "seconds": 5}, "COMPLETED"]
LONGEST = 12_000.0
"""Seconds for a whole course."""

PACE = 200.0
"""Emulated seconds in a real one, while a call is made in another process."""

NEVER = 300_000.0
"""Longer than any course."""


# --- What a course is -----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Call:
    """One call, and what happens to its caller."""

    how: str = "run"
    """`run`, `submit` (and no more), or `collect` (after `submit`, by another client)."""

    on_previous: str = "adopt"
    retry_rows: int = 0
    max_in_flight: int | None = None
    cleanup: str = "keep"
    on_abort: str = "leave"
    file: str = "requests.jsonl"
    temperature: float | None = None
    """Another temperature is another run."""

    cancelled_at: int | None = None
    """The request at which the caller is cancelled."""

    killed_at: int | None = None
    """The request at which the caller's process is killed."""

    deletes_at: int | None = None
    """The request at which a person deletes the newest job."""

    delay: float = 0.0

    def __str__(self) -> str:
        usual = Call()
        changed = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in attrs.fields(Call)
            if field.name != "how" and getattr(self, field.name) != getattr(usual, field.name)
        ]
        return f"{self.how}({', '.join(changed)})"


@attrs.frozen
class Delete:
    """A person deletes a job, its output, or both, by the job's place among all."""

    what: str
    number: int


@attrs.frozen
class Wait:
    """Time goes on."""

    seconds: float


@attrs.frozen
class Refuse:
    """All outputs are refused to the key, or no longer."""

    is_on: bool


@attrs.frozen
class Faults:
    """Faults are set up, and are there until the next call is over."""

    faults: tuple[Mapping[str, Any], ...]


Act = tuple[Call, ...] | Delete | Wait | Refuse | Faults


@attrs.frozen(kw_only=True)
class Course:
    """All that is drawn from a seed."""

    seed: int
    rows: Mapping[str, tuple[int, ...]]
    """The codes with which each row fails, in turn; 400 is for ever."""

    max_rows: int
    assume: Mapping[str, str]
    scripts: Sequence[Mapping[str, Any]]
    acts: Sequence[Act]
    last: Call

    @property
    def has_processes(self) -> bool:
        """Whether a call is made in another process, whose time is not virtual."""
        calls = [call for act in self.acts if isinstance(act, tuple) for call in act]
        return any(call.killed_at is not None for call in calls)

    def story(self) -> list[str]:
        """Tell what is drawn."""
        rows = ", ".join(
            f"{row} fails with {'/'.join(map(str, codes))}"
            for row, codes in self.rows.items()
            if codes
        )
        return [
            f"course {self.seed}: {len(self.rows)} rows, {self.max_rows} for each job; {rows}",
            f"the server: {dict(self.assume)}",
            *(f"job {n} goes by {dict(script)}" for n, script in enumerate(self.scripts)),
        ]


# --- How a course is drawn ------------------------------------------------------------------------

# Switches without an effect on runs are drawn as well: that is for the course to show.
_KEPT = {
    "input_dataset",  # rows of an input that is not there are not processed
    "upload_limit",
    "limited_calls",
    "retry_after",
    "zero_data_retention",  # there are no jobs then
}


def draw(seed: int) -> Course:
    """Draw a course."""
    random = Random(seed)
    count = random.randint(2, 7)
    rows = {f"r{number}": _draw_row(random) for number in range(count)}
    assume = _draw_assumptions(random)
    is_ignored = assume.get("requested_job_id") == "ignored"
    acts: list[Act] = []
    for _ in range(random.randint(1, 4)):
        acts += _draw_act(random, is_ignored=is_ignored)
    has_refused = any(isinstance(act, Refuse) for act in acts)
    if has_refused and random.random() < 0.7:
        acts.append(Refuse(is_on=False))
    last = _draw_call(random, is_whole=True)
    return Course(
        seed=seed,
        rows=rows,
        max_rows=random.choice([count, count, (count + 1) // 2, (count + 2) // 3]),
        assume=assume,
        scripts=[_draw_script(random, assume) for _ in range(14)],
        acts=acts,
        last=attrs.evolve(last, how="run", temperature=None),
    )


def _draw_row(random: Random) -> tuple[int, ...]:
    fate = random.random()
    if fate < 0.55:
        return ()
    if fate < 0.7:
        return (400,)
    return tuple(random.choice(RETRYABLE) for _ in range(random.randint(1, 3)))


def _draw_assumptions(random: Random) -> dict[str, str]:
    hints = typing.get_type_hints(Assumptions)
    assume: dict[str, str] = {}
    important = [
        "deleted_job", "deletion_time", "output_of_deleted_job", "failed_job_output", "error_file",
        "some_rows_failed", "all_rows_failed", "ended_counters", "requested_job_id", "list_support",
        "concurrent_uploads", "duplicate_ids", "existing_output_status", "duplicate_job_status",
        "duplicate_dataset_status", "default_order", "error_shape", "unready_download_status",
    ]  # fmt: skip
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        is_important = random.random() < 0.7
        name = random.choice(important if is_important else sorted(hints))
        if name not in _KEPT:
            assume[name] = random.choice(typing.get_args(hints[name]))
    if assume.get("requested_job_id") == "ignored":
        assume.pop("list_support", None)  # no client could find its jobs
    return assume


def _draw_script(random: Random, assume: Mapping[str, str]) -> dict[str, Any]:
    running = {"state": "RUNNING", "seconds": random.choice([4, 10, 25])}
    fate = random.random()
    script: dict[str, Any] = {"phases": [{"state": "VALIDATING", "seconds": 2}, running]}
    if fate < 0.5:
        script["phases"].append("COMPLETED")
    elif fate < 0.58:
        script["phases"] = [{"state": "VALIDATING", "seconds": 2}, random.choice(BAD_ENDS)]
    elif fate < 0.66:
        script["time_limit_seconds"] = 2 + running["seconds"] * random.choice([0.3, 0.6, 0.9])
        script["phases"].append("COMPLETED")
    else:
        script["phases"].append(random.choice(BAD_ENDS))
    if random.random() < 0.3:
        script["output"] = _draw_output(random, assume)
    return script


def _draw_output(random: Random, assume: Mapping[str, str]) -> dict[str, Any]:
    seconds = random.choice([4, 8, 15, 90, 400, NEVER])
    kinds = ["not_found_seconds", "uploading_seconds", "late_files"]
    if assume.get("ended_counters", "right") != "right":
        # Half an output and counters that lie: nothing says that the other half is to come.
        kinds.pop()
    kind = random.choice(kinds)
    return {kind: {random.choice([RESULTS, ERRORS]): seconds} if kind == "late_files" else seconds}


def _draw_act(random: Random, *, is_ignored: bool) -> list[Act]:
    fate = random.random()
    if fate < 0.45:
        return [(_draw_call(random),)]
    if fate < 0.65 and not is_ignored:
        twin = _draw_call(random)
        other = _draw_call(random) if random.random() < 0.5 else twin
        return [(twin, attrs.evolve(other, delay=random.choice([0.0, 0.0, 0.3, 5.0, 20.0])))]
    if fate < 0.75 and not is_ignored:
        return [Faults(tuple(_draw_fault(random) for _ in range(random.randint(1, 3)))),
                (_draw_call(random),)]  # fmt: skip
    if fate < 0.88:
        what = random.choice(["job", "job", "output", "both"])
        return [Delete(what, random.randrange(3)), Wait(random.choice([0.0, 5.0, 200.0]))]
    if fate < 0.94:
        return [Refuse(is_on=True), (_draw_call(random),)]
    return [Wait(random.choice([5.0, 100.0, 500.0]))]


def _draw_call(random: Random, *, is_whole: bool = False) -> Call:
    is_cancelled = not is_whole and random.random() < 0.4
    is_killed = CAN_FORK and not is_whole and not is_cancelled and random.random() < 0.05
    deletes = not is_whole and not is_cancelled and random.random() < 0.1
    return Call(
        how=random.choice(["run", "run", "run", "submit", "collect"]),
        on_previous=random.choice(["adopt", "adopt", "new"]),
        retry_rows=random.choice([0, 0, 1, 2, 3]),
        max_in_flight=random.choice([None, None, 1]),
        cleanup=random.choice(["keep", "keep", "keep", "datasets"]),
        on_abort=random.choice(["leave", "leave", "delete"]),
        file=random.choice([*FILES, "rows"]),
        temperature=random.choice([None] * 12 + [0.5]),
        cancelled_at=random.randint(1, 45) if is_cancelled else None,
        killed_at=random.randint(1, 30) if is_killed else None,
        deletes_at=random.randint(5, 40) if deletes else None,
    )


def _draw_fault(random: Random) -> dict[str, Any]:
    action = random.choice(
        ["status", "status", "reset", "drop_answer", "html", "garbage", "truncate"]
    )
    fault: dict[str, Any] = {
        "action": action,
        "method": random.choice([None, "GET", "POST", "POST"]),
        "path": random.choice(["*", "*", "*/batchInferenceJobs*", "*/datasets*"]),
        "after": random.randrange(12),
        "times": random.choice([1, 1, 2]),
    }
    if action == "status":
        fault["status"] = random.choice([429, 500, 503, 504])
    return fault


# --- What the witness sees ------------------------------------------------------------------------


@attrs.define(eq=False)
class Attempt:
    """A job, as the emulator knows it, and what the witness saw of it."""

    job: Any
    base: str
    number: int
    caller: int
    rows: list[str]
    deleted_at: int | None = None
    answered: Counter[str] = attrs.field(factory=Counter)
    failed: dict[str, int] = attrs.field(factory=dict)
    given_up_by: set[int] = attrs.field(factory=set)
    """The calls that gave its answers up."""

    @property
    def deleted(self) -> bool:
        """Whether it was deleted."""
        return self.deleted_at is not None

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.job.origin.job_id)

    def __str__(self) -> str:
        name = f"{self.base[-8:]}-{self.number}"
        return name if self.id.endswith(name) else f"{name} ({self.id})"


@attrs.define
class Made:
    """A call that was made."""

    number: int
    call: Call
    begun: int
    made: list[Attempt] = attrs.field(factory=list)
    new_bases: set[str] = attrs.field(factory=set)


class Witness:
    """Sees what the emulator does, and finds what must not be."""

    def __init__(self, course: Course, emulator: Emulator) -> None:
        self.course = course
        self.story: list[str] = []
        self.violations: list[str] = []
        self.attempts: list[Attempt] = []
        self.calls: dict[int, Made] = {}
        self.warnings: list[str] = []
        self.is_refused = False
        self.settled_at: dict[Attempt, int] = {}
        self.victims: dict[int, tuple[int, int]] = {}
        """By call: the process, and the request at which it is killed."""

        self._times: Counter[str] = Counter()
        self._arrived: Counter[int] = Counter()
        self._world = emulator._world()
        self._clock = self._world.clock
        jobs = self._world.jobs
        self._make, self._delete = jobs.make, jobs.delete
        jobs.make, jobs.delete = self._seen_making, self._seen_deleting
        self._open = self._world.log.open
        self._world.log.open = self._seen_arriving

    def tell(self, text: str) -> None:
        """Add to the story."""
        self.story.append(f"{self._clock.now() / 1e6:8.1f} s  {text}")

    def violate(self, text: str) -> None:
        """Note what must not be."""
        self.violations.append(text)
        self.tell(f"VIOLATION: {text}")

    # --- in the emulator

    def respond(self, custom_id: str, _: Mapping[str, Any]) -> Any:
        """Answer a row as the course says."""
        attempt = self._working()
        codes, times = self.course.rows[custom_id], self._times[custom_id]
        self._times[custom_id] += 1
        if codes == (400,) or times < len(codes):
            code = codes[min(times, len(codes) - 1)]
            attempt.failed[custom_id] = code
            raise RowFailureError("no", code)
        attempt.answered[custom_id] += 1
        attempt.failed.pop(custom_id, None)
        if attempt.answered[custom_id] > 1:
            self.violate(f"{custom_id} is answered twice by {attempt}")
        return {"id": custom_id, "choices": [{"index": 0, "message": {"content": custom_id}}]}

    def _seen_arriving(self, **members: Any) -> Any:
        entry = self._open(**members)
        caller = int(entry.headers.get("X-Caller", "0"))
        self._arrived[caller] += 1
        if caller in self.victims:
            process, at = self.victims[caller]
            if self._arrived[caller] == at:
                self.tell(f"call {caller} is killed at request {at}: {entry.method} {entry.path}")
                os.kill(process, signal.SIGKILL)
        return entry

    def _working(self) -> Attempt:
        task = asyncio.current_task()
        for job, its in self._world.workshop._tasks.items():
            if its is task:
                return next(each for each in self.attempts if each.job is job)
        raise LookupError("a row of no job")

    def _seen_making(self, account_id: str, job_id: str, members: Any, script: Any) -> Any:
        entry = self._entry("POST")
        job = self._make(account_id, job_id, members, script)
        base, place = self._chain(entry.query["batchInferenceJobId"])
        caller = int(entry.headers.get("X-Caller", "0"))
        attempt = Attempt(job, base, place, caller, self._input(members))
        earlier = [each for each in self.attempts if each.base == base]
        self.attempts.append(attempt)
        self.tell(f"call {caller} makes {attempt} of {' '.join(attempt.rows)}")
        made = self.calls[caller]
        self._judge(attempt, made, earlier)
        made.made.append(attempt)
        return job

    def _chain(self, asked: str) -> tuple[str, int]:
        """Give the chain that an id belongs to, and the place in it."""
        base, _, number = asked.rpartition("-")
        return base, int(number)

    def _seen_deleting(self, job: Any, now: int) -> None:
        attempt = next(each for each in self.attempts if each.job is job)
        caller = int(self._entry("DELETE").headers.get("X-Caller", "0"))
        self.tell(f"{f'call {caller}' if caller else 'a person'} deletes {attempt}")
        if caller and attempt.caller != caller:
            self.violate(f"call {caller} deletes {attempt}, which call {attempt.caller} made")
        attempt.deleted_at = now
        self._delete(job, now)

    def _entry(self, method: str) -> Any:
        """Give the request that is answered now: the newest one of its kind."""
        return next(
            each
            for each in reversed(self._world.log._entries)
            if each.method == method and "/batchInferenceJobs" in each.path and each.status is None
        )

    def _input(self, members: Mapping[str, object]) -> list[str]:
        dataset = self._world.datasets.find_name(str(members["inputDatasetId"]))
        found = [self._world.datasets.bucket.find(dataset.path(name)) for name in dataset.files]
        return [
            json.loads(line)["custom_id"] for each in found if each for line in each.file.lines()
        ]

    # --- what can be known of an attempt

    def facts(self, attempt: Attempt) -> Any:
        """Give what a client can see of an attempt now."""
        now, job = self._clock.now(), attempt.job
        dataset = self._world.datasets.find_name(job.origin.output_dataset_id)
        is_there = dataset is not None and dataset.is_visible(now)
        is_ready = is_there and dataset.is_ready(now) and not self.is_refused
        files = dataset.listed_files(now) if is_ready else []
        answered = set(attempt.answered) if RESULTS in files else set[str]()
        failed = dict(attempt.failed) if ERRORS in files else {}
        facts = SimpleNamespace(
            has_ended=job.has_ended(now),
            state=job.state(now),
            is_there=is_there,
            is_ready=is_ready,
            files=files,
            answered=answered,
            failed=failed,
            progress=job._render(now)[0]["jobProgress"],  # `show` would keep it
            has_run=job.has_run(now),
            rows=len(set(attempt.rows)),
        )
        facts.is_settled = facts.has_ended and self._is_settled(facts)
        return facts

    def _is_settled(self, facts: Any) -> bool:
        """Whether it is known what became of each row: rules (a) and (b) of the evidence."""
        shown = facts.progress
        names = (
            "successfullyProcessedRequests",
            "failedRequests",
            "totalProcessedRequests",
        )
        succeeded, failed, processed = (None if shown is None else shown[name] for name in names)
        if not facts.is_there and not self.is_refused:
            is_zero = (succeeded, failed, processed) == (0, 0, 0)
            return is_zero and not facts.has_run and facts.state != "COMPLETED"
        if not facts.is_ready:
            return False
        resulted = len(facts.answered | facts.failed.keys())
        if resulted >= facts.rows:
            return True
        if (RESULTS not in facts.files and succeeded != 0) or (
            ERRORS not in facts.files and failed != 0
        ):
            return False
        if succeeded or failed:
            return len(facts.answered) >= min(succeeded or 0, facts.rows)
        return resulted >= min(processed or 0, facts.rows)

    def is_in_time(self, attempt: Attempt, since: int) -> bool:
        """Whether all of an output could be seen at an instant, or can be within the grace."""
        lateness = attempt.job.script.output
        late = (
            lateness.not_found + lateness.uploading + max(lateness.late_files.values(), default=0)
        )
        return late < GRACE * 1e6 / 2 or max(self.output_instants(attempt), default=0) <= since

    def output_instants(self, attempt: Attempt) -> list[int]:
        """Give the instants at which more of an output could be seen."""
        job = attempt.job
        dataset = self._world.datasets.find_name(job.origin.output_dataset_id)
        if dataset is None:
            return []
        return [dataset.visible or 0, dataset._ready or 0, *dataset.late_files.values()]

    # --- rules

    def _judge(  # noqa: C901  # one rule after the other
        self, attempt: Attempt, made: Made, earlier: Sequence[Attempt]
    ) -> None:
        """Hold a new job against the rules."""
        call = made.call
        rows = set(attempt.rows)
        if len(rows) < len(attempt.rows):
            self.tell(f"{attempt} has rows twice")
        alive = [each for each in earlier if not each.deleted]
        if not alive:
            return
        facts = {each: self.facts(each) for each in alive}
        given_up = set[Attempt]()
        for each in alive:
            its = facts[each]
            if made.number in each.given_up_by:
                given_up.add(each)
            elif its.is_settled:
                again = its.answered & rows
                if again:
                    self.violate(f"{' '.join(sorted(again))} of {each} run again by {attempt}")
            elif call.on_previous == "new" and its.has_ended and not its.is_there:
                given_up.add(each)
                each.given_up_by.add(made.number)
                is_heard = call.killed_at is None
                if is_heard and not any(each.id in text for text in self.warnings):
                    self.violate(f"answers of {each} are given up without a warning")
            else:
                self.violate(f"{attempt} is made while {each} is not settled: {self._seen(its)}")
        for each in given_up:  # what comes late is not known to this call
            facts[each].failed = {}
        self._judge_reason(attempt, made, alive, facts, given_up)

    def _judge_reason(
        self,
        attempt: Attempt,
        made: Made,
        alive: Sequence[Attempt],
        facts: Mapping[Attempt, Any],
        given_up: set[Attempt],
    ) -> None:
        """Hold a new job against the rule that there is a reason for it."""
        call, rows = made.call, set(attempt.rows)
        if any(
            each.base == attempt.base and (each.deleted_at or 0) > made.begun
            for each in self.attempts
        ):
            return  # the call may have seen a job before it was deleted
        newest = max(alive, key=lambda each: each.number)
        if attempt.number <= newest.number:
            self.violate(f"{attempt} is made after {newest}")
        state = facts[newest].state
        is_bad = state != "COMPLETED" or newest in given_up
        by_retry = state in ORDERLY and attempt.number <= call.retry_rows
        by_new = call.on_previous == "new" and is_bad
        if by_retry:
            wrong = {row for row in rows if self._is_permanent(row, alive, facts)}
            if wrong and not by_new:
                self.violate(f"{attempt} runs again {' '.join(sorted(wrong))}: not retryable")
            by_retry = not wrong
        if not by_retry:
            if not by_new:
                self.violate(f"no reason for {attempt} after {newest}, {state}, by {call}")
            elif attempt.base in made.new_bases:
                self.violate(f'call {made.number} makes a second attempt by "new": {attempt}')
            made.new_bases.add(attempt.base)

    def _seen(self, its: Any) -> str:
        output = "404" if not its.is_there else its.files if its.is_ready else "not READY"
        counters = its.progress and {k: v for k, v in its.progress.items() if "equests" in k}
        return f"{its.state}, output {output}, counters {counters}"

    def _is_permanent(
        self, row: str, alive: Sequence[Attempt], facts: Mapping[Attempt, Any]
    ) -> bool:
        seen = [facts[each].failed[row] for each in alive if row in facts[each].failed]
        if not seen:
            return False
        return seen[-1] not in RETRYABLE or not self.has_codes

    @property
    def has_codes(self) -> bool:
        """Whether errors have codes."""
        return self.course.assume.get("error_shape", "int_code") in {"int_code", "string_code"}


# --- How a course is played -----------------------------------------------------------------------


class _Log(logging.Handler):
    """Puts what the library says into the story, and its warnings before the witness."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(logging.DEBUG)
        self._witness = witness

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._witness.warnings.append(text)
        if record.levelno >= logging.INFO:
            self._witness.tell(f"{record.levelname.lower()}: {text}")
        if KEY in text:
            self._witness.violate("the key is in the log")


@contextmanager
def _logged(witness: Witness) -> Iterator[None]:
    logger, handler = logging.getLogger("fireworks_batch"), _Log(witness)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def _temporary_files_in(directory: Path) -> Iterator[None]:
    directory.mkdir()
    before = tempfile.tempdir
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before


class Player:
    """Plays a course."""

    def __init__(self, course: Course, directory: Path) -> None:
        self.course = course
        self.directory = directory
        self.output = directory / "output.jsonl"
        self.errors = directory / "errors.jsonl"
        self.temporary = directory / "temporary"
        self._alone = asyncio.Lock()

    async def play(self) -> Witness:
        """Play it, and give what the witness saw."""
        course = self.course
        lines = [_request(row) for row in course.rows]
        text = b"\n".join(json.dumps(line, separators=(",", ":")).encode() for line in lines)
        (self.directory / "requests.jsonl").write_bytes(text + b"\n")
        (self.directory / "again.jsonl").write_bytes(text)  # the last line has no end
        (self.directory / "packed.jsonl.gz").write_bytes(gzip.compress(text + b"\n"))
        async with Emulator(
            tick=1.0,
            seed=course.seed,
            epoch=EPOCH,
            api_key=KEY,
            assume=course.assume,
            responder=self._respond,
        ) as emulator:
            self.emulator = emulator
            emulator.add_dataset("unused", files={"x": b"x\n"})  # its directory is not ours
            self.witness = Witness(course, emulator)
            for script in course.scripts:
                emulator.script_jobs(**script)
            emulator.script_jobs(phases=QUICK, times=None)
            with _logged(self.witness), _temporary_files_in(self.temporary):
                async with asyncio.timeout(LONGEST):
                    await self._act()
        return self.witness

    def _respond(self, custom_id: str, body: Mapping[str, Any]) -> Any:
        return self.witness.respond(custom_id, body)

    async def _act(self) -> None:
        for act in self.course.acts:
            match act:
                case Delete():
                    await self._delete(act)
                case Wait():
                    await asyncio.sleep(act.seconds)
                case Refuse():
                    self._refuse(act.is_on)
                case Faults():
                    for fault in act.faults:
                        self.witness.tell(f"fault: {fault}")
                        self.emulator.add_fault(**fault)
                case _:
                    await self._call(act)
                    self._clear_faults()
        before = self._clock()
        await self._call((self.course.last,), is_last=True)
        self.witness.tell("the identical call")
        await self._call((self.course.last,), is_last=True, since=before)

    def _clock(self) -> int:
        return self.emulator._world().clock.now()

    def _clear_faults(self) -> None:
        self.emulator.clear_faults()
        if self.witness.is_refused:
            self._refuse(is_on=True)

    def _refuse(self, is_on: bool) -> None:
        self.witness.is_refused = is_on
        self.witness.tell(f"outputs are {'refused to the key' if is_on else 'open again'}")
        self.emulator.clear_faults()
        if is_on:
            self.emulator.add_fault(
                "status", status=403, path="*/datasets/*-out*", method="GET", times=None
            )

    def _client(self, number: int, **options: Any) -> BatchClient:
        return _client_of(self.emulator.base_url, number, poll=POLL, retry=RETRY, **options)

    async def _delete(self, act: Delete) -> None:
        there = [each for each in self.witness.attempts if not each.deleted]
        if not there:
            return
        attempt = there[act.number % len(there)]
        async with self._client(0) as client:
            with suppress(FireworksBatchError):
                if act.what != "output":
                    await client.jobs.delete(attempt.id)
                if act.what != "job" and attempt.job.has_ended(self._clock()):
                    self.witness.tell(f"a person deletes the output of {attempt}")
                    await client.datasets.delete(attempt.job.origin.output_dataset_id)

    async def _delete_newest(self) -> None:
        await self._delete(Delete("job", len(self.witness.attempts) - 1))

    # --- one call, or two at once

    async def _call(
        self, calls: Sequence[Call], *, is_last: bool = False, since: int | None = None
    ) -> None:
        witness = self.witness
        made = []
        for call in calls:
            number = len(witness.calls) + 1
            witness.calls[number] = Made(number, call, self._clock())
            made.append(witness.calls[number])
        answered = {each: witness.facts(each).answered for each in witness.attempts}
        begun = self._clock()
        old = _ids(self.output)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._caller(each)) for each in made]
        for each, task in zip(made, tasks, strict=True):
            outcome = task.result()
            if isinstance(outcome, Outcome):
                self._check_outcome(each, outcome, answered)
                if len(made) == 1:  # of two, the other may have made jobs since
                    self._check_progress(each, outcome, begun)
            elif is_last:
                witness.violate(f"the last call ends with {outcome!r}")
        self._check_files(old, is_killed=any(call.killed_at is not None for call in calls))
        if since is not None:
            self._check_identical(made[0], since)

    async def _caller(self, made: Made) -> Any:  # noqa: C901  # one fate after the other
        """Make a call; gives its outcome, or its error."""
        call, number = made.call, made.number
        await asyncio.sleep(call.delay)
        self.witness.tell(f"call {number}: {call}")
        if call.killed_at is not None:
            return await self._killed(made)
        tracing, task = aiohttp.TraceConfig(), asyncio.create_task(self._made(made))
        deletions = []

        async def count(*_: object) -> None:
            tracing.count += 1
            if tracing.count == call.cancelled_at:
                self.witness.tell(f"call {number} is cancelled at request {tracing.count}")
                task.cancel()
            if tracing.count == call.deletes_at:
                deletions.append(asyncio.create_task(self._delete_newest()))

        tracing.count = 0
        tracing.on_request_start.append(count)
        self.tracing = tracing
        error: BaseException | None = None
        try:
            async with self._client(number, trace_configs=[tracing]) as client:
                made_by = client
                self._clients[number] = made_by
                await asyncio.wait([task])
        finally:
            self._clients.pop(number, None)
        for deletion in deletions:
            await deletion
        try:
            outcome = task.result()
        except asyncio.CancelledError as cancellation:
            error = cancellation
        except FireworksBatchError as failure:
            error = failure
        else:
            self.witness.tell(f"call {number} ends: {outcome.text if outcome else 'submitted'}")
            return outcome
        return self._failed(made, error)

    async def _killed(self, made: Made) -> None:
        """Make a call in a process that is killed."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        order = {
            "call": attrs.asdict(made.call),
            "number": made.number,
            "seed": self.course.seed,
            "base_url": self.emulator.base_url,
            "directory": str(self.directory),
        }
        async with self._alone:  # a nursery brings up one at a time
            with loop.paced(PACE):
                process = NURSERY.start(order)
                self.witness.victims[made.number] = (process, made.call.killed_at or 0)
                end = await NURSERY.ended()
        self.witness.tell(f"the process of call {made.number} ends with {end}")

    @property
    def _clients(self) -> dict[int, BatchClient]:
        return self.__dict__.setdefault("_known_clients", {})

    def _failed(self, made: Made, error: BaseException) -> BaseException:
        texts = [repr(error), str(error), *getattr(error, "__notes__", ())]
        self.witness.tell(f"call {made.number} ends with {texts}")
        if any(KEY in text for text in texts):
            self.witness.violate("the key is in an error")
        if isinstance(error, JobConflictError | DatasetConflictError):
            self.witness.violate(f"a dead end: {error!r}")
        if isinstance(error, asyncio.CancelledError) and made.call.cancelled_at is None:
            self.witness.violate("a cancellation out of nothing")
        return error

    async def _made(self, made: Made) -> Any:
        while made.number not in self._clients:
            await asyncio.sleep(0)
        return await self.make(made.call, self._clients[made.number])

    async def make(self, call: Call, client: BatchClient) -> Any:
        """Make a call; gives what its result says."""
        requests: Any = self.directory / call.file
        if call.file == "rows":
            requests = [_request(row) for row in self.course.rows]
        what: dict[str, Any] = {
            "model": MODEL,
            "name": name_of_run(),
            "limits": Limits(max_rows=self.course.max_rows),
            "on_previous": call.on_previous,
        }
        if call.temperature is not None:
            what["inference_parameters"] = {"temperature": call.temperature}
        how: dict[str, Any] = {
            "output": self.output,
            "errors": self.errors,
            "cleanup": call.cleanup,
        }
        if call.how == "run":
            result = await client.run(
                requests,
                **what,
                **how,
                max_in_flight=call.max_in_flight,
                retry_rows=call.retry_rows,
                on_abort=call.on_abort,
            )
            return await read_outcome(result)
        submission = await client.submit(requests, **what)
        text = submission.to_json()
        if KEY in text + repr(submission):
            raise AssertionError("the key is in the submission")
        if call.how == "submit":
            return None
        result = await client.collect(Submission.from_json(text), requests=requests, **how)
        return await read_outcome(result)

    # --- what must be true after a call

    def _check_outcome(self, made: Made, outcome: Any, before: Mapping[Attempt, set[str]]) -> None:
        witness, rows = self.witness, list(self.course.rows)
        seen = Counter([*outcome.answered, *outcome.failed, *outcome.missing])
        if seen != Counter(rows):
            witness.violate(f"ids in the result of call {made.number}: {dict(seen)}")
        report = outcome.report
        numbers = (report.rows, report.succeeded, report.failed, report.missing)
        lists = (outcome.answered, outcome.failed, outcome.missing)
        if numbers != (len(rows), *map(len, lists)):
            witness.violate(f"the report does not add up: {numbers}, {report}")
        if any(KEY in text for text in (repr(report), str(report), outcome.text)):
            witness.violate("the key is in the report")
        if [*outcome.answered] != [row for row in rows if row in outcome.answered]:
            witness.violate(f"rows are not in the order of the requests: {outcome.answered}")
        for attempt, answered in before.items():
            if attempt.deleted or not self._is_of(attempt, made.call):
                continue
            absent = answered - {*outcome.answered}
            if absent:
                witness.violate(f"answers of {attempt} are not in the result: {sorted(absent)}")

    def _is_of(self, attempt: Attempt, call: Call) -> bool:
        return self.witness.calls[attempt.caller].call.temperature == call.temperature

    def _check_progress(  # noqa: C901  # one exemption after the other
        self, made: Made, outcome: Any, begun: int
    ) -> None:
        """Check that a call has run what it could."""
        witness, call = self.witness, made.call
        if call.how != "run" or self.course.assume.get("ended_counters", "right") != "right":
            return
        chains: dict[str, list[Attempt]] = {}
        for attempt in witness.attempts:
            if self._is_of(attempt, call):
                chains.setdefault(attempt.base, []).append(attempt)
        gone = any(each.deleted for chain in chains.values() for each in chain)
        ran = {row for chain in chains.values() for each in chain for row in each.rows}
        if not gone and ran != set(self.course.rows):
            witness.violate(f"rows were never run: {sorted(set(self.course.rows) - ran)}")
        for chain in chains.values():
            facts = {each: witness.facts(each) for each in chain}
            if any(each.deleted for each in chain) or not all(
                (its.is_settled and witness.is_in_time(each, begun))
                or made.number in each.given_up_by
                for each, its in facts.items()
            ):
                continue
            newest = max(chain, key=lambda each: each.number)
            if facts[newest].state not in ORDERLY or newest.number >= call.retry_rows:
                continue
            left = {
                row
                for row in chain[0].rows
                if row not in outcome.answered and not witness._is_permanent(row, chain, facts)
            }
            if left:
                witness.violate(
                    f"call {made.number} could run again {sorted(left)}, after {newest}"
                )

    def _check_files(self, old: set[str], *, is_killed: bool) -> None:
        witness = self.witness
        found = {path.name for path in self.directory.iterdir()}
        kept = {name for name in found if ".previous" in name}
        usual = {*FILES, "output.jsonl", "errors.jsonl", "temporary"}
        if found - kept - usual and not is_killed:
            witness.violate(f"files are left: {sorted(found - kept - usual)}")
        left = sorted(path.name for path in self.temporary.iterdir())
        if left and not is_killed:  # the next call removes what a killed one has left
            witness.violate(f"temporary files are left: {left}")
        now = _ids(self.output)
        for name in kept:
            now |= _ids(self.directory / name)
        if not old <= now:
            witness.violate(f"answers were lost from the output file: {sorted(old - now)}")
        if any(
            KEY.encode() in (self.directory / name).read_bytes() for name in found - {"temporary"}
        ):
            witness.violate("the key is in a file")

    def _check_identical(self, made: Made, since: int) -> None:
        witness = self.witness
        for attempt in made.made:
            chain = [each for each in witness.attempts if each.base == attempt.base]
            became = any(
                instant > since for each in chain for instant in witness.output_instants(each)
            )
            if not became and attempt.base not in made.new_bases:
                witness.violate(f"the identical call makes {attempt}")


def _client_of(base_url: str, number: int, **options: Any) -> BatchClient:
    headers = {"X-Caller": str(number)}
    return BatchClient(
        api_key=KEY, account_id="acme", base_url=base_url, headers=headers, **options
    )


# --- Callers in processes of their own ------------------------------------------------------------


class Nursery:
    """A process that has imported everything, and forks one for each call."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, order: Mapping[str, Any]) -> int:
        """Start a process for a call, and give its id."""
        if self._process is None:
            self._process = subprocess.Popen(  # our own interpreter and file
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return int(self._process.stdout.readline())

    async def ended(self) -> str:
        """Give the exit code of the process and its error, when it has ended."""
        assert self._process
        assert self._process.stdout
        loop, has_ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.stdout, has_ended.set)
        try:
            await has_ended.wait()
        finally:
            loop.remove_reader(self._process.stdout)
        return self._process.stdout.readline().decode().strip()

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


NURSERY = Nursery()


def _bring_up() -> None:
    """Fork a process for each order on stdin, and say its id, how it ended, and its error."""
    for line in sys.stdin:
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            error = _obey(json.loads(line))
            os.write(writer, error.encode())
            os._exit(bool(error))
        os.close(writer)
        print(process, flush=True)  # noqa: T201  # to the one who gave the order
        with os.fdopen(reader) as file:
            error = file.read()
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), error, flush=True)  # noqa: T201


def _obey(order: Mapping[str, Any]) -> str:
    """Make the call; gives its error."""
    directory = Path(order["directory"])
    tempfile.tempdir = str(directory / "temporary")
    logging.disable()

    def scaled(policy: Any, *kept: str) -> Any:
        values = attrs.asdict(policy)
        changed = {
            name: value / PACE
            for name, value in values.items()
            if isinstance(value, float) and name not in kept
        }
        return attrs.evolve(policy, **changed)

    async def make() -> None:
        poll, retry = scaled(POLL, "growth", "jitter"), scaled(RETRY, "jitter")
        player = Player(draw(order["seed"]), directory)
        async with _client_of(order["base_url"], order["number"], poll=poll, retry=retry) as client:
            await player.make(Call(**order["call"]), client)

    try:
        asyncio.run(make())
    except Exception as error:  # noqa: BLE001  # the server is what is looked at
        return " ".join(repr(error).split())  # a line, as everything that the nursery says
    return ""


@attrs.frozen
class Outcome:
    """What a result says."""

    answered: list[str]
    failed: list[str]
    missing: list[str]
    report: Any
    text: str


async def read_outcome(result: Any) -> Outcome:
    """Read all of a result, and close it."""
    async with result:
        answered = [row.custom_id async for row in result if row.ok]
        failed = [row.custom_id async for row in result.failures()]
        missing = [each async for each in result.missing_ids()]
        return Outcome(answered, failed, missing, result.report, str(result.report))


def name_of_run() -> str:
    """Give the name of all runs of a course."""
    return "course"


def _request(row: str) -> dict[str, Any]:
    return {"custom_id": row, "body": {"messages": [{"role": "user", "content": row}]}}


def _ids(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()}


def play(seed: int) -> tuple[list[str], list[str]]:
    """Play the course of a seed.

    Returns:
        What must not be, and the whole story.
    """
    return play_course(draw(seed))


def play_course(course: Course) -> tuple[list[str], list[str]]:
    """Play a course; gives what must not be, and the whole story."""
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        player = Player(course, Path(name))
        try:
            runner.run(player.play())
        except Exception as error:  # noqa: BLE001  # any error is a finding
            found: BaseException = error
            while isinstance(found, BaseExceptionGroup):
                found = found.exceptions[0]
            player.witness.violate(f"{type(found).__name__}: {found}")
    return player.witness.violations, [*course.story(), *player.witness.story]


def tell(seed: int, violations: Sequence[str], story: Sequence[str]) -> str:
    """Give the story of a course as a text, with the command that plays it again."""
    again = f"python benchmarks/courses.py --seed {seed}"
    return "\n".join([*story, "", *violations, "", f"play it again: {again}"])


if __name__ == "__main__":
    _bring_up()
