"""A task for any queue, which may run twice: python queue_worker.py MESSAGE

MESSAGE is a JSON object with requests, model, name and output. It may have max_rows: then the
requests are split into jobs of at most max_rows rows.
"""

import asyncio
import json
import sys
from typing import Any

from fireworks_batch import BatchClient, FireworksBatchError, Limits


async def run(message: dict[str, Any]) -> dict[str, Any]:
    """Run the requests, and return a manifest that can be sent as JSON.

    The ids of the jobs derive from the message alone. So a second run of the same message finds the
    same jobs.
    """
    async with BatchClient() as client:
        result = await client.run(
            message["requests"],
            model=message["model"],
            name=message["name"],
            output=message["output"],
            limits=Limits(max_rows=message.get("max_rows")),
            retry_rows=2,
        )
    async with result:
        report = result.report
        counts = {"succeeded": report.succeeded, "failed": report.failed, "missing": report.missing}
        return {"output": message["output"], **counts, "jobs": [job.job_id for job in report.jobs]}


def work(message: dict[str, Any]) -> dict[str, Any]:
    """Call `run` in a worker that has no event loop."""
    return asyncio.run(run(message))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(json.dumps(work(json.loads(sys.argv[1]))))
    except (FireworksBatchError, OSError) as error:
        sys.exit(f"error: {error}")
