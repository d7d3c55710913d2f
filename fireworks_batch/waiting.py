"""The driver of the poll machine: the only code that waits for a job."""

import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from fireworks_batch import polling, progress
from fireworks_batch.effects import Failure, Observation, WaitEffects, WaitTerms
from fireworks_batch.endings import wait_error
from fireworks_batch.errors import ClientStateError, FireworksBatchError, WaitError
from fireworks_batch.events import Decision, Failed, Finished, PollAt, Refused, Seen
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.polling import PollState
from fireworks_batch.progress import History, JobSnapshot
from fireworks_batch.states import JobPhase

__all__ = ["JobWait"]

_log = logging.getLogger("fireworks_batch.wait")

# Ten years, beyond which no time of day need be told.
_FARTHEST: Final = 3.2e8


class JobWait(Coroutine[Any, Any, BatchInferenceJob], AsyncIterator[JobSnapshot]):
    """Follows one job to its end: await it for the final job, or iterate over its snapshots.

    It is a coroutine, so that ``create_task``, ``TaskGroup.create_task``, ``gather``,
    ``wait_for`` and ``asyncio.run`` take it, and an async iterator that yields a snapshot for each
    good look, the terminal one last. Use it once, in one of the two ways.

    Breaking out of the iteration, cancelling the task and closing the client leave nothing
    behind and never touch the remote job. Between two snapshots nothing is held: no connection,
    no task, no timer.

    Made by ``client.jobs.wait_until_terminal()``, which documents the errors.
    """

    _is_used = True  # until __init__ has succeeded

    def __init__(self, terms: WaitTerms, effects: WaitEffects, *, ref: JobRef | None) -> None:
        """Make a wait; nothing happens before it is used.

        Args:
            terms: What was asked for.
            effects: How to look at the job, and what time it is.
            ref: The job, if its account is known.
        """
        self._terms = terms
        self._effects = effects
        self._ref = ref
        self._state: PollState | None = None
        self._due = 0.0
        self._next_look: datetime | None = None
        self._ending: WaitError | None = None
        self._history = History()
        self._last_snapshot: JobSnapshot | None = None
        self._last_error: FireworksBatchError | None = None
        self._coroutine: Coroutine[Any, Any, BatchInferenceJob] | None = None
        self._is_busy = False
        self._is_over = False
        self._is_used = False
        self.__name__ = self.__qualname__ = f"JobWait({terms.job})"

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def ref(self) -> JobRef | None:
        """The job waited for; None until its account is known."""
        return self._ref

    @property
    def last_snapshot(self) -> JobSnapshot | None:
        """The newest good observation; None before the first."""
        return self._last_snapshot

    @property
    def failures(self) -> int:
        """Looks lost since the last good one."""
        return self._state.failures if self._state else 0

    @property
    def last_error(self) -> FireworksBatchError | None:
        """What the newest of them failed with; None if the last look was good."""
        return self._last_error

    @property
    def next_look(self) -> datetime | None:
        """When the job is looked at again, aware, in UTC; None before the start and at the end."""
        if self._next_look is None or self._is_over:
            return None
        return max(self._next_look, self._effects.wall())

    def __repr__(self) -> str:
        last = self._last_snapshot
        return f"<JobWait for {self._terms.job!r}{f' {last.job.state}' if last else ''}>"

    # --- Awaiting -------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, BatchInferenceJob]:
        return self._started().__await__()

    def send(self, value: Any, /) -> Any:
        """Advance the wait, as an event loop does: the coroutine protocol."""
        return (self._coroutine or self._started()).send(value)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise inside the wait, as cancelling a task does: the coroutine protocol."""
        error = typ if isinstance(typ, BaseException) else _exception(typ, val)
        coroutine = self._coroutine or self._started()
        return coroutine.throw(error if tb is None else error.with_traceback(tb))

    def close(self) -> None:
        """End the wait; the remote job is not touched."""
        self._is_used = True
        if self._coroutine is not None:
            self._coroutine.close()

    def _started(self) -> Coroutine[Any, Any, BatchInferenceJob]:
        self._claim()
        self._coroutine = self._to_the_end()
        return self._coroutine

    async def _to_the_end(self) -> BatchInferenceJob:
        try:
            while True:
                snapshot = await self._next_snapshot()
                if self._is_over:
                    return snapshot.job
        finally:
            self._is_over = True

    # --- Iterating ------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        if self._coroutine is not None or self._state is not None:
            self._refuse()
        self._is_used = True
        return self

    async def __anext__(self) -> JobSnapshot:
        if self._coroutine is not None:
            self._refuse()
        self._is_used = True
        while not self._is_over:
            snapshot = await self._next_snapshot()
            if snapshot.changed or snapshot.job.is_terminal or not self._terms.changes_only:
                return snapshot
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration; the remote job is not touched.

        Raises:
            ClientStateError: Another task is waiting in it at this moment.
        """
        if self._is_busy:
            self._refuse()
        self._is_used = self._is_over = True

    def _claim(self) -> None:
        if self._is_used:
            self._refuse()
        self._is_used = True

    def _refuse(self) -> NoReturn:
        raise ClientStateError(
            f"{self!r} is in use or used up: each wait_until_terminal() is good for one await, "
            "or one iteration"
        )

    def __del__(self) -> None:
        if not self._is_used:
            warnings.warn(
                f"{self!r} was never awaited or iterated over",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    # --- Driving the machine --------------------------------------------------------------------

    async def _next_snapshot(self) -> JobSnapshot:
        """Look until a look is good; whatever is raised instead carries the reference."""
        if self._is_busy:
            self._refuse()
        self._is_busy = True
        try:
            return await self._look_until_good()
        except FireworksBatchError as error:
            error.ref = error.ref or self._ref
            self._is_over = True
            raise
        finally:
            self._is_busy = False

    async def _look_until_good(self) -> JobSnapshot:
        if self._ending is not None:
            raise self._ending
        state = self._state or self._begin()
        while True:
            outcome = await self._look(state)
            match outcome:
                case Observation():
                    return self._take(outcome, state)
                case Failure():
                    state = self._lose(outcome, state)
                case JobRef():
                    self._ref = outcome

    def _begin(self) -> PollState:
        terms = self._terms
        self._plan(self._effects.clock())
        self._state = polling.start(
            terms.policy,
            now=self._due,
            timeout=terms.timeout,
            follows_window=terms.follows_window,
            least_window=polling.LEAST_WINDOW * terms.time_scale,
        )
        return self._state

    def _plan(self, due: float) -> None:
        """Set the next look, by the time of day too, which can be read where no loop runs."""
        self._due = due
        left = min(max(0.0, due - self._effects.clock()), _FARTHEST)
        self._next_look = self._effects.wall() + timedelta(seconds=left)

    def _look(self, state: PollState) -> Awaitable[Observation | Failure | JobRef]:
        when = {"due": self._due, "deadline": state.deadline, "pause": state.pause}
        if self._ref is None:
            return self._effects.locate(**when)
        return self._effects.look(self._ref, **when)

    def _take(self, seen: Observation, state: PollState) -> JobSnapshot:
        """Tell the machine of a good look, and make its snapshot."""
        now = self._effects.clock()
        event = self._event(seen)
        self._state, decision = polling.on_observation(
            self._terms.policy, state, event, now=now, draw=self._effects.draw()
        )
        snapshot = self._snapshot(seen, self._state, lost=state.failures, now=now)
        self._last_snapshot, self._last_error = snapshot, None
        self._log_look(snapshot, seen)
        match decision:
            case PollAt(due):
                self._plan(due)
            case Finished():
                self._is_over = True
            case _:
                # Raised when the next one is asked for: this one is good, and is handed out.
                self._ending = self._error(decision)
        return snapshot

    def _event(self, seen: Observation) -> Seen:
        job = seen.job
        window = progress.window_left(job, seen.server_now)
        return Seen(
            schedule=progress.schedule_fingerprint(job),
            visible=progress.visible_fingerprint(job),
            is_terminal=job.is_terminal,
            is_unknown=job.state.phase is JobPhase.UNKNOWN,
            has_ended=job.lifecycle is not None and job.lifecycle.end_time is not None,
            window=None if window is None else window * self._terms.time_scale,
        )

    def _snapshot(
        self, seen: Observation, state: PollState, *, lost: int, now: float
    ) -> JobSnapshot:
        previous_state = self._history.state
        self._history = self._history.add(seen.job, now=now)
        rate = self._history.rate(now=now)
        return JobSnapshot(
            job=seen.job,
            previous_state=previous_state,
            changed=state.changed,
            number=self._history.number,
            observed_at=seen.observed_at,
            elapsed=now - state.started,
            unchanged_for=now - state.changed_at,
            percent=progress.percent_done(seen.job),
            rate=rate,
            eta=progress.seconds_left(seen.job, rate),
            failures=lost,
            last_error=self._last_error,
            problems=seen.problems,
        )

    def _lose(self, failure: Failure, state: PollState) -> PollState:
        """Tell the machine of a failed look, and raise what ends the wait."""
        self._last_error = failure.error or self._last_error
        self._state, decision = polling.on_failure(
            self._terms.policy,
            state,
            Failed(failure.kind, failure.retry_after),
            now=self._effects.clock(),
            draw=self._effects.draw(),
        )
        match decision:
            case PollAt(due):
                self._plan(due)
                self._log_loss(failure, self._state)
                return self._state
            case Refused() if failure.error is not None:
                raise failure.error
            case _:
                raise self._error(decision)

    def _error(self, decision: Decision) -> WaitError:
        match decision:
            case PollAt() | Finished() | Refused():
                raise ClientStateError(f"{decision} is not the end of a wait")
            case ending:
                return wait_error(
                    ending,
                    job=self._terms.job,
                    ref=self._ref,
                    last_snapshot=self._last_snapshot,
                    last_error=self._last_error,
                )

    # --- Telling of it --------------------------------------------------------------------------

    def _log_look(self, snapshot: JobSnapshot, seen: Observation) -> None:
        job = snapshot.job
        is_news = job.state != snapshot.previous_state
        _log.log(
            logging.INFO if is_news else logging.DEBUG,
            "job %r is %s (look %d, %s)",
            job.id,
            job.state,
            snapshot.number,
            "percent unknown" if snapshot.percent is None else f"{snapshot.percent:.1f}%",
            extra={
                "fireworks_job": job.name,
                "fireworks_state": str(job.state),
                "fireworks_request_id": seen.request_id,
            },
        )

    def _log_loss(self, failure: Failure, state: PollState) -> None:
        _log.log(
            logging.WARNING if state.failures == 1 else logging.DEBUG,
            "job %r: a look failed (%d in a row), the wait goes on: %s",
            self._terms.job,
            state.failures,
            failure.error,
            extra={"fireworks_job": str(self._ref or self._terms.job)},
        )


def _exception(typ: type[BaseException], value: object) -> BaseException:
    if isinstance(value, BaseException):
        return value
    return typ() if value is None else typ(value)
