"""Notebooks, executed by nbclient in a kernel of ipykernel, against the emulator."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from fireworks_batch.emulator import Emulator
from test_examples import environment, write_requests

MAKE = """
from fireworks_batch import BatchClient, integrations
client = BatchClient()
"""
RUN = """
result = await client.run(
    "requests.jsonl",
    model="accounts/fireworks/models/demo-8b",
    name="in-a-notebook",
    on_progress=integrations.rich.bars(),
)
"""
FOLLOW = """
with integrations.rich.bars() as show:
    async for snapshot in client.jobs.wait_until_terminal("nightly-eval"):
        show(snapshot)
"""
CLOSE = """
await result.aclose()
await client.aclose()
"""


@pytest.fixture
async def emulator():
    """One whose model says something that is not for a page."""
    async with Emulator(
        speed=60_000, account_id="acme", responder=lambda *_: "<script>alert(1)</script>"
    ) as running:
        running.script_job("nightly-eval", phases=["RUNNING", "COMPLETED"], rows=100)
        yield running


@pytest.fixture
def execute(emulator, tmp_path):
    """Give a function that executes cells in a kernel of their own, and returns their outputs."""
    write_requests(tmp_path / "requests.jsonl")

    async def run(*sources):
        notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=50,
            resources={"metadata": {"path": str(tmp_path)}},
        )
        await client.async_execute(env=environment(emulator))
        nbformat.validate(notebook)
        return [cell.outputs for cell in notebook.cells]

    return run


async def test_a_notebook_shows_bars_and_results(execute):
    """One output for all drawings of a cell, which holds the last; tables for what a cell returns.

    No text of the model is a tag of the page, and no stream says anything.
    """
    outputs = await execute(
        MAKE, RUN, FOLLOW, "result", "snapshot", "await client.jobs.get('nightly-eval')", CLOSE
    )
    made, (run,), (wait,), (result,), (snapshot,), (job,), closed = outputs
    assert made == closed == []
    assert run.output_type == "display_data"
    assert "collecting 100% (3 of 3 rows), 1 of 1 jobs ended" in run.data["text/html"]
    assert "COMPLETED" in run.data["text/html"]
    assert "collecting 100% (3 of 3 rows), 1 of 1 jobs ended" in run.data["text/plain"]
    assert "nightly-eval" in wait.data["text/plain"]
    assert "COMPLETED" in wait.data["text/plain"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in result.data["text/html"]
    assert "<script" not in result.data["text/html"]
    assert '<th style="text-align:left">r0</th>' in result.data["text/html"]
    assert result.data["text/plain"].startswith("<BatchResult 3 of 3 rows succeeded")
    assert "<caption" in snapshot.data["text/html"]
    assert "BatchInferenceJob" in job.data["text/html"]


async def test_a_cell_that_fails_keeps_its_bars_and_the_next_cell_works(execute):
    """The bars show the last progress, the error is below them, and nothing else is left."""
    refused = """
from fireworks_batch import InputRowsError
try:
    await client.run(
        [],
        model="accounts/fireworks/models/demo-8b",
        on_progress=integrations.rich.bars(),
    )
except InputRowsError as error:
    print(type(error).__name__)
"""
    after = """
import asyncio, sys
assert type(sys.stderr).__name__ == type(sys.stdout).__name__ == "OutStream"
print(*(task.get_name() for task in asyncio.all_tasks() if "fireworks" in repr(task)))
"""
    _, (bar, error), (rest,), _ = await execute(MAKE, refused, after, "await client.aclose()")
    assert "checking" in bar.data["text/plain"]
    assert error.text == "InputRowsError\n"
    assert not rest.text.strip()
