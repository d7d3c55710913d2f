"""How a dataset's files are downloaded: resumed where they broke off, verified, then named."""

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
from fireworks_batch.files.part_file import PartFile, is_path, make_directory, path
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


# What means something to a file system: separators of all systems, control characters, drives and
# streams, a leading dot (dot segments, hidden files), what Windows drops or keeps for devices; and
# the escape itself, so that no two names become one.
_UNSAFE: Final = re.compile(
    r'[\x00-\x1f\x7f-\x9f<>:"|?*/\\%\ud800-\udfff]'
    r"|^\.|[. ]$"
    r"|^(?i:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=$|[. ])"
)


def local_names(
    keys: Iterable[str], *, dataset_id: str, lineage: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return where each file goes: folders, and its name.

    Args:
        keys: The server's names, ``dataset/{id}/{file}``, path-prefixed (seen live).
        dataset_id: The dataset's id.
        lineage: Whether each dataset of a chain gets a folder of its own.

    Returns:
        By key. Each part is a plain file name; what is unsafe in one is percent-encoded. A base
        name that several files share keeps as many of its folders as tell them apart.

    Raises:
        ResponseDecodeError: A key names no file, or two of them the same one.
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
"""Is told bytes done and bytes in all."""


_STEP: Final = 512 * 1024


class Tally:
    """Bytes of all files of a transfer; the caller is told seldom enough to do something then."""

    def __init__(self, told: Progress | None) -> None:
        """Begin with nothing.

        Args:
            told: Whom to tell; nobody if None. What it raises goes to whoever counts.
        """
        self._told = told
        self._done: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._last: int | None = None

    def expect(self, name: str, total: int | None) -> None:
        """Take a file's length, where it is known."""
        if total is not None:
            self._totals[name] = total

    def set(self, name: str, done: int) -> None:
        """Take how much of a file is done; tell it at first, and then for each half MiB."""
        self._done[name] = done
        now = sum(self._done.values())
        if self._last is None or abs(now - self._last) >= _STEP:
            self._tell(now)

    def end(self, name: str, size: int) -> None:
        """Take a file as done, and tell it."""
        self._done[name] = self._totals[name] = size
        self._tell(sum(self._done.values()))

    def _tell(self, now: int) -> None:
        self._last = now
        if self._told is not None:
            self._told(now, max(now, sum(self._totals.values())))


_log = logging.getLogger("fireworks_batch.http")


@attrs.frozen(kw_only=True)
class DownloadOptions:
    """What a download was asked for."""

    directory: Path = attrs.field(converter=path, validator=is_path)
    """Where to; made if it is not there."""

    lineage: bool
    """Whether all datasets of the continuation chain are wanted, each in a folder."""

    on_progress: Progress | None = attrs.field(validator=attrs.validators.optional(plain_function))
    """Is told bytes done and bytes in all."""


async def download(
    api: Api, account_id: str, dataset_id: str, options: DownloadOptions
) -> tuple[Path, ...]:
    """Download all files of a dataset, one after the other, each verified and named when whole.

    Args:
        api: Sends.
        account_id: The account's id.
        dataset_id: The dataset's id.
        options: Where to, and what of it.

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
    await make_directory(directory)
    for key, target in sorted(paths.items()):
        await make_directory(target.parent)
        async with PartFile(target) as part:
            try:
                await _FileDownload(transport, urls, key, part, tally).run()
            except NotFoundError as exc:
                # Not the same as no dataset, which may be all right: there are rows, or were.
                text = f"file {key!r} was listed, and is not there: {exc}"
                raise TransportError(text) from None
            await part.finish()
    return tuple(sorted(paths.values()))


class _SignedURLs:
    """A dataset's signed URLs, asked for anew for each attempt: they live for minutes only."""

    def __init__(self, transport: Transport, request: Request) -> None:
        """Take what asks for them."""
        self._transport = transport
        self._request = request
        self._fresh: dict[str, str] | None = None

    async def known(self) -> dict[str, str]:
        """Return all of them, by the server's name of the file.

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
            FireworksBatchError: The request for it failed, or there is no such file any more.
        """
        urls, self._fresh = self._fresh, None
        if urls is None:
            answer = await self._transport.send_once(self._request, repeats=repeats)
            urls = read_signed_urls(parse_json(answer.body))
        return url_of(urls, key)


class _FileDownload:
    """The download of one file into what becomes it."""

    def __init__(
        self, transport: Transport, urls: _SignedURLs, key: str, part: PartFile, tally: Tally
    ) -> None:
        self._transport = transport
        self._urls = urls
        self._key = key
        self._part = part
        self._tally = tally
        self._held = Held()
        self._most = 0  # bytes that were there at any time

    async def run(self) -> None:
        """Attempt it until it is whole: the policy counts attempts that brought nothing new."""
        name = Request(method="GET", path=f"file {self._key!r}", repeatable=True)
        repeats = self._transport.repeats(name, at_storage=True)
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
        while piece := await stream.read():
            await self._part.write(piece)
            self._held = attrs.evolve(held, size=self._part.size)
            self._tally.set(self._key, self._part.size)

    async def _check(self, request: Request) -> None:
        """Compare what is there with what the server said of it."""
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
    """Find out the files' lengths, for the progress: by their first bytes, as HEAD is not signed.

    What cannot be found out is counted when the file's turn comes.
    """
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"}
    for key, url in urls.items():
        try:
            async with transport.stream("GET", url, headers=headers, is_signed=True) as stream:
                tally.expect(key, size_of(stream.status, stream.headers))
        except TransportError as error:
            _log.debug("the length of %r is not known yet: %s", key, error)
