"""Run a job for each dataset: python orchestrate_many.py MODEL DATASET DATASET ...

Four jobs are created at a time. All jobs are followed together, and each is reported when it ends.
A job that fails does not stop the others. The key, the account and the URL come from
FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and FIREWORKS_BASE_URL.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, BatchInferenceJob, FireworksBatchError


async def main(model: str, datasets: list[str]) -> int:
    """Print the outcome of each job when it ends. Return 1 if one is not COMPLETED, else 0."""
    jobs: list[BatchInferenceJob] = []
    gate = asyncio.Semaphore(4)

    async def submit(client: BatchClient, dataset: str) -> None:
        async with gate:
            try:
                jobs.append(await client.jobs.create(model=model, input_dataset=dataset))
            except FireworksBatchError as error:
                print(f"{dataset}: not created: {error}", file=sys.stderr)

    completed = 0
    async with BatchClient() as client:
        async with asyncio.TaskGroup() as group:
            for dataset in datasets:
                group.create_task(submit(client, dataset))
        async for outcome in client.jobs.as_completed(jobs):
            try:
                job = outcome.unwrap().raise_for_outcome()
            except FireworksBatchError as error:
                print(f"failed: {error}", file=sys.stderr)
            else:
                completed += 1
                print(job.id, job.state, job.output_dataset_id, flush=True)
    return int(completed < len(datasets))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2:])))
    except FireworksBatchError as error:
        sys.exit(f"error: {error}")
