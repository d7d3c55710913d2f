"""The page about notebooks: its cells run one after the other, as in a kernel."""

import ast
import inspect
import re

import pytest

from test_examples import ROOT, environment, write_requests

PAGE = (ROOT / "docs" / "in-a-notebook.md").read_text(encoding="utf-8")
CELLS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def run_cells(emulator, tmp_path, monkeypatch):
    """Give a function that runs cells in one namespace, on the loop of the test."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(emulator).items():
        monkeypatch.setenv(name, value)
    emulator.script_job("nightly-eval", phases=["COMPLETED"])
    write_requests(tmp_path / "requests.jsonl")
    names = {}

    async def run(cells):
        for cell in cells:
            code = compile(cell, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)  # noqa: S307 - our own page
            if inspect.iscoroutine(running):
                await running
        return names

    return run


@pytest.mark.once
async def test_the_cells_of_the_page_run(run_cells, capsys):
    """From the first to the last; the table has the rows of the results."""
    names = await run_cells(CELLS)

    assert ["r0", "r1", "r2"] == list(names["table"]["id"])
    out, err = capsys.readouterr()
    assert "collecting 100% (3 of 3 rows), 1 of 1 jobs ended" in err
    assert "nightly-eval COMPLETED" in err
    assert "r0 hi" in out
