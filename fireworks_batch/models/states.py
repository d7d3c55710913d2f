"""The server's enumerations, and the one table of what each job state means.

Performs no I/O.
"""

import enum
import warnings
from typing import Any, ClassVar, Self, TypeVar

from fireworks_batch.models.texts import did_you_mean

__all__ = [
    "JOB_PHASES",
    "TOMBSTONES",
    "DatasetFormat",
    "DatasetState",
    "EncryptionState",
    "JobPhase",
    "JobState",
    "MultiRegion",
    "OpenEnum",
    "Precision",
    "StatusCode",
]


class OpenEnum(enum.StrEnum):
    """A string enumeration that the server may extend at any time.

    A value that is not published becomes a pseudo-member. A pseudo-member keeps its raw string,
    compares equal to that string, survives pickle and copy, is not listed, and has ``is_known``
    False. Compare members with ``==``, not with ``is``. A comparison with a wire name
    (``"JOB_STATE_COMPLETED"``) is False, and warns.
    """

    __wire_prefix__: ClassVar[str] = ""

    wire: str
    """The value in the server's form."""

    def __new__(cls, value: str, wire: str | None = None) -> Self:
        """Make a published member from its bare name, and its wire name if that is irregular."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.wire = cls.__wire_prefix__ + value if wire is None else wire
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        bare = value.removeprefix(cls.__wire_prefix__) or value
        by_wire = {member.wire: member for member in cls}
        return by_wire.get(value) or cls.__members__.get(bare) or _pseudo_member(cls, bare, value)

    @property
    def is_known(self) -> bool:
        """Whether this value was published when this library was released."""
        return self._value_ in type(self)._value2member_map_

    def __eq__(self, other: object) -> bool:
        self._warn_of(other)
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        self._warn_of(other)
        return str.__ne__(self, other)

    # Equal strings have equal hashes.
    __hash__ = str.__hash__

    def _warn_of(self, other: object) -> None:
        """Warn if a member is compared with a wire name.

        The vendor's SDK has wire names. Code that moves from there would wait for ever.
        """
        prefix = self.__wire_prefix__
        if not prefix or not isinstance(other, str) or str.__eq__(self, other):
            return
        if other.startswith(prefix):
            bare, names = other.removeprefix(prefix), type(self).__members__
            hint = "" if bare in names else did_you_mean(bare, names)
            warnings.warn(
                f"{type(self).__name__} is never equal to {other!r}: compare with {bare!r}{hint}",
                stacklevel=3,
            )

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return type(self), (self.wire,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


_E = TypeVar("_E", bound=OpenEnum)


def _pseudo_member(cls: type[_E], bare: str, wire: str) -> _E:
    member = str.__new__(cls, bare)
    member._name_ = member._value_ = bare
    member.wire = wire
    return member


class JobPhase(enum.StrEnum):
    """What a job state means for a caller who waits for the job."""

    QUEUED = "queued"
    """The job is accepted; no row is processed yet."""

    RUNNING = "running"
    """Rows are being processed."""

    FINISHING = "finishing"
    """The job writes its results, or is being cancelled; a terminal state follows."""

    PAUSED = "paused"
    """The job stands still until a person acts."""

    LEAVING = "leaving"
    """The job is being deleted."""

    TERMINAL = "terminal"
    """The job has ended; the state never changes again."""

    UNKNOWN = "unknown"
    """The state is unspecified, or this release does not know it."""


class JobState(OpenEnum):
    """The state of a batch inference job; ``phase`` says what a state means.

    ``str()`` and ``.value`` are the bare name (``"COMPLETED"``). ``.wire`` is the server's name
    (``"JOB_STATE_COMPLETED"``). Construction accepts both names.
    """

    __wire_prefix__ = "JOB_STATE_"

    UNSPECIFIED = "UNSPECIFIED"
    VALIDATING = "VALIDATING"
    PENDING = "PENDING"
    CREATING = "CREATING"
    CREATING_INPUT_DATASET = "CREATING_INPUT_DATASET"
    RE_QUEUEING = "RE_QUEUEING"
    RUNNING = "RUNNING"
    WRITING_RESULTS = "WRITING_RESULTS"
    CANCELLING = "CANCELLING"
    PAUSED = "PAUSED"
    IDLE = "IDLE"
    DELETING = "DELETING"
    DELETING_CLEANING_UP = "DELETING_CLEANING_UP"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    EARLY_STOPPED = "EARLY_STOPPED"
    DELETED = "DELETED"
    ARCHIVED = "ARCHIVED"

    @property
    def phase(self) -> JobPhase:
        """What the state means for a caller who waits for the job."""
        return JOB_PHASES.get(self, JobPhase.UNKNOWN)

    @property
    def is_terminal(self) -> bool:
        """Whether the state is terminal, which means that it never changes again."""
        return self.phase is JobPhase.TERMINAL

    @property
    def is_success(self) -> bool:
        """Whether the state is COMPLETED; a COMPLETED job can have failed rows."""
        return self == JobState.COMPLETED


# The phase of each published state. It is inferred that EARLY_STOPPED, DELETED and ARCHIVED are
# terminal: their meaning for batch inference jobs is not documented.
JOB_PHASES: dict[JobState, JobPhase] = {
    JobState.UNSPECIFIED: JobPhase.UNKNOWN,
    JobState.VALIDATING: JobPhase.QUEUED,
    JobState.PENDING: JobPhase.QUEUED,
    JobState.CREATING: JobPhase.QUEUED,
    JobState.CREATING_INPUT_DATASET: JobPhase.QUEUED,
    JobState.RE_QUEUEING: JobPhase.QUEUED,
    JobState.RUNNING: JobPhase.RUNNING,
    JobState.WRITING_RESULTS: JobPhase.FINISHING,
    JobState.CANCELLING: JobPhase.FINISHING,
    JobState.PAUSED: JobPhase.PAUSED,
    JobState.IDLE: JobPhase.PAUSED,
    JobState.DELETING: JobPhase.LEAVING,
    JobState.DELETING_CLEANING_UP: JobPhase.LEAVING,
    JobState.COMPLETED: JobPhase.TERMINAL,
    JobState.FAILED: JobPhase.TERMINAL,
    JobState.CANCELLED: JobPhase.TERMINAL,
    JobState.EXPIRED: JobPhase.TERMINAL,
    JobState.EARLY_STOPPED: JobPhase.TERMINAL,
    JobState.DELETED: JobPhase.TERMINAL,
    JobState.ARCHIVED: JobPhase.TERMINAL,
}


# The states in which a deleted job may stay visible. This is inferred from trainer jobs, where
# ARCHIVED has this meaning.
TOMBSTONES: frozenset[JobState] = frozenset({JobState.DELETED, JobState.ARCHIVED})


class DatasetState(OpenEnum):
    """The state of a dataset. There is no failed state; see the dataset's ``status``."""

    UNSPECIFIED = "UNSPECIFIED", "STATE_UNSPECIFIED"
    UPLOADING = "UPLOADING"
    READY = "READY"


class DatasetFormat(OpenEnum):
    """The format of the rows of a dataset."""

    UNSPECIFIED = "UNSPECIFIED", "FORMAT_UNSPECIFIED"
    CHAT = "CHAT"
    COMPLETION = "COMPLETION"
    RL = "RL"


class EncryptionState(OpenEnum):
    """How a dataset is encrypted.

    Nothing is uploaded to a CMEK dataset. The vendor's own client refuses such an upload too.
    """

    __wire_prefix__ = "ENCRYPTION_STATE_"

    UNSPECIFIED = "UNSPECIFIED"
    PLAINTEXT = "PLAINTEXT"
    CMEK = "CMEK"


class Precision(OpenEnum):
    """The precision in which a model is served."""

    UNSPECIFIED = "UNSPECIFIED", "PRECISION_UNSPECIFIED"
    FP16 = "FP16"
    FP8 = "FP8"
    FP8_MM = "FP8_MM"
    FP8_AR = "FP8_AR"
    FP8_MM_KV_ATTN = "FP8_MM_KV_ATTN"
    FP8_KV = "FP8_KV"
    FP8_MM_V2 = "FP8_MM_V2"
    FP8_V2 = "FP8_V2"
    FP8_MM_KV_ATTN_V2 = "FP8_MM_KV_ATTN_V2"
    NF4 = "NF4"
    FP4 = "FP4"
    BF16 = "BF16"
    FP4_BLOCKSCALED_MM = "FP4_BLOCKSCALED_MM"
    FP4_MX_MOE = "FP4_MX_MOE"


class MultiRegion(OpenEnum):
    """The group of regions that a job may run in."""

    UNSPECIFIED = "UNSPECIFIED", "MULTI_REGION_UNSPECIFIED"
    GLOBAL = "GLOBAL"
    US = "US"
    EUROPE = "EUROPE"
    APAC = "APAC"


class StatusCode(OpenEnum):
    """The canonical codes of a status and of an error answer."""

    OK = "OK"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
