"""From a file of requests to a file of results: python run_file.py REQUESTS MODEL NAME

Writes REQUESTS.results and REQUESTS.errors. The key, the account and the URL come from
FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and FIREWORKS_BASE_URL. After a crash, call it again with
the same arguments: it finds the same jobs.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, InputRowsError, ResultRowsError, RunProgress


def show(progress: RunProgress) -> None:
    """Print the progress as one line."""
    print(progress.stage, f"{progress.rows_done}/{progress.rows} rows", flush=True)


async def main(requests: str, model: str, name: str) -> int:
    """Return 0 if each row has a response, 1 if not, and 2 if a row is bad and nothing was sent."""
    async with BatchClient() as client:
        try:
            result = await client.run(
                requests,
                model=model,
                name=name,
                output=f"{requests}.results",
                errors=f"{requests}.errors",
                retry_rows=1,
                on_progress=show,
            )
        except InputRowsError as error:
            print(error, file=sys.stderr)
            return 2
    async with result:
        print(result.report)
        try:
            result.raise_for_failures()
        except ResultRowsError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
