"""Signed URLs of a dataset's files, as the API answers with them. Performs no I/O."""

from typing import Any

from fireworks_batch.errors import ResponseDecodeError

__all__ = ["read_signed_urls", "url_of"]


def read_signed_urls(value: Any) -> dict[str, str]:
    """Return the URLs by the names of the files.

    Args:
        value: The answer's JSON value.

    Raises:
        ResponseDecodeError: It is no object of URLs.
    """
    urls = value.get("filenameToSignedUrls") or {} if isinstance(value, dict) else None
    if isinstance(urls, dict) and all(isinstance(url, str) and url for url in urls.values()):
        return urls
    raise _unreadable("expected an object of URLs")


def url_of(urls: dict[str, str], name: str) -> str:
    """Return the URL of one file.

    Raises:
        ResponseDecodeError: There is none of this name.
    """
    if name in urls:
        return urls[name]
    raise _unreadable(f"there is no URL for {name!r}")


def _unreadable(what: str) -> ResponseDecodeError:
    problem = f"filenameToSignedUrls: {what}"
    return ResponseDecodeError(f"cannot read the signed URLs: {problem}", problems=[problem])
