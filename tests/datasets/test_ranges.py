"""What an answer means for the bytes that are there already."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from fireworks_batch.datasets.ranges import (
    Held,
    StartOver,
    Take,
    read_answer,
    request_headers,
    size_of,
)
from fireworks_batch.models.errors import APIStatusError
from fireworks_batch.wire.answers import is_transient_at_storage

MD5 = hashlib.md5(b"content", usedforsecurity=False).digest()
HASH = base64.b64encode(MD5).decode()
HALF = Held(size=50, etag='"v1"', total=100, md5=MD5)


def read(held: Held, status: int, **headers: str) -> Take | StartOver | None:
    """Read an answer whose headers are named as arguments can be."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(held, status, CIMultiDict(named))


def test_a_new_download_asks_for_all():
    """Uncompressed, without a range."""
    assert request_headers(Held()) == {"Accept-Encoding": "identity"}


def test_a_broken_one_asks_for_the_rest_of_the_same_object():
    """If-Range has the validator."""
    assert request_headers(HALF) == {
        "Accept-Encoding": "identity",
        "Range": "bytes=50-",
        "If-Range": '"v1"',
    }


def test_without_a_strong_validator_nothing_is_resumed():
    """The rest might be that of another object."""
    assert "Range" not in request_headers(Held(size=50, total=100))


def test_a_whole_answer_starts_from_zero():
    """Whatever was there; it brings length, validator and hash."""
    wanted = Take(Held(etag='"v2"', total=70, md5=MD5))
    headers = {"etag": '"v2"', "content_length": "70", "x_goog_hash": f"crc32c=AAAAAA==,md5={HASH}"}

    assert read(Held(), 200, **headers) == wanted
    assert read(HALF, 200, **headers) == wanted


def test_a_hash_may_come_in_lines_of_its_own():
    """As Google's storage sends it."""
    headers = CIMultiDict([("x-goog-hash", "crc32c=AAAAAA=="), ("X-Goog-Hash", f"md5={HASH}")])

    assert read_answer(Held(), 200, headers) == Take(Held(md5=MD5))


@pytest.mark.parametrize("text", ["", "crc32c=AAAAAA==", "md5=", "md5=AAAA", "md5=ü", "md5=A B"])
def test_a_hash_that_is_none_is_none(text):
    """Of an object that was composed there is no MD5."""
    assert read(Held(), 200, x_goog_hash=text) == Take(Held())


@pytest.mark.parametrize("etag", ['W/"v1"', "v1", '"v1', '"a"b"', ""])
def test_a_weak_validator_is_no_validator(etag):
    """It may stay the same when bytes change."""
    assert read(Held(), 200, etag=etag) == Take(Held())


@pytest.mark.parametrize("etag", ['"a\x00b"', '"a\tb"', '"\x7f"', '"é"', '"\udcff"'])
def test_a_validator_that_no_header_can_carry_is_no_validator(etag):
    """It would have to be sent back."""
    assert read(Held(), 200, etag=etag) == Take(Held())


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "many"])
def test_a_length_that_is_none_is_unknown(length):
    """The end of the body is then the end of the file."""
    assert read(Held(), 200, content_length=length) == Take(Held())


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize(
    ("lines", "coding"),
    [
        (["gzip"], "gzip"),
        (["identity", "GZip"], "GZip"),
        (["gzip", "identity"], "gzip"),
        (["identity, br"], "br"),
        (["x-new"], "x-new"),
        (["x" * 8000], "x" * 40),
    ],
)
def test_a_compressed_answer_is_not_taken(status, lines, coding):
    """In whichever line the header says it: what is stored was asked for, and nothing else."""
    headers = CIMultiDict([("Content-Encoding", line) for line in lines])
    headers["Content-Range"] = "bytes 50-99/100"

    assert read_answer(HALF, status, headers) == StartOver(
        f"the file is compressed ({coding!r}), which was not asked for"
    )
    headers["Content-Length"] = "9"
    assert size_of(200, headers) is None


@pytest.mark.parametrize("lines", [[], [""], ["identity"], ["Identity", "identity"]])
def test_an_answer_that_only_names_its_coding_is_taken(lines):
    """``identity`` is no compression."""
    headers = CIMultiDict([("Content-Encoding", line) for line in lines])

    assert read_answer(Held(), 200, headers) == Take(Held())


def test_an_object_that_storage_unpacks_is_neither_resumed_nor_compared():
    """Its length and its hash are those of the packed object."""
    headers = {"etag": '"v1"', "content_length": "9", "x_goog_hash": f"md5={HASH}"}

    assert read(Held(), 200, x_goog_stored_content_encoding="gzip", **headers) == Take(Held())
    assert read(Held(), 200, x_goog_stored_content_encoding="identity", **headers) == Take(
        Held(etag='"v1"', total=9, md5=MD5)
    )


def test_the_rest_is_appended():
    """What is held stays held."""
    assert read(HALF, 206, content_range="bytes 50-99/100", etag='"v1"') == Take(HALF)
    assert read(HALF, 206, content_range="bytes 50-99/100") == Take(HALF)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "a range that can be read ('')"),
        ({"content_range": "bytes 50-99/*"}, "a range that can be read ('bytes 50-99/*')"),
        ({"content_range": "bytes 0-99/100"}, "bytes 0 to 99 of 100, not those from 50 on"),
        ({"content_range": "bytes 51-99/100"}, "bytes 51 to 99"),
        ({"content_range": "bytes 50-98/100"}, "bytes 50 to 98 of 100"),
        ({"content_range": "bytes 50-100/101"}, "the object has changed"),
        ({"content_range": "bytes 50-99/100", "etag": '"v2"'}, "the object has changed"),
    ],
)
def test_a_part_that_does_not_fit_starts_over(headers, reason):
    """Never are bytes of two objects put together."""
    decision = read(HALF, 206, **headers)

    assert isinstance(decision, StartOver)
    assert reason in decision.reason


@pytest.mark.parametrize("status", [412, 416])
def test_a_refused_range_starts_over(status):
    """There may be fewer bytes than before."""
    assert isinstance(read(HALF, status), StartOver)


@pytest.mark.parametrize("status", [204, 302, 400, 403, 404, 412, 416, 500, 503])
def test_anything_else_is_a_refusal(status):
    """To be read for what it says."""
    assert read(Held(), status) is None


@given(
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(['"v1"', '"v2"']),
)
def test_what_is_appended_is_always_the_rest_of_the_same_object(size, first, last, total, etag):
    """For any part: it begins where we are, and ends where the object does."""
    held = Held(size=size, etag='"v1"', total=5)
    decision = read(held, 206, content_range=f"bytes {first}-{last}/{total}", etag=etag)
    fits = first == size and last == 4 and total == 5 and etag == '"v1"'

    assert isinstance(decision, Take) == fits


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [
        (206, {"content-range": "bytes 0-0/1234"}, 1234),
        (200, {"content-length": "1234"}, 1234),
        (416, {"content-range": "bytes */0"}, 0),
        (206, {"content-range": f"bytes 0-0/{'9' * 5000}"}, None),
        (206, {}, None),
        (416, {}, None),
        (403, {"content-length": "1234"}, None),
    ],
)
def test_the_first_byte_tells_the_length(status, headers, size):
    """Also where ranges are not known, or there is no byte."""
    assert size_of(status, CIMultiDict(headers)) == size


@pytest.mark.parametrize(
    ("status", "code", "message", "again"),
    [
        (400, "ExpiredToken", "The provided token has expired.", True),
        (403, "AccessDenied", "Request has expired", True),
        (403, "AccessDenied", "no", False),
        (403, "SignatureDoesNotMatch", "no", False),
        (404, "NoSuchKey", "expired", False),
        (302, "", "a redirect", False),
        (408, "", "", True),
        (429, "", "", True),
        (500, "", "", True),
        (503, "", "", True),
    ],
)
def test_what_a_fresh_url_may_cure_is_repeated(status, code, message, again):
    """An expired one, and what the storage itself fails with."""
    error = APIStatusError("no", status=status, code=code, reason=message)

    assert is_transient_at_storage(error) is again
