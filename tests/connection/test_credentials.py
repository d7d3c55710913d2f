"""Work that several callers share: done once, its failure told to each, ended by the last one."""

import asyncio

import pytest

from fireworks_batch import (
    APIStatusError,
)
from fireworks_batch.connection.credentials import Shared

# --- Sharing ------------------------------------------------------------------------------------


class Work:
    """Something that takes until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        if self.error:
            raise self.error
        return number


async def started(shared: Shared[int], work: Work, count: int) -> list:
    """Callers who have come so far that they wait."""
    tasks = [asyncio.create_task(shared.get(work)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_work_is_done_once_for_all_who_come_while_it_is():
    """Who comes after it has it done again."""
    shared, work = Shared(), Work()
    tasks = await started(shared, work, 3)
    work.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await shared.get(work) == 2


async def test_all_who_leave_end_the_work_before_they_are_gone():
    """The last one cancels it, and waits for that."""
    shared, work = Shared(), Work()
    tasks = await started(shared, work, 2)
    for task in tasks:
        assert work.ended == 0
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    assert (work.begun, work.ended) == (1, 1)


async def test_work_that_fails_as_the_last_one_leaves_is_no_unheard_error(caplog):
    """Nobody is told of it, and asyncio does not complain."""
    shared, work = Shared(), Work()
    work.error = ZeroDivisionError("a bug")
    (task,) = await started(shared, work, 1)
    work.gate.set()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    del task
    assert not caplog.records


async def test_work_that_somebody_else_cancels_is_done_anew():
    """As by a loop that ends all tasks but one."""
    shared, work = Shared(), Work()
    (task,) = await started(shared, work, 1)
    shared._task.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await task == 2


async def test_errors_that_are_not_ours_are_raised_as_they_are():
    """They may not be copied; ours are, for each caller."""
    shared, work = Shared(), Work()
    work.error = ZeroDivisionError("a bug")
    work.gate.set()
    with pytest.raises(ZeroDivisionError) as caught:
        await shared.get(work)
    assert caught.value is work.error
    work.error = APIStatusError("no", status=500)
    with pytest.raises(APIStatusError) as other:
        await shared.get(work)
    assert other.value is not work.error
