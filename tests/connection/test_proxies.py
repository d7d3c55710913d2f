"""Which proxy a request goes through, by argument and by environment."""

import pytest
from yarl import URL

from fireworks_batch import BatchClient, ConfigurationError
from fireworks_batch.connection.configuration import Proxies

API = URL("https://api.example/v1")
PROXY = "http://user:pass@proxy.example:3128"


def proxy_for(url: URL = API) -> str | None:
    """The environment's proxy for a URL."""
    return Proxies(setting=None).proxy_for(url)


def test_without_a_setting_there_is_none():
    """Neither by argument nor by environment."""
    assert proxy_for() is None


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_environment_names_one_for_each_scheme(monkeypatch, name):
    """In capitals or not; another scheme has none."""
    monkeypatch.setenv(name, PROXY)
    assert PROXY == proxy_for()
    assert proxy_for(URL("http://api.example")) is None


def test_a_bare_host_is_an_http_proxy(monkeypatch):
    """As other programs read it."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert proxy_for() == "http://proxy.example:3128"


@pytest.mark.parametrize(
    "exception", ["api.example", ".example", "api.example:443", "other.example, api.example", "*"]
)
def test_no_proxy_makes_exceptions(monkeypatch, exception):
    """By host, by domain, with the port, in a list, for all."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", exception)
    assert proxy_for() is None


@pytest.mark.parametrize("exception", ["api.example:8443", "pi.example", "example.org"])
def test_no_proxy_excepts_nothing_else(monkeypatch, exception):
    """Another port, a part of a name, another domain."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", exception)
    assert PROXY == proxy_for()


LOOPBACK = [
    "http://127.0.0.1:8123",
    "http://127.8.9.10",
    "http://[::1]:80",
    "http://localhost",
    "http://LocalHost.:80",
    "http://api.localhost:80",
]


@pytest.mark.parametrize("url", LOOPBACK)
def test_no_proxy_of_the_environment_is_between_two_programs_of_one_machine(monkeypatch, url):
    """It would see the key in the clear; a proxy that was given is meant."""
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    url = URL(url, encoded=True)
    assert proxy_for(url) is None
    assert Proxies(setting="http://mine.example").proxy_for(url) == "http://mine.example"


@pytest.mark.parametrize("url", ["http://128.0.0.1", "http://notlocalhost", "http://localhost.x"])
def test_other_hosts_are_not_this_machine(monkeypatch, url):
    """Whatever they are called."""
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    assert PROXY == proxy_for(URL(url))


def test_an_argument_comes_before_the_environment(monkeypatch):
    """A URL for all, or none at all."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert Proxies(setting=False).proxy_for(API) is None
    assert Proxies(setting="http://mine.example").proxy_for(API) == "http://mine.example"


@pytest.mark.parametrize("text", ["socks5://user:pass@x", "http://[::1", "http://a b", "://x"])
def test_a_proxy_that_cannot_be_used_is_refused_when_a_client_is_made(monkeypatch, text):
    """Before any request, and without showing its password."""
    monkeypatch.setenv("HTTPS_PROXY", text)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY of the environment is not") as no:
        BatchClient(api_key="fw_key")
    assert "pass@" not in str(no.value)
    BatchClient(api_key="fw_key", proxy=False)
