"""Follow one job: python follow_one_job.py JOB

The key, the account and the URL come from FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and
FIREWORKS_BASE_URL. Ctrl-C ends the program, not the job.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, FireworksBatchError


async def main(job_id: str) -> None:
    """Print each change. Raise an error if the outcome is not COMPLETED."""
    async with BatchClient() as client:
        wait = client.jobs.wait_until_terminal(job_id, changes_only=True)
        async for snapshot in wait:
            print(snapshot.job.state, snapshot.percent, snapshot.eta, flush=True)
            if snapshot.job.is_terminal:
                snapshot.job.raise_for_outcome()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        asyncio.run(main(sys.argv[1]))
    except FireworksBatchError as error:
        sys.exit(f"error: {error}")
