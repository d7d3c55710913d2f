"""Rows, bytes and hash of a content, wherever it is cut."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.datasets.claim import Survey

BOM = b"\xef\xbb\xbf"


def survey(*pieces: bytes) -> Survey:
    """What a survey says of pieces."""
    made = Survey()
    for piece in pieces:
        made.update(piece)
    return made


def rows_of(content: bytes) -> int:
    """The same, said differently: lines end at line feeds only."""
    return sum(bool(line.strip()) for line in content.removeprefix(BOM).split(b"\n"))


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", 0),
        (b"{}", 1),
        (b"{}\n", 1),
        (b"{}\n{}", 2),
        (b"{}\r\n{}\r\n", 2),
        (b"\n\n{}\n \t\r\n{}\n\n", 2),
        (b"\n", 0),
        (b" ", 0),
        (b" \n", 0),
        (BOM, 0),
        (BOM + b"\n", 0),
        (BOM + b"{}\n{}", 2),
        (BOM + b"1", 1),
        (BOM + BOM, 1),
        (b"\xef\xbb", 1),
        (b"\xef\xbb\n", 1),
        ("a\u2028b\n".encode(), 1),
        (b"a\rb\x0bc\x0cd\x1ce\x85f\n", 1),
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
def test_rows_are_lines_that_are_not_blank(content, rows, cut):
    """A line ends at a line feed or at the end, and at nothing else; a BOM is no content."""
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)]

    assert survey(*pieces).rows == rows


@given(st.lists(st.text("ab \t\r\n\ufeff").map(str.encode)))
def test_pieces_do_not_matter(pieces):
    """Rows, size and hash are those of the whole."""
    whole = b"".join(pieces)
    found = survey(*pieces)

    assert (found.rows, found.size) == (rows_of(whole), len(whole))
    assert found.digest == hashlib.sha256(whole).hexdigest()
