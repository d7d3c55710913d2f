"""Downloads of a dataset's files, which are resumed, verified, and then get their names."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from fireworks_batch.connection.api import Api
from fireworks_batch.connection.repeats import CallRepeats
from fireworks_batch.connection.streams import Stream
from fireworks_batch.connection.transport import Transport
from fireworks_batch.datasets.ranges import (
    Held,
    StartOver,
    Take,
    read_answer,
    request_headers,
    size_of,
)
from fireworks_batch.files.part_file import PartFile, check_names, is_path, make_directory, path
from fireworks_batch.files.threads import off_loop
from fireworks_batch.models.errors import (
    APIStatusError,
    NotFoundError,
    ResponseDecodeError,
    TransportError,
)
from fireworks_batch.models.validators import plain_function
from fireworks_batch.wire.answers import read_signed_urls, url_of
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import Request, get_download_urls

__all__ = ["DownloadOptions", "Progress", "Tally", "download", "local_names"]

_log = logging.getLogger("fireworks_batch.http")

# The characters and names that have a meaning for a file system: separators of all systems, control
# characters, drives and streams, a leading dot (dot segments, hidden files), trailing characters
# that Windows drops, and names of devices on Windows. "%" is escaped too, so that two names stay
# two.
_UNSAFE: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"|?*/\\%\ud800-\udfff]'
    r"|^\.|[. ]$"
    r"|^(?i:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=$|[. ])"
)


def local_names(
    keys: Iterable[str], *, dataset_id: str, lineage: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return the local place of each file: its folders and its name.

    Args:
        keys: The server's names of the files, ``dataset/{id}/{file}``, path-prefixed (seen live).
        dataset_id: The dataset's id.
        lineage: Whether each dataset of a chain gets a folder of its own.

    Returns:
        The place by key. Each part is a plain file name; unsafe characters are percent-encoded. If
        several files have the same base name, as many of their folders are kept as are needed to
        tell the files apart.

    Raises:
        ResponseDecodeError: A key names no file, or two keys name the same file.
    """
    paths = {key: _segments(key) for key in keys}
    least = 2 if lineage else 1
    for key, segments in paths.items():
        if lineage and len(segments) == 1:
            paths[key] = (dataset_id, *segments)
    chosen = {key: segments[-least:] for key, segments in paths.items()}
    depth = least
    while shared := _shared(chosen):
        if depth >= max(len(paths[key]) for key in shared):
            raise _unreadable(f"{shared[0]!r} and {shared[1]!r} are the same file on this machine")
        depth += 1
        chosen.update({key: paths[key][-depth:] for key in shared})
    return {key: tuple(map(_safe, segments)) for key, segments in chosen.items()}


def _segments(key: str) -> tuple[str, ...]:
    base = key.rpartition("/")[2]
    if not base:
        raise _unreadable(f"{key!r} names no file")
    return tuple(segment for segment in key.split("/") if segment)


def _shared(chosen: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the keys of files that have the same name if case is ignored, as on macOS."""
    places = {key: _place(segments) for key, segments in chosen.items()}
    count = Counter(places.values())
    shared = [key for key, place in places.items() if count[place] > 1]
    return sorted(shared, key=places.__getitem__)


def _place(segments: tuple[str, ...]) -> str:
    return "/".join(map(_safe, segments)).casefold()


def _safe(segment: str) -> str:
    return _UNSAFE.sub(_escape, segment)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _unreadable(problem: str) -> ResponseDecodeError:
    return ResponseDecodeError(
        f"cannot store the dataset's files: {problem}",
        problems=[f"filenameToSignedUrls: {problem}"],
    )


Progress: TypeAlias = Callable[[int, int], object]
"""A function that is called with the bytes done and the bytes in all."""

_STEP: Final = 512 * 1024  # bytes between two calls


class Tally:
    """Adds up the bytes of a transfer; calls the user's function once for each half MiB."""

    def __init__(self, on_progress: Progress | None) -> None:
        """Begin without files.

        Args:
            on_progress: The user's function, or None. An exception of this function is raised to
                the caller of `set` or `end`.
        """
        self._on_progress = on_progress
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._last: int | None = None

    def expect(self, name: str, total: int | None) -> None:
        """Note the length of a file in bytes; None if the length is not known."""
        if total is not None:
            self._totals[name] = total

    def set(self, name: str, done: int) -> None:
        """Note how many bytes of a file are done; report the first call, and each half MiB."""
        self._done[name] = done
        now = sum(self._done.values())
        if self._last is None or abs(now - self._last) >= _STEP:
            self._tell(now)

    def end(self, name: str, size: int) -> None:
        """Note that a file of this size is done, and report it."""
        self._done[name] = self._totals[name] = size
        self._tell(sum(self._done.values()))

    def _tell(self, now: int) -> None:
        self._last = now
        if self._on_progress is not None:
            self._on_progress(now, max(now, sum(self._totals.values())))


@attrs.frozen(kw_only=True)
class DownloadOptions:
    """The options of `Datasets.download`."""

    directory: Path = attrs.field(converter=path, validator=is_path)
    """The directory for the files, which is made if it does not exist."""

    lineage: bool
    """Whether to download all datasets of the continuation chain, each to its own folder."""

    on_progress: Progress | None = attrs.field(validator=attrs.validators.optional(plain_function))
    """Called with the bytes done and the bytes in all."""


async def download(
    api: Api, account_id: str, dataset_id: str, options: DownloadOptions
) -> tuple[Path, ...]:
    """Download all files of a dataset, one after the other.

    Args:
        api: The API to download from.
        account_id: The account's id.
        dataset_id: The dataset's id.
        options: The options of the download.

    Returns:
        The paths of the files, sorted.

    Raises:
        FireworksBatchError: One of the errors of ``Datasets.download``.
    """
    transport = api.transport
    ask = get_download_urls(account_id, dataset_id, lineage=options.lineage)
    urls = _SignedURLs(transport, ask)
    known = await urls.known()
    names = local_names(known, dataset_id=dataset_id, lineage=options.lineage)
    if not names:
        _log.warning("dataset %r has no files", dataset_id)
    directory = options.directory
    paths = {key: directory.joinpath(*parts) for key, parts in names.items()}
    tally = Tally(options.on_progress)
    if options.on_progress is not None:
        await _measure(transport, known, tally)
    for parent in sorted({directory, *(target.parent for target in paths.values())}):
        await make_directory(parent)
    await off_loop(check_names, paths.values())
    for key, target in sorted(paths.items()):
        async with PartFile(target) as part:
            try:
                await _FileDownload(transport, urls, key, part, tally).run()
            except NotFoundError as exc:
                # A `NotFoundError` would mean that there is no dataset. Some callers accept that,
                # but here rows are lost.
                text = f"file {key!r} was listed, and is not there: {exc}"
                raise TransportError(text) from None
            await part.finish()
    return tuple(sorted(paths.values()))


class _SignedURLs:
    """The signed URLs of a dataset. They are valid for minutes, so each request gets a new URL."""

    def __init__(self, transport: Transport, request: Request) -> None:
        self._transport = transport
        self._request = request
        self._fresh: dict[str, str] | None = None

    async def known(self) -> dict[str, str]:
        """Return all URLs, by the server's name of the file.

        Raises:
            APIStatusError: The server refuses; for example, there is no such dataset.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read.
        """
        answer = await self._transport.send(self._request)
        self._fresh = read_signed_urls(parse_json(answer.body))
        return self._fresh

    async def url_of(self, key: str, repeats: CallRepeats) -> str:
        """Return a new URL of a file, as a part of one try to download the file.

        Raises:
            FireworksBatchError: The request for the URL failed, or the file is gone.
        """
        urls, self._fresh = self._fresh, None
        if urls is None:
            answer = await self._transport.send_once(self._request, repeats=repeats)
            urls = read_signed_urls(parse_json(answer.body))
        return url_of(urls, key)


class _FileDownload:
    """The download of one file."""

    def __init__(
        self, transport: Transport, urls: _SignedURLs, key: str, part: PartFile, tally: Tally
    ) -> None:
        self._transport = transport
        self._urls = urls
        self._key = key
        self._part = part
        self._tally = tally
        self._held = Held()
        self._most = 0  # the largest number of bytes on disk so far

    async def run(self) -> None:
        """Repeat the download until the file is whole.

        After a request that brought new bytes, the retry policy counts from the beginning again.
        """
        name = Request(method="GET", path=f"file {self._key!r}", repeatable=True)
        repeats = self._transport.repeats(name)
        await repeats.run(partial(self._attempt, repeats))

    async def _attempt(self, repeats: CallRepeats) -> None:
        url = await self._urls.url_of(self._key, repeats)
        try:
            await self._fetch(url)
        except (APIStatusError, TransportError):
            if self._part.size > self._most:
                self._most = self._part.size
                repeats.start_over()
            raise

    async def _fetch(self, url: str) -> None:
        request = Request(method="GET", path=url.partition("?")[0], repeatable=True)
        headers = request_headers(self._held)
        async with self._transport.stream("GET", url, headers=headers, is_signed=True) as stream:
            match read_answer(self._held, stream.status, stream.headers):
                case Take(held):
                    await self._take(held, stream)
                    await self._check(request)
                case StartOver(reason):
                    self._held = Held()
                    raise TransportError(f"{request}: {reason}")
                case None:
                    raise await self._transport.refusal(request, stream) or TransportError(
                        f"{request}: {stream.status} is not an answer to a download"
                    )

    async def _take(self, held: Held, stream: Stream) -> None:
        if not held.size:
            await self._part.empty(hashed=held.md5 is not None)
        self._held = held
        self._tally.expect(self._key, held.total)
        try:
            while piece := await stream.read():
                await self._part.write(piece)
                self._tally.set(self._key, self._part.size)
                if held.total is not None and self._part.size > held.total:
                    break  # `_check` raises the error; the answer may be endless
        finally:
            self._held = attrs.evolve(held, size=self._part.size)

    async def _check(self, request: Request) -> None:
        """Compare the bytes on disk with the length and the MD5 that the server announced."""
        await self._part.flush()
        held, size, md5 = self._held, self._part.size, self._part.md5
        if held.total is not None and size < held.total:
            raise TransportError(f"{request}: it ended after {size:,} of {held.total:,} bytes")
        if held.total is not None and size > held.total:
            problem = f"{size:,} bytes came, and {held.total:,} were announced"
        elif md5 is not None and held.md5 not in {None, md5}:
            problem = f"the {size:,} bytes that came do not have the MD5 that was announced"
        else:
            self._tally.end(self._key, size)
            return
        self._held = Held()
        raise TransportError(f"{request}: {problem}")


async def _measure(transport: Transport, urls: dict[str, str], tally: Tally) -> None:
    """Ask for the lengths of the files, for the progress.

    The request asks for the first byte of each file, since the URLs are not signed for HEAD
    requests. If a length cannot be learned now, it is learned when the file is downloaded.
    """
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
    for key, url in urls.items():
        try:
            async with transport.stream("GET", url, headers=headers, is_signed=True) as stream:
                tally.expect(key, size_of(stream.status, stream.headers))
        except TransportError as error:
            _log.debug("the length of %r is not known yet: %s", key, error)
