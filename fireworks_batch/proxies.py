"""Which proxy a request goes through."""

import urllib.request

from yarl import URL

from fireworks_batch.errors import ConfigurationError

__all__ = ["Proxies", "is_proxy_url"]


class Proxies:
    """Knows the proxy of each origin: the one that was given, or the environment's."""

    def __init__(self, *, setting: str | bool | None) -> None:
        """Take the setting.

        Args:
            setting: A proxy's URL for all, False for none, None for the environment's.
        """
        self._setting = setting
        self._known: dict[tuple[str, str], str | None] = {}

    def proxy_for(self, url: URL) -> str | None:
        """Return the proxy for a URL; its credentials are its own, never a netrc file's.

        Raises:
            ConfigurationError: The environment names one that is no http(s) URL.
        """
        if isinstance(self._setting, str):
            return self._setting
        if self._setting is False:
            return None
        origin = url.scheme, f"{url.host}:{url.port}"
        if origin not in self._known:
            self._known[origin] = _environment_proxy(*origin)
        return self._known[origin]


def is_proxy_url(text: str) -> bool:
    """Whether a text is the URL of a proxy that aiohttp can use."""
    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not set(text) & set(" \t\r\n")


def _environment_proxy(scheme: str, host: str) -> str | None:
    """Read HTTP(S)_PROXY and NO_PROXY, which takes long enough to do it once for a host."""
    proxy = urllib.request.getproxies_environment().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return None
    # Other programs take a bare host and port too.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if is_proxy_url(proxy):
        return proxy
    raise ConfigurationError(
        f"{scheme.upper()}_PROXY of the environment is not the URL of an HTTP proxy, as in "
        "'http://proxy.example:3128'; correct it, or pass proxy="
    )
