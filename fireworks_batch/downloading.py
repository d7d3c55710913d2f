"""How a dataset's files are downloaded: resumed where they broke off, verified, then named."""

import logging
from pathlib import Path

import attrs

from fireworks_batch import calls, resuming, wire
from fireworks_batch.calls import Request
from fireworks_batch.errors import APIStatusError, NotFoundError, TransportError
from fireworks_batch.file_names import local_names
from fireworks_batch.part_files import PartFile, make_directory
from fireworks_batch.resuming import Held, StartOver, Take
from fireworks_batch.signed_urls import read_signed_urls, url_of
from fireworks_batch.tally import Progress, Tally
from fireworks_batch.transfers import Stream
from fireworks_batch.transport import Transport

__all__ = ["download"]

_log = logging.getLogger("fireworks_batch.http")


async def download(
    transport: Transport,
    account_id: str,
    dataset_id: str,
    directory: Path,
    *,
    lineage: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Download all files of a dataset, one after the other, each verified and named when whole.

    Args:
        transport: Sends.
        account_id: The account's id.
        dataset_id: The dataset's id.
        directory: Where to; made if it is not there.
        lineage: Whether all datasets of the continuation chain are wanted, each in a folder.
        on_progress: Is told bytes done and bytes in all.

    Returns:
        The files, sorted.

    Raises:
        FireworksBatchError: See ``Datasets.download``.
    """
    urls = _SignedURLs(transport, calls.get_download_urls(account_id, dataset_id, lineage=lineage))
    known = await urls.ask()
    names = local_names(known, dataset_id=dataset_id, lineage=lineage)
    if not names:
        _log.warning("dataset %r has no files", dataset_id)
    paths = {key: directory.joinpath(*parts) for key, parts in names.items()}
    tally = Tally(on_progress)
    if on_progress is not None:
        await _measure(transport, known, tally)
    await make_directory(directory)
    for key, path in sorted(paths.items()):
        await make_directory(path.parent)
        async with PartFile(path) as part:
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
        self._urls: dict[str, str] = {}
        self._is_fresh = False

    async def ask(self) -> dict[str, str]:
        """Return all of them, by the server's name of the file; fresh ones.

        Raises:
            APIStatusError: The server refuses: there is no such dataset, say.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read.
        """
        answer = await self._transport.send(self._request)
        self._urls = read_signed_urls(wire.parse_json(answer.body))
        self._is_fresh = True
        return self._urls

    async def url_of(self, key: str) -> str:
        """Return a fresh URL of a file.

        Raises:
            FireworksBatchError: As for `ask`; also if there is no such file any more.
        """
        if not self._is_fresh:
            await self.ask()
        self._is_fresh = False
        return url_of(self._urls, key)


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

    async def run(self) -> None:
        """Attempt it until it is whole: the policy counts attempts that brought nothing new."""
        name = Request(method="GET", path=f"file {self._key!r}", repeatable=True)
        repeats, most = self._transport.repeats(name), 0
        while True:
            url = await self._urls.url_of(self._key)
            request = Request(method="GET", path=url.partition("?")[0], repeatable=True)
            try:
                return await self._attempt(request, url)
            except (APIStatusError, TransportError) as exc:
                error = exc
            if isinstance(error, APIStatusError) and not resuming.is_worth_repeating(error):
                raise error
            if self._part.size > most:
                repeats, most = self._transport.repeats(name), self._part.size
            _log.debug("%s: again from byte %d, after: %s", request, self._held.size, error)
            await self._transport.pause(repeats, error)

    async def _attempt(self, request: Request, url: str) -> None:
        headers = resuming.request_headers(self._held)
        async with self._transport.stream("GET", url, headers=headers, is_signed=True) as stream:
            match resuming.read_answer(self._held, stream.status, stream.headers):
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
                tally.expect(key, resuming.size_of(stream.status, stream.headers))
        except TransportError as error:
            _log.debug("the length of %r is not known yet: %s", key, error)
