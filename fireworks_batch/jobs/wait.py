"""The wait for one job, which is a coroutine and an async iterator."""

import asyncio
import inspect
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine, Generator
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from fireworks_batch.jobs.tracker import Tracker
from fireworks_batch.models.errors import ClientStateError, FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.polling.access import Pollers

__all__ = ["Driven", "JobWait"]


_T = TypeVar("_T")


class Driven(Coroutine[Any, Any, _T]):
    """A coroutine that is also an object with members of its own.

    ``create_task``, ``TaskGroup.create_task`` and ``asyncio.run`` refuse an object that has only
    ``__await__``. Each task that drives the object begins the work again, if `_begun` allows it.
    """

    _coroutine: Coroutine[Any, Any, _T] | None = None
    _driver: asyncio.Task[Any] | None = None

    @abstractmethod
    def _begun(self) -> Coroutine[Any, Any, _T]:
        """Return a new coroutine that does the work, or raise if the object is used up."""

    @abstractmethod
    def _refuse(self) -> NoReturn:
        """Raise an error which says that the object is in use."""
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
        """End the work. No remote job is changed."""
        if self._coroutine is not None:
            self._coroutine.close()

    def _running(self) -> Coroutine[Any, Any, _T]:
        """Return the coroutine that does the work; refuse all tasks but the first."""
        coroutine, task = self._coroutine, _current_task()
        if coroutine is None or inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
            coroutine = self._coroutine = self._begun()
            self._driver = task
        elif self._driver is not task:
            self._refuse()
        return coroutine


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running task; None if no task or no event loop is running."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _exception(typ: type[BaseException], value: object) -> BaseException:
    if isinstance(value, BaseException):
        return value
    return typ() if value is None else typ(value)


class JobWait(Driven[BatchInferenceJob], AsyncIterator[JobSnapshot]):
    """The wait for one job: await it for the final job, or iterate over it for snapshots.

    A wait is a coroutine, so that ``create_task``, ``TaskGroup.create_task``, ``gather``,
    ``wait_for`` and ``asyncio.run`` accept it. A wait is also an async iterator, which yields a
    snapshot for each successful poll, the terminal snapshot last. Use a wait once, in one of the
    two ways.

    An iteration can be left at any time, and the task can be cancelled: nothing has to be closed,
    and the remote job is not changed. Between two snapshots a wait holds no connection, no task and
    no timer.

    A wait is made by ``client.jobs.wait_until_terminal()``, which documents the errors.
    """

    __name__: str
    __qualname__: str
    _tracker: Tracker
    _pollers: Pollers
    _changes_only: bool
    _given: JobSnapshot | None = None
    _is_busy = False
    _is_over = False
    _is_used = True  # `_made` sets it to False

    @classmethod
    def _made(cls, tracker: Tracker, pollers: Pollers, *, changes_only: bool) -> Self:
        """Return a wait; nothing happens before it is used.

        Args:
            tracker: Receives the polls of the job.
            pollers: Make the polls.
            changes_only: Whether snapshots without a visible change are left out.
        """
        self = cls()
        self._tracker = tracker
        self._pollers = pollers
        self._changes_only = changes_only
        self._is_used = False
        self.__name__ = self.__qualname__ = f"JobWait({tracker.name.job_id})"
        return self

    # --- Readable at any time -------------------------------------------------------------------

    @property
    def ref(self) -> JobRef | None:
        """The reference of the job; None until its account is known."""
        return self._tracker.ref

    @property
    def last_snapshot(self) -> JobSnapshot | None:
        """The newest snapshot; None before the first."""
        return self._tracker.last_snapshot

    @property
    def failures(self) -> int:
        """Number of failed polls since the last successful poll."""
        return self._tracker.machine.failures

    @property
    def last_error(self) -> FireworksBatchError | None:
        """The error of the newest poll; None if that poll was successful."""
        return self._tracker.last_error

    @property
    def next_poll(self) -> datetime | None:
        """When the job is polled next, aware, in UTC; None before the start and after the end."""
        planned = self._tracker.next_poll
        if planned is None or self._is_over:
            return None
        return max(planned, self._tracker.wall())

    def __repr__(self) -> str:
        snapshot = self._tracker.last_snapshot
        state = f" {snapshot.job.state}" if snapshot else ""
        return f"<JobWait for {self._tracker.name.job_id!r}{state}>"

    # --- Awaiting -------------------------------------------------------------------------------

    def close(self) -> None:
        """End the wait. The remote job is not changed."""
        self._is_used = True
        super().close()

    def _begun(self) -> Coroutine[Any, Any, BatchInferenceJob]:
        if self._is_used:
            self._refuse()
        self._is_used = True
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
        if self._coroutine is not None or self._tracker.machine.has_started:
            self._refuse()
        self._is_used = True
        return self

    async def __anext__(self) -> JobSnapshot:
        if self._coroutine is not None:
            self._refuse()
        self._is_used = self._tracker.is_single = True
        while not self._is_over:
            snapshot = await self._next_snapshot()
            if snapshot.changed or snapshot.job.is_terminal or not self._changes_only:
                return snapshot
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration. The remote job is not changed.

        Raises:
            ClientStateError: Another task is waiting for a snapshot at this moment.
        """
        if self._is_busy:
            self._refuse()
        self._is_used = self._is_over = True

    def _refuse(self) -> NoReturn:
        raise ClientStateError(
            f"{self!r} was used already: call wait_until_terminal() anew for each await or "
            "iteration"
        )

    def __del__(self) -> None:
        if not self._is_used:
            warnings.warn(
                f"{self!r} was never awaited or iterated over",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    # --- Polling --------------------------------------------------------------------------------

    async def _next_snapshot(self) -> JobSnapshot:
        """Return the next snapshot; an error gets the reference of the job."""
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
        # A step that was cancelled may have left a snapshot, which is handed out now.
        if tracker.last_snapshot is self._given:
            await self._poll(tracker)
        snapshot = tracker.last_snapshot
        if snapshot is None or snapshot is self._given:
            raise tracker.error or ClientStateError(f"{self!r} was ended without a poll")
        self._given, self._is_over = snapshot, snapshot.job.is_terminal
        return snapshot

    async def _poll(self, tracker: Tracker) -> None:
        if not tracker.machine.has_started:
            tracker.start()
        if tracker.ref is None:
            await self._pollers.find_account(tracker)
        if tracker.ref is not None and not tracker.machine.is_over:
            await self._pollers.of(tracker.ref.account_id).follow(tracker.ref, tracker)
