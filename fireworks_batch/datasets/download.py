"""Downloads of a dataset's files: resumed where they broke off, verified, then named."""

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

# The characters and names that mean something to a file system: separators of all systems, control
# characters, drives and streams, a leading dot (dot segments, hidden files), trailing characters
# that Windows drops, names of its devices; and the escape itself, so that no two names become one.
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
        The place by key. Each part is a plain file name; unsafe characters are percent-encoded. A
        base name that several files share keeps as many of its folders as tell the files apart.

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
            raise _unreadable(f"{shared[0]!r} and {shared[1]!r} are the same file here")
        depth += 1
        chosen.update({key: paths[key][-depth:] for key in shared})
    return {key: tuple(map(_safe, segments)) for key, segments in chosen.items()}


def _segments(key: str) -> tuple[str, ...]:
    base = key.rpartition("/")[2]
    if not base:
        raise _unreadable(f"{key!r} names no file")
    return tuple(segment for segment in key.split("/") if segment)


def _shared(chosen: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the keys whose files are the same where letters have no case, as on macOS."""
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
    """The bytes of all files of a transfer; calls the user's function once for each half MiB."""

    def __init__(self, on_progress: Progress | None) -> None:
        """Begin with nothing.

        Args:
            on_progress: The user's function, if there is one. An exception that it raises goes
                to the caller of `set` or `end`.
        """
        self._on_progress = on_progress
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._last: int | None = None

    def expect(self, name: str, total: int | None) -> None:
        """Take the length of a file in bytes, if it is known."""
        if total is not None:
            self._totals[name] = total

    def set(self, name: str, done: int) -> None:
        """Take the bytes of a file that are done; call at the first time, and for each half MiB."""
        self._done[name] = done
        now = sum(self._done.values())
        if self._last is None or abs(now - self._last) >= _STEP:
            self._tell(now)

    def end(self, name: str, size: int) -> None:
        """Take a file of a size as done, and call."""
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
    """The directory of the files; made unless it exists."""

    lineage: bool
    """Whether all datasets of the continuation chain are downloaded, each into a folder."""

    on_progress: Progress | None = attrs.field(validator=attrs.validators.optional(plain_function))
    """Called with the bytes done and the bytes in all."""


async def download(
    api: Api, account_id: str, dataset_id: str, options: DownloadOptions
) -> tuple[Path, ...]:
    """Download all files of a dataset, one after the other; a whole file is verified and named.

    Args:
        api: The API to download from.
        account_id: The account's id.
        dataset_id: The dataset's id.
        options: The options of the download.

    Returns:
        The files, sorted.

    Raises:
        FireworksBatchError: See ``Datasets.download``.
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
                # A `NotFoundError` would mean that there is no dataset, which is all right for
                # some callers; here rows are lost.
                text = f"file {key!r} was listed, and is not there: {exc}"
                raise TransportError(text) from None
            await part.finish()
    return tuple(sorted(paths.values()))


class _SignedURLs:
    """The signed URLs of a dataset, which live for minutes: each attempt asks for new ones."""

    def __init__(self, transport: Transport, request: Request) -> None:
        self._transport = transport
        self._request = request
        self._fresh: dict[str, str] | None = None

    async def known(self) -> dict[str, str]:
        """Return all URLs, by the server's name of the file.

        Raises:
            APIStatusError: The server refuses: there is no such dataset, say.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read.
        """
        answer = await self._transport.send(self._request)
        self._fresh = read_signed_urls(parse_json(answer.body))
        return self._fresh

    async def url_of(self, key: str, repeats: CallRepeats) -> str:
        """Return a fresh URL of a file, as a part of one attempt at the file.

        Raises:
            FireworksBatchError: The request for the URL failed, or the file does not exist any
                more.
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
        self._most = 0  # the largest number of bytes that any attempt reached

    async def run(self) -> None:
        """Attempt the download until the file is whole.

        An attempt that brings new bytes starts the counting of the retry policy anew.
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
                        f"{request}: {stream.status} is no answer to a download"
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
                    break  # `_check` says so; there may be no end to what comes
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

    The first byte of each file is asked for, since the URLs are not signed for HEAD requests.
    A length that cannot be had now is known when the file is downloaded.
    """
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
    for key, url in urls.items():
        try:
            async with transport.stream("GET", url, headers=headers, is_signed=True) as stream:
                tally.expect(key, size_of(stream.status, stream.headers))
        except TransportError as error:
            _log.debug("the length of %r is not known yet: %s", key, error)
