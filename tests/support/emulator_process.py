"""An emulator in a process of its own, and what a test tells and asks it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs


@attrs.frozen
class Server:
    """An emulator in a process of its own."""

    base_url: str

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control protocol."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base_url}/_emulator/{path}", data=data, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def requests(self) -> list[dict[str, Any]]:
        """Return the request log."""
        return self.control("GET", "requests")["requests"]

    def created(self) -> list[str]:
        """Return the ids of the jobs that were asked for, in their order."""
        return [
            each["query"]["batchInferenceJobId"]
            for each in self.requests()
            if each["method"] == "POST" and each["path"].endswith("/batchInferenceJobs")
        ]


@contextmanager
def emulator_process(key: str, *, speed: float) -> Iterator[Server]:
    """Run an emulator for the time of a block."""
    command = [sys.executable, "-m", "fireworks_batch.emulator"]
    command += ["--api-key", key, "--speed", str(speed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process.stdout.readline().strip())
        finally:
            process.terminate()
