"""Check the datasets that a new job names, and make the work that it does on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .refusals import RefusalError
from .row_source import RowSource
from .work import Work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .jobs import Job
    from .world import World


class JobInputs:
    """Knows which datasets a job may read and write."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rules = world.setting.rules

    def check(self, members: Mapping[str, object]) -> None:
        """Check the datasets of a new job.

        Raises:
            RefusalError: The input is not there (404) or not ready (400), or the output is
                there already.
        """
        if self._rules.input_dataset == "must_be_ready":
            self._check_input(str(members.get("inputDatasetId", "")))
        output = str(members.get("outputDatasetId", ""))
        if output and self._world.datasets.find_name(output) is not None:
            raise RefusalError(
                "ALREADY_EXISTS",
                f"output dataset {output!r} already exists",
                status=int(self._rules.existing_output_status),
            )

    def declared_rows(self, members: Mapping[str, object]) -> int | None:
        """Give how many rows the input was said to have, None if nobody knows it."""
        dataset = self._world.datasets.find_name(str(members.get("inputDatasetId", "")))
        return None if dataset is None or not dataset.is_uploaded else dataset.example_count

    def make_work(self, job: Job, members: Mapping[str, object], parent: Job | None) -> Work | None:
        """Make the work of a job; None if its input is nowhere."""
        world = self._world
        dataset = world.datasets.find_name(str(members.get("inputDatasetId", "")))
        if dataset is None or not dataset.is_uploaded:
            return None
        stored = {name: world.bucket.find(dataset.path(name)) for name in dataset.files}
        files = {name: found.file for name, found in stored.items() if found is not None}
        return Work(
            RowSource(files),
            declared=dataset.example_count,
            job=members,
            rules=self._rules,
            seed=world.setting.seed * 1_000_003 + job.origin.sequence,
            created=int(world.clock.moment(job.origin.created).timestamp()),
            before=parent.work if parent is not None else None,
        )

    def _check_input(self, name: str) -> None:
        dataset = self._world.datasets.find_name(name)
        if dataset is None:
            status = int(self._rules.missing_input_status)
            raise RefusalError("NOT_FOUND", "resource not found", status=status)
        if not dataset.is_ready(self._world.clock.now()):
            raise RefusalError("FAILED_PRECONDITION", f"input dataset {name!r} is not ready")
