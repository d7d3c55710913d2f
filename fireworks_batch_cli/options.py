"""The options that commands share, and how a command comes by them."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

__all__ = ["Common", "DatasetArgument", "JobArgument", "JobsArgument", "command"]

_CONNECTION: Final = "Connection"
_OUTPUT: Final = "Output"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """The options that all commands which talk to the API have."""

    api_key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="FIREWORKS_API_KEY_FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="File that holds the API key, read before each request. Else FIREWORKS_API_KEY, "
            "or ~/.fireworks/auth.ini: a key on a command line could be read by everybody.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    account: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_ACCOUNT_ID",
            metavar="ID",
            help="The account; the only one that the key sees, if not given.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_BASE_URL",
            metavar="URL",
            help="The API, without /v1; https://api.fireworks.ai if not given.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            envvar="FIREWORKS_BATCH_JSON",
            help="Write one JSON object a line to stdout.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="FIREWORKS_BATCH_DEBUG",
            help="Show the log, and tracebacks of errors, on stderr.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False


JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id or its resource name.")
]
JobsArgument = Annotated[
    list[str], typer.Argument(metavar="JOB", help="The jobs' ids or their resource names.")
]
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="The dataset's id or its resource name.")
]


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add a function to an application as a command that has the common options, too.

    Args:
        app: Whose command it becomes.
        name: What the command is called; as the function if None.

    Returns:
        A decorator. The function takes a `Common` and its own parameters, and returns the
        process's exit code.
    """

    def add(function: Callable[..., int]) -> Callable[..., int]:
        app.command(name or function.__name__)(_with_common(function))
        return function

    return add


def _with_common(function: Callable[..., int]) -> Callable[..., None]:
    """Return a function that typer sees the common options of, after the function's own."""
    shared = inspect.signature(Common).parameters
    own = list(inspect.signature(function).parameters.values())[1:]

    def run(**arguments: Any) -> None:
        common = Common(**{name: arguments.pop(name) for name in shared})
        raise typer.Exit(int(function(common, **arguments)))

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *shared.values())
    ]
    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
