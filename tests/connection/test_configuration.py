"""The base URL, as a caller may give it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireworks_batch.connection.configuration import check_base_url
from fireworks_batch.models.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.fireworks.ai", "https://api.fireworks.ai"),
        ("https://api.fireworks.ai/", "https://api.fireworks.ai"),
        ("https://api.fireworks.ai/v1", "https://api.fireworks.ai"),
        ("https://api.fireworks.ai/v1/", "https://api.fireworks.ai"),
        ("https://api.fireworks.ai//", "https://api.fireworks.ai"),
        (" https://api.fireworks.ai\n", "https://api.fireworks.ai"),
        ("HTTPS://api.fireworks.ai", "https://api.fireworks.ai"),
        ("https://gateway.example/fireworks", "https://gateway.example/fireworks"),
        ("https://gateway.example/fireworks/v1", "https://gateway.example/fireworks"),
        ("https://gateway.example/a/v1/b", "https://gateway.example/a/v1/b"),
        ("https://gateway.example/dev1", "https://gateway.example/dev1"),
        ("https://gateway.example:8443/x/", "https://gateway.example:8443/x"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:1/v1", "http://localhost:1"),
        ("http://LOCALHOST", "http://localhost"),
        ("HTTPS://API.example/Prefix", "https://api.example/Prefix"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_base_url_is_put_into_shape(text, url):
    """A path prefix is kept, a trailing slash and /v1 are dropped."""
    assert url == check_base_url(text)
    assert url == check_base_url(check_base_url(text))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("https://api.fireworks.ai/inference/v1", "https://api.fireworks.ai"),
        ("https://api.fireworks.ai/inference/v1/", "https://api.fireworks.ai"),
        ("https://api.fireworks.ai/inference", "https://api.fireworks.ai"),
        ("https://gateway.example/x/inference/v1", "https://gateway.example/x"),
    ],
)
def test_inference_url_is_refused_with_the_right_one(text, right):
    """The URL of the inference API, which people export, is refused, and the error corrects it."""
    with pytest.raises(ConfigurationError) as caught:
        check_base_url(text)

    assert str(caught.value) == (
        f"base_url {text!r} is the address for inference; batch jobs are at {right!r}"
    )
    assert right == check_base_url(right)


@pytest.mark.parametrize(
    "text",
    [
        "http://api.fireworks.ai",
        "http://10.0.0.1",
        "http://0.0.0.0:80",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://[::2]",
    ],
)
def test_plain_http_is_refused_unless_meant(text):
    """A key is not sent in the clear to another machine, unless the caller insists."""
    with pytest.raises(ConfigurationError) as caught:
        check_base_url(text)

    assert str(caught.value) == (
        f"base_url {text!r} would send the API key unencrypted; use 'https://…', or pass "
        "allow_insecure_http=True to allow it"
    )
    assert text == check_base_url(text, allow_insecure_http=True)


WANTED = "; it should look like 'https://api.fireworks.ai'"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "base_url must be a string, not None"),
        (b"https://x", "base_url must be a string, not b'https://x'"),
        ("", "base_url '' is not an http(s) URL"),
        ("api.fireworks.ai", "base_url 'api.fireworks.ai' is not an http(s) URL"),
        ("ftp://x", "base_url 'ftp://x' is not an http(s) URL"),
        ("https://", "base_url 'https://' is not an http(s) URL"),
        ("https:///v1", "base_url 'https:///v1' is not an http(s) URL"),
        ("https://:443", "base_url 'https://:443' is not an http(s) URL"),
        ("https://x:0", "base_url 'https://x:0' is not an http(s) URL"),
        ("https://x/?a=1", "base_url 'https://x/?a=1' has a query or fragment"),
        ("https://x/#a", "base_url 'https://x/#a' has a query or fragment"),
        ("https://[::1", "base_url 'https://[::1' is not a URL: Invalid IPv6 URL"),
    ],
)
def test_what_is_no_base_url_is_refused(value, message):
    """What is no plain http(s) URL is refused with the value and an example."""
    with pytest.raises(ConfigurationError) as caught:
        check_base_url(value)

    assert f"{message}{WANTED}" == str(caught.value)


@pytest.mark.parametrize("port", ["port", "99999", "-1", "1.5"])
def test_bad_port_is_refused(port):
    """A port that is none is refused with the reason."""
    with pytest.raises(ConfigurationError, match=rf"base_url 'https://x:{port}' is not a URL: "):
        check_base_url(f"https://x:{port}")


@pytest.mark.parametrize(
    "text",
    [
        "https://user:s3cret@x",
        "https://s3cret@x",
        "https://user:s3cret@x:port",
        "https://user:s3cret@[::1",
        "ftp://user:s3cret@x",
        "https://user:s3cret@x/?a=1",
        "http://user:s3cret@x",
        "https://user:s3cret@x/inference/v1",
    ],
)
def test_password_in_a_base_url_is_refused_and_not_shown(text):
    """A URL with a user or password in it is refused by an error that does not repeat it."""
    with pytest.raises(ConfigurationError) as caught:
        check_base_url(text)

    assert str(caught.value) == f"base_url has a user or password in it{WANTED}"


@given(text=st.text() | st.from_regex(r"https?://[\[\]@:./?#v1a%\\ -]*"))
def test_any_base_url_is_read_or_refused(text):
    """Any text gives a URL that is stable, or a ConfigurationError."""
    try:
        url = check_base_url(text)
    except ConfigurationError:
        return

    assert url.startswith(("http://", "https://"))
    assert not url.endswith("/")
