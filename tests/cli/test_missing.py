"""Jobs that the server does not know, one after the other."""

import asyncio
from types import SimpleNamespace

from fireworks_batch import NotFoundError
from fireworks_batch.cli.commands.missing import tell_missing

pytest_plugins = ["fireworks_batch.pytest_plugin"]


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
    missing = NotFoundError("no", status=404)
    waits = {
        "nightl": SimpleNamespace(last_snapshot=None, last_error=missing),
        "ightly": SimpleNamespace(last_snapshot=None, last_error=None),
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
