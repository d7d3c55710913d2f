"""Keep everything that an emulator remembers; its only I/O are the contents of files."""

from __future__ import annotations

import string
from random import Random
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from .bucket import Bucket, Signer
from .clock import SECOND
from .control import ControlError, read_choice
from .dataset_scripts import content_chunks, count_lines, read_dataset_members, read_file_members
from .dataset_store import DatasetStore
from .datasets import Dataset
from .faults import FaultBook
from .job_creation import is_resource_id
from .job_store import JobStore
from .jobs import Job, JobOrigin
from .paging import PageTokens
from .rate_limit import RateLimit
from .request_log import RequestLog
from .responding import Responder, echo
from .scripts import JobScript, read_script, read_script_members
from .standing_scripts import ScriptBook
from .stored_files import FileStore
from .watching import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .assumptions import Assumptions
    from .clock import EmulatedClock, Instant

_MONTH: Final = 30 * 86_400 * SECOND
_LETTERS: Final = string.ascii_lowercase + string.digits


@attrs.frozen(kw_only=True)
class Setting:
    """What an emulator was told when it was made."""

    api_key: str
    account_id: str
    accounts: tuple[str, ...]
    tick: Instant
    seed: int
    requests_per_minute: int | None
    rules: Assumptions
    responder: Responder = echo
    url_grace: float = 0.0
    watches: tuple[Watch, ...] = ()

    def has_account(self, account_id: str) -> bool:
        """Whether the key opens this account."""
        return account_id == self.account_id or account_id in self.accounts


class World:
    """Owns the jobs, faults, requests and random numbers of one emulator."""

    def __init__(self, setting: Setting, clock: EmulatedClock) -> None:
        self.setting = setting
        self.clock = clock
        self.log = RequestLog(clock)
        self.bucket = Bucket(FileStore())
        self.storage_port = 0
        self.has_altered_jobs = False
        """Whether a script ever laid `fields` over a job."""

        self.reset()

    def reset(self) -> None:
        """Forget everything but the settings and the time."""
        setting = self.setting
        self.random = Random(setting.seed)
        self.faults = FaultBook(Random(setting.seed))
        self.jobs = JobStore(keeps_tombstones=setting.rules.deleted_job == "tombstone")
        self.scripts = ScriptBook()
        self.clear_datasets()
        self.limit = RateLimit(setting.requests_per_minute)
        self.log.clear()
        self._resets = getattr(self, "_resets", -1) + 1
        secret = f"{setting.seed}/{self._resets}".encode()
        self.tokens = PageTokens(secret, expire=setting.rules.page_tokens == "expiring")
        self.signer = Signer(secret, self.clock, grace=setting.url_grace)
        self._sequence = 0

    def clear_datasets(self) -> None:
        """Forget the datasets, and remove their files and the work on them."""
        self.jobs.forget_work()
        self.bucket.clear()
        is_mortal = self.setting.rules.dataset_retention == "30_days"
        self.datasets = DatasetStore(
            self.bucket, now=self.clock.now, lifetime=_MONTH if is_mortal else None
        )

    def random_id(self, prefix: str) -> str:
        """Make up an id as the service does: *prefix* and eight letters or digits."""
        return prefix + "".join(self.random.choices(_LETTERS, k=8))

    def request_id(self) -> str:
        """Make up a request's id."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def storage_url(self, host: str) -> str:
        """Give the storage's address, on a host as the client calls it."""
        return http_origin(host, self.storage_port)

    def make_dataset(
        self, account_id: str, dataset_id: str, members: Mapping[str, object]
    ) -> Dataset:
        """Make an empty dataset, now."""
        nanoseconds = self.random.randrange(1, 1000)
        dataset = Dataset(
            account_id, dataset_id, members, clock=self.clock, nanoseconds=nanoseconds
        )
        self.datasets.add(dataset)
        return dataset

    def is_in_use(self, dataset: Dataset) -> bool:
        """Whether a job that is not at its end reads or writes *dataset*."""
        now = self.clock.now()
        jobs = self.jobs.listed(dataset.account_id, now)
        return any(dataset.name in job.datasets and not job.is_over(now) for job in jobs)

    def add_dataset(self, dataset_id: str, value: object) -> Dataset:
        """Make a dataset with its files, ready.

        Raises:
            ControlError: The id or a member cannot be used.
        """
        if not is_resource_id(dataset_id):
            raise ControlError("dataset id", dataset_id, "an id: a-z, 0-9 and -, a letter first")
        members = read_dataset_members(value)
        store = self.bucket.files.store
        files = {name: store(content_chunks(c)) for name, c in members.files.items()}
        count = {"exampleCount": str(sum(count_lines(file) for file in files.values()))}
        fields = count | {"userUploaded": {}} | dict(members.fields)
        account_id = self._script_account({"account_id": members.account_id})
        dataset = self.make_dataset(account_id, dataset_id, fields)
        now = self.clock.now()
        self.datasets.fill(dataset, files, now, ready=now)
        return dataset

    def replace_file(self, dataset_id: str, name: str, value: object) -> None:
        """Change one stored file of a dataset.

        Raises:
            ControlError: There is no such dataset, or a member cannot be used.
        """
        members = read_file_members(value)
        account_id = self._script_account({"account_id": members.account_id})
        dataset = self.datasets.find(account_id, dataset_id)
        if dataset is None:
            raise ControlError("dataset id", dataset_id, "a dataset that is there")
        file = self.bucket.files.store(content_chunks(members.content))
        self.bucket.put(dataset.path(name), file, self.clock.now())
        dataset.files[name] = file.size

    def make_job(
        self, account_id: str, job_id: str, members: Mapping[str, object], script: JobScript
    ) -> Job:
        """Make a job, now."""
        self._sequence += 1
        self.has_altered_jobs |= bool(script.fields)
        origin = JobOrigin(
            account_id=account_id,
            job_id=job_id,
            sequence=self._sequence,
            created=self.clock.now(),
            nanoseconds=self.random.randrange(1, 1000),
            members=members,
            output_dataset_id=str(members.get("outputDatasetId", ""))
            or f"accounts/{account_id}/datasets/{self.random_id('bij-')}",
        )
        setting = self.setting
        job = Job(origin, script, clock=self.clock, tick=setting.tick, rules=setting.rules)
        self.jobs.add(job)
        return job

    def script_job(self, job_id: str, value: object) -> Job:
        """Make a job by a script, or let one that is there go on by it.

        Raises:
            ControlError: The id or a member of the script cannot be used.
        """
        if not is_resource_id(job_id):
            raise ControlError("job id", job_id, "an id: a-z, 0-9 and -, a letter first")
        members = read_script_members(value)
        account_id = self._script_account(members)
        now = self.clock.now()
        job = self.jobs.find(account_id, job_id, now)
        if job is None or job.gone is not None:
            asked = _default_members(account_id)
            return self.make_job(account_id, job_id, asked, read_script(members, JobScript()))
        script = read_script(members, job.script)
        self.has_altered_jobs |= bool(script.fields)
        job.follow(script, now, is_restarted="phases" in members)
        return job

    def _script_account(self, members: Mapping[str, object]) -> str:
        setting = self.setting
        given = members.get("account_id") or setting.account_id
        return read_choice("account_id", given, (setting.account_id, *setting.accounts))


def http_origin(host: str, port: int) -> str:
    """Give the address of a port, without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _default_members(account_id: str) -> dict[str, object]:
    return {
        "model": "accounts/fireworks/models/demo-8b",
        "inputDatasetId": f"accounts/{account_id}/datasets/input",
    }
