"""How texts of others show themselves: on one line, cut, and secrets not at all."""

import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fireworks_batch
from fireworks_batch.models.errors import InputRowsError, ResponseDecodeError
from fireworks_batch.models.texts import Secret, did_you_mean, fit, fit_record, hidden, visible


def test_a_foreign_text_cannot_steer_the_terminal():
    """Escapes, line breaks and turned writing are spelled out; other letters stay."""
    assert visible("a\x1b[2Jb\nc\u202ed é 漢") == r"a\x1b[2Jb\nc\u202ed é 漢"


def test_what_utf8_cannot_spell_can_be_written():
    """Bytes of a header that are no UTF-8 come as such characters."""
    assert visible("a\udcffb") == r"a\udcffb"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("lave", "; did you mean 'leave'?"),
        ("LEAVE", "; did you mean 'leave'?"),
        ("delte", "; did you mean 'delete'?"),
        ("something else", ""),
        ("", ""),
        (5, ""),
        ("leave" * 10_000, ""),
    ],
)
def test_a_word_that_is_nearly_right_is_told(value, said):
    """The word that is near is named, whatever the case of its letters; where none is, nothing."""
    assert did_you_mean(value, ("leave", "delete")) == said


@given(st.text() | st.integers(1990, 2010).map("x".__mul__))
def test_a_short_text_loses_nothing(text):
    """Up to 2,000 characters, only control characters are spelled out."""
    assert (fit(text) == visible(text)) == (len(visible(text)) <= 2000)


def test_a_long_text_has_both_its_ends():
    """And says where something is left out."""
    assert fit("a" * 10**7 + "b" * 400) == "a" * 1500 + " … " + "a" * 97 + "b" * 400


@pytest.mark.once
@given(st.text(alphabet="a\n\x1b\ud800", min_size=1000, max_size=3000))
def test_a_text_that_fits_fits_in_another_one(text):
    """An error may be told by another error, and by the log."""
    assert fit(fit(text)) == fit(text)
    assert len(fit(text)) <= 2000


def test_an_error_keeps_its_own_lines_and_no_others():
    """Bad rows have a line each; a line break in a text of others is spelled out."""
    error = InputRowsError("2 bad rows:", "  line 1: a\nb", "  line 2: c")
    assert str(error) == "2 bad rows:\n  line 1: a\\nb\n  line 2: c"


def test_problems_of_an_answer_are_cut():
    """Each of them, as the text of the error is."""
    error = ResponseDecodeError("x" * 10**6, problems=["y" * 10**6, "z"])
    assert [2000, 2000, 1] == [len(text) for text in (str(error), *error.problems)]


def made(text: str, *arguments: object) -> logging.LogRecord:
    """A record of the log."""
    return logging.LogRecord("x", logging.INFO, "x", 1, text, arguments, None)


def test_a_record_that_fits_keeps_its_arguments():
    """Whatever groups records goes by their formats."""
    record = made("%s: %d", "ok", 3)
    assert fit_record(record)
    assert (record.msg, record.args) == ("%s: %d", ("ok", 3))


def test_a_record_that_does_not_fit_is_made_to():
    """Its percent signs are none of a format then."""
    record = made("%s: %d", "a\n100%d", 3)
    assert fit_record(record)
    assert record.getMessage() == r"a\n100%d: 3"


def test_each_logger_of_ours_has_the_filter():
    """A logger's filter sees none of the records of the loggers below it."""
    fireworks_batch.BatchClient  # noqa: B018 - it is imported when it is first used
    folder = Path(fireworks_batch.__file__).parent
    texts = [
        path.read_text(encoding="utf-8")
        for path in folder.rglob("*.py")
        if "emulator" not in path.parts
    ]
    names = {name for text in texts for name in re.findall(r'getLogger\("([^"]+)"\)', text)}
    assert len(names) > 3
    assert [name for name in names if fit_record not in logging.getLogger(name).filters] == []


@pytest.mark.parametrize("value", [None, False, 5])
def test_what_is_no_string_is_not_hidden(value):
    """It says what is wrong with an argument."""
    assert hidden(value) is value


def test_a_secret_shows_itself_in_no_repr():
    """Nor in that of what holds it; it is its text all the same."""
    assert repr([hidden("fw_secret")]) == "['***']"
    assert hidden("fw_secret") == Secret("fw_secret") == "fw_secret"
