"""The wait for one job: a coroutine and an async iterator over what its tracker is told."""

import asyncio
import inspect
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine, Generator
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from fireworks_batch.jobs.tracker import Tracker, WaitEffects, WaitTerms
from fireworks_batch.models.errors import ClientStateError, FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.polling.observation import Failure
from fireworks_batch.polling.poller import current_task

__all__ = ["Driven", "JobWait"]


_T = TypeVar("_T")


class Driven(Coroutine[Any, Any, _T]):
    """A coroutine that is an object with more to it.

    With ``__await__`` alone it would be refused by ``create_task``, ``TaskGroup.create_task`` and
    ``asyncio.run``. Each task that drives it anew begins anew, if `_begun` lets it.
    """

    _coroutine: Coroutine[Any, Any, _T] | None = None
    _driver: asyncio.Task[Any] | None = None

    @abstractmethod
    def _begun(self) -> Coroutine[Any, Any, _T]:
        """Return a new coroutine that does the work, or raise why there is none."""

    @abstractmethod
    def _refuse(self) -> NoReturn:
        """Raise that it is in use."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._begun().__await__()

    def send(self, value: Any, /) -> Any:
        """Advance the work, as an event loop does: the coroutine protocol."""
        coroutine = self._running()
        try:
            return coroutine.send(value)
        except BaseException:
            self._driver = None
            raise

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise inside the work, as cancelling a task does: the coroutine protocol."""
        error = typ if isinstance(typ, BaseException) else _exception(typ, val)
        coroutine = self._running()
        try:
            return coroutine.throw(error if tb is None else error.with_traceback(tb))
        except BaseException:
            self._driver = None
            raise

    def close(self) -> None:
        """End the work; what it is about is not touched."""
        if self._coroutine is not None:
            self._coroutine.close()

    def _running(self) -> Coroutine[Any, Any, _T]:
        """Return what is driven, which two tasks cannot do at once."""
        coroutine, task = self._coroutine, current_task()
        if coroutine is None or inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
            coroutine = self._coroutine = self._begun()
            self._driver = task
        elif self._driver is not task:
            self._refuse()
        return coroutine


def _exception(typ: type[BaseException], value: object) -> BaseException:
    if isinstance(value, BaseException):
        return value
    return typ() if value is None else typ(value)


class JobWait(Driven[BatchInferenceJob], AsyncIterator[JobSnapshot]):
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
        self._tracker = Tracker(terms, effects, ref=ref)
        self._is_busy = False
        self._is_over = False
        self._is_used = False
        self.__name__ = self.__qualname__ = f"JobWait({terms.job})"

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def ref(self) -> JobRef | None:
        """The job waited for; None until its account is known."""
        return self._tracker.ref

    @property
    def last_snapshot(self) -> JobSnapshot | None:
        """The newest good observation; None before the first."""
        return self._tracker.last_snapshot

    @property
    def failures(self) -> int:
        """Looks lost since the last good one."""
        return self._tracker.failures

    @property
    def last_error(self) -> FireworksBatchError | None:
        """What the newest of them failed with; None if the last look was good."""
        return self._tracker.last_error

    @property
    def next_poll(self) -> datetime | None:
        """When the job is looked at again, aware, in UTC; None before the start and at the end."""
        planned = self._tracker.next_poll
        if planned is None or self._is_over:
            return None
        return max(planned, self._effects.wall())

    def __repr__(self) -> str:
        job = self._tracker.job
        return f"<JobWait for {self._terms.job!r}{f' {job.state}' if job else ''}>"

    # --- Awaiting -------------------------------------------------------------------------------

    def close(self) -> None:
        """End the wait; the remote job is not touched."""
        self._is_used = True
        super().close()

    def _begun(self) -> Coroutine[Any, Any, BatchInferenceJob]:
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
        if self._coroutine is not None or self._tracker.has_begun:
            self._refuse()
        self._is_used = True
        return self

    async def __anext__(self) -> JobSnapshot:
        if self._coroutine is not None:
            self._refuse()
        self._is_used = self._tracker.is_single = True
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

    # --- Looking --------------------------------------------------------------------------------

    async def _next_snapshot(self) -> JobSnapshot:
        """Look until a look is good, or the last one; what is raised carries the reference."""
        if self._is_busy:
            self._refuse()
        self._is_busy = True
        try:
            return await self._follow()
        except FireworksBatchError as error:
            error.ref = error.ref or self._tracker.ref
            self._is_over = True
            raise
        finally:
            self._is_busy = False

    async def _follow(self) -> JobSnapshot:
        tracker = self._tracker
        if tracker.ending is not None:
            raise tracker.ending
        if not tracker.has_begun:
            tracker.begin()
        ref = tracker.ref or await self._locate(tracker)
        await self._effects.follow(ref, tracker)
        self._is_over = self._is_over or tracker.is_over
        snapshot = tracker.last_snapshot
        if snapshot is None:
            raise ClientStateError(f"{self!r} was ended without a look")
        return snapshot

    async def _locate(self, tracker: Tracker) -> JobRef:
        """Find out the job's account, under the rules of a look."""
        while tracker.ref is None:
            found = await self._effects.locate(
                due=tracker.due, deadline=tracker.deadline, pause=tracker.pause
            )
            if isinstance(found, Failure):
                tracker.lost(found)
            else:
                tracker.ref = found
        return tracker.ref
