"""Uploads: a source is surveyed, sent in one of two ways, and waited for until READY."""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from fireworks_batch.connection.api import Api, if_there
from fireworks_batch.datasets.claim import (
    Claim,
    Measure,
    check_measure,
    content_id,
    is_done,
    stored_name,
    uploaded_by_another,
)
from fireworks_batch.datasets.download import Progress, Tally
from fireworks_batch.datasets.source import Content, Source, SourceFile
from fireworks_batch.models.dataset import Dataset, Limits
from fireworks_batch.models.errors import (
    APIStatusError,
    InputRowsError,
    ResponseDecodeError,
    TransportError,
)
from fireworks_batch.models.names import refuse_another
from fireworks_batch.models.states import StatusCode
from fireworks_batch.models.validators import instance_of, new_id, plain_function
from fireworks_batch.polling.settle import Settling, Sighting
from fireworks_batch.wire.answers import read_signed_urls, url_of
from fireworks_batch.wire.codec import parse_json
from fireworks_batch.wire.requests import (
    Request,
    create_dataset,
    get_dataset,
    get_upload_urls,
    upload_form,
    validate_upload,
)

__all__ = ["Upload", "UploadOptions"]

_log = logging.getLogger("fireworks_batch.http")

# Small files become READY within about a second (seen live). The longest time is not documented.
_READY_TIMEOUT: Final = 3600.0

# Statuses that never mean that the dataset is uploaded already.
_UNRELATED: Final = frozenset({401, 402, 403, 404, 429})

# Two sources saw this text when a second upload was refused. The dataset may not be READY yet.
_ALREADY: Final = "already uploaded"


@attrs.frozen(kw_only=True)
class UploadOptions:
    """The options of `Datasets.upload`."""

    dataset_id: str | None = attrs.field(validator=attrs.validators.optional(new_id("dataset id")))
    """The id to upload under; None for an id that derives from the content."""

    reuse: bool
    """Whether a READY dataset of the given id is taken for the content."""

    limits: Limits = attrs.field(validator=instance_of(Limits))
    """The most rows and bytes, and the most bytes that are sent through the API."""

    on_progress: Progress | None = attrs.field(validator=attrs.validators.optional(plain_function))
    """Called with the bytes sent and the bytes in all."""

    measure: Measure | None = None
    """The size, rows and hash of the content, if the caller knows them; the content is then read
    only once, when it is sent. None if the content has to be surveyed."""


class Upload:
    """One upload, from the source to READY."""

    def __init__(self, api: Api, options: UploadOptions) -> None:
        """Begin with nothing sent.

        Args:
            api: The API to upload to.
            options: The options of the upload.
        """
        self._api = api
        self._options = options
        self._account_id = ""
        self._lost = 0  # requests with the content whose effect is unknown

    async def run(self, source: Source) -> Dataset:
        """Upload a source, unless its dataset is READY already.

        Raises:
            FireworksBatchError: One of the errors of ``Datasets.upload``.
        """
        self._account_id = await self._api.account_id()
        async with SourceFile(source) as file:
            found = await self._find_given(file)
            measure = self._options.measure or await file.survey()
            check_measure(measure, self._options.limits, file.name)
            claim = self._claim(file, measure)
            dataset = found or await self._create(claim, measure)
            if is_done(claim, dataset):
                _log.info("dataset %r is there already: nothing is uploaded", claim.dataset_id)
                return dataset
            await self._send(file, measure, claim)
        return await self._until_ready(claim)

    # --- The dataset ----------------------------------------------------------------------------

    async def _find_given(self, file: SourceFile) -> Dataset | None:
        """Fetch the dataset of a given id, to find a conflict before a large file is read."""
        dataset_id = self._options.dataset_id
        if dataset_id is None:
            return None
        found = await self._find(dataset_id)
        if found is not None:
            is_done(self._claim(file, None), found)  # raises the conflict
        return found

    def _claim(self, file: SourceFile, measure: Measure | None) -> Claim:
        given = self._options.dataset_id
        return Claim(
            dataset_id=given or (content_id(measure) if measure else ""),
            takes_ready=given is None or self._options.reuse,
            source=file.name,
            rows=measure.rows if measure else None,
        )

    async def _find(self, dataset_id: str) -> Dataset | None:
        request = get_dataset(self._account_id, dataset_id)
        answer = await if_there(self._api.transport.send(request))
        return None if answer is None else self._read(answer.body, dataset_id)

    async def _create(self, claim: Claim, measure: Measure) -> Dataset:
        """Create the dataset; fetch it if an earlier upload or request has created it."""
        request = create_dataset(self._account_id, claim.dataset_id, example_count=measure.rows)
        try:
            answer = await self._api.transport.send(request)
            return self._read(answer.body, claim.dataset_id)
        except (APIStatusError, ResponseDecodeError) as error:
            if isinstance(error, APIStatusError) and error.status in _UNRELATED:
                raise
            refusal = error
        found = await self._find(claim.dataset_id)
        if found is None:
            raise refusal
        return found

    def _read(self, body: bytes, dataset_id: str) -> Dataset:
        dataset = self._api.codec.decode(body, Dataset, required=("name", "state"))
        refuse_another("dataset", dataset.name, dataset_id)
        return dataset

    # --- Sending --------------------------------------------------------------------------------

    async def _send(self, file: SourceFile, measure: Measure, claim: Claim) -> None:
        tally = Tally(self._options.on_progress)
        tally.expect(file.name, measure.size)
        tell = partial(tally.set, file.name)
        try:
            is_small = measure.size <= self._options.limits.max_upload_bytes
            if not (is_small and await self._post(file, measure, claim, tell)):
                await self._put(file, measure, claim, tell)
        except APIStatusError as error:
            # The dataset may be uploaded already: by a request whose answer was lost, or by
            # another process with the same content.
            if not await self._is_uploaded(claim, error):
                if _ALREADY in error.message:
                    raise uploaded_by_another(claim, error) from None
                raise
        tally.end(file.name, measure.size)

    async def _post(
        self, file: SourceFile, measure: Measure, claim: Claim, tell: Callable[[int], None]
    ) -> bool:
        """Send the content through the API, as a form; return False if the form is too large."""
        boundary = secrets.token_hex(16)
        head, tail = _form(boundary, stored_name(file.base_name, claim))
        request = upload_form(self._account_id, claim.dataset_id)
        url = f"{self._api.base_url}{request.path}"
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        failure: APIStatusError | TransportError | None = None

        async def attempt() -> bool:
            nonlocal failure
            if failure is not None and await self._is_uploaded(claim, failure):
                return True
            content = Content(file, measure, tell, head=head, tail=tail)
            try:
                await self._send_once(request, url, headers, content)
            except (APIStatusError, TransportError) as error:
                if isinstance(error, APIStatusError) and error.status == 413:
                    return False
                failure = error
                raise
            return True

        return await self._api.transport.repeats(request).run(attempt)

    async def _put(
        self, file: SourceFile, measure: Measure, claim: Claim, tell: Callable[[int], None]
    ) -> None:
        """Send the content to storage, each time with a new URL, and have it validated."""
        name, size = stored_name(file.base_name, claim), measure.size
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Goog-Content-Length-Range": f"{size},{size}",
        }
        ask = get_upload_urls(self._account_id, claim.dataset_id, {name: size})
        transport = self._api.transport
        repeats = transport.repeats(ask)

        async def attempt() -> None:
            answer = await transport.send_once(ask, repeats=repeats)
            url = url_of(read_signed_urls(parse_json(answer.body)), name)
            request = Request(method="PUT", path=url.partition("?")[0], repeatable=True)
            await self._send_once(request, url, headers, Content(file, measure, tell))

        await repeats.run(attempt)
        await transport.send(validate_upload(self._account_id, claim.dataset_id))

    async def _send_once(
        self, request: Request, url: str, headers: dict[str, str], content: Content
    ) -> None:
        headers = {**headers, "Content-Length": str(content.length)}
        async with self._api.transport.stream(
            request.method, url, headers=headers, data=content, is_signed=request.method == "PUT"
        ) as stream:
            error = await self._api.transport.refusal(request, stream)
        if error is not None:
            raise error

    async def _is_uploaded(self, claim: Claim, error: APIStatusError | TransportError) -> bool:
        """Return whether the content is uploaded in spite of an error; False if unknown."""
        said = ""
        if isinstance(error, APIStatusError):
            if error.status in _UNRELATED:
                return False
            said = error.message
            self._lost += error.lost_before > 0 or error.status >= 500
        else:
            self._lost += 1
        if not (claim.takes_ready or self._lost):
            return False
        if _ALREADY in said:
            return True
        try:
            request = get_dataset(self._account_id, claim.dataset_id)
            answer = await self._api.transport.send_once(request)
            return self._read(answer.body, claim.dataset_id).is_ready
        except (APIStatusError, TransportError, ResponseDecodeError):
            return False

    # --- Waiting --------------------------------------------------------------------------------

    async def _until_ready(self, claim: Claim) -> Dataset:
        request = get_dataset(self._account_id, claim.dataset_id)

        async def ask(pause: float) -> Sighting[Dataset]:
            answer = await self._api.transport.send_once(request, pause=pause)
            dataset = self._read(answer.body, claim.dataset_id)
            return Sighting(dataset, str(dataset.state), dataset.is_ready or _is_refused(dataset))

        poll = self._api.poll
        dataset = await Settling(
            subject=f"dataset {claim.dataset_id!r} to become READY",
            ask=ask,
            api=self._api,
            policy=attrs.evolve(
                poll,
                # A job takes minutes, a dataset takes seconds.
                initial_interval=poll.initial_interval / 10,
                max_interval=poll.max_interval / 4,
            ),
            timeout=_READY_TIMEOUT * self._api.time_scale,
        ).run()
        if not dataset.is_ready and dataset.status is not None:
            raise InputRowsError(
                f"the server refuses {claim.source}, uploaded as dataset {claim.dataset_id!r}: "
                f"{dataset.status.code}: {dataset.status.message}"
            )
        return dataset


def _form(boundary: str, name: str) -> tuple[bytes, bytes]:
    """Return the bytes of a form before and after its one file."""
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _is_refused(dataset: Dataset) -> bool:
    status = dataset.status
    # The meaning of a code that is not documented is unknown.
    return status is not None and status.code.is_known and status.code != StatusCode.OK
