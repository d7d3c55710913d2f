"""The commands: their names, their options, and where to find what each of them does."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fireworks_batch_cli.options import (
    Common,
    DatasetArgument,
    ErrorsFile,
    JobArgument,
    JobsArgument,
    JobSettings,
    OutputFile,
    RequestsArgument,
    command,
)

__all__ = ["app"]

_EXIT_CODES = (
    "Exit codes: 0 all rows succeeded; 1 no answer, or another trouble; 2 usage or bad input; "
    "3 failed; 4 cancelled, stopped or deleted; 5 expired; 6 completed with failed rows; 7 gave up "
    "waiting while the job runs on; 8 not authorised; 130 interrupted; 141 the reader of stdout "
    "left. Of several jobs, the first of 8, 1, 2, 3, 4, 5, 7, 6 that one of them has."
)

app = typer.Typer(
    help="Bring requests to results by Fireworks AI batch inference, and follow its jobs.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show what variables hold
)
datasets_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(datasets_app, name="datasets", help="List, upload, download and delete datasets.")


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer calls it so
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
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


# --- From requests to results -------------------------------------------------------------------

Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="FIREWORKS_BATCH_TIMEOUT",
        help="Give up waiting after so long: 90 (seconds), 15m, 2h, 1d, or 'none'. If not given, "
        "as long as the job's own window, and an hour.",
    ),
]
DeleteOnInterrupt = Annotated[
    bool,
    typer.Option(
        "--delete-on-interrupt",
        envvar="FIREWORKS_BATCH_DELETE_ON_INTERRUPT",
        help="On Ctrl-C or SIGTERM delete the jobs, which stops them; else they run on.",
    ),
]


@command(app)
def run(
    options: Common,
    settings: JobSettings,
    requests: RequestsArgument,
    output: OutputFile = None,
    errors: ErrorsFile = None,
    timeout: Timeout = None,
    retry_rows: Annotated[
        int,
        typer.Option(
            min=0, metavar="TIMES", help="Send rows again that failed for a passing reason."
        ),
    ] = 0,
    delete_on_interrupt: DeleteOnInterrupt = False,
    cleanup: Annotated[
        bool, typer.Option("--cleanup", help="Delete the input datasets in the end.")
    ] = False,
) -> int:
    """Bring requests to results. After a crash, the same command goes on with the same jobs."""
    from fireworks_batch.cli import run_commands

    terms = run_commands.RunTerms(
        output=output,
        errors=errors,
        timeout=timeout,
        retry_rows=retry_rows,
        deletes=delete_on_interrupt,
        cleans=cleanup,
    )
    return run_commands.whole_run(options, requests, settings, terms)


@command(app)
def check(
    options: Common,
    requests: RequestsArgument,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="FIREWORKS_BATCH_MODEL",
            help="The job's model, which rows must not contradict.",
        ),
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The job's system prompt.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Name so many bad rows; all are counted.")] = 100,
) -> int:
    """Look at requests as `run` does, and send nothing; bad rows are named."""
    from fireworks_batch.cli import run_commands

    return run_commands.check(
        options, requests, model=model, system_prompt=system_prompt, most=most
    )


@command(app)
def submit(options: Common, settings: JobSettings, requests: RequestsArgument) -> int:
    """Make sure that the server has the jobs, and write their ids; may be repeated."""
    from fireworks_batch.cli import run_commands

    return run_commands.submit(options, requests, settings)


# --- Jobs ---------------------------------------------------------------------------------------


def _list_filter(example: str) -> Any:
    return typer.Option(
        "--filter", metavar="EXPRESSION", help=f"AIP-160, passed on to the server: '{example}'."
    )


JobFilter = Annotated[str | None, _list_filter('state="JOB_STATE_RUNNING"')]
DatasetFilter = Annotated[str | None, _list_filter('state="READY"')]
ListOrder = Annotated[
    str | None, typer.Option(metavar="MEMBERS", help="Passed on to the server: 'create_time desc'.")
]
ListLimit = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="List no more than so many.")
]
StallAfter = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        envvar="FIREWORKS_BATCH_STALL_AFTER",
        help="Give up waiting when nothing has changed for so long.",
    ),
]


@command(app)
def get(options: Common, job: JobArgument) -> int:
    """Show one job."""
    from fireworks_batch.cli import job_commands

    return job_commands.get(options, job)


@command(app, "list")
def list_jobs(
    options: Common,
    filter: JobFilter = None,  # noqa: A002 - the API's name
    order_by: ListOrder = None,
    limit: ListLimit = None,
) -> int:
    """List the account's jobs."""
    from fireworks_batch.cli import job_commands

    return job_commands.list_all(options, filter_=filter, order_by=order_by, limit=limit)


@command(app)
def wait(
    options: Common,
    jobs: JobsArgument,
    timeout: Timeout = None,
    stall_after: StallAfter = None,
    delete_on_interrupt: DeleteOnInterrupt = False,
) -> int:
    """Follow jobs until they can change no more; Ctrl-C leaves them running."""
    from fireworks_batch.cli import wait_command

    terms = wait_command.WaitTerms(
        timeout=timeout, stall_after=stall_after, deletes=delete_on_interrupt
    )
    return wait_command.wait(options, jobs, terms)


@command(app)
def results(
    options: Common,
    job: JobArgument,
    output: OutputFile = None,
    errors: ErrorsFile = None,
    requests: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FILE", help="The requests, to tell which rows are missing."
        ),
    ] = None,
    lineage: Annotated[
        bool,
        typer.Option("--lineage", help="Rows of the jobs that this one continues, too."),
    ] = False,
) -> int:
    """Write the rows of a job that has ended, a JSON object a line."""
    from fireworks_batch.cli import results_command

    terms = results_command.ResultsTerms(
        output=output, errors=errors, requests=requests, lineage=lineage
    )
    return results_command.results(options, job, terms)


@command(app)
def delete(
    options: Common,
    jobs: JobsArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return only when they are gone, a minute later or so.")
    ] = False,
) -> int:
    """Stop jobs and remove them: the API has no cancel. Read results that matter first."""
    from fireworks_batch.cli import job_commands

    return job_commands.delete(options, jobs, wait=wait)


# --- Datasets -----------------------------------------------------------------------------------


@command(datasets_app, "list")
def list_datasets(
    options: Common,
    filter: DatasetFilter = None,  # noqa: A002 - the API's name
    order_by: ListOrder = None,
    limit: ListLimit = None,
) -> int:
    """List the account's datasets."""
    from fireworks_batch.cli import dataset_commands

    return dataset_commands.list_all(options, filter_=filter, order_by=order_by, limit=limit)


@command(datasets_app)
def upload(
    options: Common,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows, a JSON object a line.")],
    dataset_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ID", help="What to call it; derived from the content if not given."
        ),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take a dataset of this id for it that is there.")
    ] = False,
) -> int:
    """Upload a file as a dataset, and write its id."""
    from fireworks_batch.cli import dataset_commands

    return dataset_commands.upload(options, file, dataset_id=dataset_id, reuse=reuse)


@command(datasets_app)
def download(
    options: Common,
    dataset: DatasetArgument,
    directory: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIRECTORY", help="Made if it is not there."),
    ] = Path(),
    lineage: Annotated[
        bool, typer.Option("--lineage", help="All datasets of the chain of jobs that it ends.")
    ] = False,
) -> int:
    """Download a dataset's files, and write their paths."""
    from fireworks_batch.cli import dataset_commands

    return dataset_commands.download(options, dataset, directory, lineage=lineage)


@command(datasets_app, "delete")
def delete_dataset(options: Common, dataset: DatasetArgument) -> int:
    """Remove a dataset with its files."""
    from fireworks_batch.cli import dataset_commands

    return dataset_commands.delete(options, dataset)


# --- Without an account -------------------------------------------------------------------------


@app.command()
def demo(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the log on stderr.")] = False,
) -> None:
    """Run 24 requests on an emulator with a bad network, and show the results. Needs no account."""
    from fireworks_batch.cli import demo_command

    raise typer.Exit(int(demo_command.demo(Common(debug=debug))))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def emulator(context: typer.Context) -> None:
    """Emulate the API on this machine; its base URL is the first line on stdout."""
    from fireworks_batch.emulator.command import main

    raise typer.Exit(main(context.args, program=f"{context.command_path}"))
