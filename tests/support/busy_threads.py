"""A loop whose threads are all at work."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def no_thread_free() -> Iterator[None]:
    """Let no blocking work begin before the end.

    A new thread may be so fast that Python 3.14 has the result before the task waits for it.
    """
    may_end = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, may_end.wait)
    try:
        yield
    finally:
        may_end.set()
