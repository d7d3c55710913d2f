"""How far a run is: what its jobs said of late, put into one snapshot."""

from collections.abc import Callable

from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.progress import JobSnapshot
from fireworks_batch.run_models import RunProgress, RunStage

__all__ = ["ProgressBoard"]


class ProgressBoard:
    """Is told what happens, and tells the caller of a run."""

    def __init__(self, tell: Callable[[RunProgress], object] | None) -> None:
        """Begin.

        Args:
            tell: Called with a snapshot after each change; what it raises ends the run.
        """
        self._tell = tell
        self._stage = RunStage.CHECKING
        self._rows = self._jobs = 0
        self._done: dict[str, tuple[int, int]] = {}
        self._submitted: set[str] = set()
        self._ended: set[str] = set()
        self._under_way: dict[str, None] = {}
        self._snapshots: dict[str, JobSnapshot] = {}
        self._lost: dict[str, int] = {}

    def enter(self, stage: RunStage, *, rows: int = 0, jobs: int = 0) -> None:
        """Begin a stage.

        Args:
            stage: Which.
            rows: Rows that it adds to the whole.
            jobs: Jobs that it adds.
        """
        self._stage = stage
        self._rows += rows
        self._jobs += jobs
        self._say()

    def begin(self, job_id: str) -> None:
        """Take note of a job that is about to be created, or was found under way."""
        if job_id not in self._under_way:
            self._under_way[job_id] = None
            self._say()

    def forget(self, job_id: str) -> None:
        """Take note that a job was not created after all."""
        del self._under_way[job_id]
        self._say()

    def look(self, snapshot: JobSnapshot) -> None:
        """Take what was seen of a job that is waited for."""
        self._snapshots[snapshot.job.id] = snapshot
        self._lost.pop(snapshot.job.id, None)
        self.see(snapshot.job)

    def lose(self, job_id: str, looks: int) -> None:
        """Take how many looks at a job were lost in a row."""
        self._lost[job_id] = looks
        self._say()

    def see(self, job: BatchInferenceJob) -> None:
        """Take what a job says of itself."""
        progress = job.job_progress
        self._submitted.add(job.id)
        if progress is not None:
            done, failed = progress.total_processed_requests, progress.failed_requests
            self._done[job.id] = done, failed
        if job.is_terminal:
            self._ended.add(job.id)
            self._under_way.pop(job.id, None)
            self._lost.pop(job.id, None)
        self._say()

    def _say(self) -> None:
        if self._tell is not None:
            self._tell(self._snapshot())

    def _snapshot(self) -> RunProgress:
        return RunProgress(
            stage=self._stage,
            rows=self._rows,
            rows_done=sum(done for done, _ in self._done.values()),
            rows_failed=sum(failed for _, failed in self._done.values()),
            jobs=self._jobs,
            jobs_submitted=len(self._submitted),
            jobs_ended=len(self._ended),
            under_way=tuple(self._under_way),
            snapshots=tuple(self._snapshots.values()),
            lost_looks=tuple(self._lost.items()),
        )
