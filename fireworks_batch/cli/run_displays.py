"""How the progress of a run is told."""

import time
from collections.abc import Sequence

from fireworks_batch.cli.board import Board, Ending, Row
from fireworks_batch.cli.output import Output
from fireworks_batch.cli.run_lines import Pace, progress_line, progress_record
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.runs.progress import RunProgress, RunStage

__all__ = ["RunDisplay"]


class RunDisplay:
    """Tells of a run: as a bar and a table of its jobs, in a line a change, or as JSON."""

    def __init__(self, output: Output, *, as_records: bool) -> None:
        """Begin.

        Args:
            output: Where to.
            as_records: Whether each change is a JSON object on stdout.
        """
        self._output = output
        self._as_records = as_records
        self._pace = Pace()
        self._last: RunProgress | None = None
        self._board = Board()
        self._seen: dict[str, JobSnapshot] = {}

    def tell(self, progress: RunProgress) -> None:
        """Take a snapshot; one that shows nothing new is not told."""
        now, last = time.monotonic(), self._last
        self._last, self._pace = progress, self._pace.add(progress, now=now)
        for snapshot in progress.snapshots:
            self._see(snapshot, now)
        for job_id, looks in progress.failed_polls:
            self._board.lose(job_id, looks)
        if last is not None and not _is_news(progress, last):
            return
        if self._as_records:
            self._output.record(progress_record(progress))
        elif not self._output.is_live:
            self._output.talk(progress_line(progress, self._pace, now=now))

    def _see(self, snapshot: JobSnapshot, now: float) -> None:
        job = snapshot.job
        if self._seen.get(job.id) is snapshot:
            return
        self._seen[job.id] = snapshot
        self._board.see(snapshot, now=now)
        if job.is_terminal:
            self._board.end(Ending(job.id, job, None))

    @property
    def jobs_under_way(self) -> tuple[str, ...]:
        """The ids of the jobs that may be running."""
        return self._last.under_way if self._last else ()

    def picture(self) -> tuple[float | None, str]:
        """Return how far the run is, as of now."""
        progress = self._last
        if progress is None:
            return None, RunStage.CHECKING.value
        return progress.percent, progress_line(progress, self._pace, now=time.monotonic())

    def rows(self) -> Sequence[Row]:
        """Return a row for each job that is waited for, as of now."""
        return self._board.rows(now=time.monotonic())


def _is_news(progress: RunProgress, last: RunProgress) -> bool:
    members = ("stage", "rows", "rows_done", "rows_failed", "jobs", "jobs_ended")
    return any(getattr(progress, name) != getattr(last, name) for name in members)
