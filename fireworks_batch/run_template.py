"""What all jobs of a run are like, and the key that their ids are made of."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from fireworks_batch.creating import body_of
from fireworks_batch.errors import ConfigurationError
from fireworks_batch.input_rows import RowRules
from fireworks_batch.job_draft import draft_job
from fireworks_batch.run_ids import RunKey, check_run_name
from fireworks_batch.wire import Codec

__all__ = ["JobTemplate", "job_template"]

# The server's limit on display names of other resources.
_LONGEST_DISPLAY_NAME: Final = 63
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
    if checked:
        said["display_name"] = checked[:_LONGEST_DISPLAY_NAME]
    draft = draft_job(_ANY_ACCOUNT, _ANY_ID, input_dataset=_ANY_ID, **said)
    body = body_of(draft, codec)
    own = {"model", "inputDatasetId"}
    # An empty message says what none says: both are the same job.
    parameters = {key: value for key, value in body.items() if key not in own and value != {}}
    return JobTemplate(name=checked, model=draft.model, arguments=said, parameters=parameters)
