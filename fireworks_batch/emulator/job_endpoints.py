"""Answer the calls about batch inference jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .answers import Answer, answer_json
from .job_creation import is_resource_id, read_create, read_job_id, read_window
from .job_inputs import JobInputs
from .job_listing import JobListing
from .job_schema import JOB
from .masks import read_view
from .paging import ListQuestion
from .refusals import RefusalError, invalid
from .scripts import JobScript

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .jobs import Job
    from .routing import Call, Router
    from .workshop import Workshop
    from .world import World

_JOBS: Final = "/v1/accounts/{account}/batchInferenceJobs"
_JOB: Final = _JOBS + "/{job}"
_INHERITED: Final = ("model", "inputDatasetId")


class JobEndpoints:
    """The calls of one noun, the batch inference job."""

    def __init__(self, world: World, workshop: Workshop) -> None:
        self._world = world
        self._workshop = workshop
        self._inputs = JobInputs(world)
        self._rules = world.setting.rules

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
        listing = JobListing(
            ListQuestion.read(call),
            account_id=account_id,
            tokens=self._world.tokens,
            rules=self._rules,
        )
        return answer_json(listing.answer(self._world.jobs.listed(account_id, now), now))

    async def create_job(self, call: Call) -> Answer:
        """Answer CreateBatchInferenceJob."""
        world, account_id = self._world, call.places["account"]
        job_id = call.parameter("batchInferenceJobId") or world.random_id("bij-")
        members = read_create(call.body, account_id, self._rules)
        window = read_window(members, self._rules)
        read_job_id(job_id)
        if world.jobs.find(account_id, job_id, world.clock.now()) is not None:
            raise RefusalError(
                "ALREADY_EXISTS",
                f"batch inference job {job_id!r} already exists",
                status=int(self._rules.duplicate_job_status),
            )
        parent = self._find_parent(members)
        if parent is not None:
            given = parent.origin.members
            members = {n: given[n] for n in _INHERITED if n in given} | members
        self._inputs.check(members)
        rows = self._inputs.declared_rows(members)
        script = JobScript(window=window) if rows is None else JobScript(window=window, rows=rows)
        job = world.make_job(account_id, job_id, members, world.scripts.take(job_id, script))
        job.parent = parent
        job.work = self._inputs.make_work(job, members, parent)
        return answer_json(job.show_created())

    async def delete_job(self, call: Call) -> Answer:
        """Answer DeleteBatchInferenceJob, which also stops the job."""
        job = self._find(call)
        now = await self._workshop.catch_up([job])
        if job.is_gone(now) or (job.gone is not None and self._rules.repeated_delete != "accept"):
            raise RefusalError("NOT_FOUND", "resource not found")
        if job.gone is None:
            self._settle_output(job)
            self._world.jobs.delete(job, now)
        return answer_json({})

    async def cancel_job(self, _: Call) -> Answer:
        """Refuse to cancel: there is no such call (absent from every published document)."""
        status = int(self._rules.cancel_status)
        if status == 404:
            raise RefusalError("NOT_FOUND", "Not Found")
        raise RefusalError("UNIMPLEMENTED", "Method Not Allowed", status=status)

    def _find(self, call: Call) -> Job:
        job_id = call.places["job"]
        if not is_resource_id(job_id) and self._rules.malformed_id_on_read == "400":
            raise invalid(f"invalid batch inference job id {job_id!r}")
        return self._world.jobs.get(call.places["account"], job_id, self._world.clock.now())

    def _settle_output(self, job: Job) -> None:
        if self._rules.output_of_deleted_job == "kept":
            self._workshop.keep_partial_output(job)
            return
        output = self._world.datasets.find_name(job.origin.output_dataset_id)
        if output is not None:
            self._world.datasets.delete(output)

    def _find_parent(self, members: Mapping[str, object]) -> Job | None:
        name = members.get("continuedFromJobName")
        if name is None:
            return None
        _, account_id, _, job_id = str(name).split("/")
        parent = self._world.jobs.find(account_id, job_id, self._world.clock.now())
        if parent is None and self._rules.continuation_source == "must_exist":
            raise RefusalError("NOT_FOUND", "resource not found")
        return parent
