"""The pictures of README and docs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))


def test_there_are_pictures():
    """The README shows one of them."""
    shown = re.findall(r"\((docs/pictures/[\w-]+\.svg)\)", (ROOT / "README.md").read_text())
    assert shown
    assert {ROOT / path for path in shown} <= {*PICTURES}


def test_each_picture_is_shown():
    """On a page of the documentation."""
    pages = (ROOT / "docs").rglob("*.md")
    text = "".join(page.read_text() for page in pages)
    shown = re.findall(r"\((?:\.\./)?(pictures/[\w-]+\.svg)\)", text)
    assert {ROOT / "docs" / path for path in shown} == {*PICTURES}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_fetches_nothing(picture):
    """No font and no image comes from elsewhere, and nothing in it runs."""
    text = picture.read_text(encoding="utf-8")
    assert "@font-face" not in text
    assert "<script" not in text
    assert "<image" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    links = {*re.findall(r"https?://[^\s\"<>]+", text)}
    assert links <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
