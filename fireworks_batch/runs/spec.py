"""The settings that all jobs of a run share, and the key that their ids derive from."""

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
from fireworks_batch.jobs.draft import draft_job, sampling_defaults
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.job import InferenceParameters
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit, PollPolicy, is_timeout
from fireworks_batch.models.validators import (
    instance_of,
    one_of,
    plain_function,
    whole_number,
)
from fireworks_batch.results.decoding import Decoder, read_decode
from fireworks_batch.runs.chain import OnPrevious
from fireworks_batch.runs.contents import JobDefaults
from fireworks_batch.runs.progress import CheckReport, RunProgress
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
    "job_defaults",
    "job_template",
    "output_id",
]


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a run is made: all options but the settings of its jobs."""

    limits: Limits = attrs.field(factory=Limits, validator=instance_of(Limits))
    """Most rows and bytes of one job."""

    on_bad_row: str = attrs.field(default="raise", validator=one_of("raise", "skip"))
    """Whether a bad row ends the call or is left out."""

    on_previous: str = attrs.field(
        default=OnPrevious.ADOPT.value, validator=one_of(*(each.value for each in OnPrevious))
    )
    """What is done about jobs that ended badly before the call."""

    output: Path | None = attrs.field(
        default=None, converter=path, validator=attrs.validators.optional(is_path)
    )
    """The file for the rows with a response."""

    errors: Path | None = attrs.field(
        default=None, converter=path, validator=attrs.validators.optional(is_path)
    )
    """The file for the rows with an error."""

    max_in_flight: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole_number())
    )
    """Most jobs that run at a time. None means no limit."""

    on_progress: Callable[[RunProgress], object] | None = attrs.field(
        default=None, validator=attrs.validators.optional(plain_function)
    )
    """Called with a snapshot of the run after each change."""

    retry_rows: int = attrs.field(default=0, validator=whole_number(least=0))
    """The highest number of an attempt that runs failed and missing rows again."""

    on_abort: str = attrs.field(default="leave", validator=one_of("leave", "delete"))
    """What is done about the jobs that the call has created, if the call is given up."""

    cleanup: str = attrs.field(default="keep", validator=one_of("keep", "datasets"))
    """Whether input datasets are deleted when all results are on this machine."""

    timeout: float | JobTimeLimit | None = attrs.field(default=JOB_TIME_LIMIT, validator=is_timeout)
    """Most seconds to wait for each job."""

    poll: PollPolicy | None = attrs.field(
        default=None, validator=attrs.validators.optional(instance_of(PollPolicy))
    )
    """When jobs are polled."""

    max_problems: int = attrs.field(default=100, validator=whole_number())
    """The most bad rows to name. All of them are counted."""

    before_submit: Callable[[CheckReport], object] | None = attrs.field(
        default=None, validator=attrs.validators.optional(plain_function)
    )
    """Called with the report of the check, before anything is sent."""

    decode: Decoder | None = attrs.field(default=None, converter=read_decode)
    """Makes the output of a response. None if rows have no output."""

    @property
    def skips_bad_rows(self) -> bool:
        """Whether a bad row is left out."""
        return self.on_bad_row == "skip"


# Most characters of an id: the server's rule.
_LONGEST: Final = 63


# Characters of the digest in the id of a shard.
_DIGEST: Final = 20


# Characters of the digest in the id of the input dataset of a later attempt.
_CONTENT: Final = 8


# Most characters that follow the id of a shard: in the input dataset of a later attempt.
_LONGEST_SUFFIX: Final = len("-99-") + _CONTENT


_LONGEST_PREFIX: Final = _LONGEST - _DIGEST - 1 - _LONGEST_SUFFIX


_DEFAULT_PREFIX: Final = "batch"


_LONGEST_NAME: Final = 500


# Must change whenever the ids of a run get another meaning.
_SCHEME: Final = "fireworks-batch run 2"


@attrs.frozen(kw_only=True)
class RunKey:
    """All that the ids of a run's jobs derive from, but the rows."""

    account_id: str
    """The account's id."""

    model: str
    """The model's resource name."""

    parameters: Mapping[str, Any]
    """All other settings that are sent to create the job, as the wire spells them."""

    name: str = ""
    """The run's name, chosen by the caller. The same input under another name is another job."""

    def base(self, content: str) -> str:
        """Return the id of a shard. The ids of its jobs and datasets begin with it.

        Args:
            content: The SHA-256 digest of the rows of the shard, in hexadecimal.
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
    """Return the id of the shard and the attempt number that a job id is made of.

    Args:
        job_id: The id of the job.

    Returns:
        The two parts, as `attempt_id` takes them; None if `attempt_id` cannot have made the id.
    """
    base, _, number = job_id.rpartition("-")
    is_number = number.isascii() and number.isdecimal() and (number[0] != "0" or number == "0")
    return (base, int(number)) if base and is_number and len(number) < len("1000") else None


def input_id(base: str, number: int, content: str) -> str:
    """Return the id of the input dataset of an attempt.

    Args:
        base: The id of the shard.
        number: The number of the attempt; attempt 0 runs all rows of the shard.
        content: The SHA-256 digest of the rows, in hexadecimal. Two callers may choose different
            rows for one attempt, and both upload their rows. The one job of the attempt runs the
            rows of one caller.
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
    """Return whether a shard can be of a run with a name, as the readable part of its id says.

    Args:
        name: The name of the run.
        base: The id of the shard.
    """
    return re.fullmatch(rf"{re.escape(_prefix(name))}-[a-z2-7]{{{_DIGEST}}}", base) is not None


def check_run_name(name: object) -> str:
    """Return the name of a run; an empty name for None.

    Raises:
        ConfigurationError: The name is not a string, is blank or too long, or cannot be written in
            UTF-8.
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
    """Return the readable part of an id: the name, with a letter first and no hyphen last."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if words and not words[0].isalpha():
        words = f"{_DEFAULT_PREFIX}-{words}"
    return words[:_LONGEST_PREFIX].rstrip("-") or _DEFAULT_PREFIX


def _canonical(value: Any) -> str:
    """Return JSON that is the same for equal values. The order of members does not matter."""
    return json.dumps(_plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _plain(value: Any, key: str = "") -> Any:
    """Return a value with ``extraBody``, a string of JSON, parsed."""
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


# Stand-ins for the account and the ids, which do not belong to the key. The account and the ids are
# not known before the input is read.
_ANY_ACCOUNT: Final = "any"


_ANY_ID: Final = "any"


@attrs.frozen(kw_only=True)
class JobTemplate:
    """The settings of all jobs of a run. They are known before the requests are read."""

    name: str
    """The run's name; empty if the run has no name."""

    model: str
    """The model's resource name."""

    arguments: Mapping[str, Any]
    """The arguments of `Jobs.create`, without ids and input."""

    parameters: Mapping[str, Any]
    """The same settings as the wire spells them, without the model."""

    defaults: JobDefaults
    """What the jobs say for rows that do not."""

    response_format: str = ""
    """The response format of rows that bring none, as JSON. Empty if such rows have none."""

    def key(self, account_id: str) -> RunKey:
        """Return the key that the ids of the run's jobs derive from.

        Args:
            account_id: The id of the account that has the jobs.
        """
        return RunKey(
            account_id=account_id, model=self.model, parameters=self.parameters, name=self.name
        )

    @property
    def rules(self) -> RowRules:
        """The settings that rows must not contradict."""
        return RowRules(
            model=self.model,
            has_system_prompt=bool(self.defaults.system_prompt),
            response_format=self.response_format,
        )


def job_defaults(
    system_prompt: str | None, parameters: InferenceParameters | Mapping[str, Any] | None
) -> JobDefaults:
    """Return what a job says for rows that do not, as far as it counts for a price.

    Args:
        system_prompt: The system message; None or empty for none.
        parameters: The sampling defaults; None for none.

    Raises:
        ConfigurationError: A parameter is malformed.
    """
    sampling = sampling_defaults(parameters) or InferenceParameters()
    for name in ("max_tokens", "n"):
        value = getattr(sampling, name)
        if value is not None and not isinstance(value, int):
            raise ConfigurationError(
                f"inference_parameters.{name} must be a whole number, not {value!r}"
            )
    return JobDefaults(
        system_prompt=system_prompt or "",
        max_tokens=sampling.max_tokens,
        choices=sampling.n or 1,
    )


def job_template(
    codec: Codec, *, name: object, arguments: Mapping[str, Any], response_format: str = ""
) -> JobTemplate:
    """Check the settings of jobs, before anything is read or sent.

    Args:
        codec: Writes the body of a request.
        name: The run's name, or None.
        arguments: The arguments of `Jobs.create`. None means that an argument is not given.
        response_format: The response format of rows that bring none, as JSON; empty for none.

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
    # An empty message means the same as no message: both must give the same ids.
    parameters = {key: value for key, value in body.items() if key not in own and value != {}}
    return JobTemplate(
        name=checked,
        model=draft.model,
        arguments=said,
        parameters=parameters,
        defaults=job_defaults(draft.system_prompt, draft.inference_parameters),
        response_format=response_format,
    )
