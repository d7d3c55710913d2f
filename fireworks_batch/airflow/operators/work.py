"""Asynchronous work in a synchronous task. A signal handler can end it."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from airflow.sdk.exceptions import AirflowException

from fireworks_batch import BatchClient

__all__ = ["Work"]

_T = TypeVar("_T")


_ENDED: Final = "the task was ended by a signal"


class Work:
    """Runs one coroutine after another, in one event loop and with one client."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    @contextmanager
    def begun(self, client: BatchClient) -> Iterator[None]:
        """Open an event loop for a ``with``, and close the client at its end."""
        with asyncio.Runner() as self._runner:
            try:
                yield
            finally:
                self._runner.run(client.aclose())
        self._runner = None

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine to its end, and return its result.

        Raises:
            AirflowException: `cancel` was called.
        """
        runner = self._runner
        if runner is None:
            raise RuntimeError("the block of begun() has not been entered")

        async def run() -> _T:
            self._task = asyncio.current_task()
            return await coroutine

        if self._is_cancelled:
            coroutine.close()
            raise AirflowException(_ENDED)
        try:
            return runner.run(run())
        except asyncio.CancelledError:
            raise AirflowException(_ENDED) from None
        finally:
            if self._task is not None and not self._task.done():
                # A signal handler has raised, like the handler of Airflow's execution_timeout.
                self._task.cancel()
                runner.run(_until_done(self._task))
            self._task = None

    def cancel(self) -> None:
        """Cancel this coroutine and all later ones. Signal handlers call this."""
        self._is_cancelled = True
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)


async def _until_done(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])
