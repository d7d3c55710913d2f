"""The program of the kind `process`: a run of two jobs, as somebody's own program makes it.

`python victim.py HOW DIRECTORY`; the environment names server, key and account.
"""

import asyncio
import os
import sys
import threading
from pathlib import Path

from fireworks_batch import BatchClient, Limits, PollPolicy, RetryPolicy

MODEL = "accounts/fireworks/models/demo-8b"
SHARD = 15
POLL = PollPolicy(initial_interval=0.01, min_interval=0.0, max_interval=0.03, failure_budget=20.0)
RETRY = RetryPolicy(max_attempts=6, initial_delay=0.005, max_delay=0.1)
HOWS = ("plain", "eager", "uvloop", "thread", "threads", "fork")


async def main(directory: Path) -> None:
    """Run it."""
    async with BatchClient(poll=POLL, retry=RETRY) as client:
        result = await client.run(
            directory / "rows.jsonl",
            model=MODEL,
            name="chaos",
            limits=Limits(max_rows=SHARD),
            output=directory / "output.jsonl",
            errors=directory / "errors.jsonl",
        )
        await result.aclose()


async def _eagerly(directory: Path) -> None:
    factory = getattr(asyncio, "eager_task_factory", None)  # since Python 3.12
    if factory is not None:
        asyncio.get_running_loop().set_task_factory(factory)
    await main(directory)


async def _after_use(directory: Path) -> None:
    """Fork with a client that is in use, and let the child make one of its own."""
    async with BatchClient(poll=POLL, retry=RETRY) as client:
        jobs = [job.id async for job in client.jobs.list()]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                thread = threading.Thread(target=lambda: asyncio.run(main(directory)))
                thread.start()  # a loop runs in this thread, as far as asyncio knows
                thread.join()
                code = 0
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        if status:
            raise RuntimeError(f"the child ended with {status}, after jobs {jobs}")
        await anext(client.jobs.list(), None)  # the parent's client is as good as before


def _in_threads(count: int, directory: Path) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(main(directory))
        except BaseException as error:  # noqa: BLE001  # it is told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    how, where = sys.argv[1], Path(sys.argv[2])
    match how:
        case "eager":
            asyncio.run(_eagerly(where))
        case "uvloop":
            import uvloop  # it is drawn only where it is installed

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main(where))
        case "thread":
            _in_threads(1, where)
        case "threads":
            _in_threads(2, where)
        case "fork":
            asyncio.run(_after_use(where))
        case _:
            asyncio.run(main(where))
