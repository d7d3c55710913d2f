"""Keep everything that an emulator remembers; performs no I/O."""

from __future__ import annotations

import string
from random import Random
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from .control import ControlError, read_choice
from .faults import FaultBook
from .job_creation import is_resource_id
from .job_store import JobStore
from .jobs import Job, JobOrigin
from .paging import PageTokens
from .rate_limit import RateLimit
from .request_log import RequestLog
from .scripts import JobScript, read_script, read_script_members

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .assumptions import Assumptions
    from .clock import EmulatedClock, Instant

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

    def has_account(self, account_id: str) -> bool:
        """Whether the key opens this account."""
        return account_id == self.account_id or account_id in self.accounts


class World:
    """Owns the jobs, faults, requests and random numbers of one emulator."""

    def __init__(self, setting: Setting, clock: EmulatedClock) -> None:
        self.setting = setting
        self.clock = clock
        self.log = RequestLog(clock)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the settings and the time."""
        setting = self.setting
        self.random = Random(setting.seed)
        self.faults = FaultBook(Random(setting.seed))
        self.jobs = JobStore(keeps_tombstones=setting.rules.deleted_job == "tombstone")
        self.limit = RateLimit(setting.requests_per_minute)
        self.log.clear()
        self._resets = getattr(self, "_resets", -1) + 1
        secret = f"{setting.seed}/{self._resets}".encode()
        self.tokens = PageTokens(secret, expire=setting.rules.page_tokens == "expiring")
        self._sequence = 0

    def random_id(self, prefix: str) -> str:
        """Make up an id as the service does: *prefix* and eight letters or digits."""
        return prefix + "".join(self.random.choices(_LETTERS, k=8))

    def request_id(self) -> str:
        """Make up a request's id."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def make_job(
        self, account_id: str, job_id: str, members: Mapping[str, object], script: JobScript
    ) -> Job:
        """Make a job, now."""
        self._sequence += 1
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
        job.follow(script, now, is_restarted="phases" in members)
        return job

    def _script_account(self, members: Mapping[str, object]) -> str:
        setting = self.setting
        given = members.get("account_id", setting.account_id)
        return read_choice("account_id", given, (setting.account_id, *setting.accounts))


def _default_members(account_id: str) -> dict[str, object]:
    return {
        "model": "accounts/fireworks/models/demo-8b",
        "inputDatasetId": f"accounts/{account_id}/datasets/input",
    }
