"""Which proxy a request goes through."""

import urllib.request

from yarl import URL

__all__ = ["Proxies"]


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
        """Return the proxy for a URL; its credentials are its own, never a netrc file's."""
        if isinstance(self._setting, str):
            return self._setting
        if self._setting is False:
            return None
        origin = url.scheme, url.host or ""
        if origin not in self._known:
            self._known[origin] = _environment_proxy(*origin)
        return self._known[origin]


def _environment_proxy(scheme: str, host: str) -> str | None:
    """Read HTTP(S)_PROXY and NO_PROXY, which takes long enough to do it once for a host."""
    proxy = urllib.request.getproxies_environment().get(scheme)
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy
