"""Submissions: what was submitted, in a form that another process can collect.

Performs no I/O.
"""

import json
import re
from typing import Any, Final, Self

import attrs

from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.names import JobRef, check_id, read_stored, write_stored
from fireworks_batch.models.states import JobState
from fireworks_batch.results.report import AdoptedJob
from fireworks_batch.runs.spec import attempt_id

__all__ = ["Submission", "SubmittedShard"]


_VERSION: Final = 3


_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch


@attrs.frozen(kw_only=True)
class SubmittedShard:
    """One shard of a submission: the rows of one job, and the id that its attempts share."""

    base_id: str
    """The id of the shard. The ids of its attempts are ``{base_id}-0``, ``{base_id}-1``, …"""

    newest: int = 0
    """The number of the newest attempt when the requests were submitted, from 0."""

    rows: int
    """The number of rows of the shard."""

    sha256: str
    """The SHA-256 digest of the rows, each with a line end, in hexadecimal."""

    first_line: int
    """The line of the requests that has the first row of the shard. Lines are counted from 1."""

    last_line: int
    """The line of the requests that has the last row of the shard."""


@attrs.frozen(kw_only=True, repr=False)
class Submission:
    """What was submitted. Another process can collect the results with it.

    A submission holds no secret and no rows. It takes a few hundred bytes for each shard.
    """

    account_id: str
    """The account's id."""

    base_url: str
    """The base URL of the API that has the jobs, without ``/v1``."""

    name: str
    """The run's name; empty if the run has no name."""

    model: str
    """The model's resource name. No row names another model."""

    has_system_prompt: bool = False
    """Whether the jobs have a system prompt. Rows of token ids cannot take a system prompt."""

    response_format: str = ""
    """The JSON of the response format that rows without one were given; empty for none."""

    limits: Limits = Limits()  # noqa: RUF009 - frozen
    """Most rows and bytes of one job. The rows were split by these limits."""

    shards: tuple[SubmittedShard, ...]
    """The shards, in the order of their rows."""

    adopted: tuple[AdoptedJob, ...] = ()
    """Jobs of the shards that had ended before the call of `BatchClient.submit`."""

    skipped: int = 0
    """The number of bad rows that were left out."""

    @property
    def rows(self) -> int:
        """The number of rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def refs(self) -> tuple[JobRef, ...]:
        """References to the newest attempt of each shard, in the order of the rows.

        An attempt is the newest as of the call of `BatchClient.submit`.
        """
        return tuple(
            JobRef(self.account_id, attempt_id(shard.base_id, shard.newest), self.base_url)
            for shard in self.shards
        )

    def to_json(self) -> str:
        """Return the submission as a JSON object on one line.

        The object has a ``version``. `from_json` reads it, in another process too.
        """
        return write_stored(attrs.asdict(self), version=_VERSION)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a submission that `to_json` wrote.

        Args:
            text: The JSON object, as text or as bytes in UTF-8.

        Raises:
            ConfigurationError: The text is not such an object, or it was written by a release that
                uses another version. Then call `BatchClient.submit` again: it finds the jobs.
        """
        try:
            members = read_stored(text, "submission", version=_VERSION)
        except ConfigurationError as error:
            if "of version" not in str(error):
                raise
            raise ConfigurationError(f"{error}; call `submit` again: it finds the jobs") from None
        try:
            return cls(
                account_id=check_id("account id", members["account_id"]),
                base_url=_of(str, members["base_url"]),
                name=_of(str, members["name"]),
                model=_of(str, members["model"]),
                has_system_prompt=_flag(members["has_system_prompt"]),
                response_format=_json_object(members["response_format"]),
                limits=Limits(**members["limits"]),
                shards=tuple(map(_shard, members["shards"])),
                adopted=tuple(map(_adopted, members["adopted"])),
                skipped=_of(int, members["skipped"]),
            )
        except (KeyError, TypeError) as exc:
            reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise ConfigurationError(f"not a stored submission: {reason}")

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Submission{name}, {self.rows} rows in {len(self.shards)} shards>"


def _of(wanted: type[Any], value: Any) -> Any:
    if isinstance(value, wanted) and not isinstance(value, bool):
        return value
    raise TypeError(f"expected a {wanted.__name__}, not {value!r}")


def _json_object(value: Any) -> str:
    text: str = _of(str, value)
    try:
        if not text or isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    raise TypeError(f"expected the JSON of an object, not {text!r}")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(f"expected a bool, not {value!r}")


def _digest(value: Any) -> str:
    if isinstance(value, str) and _SHA256(value):
        return value
    raise TypeError(f"expected a SHA-256 in hexadecimal, not {value!r}")


def _shard(members: Any) -> SubmittedShard:
    names = ("newest", "rows", "first_line", "last_line")
    numbers = {name: _of(int, members[name]) for name in names}
    return SubmittedShard(
        base_id=check_id("shard id", members["base_id"]),
        sha256=_digest(members["sha256"]),
        **numbers,
    )


def _adopted(members: Any) -> AdoptedJob:
    age = members["age"]
    return AdoptedJob(
        job_id=check_id("job id", members["job_id"]),
        state=JobState(_of(str, members["state"])),
        age=None if age is None else float(_of(int | float, age)),  # type: ignore[arg-type]
    )
