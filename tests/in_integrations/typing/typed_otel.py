"""Uses of the traced client, checked by mypy and never run."""

from collections.abc import Coroutine
from typing import Any, assert_type

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from fireworks_batch import BatchClient, BatchInferenceJob, Dataset, JobSnapshot, Submission
from fireworks_batch.integrations import otel
from fireworks_batch.typing import BatchResult, Datasets, JobFleet, Jobs, JobWait


def length(response: dict[str, Any]) -> int:
    """Decode a response."""
    return len(response)


async def everything(client: BatchClient, tracers: TracerProvider, meters: MeterProvider) -> None:
    """A traced client has the types of a client."""
    assert_type(otel.trace(client), BatchClient)
    traced = otel.trace(client, tracer_provider=tracers, meter_provider=meters)
    assert_type(traced.jobs, Jobs)
    assert_type(traced.datasets, Datasets)
    async with otel.trace(BatchClient()) as entered:
        assert_type(entered, BatchClient)

    wait = traced.jobs.wait_until_terminal("a", timeout=5.0, changes_only=True)
    assert_type(wait, JobWait)
    assert_type(await wait, BatchInferenceJob)
    as_coroutine: Coroutine[Any, Any, BatchInferenceJob] = wait
    assert_type(await as_coroutine, BatchInferenceJob)
    async for snapshot in wait:
        assert_type(snapshot, JobSnapshot)
    assert_type(traced.jobs.watch(["a"]), JobFleet)
    assert_type(await traced.datasets.upload("rows.jsonl"), Dataset)
    assert_type(await traced.submit([], model="m"), Submission)
    assert_type(await traced.run([], model="m", decode=length), BatchResult[int])

    traced.jobs.wait_until_terminal()  # type: ignore[call-arg]
    await traced.run([])  # type: ignore[call-overload]
