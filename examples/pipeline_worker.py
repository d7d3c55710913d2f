"""A worker that may be killed: python pipeline_worker.py STORE SECONDS [JOB]

JOB is the id of a job, or its resource name. The worker keeps a reference to it in the file STORE,
and waits at most SECONDS. Exit code 0: the job has ended. 75: run it again, without JOB.
"""

import asyncio
import signal
import sys
from pathlib import Path

from fireworks_batch import BatchClient, FireworksBatchError, JobRef, WaitTimeoutError


async def main(store: Path, seconds: float, job_ids: list[str]) -> int:
    """Wait for the job. If the wait ends early, the job runs on."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, task.cancel if task else sys.exit)
    try:
        async with BatchClient() as client:
            if job_ids:
                store.write_text(client.jobs.ref(job_ids[0]).to_json())
            ref = JobRef.from_json(store.read_text())
            print("waiting for", ref, flush=True)
            job = await client.jobs.wait_until_terminal(ref, timeout=seconds)
    except (WaitTimeoutError, asyncio.CancelledError):
        return 75
    print(job.id, job.state, flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        sys.exit(asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])))
    except (FireworksBatchError, OSError) as error:
        sys.exit(f"error: {error}")
