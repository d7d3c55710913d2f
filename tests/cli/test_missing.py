"""Jobs that the server does not know, one after the other."""

import asyncio
from types import SimpleNamespace

import pytest

from fireworks_batch import JobRef, NotFoundError
from fireworks_batch.cli.commands.missing import tell_missing

pytest_plugins = ["fireworks_batch.pytest_plugin"]

REF = JobRef("acme", "nightl", "http://localhost")


class Output:
    """Keeps what is said, and lets a test wait for it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._news = asyncio.Event()

    def talk(self, text: str, _style: str = "") -> None:
        self.said.append(text)
        self._news.set()

    async def has(self, count: int) -> list[str]:
        """Wait until so many texts were said."""
        async with asyncio.timeout(30):
            while len(self.said) < count:
                self._news.clear()
                await self._news.wait()
        return self.said


async def test_a_job_that_is_missing_later_costs_no_second_listing(
    fireworks_emulator, fireworks_client
):
    """The ids of the first listing serve for all jobs; each job is told once."""
    fireworks_emulator.script_job("nightly", phases=["RUNNING"])
    missing = NotFoundError("no", status=404, from_api=True)
    waits = {
        "nightl": SimpleNamespace(ref=REF, last_snapshot=None, last_error=missing),
        "ightly": SimpleNamespace(ref=REF, last_snapshot=None, last_error=None),
    }
    output = Output()
    session = SimpleNamespace(client=fireworks_client, output=output)
    telling = asyncio.create_task(tell_missing(session, waits, patience=0.02))

    await output.has(2)
    waits["ightly"].last_error = missing
    said = await output.has(4)
    telling.cancel()
    await asyncio.wait([telling])

    assert said == [
        "there is no job 'nightl' so far; waiting up to 0.02 s for it",
        "  ids like 'nightl': nightly",
        "there is no job 'ightly' so far; waiting up to 0.02 s for it",
        "  ids like 'ightly': nightly",
    ]
    assert len(fireworks_emulator.requests()) == 1


@pytest.mark.parametrize(
    ("ref", "from_api"), [(REF, False), (None, True)], ids=["of a proxy", "for the account"]
)
async def test_a_404_that_is_not_about_the_job_tells_of_no_missing_job(
    fireworks_emulator, fireworks_client, ref, from_api
):
    """A 404 of a proxy, or of the request for the account, does not make a job missing."""
    error = NotFoundError("no", status=404, from_api=from_api)
    missing = NotFoundError("no", status=404, from_api=True)
    waits = {
        "nightl": SimpleNamespace(ref=ref, last_snapshot=None, last_error=error),
        "other": SimpleNamespace(ref=REF, last_snapshot=None, last_error=missing),
    }
    output = Output()
    session = SimpleNamespace(client=fireworks_client, output=output)
    telling = asyncio.create_task(tell_missing(session, waits, patience=0.02))

    said = await output.has(1)
    telling.cancel()
    await asyncio.wait([telling])

    assert said == ["there is no job 'other' so far; waiting up to 0.02 s for it"]
