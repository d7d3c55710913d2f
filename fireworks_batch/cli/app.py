"""The commands, their options, and the function that each command calls."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fireworks_batch.cli.options import (
    Choices,
    CollectOptions,
    CommonOptions,
    DatasetArgument,
    JobArgument,
    JobOptions,
    JobsArgument,
    JobsToWaitForArgument,
    MaxRows,
    MaxTokens,
    RecordOptions,
    RequestsArgument,
    ResultsOptions,
    RunOptions,
    SubmissionArgument,
    WaitOptions,
    command,
)

__all__ = ["app"]

_EXIT_CODES = (
    "Exit codes: 0 all rows succeeded; 1 no answer, or another problem; 2 usage or bad input; "
    "3 failed; 4 cancelled, stopped early or deleted; 5 expired; 6 completed with failed rows; "
    "7 gave up waiting for a job that has not ended; 8 not authorised; 130 interrupted; 141 the "
    "reader of stdout left. Of several jobs, the first of 8, 1, 2, 3, 4, 5, 7, 6 that a job has."
)

app: typer.Typer = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},  # for all commands
    help="Run requests by Fireworks AI batch inference: from a file of requests to their results.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,  # its tables leave 24 of 80 columns for the text of an option
    pretty_exceptions_enable=False,  # they would show what variables hold
)
datasets_app: typer.Typer = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
app.add_typer(datasets_app, name="datasets", help="List, upload, download and delete datasets.")


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer passes it by position
    if is_asked:
        from importlib.metadata import version

        typer.echo(version("fireworks-batch"))
        raise typer.Exit


@app.callback()
def _program(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


# --- From requests to results -------------------------------------------------------------------


@command(app)
def run(
    options: CommonOptions,
    jobs: JobOptions,
    terms: RunOptions,
    records: RecordOptions,
    requests: RequestsArgument,
) -> int:
    """Submit requests, wait, and write the results.

    After a crash or Ctrl-C, the same command goes on with the same jobs.
    """
    from fireworks_batch.cli.commands import run as commands

    return commands.run(options, jobs, terms, records, requests)


@command(app)
def check(
    options: CommonOptions,
    records: RecordOptions,
    requests: RequestsArgument,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="FIREWORKS_BATCH_MODEL",
            help="The model of the jobs, to find rows that name another model.",
        ),
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The system prompt of the jobs.")
    ] = None,
    max_tokens: MaxTokens = None,
    n: Choices = None,
    max_rows: MaxRows = None,
    max_problems: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Maximum bad rows to name. All bad rows are counted."
        ),
    ] = 100,
    price: Annotated[
        bool,
        typer.Option(
            "--price",
            help="Estimate what the requests cost; needs --model, and the extra 'cost'.",
        ),
    ] = False,
) -> int:
    """Check requests as 'run' does, and send nothing.

    Each bad row is named on stdout.
    """
    from fireworks_batch.cli.commands import run as commands

    return commands.check(
        options,
        records,
        requests,
        model=model,
        system_prompt=system_prompt,
        max_tokens=max_tokens,
        n=n,
        max_rows=max_rows,
        max_problems=max_problems,
        price=price,
    )


@command(app)
def submit(
    options: CommonOptions, jobs: JobOptions, records: RecordOptions, requests: RequestsArgument
) -> int:
    """Create the jobs of requests, and write their ids.

    The same command again creates no second job. With --json, it writes what 'collect' reads.
    """
    from fireworks_batch.cli.commands import run as commands

    return commands.submit(options, jobs, records, requests)


@command(app)
def collect(
    options: CommonOptions,
    records: RecordOptions,
    terms: CollectOptions,
    submission: SubmissionArgument,
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="The requests, to keep their order and to name the rows that are missing, with "
            "the --template, --id-column and --limit of 'submit'. By default rows come in the "
            "order of their ids.",
        ),
    ] = None,
) -> int:
    """Wait for the jobs of 'submit', and write the results."""
    from fireworks_batch.cli.commands import run as commands

    return commands.collect(options, records, terms, submission, requests=requests)


# --- Jobs ---------------------------------------------------------------------------------------


def _list_filter(example: str) -> Any:
    return typer.Option(
        "--filter",
        metavar="EXPRESSION",
        help=f"List only what matches, as in '{example}' (AIP-160).",
    )


JobFilter = Annotated[str | None, _list_filter('state="JOB_STATE_RUNNING"')]
DatasetFilter = Annotated[str | None, _list_filter('state="READY"')]
ListOrder = Annotated[
    str | None, typer.Option(metavar="FIELDS", help="Order of the list, as in 'create_time desc'.")
]
ListLimit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, metavar="N", help="Maximum number of lines."),
]


@command(app)
def get(options: CommonOptions, job: JobArgument) -> int:
    """Show one job."""
    from fireworks_batch.cli.commands import jobs as commands

    return commands.get(options, job)


@command(app, "list")
def list_jobs(
    options: CommonOptions,
    filter: JobFilter = None,  # noqa: A002 - the API's name
    order_by: ListOrder = None,
    limit: ListLimit = None,
) -> int:
    """List the account's jobs."""
    from fireworks_batch.cli.commands import jobs as commands

    return commands.list_all(options, filter_=filter, order_by=order_by, limit=limit)


@command(app)
def wait(options: CommonOptions, terms: WaitOptions, jobs: JobsToWaitForArgument = None) -> int:
    """Follow jobs until all have ended.

    Give job ids, --all or --filter. Ctrl-C leaves the jobs running.
    """
    from fireworks_batch.cli.commands import wait as commands

    return commands.wait(options, terms, jobs or ())


@command(app)
def results(options: CommonOptions, terms: ResultsOptions, job: JobArgument) -> int:
    """Write the rows of a job that has ended.

    A row is one JSON object on one line.
    """
    from fireworks_batch.cli.commands import results as commands

    return commands.results(options, terms, job)


@command(app)
def delete(
    options: CommonOptions,
    jobs: JobsArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the jobs are gone, after about a minute.")
    ] = False,
) -> int:
    """Stop jobs and remove them. Read the results first.

    The API has no way to cancel a job and keep it.
    """
    from fireworks_batch.cli.commands import jobs as commands

    return commands.delete(options, jobs, wait=wait)


# --- Datasets -----------------------------------------------------------------------------------


@command(datasets_app, "list")
def list_datasets(
    options: CommonOptions,
    filter: DatasetFilter = None,  # noqa: A002 - the API's name
    order_by: ListOrder = None,
    limit: ListLimit = None,
) -> int:
    """List the account's datasets."""
    from fireworks_batch.cli.commands import datasets as commands

    return commands.list_all(options, filter_=filter, order_by=order_by, limit=limit)


@command(datasets_app)
def upload(
    options: CommonOptions,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", dir_okay=False, help="Rows, one JSON object per line."),
    ],
    dataset_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Id of the dataset. By default it derives from the content."
        ),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse", help="If a dataset has this id already, use it, whatever it holds."
        ),
    ] = False,
) -> int:
    """Upload a file as a dataset, and write its id."""
    from fireworks_batch.cli.commands import datasets as commands

    return commands.upload(options, file, dataset_id=dataset_id, reuse=reuse)


@command(datasets_app)
def download(
    options: CommonOptions,
    dataset: DatasetArgument,
    directory: Annotated[
        Path,
        typer.Option(
            "--directory",
            "-d",
            metavar="DIRECTORY",
            file_okay=False,
            help="Directory of the files. It is created if it does not exist.",
        ),
    ] = Path(),
    lineage: Annotated[
        bool,
        typer.Option(
            "--lineage", help="Include the datasets of the earlier jobs that its job continues."
        ),
    ] = False,
) -> int:
    """Download a dataset's files, and write their paths."""
    from fireworks_batch.cli.commands import datasets as commands

    return commands.download(options, dataset, directory, lineage=lineage)


@command(datasets_app, "delete")
def delete_dataset(options: CommonOptions, dataset: DatasetArgument) -> int:
    """Remove a dataset with its files."""
    from fireworks_batch.cli.commands import datasets as commands

    return commands.delete(options, dataset)


# --- Without an account -------------------------------------------------------------------------


@app.command()
def demo(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Write the log to stderr.")] = False,
) -> None:
    """Run 24 requests on an emulator, without an account.

    The emulator has a bad network, and one row fails at first.
    """
    from fireworks_batch.cli.commands import demo as commands

    raise typer.Exit(int(commands.demo(CommonOptions(debug=debug))))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def emulator(context: typer.Context) -> None:
    """Emulate the API on this machine.

    The first line on stdout is the base URL.
    """
    from fireworks_batch.emulator.command import main

    raise typer.Exit(main(context.args, program=context.command_path))
