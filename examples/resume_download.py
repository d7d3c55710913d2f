"""Download a dataset over a bad line: python resume_download.py DATASET DIRECTORY

A broken connection is resumed where it broke; 20 attempts in a row may bring nothing. The key, the
account and the URL come from FIREWORKS_API_KEY, FIREWORKS_ACCOUNT_ID and FIREWORKS_BASE_URL.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, FireworksBatchError, RetryPolicy


def tell(done: int, total: int) -> None:
    """Show how far it is."""
    print(f"{done:,} of {total:,} bytes", flush=True)


async def main(dataset: str, directory: str) -> None:
    """Print the files, which are whole."""
    async with BatchClient(retry=RetryPolicy(max_attempts=20)) as client:
        for path in await client.datasets.download(dataset, directory, on_progress=tell):
            print(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except FireworksBatchError as error:
        sys.exit(f"error: {error}")
