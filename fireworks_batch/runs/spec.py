"""What all jobs of a run are like, and the key that their ids are made of."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from fireworks_batch.files.part_file import is_path, path
from fireworks_batch.jobs.creation import body_of
from fireworks_batch.jobs.draft import draft_job
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit, PollPolicy, is_timeout
from fireworks_batch.models.validators import (
    instance_of,
    one_of,
    plain_function,
    whole_number,
)
from fireworks_batch.runs.chain import OnPrevious
from fireworks_batch.runs.progress import RunProgress
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.wire.codec import Codec

__all__ = [
    "JobTemplate",
    "RunKey",
    "RunOptions",
    "attempt_id",
    "attempt_of",
    "check_run_name",
    "input_id",
    "is_of_name",
    "job_template",
    "output_id",
]


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a run is made, besides what its jobs are like."""

    limits: Limits = attrs.field(factory=Limits, validator=instance_of(Limits))
    """What one job takes."""

    on_bad_row: str = attrs.field(default="raise", validator=one_of("raise", "skip"))
    """Whether a bad row ends it or is left out."""

    on_previous: str = attrs.field(
        default=OnPrevious.ADOPT.value, validator=one_of(*(each.value for each in OnPrevious))
    )
    """What is done about jobs that ended badly before the call."""

    output: Path | None = attrs.field(
        default=None, converter=path, validator=attrs.validators.optional(is_path)
    )
    """Where the rows that succeeded are written."""

    errors: Path | None = attrs.field(
        default=None, converter=path, validator=attrs.validators.optional(is_path)
    )
    """Where the rows that failed are written."""

    max_in_flight: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole_number())
    )
    """Jobs that run at a time; None: all of them."""

    on_progress: Callable[[RunProgress], object] | None = attrs.field(
        default=None, validator=attrs.validators.optional(plain_function)
    )
    """Is told how far the whole is."""

    retry_rows: int = attrs.field(default=0, validator=whole_number(least=0))
    """The highest number of an attempt that runs rows again which failed, or are missing."""

    on_abort: str = attrs.field(default="leave", validator=one_of("leave", "delete"))
    """What is done about the jobs that the call has created, when it is given up."""

    cleanup: str = attrs.field(default="keep", validator=one_of("keep", "datasets"))
    """Whether input datasets are deleted when all results are here."""

    timeout: float | JobTimeLimit | None = attrs.field(default=JOB_TIME_LIMIT, validator=is_timeout)
    """Seconds for which each job is waited for."""

    poll: PollPolicy | None = attrs.field(
        default=None, validator=attrs.validators.optional(instance_of(PollPolicy))
    )
    """When jobs are polled."""

    max_problems: int = attrs.field(default=100, validator=whole_number())
    """Bad rows to name; all are counted."""

    @property
    def skips_bad_rows(self) -> bool:
        """Whether a bad row is left out."""
        return self.on_bad_row == "skip"


# The server's rule; at most 63 characters in all.
_LONGEST: Final = 63


_DIGEST: Final = 20


_CONTENT: Final = 8


# The longest end of an id: that of the input of a later attempt.
_END: Final = len("-99-") + _CONTENT


_LONGEST_PREFIX: Final = _LONGEST - _DIGEST - 1 - _END


_DEFAULT_PREFIX: Final = "batch"


_LONGEST_NAME: Final = 500


# Changed whenever the ids of a run mean something else.
_SCHEME: Final = "fireworks-batch run 2"


@attrs.frozen(kw_only=True)
class RunKey:
    """All that distinguishes the jobs of a run from others, but the rows."""

    account_id: str
    """The account's id."""

    model: str
    """The model's resource name."""

    parameters: Mapping[str, Any]
    """The rest of what is sent to create the job, as the wire spells it."""

    name: str = ""
    """The run's key, chosen by the caller: the same input under another name is another job."""

    def base(self, content: str) -> str:
        """Return the id of a shard: those of its jobs and datasets begin with it.

        Args:
            content: The digest of the rows of the shard.
        """
        ingredients = [
            _SCHEME,
            self.account_id,
            self.model,
            _canonical(self.parameters),
            self.name,
            content,
        ]
        text = json.dumps(ingredients, ensure_ascii=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).digest()
        return f"{_prefix(self.name)}-{base64.b32encode(digest).decode()[:_DIGEST].lower()}"


def attempt_id(base: str, number: int) -> str:
    """Return the id of the job of an attempt.

    Args:
        base: The id of the shard.
        number: The number of the attempt, from 0.
    """
    return f"{base}-{number}"


def attempt_of(job_id: str) -> tuple[str, int] | None:
    """Return what `attempt_id` was given to make an id; None if it has not made the id.

    Args:
        job_id: The id.
    """
    base, _, number = job_id.rpartition("-")
    is_number = number.isascii() and number.isdecimal() and (number[0] != "0" or number == "0")
    return (base, int(number)) if base and is_number and len(number) < len("1000") else None


def input_id(base: str, number: int, content: str) -> str:
    """Return the id of the input dataset of an attempt.

    Args:
        base: The id of the shard.
        number: The number of the attempt; attempt 0 runs all rows of the shard.
        content: The digest of the rows. Two callers may see other rows without a response, and
            upload both: the job's id decides which of them run.
    """
    return f"{base}-{number}-{content[:_CONTENT]}" if number else attempt_id(base, 0)


def output_id(base: str, number: int) -> str:
    """Return the id of the output dataset of an attempt.

    Args:
        base: The id of the shard.
        number: The number of the attempt.
    """
    return f"{base}-{number}-out"


def is_of_name(name: str, base: str) -> bool:
    """Return whether the id of a shard can be that of a run of a name, by what can be read of it.

    Args:
        name: The name of the run.
        base: The id of the shard.
    """
    return re.fullmatch(rf"{re.escape(_prefix(name))}-[a-z2-7]{{{_DIGEST}}}", base) is not None


def check_run_name(name: object) -> str:
    """Return the name of a run; an empty one if there is none.

    Raises:
        ConfigurationError: It is no string, too long, or cannot be written in UTF-8.
    """
    if name is None:
        return ""
    if not isinstance(name, str):
        raise ConfigurationError(f"name must be a string or None, not {name!r}")
    if not name.strip() or len(name) > _LONGEST_NAME or re.search(r"[\ud800-\udfff]", name):
        raise ConfigurationError(
            f"name must have 1 to {_LONGEST_NAME} characters that can be written, "
            f"as in 'nightly-2026-11-23', not {name[:80]!r}"
        )
    return name


def _prefix(name: str) -> str:
    """Return what can be read of a name in an id: a letter first, no hyphen last."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if words and not words[0].isalpha():
        words = f"{_DEFAULT_PREFIX}-{words}"
    return words[:_LONGEST_PREFIX].rstrip("-") or _DEFAULT_PREFIX


def _canonical(value: Any) -> str:
    """Return JSON that is the same for equal values, whatever made them and in which order."""
    return json.dumps(_plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _plain(value: Any, key: str = "") -> Any:
    """Read the JSON inside the JSON: ``extraBody`` is a string of it."""
    if isinstance(value, Mapping):
        return {name: _plain(member, name) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if key == "extraBody" and isinstance(value, str):
        return _read(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _read(text: str) -> Any:
    try:
        return _plain(json.loads(text))
    except ValueError:
        return text


# Stand-ins for what is not known before the input is read, and does not belong to the key.
_ANY_ACCOUNT: Final = "any"


_ANY_ID: Final = "any"


@attrs.frozen(kw_only=True)
class JobTemplate:
    """What is known of all jobs of a run before their input is read."""

    name: str
    """The run's name; empty if it has none."""

    model: str
    """The model's resource name."""

    arguments: Mapping[str, Any]
    """What `Jobs.create` is given, besides ids and input."""

    parameters: Mapping[str, Any]
    """The same as the wire spells it, the model left out."""

    def key(self, account_id: str) -> RunKey:
        """Return what the ids of its jobs are made of.

        Args:
            account_id: Whose jobs they are.
        """
        return RunKey(
            account_id=account_id, model=self.model, parameters=self.parameters, name=self.name
        )

    @property
    def rules(self) -> RowRules:
        """What rows must not contradict."""
        return RowRules(model=self.model, has_system_prompt="systemPrompt" in self.parameters)


def job_template(codec: Codec, *, name: object, arguments: Mapping[str, Any]) -> JobTemplate:
    """Check what jobs are to be like, before anything is read or sent.

    Args:
        codec: Writes what is sent.
        name: The run's name, or None.
        arguments: Those of `Jobs.create`; None where nothing was said.

    Raises:
        ConfigurationError: A value is malformed.
    """
    checked = check_run_name(name)
    if not arguments.get("model"):
        raise ConfigurationError(
            "a run needs model=, as in 'accounts/fireworks/models/demo-8b', not "
            f"{arguments.get('model')!r}"
        )
    said = {key: value for key, value in arguments.items() if value is not None}
    draft = draft_job(_ANY_ACCOUNT, _ANY_ID, input_dataset=_ANY_ID, **said)
    body = body_of(draft, codec)
    own = {"model", "inputDatasetId"}
    # An empty message says what none says: both are the same job.
    parameters = {key: value for key, value in body.items() if key not in own and value != {}}
    return JobTemplate(name=checked, model=draft.model, arguments=said, parameters=parameters)
