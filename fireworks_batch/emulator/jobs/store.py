"""The jobs of all accounts. Performs no I/O."""

from collections.abc import Mapping, Sequence

from fireworks_batch.emulator.clock import Instant, microseconds
from fireworks_batch.emulator.http.refusals import RefusalError
from fireworks_batch.emulator.jobs.job import TOMBSTONES, Job, JobOrigin
from fireworks_batch.emulator.jobs.scripts import (
    JobScript,
    RowBook,
    ScriptBook,
    read_script,
    read_script_members,
)
from fireworks_batch.emulator.members import read_id
from fireworks_batch.emulator.setting import Setting


class JobStore:
    """Owns the jobs and their scripts, by account and id, in the order of their creation.

    Args:
        setting: What all parts of the emulator share.

        tick: The time between two changes of a job, in emulated seconds, 0 or more.
    """

    def __init__(self, setting: Setting, *, tick: float) -> None:
        self.scripts: ScriptBook = ScriptBook()
        """The scripts for jobs that are created later."""

        self.rows: RowBook = RowBook()
        """The scripts for rows that are processed from now on."""

        self._setting = setting
        self._tick = microseconds(tick)
        self._rule = setting.rules.deleted_job
        self._jobs: dict[str, dict[str, Job]] = {}
        self._leaving: list[Job] = []
        self._listed: dict[str, list[Job]] = {}
        self._at_work: dict[str, tuple[Sequence[Job], Sequence[Job]]] = {}
        self._reserved: set[tuple[str, str]] = set()
        self._sequence = 0

    def reset(self) -> None:
        """Forget all jobs and scripts, and number jobs from 1 again."""
        self.scripts.clear()
        self.rows.clear()
        self._jobs.clear()
        self._leaving.clear()
        self._listed.clear()
        self._at_work.clear()
        self._reserved.clear()
        self._sequence = 0

    def make(
        self, account_id: str, job_id: str, members: Mapping[str, object], script: JobScript
    ) -> Job:
        """Create a job now, and return it. An earlier job of this id must be gone."""
        setting = self._setting
        setting.has_altered_jobs |= bool(script.fields)
        self._sequence += 1
        origin = JobOrigin(
            account_id=account_id,
            job_id=job_id,
            sequence=self._sequence,
            created=setting.clock.now(),
            nanoseconds=setting.nanoseconds(),
            members=members,
            output_dataset_id=str(members.get("outputDatasetId", ""))
            or f"accounts/{account_id}/datasets/{setting.random_id('bij-')}",
        )
        job = Job(origin, script, clock=setting.clock, tick=self._tick, rules=setting.rules)
        jobs = self._jobs.setdefault(account_id, {})
        jobs.pop(job_id, None)
        jobs[job_id] = job
        self._listed.pop(account_id, None)
        return job

    def script(self, job_id: str, value: object) -> Job:
        """Create a job that follows a script, or give a script to an existing job.

        Args:
            job_id: The last segment of the job's resource name.

            value: The script, as in the control protocol, with an ``account_id``.

        Raises:
            ControlError: The id or a member of the script cannot be used.
        """
        read_id("job id", job_id)
        members = read_script_members(value)
        account_id = self._setting.read_account(members)
        now = self._setting.clock.now()
        job = self.find(account_id, job_id, now)
        if job is None or job.gone is not None:
            script = read_script(members, JobScript())
            job = self.make(account_id, job_id, _default_members(account_id), script)
            job.owes_output = True
            return job
        script = read_script(members, job.script)
        self._setting.has_altered_jobs |= bool(script.fields)
        job.follow(script, now, is_restarted="phases" in members)
        return job

    def find(self, account_id: str, job_id: str, now: Instant) -> Job | None:
        """Return a job; None if there is no such job, or if it is gone."""
        job = self._jobs.get(account_id, {}).get(job_id)
        if job is None or (job.is_gone(now) and self._rule not in TOMBSTONES):
            return None
        return job

    def is_taken(self, account_id: str, job_id: str, now: Instant) -> bool:
        """Whether an id is taken, by a job or by a deleted job that keeps its id."""
        there = self.find(account_id, job_id, now) is not None
        return there or (account_id, job_id) in self._reserved

    def get(self, account_id: str, job_id: str, now: Instant) -> Job:
        """Return a job.

        Raises:
            RefusalError: There is no such job (404).
        """
        job = self.find(account_id, job_id, now)
        if job is None:
            raise RefusalError("NOT_FOUND", "resource not found")
        return job

    def delete(self, job: Job, now: Instant) -> None:
        """Begin the deletion of a job."""
        job.delete(now)
        self._leaving.append(job)
        if self._rule == "reserved":
            self._reserved.add((job.origin.account_id, job.origin.job_id))

    def listed(self, account_id: str, now: Instant) -> Sequence[Job]:
        """Return the jobs of an account that are not gone, the oldest first. Do not change it."""
        self._forget_gone(now)
        if account_id not in self._listed:
            jobs = self._jobs.get(account_id, {}).values()
            self._listed[account_id] = [job for job in jobs if not job.is_gone(now)]
        return self._listed[account_id]

    def at_work(self, account_id: str, now: Instant) -> Sequence[Job]:
        """Return the jobs of `listed` that process rows, or have done so. Do not change it.

        A page of a listing asks for them; all jobs would be too many to look at for each page.
        """
        listed = self.listed(account_id, now)
        if self._at_work.get(account_id, (None, ()))[0] is not listed:
            self._at_work[account_id] = listed, [job for job in listed if job.work is not None]
        return self._at_work[account_id][1]

    def forget_work(self) -> None:
        """Remove the work of all jobs. From now on they only count made-up rows."""
        for jobs in self._jobs.values():
            for job in jobs.values():
                job.work, job.owes_output = None, False

    def _forget_gone(self, now: Instant) -> None:
        gone = [job for job in self._leaving if job.is_gone(now)]
        for job in gone:
            self._leaving.remove(job)
            self._listed.pop(job.origin.account_id, None)
            if self._rule not in TOMBSTONES:
                self._forget(job)

    def _forget(self, job: Job) -> None:
        jobs = self._jobs[job.origin.account_id]
        if jobs.get(job.origin.job_id) is job:
            del jobs[job.origin.job_id]


def _default_members(account_id: str) -> dict[str, object]:
    return {
        "model": "accounts/fireworks/models/demo-8b",
        "inputDatasetId": f"accounts/{account_id}/datasets/input",
    }
