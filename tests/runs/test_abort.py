"""What becomes of jobs under way when a run is given up."""

import asyncio

import pytest

from fireworks_batch import NotFoundError, TransportError
from fireworks_batch.runs.abort import Abort


async def give_up(abort, error):
    """Let the guarded block end with an error, and return its notes."""
    with pytest.raises(type(error)) as caught:
        async with abort.guard():
            raise error
    return getattr(caught.value, "__notes__", [])


async def test_without_jobs_there_is_nothing_to_say():
    """An error before the first job, or after the last one, has no note."""
    abort = Abort(None)
    abort.begin("a", is_made=True)
    abort.end("a")

    assert [] == await give_up(abort, ValueError("no"))


async def test_jobs_are_left_by_default():
    """The note names those that run on, and not those that have ended."""
    abort = Abort(None)
    for job in ("a", "b", "c"):
        abort.begin(job, is_made=True)
    abort.end("b")

    assert ["jobs run on, and the same call finds them again: a, c"] == await give_up(
        abort, ValueError("no")
    )


async def test_a_block_that_ends_well_touches_nothing():
    """Nothing is deleted without an error."""
    deleted = []

    async def delete(job):
        deleted.append(job)

    abort = Abort(delete)
    async with abort.guard():
        abort.begin("a", is_made=True)

    assert [] == deleted


async def test_each_job_is_deleted_or_named():
    """One that is gone already counts as deleted; one that fails is named with its reason."""

    async def delete(job):
        if job == "gone":
            raise NotFoundError("no such job", status=404)
        if job == "bad":
            raise TransportError("reset")

    abort = Abort(delete)
    for job in ("good", "gone", "bad"):
        abort.begin(job, is_made=True)

    assert ["jobs could not be deleted and may run on: bad: reset"] == await give_up(
        abort, ValueError("no")
    )


async def test_only_jobs_that_the_run_has_created_are_deleted():
    """A job that was found may be that of another caller; the note names it."""
    deleted = []

    async def delete(job):
        deleted.append(job)

    abort = Abort(delete)
    abort.begin("a", is_made=True)
    abort.begin("b", is_made=False)
    abort.ask("c")

    (note,) = await give_up(abort, ValueError("no"))
    assert note == (
        "jobs were deleted (on_abort='delete'): a; "
        "jobs run on, and the same call finds them again: b; "
        "jobs were being created, and may be there: c"
    )
    assert ["a"] == deleted


async def test_job_that_a_proxy_does_not_find_may_run_on():
    """A page that says 404 is no word of the API."""

    async def delete(job):
        raise NotFoundError("a page", status=404, from_api=False)

    abort = Abort(delete)
    abort.begin("a", is_made=True)

    assert ["jobs could not be deleted and may run on: a: a page"] == await give_up(
        abort, ValueError()
    )


async def test_job_that_may_not_be_there_is_said_to_be_so():
    """A creation that was refused, or is on its way, is no job that runs on."""
    abort = Abort(None)
    abort.ask("a")

    assert ["jobs were being created, and may be there: a"] == await give_up(abort, ValueError())
    abort.begin("b", is_made=True)
    (note,) = await give_up(abort, ValueError())
    assert note.startswith("jobs run on, and the same call finds them again: b; jobs were being")


async def test_giving_up_has_an_end():
    """A server that does not answer holds nobody for longer than said."""

    async def delete(job):
        if job == "slow":
            await asyncio.Event().wait()

    abort = Abort(delete, longest=0.02)
    for job in ("slow", "good"):
        abort.begin(job, is_made=True)

    assert [
        "jobs could not be deleted and may run on: slow: no answer within 0.02 s"
    ] == await give_up(abort, ValueError("no"))


async def test_cancelling_again_does_not_stop_the_deletion():
    """Whoever is impatient still gets the jobs deleted."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    deleted = []

    async def delete(job):
        begun.set()
        await go_on.wait()
        deleted.append(job)

    abort = Abort(delete)

    async def block():
        async with abort.guard():
            abort.begin("a", is_made=True)
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert ["a"] == deleted
    assert ["jobs were deleted (on_abort='delete'): a"] == caught.value.__notes__


async def test_mistake_in_deleting_does_not_hide_the_error(caplog):
    """Something unforeseen is logged, and the block's own error is raised."""

    async def delete(job):
        raise ZeroDivisionError

    abort = Abort(delete)
    abort.begin("a", is_made=True)
    notes = await give_up(abort, ValueError("no"))

    assert notes[0].startswith("jobs could not be deleted and may run on: a")
    assert "the jobs of a run that was given up were not all handled" in caplog.text
