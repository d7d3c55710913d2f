"""The control protocol: a test in another process can do what the methods of `Emulator` do.

- ``POST /_emulator/faults`` adds a fault or a list of faults. ``DELETE`` removes all faults.
- ``POST /_emulator/jobs/{job}`` creates a job with a script, or gives a script to a job.
- ``POST /_emulator/scripts`` gives a script to jobs that are created later:
  ``{"job": glob, "times": 1, ...}``.
- ``POST /_emulator/rows`` makes rows fail that are processed later: ``{"row": glob, ...}``.
- ``POST /_emulator/datasets/{dataset}`` adds a dataset that is READY at once:
  ``{"files": {name: text}, "fields": {...}}``.
- ``PUT /_emulator/datasets/{dataset}/{file}`` replaces a file; the body is its new content.
- ``GET /_emulator/requests?since=n`` returns the request log.
- ``POST /_emulator/reset`` forgets everything but the time.

The members of a body are the arguments of the method of `Emulator`. These requests need no API key.
So ``Host`` and ``Origin`` must be the emulator's own: no page of another site can send them.
"""

from typing import Final

import attrs
import orjson

from fireworks_batch.emulator.http.answers import Answer, answer_json
from fireworks_batch.emulator.http.faults import Fault, read_fault
from fireworks_batch.emulator.http.request_log import RecordedRequest
from fireworks_batch.emulator.http.routing import Call, Router
from fireworks_batch.emulator.jobs.scripts import read_row_script, read_standing_script
from fireworks_batch.emulator.members import ControlError, read_count
from fireworks_batch.emulator.world import World

_DIGITS: Final = 15
"""The most digits of ``since``."""


class ControlEndpoints:
    """The calls under ``/_emulator/``. They need no key, meet no fault, and are not logged."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("POST", "/_emulator/faults", self.add_faults)
        router.add("DELETE", "/_emulator/faults", self.clear_faults)
        router.add("POST", "/_emulator/jobs/{job}", self.script_job)
        router.add("POST", "/_emulator/scripts", self.script_jobs)
        router.add("POST", "/_emulator/rows", self.fail_rows)
        router.add("POST", "/_emulator/datasets/{dataset}", self.add_dataset)
        router.add("PUT", "/_emulator/datasets/{dataset}/{file}", self.replace_file)
        router.add("GET", "/_emulator/requests", self.list_requests)
        router.add("POST", "/_emulator/reset", self.reset)

    async def add_faults(self, call: Call) -> Answer:
        """Add a fault or a list of faults. If one of them cannot be used, none is added."""
        value = _read_json(call.body)
        faults = _read_faults(value) if isinstance(value, list) else [read_fault(value)]
        for fault in faults:
            self._world.faults.add(fault)
        return answer_json({"added": len(faults)})

    async def clear_faults(self, _: Call) -> Answer:
        """Remove all faults."""
        self._world.faults.clear()
        return answer_json({})

    async def script_job(self, call: Call) -> Answer:
        """Create a job with a script, or give a script to a job. The answer is the resource."""
        job = self._world.jobs.script(call.places["job"], _read_json(call.body or b"{}"))
        return answer_json(job.show(await self._world.workshop.catch_up([job])))

    async def script_jobs(self, call: Call) -> Answer:
        """Give a script to jobs that are created later, with ids that match the glob ``job``."""
        self._world.jobs.scripts.add(read_standing_script(_read_json(call.body)))
        return answer_json({})

    async def fail_rows(self, call: Call) -> Answer:
        """Make rows fail that are processed later, with ids that match the glob ``row``."""
        self._world.jobs.rows.add(read_row_script(_read_json(call.body)))
        return answer_json({})

    async def add_dataset(self, call: Call) -> Answer:
        """Add a dataset, ``{"files": {name: text}, "fields": {...}}``; answer with the resource."""
        dataset = self._world.datasets.add_described(call.places["dataset"], _read_json(call.body))
        return answer_json(dataset.show(self._world.clock.now()))

    async def replace_file(self, call: Call) -> Answer:
        """Replace a file of a dataset. The body is its new content."""
        value = {"content": call.body, "account_id": call.query.get("account_id")}
        self._world.datasets.replace_file(call.places["dataset"], call.places["file"], value)
        return answer_json({})

    async def list_requests(self, call: Call) -> Answer:
        """Answer with the requests after the number ``since``."""
        text = call.query.get("since", "0")
        is_number = text.isdecimal() and len(text) <= _DIGITS
        since = read_count("since", int(text) if is_number else text, most=10**_DIGITS - 1)
        records = self._world.log.since(since)
        return answer_json({"requests": [_request_json(record) for record in records]})

    async def reset(self, _: Call) -> Answer:
        """Forget jobs, datasets, faults and requests."""
        self._world.reset()
        return answer_json({})


def _read_faults(values: list[object]) -> list[Fault]:
    faults: list[Fault] = []
    for index, value in enumerate(values):
        try:
            faults.append(read_fault(value))
        except ControlError as error:
            raise error.within(f"[{index}]") from None
    return faults


def _request_json(record: RecordedRequest) -> dict[str, object]:
    members: dict[str, object] = attrs.asdict(record, recurse=False)
    members["headers"] = dict(record.headers)
    return members


def _read_json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ControlError("body", body[:100].decode(errors="replace"), "JSON") from None
