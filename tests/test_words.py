"""The words of the documentation: each thing has one name, which the glossary has."""

import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[1] / "docs"
GLOSSARY = re.findall(r"^(\w.*)\n  ", (DOCS / "words.md").read_text(encoding="utf-8"), re.MULTILINE)
# Each word of the glossary, and the names that it replaces. They are found in that sense alone:
# "look at a file", "the end of a file" and "a context window" are plain English.
INSTEAD = {
    "poll": r"\b(?:an?|the|each|every|one|next|last|first|two|per|of|more|\d+) looks?\b(?!-| up)",
    "snapshot": r"\b(?:good|successful) looks?\b",
    "failed poll": r"\b(?:lost|failed|bad) looks?\b(?!-| up)",
    "terminal state": r"\b(?:end|final|finished) states?\b",
    "outcome": r"\b(?:[Tt]he|its|their|job|job's|jobs'|good|bad) endings?\b|\bendings\b",
    "job time limit": r"(?<!context )(?<!terminal )(?<!browser )\bwindows?\b",
    "attempt": r"\b[Gg]enerations?\b",
    "remaining rows": r"\bwhat is left\b(?! out)|\bruns? the rest\b|\brest of (?:the|its) rows\b",
}


@pytest.fixture(scope="module")
def passages():
    """README, the pages, all docstrings and the help texts, without their code."""
    return [*runpy.run_path(str(DOCS / "plain_english.py"))["passages"]()]


@pytest.mark.parametrize("word", INSTEAD)
def test_a_thing_has_one_name(passages, word):
    """No page, docstring or help text calls it by another name."""
    pattern = re.compile(INSTEAD[word])

    assert [] == [(each.place, each.text) for each in passages if pattern.search(each.text)]


@pytest.mark.parametrize("source", ["README", "docs", "docstrings", "help"])
def test_each_source_is_read(passages, source):
    """Else the test above would hold of nothing."""
    assert any(each.source == source for each in passages)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("poll", "A wait asks for the state at each look."),
        ("snapshot", "A snapshot is a good look."),
        ("failed poll", "A lost look costs nothing."),
        ("terminal state", "FAILED is a final state."),
        ("outcome", "Awaiting a fleet gives the endings."),
        ("job time limit", "A job that used up its window has expired."),
        ("attempt", "At most 20 generations run."),
        ("remaining rows", "The next job runs what is left."),
    ],
)
def test_another_name_is_found(word, text):
    """In a sentence like those in which it was used."""
    assert re.search(INSTEAD[word], text)


@pytest.mark.parametrize("word", INSTEAD)
def test_a_word_is_in_the_glossary(word):
    """A reader finds what it means."""
    assert word in GLOSSARY


def test_the_glossary_is_in_the_order_of_the_alphabet():
    """In its source, too."""
    assert sorted(GLOSSARY) == GLOSSARY
