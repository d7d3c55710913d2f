"""The documentation. Its blocks run in test_examples; the built pages are tested in built_docs."""

import re
import runpy
from pathlib import Path

import pytest

import fireworks_batch
from fireworks_batch import JobState
from fireworks_batch.cli.exit_codes import ExitCode, worst

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"


def test_the_guarantees_name_tests_that_exist():
    """A guarantee without a test is none."""
    page = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)`", page))

    assert named
    assert named <= {path.name for path in Path(__file__).parent.rglob("test_*.py")}


def test_contributing_names_the_rooms_of_the_contract_in_its_order():
    """The rule in words is the rule that is checked."""
    page = (DOCS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+/`(?:, )?)+) \|", page, re.MULTILINE)
    named = [re.findall(r"`(\w+)/`", row) for row in rows]

    assert named == runpy.run_path(str(DOCS / "drawn.py"))["layers"]()


def test_each_room_and_module_says_what_it_is():
    """On one line, which the drawing and the table of modules show."""
    drawn = runpy.run_path(str(DOCS / "drawn.py"))
    table, picture = drawn["modules"](), drawn["rooms"]()
    for rooms in drawn["layers"]():
        for room in rooms:
            assert f">{room}</text>" in picture
            for module in drawn["modules_of"](room):
                assert f"| `{room}/{module.name}` | {drawn['first_line'](module)} |" in table


def test_the_readme_is_two_screens():
    """Of some 55 lines each; what is longer stands in the documentation."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", [README, *DOCS.glob("*.md")], ids=lambda page: page.stem)
def test_links_to_files_of_ours_lead_somewhere(page):
    """Pages, pictures and examples that are named are there."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^):#]+)(?:#[\w-]+)?\)", text):
        if not target.startswith("_drawn/"):
            assert (page.parent / target).exists(), target
    for example in re.findall(r"`examples/(\w+\.py)`", text):
        assert (DOCS.parent / "examples" / example).exists()


def test_the_drawn_table_has_each_state_once():
    """It is the one of the code."""
    named = re.findall(r"`([A-Z_]+)`", runpy.run_path(str(DOCS / "drawn.py"))["states"]())

    assert sorted(named) == sorted(map(str, JobState))


def test_the_page_on_the_command_line_has_each_variable():
    """Each by which an option can be given."""
    options = (Path(fireworks_batch.__file__).parent / "cli").rglob("*.py")
    given = {
        name
        for path in options
        for name in re.findall(r'envvar="(\w+)"', path.read_text(encoding="utf-8"))
    }
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")

    assert given
    assert given <= set(re.findall(r"`(FIREWORKS_\w+)`", page))


def test_the_page_on_the_command_line_has_each_exit_code():
    """And the order of several jobs' codes."""
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")

    assert [*map(int, re.findall(r"^\| (\d+) \|", page, re.MULTILINE))] == [*map(int, ExitCode)]
    order = re.search(r"the first of ([\d, ]+) that", page)
    assert order
    codes = [ExitCode(int(code)) for code in order[1].split(", ")]
    assert [worst(codes[number:]) for number in range(len(codes))] == codes
