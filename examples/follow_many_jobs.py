"""Follow several jobs at once with one client: python follow_many_jobs.py JOB JOB JOB

The key, the account and the URL come from FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and
FIREWORKS_BASE_URL.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, FireworksBatchError


async def main(job_ids: list[str]) -> int:
    """Print the outcome of each job. Return 1 if a job is not COMPLETED, else 0."""
    async with BatchClient() as client, asyncio.TaskGroup() as group:
        # A wait is a coroutine, so it can be a task.
        tasks = [group.create_task(client.jobs.wait_until_terminal(job)) for job in job_ids]
    jobs = [task.result() for task in tasks]
    for job in jobs:
        print(job.id, job.state, flush=True)
    return 0 if all(job.is_success for job in jobs) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except* FireworksBatchError as group:
        sys.exit("\n".join(f"error: {error}" for error in group.exceptions))
