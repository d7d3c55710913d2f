"""The answers to calls about batch inference jobs."""

from collections.abc import Mapping
from typing import Final

import attrs

from fireworks_batch.emulator.datasets.dataset import Dataset
from fireworks_batch.emulator.datasets.store import DatasetStore
from fireworks_batch.emulator.http.answers import Answer, answer_json
from fireworks_batch.emulator.http.refusals import RefusalError, invalid
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.jobs.creation import (
    check_job_id,
    read_create,
    read_time_limit,
    stays_pending,
)
from fireworks_batch.emulator.jobs.job import Job
from fireworks_batch.emulator.jobs.listing import list_jobs
from fireworks_batch.emulator.jobs.schema import JOB
from fireworks_batch.emulator.jobs.scripts import JobScript, Phase
from fireworks_batch.emulator.jobs.store import JobStore
from fireworks_batch.emulator.jobs.work import RowSource, Work
from fireworks_batch.emulator.jobs.workshop import Workshop
from fireworks_batch.emulator.lists.masks import read_view
from fireworks_batch.emulator.members import is_resource_id
from fireworks_batch.emulator.setting import Setting

_JOBS: Final = "/v1/accounts/{account}/batchInferenceJobs"
_JOB: Final = _JOBS + "/{job}"
_INHERITED: Final = ("model", "inputDatasetId")


class JobEndpoints:
    """The calls about batch inference jobs."""

    def __init__(
        self, setting: Setting, jobs: JobStore, datasets: DatasetStore, workshop: Workshop
    ) -> None:
        self._setting = setting
        self._clock = setting.clock
        self._rules = setting.rules
        self._jobs = jobs
        self._datasets = datasets
        self._workshop = workshop

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", _JOBS, self.list_jobs)
        router.add("POST", _JOBS, self.create_job)
        router.add("GET", _JOB, self.get_job)
        router.add("DELETE", _JOB, self.delete_job)
        router.add("POST", _JOB + ":cancel", self.cancel_job)

    async def get_job(self, call: Call) -> Answer:
        """Answer GetBatchInferenceJob."""
        view = read_view(call.parameter("readMask"), JOB, self._rules)
        job = self._find(call)
        now = await self._workshop.catch_up([job])
        return answer_json(view.show(job.show(now)))

    async def list_jobs(self, call: Call) -> Answer:
        """Answer ListBatchInferenceJobs."""
        if self._rules.list_support == "refuse":
            raise RefusalError("UNIMPLEMENTED", "listing is not supported")
        account_id = call.places["account"]
        now = await self._workshop.catch_up_account(account_id)
        jobs = self._jobs.listed(account_id, now)
        return answer_json(list_jobs(self._setting, call, jobs, now))

    async def create_job(self, call: Call) -> Answer:
        """Answer CreateBatchInferenceJob."""
        account_id = call.places["account"]
        job_id = call.parameter("batchInferenceJobId")
        members = read_create(call.body, account_id, self._rules)
        time_limit = read_time_limit(members, self._rules)
        if job_id:
            check_job_id(job_id)
        if not job_id or self._rules.requested_job_id == "ignored":
            job_id = self._setting.random_id("bij-")
        if self._jobs.is_taken(account_id, job_id, self._clock.now()):
            raise RefusalError(
                "ALREADY_EXISTS",
                f"batch inference job {job_id!r} already exists",
                status=int(self._rules.duplicate_job_status),
            )
        parent = self._find_parent(members)
        if parent is not None:
            given = parent.origin.members
            members = {n: given[n] for n in _INHERITED if n in given} | members
        source = self._find_input(members)
        self._check_output(members)
        script = JobScript(time_limit=time_limit)
        if source is not None:
            script = attrs.evolve(script, rows=source.example_count)
        if stays_pending(members, self._rules):
            script = attrs.evolve(script, phases=(Phase("VALIDATING"), Phase("PENDING")))
        job = self._jobs.make(account_id, job_id, members, self._jobs.scripts.take(job_id, script))
        job.parent = parent
        if source is not None:
            job.work = self._make_work(job, source)
        return answer_json(job.show_created())

    async def delete_job(self, call: Call) -> Answer:
        """Answer DeleteBatchInferenceJob. It also stops the job."""
        job = self._find(call)
        now = await self._workshop.catch_up([job])
        if job.is_gone(now) or (job.gone is not None and self._rules.repeated_delete != "accept"):
            raise RefusalError("NOT_FOUND", "resource not found")
        if job.gone is None:
            self._settle_output(job)
            self._jobs.delete(job, now)
        return answer_json({})

    async def cancel_job(self, _: Call) -> Answer:
        """Refuse to cancel a job. No published document has such a call."""
        status = int(self._rules.cancel_status)
        if status == 404:
            raise RefusalError("NOT_FOUND", "Not Found")
        raise RefusalError("UNIMPLEMENTED", "Method Not Allowed", status=status)

    def _find(self, call: Call) -> Job:
        job_id = call.places["job"]
        if not is_resource_id(job_id) and self._rules.malformed_id_on_read == "400":
            raise invalid(f"invalid batch inference job id {job_id!r}")
        return self._jobs.get(call.places["account"], job_id, self._clock.now())

    def _find_input(self, members: Mapping[str, object]) -> Dataset | None:
        """Return the input dataset of a new job; None if it was not uploaded.

        Raises:
            RefusalError: The dataset does not exist (404), or is not READY (400).
        """
        name = str(members.get("inputDatasetId", ""))
        dataset = self._datasets.find_name(name)
        if self._rules.input_dataset == "must_be_ready":
            if dataset is None:
                status = int(self._rules.missing_input_status)
                raise RefusalError("NOT_FOUND", "resource not found", status=status)
            if not dataset.is_ready(self._clock.now()):
                raise RefusalError("FAILED_PRECONDITION", f"input dataset {name!r} is not ready")
        return dataset if dataset is not None and dataset.is_uploaded else None

    def _check_output(self, members: Mapping[str, object]) -> None:
        """Check that the output dataset of a new job does not exist yet.

        Raises:
            RefusalError: The dataset exists.
        """
        name = str(members.get("outputDatasetId", ""))
        if name and self._datasets.find_name(name) is not None:
            raise RefusalError(
                "ALREADY_EXISTS",
                f"output dataset {name!r} already exists",
                status=int(self._rules.existing_output_status),
            )

    def _make_work(self, job: Job, source: Dataset) -> Work:
        stored = {name: self._datasets.bucket.find(source.path(name)) for name in source.files}
        files = {name: found.file for name, found in stored.items() if found is not None}
        return Work(
            RowSource(files),
            declared=source.example_count,
            job=job.origin.members,
            rules=self._rules,
            seed=self._setting.seed * 1_000_003 + job.origin.sequence,
            created=int(self._clock.moment(job.origin.created).timestamp()),
            before=job.parent.work if job.parent is not None else None,
        )

    def _settle_output(self, job: Job) -> None:
        if self._rules.output_of_deleted_job == "kept":
            self._workshop.keep_partial_output(job)
            return
        output = self._datasets.find_name(job.origin.output_dataset_id)
        if output is not None:
            self._datasets.delete(output)

    def _find_parent(self, members: Mapping[str, object]) -> Job | None:
        name = members.get("continuedFromJobName")
        if name is None:
            return None
        _, account_id, _, job_id = str(name).split("/")
        parent = self._jobs.find(account_id, job_id, self._clock.now())
        if parent is None and self._rules.continuation_source == "must_exist":
            raise RefusalError("NOT_FOUND", "resource not found")
        return parent
