"""A dataset, and the resource that the server would show at any instant. Performs no I/O."""

from collections.abc import Mapping
from typing import Final

from fireworks_batch.emulator.clock import SECOND, EmulatedClock, Instant
from fireworks_batch.emulator.http.messages import Field, Message

READY_AFTER: Final = SECOND
"""The emulated time from the end of an upload to READY. Seen live for small files, about 1 s."""

_OK: Final = {"code": "OK", "message": ""}
FORMATS: Final = frozenset({"FORMAT_UNSPECIFIED", "CHAT", "COMPLETION", "RL"})
_STATUS: Final = Message(Field("code", kind="enum", zero="OK"), Field("message"))


def _source(name: str, *fields: Field) -> Field:
    return Field(name, "message", zero=None, message=Message(*fields), is_optional=True)


SOURCES: Final = (
    _source("userUploaded"),
    _source("evaluationResult", Field("evaluationJobId")),
    _source(
        "transformed",
        Field("sourceDatasetId"),
        Field("filter"),
        Field("originalFormat", kind="enum", zero="FORMAT_UNSPECIFIED", values=FORMATS),
    ),
    _source("splitted", Field("sourceDatasetId")),
    _source("evalProtocol"),
)
"""The sources of a dataset. At most one of these members is set."""

DATASET: Final = Message(
    Field("name", is_output_only=True),
    Field("displayName"),
    Field("createTime", zero=None, is_output_only=True),
    Field("updateTime", zero=None, is_output_only=True),
    Field("createdBy", is_output_only=True),
    Field("state", kind="enum", zero="STATE_UNSPECIFIED", is_output_only=True),
    Field("status", "message", zero=None, message=_STATUS, is_output_only=True),
    Field("exampleCount", kind="int64", zero="0"),
    Field("estimatedTokenCount", kind="int64", zero="0", is_output_only=True),
    Field("averageTurnCount", kind="float", zero=0, is_output_only=True),
    Field("format", kind="enum", zero="FORMAT_UNSPECIFIED", values=FORMATS),
    Field("externalUrl"),
    Field("sourceJobName"),
    Field(
        "encryptionState",
        kind="enum",
        zero="ENCRYPTION_STATE_UNSPECIFIED",
        is_output_only=True,
    ),
    *SOURCES,
)

CREATE: Final = Message(
    Field("datasetId"),
    Field("dataset", "message", zero=None, message=DATASET),
    Field("sourceDatasetId"),
    Field("filter"),
)
GET_UPLOAD_ENDPOINT: Final = Message(Field("filenameToSize", kind="sizes"), Field("readMask"))
NOTHING: Final = Message()
SPLIT: Final = Message(Field("chunkSize", kind="int32", zero=0), Field("parent"))


class Dataset:
    """A dataset with its members, its files, and the instant at which it is READY."""

    def __init__(
        self,
        account_id: str,
        dataset_id: str,
        members: Mapping[str, object],
        *,
        clock: EmulatedClock,
        nanoseconds: int = 0,
        created: Instant | None = None,
    ) -> None:
        self.account_id = account_id
        self.dataset_id = dataset_id
        self.registered: dict[str, int] = {}
        """The files that are to be uploaded to signed URLs, with their sizes in bytes."""

        self.files: dict[str, int] = {}
        """The files of the dataset, with their sizes in bytes."""

        self.visible: Instant | None = None
        """The instant from which the dataset can be seen; None means from its creation."""

        self.late_files: Mapping[str, Instant] = {}
        """The instant from which a late file is listed, by the file's name."""

        self.parent: str | None = None
        """The output dataset of the job that was continued, if this is the output of a job."""

        self._members = dict(members)
        self._clock = clock
        self._created = self._updated = clock.now() if created is None else created
        self._nanoseconds = nanoseconds
        self._ready: Instant | None = None

    @property
    def name(self) -> str:
        """The resource name of the dataset."""
        return f"accounts/{self.account_id}/datasets/{self.dataset_id}"

    @property
    def is_uploaded(self) -> bool:
        """Whether the dataset has its files. It may not be READY yet."""
        return self._ready is not None

    @property
    def example_count(self) -> int:
        """The ``exampleCount`` of the dataset. It is never checked."""
        return int(str(self._members.get("exampleCount", "0")))

    def key(self, file_name: str) -> str:
        """Return the name that a file has in the answer to a download."""
        return f"dataset/{self.dataset_id}/{file_name}"

    def path(self, file_name: str) -> str:
        """Return the path of a file in the storage."""
        return f"/fireworks-{self.account_id}/{self.key(file_name)}"

    def is_ready(self, now: Instant) -> bool:
        """Whether the dataset is READY at *now*."""
        return self._ready is not None and now >= self._ready

    def is_visible(self, now: Instant) -> bool:
        """Whether the dataset can be seen at *now*."""
        return self.visible is None or now >= self.visible

    def listed_files(self, now: Instant) -> list[str]:
        """Return the names of the files that the answer to a download lists."""
        return [name for name in self.files if now >= self.late_files.get(name, now)]

    def take_file(self, name: str, size: int, *, ready: Instant) -> None:
        """Add a file. It does not change when the dataset is READY, except for the first file."""
        self.files[name] = size
        self._ready = ready if self._ready is None else self._ready

    def finish(self, files: Mapping[str, int], *, ready: Instant) -> None:
        """Replace all files, given by name and size in bytes."""
        self.files = dict(files)
        self._ready = ready

    def update(self, members: Mapping[str, object], now: Instant) -> None:
        """Change members."""
        self._members |= members
        self._updated = now

    def show(self, now: Instant) -> dict[str, object]:
        """Return the resource that a GET at *now* shows."""
        members, updated = self._members, self._updated
        is_ready = self.is_ready(now)
        if is_ready and self._ready is not None:
            updated = max(updated, self._ready)
        shown = {
            "name": self.name,
            "displayName": members.get("displayName", ""),
            "createTime": self._clock.timestamp(self._created),
            "updateTime": self._clock.timestamp(updated),
            "createdBy": f"dev@{self.account_id}.example",
            "state": "READY" if is_ready else "UPLOADING",
            "status": _OK,
            "exampleCount": members.get("exampleCount", "0"),
            "estimatedTokenCount": str(sum(self.files.values()) // 4 if is_ready else 0),
            "averageTurnCount": 0,
            "format": members.get("format", "FORMAT_UNSPECIFIED"),
            "externalUrl": members.get("externalUrl", ""),
            "sourceJobName": members.get("sourceJobName", ""),
            "encryptionState": "ENCRYPTION_STATE_PLAINTEXT",
        }
        return shown | {s.name: members[s.name] for s in SOURCES if s.name in members}

    @property
    def created(self) -> Instant:
        """The instant at which the dataset was created."""
        return self._created

    def show_created(self) -> dict[str, object]:
        """Return the resource that the answer to the creation shows. Its times have nine digits."""
        shown = self.show(self._created)
        for name in ("createTime", "updateTime"):
            shown[name] = f"{str(shown[name])[:-1]}{self._nanoseconds:03d}Z"
        return shown
