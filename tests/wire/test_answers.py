"""How an answer is read."""

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fireworks_batch.models import errors
from fireworks_batch.models.errors import APIStatusError, NotFoundError, ResponseDecodeError
from fireworks_batch.wire import answers as http
from fireworks_batch.wire import requests as calls
from fireworks_batch.wire.answers import Answer, Page, read_page, read_signed_urls, url_of

NOW = datetime(2026, 9, 14, 9, 0, 0, tzinfo=UTC)
REQUEST = attrs.evolve(calls.get_job("acme", "nightly"), not_found="")
SAID = "GET /v1/accounts/acme/batchInferenceJobs/nightly: "
KEY_ADVICE = " (check FIREWORKS_API_KEY or api_key=)"
PAY_ADVICE = " (check the account's payment method and suspension)"
# The four shapes of an error answer.
GATEWAY = {"code": 5, "message": "resource not found", "details": []}
EDGE = {
    "error": {
        "message": "The API key you provided is invalid.",
        "param": None,
        "code": "UNAUTHORIZED",
        "type": "error",
    },
    "request_id": "3f0c2a44-0000-4000-8000-000000000000",
}
HTML = (
    "<!DOCTYPE html>\n<html><head><title>Error 400 (Bad\n Request)!!1</title>"
    "<style>*{margin:0}</style></head><body><p>That's an error.</p></body></html>"
)
XML = (
    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code>"
    "<Message>The provided token has expired.</Message></Error>"
)


def refusal(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> APIStatusError:
    """The error that an answer is read as."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    content = text if isinstance(text, bytes) else text.encode()
    answer = Answer(status=status, headers=headers or {}, body=content)
    error = http.read_refusal(REQUEST, answer, now=NOW)
    assert error is not None
    return error


def wait(text: str, **headers: str) -> float | None:
    """What a Retry-After is read as."""
    return http.retry_after({"retry-after": text, **headers}, now=NOW)


def date(seconds: float) -> str:
    """An HTTP date so many seconds from now."""
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ({"accounts": [{"name": "accounts/acme"}]}, ["acme"]),
        ({"accounts": [{"name": "accounts/a"}, {"name": "accounts/b"}]}, ["a", "b"]),
        ({"accounts": [{"name": "accounts/a"}], "nextPageToken": "x"}, ["a", "…"]),
        ({"accounts": [{"name": "accounts/a"}], "nextPageToken": ""}, ["a"]),
        ({"accounts": [{"name": 5}, {}, "x"]}, []),
        ({"accounts": []}, []),
        ({"accounts": None}, []),
        ({}, []),
    ],
)
def test_accounts_are_read_from_their_names(value, ids):
    """A listing of accounts gives their ids, and says when there are more."""
    assert ids == http.read_accounts(value)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_other_json_is_no_listing_of_accounts(value):
    """What is no object is refused as a listing."""
    with pytest.raises(ResponseDecodeError, match="cannot read the accounts: expected an"):
        http.read_accounts(value)


# --- Error answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success_is_no_refusal(status):
    """A 2xx is no error, whatever its body says."""
    answer = Answer(status=status, headers={}, body=json.dumps(GATEWAY).encode())

    assert http.read_refusal(REQUEST, answer, now=NOW) is None


@pytest.mark.parametrize(
    ("status", "body", "text", "code", "reason", "from_api"),
    [
        (404, GATEWAY, "404 NOT_FOUND: resource not found", "NOT_FOUND", None, True),
        (
            403,
            EDGE,
            f"403 UNAUTHORIZED: The API key you provided is invalid.{KEY_ADVICE}",
            "UNAUTHORIZED",
            "The API key you provided is invalid.",
            True,
        ),
        (400, HTML, "400: Error 400 (Bad Request)!!1", "", None, False),
        (
            400,
            XML,
            "400 ExpiredToken: The provided token has expired.",
            "ExpiredToken",
            "The provided token has expired.",
            False,
        ),
        (405, "Method Not Allowed", "405: Method Not Allowed", "", None, False),
        (500, {"error": "in words"}, "500: in words", "", "in words", True),
        (502, b"", "502: an answer without a text", "", None, False),
        (502, "<html><p></p></html>", "502: an answer without a text", "", None, False),
        (502, "<b>bad</b>\n\tgateway", "502: bad gateway", "", None, False),
        (500, b"\xff\xfe", "500: \ufffd\ufffd", "", None, False),
        (500, b"null", "500: null", "", None, False),
        (500, b"[1]", "500: [1]", "", None, False),
        (500, {"code": 99, "message": "m"}, "500 99: m", "99", None, True),
        (500, {"code": -1, "message": "m"}, "500 -1: m", "-1", None, True),
        (500, {"error": {"message": "m", "code": 500}}, "500 500: m", "500", None, True),
        (500, {"error": {"message": "m", "code": None}}, "500: m", "", None, True),
        (500, {"error": {"message": "m", "code": True}}, "500: m", "", None, True),
        (404, {"code": "5", "message": "m"}, '404: {"code": "5", "message": "m"}', "", None, False),
        (404, {"message": "m"}, '404: {"message": "m"}', "", None, False),
        (404, {"error": {"code": 5}}, '404: {"error": {"code": 5}}', "", None, False),
        (404, {"code": 5, "message": 7}, '404: {"code": 5, "message": 7}', "", None, False),
    ],
)
def test_each_shape_of_error_is_read(status, body, text, code, reason, from_api):
    """The gateway's JSON, the edge's, HTML, XML and plain text all say what went wrong."""
    error = refusal(status, body)

    assert f"{SAID}{text}" == str(error)
    assert (status, code) == (error.status, error.code)
    assert from_api is error.from_api
    assert (reason or text.partition(": ")[2]) == error.message


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, "OK"),
        (1, "CANCELLED"),
        (2, "UNKNOWN"),
        (3, "INVALID_ARGUMENT"),
        (4, "DEADLINE_EXCEEDED"),
        (5, "NOT_FOUND"),
        (6, "ALREADY_EXISTS"),
        (7, "PERMISSION_DENIED"),
        (8, "RESOURCE_EXHAUSTED"),
        (9, "FAILED_PRECONDITION"),
        (10, "ABORTED"),
        (11, "OUT_OF_RANGE"),
        (12, "UNIMPLEMENTED"),
        (13, "INTERNAL"),
        (14, "UNAVAILABLE"),
        (15, "DATA_LOSS"),
        (16, "UNAUTHENTICATED"),
        (17, "17"),
    ],
)
def test_numbers_of_codes_become_names(number, code):
    """The gateway's number of a code is the code's name, a number beyond them itself."""
    assert code == refusal(500, {"code": number, "message": "m"}).code


@pytest.mark.parametrize("length", [200, 10_000, 1_000_000])
def test_page_is_cut_to_its_first_words(length):
    """A page without a title gives at most 200 characters."""
    assert refusal(502, "x" * length).message == "x" * 200


@pytest.mark.parametrize("seed", ["<title", "<title>", "<", "<Code>", "</Message>", "<a"])
def test_malformed_page_is_read_in_no_time(seed):
    """A page of nothing but openings does not hold up the event loop."""
    error = refusal(502, seed * 100_000)

    assert len(error.message) <= 200


CLASSES = [
    (400, "BadRequestError", ""),
    (401, "AuthenticationError", KEY_ADVICE),
    (402, "AccountSuspendedError", PAY_ADVICE),
    (403, "PermissionDeniedError", ""),
    (404, "NotFoundError", ""),
    (405, "BadRequestError", ""),
    (408, "ServerError", ""),
    (409, "ConflictError", ""),
    (412, "AccountSuspendedError", PAY_ADVICE),
    (413, "BadRequestError", ""),
    (422, "BadRequestError", ""),
    (425, "ServerError", ""),
    (429, "RateLimitError", ""),
    (499, "BadRequestError", ""),
    (500, "ServerError", ""),
    (501, "ServerError", ""),
    (503, "ServerError", ""),
    (504, "ServerError", ""),
    (520, "ServerError", ""),
    (302, "ServerError", ""),
    (100, "ServerError", ""),
    (600, "ServerError", ""),
]


@pytest.mark.parametrize(("status", "name", "advice"), CLASSES)
def test_class_follows_the_status(status, name, advice):
    """Each status has its class of error, and some of them advice."""
    error = refusal(status, {"code": 13, "message": "m"})

    assert type(error) is getattr(errors, name)
    assert str(error).endswith(advice)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("UNAUTHORIZED", "AuthenticationError"),
        ("UNAUTHENTICATED", "AuthenticationError"),
        (16, "AuthenticationError"),
        (7, "PermissionDeniedError"),
        ("PERMISSION_DENIED", "PermissionDeniedError"),
        ("", "PermissionDeniedError"),
    ],
)
def test_forbidden_may_mean_a_bad_key(code, name):
    """A 403 whose code says UNAUTHORIZED is about the key, any other about the permission."""
    error = refusal(403, {"error": {"message": "m", "code": code}})

    assert type(error) is getattr(errors, name)


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_only_forbidden_is_about_the_key_by_its_code(status):
    """With any other status the code UNAUTHORIZED changes no class."""
    error = refusal(status, {"error": {"message": "m", "code": "UNAUTHORIZED"}})

    assert type(error) is not errors.AuthenticationError


@pytest.mark.parametrize("status", [400, 409])
def test_what_exists_already_is_a_conflict_whatever_the_status(status):
    """Which status a taken id or output has is not documented; the code is clear."""
    error = refusal(status, {"code": 6, "message": "m"})

    assert type(error) is errors.ConflictError


def test_forbidden_by_the_gateway_may_mean_a_bad_key():
    """A 403 with the gateway's UNAUTHENTICATED is about the key."""
    error = refusal(403, {"code": 16, "message": "m"})

    assert type(error) is errors.AuthenticationError


@pytest.mark.parametrize(
    ("body", "headers", "request_id"),
    [
        (EDGE, {}, EDGE["request_id"]),
        (EDGE, {"x-request-id": "r-1"}, EDGE["request_id"]),
        (GATEWAY, {"x-request-id": "r-1"}, "r-1"),
        ({"error": "m", "request_id": "r-2"}, {}, "r-2"),
        ({"error": "m", "request_id": 5}, {"x-request-id": "r-1"}, "r-1"),
        (HTML, {"x-request-id": "r-1"}, "r-1"),
        (GATEWAY, {}, None),
    ],
)
def test_request_id_is_the_body_s_or_the_header_s(body, headers, request_id):
    """The id to quote to the vendor is taken from where it stands."""
    assert request_id == refusal(404, body, headers).request_id


def test_texts_of_the_server_are_cut_and_on_one_line():
    """The message, which keeps our advice, and each attribute."""
    text = "\x1b[2J\n" * 100_000
    body = {"error": {"message": text, "code": text}, "request_id": text}

    error = refusal(401, body)

    said = [str(error), error.message, error.code, error.request_id]
    assert {2000} == {len(each) for each in said}
    assert all(each.isprintable() for each in said)
    assert str(error).startswith(rf"{SAID}401 \x1b[2J\n")
    assert str(error).endswith("(check FIREWORKS_API_KEY or api_key=)")


def test_a_request_id_of_a_header_is_cut_too():
    """Of success and of errors alike."""
    answer = Answer(status=200, headers={"x-request-id": "x" * 8000}, body=b"{}")

    assert len(answer.request_id or "") == 2000
    assert Answer(status=200, headers={}, body=b"{}").request_id is None


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://login.example/x?token=secret", "login.example"),
        ("https://user:secret@login.example/", "login.example"),
        ("//login.example/secret", "login.example"),
        ("/secret", "another path"),
        ("", "another path"),
        ("https://[::1/secret", "somewhere unreadable"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_names_its_host_only(status, location, where):
    """A redirect is an error that names where to, without whatever secrets its URL has."""
    error = refusal(status, EDGE, {"location": location})

    assert type(error) is errors.ServerError
    assert str(error) == (
        f"{SAID}{status}: a redirect to {where}, not followed; is base_url right?"
    )
    assert not error.from_api


HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "location", "x-request-id"]), st.text()
)
STATUSES = st.integers(100, 999)


@given(status=STATUSES, body=st.binary(), headers=HEADERS)
@example(status=302, body=b"", headers={"location": "http://[::1"})
@example(status=500, body=b"[" * 5000, headers={})
@example(status=500, body=b"[" * 1000 + b"]" * 1000, headers={})
@example(status=500, body=b'{"error":' * 900 + b"1" + b"}" * 900, headers={})
@example(status=500, body=b'{"code": 99999999999999999999, "message": ""}', headers={})
def test_any_answer_is_read(status, body, headers):
    """Any bytes with any status and any headers are read without an exception."""
    answer = Answer(status=status, headers=headers, body=body)

    error = http.read_refusal(REQUEST, answer, now=NOW)

    assert (error is None) == (200 <= status < 300)
    if error is not None:
        assert error.status == status
        assert error.retry_after is None or 0 <= error.retry_after <= 3600
        assert not (http.is_refusal(error) and http.is_transient(error))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "request_id", "details", "x"]), inner
        )
    ),
    max_leaves=9,
)


@given(status=st.integers(400, 599), value=ANY_JSON)
def test_any_json_error_is_read(status, value):
    """Any JSON in an error answer is read, and only a known shape counts as the API's word."""
    error = refusal(status, json.dumps(value))

    assert isinstance(error.code, str)
    assert isinstance(error.message, str)
    assert error.request_id is None or isinstance(error.request_id, str)
    assert not error.from_api or isinstance(value, dict)


NO_JOB = "there is no job 'nightly' in account 'acme'"
NO_DATASET = "there is no dataset 'in' in account 'acme'"
NO_ACCOUNT = "there is no account 'acme'"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (calls.get_job("acme", "nightly"), NO_JOB),
        (calls.delete_job("acme", "nightly"), NO_JOB),
        (calls.list_jobs("acme", calls.ListQuery()), NO_ACCOUNT),
        (
            calls.create_job("acme", "nightly", {}),
            (
                "job 'nightly' cannot be created: its model, a dataset that it names, or account "
                "'acme' does not exist"
            ),
        ),
        (calls.get_dataset("acme", "in"), NO_DATASET),
        (calls.delete_dataset("acme", "in"), NO_DATASET),
        (calls.upload_form("acme", "in"), NO_DATASET),
        (calls.get_upload_urls("acme", "in", {"a": 1}), NO_DATASET),
        (calls.validate_upload("acme", "in"), NO_DATASET),
        (calls.get_download_urls("acme", "in"), NO_DATASET),
        (calls.list_datasets("acme", calls.ListQuery()), NO_ACCOUNT),
        (calls.create_dataset("acme", "in", example_count=1), NO_ACCOUNT),
        (calls.list_accounts(), "the server at base_url does not list accounts"),
    ],
)
def test_a_404_names_what_is_not_there(request_, text):
    """The error speaks of the job or dataset, not of the path; the server's words follow."""
    headers = {"x-request-id": "r-1"}
    answer = Answer(status=404, headers=headers, body=json.dumps(GATEWAY).encode())
    error = http.read_refusal(request_, answer, now=NOW)

    assert isinstance(error, NotFoundError)
    assert str(error) == f"{text} (404 NOT_FOUND: resource not found)"
    assert (error.status, error.request_id) == (404, "r-1")


def test_a_404_of_a_proxy_does_not_say_that_there_is_no_job():
    """What is not the API may know nothing of jobs: the error names the request, and base_url."""
    answer = Answer(status=404, headers={}, body=b"<title>Not here</title>")
    error = http.read_refusal(calls.get_job("acme", "nightly"), answer, now=NOW)

    assert str(error) == (
        f"{SAID}404: Not here (the API did not answer this: check base_url, and any proxy)"
    )


# --- Retry-After ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0.5", 0.5),
        ("1.25", 1.25),
        ("3600", 3600.0),
        ("3600.5", 3600.0),
        ("86400", 3600.0),
        ("9" * 13, 3600.0),
        ("9" * 5000, 3600.0),
        ("007", 7.0),
    ],
)
def test_seconds_to_wait(text, seconds):
    """Retry-After is seconds, with a fraction or not; above an hour it is an hour."""
    assert seconds == wait(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "-1",
        "-0.5",
        "+5",
        "1e3",
        "inf",
        "nan",
        "Infinity",
        "1,5",
        "120, 60",
        "0x10",
        "1.",
        ".5",
        "٣",
        "1_0",
        "5s",
        "Mon",
        "32 Foo 2026",
        "99:99:99",
    ],
)
def test_garbage_asks_for_no_wait(text):
    """What is neither seconds nor a date is as if it was not there."""
    assert wait(text) is None


@pytest.mark.parametrize(
    ("offset", "seconds"), [(90, 90.0), (0, 0.0), (-90, 0.0), (3600, 3600.0), (86400, 3600.0)]
)
def test_date_to_wait_for(offset, seconds):
    """A date is a wait from the answer's own Date; a past one is none, a far one an hour."""
    assert seconds == wait(date(offset), date=date(0))
    assert seconds == wait(date(offset + 500), date=date(500))


def test_date_is_taken_by_this_clock_without_a_date_header():
    """Without a Date that can be read, this machine's clock stands in."""
    assert wait(date(90)) == 90.0
    assert wait(date(90), date="yesterday") == 90.0


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 14 Sep 2026 09:01:30 GMT",
        "Mon, 14 Sep 2026 09:01:30 -0000",
        "Mon, 14 Sep 2026 11:01:30 +0200",
        "Monday, 14-Sep-26 09:01:30 GMT",
        "Mon Sep 14 09:01:30 2026",
    ],
)
def test_forms_of_a_date(text):
    """The three forms of an HTTP date are read, in UTC where they name no zone."""
    assert wait(text) == 90.0


@given(text=st.text() | st.from_regex(r"[A-Z][a-z]{2}, ?\d* [A-Z][a-z]{2} [-+ :\dA-Z]*"))
def test_any_retry_after_is_read(text):
    """Any Retry-After is read as nothing, or as 0 to 3600 seconds."""
    found = wait(text, date=text)

    assert found is None or 0 <= found <= 3600


@pytest.mark.parametrize(
    ("headers", "moment"),
    [
        ({"date": "Mon, 14 Sep 2026 09:00:00 GMT"}, NOW),
        ({"date": "Mon, 14 Sep 2026 14:30:00 +0530"}, NOW),
        ({"date": ""}, None),
        ({"date": "now"}, None),
        ({"date": "Mon, 99 Sep 2026 09:00:00 GMT"}, None),
        ({"date": "Fri, 31 Dec 9999 23:59:59 -0500"}, None),
        ({}, None),
    ],
)
def test_server_time_is_the_answer_s_date(headers, moment):
    """The Date header is an aware moment in UTC, or None if it cannot be read."""
    assert moment == http.server_time(headers)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this platform sets its zone elsewhere")
def test_date_without_a_zone_is_in_utc(monkeypatch):
    """A date that names no zone is in UTC, wherever this machine stands."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        moment = http.server_time({"date": "Mon Sep 14 09:00:00 2026"})
    time.tzset()

    assert moment == NOW


def test_now_may_be_in_any_zone():
    """This machine's time is compared as a moment, not as a face of a clock."""
    local = NOW.astimezone(timezone(timedelta(hours=5)))

    assert http.retry_after({"retry-after": date(90)}, now=local) == 90.0


# --- What an error means --------------------------------------------------------------------------

TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
FINAL = {400, 401, 402, 403, 404, 412}


@pytest.mark.parametrize("status", range(300, 600))
def test_status_from_the_api_is_transient_or_final_by_the_tables(status):
    """In the API's own JSON a status is transient, or final, by one literal table each."""
    error = errors.APIStatusError("x", status=status, from_api=True)

    assert (status in TRANSIENT) == http.is_transient(error)
    assert (status in FINAL) == http.is_refusal(error)


@pytest.mark.parametrize("status", range(300, 600))
def test_what_a_proxy_says_is_never_final(status):
    """Anything that is not the API speaking is worth another attempt, an HTML 403 too."""
    error = errors.APIStatusError("x", status=status, from_api=False)

    assert http.is_transient(error)
    assert not http.is_refusal(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.TransportError("reset"), True),
        (errors.RequestTimeoutError("late"), True),
        (ResponseDecodeError("garbled"), True),
        (errors.ConfigurationError("no key"), False),
        (errors.ClientStateError("closed"), False),
        (errors.WaitTimeoutError("late"), False),
        (errors.JobConflictError("taken"), False),
    ],
)
def test_errors_without_a_status(error, expected):
    """No usable answer is worth another attempt, a mistake of ours is not; neither is a refusal."""
    assert expected is http.is_transient(error)
    assert not http.is_refusal(error)
    assert not http.is_rate_limit(error)


@pytest.mark.parametrize(
    ("status", "after", "expected"),
    [
        (429, None, True),
        (429, 5.0, True),
        (503, 5.0, True),
        (503, 0.0, True),
        (503, None, False),
        (500, 5.0, False),
        (502, 5.0, False),
        (403, 5.0, False),
    ],
)
def test_rate_limit_is_429_or_503_with_a_wait(status, after, expected):
    """Only a 429, and a 503 that says how long, ask for nothing but patience."""
    error = errors.APIStatusError("x", status=status, retry_after=after)

    assert expected is http.is_rate_limit(error)


# --- Pages of listings ----------------------------------------------------------------------------

ITEMS = "batchInferenceJobs"


def test_a_page_has_items_and_a_token():
    """Both are read as they stand; a total, or anything else, is passed over."""
    value = {ITEMS: [{"name": "a"}, 5], "nextPageToken": "CAE", "totalSize": 61}

    assert read_page(value, ITEMS) == Page(items=({"name": "a"}, 5), next_page_token="CAE")


@pytest.mark.parametrize(
    "value", [{}, {ITEMS: None, "nextPageToken": None}, {ITEMS: [], "nextPageToken": ""}]
)
def test_an_empty_page_is_the_last(value):
    """Absent, null and empty mean the same."""
    assert read_page(value, ITEMS) == Page(items=(), next_page_token="")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "expected an object"),
        ({ITEMS: {}}, f"{ITEMS}: expected a list, not dict"),
        ({ITEMS: [], "nextPageToken": 5}, "nextPageToken: expected a string, not int"),
    ],
)
def test_what_is_no_page_is_refused(value, problem):
    """The error says what was expected, and where."""
    with pytest.raises(ResponseDecodeError) as caught:
        read_page(value, ITEMS)

    assert f"cannot read a page of {ITEMS}: {problem}" == str(caught.value)
    assert (problem,) == caught.value.problems


@given(
    value=ANY_JSON
    | st.fixed_dictionaries({}, optional={ITEMS: ANY_JSON, "nextPageToken": ANY_JSON})
)
def test_any_value_is_a_page_or_refused(value):
    """No other exception comes out."""
    try:
        page = read_page(value, ITEMS)
    except ResponseDecodeError:
        return
    assert isinstance(page.next_page_token, str)


# --- Signed URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ({"filenameToSignedUrls": {"a": "https://x", "b": "https://y"}}, {"a": "https://x"}),
        ({"filenameToSignedUrls": {}}, {}),
        ({"filenameToSignedUrls": None}, {}),
        ({}, {}),
    ],
)
def test_signed_urls_are_read_by_the_names_of_files(value, urls):
    """Each file's name has its URL; absent, null and empty mean that there are no files."""
    found = read_signed_urls(value)

    assert urls.items() <= found.items()
    assert found == (value.get("filenameToSignedUrls") or {})


@pytest.mark.parametrize("urls", [["https://x"], "https://x", 5, {"a": 5}, {"a": None}, {"a": ""}])
def test_other_json_is_no_object_of_urls(urls):
    """A value that is no object of URLs is refused by its path."""
    with pytest.raises(ResponseDecodeError) as caught:
        read_signed_urls({"filenameToSignedUrls": urls})

    assert caught.value.problems == ("filenameToSignedUrls: expected an object of URLs",)
    assert str(caught.value) == f"cannot read the signed URLs: {caught.value.problems[0]}"


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_answer_without_an_object_has_no_urls(value):
    """An answer that is no object is refused like an answer without URLs."""
    with pytest.raises(ResponseDecodeError, match="expected an object of URLs"):
        read_signed_urls(value)


def test_url_of_a_file_that_has_none_is_refused():
    """A file has its own URL; the error names a file without one, and shows no URL."""
    assert url_of({"a": "https://x"}, "a") == "https://x"
    with pytest.raises(ResponseDecodeError) as caught:
        url_of({"a": "https://x"}, "b")

    assert caught.value.problems == ("filenameToSignedUrls: there is no URL for 'b'",)
    assert "https" not in str(caught.value)
