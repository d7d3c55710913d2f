"""Upload rows and create a job for them: python upload_and_create.py MODEL FILE JOB

The program may be run again at any time: an uploaded file is not sent again, and the job is created
once. The key, the account and the URL come from FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and
FIREWORKS_BASE_URL.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, FireworksBatchError


def tell(done: int, total: int) -> None:
    """Print the progress of the upload."""
    print(f"{done:,} of {total:,} bytes", flush=True)


async def main(model: str, path: str, job_id: str) -> None:
    """Upload the file and create the job. Print the dataset and the job."""
    async with BatchClient() as client:
        dataset = await client.datasets.upload(path, on_progress=tell)
        print(dataset.id, dataset.state, dataset.example_count, "rows", flush=True)
        job = await client.jobs.create(model=model, input_dataset=dataset, job_id=job_id)
        print(job.id, job.state, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except FireworksBatchError as error:
        sys.exit(f"error: {error}")
