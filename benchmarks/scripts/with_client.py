"""The script on this library: a file of requests to a file of results."""

import asyncio
import sys

from fireworks_batch import BatchClient, PollPolicy

MODEL = "accounts/fireworks/models/demo-8b"
POLL = PollPolicy(initial_interval=0.05, min_interval=0.0, max_interval=0.05, jitter=0.0)


async def main(base_url: str, api_key: str, requests: str, output: str) -> None:
    """Run the requests, and check that each one has an answer."""
    async with (
        BatchClient(api_key=api_key, account_id="acme", base_url=base_url, poll=POLL) as client,
        await client.run(requests, model=MODEL, output=output) as result,
    ):
        result.raise_for_failures()


asyncio.run(main(*sys.argv[1:]))
