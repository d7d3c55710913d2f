"""Write a job's texts by id: python read_results.py JOB INPUT.jsonl > texts.jsonl

INPUT.jsonl is what was uploaded: ids without a row are named at the end, with the rows that failed
and may be run again. The key and the rest come from FIREWORKS_API_KEY and its like.
"""

import asyncio
import json
import sys
from pathlib import Path

from fireworks_batch import BatchClient


async def main(job_id: str, input_path: Path) -> int:
    """Print a line for each row that succeeded; exit with 1 if that is not all of them."""
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
