"""The options, in groups, and the decorator that gives a command its groups."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

__all__ = [
    "Choices",
    "CollectOptions",
    "CommonOptions",
    "DatasetArgument",
    "JobArgument",
    "JobOptions",
    "JobsArgument",
    "JobsToWaitForArgument",
    "MaxRows",
    "MaxTokens",
    "RecordOptions",
    "RequestsArgument",
    "ResultsOptions",
    "RowOptions",
    "RunOptions",
    "SubmissionArgument",
    "WaitOptions",
    "command",
]

MaxTokens = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Maximum tokens of a response.")
]

Choices = Annotated[
    int | None, typer.Option("--n", min=1, metavar="N", help="Choices per response.")
]

MaxRows = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Maximum rows of one job. Further rows go to further jobs.",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """The options of each command that talks to the API."""

    api_key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="FIREWORKS_API_KEY_FILE",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="File with the API key; it is read before each request. By default the key is "
            "FIREWORKS_API_KEY, or the key in ~/.fireworks/auth.ini. No option takes the key "
            "itself: other users of a machine can read command lines.",
        ),
    ] = None
    account_id: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_ACCOUNT_ID",
            metavar="ID",
            help="The account. By default the only account that the key sees.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_BASE_URL",
            metavar="URL",
            help="The API, without /v1. By default https://api.fireworks.ai.",
        ),
    ] = None
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            envvar="FIREWORKS_BATCH_JSON",
            help="Write JSON to stdout, one object per line.",
        ),
    ] = False
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="FIREWORKS_BATCH_DEBUG",
            help="Write the log, and the tracebacks of errors, to stderr.",
        ),
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """How requests are made of the records of a file, and how many rows are taken."""

    template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Prompt for each record of a .csv, .tsv or .jsonl file, with names of columns in "
            "braces, as in 'Summarise: {text}'. A brace of the text is doubled.",
        ),
    ] = None
    id_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column with the ids of the requests. By default the requests are numbered: "
            "row-00000001 and so on.",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Take only the first N rows. They are a job of their own: without --limit, all "
            "rows run, these rows once more.",
        ),
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The arguments of ``client.submit``, most of them under their own names."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="FIREWORKS_BATCH_MODEL",
            metavar="MODEL",
            help="Resource name of the model, as in accounts/fireworks/models/demo-8b.",
        ),
    ]
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            envvar="FIREWORKS_BATCH_NAME",
            metavar="NAME",
            help="Name of the run; the ids of its jobs begin with it. The same requests under "
            "another name are other jobs.",
        ),
    ] = None
    system_prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="System message for rows that do not begin with a system message."
        ),
    ] = None
    max_tokens: MaxTokens = None
    temperature: Annotated[
        float | None, typer.Option(min=0, metavar="X", help="Sampling temperature.")
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            help="Sample only from the likeliest tokens whose probabilities add up to this.",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(metavar="N", help="Sample only from this many of the likeliest tokens."),
    ] = None
    n: Choices = None
    extra_body: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Further parameters of each row, as a JSON object."),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Precision to serve the model with, as in FP8. By default the server chooses.",
        ),
    ] = None
    max_job_duration: Annotated[
        str | None,
        typer.Option(
            envvar="FIREWORKS_BATCH_MAX_JOB_DURATION",
            metavar="DURATION",
            help="Job time limit, 12h to 72h. By default 24h. At the limit a job ends EXPIRED.",
        ),
    ] = None
    max_rows: MaxRows = None
    on_bad_row: Annotated[
        Literal["raise", "skip"],
        typer.Option(
            help="What to do about rows that the server would refuse. 'raise' sends nothing; "
            "'skip' leaves these rows out.",
        ),
    ] = "raise"
    on_previous: Annotated[
        Literal["adopt", "new"],
        typer.Option(
            help="What to do about earlier jobs of the same rows that did not succeed. 'adopt' "
            "takes their results; 'new' runs the rows without a response again.",
        ),
    ] = "adopt"
    retry_rows: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="How often to send rows again that are missing, or failed for a reason that may "
            "pass.",
        ),
    ] = 0


_Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="FIREWORKS_BATCH_TIMEOUT",
        help="How long to wait for each job: 90 (seconds), 15m, 2h, 1d or 'none'. By default until "
        "an hour after the job's own time limit.",
    ),
]
_StallAfter = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="FIREWORKS_BATCH_STALL_AFTER",
        help="Stop waiting when a job has not changed for this long.",
    ),
]
_OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="File for the rows with a response. It appears when it is complete. By default the "
        "rows go to stdout.",
    ),
]
_ErrorsFile = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        dir_okay=False,
        help="File for the rows with an error. By default these rows are only counted.",
    ),
]
_DELETE_ON_INTERRUPT: Final = "FIREWORKS_BATCH_DELETE_ON_INTERRUPT"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowOptions:
    """Where rows are written, and in which format."""

    output: _OutputFile = None
    errors: _ErrorsFile = None
    format: Annotated[
        Literal["jsonl", "openai", "csv", "parquet"],
        typer.Option(
            help="Format of the rows. 'jsonl' is the format of the server, 'openai' the format "
            "of OpenAI's batch results. 'csv' and 'parquet' are tables of all rows, with columns "
            "for errors; 'parquet' needs the extra 'arrow'.",
        ),
    ] = "jsonl"

    @property
    def is_table(self) -> bool:
        """Whether the rows with an error are among the others, in the same file."""
        return self.format in {"csv", "parquet"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectOptions(RowOptions):
    """The arguments of ``client.collect``, under their own names."""

    timeout: _Timeout = None
    stall_after: _StallAfter = None
    cleanup: Annotated[
        Literal["keep", "datasets"],
        typer.Option(
            help="What to delete when all results are on this machine. 'datasets' deletes the "
            "input datasets of COMPLETED jobs.",
        ),
    ] = "keep"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(CollectOptions):
    """The arguments of ``client.run`` that neither submit nor collect has, and an interrupt."""

    max_in_flight: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Maximum jobs at a time. By default all of them."),
    ] = None
    delete_on_interrupt: Annotated[
        bool,
        typer.Option(
            "--delete-on-interrupt",
            envvar=_DELETE_ON_INTERRUPT,
            help="On Ctrl-C or SIGTERM, delete the jobs that this command has created. By default "
            "they run on.",
        ),
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaitOptions:
    """Which jobs to wait for, how long, and what an interrupt does."""

    all: Annotated[
        bool, typer.Option("--all", help="Wait for all jobs of the account that have not ended.")
    ] = False
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Wait for the jobs that 'list' shows with the same --filter.",
        ),
    ] = None
    timeout: _Timeout = None
    stall_after: _StallAfter = None
    exec: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Command for the shell to run when a job has ended, or the wait for it. The "
            "command finds FIREWORKS_BATCH_JOB, FIREWORKS_BATCH_STATE and "
            "FIREWORKS_BATCH_EXIT_CODE in its environment.",
        ),
    ] = None
    delete_on_interrupt: Annotated[
        bool,
        typer.Option(
            "--delete-on-interrupt",
            envvar=_DELETE_ON_INTERRUPT,
            help="On Ctrl-C or SIGTERM, delete the jobs. By default they run on.",
        ),
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultsOptions(RowOptions):
    """Which rows of a job are written, and where to."""

    expected: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="The requests, to name the rows that are missing."
        ),
    ] = None
    lineage: Annotated[
        bool,
        typer.Option(
            "--lineage", help="Include the rows of the earlier jobs that this job continues."
        ),
    ] = False


JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id or resource name of the job.")]
JobsArgument = Annotated[
    list[str], typer.Argument(metavar="JOB", help="Ids or resource names of the jobs.")
]
JobsToWaitForArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="JOB",
        help="Ids or resource names of the jobs.",
        show_default=False,
    ),
]
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="Id or resource name of the dataset.")
]
RequestsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        dir_okay=False,
        allow_dash=True,
        help="Requests: a .jsonl or .jsonl.gz file with one JSON object per line, each with "
        "custom_id and body. With --template, records. '-' reads standard input.",
    ),
]
SubmissionArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        dir_okay=False,
        allow_dash=True,
        help="A submission, as 'submit --json' writes it. '-' reads standard input.",
    ),
]


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add a function to an application as a command.

    Args:
        app: The application.
        name: The command's name; None for the name of the function.

    Returns:
        A decorator. The function returns the process's exit code. If a parameter of the function
        is a dataclass, the command has an option for each field.
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
    # The first group has the options of all commands: they come last in a help.
    shared = [field for name in reversed(fields) for field in fields[name].values()]
    unfolded = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature(unfolded)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in unfolded}
    return run


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
