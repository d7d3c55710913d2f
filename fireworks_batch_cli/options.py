"""The options that commands share, and how a command comes by them."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

__all__ = [
    "Common",
    "DatasetArgument",
    "ErrorsFile",
    "JobArgument",
    "JobSettings",
    "JobsArgument",
    "OutputFile",
    "RequestsArgument",
    "command",
]

_CONNECTION: Final = "Connection"
_OUTPUT: Final = "Output"
_JOB: Final = "Jobs"


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSettings:
    """What the jobs of a submission are like; the names are those of the library."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="FIREWORKS_BATCH_MODEL",
            metavar="MODEL",
            help="The model's resource name: accounts/fireworks/models/...",
            rich_help_panel=_JOB,
        ),
    ]
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            envvar="FIREWORKS_BATCH_NAME",
            metavar="NAME",
            help="The run's key: the same requests under another name are other jobs. The ids "
            "begin with it.",
            rich_help_panel=_JOB,
        ),
    ] = None
    system_prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Given to rows that have no leading system message.",
            rich_help_panel=_JOB,
        ),
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a response.", rich_help_panel=_JOB)
    ] = None
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Randomness of the sampling.", rich_help_panel=_JOB)
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Sample among the likeliest tokens with so much probability.",
            rich_help_panel=_JOB,
        ),
    ] = None
    top_k: Annotated[
        int | None, typer.Option(help="Sample among so many tokens.", rich_help_panel=_JOB)
    ] = None
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, help="Choices of each response.", rich_help_panel=_JOB),
    ] = None
    extra_body: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="More parameters of all rows, a JSON object.",
            rich_help_panel=_JOB,
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The precision to serve with; the server chooses one if not given.",
            rich_help_panel=_JOB,
        ),
    ] = None
    window: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_BATCH_WINDOW",
            metavar="DURATION",
            help="How long the server may take, 12h to 72h (24h if not given); what is not done "
            "then EXPIRES.",
            rich_help_panel=_JOB,
        ),
    ] = None
    rows_per_job: Annotated[
        int | None,
        typer.Option(min=1, help="Make more jobs, of so many rows at most.", rich_help_panel=_JOB),
    ] = None
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            help="Leave rows out that the server would refuse; else nothing is sent.",
            rich_help_panel=_JOB,
        ),
    ] = False
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Run jobs again that ended badly before; else they are taken as they are. Only "
            "rows run that have no response yet.",
            rich_help_panel=_JOB,
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
RequestsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Requests, a JSON object a line: custom_id and body. May be gzipped.",
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="File for the rows with a response, which appears when it is whole; else stdout.",
    ),
]
ErrorsFile = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        dir_okay=False,
        help="The same for the rows with an error; else they are only counted.",
    ),
]


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add a function to an application as a command.

    Args:
        app: Whose command it becomes.
        name: What the command is called; as the function if None.

    Returns:
        A decorator. The function returns the process's exit code; for a parameter of it that is a
        dataclass, the command has an option for each field.
    """

    def add(function: Callable[..., int]) -> Callable[..., int]:
        app.command(name or function.__name__)(_unfolded(function))
        return function

    return add


def _unfolded(function: Callable[..., int]) -> Callable[..., None]:
    """Return a function in whose signature the fields stand for the dataclasses, at its end."""
    parameters = inspect.signature(function).parameters
    groups = {name: p.annotation for name, p in parameters.items() if _is_group(p.annotation)}
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}

    def run(**arguments: Any) -> None:
        for name, group in groups.items():
            arguments[name] = group(**{field: arguments.pop(field) for field in fields[name]})
        raise typer.Exit(int(function(**arguments)))

    own = [parameter for name, parameter in parameters.items() if name not in groups]
    # The connection is told last, where it is least in the way.
    shared = [field for name in reversed(fields) for field in fields[name].values()]
    unfolded = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature(unfolded)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in unfolded}
    return run


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
