"""Requests of a run, looked at in a directory that goes with it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs

from fireworks_batch.input_rows import RowRules
from fireworks_batch.local_io import off_loop, reported
from fireworks_batch.preflight import ScanTerms
from fireworks_batch.preparing import Prepared, prepare, spool
from fireworks_batch.request_source import Requests
from fireworks_batch.run_models import CheckReport, JobPlan
from fireworks_batch.run_options import RunOptions

__all__ = ["check_requests", "look_at", "workspace"]


async def check_requests(
    requests: Requests, rules: RowRules, options: RunOptions, *, most_problems: int
) -> CheckReport:
    """Look at requests, and send nothing: see `BatchClient.check`."""
    async with workspace() as directory:
        prepared = await look_at(
            requests, rules, options, directory, write=False, most_problems=most_problems
        )
    plans = [
        JobPlan(
            rows=shard.rows,
            bytes=shard.bytes,
            first_line=shard.first_line,
            last_line=shard.last_line,
        )
        for shard in prepared.shards
    ]
    return CheckReport(
        rows=prepared.rows,
        bytes=sum(plan.bytes for plan in plans),
        jobs=tuple(plans),
        problems=prepared.problems,
        problem_count=prepared.problem_count,
        blank_lines=prepared.blank_lines,
    )


async def look_at(
    requests: Requests,
    rules: RowRules,
    options: RunOptions,
    directory: Path,
    *,
    write: bool = True,
    most_problems: int = 100,
) -> Prepared:
    """Look at requests of any form, with bad mappings among the bad rows."""
    spooled = await spool(requests, directory / "requests.jsonl", most_problems=most_problems)
    prepared = await prepare(
        ScanTerms(
            path=spooled.path,
            rules=rules,
            limits=options.limits,
            directory=directory,
            skip_bad=options.skips_bad_rows,
            write=write,
            most_problems=most_problems,
        )
    )
    problems = sorted([*prepared.problems, *spooled.problems], key=lambda problem: problem.line)
    return attrs.evolve(
        prepared,
        problems=tuple(problems[:most_problems]),
        problem_count=prepared.problem_count + spooled.problem_count,
        blank_lines=prepared.blank_lines - spooled.problem_count,
    )


@asynccontextmanager
async def workspace(*, keep: bool = False) -> AsyncIterator[Path]:
    """Make a directory for the time of the block; if it is to be kept, only failure removes it."""
    path = await off_loop(_make_directory, undo=partial(shutil.rmtree, ignore_errors=True))
    is_kept = False
    try:
        yield path
        is_kept = keep
    finally:
        if not is_kept:
            await off_loop(partial(shutil.rmtree, path, ignore_errors=True))


def _make_directory() -> Path:
    with reported("make a directory in", os.environ.get("TMPDIR", "the temporary directory")):
        return Path(tempfile.mkdtemp(prefix="fireworks-batch-"))
