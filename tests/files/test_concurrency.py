"""Several things at the same time, and the first failure as itself."""

import asyncio

import pytest

from fireworks_batch.files.threads import all_of


async def test_results_come_in_the_order_asked_for():
    """Whatever ends first."""

    async def after(turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert [3, 1, 2] == await all_of([lambda: after(3), lambda: after(1), lambda: after(2)])
    assert [] == await all_of([])


async def test_first_failure_is_raised_itself_and_ends_the_rest():
    """No group of exceptions reaches the caller, and nothing runs on."""
    ended = []

    async def fail():
        raise ZeroDivisionError

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(ZeroDivisionError) as caught:
        await all_of([wait, fail, fail])

    assert [True] == ended
    assert caught.value.__cause__ is None


async def test_cancelling_is_no_failure():
    """The caller's own cancellation comes through as one."""

    async def wait():
        await asyncio.Event().wait()

    task = asyncio.create_task(all_of([wait, wait]))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
