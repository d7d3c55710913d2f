"""``fireworks-batch demo``: a run from requests to results, on an emulator in this process."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import attrs

from fireworks_batch import BatchClient, PollPolicy, RetryPolicy
from fireworks_batch.cli.commands.run import run_to_the_end
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.options import CommonOptions, JobOptions, RecordOptions, RunOptions
from fireworks_batch.cli.session import Session, in_session
from fireworks_batch.emulator import Emulator, RowFailureError
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.policies import scaled

__all__ = ["demo"]

_SPEED: Final = 240
_REQUESTS: Final = "demo_requests.jsonl"
_JOBS: Final = JobOptions(
    model="accounts/fireworks/models/demo-8b",
    name="demo",
    max_tokens=8,
    temperature=0.0,
    retry_rows=1,
)
_GOOD: Final = ("love", "great", "good", "best", "excellent", "wonderful", "perfectly")
_BAD: Final = (
    *("bad", "broke", "glue", "hour", "leaks", "missing", "slow", "small", "stopped", "terrible"),
    *("useless", "waste"),
)


def demo(options: CommonOptions) -> ExitCode:
    """Run the requests that ship with the package, and show their results."""

    async def work(session: Session) -> ExitCode:
        async with workspace() as space:
            return await _show(session, space.path)

    return in_session(options, work, needs_key=False)


async def _show(session: Session, directory: Path) -> ExitCode:
    requests, rows = directory / _REQUESTS, directory / "rows.jsonl"
    requests.write_bytes(
        resources.files("fireworks_batch.cli.commands").joinpath(_REQUESTS).read_bytes()
    )
    session.output.talk(
        f"an emulator of the API on this machine, {_SPEED} times as fast, with a bad network"
    )
    async with (
        Emulator(speed=_SPEED, responder=_Critic()) as emulator,
        BatchClient(
            api_key=emulator.api_key,
            account_id=emulator.account_id,
            base_url=emulator.base_url,
            poll=scaled(PollPolicy(), 1 / _SPEED),
            retry=scaled(RetryPolicy(), 1 / _SPEED),
        ) as client,
    ):
        _spoil(emulator)
        terms = RunOptions(output=rows)
        on_emulator = attrs.evolve(session, client=client)
        # The emulator ends with this process, and its jobs with the emulator.
        code = await run_to_the_end(
            on_emulator, _JOBS, terms, RecordOptions(), requests, jobs_outlive=False
        )
    _print_answers(session.output, requests, rows)
    return code


def _spoil(emulator: Emulator) -> None:
    """Add the faults of a bad network."""
    jobs = "*/batchInferenceJobs/*"
    emulator.add_fault("drop_answer", method="POST", path="*/batchInferenceJobs")
    emulator.add_fault("status", status=503, path=jobs, after=3, times=2)
    emulator.add_fault("reset", path=jobs, after=6, times=2)
    emulator.add_fault("truncate", path="/fireworks-*", bytes=700)


class _Critic:
    """Judges a review by its words; one row fails at its first attempt."""

    def __init__(self) -> None:
        self._has_failed = False

    def __call__(self, custom_id: str, body: Mapping[str, Any]) -> str:
        if custom_id == "review-07" and not self._has_failed:
            self._has_failed = True
            raise RowFailureError("the server is overloaded", code=503)
        text = body["messages"][-1]["content"].lower()
        good = any(word in text for word in _GOOD)
        bad = any(word in text for word in _BAD)
        return "mixed" if good == bad else "positive" if good else "negative"


def _print_answers(output: Output, requests: Path, rows: Path) -> None:
    """Print each answer beside its request, which has the same id."""
    asked = map(json.loads, requests.read_bytes().splitlines())
    reviews = {row["custom_id"]: row["body"]["messages"][-1]["content"] for row in asked}
    for row in map(json.loads, rows.read_bytes().splitlines()):
        answer = row["response"]["choices"][0]["message"]["content"]
        output.line(f"{row['custom_id']}  {answer:8}  {reviews[row['custom_id']]}")
