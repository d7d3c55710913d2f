"""Figures, durations and foreign texts, as people read and type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch import ConfigurationError
from fireworks_batch.cli.commands.datasets import transfer_line
from fireworks_batch.cli.display.figures import compact, percent, rate, shortened, size
from fireworks_batch.cli.durations import brief, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        ("2d", 172800),
        ("none", None),
        (" None ", None),
    ],
)
def test_durations_are_read(text, seconds):
    """A number is seconds; units are d, h, m and s; none is no limit."""
    assert parse_duration("--timeout", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "0s", "h", "1w", "1e3", "1h30", "inf", "nan", "1,5", "9" * 400]
)
def test_what_is_no_duration_is_refused(text):
    """The text names the option, the value, and what one looks like."""
    with pytest.raises(ConfigurationError) as caught:
        parse_duration("--timeout", text)
    assert str(caught.value) == (
        f"--timeout: {text!r} is not a duration above 0, as in 90 (seconds), 15m, 1h30m or 2d"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.04, "0s"),
        (1.96, "2s"),
        (9.9, "9.9s"),
        (9.95, "10s"),
        (9.96, "10s"),
        (99, "99s"),
        (99.5, "2m"),
        (100, "2m"),
        (5940, "99m"),
        (6000, "1h40m"),
        (7500, "2h05m"),
        (48 * 3600, "2d00h"),
        (75 * 3600, "3d03h"),
    ],
)
def test_durations_are_brief(seconds, text):
    """Two units at most."""
    assert brief(seconds) == text


@given(st.floats(0, 86400 * 99))
def test_durations_keep_their_width(seconds):
    """A column of them needs six characters."""
    assert len(brief(seconds)) <= 6


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_999, "1000k"),
        (1_000_000, "1.0M"),
        (12_345_678, "12.3M"),
        (5_000_000_000, "5.0G"),
        (10**15, "1000T"),
    ],
)
def test_counts_are_compact(number, text):
    """Three figures from ten thousand on."""
    assert compact(number) == text


@given(st.integers(0, 10**15))
def test_counts_keep_their_width(number):
    """A column of them needs five characters."""
    assert len(compact(number)) <= 5


@pytest.mark.parametrize(
    ("share", "text"), [(None, ""), (0.0, "0.0%"), (99.9, "99.9%"), (99.99, "99.9%"), (100, "100%")]
)
def test_a_share_is_100_only_when_it_is(share, text):
    """Nothing is rounded up to the end."""
    assert percent(share) == text


@pytest.mark.parametrize(
    ("rows_per_second", "text"),
    [
        (None, ""),
        (0.0, ""),
        (12345.0, "12.3k/s"),
        (2.4, "2/s"),
        (0.95, "1/s"),
        (0.94, "56.4/min"),
        (0.5, "30/min"),
        (0.001, "0.1/min"),
    ],
)
def test_slow_rates_are_by_the_minute(rows_per_second, text):
    """So that they are no zeros."""
    assert rate(rows_per_second) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_000_000, "1.0 MB"),
        (150_000_000, "150.0 MB"),
    ],
)
def test_sizes_are_decimal(count, text):
    """As the service counts its limits."""
    assert size(count) == text


@given(st.text(max_size=50), st.integers(3, 60))
def test_a_shortened_text_has_both_its_ends(text, room):
    """It takes the room that there is, and says where something is left out."""
    short = shortened(text, room)
    assert len(short) == min(len(text), room)
    if len(text) > room:
        head, _, tail = short[: room // 2], short[room // 2], short[room // 2 + 1 :]
        assert text.startswith(head)
        assert text.endswith(tail)
        assert "…" in short
    else:
        assert short == text


def test_a_transfer_in_a_line():
    """How much of how much; the word alone while nobody knows."""
    assert transfer_line("uploading", 0, 0) == "uploading"
    assert transfer_line("uploading", 500_000, 2_000_000) == "uploading 25.0% (500.0 kB of 2.0 MB)"
