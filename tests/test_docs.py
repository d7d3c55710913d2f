"""The documentation: every block of Python runs, and nothing public is missing from it."""

import re
from pathlib import Path

import pytest

import fireworks_batch
from fireworks_batch import FireworksBatchError
from fireworks_batch.emulator import Emulator

from .test_examples import run

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SNIPPETS = [
    (page, number)
    for page in PAGES
    for number, _ in enumerate(BLOCK.findall((DOCS / page).read_text(encoding="utf-8")))
]


@pytest.mark.parametrize(("page", "number"), SNIPPETS)
async def test_every_snippet_runs(tmp_path, monkeypatch, page, number):
    """As a program of its own, with the environment that a reader would export."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "snippet.py"
    text = (DOCS / page).read_text(encoding="utf-8")
    program.write_text(BLOCK.findall(text)[number], encoding="utf-8")
    async with Emulator(speed=10_000, account_id="acme") as emulator:
        emulator.script_job("nightly-eval", phases=["RUNNING", "COMPLETED"])
        code, out, err = await run(emulator, program)
    assert (0, "") == (code, err)
    assert out


@pytest.mark.parametrize("name", sorted({*fireworks_batch.__all__} - {"__version__"}))
def test_every_public_name_is_in_the_reference(name):
    """Or, for an error, on the errors' page."""
    value = getattr(fireworks_batch, name)
    is_error = isinstance(value, type) and issubclass(value, FireworksBatchError)
    page = (DOCS / ("errors.md" if is_error else "reference.md")).read_text(encoding="utf-8")

    assert re.search(rf"`{name}`" if is_error else rf":: {name}$", page, re.MULTILINE)


def test_every_page_can_be_reached():
    """The table of contents names each page."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    named = re.findall(r"^([a-z-]+)$", index, re.MULTILINE)

    assert {f"{name}.md" for name in named} | {"index.md"} == {*PAGES}


def test_the_guarantees_name_tests_that_exist():
    """A guarantee without a test is none."""
    page = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)`", page))

    assert named
    assert named <= {path.name for path in Path(__file__).parent.glob("test_*.py")}
