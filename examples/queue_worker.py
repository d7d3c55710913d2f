"""The task of any queue, which may run twice: python queue_worker.py MESSAGE

MESSAGE is a JSON object with requests, model, name and output; and with max_rows, if the requests
are to be split into jobs of so many rows.
"""

import asyncio
import json
import sys
from typing import Any

from fireworks_batch import BatchClient, FireworksBatchError, Limits


async def run(message: dict[str, Any]) -> dict[str, Any]:
    """Bring the requests to results, and return a manifest, which goes through JSON.

    All that the ids of the jobs derive from is in the message: no clock and no draw is asked.
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
    """Do what `run` does, in a worker without an event loop."""
    return asyncio.run(run(message))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(json.dumps(work(json.loads(sys.argv[1]))))
    except (FireworksBatchError, OSError) as error:
        sys.exit(f"error: {error}")
