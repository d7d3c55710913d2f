"""Follow one job: python follow_one_job.py JOB

The key, the account and the URL come from FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and
FIREWORKS_BASE_URL. Ctrl-C ends the program, not the job.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, JobOutcomeError


async def main(job_id: str) -> int:
    """Print what changes; exit with 1 if the job does not complete."""
    async with BatchClient() as client:
        wait = client.jobs.wait_until_terminal(job_id, changes_only=True)
        async for snapshot in wait:
            print(snapshot.job.state, snapshot.percent, snapshot.eta, flush=True)
        if wait.last_snapshot is None:
            return 1
        try:
            wait.last_snapshot.job.raise_for_outcome()
        except JobOutcomeError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
