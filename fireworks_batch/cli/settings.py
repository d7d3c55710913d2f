"""What was said of the jobs of a submission, as the library takes it. Performs no I/O."""

from typing import Any, Protocol

from fireworks_batch.cli.durations import parse_duration
from fireworks_batch.models.dataset import Limits

__all__ = ["Settings", "arguments_of"]


class Settings(Protocol):
    """The options; their names say what they are."""

    @property
    def model(self) -> str:
        """The model's resource name."""
        ...

    @property
    def name(self) -> str | None:
        """The run's key."""
        ...

    @property
    def system_prompt(self) -> str | None:
        """Given to rows without one."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Of each response."""
        ...

    @property
    def temperature(self) -> float | None:
        """Of the sampling."""
        ...

    @property
    def top_p(self) -> float | None:
        """Of the sampling."""
        ...

    @property
    def top_k(self) -> int | None:
        """Of the sampling."""
        ...

    @property
    def n(self) -> int | None:
        """Choices a row."""
        ...

    @property
    def extra_body(self) -> str | None:
        """More parameters, a JSON object."""
        ...

    @property
    def precision(self) -> str | None:
        """The precision's name."""
        ...

    @property
    def window(self) -> str | None:
        """How long the server may take, as typed."""
        ...

    @property
    def rows_per_job(self) -> int | None:
        """Most rows of a job."""
        ...

    @property
    def skip_bad_rows(self) -> bool:
        """Whether bad rows are left out."""
        ...

    @property
    def again(self) -> bool:
        """Whether jobs that ended badly run again."""
        ...


_PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "n", "extra_body")


def arguments_of(settings: Settings) -> dict[str, Any]:
    """Return the arguments of ``client.submit`` and ``client.run``.

    Raises:
        ConfigurationError: The window is no duration.
    """
    parameters = {
        name: value for name in _PARAMETERS if (value := getattr(settings, name)) is not None
    }
    window = settings.window
    return {
        "model": settings.model,
        "name": settings.name,
        "system_prompt": settings.system_prompt,
        "inference_parameters": parameters or None,
        "precision": settings.precision,
        "max_job_duration": None if window is None else parse_duration("--window", window),
        "limits": Limits(max_rows=settings.rows_per_job),
        "on_bad_row": "skip" if settings.skip_bad_rows else "raise",
        "on_previous": "new" if settings.again else "adopt",
    }
