"""Write the text of each row of a job: python read_results.py JOB INPUT.jsonl > texts.jsonl

INPUT.jsonl is the file that was uploaded. At the end, the program names the ids that may be run
again: rows that failed retryably, and rows that are missing. The key, the account and the URL come
from FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and FIREWORKS_BASE_URL.
"""

import asyncio
import json
import sys
from pathlib import Path

from fireworks_batch import BatchClient


async def main(job_id: str, input_path: Path) -> int:
    """Print a line for each row that succeeded. Return 1 if a row did not succeed, else 0."""
    again = []
    async with (
        BatchClient() as client,
        client.results(job_id, expected=input_path) as rows,
    ):
        async for row in rows:
            if row.ok:
                print(json.dumps({"custom_id": row.custom_id, "text": row.text}))
            elif row.is_retryable:
                again.append(row.custom_id)
            else:
                print(row.custom_id, row.error, file=sys.stderr)
    report = rows.report
    print(rows.job, report, file=sys.stderr)
    print("to be run again:", *again, *report.missing_ids, file=sys.stderr)
    return int(bool(report.failed or report.unreadable or report.missing_count))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]))))
