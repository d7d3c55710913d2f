"""Run a batch in Temporal: python temporal_worker.py ADDRESS [REQUESTS MODEL NAME OUTPUT]

With ADDRESS alone, the program is a worker, which needs FIREWORKS_API_KEY. With all five arguments,
it starts a workflow, or finds the running workflow of the same NAME. Then it prints the result of
the workflow. REQUESTS and OUTPUT are files that all workers see under the same paths.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy
from temporalio.worker import Worker

# Names are loaded at their first use. The sandbox of the workflow refuses that, so load them here.
with workflow.unsafe.imports_passed_through():
    import attrs

    from fireworks_batch import BatchClient, Submission

QUEUE = "fireworks-batch"
# After these errors the same call would fail again.
BAD_ORDER = ["ConfigurationError", "InputRowsError", "BadRequestError", "JobConflictError"]
# After the last two, a person has deleted a job. No other job is to replace it.
FINAL = [*BAD_ORDER, "JobGoneError", "NotFoundError"]


@dataclass
class Order:
    """The input of a workflow."""

    requests: str
    model: str
    name: str
    output: str
    dead_after: float = 60.0  # seconds without a heartbeat


@asynccontextmanager
async def alive(figures: Callable[[], Any] = lambda: None) -> AsyncIterator[None]:
    """Send heartbeats, also while all polls fail: an outage does not mean that the worker died."""
    limit = activity.info().heartbeat_timeout or timedelta(minutes=1)

    async def beat() -> None:
        while True:
            activity.heartbeat(figures())
            await asyncio.sleep(limit.total_seconds() / 4)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


@dataclass
class Activities:
    """The activities of a worker. They share one event loop, one client and one poller."""

    client: BatchClient

    @activity.defn
    async def submit(self, order: Order) -> str:
        """Create the jobs that do not exist yet, and adopt the others."""
        requests, model, name = order.requests, order.model, order.name
        async with alive():
            submission = await self.client.submit(requests, model=model, name=name, retry_rows=2)
        return submission.to_json()

    @activity.defn
    async def wait(self, stored: str) -> None:
        """Wait for the newest jobs. Each heartbeat has the figures of their newest snapshots."""
        fleet = self.client.jobs.watch(Submission.from_json(stored).refs)
        async with alive(lambda: attrs.asdict(fleet.progress)):
            for outcome in (await fleet).values():
                outcome.unwrap()

    @activity.defn
    async def collect(self, order: Order, stored: str) -> dict[str, Any]:
        """Write the rows to the output, and return a manifest."""
        submission, requests, output = Submission.from_json(stored), order.requests, order.output
        async with alive():
            result = await self.client.collect(submission, requests=requests, output=output)
        async with result:
            names = ("rows", "succeeded", "failed", "missing")
            return {"output": output} | {name: getattr(result.report, name) for name in names}


@workflow.defn
class Batch:
    """A run as a workflow."""

    @workflow.run
    async def run(self, order: Order) -> dict[str, Any]:
        """Submit and wait until a submission creates no new job. Then collect the results."""
        options: workflow.ActivityConfig = {
            "start_to_close_timeout": timedelta(days=4),  # a job takes three days at most
            "heartbeat_timeout": timedelta(seconds=order.dead_after),
            "retry_policy": RetryPolicy(non_retryable_error_types=FINAL),
        }
        call = workflow.execute_activity_method
        ended: object = None
        while True:
            stored = await call(Activities.submit, order, **options)
            if (jobs := Submission.from_json(stored).refs) == ended:
                return await call(Activities.collect, args=[order, stored], **options)
            await call(Activities.wait, stored, **options)
            ended = jobs


async def main(address: str, *order: str) -> None:
    """Run a worker until it is stopped. With an order, run a workflow until it has ended."""
    temporal = await Client.connect(address)
    if order:
        requests, model, name, output = order
        run = await temporal.start_workflow(
            Batch.run,
            Order(requests, model, name, output),
            id=f"{QUEUE}-{name}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        print(json.dumps(await run.result()), flush=True)
        return
    async with BatchClient() as client:
        own = Activities(client)
        activities: list[Callable[..., Any]] = [own.submit, own.wait, own.collect]
        await Worker(temporal, task_queue=QUEUE, workflows=[Batch], activities=activities).run()


if __name__ == "__main__":
    if len(sys.argv) not in {2, 6}:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
