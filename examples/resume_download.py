"""Download a dataset over a bad connection: python resume_download.py DATASET DIRECTORY

After a broken connection, the download goes on at the byte where it broke. It fails after 20 tries
in a row that bring no byte. The key, the account and the URL come from FIREWORKS_API_KEY,
FIREWORKS_ACCOUNT_ID and FIREWORKS_BASE_URL.
"""

import asyncio
import sys

from fireworks_batch import BatchClient, FireworksBatchError, RetryPolicy


def tell(done: int, total: int) -> None:
    """Print the progress of the download."""
    print(f"{done:,} of {total:,} bytes", flush=True)


async def main(dataset: str, directory: str) -> None:
    """Download all files of the dataset, and print their paths."""
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
