"""The options, in groups that a command has as a whole, and how it gets them."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

__all__ = [
    "CommonOptions",
    "DatasetArgument",
    "JobArgument",
    "JobOptions",
    "JobsArgument",
    "RequestsArgument",
    "ResultsOptions",
    "RunOptions",
    "WaitOptions",
    "command",
]

_CONNECTION: Final = "Connection"
_OUTPUT: Final = "Output"
_JOB: Final = "Jobs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """The options of each command that talks to the API."""

    api_key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="FIREWORKS_API_KEY_FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="File that holds the API key, read before each request. Without it the key is "
            "FIREWORKS_API_KEY, or that of ~/.fireworks/auth.ini. There is no option for the key "
            "itself: other users of a machine can read its command lines.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    account: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_ACCOUNT_ID",
            metavar="ID",
            help="The account's id; by default the only account that the key sees.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_BASE_URL",
            metavar="URL",
            help="URL of the API, without /v1; by default https://api.fireworks.ai.",
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
class JobOptions:
    """What the jobs of a submission are like; most names are those of the library."""

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
            help="Name of the run, with which the ids begin. The same requests under another name "
            "are other jobs.",
            rich_help_panel=_JOB,
        ),
    ] = None
    system_prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="System prompt of the rows that begin with no system message.",
            rich_help_panel=_JOB,
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of tokens of a response.", rich_help_panel=_JOB),
    ] = None
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Randomness of sampling.", rich_help_panel=_JOB)
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Sample from the likeliest tokens that have this probability together.",
            rich_help_panel=_JOB,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(help="Sample from this many of the likeliest tokens.", rich_help_panel=_JOB),
    ] = None
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=1, help="Number of choices in each response.", rich_help_panel=_JOB
        ),
    ] = None
    extra_body: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="More parameters of all rows: a JSON object.",
            rich_help_panel=_JOB,
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Precision to serve the model with; by default the server chooses one.",
            rich_help_panel=_JOB,
        ),
    ] = None
    window: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_BATCH_WINDOW",
            metavar="DURATION",
            help="Time limit of a job, 12h to 72h; by default 24h. A job that is not done by then "
            "is EXPIRED.",
            rich_help_panel=_JOB,
        ),
    ] = None
    rows_per_job: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of rows of a job.", rich_help_panel=_JOB),
    ] = None
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows",
            help="Leave out rows that the server would refuse. Without it one such row stops all.",
            rich_help_panel=_JOB,
        ),
    ] = False
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Where an earlier job of these rows did not succeed, run the rows without a "
            "response again. Without it the results of that job are taken as they are.",
            rich_help_panel=_JOB,
        ),
    ] = False


_Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="FIREWORKS_BATCH_TIMEOUT",
        help="How long to wait for a job: 90 (seconds), 15m, 2h, 1d, or 'none'. By default until "
        "the job's own time limit, and an hour more.",
    ),
]
_DeleteOnInterrupt = Annotated[
    bool,
    typer.Option(
        "--delete-on-interrupt",
        envvar="FIREWORKS_BATCH_DELETE_ON_INTERRUPT",
        help="Delete the jobs on Ctrl-C or SIGTERM, which stops them. Without it they run on. "
        "'run' deletes only jobs that it has created itself.",
    ),
]
_OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="File for the rows with a response; it appears when it is whole. By default stdout.",
    ),
]
_ErrorsFile = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        dir_okay=False,
        help="File for the rows with an error. By default they are only counted.",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run does, whatever its jobs are like."""

    output: _OutputFile = None
    errors: _ErrorsFile = None
    timeout: _Timeout = None
    retry_rows: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="TIMES",
            help="How often a row is sent again that failed for a passing reason.",
        ),
    ] = 0
    delete_on_interrupt: _DeleteOnInterrupt = False
    cleanup: Annotated[
        bool, typer.Option("--cleanup", help="Delete the input datasets at the end.")
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaitOptions:
    """How long a wait takes, and what an interrupt does."""

    timeout: _Timeout = None
    stall_after: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            envvar="FIREWORKS_BATCH_STALL_AFTER",
            help="Stop waiting for a job that shows no change for so long.",
        ),
    ] = None
    delete_on_interrupt: _DeleteOnInterrupt = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultsOptions:
    """Which rows of a job are written, and where to."""

    output: _OutputFile = None
    errors: _ErrorsFile = None
    input: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FILE", help="The requests, to name the rows that are missing."
        ),
    ] = None
    lineage: Annotated[
        bool,
        typer.Option("--lineage", help="Also the rows of the jobs that this one continues."),
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
        help="Requests, one JSON object a line with custom_id and body. It may be gzipped.",
    ),
]


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add a function to an application as a command.

    Args:
        app: The application.
        name: The command's name; None for that of the function.

    Returns:
        A decorator. The function returns the process's exit code. Where one of its parameters is
        a dataclass, the command has an option for each field.
    """

    def add(function: Callable[..., int]) -> Callable[..., int]:
        app.command(name or function.__name__)(_unfolded(function))
        return function

    return add


def _unfolded(function: Callable[..., int]) -> Callable[..., None]:
    """Return a function whose signature ends with the fields in place of the dataclasses."""
    parameters = inspect.signature(function).parameters
    groups = {name: p.annotation for name, p in parameters.items() if _is_group(p.annotation)}
    fields = {name: inspect.signature(group).parameters for name, group in groups.items()}

    def run(**arguments: Any) -> None:
        for name, group in groups.items():
            arguments[name] = group(**{field: arguments.pop(field) for field in fields[name]})
        raise typer.Exit(int(function(**arguments)))

    own = [parameter for name, parameter in parameters.items() if name not in groups]
    # The first group is that of all commands: in a command's help it comes last.
    shared = [field for name in reversed(fields) for field in fields[name].values()]
    unfolded = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature(unfolded)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in unfolded}
    return run


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
