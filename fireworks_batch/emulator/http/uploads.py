"""Large bodies, which are written into a file in chunks."""

from typing import Final

import attrs
from aiohttp import BodyPartReader, web

from fireworks_batch.emulator.files import FileStore, FileWriter, StoredFile
from fireworks_batch.emulator.http.refusals import invalid
from fireworks_batch.emulator.http.request_log import Entry

_CHUNK: Final = 256 * 1024


class TooLargeError(Exception):
    """A body has more bytes than are allowed."""


@attrs.frozen
class Upload:
    """A request whose body was not read yet."""

    request: web.BaseRequest
    entry: Entry

    async def store(self, files: FileStore, *, most: float) -> StoredFile:
        """Store the whole body.

        Raises:
            TooLargeError: The body has more than *most* bytes.
        """
        with files.create() as writer:
            while chunk := await self.request.content.readany():
                _write(writer, chunk, most)
                self.entry.body_bytes = writer.size
            return writer.finish()

    async def store_part(self, files: FileStore, *, most: float) -> tuple[str, StoredFile]:
        """Store the part ``file`` of a form, and return its file name and its content.

        Raises:
            RefusalError: The body is not a form, or has no such part (400).

            TooLargeError: The part has more than *most* bytes.
        """
        if not self.request.content_type.startswith("multipart/"):
            raise invalid(f"request Content-Type isn't multipart/form-data: {self._type()}")
        async for part in await self.request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                return part.filename or "", await _store_part(part, files, most)
        raise invalid("no part 'file' in the form")

    def _type(self) -> str:
        return self.request.headers.get("Content-Type", "")


async def _store_part(part: BodyPartReader, files: FileStore, most: float) -> StoredFile:
    with files.create() as writer:
        while chunk := await part.read_chunk(_CHUNK):
            _write(writer, bytes(chunk), most)
        return writer.finish()


def _write(writer: FileWriter, chunk: bytes, most: float) -> None:
    if writer.size + len(chunk) > most:
        raise TooLargeError
    writer.write(chunk)
