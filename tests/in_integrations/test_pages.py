"""Every snippet of the pages on integrations runs, one after the other, as the page shows them."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from test_examples import environment, write_requests

PAGES = sorted((Path(__file__).parents[2] / "docs" / "integrations").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_snippets_of_a_page_run(emulator, tmp_path, monkeypatch, page):
    """In one namespace, with ``await`` at the top level, beside a file of three requests."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(emulator).items():
        monkeypatch.setenv(name, value)
    emulator.script_job("nightly-eval", phases=["COMPLETED"])
    write_requests(tmp_path / "requests.jsonl")
    names = {"__name__": "snippet"}
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for snippet in snippets:
        code = compile(snippet, page.stem, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)  # noqa: S307 - our own page
        if inspect.iscoroutine(running):
            await running
    assert snippets
