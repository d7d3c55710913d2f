"""The documentation: nothing public is missing from it. Its blocks run in test_examples."""

import re
from pathlib import Path

import pytest

import fireworks_batch
from fireworks_batch import FireworksBatchError

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


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
