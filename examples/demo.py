"""Five jobs followed at once, on an emulator that runs 240 times as fast as the real server.

One job completes. One fails. One expires, with rows that were paid for. One is polled through a bad
network. One passes through a state that this release does not know. The demo needs no account and
no network.
"""

import asyncio
import logging
import os
import sys
from typing import Any

from fireworks_batch import BatchClient, BatchInferenceJob, JobOutcomeError, JobSnapshot
from fireworks_batch.emulator import Emulator

SPEED = 240
EXPECTED = {
    "reviews": "COMPLETED",
    "bad-rows": "FAILED",
    "too-slow": "EXPIRED",
    "bad-network": "COMPLETED",
    "from-2030": "COMPLETED",
}


def prepare(emulator: Emulator) -> None:
    """Give each job a script, and add faults to the requests about one job."""
    start = [("VALIDATING", 120), ("PENDING", 120), ("CREATING", 120)]
    script(emulator, "reviews", [*start, ("RUNNING", 1200), ("COMPLETED", 0)], failed_rows=3)
    status = {"code": "INVALID_ARGUMENT", "message": "invalid role pirate in message 0, line 2"}
    script(emulator, "bad-rows", [("VALIDATING", 180), ("FAILED", 0)], status=status)
    script(emulator, "too-slow", [*start, ("RUNNING", 9000)], time_limit_seconds=1500)
    script(emulator, "bad-network", [("PENDING", 300), ("RUNNING", 900), ("COMPLETED", 0)])
    script(emulator, "from-2030", [("PENDING", 240), ("FROBNICATING", 300), ("COMPLETED", 0)])
    path = "*/bad-network"
    emulator.add_fault("status", status=503, path=path, after=2, times=3)
    emulator.add_fault("status", status=429, path=path, after=3, headers={"Retry-After": "0.5"})
    emulator.add_fault("reset", path=path, after=4, times=4)
    emulator.add_fault("truncate", path=path, after=6, bytes=100)


def script(emulator: Emulator, job: str, phases: list[tuple[str, int]], **options: Any) -> None:
    """Create one job of 1,000 rows that follows a script."""
    named = [{"state": state, "seconds": seconds} for state, seconds in phases]
    emulator.script_job(job, phases=named, rows=1000, **options)


async def follow(client: BatchClient, job: str) -> BatchInferenceJob:
    """Print each change of a job until it has ended, and return the job."""
    wait = client.jobs.wait_until_terminal(job)
    async for snapshot in wait:
        if snapshot.changed or snapshot.failures:
            print(line(job, snapshot))
    return client_job(wait.last_snapshot)


def client_job(snapshot: JobSnapshot | None) -> BatchInferenceJob:
    """Return the job of the last snapshot. A wait that ended without an error has a snapshot."""
    if snapshot is None:
        raise RuntimeError("the wait ended without a snapshot")
    return snapshot.job


def line(job: str, snapshot: JobSnapshot) -> str:
    """Return a snapshot as one line."""
    percent = "" if snapshot.percent is None else f"{snapshot.percent:5.1f} %"
    rate = "" if snapshot.rate is None else f"{snapshot.rate:6.0f} rows/s"
    eta = "" if snapshot.eta is None else f"ETA {snapshot.eta:4.1f} s"
    polls = f"after {snapshot.failures} failed polls" if snapshot.failures else ""
    state = str(snapshot.job.state)
    return f"{snapshot.elapsed:5.1f} s  {job:12} {state:12} {percent:8} {rate:13} {eta:10} {polls}"


async def main() -> int:
    """Follow all five jobs, and print their outcomes."""
    os.environ["FIREWORKS_BATCH_TIME_SCALE"] = str(1 / SPEED)
    async with Emulator(speed=SPEED) as emulator:
        prepare(emulator)
        async with (
            BatchClient(api_key=emulator.api_key, base_url=emulator.base_url) as client,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(follow(client, job)) for job in EXPECTED]
    print()
    jobs = [task.result() for task in tasks]
    for job in jobs:
        print(f"{job.id:12} {outcome(job)}")
    return 0 if {job.id: str(job.state) for job in jobs} == EXPECTED else 1


def outcome(job: BatchInferenceJob) -> str:
    """Return the outcome of a job in words."""
    try:
        job.raise_for_outcome()
    except JobOutcomeError as error:
        return f"{job.state}: {error}"
    failed = job.job_progress.failed_requests if job.job_progress else 0
    return f"{job.state}, {failed} rows failed"


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.exit(asyncio.run(main()))
