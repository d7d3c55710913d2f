"""What happens next to the attempts of a shard: wait, collect, create another attempt, or stop.

The jobs that run the rows of one shard are its attempts, numbered from 0. All facts about the
attempts come in as values. One table of rules decides: the first rule that applies gives the next
step. Performs no I/O.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from fireworks_batch.models.job import BatchInferenceJob, JobProgress
from fireworks_batch.models.states import TOMBSTONES, JobPhase, JobState

__all__ = [
    "MOST_ATTEMPTS",
    "RULES",
    "Attempt",
    "Chain",
    "Collect",
    "Create",
    "OnPrevious",
    "Output",
    "Rows",
    "Rule",
    "Step",
    "Stop",
    "Wait",
    "Why",
    "is_deleted",
    "is_withdrawn",
    "next_step",
]


MOST_ATTEMPTS: Final = 20
"""The most attempts that a shard may have."""


class OnPrevious(enum.StrEnum):
    """What is done about a job that ended badly before this call."""

    ADOPT = "adopt"
    """The outcome of the job is reported."""

    NEW = "new"
    """The rows without a response run again, once in each call."""


class Output(enum.Enum):
    """What is known of the output dataset of an attempt that has ended."""

    UNREAD = enum.auto()
    """The dataset was not asked for yet."""

    READ = enum.auto()
    """The dataset is READY, and its files were read to the end."""

    GONE = enum.auto()
    """The dataset still answers 404 after the grace."""

    LATE = enum.auto()
    """The dataset is still not READY, or still refused, after the grace."""


class Rows(enum.Enum):
    """Which rows of a shard an attempt runs."""

    UNANSWERED = "all rows without a response"
    RETRYABLE = "rows that failed retryably, and missing rows"


class Why(enum.Enum):
    """Why no further attempt is made."""

    VANISHED = "a job was deleted while it was waited for"
    UNSETTLED = "whether all rows of an attempt have come is not known"
    DONE = "nothing is to be run"
    TOO_MANY = "there are too many attempts"


# --- Facts ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Attempt:
    """One job of a shard, as the newest poll showed the job, and what was read of its output."""

    number: int
    """The place of the attempt in its chain, from 0."""

    job: BatchInferenceJob
    """The job."""

    rows: int
    """Rows of the job's input. If the input was not asked for, rows of the shard."""

    is_previous: bool = False
    """Whether the job had ended when this call saw the job first."""

    has_vanished: bool = False
    """Whether the job was deleted while this call waited for it."""

    output: Output = Output.UNREAD
    """What is known of the job's output."""

    has_results_file: bool = False
    """Whether the output has a file of results."""

    has_errors_file: bool = False
    """Whether the output has a file of errors."""

    answered: int = 0
    """Different rows of the output that have a response."""

    resulted: int = 0
    """Different rows of the output that have a response or an error."""

    unreadable: int = 0
    """Lines of the output that are not rows."""

    problem: str = ""
    """Why the output is not read, in the words of the server."""

    @property
    def progress(self) -> JobProgress | None:
        """The job's counters."""
        return self.job.job_progress

    @property
    def has_all_rows(self) -> bool:
        """Whether the output that was read has every row that the job counts."""
        if self.output is not Output.READ:
            return False
        if self.resulted >= self.rows:
            return True
        if self.unreadable:
            # Each of these lines may be a row with a response, or one that failed for good. The
            # counters do not tell: they may be older than the line.
            return False
        counted = self.progress
        succeeded = counted.successfully_processed_requests if counted else None
        failed = counted.failed_requests if counted else None
        # The counters of a COMPLETED job lag behind if they count nothing.
        lags = self.job.is_success and not succeeded and not failed
        lacks_results = not self.has_results_file and (succeeded != 0 or lags)
        lacks_errors = not self.has_errors_file and (failed != 0 or lags)
        if lacks_results or lacks_errors:
            return False
        if succeeded or failed:
            return self.answered >= min(succeeded or 0, self.rows)
        processed = counted.total_processed_requests if counted else 0
        return self.resulted >= min(processed, self.rows)

    @property
    def has_never_run(self) -> bool:
        """Whether it is certain that the job has never run a row."""
        lifecycle, counted = self.job.lifecycle, self.progress
        return (
            self.output is Output.GONE
            and not self.job.is_success
            and counted is not None
            and not counted.total_processed_requests
            and not counted.successfully_processed_requests
            and not counted.failed_requests
            and (lifecycle is None or lifecycle.run_start_time is None)
        )

    @property
    def has_evidence(self) -> bool:
        """Whether it is known what became of each row of the attempt."""
        return self.has_all_rows or self.has_never_run

    @property
    def counted(self) -> int:
        """Rows with a response, as the job's counters say."""
        return self.progress.successfully_processed_requests if self.progress else 0


@attrs.frozen(kw_only=True)
class Chain:
    """The attempts of one shard that were found, and what the caller wants."""

    attempts: Mapping[int, Attempt] = attrs.field(factory=dict)
    """The attempts by number."""

    highest: int = -1
    """The highest attempt number that cannot be used.

    An attempt has the number, or a deleted job had it, or the server refused it.
    """

    on_previous: OnPrevious = OnPrevious.ADOPT
    """What is done about a job that ended badly before this call."""

    retry_rows: int = 0
    """The highest number of an attempt that runs failed and missing rows again."""

    may_create: bool = True
    """Whether this call may create jobs."""

    @property
    def newest(self) -> Attempt | None:
        """The attempt with the highest number."""
        return self.attempts[max(self.attempts)] if self.attempts else None

    @property
    def next_number(self) -> int:
        """The number of the next attempt. A gap in the chain is never filled."""
        return max((self.highest, *self.attempts)) + 1

    def gives_up(self, attempt: Attempt) -> bool:
        """Whether an attempt counts as settled although its rows are lost.

        This is so only with ``on_previous="new"``, if the output of the attempt is gone.
        """
        return (
            self.on_previous is OnPrevious.NEW
            and attempt.output is Output.GONE
            and not attempt.has_never_run
        )

    def is_settled(self, attempt: Attempt) -> bool:
        """Whether this attempt allows that rows run again."""
        return attempt.has_evidence or self.gives_up(attempt)

    @property
    def unsettled(self) -> list[Attempt]:
        """The attempts whose output may still lack rows."""
        return [each for each in self.attempts.values() if not self.is_settled(each)]

    @property
    def has_news(self) -> bool:
        """Whether an attempt was made, or still ran, during this call."""
        return any(not each.is_previous for each in self.attempts.values())


def is_withdrawn(job: BatchInferenceJob) -> bool:
    """Whether a job is being deleted. Such a job counts as never made."""
    return job.state.phase is JobPhase.LEAVING


def is_deleted(job: BatchInferenceJob) -> bool:
    """Whether a job is being deleted, or is the tombstone of a deleted job."""
    return is_withdrawn(job) or job.state in TOMBSTONES


# --- Steps ----------------------------------------------------------------------------------------


@attrs.frozen
class Wait:
    """Wait for the end of an attempt."""

    number: int
    """The number of the attempt."""


@attrs.frozen
class Collect:
    """Read the output of an attempt."""

    number: int
    """The number of the attempt."""


@attrs.frozen
class Create:
    """Create an attempt for some rows of the shard, if there are such rows."""

    number: int
    """The number of the attempt."""

    rows: Rows
    """Which rows the attempt runs."""


@attrs.frozen
class Stop:
    """Do nothing more."""

    why: Why
    """Why nothing more is done."""


Step: TypeAlias = Wait | Collect | Create | Stop


# --- The rules ------------------------------------------------------------------------------------


@attrs.frozen
class Rule:
    """One line of the table of rules."""

    found: str
    """What is found, in the words of the documentation."""

    happens: str
    """What happens, in the words of the documentation."""

    decide: Callable[[Chain], Step | None]
    """Returns the next step, or None if the rule does not apply."""


# Outcomes without a fault of the job: its remaining rows can run again as they are.
_ORDERLY: Final = frozenset({JobState.COMPLETED, JobState.EXPIRED, JobState.EARLY_STOPPED})


def _wait(chain: Chain) -> Step | None:
    for number, each in sorted(chain.attempts.items()):
        if not each.job.is_terminal and not each.has_vanished:
            return Wait(number)
    return None


def _collect(chain: Chain) -> Step | None:
    for number, each in sorted(chain.attempts.items()):
        if each.output is Output.UNREAD:
            return Collect(number)
    return None


def _only_collect(chain: Chain) -> Step | None:
    return None if chain.may_create else Stop(Why.DONE)


def _vanished(chain: Chain) -> Step | None:
    has_vanished = any(each.has_vanished for each in chain.attempts.values())
    return Stop(Why.VANISHED) if has_vanished else None


def _unsettled(chain: Chain) -> Step | None:
    return Stop(Why.UNSETTLED) if chain.unsettled else None


def _first(chain: Chain) -> Step | None:
    return None if chain.attempts else _create(chain, Rows.UNANSWERED)


def _new(chain: Chain) -> Step | None:
    newest = chain.newest
    if chain.on_previous is not OnPrevious.NEW or newest is None or chain.has_news:
        return None
    if newest.job.is_success and not chain.gives_up(newest):
        return None
    return _create(chain, Rows.UNANSWERED)


def _retry(chain: Chain) -> Step | None:
    newest = chain.newest
    if newest is None or newest.job.state not in _ORDERLY:
        return None
    if chain.next_number > chain.retry_rows:
        return None
    return _create(chain, Rows.RETRYABLE)


def _done(_: Chain) -> Step:
    return Stop(Why.DONE)


def _create(chain: Chain, rows: Rows) -> Step:
    number = chain.next_number
    return Create(number, rows) if number < MOST_ATTEMPTS else Stop(Why.TOO_MANY)


RULES: Final = (
    Rule(
        "a job that has not ended, of this caller or of another one",
        "it is adopted: the call waits for it",
        _wait,
    ),
    Rule(
        "a job that has ended, whatever its state",
        "its output is read; if the output is late, incomplete or refused, it is asked for again "
        "for `PollPolicy.not_found_grace` seconds",
        _collect,
    ),
    Rule(
        "the call is `collect`",
        "nothing is created",
        _only_collect,
    ),
    Rule(
        "a job that was deleted while the call waited for it",
        "the report says so; nothing is created",
        _vanished,
    ),
    Rule(
        "a job counts rows that are not in its output",
        "the report says so; nothing is created. There is one exception: with "
        '`on_previous="new"`, if the output dataset is gone (404), the rows of the job are given '
        "up, with a warning, and run again; right before that, the dataset is asked for once more",
        _unsettled,
    ),
    Rule(
        "no job, or only jobs that a person has deleted",
        "a job of all rows without a response is created",
        _first,
    ),
    Rule(
        'the newest job ended before the call, and is not COMPLETED; `on_previous="new"`',
        "one job of all rows without a response is created",
        _new,
    ),
    Rule(
        "the newest job is COMPLETED, EXPIRED or EARLY_STOPPED, and the number of the next attempt "
        "is at most n (`retry_rows=n`)",
        "a job is created of the rows that are missing or failed retryably, if there are such rows",
        _retry,
    ),
    Rule(
        "anything else: all is done, or the newest job is FAILED, CANCELLED, DELETED or ARCHIVED",
        "the answers are put together, and the report says which rows are missing",
        _done,
    ),
)
"""The rules, in order. The first rule that applies decides."""


def next_step(chain: Chain) -> Step:
    """Return the next step.

    Args:
        chain: The attempts found so far, and what the caller wants.
    """
    for rule in RULES:
        step = rule.decide(chain)
        if step is not None:
            return step
    raise LookupError("no rule applies")
