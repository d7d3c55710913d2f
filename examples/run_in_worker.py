"""A worker that may be killed at any moment: python run_in_worker.py REQUESTS MODEL NAME OUTPUT

Exits with 0 when OUTPUT is complete, and with 75 after a signal to stop. After exit code 75 and
after a crash, run it again with the same arguments. It stores nothing on this machine meanwhile:
the jobs are found on the server.
"""

import asyncio
import signal
import sys

from fireworks_batch import BatchClient

AGAIN = 75


async def main(requests: str, model: str, name: str, output: str) -> int:
    """Run the requests. If this process ends early, the jobs run on."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, task.cancel if task else sys.exit)
    async with BatchClient() as client:
        try:
            result = await client.run(requests, model=model, name=name, output=output)
        except asyncio.CancelledError as error:
            print(*getattr(error, "__notes__", []), flush=True)
            return AGAIN
    async with result:
        for job in result.report.adopted:
            print("had ended before:", job.job_id, job.state, flush=True)
        print(result.report, flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
