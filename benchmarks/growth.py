"""How the cost of following jobs grows with their number, and what a day with many jobs costs.

All of it is on a virtual clock, in one process, so on one core. A server of bare streams answers
with the jobs of an emulator; the CPU time that it takes is measured by itself and subtracted.
"""

import asyncio
import gc
import math
import random
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import attrs
import orjson

from figures import Figure, Report, main, most_memory, single, support
from fireworks_batch import BatchClient, JobSnapshot
from fireworks_batch.emulator import Emulator
from fireworks_batch.polling.approach import MASK

KEY = "fw_benchmark"
PAGE = 200
DAY = 24 * 3600.0
COUNTS = (1000, 3000, 10_000, 30_000, 100_000)
REPEATS = {300: 9, 1000: 9, 3000: 3, 10_000: 2, 30_000: 1, 100_000: 1}
"""How often to measure. Few jobs take little time, and their times vary more."""


async def measure(share: float) -> Report:
    """Measure a day, and then the growth."""
    is_whole = share == 1
    jobs = 10_000 if is_whole else 100  # in 24 hours all the same
    figures, day = await in_virtual_time(lambda server: measure_day(server, jobs))
    counts = COUNTS if is_whole else (300, 10_000)
    costs = [await measure_costs(count, REPEATS[count]) for count in counts]
    figures += growths(costs)
    if not is_whole:
        return Report(figures)
    figures += [single("day-core", 100 * day["cpu"] / DAY), single("day-memory", day["memory"])]
    return Report(figures, {"growth": [attrs.asdict(each) for each in costs], "day": [day]})


# --- The server ---------------------------------------------------------------------------------


Item: TypeAlias = dict[str, Any]


@attrs.frozen
class Views:
    """What an emulator shows of a job that waits, and of one that has ended."""

    whole: tuple[Item, Item]
    masked: tuple[Item, Item]


@attrs.define(eq=False)
class Server:
    """Answers for an account's jobs, the newest first; each job ends at its own moment."""

    views: Views
    loop: asyncio.AbstractEventLoop
    ends: list[float] = attrs.field(factory=list)
    """When each job ends, by its number, on the loop's clock."""

    requests: int = 0
    shown: int = 0
    """The jobs on all pages."""

    spent: float = 0.0
    """The CPU seconds of this server."""

    loads: float = 0.0
    """The CPU seconds that `orjson.loads` takes for all answers, from a sample of them."""

    port: int = 0

    @property
    def base_url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    def ids(self) -> list[str]:
        """Return the ids of all jobs."""
        return [f"job-{number}" for number in range(len(self.ends))]

    def begin(self, ends: list[float]) -> None:
        """Have other jobs, and forget what was counted."""
        self.ends = ends
        self.requests = self.shown = 0
        self.spent = self.loads = 0.0

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of a connection."""
        return Connection(self)

    def answer(self, request: bytes) -> bytes:
        """Answer a GET of a job, or of a page of the listing."""
        began = time.process_time()
        self.requests += 1
        target = urlsplit(request[4 : request.index(b" ", 4)].decode())
        query = dict(parse_qsl(target.query))
        views = self.views.masked if "readMask" in query else self.views.whole
        tail = target.path.rpartition("/")[2]
        if tail.startswith("job-"):
            body = orjson.dumps(self.item(int(tail[4:]), views))
        else:
            body = self.page(int(query.get("pageToken", 0)), views)
        if self.requests % 10 == 1:
            before = time.process_time()
            orjson.loads(body)
            self.loads += 10 * (time.process_time() - before)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.spent += time.process_time() - began
        return head % len(body) + body

    def page(self, start: int, views: tuple[Item, Item]) -> bytes:
        """Return a page, from a job on."""
        end = min(start + PAGE, len(self.ends))
        self.shown += end - start
        token = str(end) if end < len(self.ends) else ""
        items = [self.item(number, views) for number in range(start, end)]
        return orjson.dumps({"batchInferenceJobs": items, "nextPageToken": token})

    def item(self, number: int, views: tuple[Item, Item]) -> Item:
        """Return a job as it is now."""
        view = views[self.ends[number] <= self.loop.time()]
        item = view | {"name": f"accounts/acme/batchInferenceJobs/job-{number}"}
        if item["createTime"]:
            seconds, micros = divmod(999_999_999 - number, 1_000_000)
            item["createTime"] = f"2026-09-14T09:{seconds // 60:02}:{seconds % 60:02}.{micros:06}Z"
        return item


@attrs.define(eq=False)
class Connection(asyncio.Protocol):
    """One connection to the server, over which a request comes in one piece."""

    server: Server
    transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request."""
        answer = self.server.answer(data)
        began = time.process_time()
        self.transport.write(answer)
        self.server.spent += time.process_time() - began


async def views_of_emulator() -> Views:
    """Return what an emulator shows, with and without a mask."""
    async with Emulator(account_id="acme") as emulator, aiohttp.ClientSession() as session:
        emulator.script_job("waits", phases=["PENDING"])
        emulator.script_job("ended", phases=["COMPLETED"])
        await asyncio.sleep(3600)

        async def view(job_id: str, query: str) -> Item:
            path = f"/v1/accounts/acme/batchInferenceJobs/{job_id}?{query}"
            headers = {"Authorization": f"Bearer {emulator.api_key}"}
            async with session.get(emulator.base_url + path, headers=headers) as answer:
                item: Item = orjson.loads(await answer.read())
            if item["expireTime"]:
                item["expireTime"] = "2999-01-01T00:00:00Z"
            return item

        mask = urlencode({"readMask": MASK})
        return Views(
            whole=(await view("waits", ""), await view("ended", "")),
            masked=(await view("waits", mask), await view("ended", mask)),
        )


async def in_virtual_time(scenario: Callable[[Server], Awaitable[Any]]) -> Any:
    """Run a scenario with a server, on a clock that jumps over waiting."""

    async def run() -> Any:
        loop = asyncio.get_running_loop()
        server = Server(await views_of_emulator(), loop)
        listener = await loop.create_server(server.accept, "127.0.0.1", 0)
        async with listener:
            server.port = listener.sockets[0].getsockname()[1]
            return await scenario(server)

    def in_a_thread() -> Any:
        with asyncio.Runner(loop_factory=support("virtual_loop").VirtualLoop) as runner:
            return runner.run(run())

    return await asyncio.to_thread(in_a_thread)


# --- Following ----------------------------------------------------------------------------------


@attrs.define
class Reader:
    """Reads a fleet, and counts what it shows."""

    jobs: int
    polls: int = 0
    """The polls of the jobs that have ended."""

    all_seen: asyncio.Event = attrs.field(factory=asyncio.Event)
    all_ended: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def read(self, fleet: AsyncIterator[JobSnapshot]) -> None:
        """Read to the end."""
        seen = 0
        async for snapshot in fleet:
            seen += snapshot.previous_state is None
            if seen == self.jobs:
                self.all_seen.set()
            if snapshot.job.is_terminal:
                self.polls += snapshot.number
        self.all_ended.set()


@asynccontextmanager
async def following(server: Server) -> AsyncIterator[Reader]:
    """Follow all jobs by one fleet in the background."""
    async with BatchClient(api_key=KEY, account_id="acme", base_url=server.base_url) as client:
        reader = Reader(len(server.ends))
        fleet = client.jobs.watch(server.ids(), changes_only=True)
        task = asyncio.create_task(reader.read(fleet))
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.wait([task])
            await fleet.aclose()


class Meter:
    """Measures the CPU time of this process without the server's."""

    def __init__(self, server: Server) -> None:
        gc.collect()
        self._server = server
        self._began = time.process_time() - server.spent

    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.process_time() - self._server.spent - self._began


async def measure_day(server: Server, count: int) -> tuple[list[Figure], dict[str, float]]:
    """Follow jobs that end at any moment of a day."""
    rng = random.Random(1)
    now = server.loop.time()
    server.begin([now + rng.uniform(0, DAY) for _ in range(count)])
    memory = most_memory()
    meter = Meter(server)
    async with following(server) as reader:
        await reader.all_ended.wait()
        seconds = meter.seconds()
    figures = [
        single("day-requests", server.requests / reader.polls),
        single("day-cpu", seconds / server.loads),
    ]
    return figures, {
        "jobs": count,
        "requests": server.requests,
        "polls": reader.polls,
        "cpu": seconds,
        "memory": 1024 * (most_memory() - memory) / count,
    }


# --- Growth -------------------------------------------------------------------------------------


@attrs.frozen
class Costs:
    """What a job costs where there are so many: microseconds of CPU, and KiB."""

    jobs: int
    begin: float
    """From the making of the fleet to the first snapshots of all jobs."""

    round: float
    """A round in which nothing has changed."""

    end: float
    """The round in which all jobs have ended, and the reading of their last snapshots."""

    memory: float
    """What following takes after the first polls, without the server."""


async def measure_costs(count: int, repeats: int) -> Costs:
    """Measure several times, and take the least: all else slows it down."""

    async def times(server: Server) -> list[tuple[float, float, float]]:
        return [await measure_times(server, count) for _ in range(repeats)]

    samples = await in_virtual_time(times)
    kib = await in_virtual_time(lambda server: measure_memory(server, count))
    begin, round_, end = (min(each) for each in zip(*samples, strict=True))
    return Costs(count, begin, round_, end, kib)


async def measure_times(server: Server, count: int) -> tuple[float, float, float]:
    """Return the microseconds for a job: to begin, for a round, at the end."""
    server.begin([math.inf] * count)
    meter = Meter(server)
    async with following(server) as reader:
        await reader.all_seen.wait()
        begin = meter.seconds() / count
        await asyncio.sleep(90)  # the first intervals are shorter
        meter, shown = Meter(server), server.shown
        await asyncio.sleep(180)
        rounds = meter.seconds() / (server.shown - shown)
        server.ends = [0.0] * count
        meter = Meter(server)
        await reader.all_ended.wait()
        end = meter.seconds() / count
    return 1e6 * begin, 1e6 * rounds, 1e6 * end


async def measure_memory(server: Server, count: int) -> float:
    """Return the KiB that following takes for a job, after the first polls."""
    server.begin([math.inf] * count)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    async with following(server) as reader:
        await reader.all_seen.wait()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / 1024 / count


def growths(costs: Sequence[Costs]) -> list[Figure]:
    """Compare how the cost of a job grows with how the logarithm of their number grows."""
    least, most = costs[0], costs[-1]
    logarithms = math.log(most.jobs) / math.log(least.jobs)
    return [
        single(name, getattr(most, name) / getattr(least, name) / logarithms)
        for name in ("begin", "round", "end", "memory")
    ]


if __name__ == "__main__":
    sys.exit(main(__doc__, measure))
