"""How the progress of a run is told."""

import time

import attrs

from fireworks_batch.cli.output import Output
from fireworks_batch.cli.run_lines import Pace, progress_line, progress_record
from fireworks_batch.run_models import RunProgress, RunStage

__all__ = ["RunDisplay"]


class RunDisplay:
    """Tells of a run: as a bar, in a line a change, or as JSON."""

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

    def tell(self, progress: RunProgress) -> None:
        """Take a snapshot; one that shows nothing new is not told."""
        now, last = time.monotonic(), self._last
        self._last, self._pace = progress, self._pace.add(progress, now=now)
        if last is not None and not _is_news(progress, last):
            return
        if self._as_records:
            self._output.record(progress_record(progress))
        elif not self._output.is_live:
            self._output.talk(progress_line(progress, self._pace, now=now))

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


def _is_news(progress: RunProgress, last: RunProgress) -> bool:
    told = attrs.evolve(progress, jobs_submitted=last.jobs_submitted, under_way=last.under_way)
    return told != last
