"""The driver of the poll machine: the only code that waits for a job."""

from collections.abc import AsyncIterator, Coroutine, Generator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from fireworks_batch.errors import FireworksBatchError
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.progress import JobSnapshot

__all__ = ["JobWait"]


class JobWait(Coroutine[Any, Any, BatchInferenceJob], AsyncIterator[JobSnapshot]):
    """Await it for the final job, or iterate over it for snapshots along the way."""

    @property
    def ref(self) -> JobRef | None:
        """The job waited for; None until its account is known."""
        raise NotImplementedError

    @property
    def last_snapshot(self) -> JobSnapshot | None:
        """The newest good observation."""
        raise NotImplementedError

    @property
    def failures(self) -> int:
        """Looks lost since the last good one."""
        raise NotImplementedError

    @property
    def last_error(self) -> FireworksBatchError | None:
        """What the newest of them failed with."""
        raise NotImplementedError

    @property
    def next_look(self) -> datetime | None:
        """When the job is looked at again."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, BatchInferenceJob]:
        raise NotImplementedError

    def send(self, value: Any, /) -> Any:
        """Advance the wait: the coroutine protocol."""
        raise NotImplementedError

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Any:
        """Raise inside the wait: the coroutine protocol."""
        raise NotImplementedError

    def close(self) -> None:
        """End the wait: the coroutine protocol."""
        raise NotImplementedError

    def __aiter__(self) -> Self:
        raise NotImplementedError

    async def __anext__(self) -> JobSnapshot:
        raise NotImplementedError

    async def aclose(self) -> None:
        """End the wait; the remote job is not touched."""
        raise NotImplementedError
