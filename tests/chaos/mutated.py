"""Answers changed at a random place: a member removed, null, of another type, another's, cut off.

The emulator answers without sockets, and one answer of a call, or each answer of one route, is
changed on its way: each call ends with a good answer or a `FireworksBatchError`, and never with
what belongs to another job. A case is many calls, each in a world of its own.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import attrs
from virtual_loop import VirtualLoop
from yarl import URL

import fireworks_batch.client
from chaos.invariants import KEY, Case, run
from chaos.line import Line, Said
from chaos.mutations import Mutation, mutated
from fireworks_batch import (
    BatchClient,
    BatchInferenceJob,
    Dataset,
    Limits,
    PollPolicy,
    RetryPolicy,
    to_dict,
)
from fireworks_batch.wire.codec import Codec

CASES = 15
CALLS: Final = 60
"""In a case."""

DAY: Final = 4 * 86_400.0
"""Virtual seconds within which any call ends: a job's time limit, and an hour."""

MODEL: Final = "accounts/fireworks/models/demo-8b"
POLL: Final = PollPolicy(failure_budget=900.0)
RETRY: Final = RetryPolicy(max_attempts=3)
ENDS: Final = {"alpha": "COMPLETED", "beta": "FAILED", "gamma": "EXPIRED"}
EPOCH: Final = datetime(2026, 9, 14, 9, 0, tzinfo=UTC)
ROWS: Final = [f"r{number}" for number in range(6)]


def play(seed: int) -> Case:
    """Play a case."""
    case = Case("mutated", seed)
    run(case, lambda: _calls(case), loop_factory=VirtualLoop)
    return case


async def _calls(case: Case) -> None:
    line = TamperedLine(api_key=KEY, tick=1.0, epoch=EPOCH)
    weights = [scene.weight for scene in SCENES.values()]
    codec = Codec(lambda _: None)  # to make one takes longer than most calls
    jitter = SimpleNamespace(Random=lambda: Random(case.seed))
    with (
        patch.object(fireworks_batch.client, "Codec", lambda _: codec),
        patch.object(fireworks_batch.client, "random", jitter),
    ):
        for number in range(CALLS):
            random = Random(f"{case.seed} {number}")
            what = random.choices(list(SCENES), weights)[0]
            directory = case.directory / str(number)
            stage = Stage(case, f"{number} {what}", line, random, directory)
            await stage.play(SCENES[what])
    await line.close()


class TamperedLine(Line):
    """Changes answers on their way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(responder=self._respond, **options)

    def begin(self, stage: "Stage", random: Random) -> None:
        """Forget what was, and change answers for a stage."""
        self.emulator.reset()
        self.count = 0
        self._stage = stage
        self._random = random
        self._chosen = random.choice((0, 0, 0, 1, 1, 2, 3, 4, 6, 9))
        self._route: str | None = None
        self._is_for_ever = random.random() < 0.2
        self.mutations: list[tuple[str, Mutation]] = []
        self.billed: Counter[str] = Counter()

    def _respond(self, custom_id: str, body: Mapping[str, Any]) -> str:
        self.billed[custom_id] += 1
        return f"answer to {body['messages'][-1]['content']}"

    def pass_on(self, method: str, url: URL, said: Said) -> None:
        is_file = url.port == 2
        if is_file and method != "GET":
            return
        self._stage.case.volume += len(said.body)
        route = f"{method} {'/'.join(url.path.split('/')[4:5])}{url.path.rpartition(':')[2][:9]}"
        if self._route is None and self.count > self._chosen:
            self._route = route
            self._is_for_ever &= self._stage.name.split()[1] != "run"
        elif not (self._is_for_ever and route == self._route):
            return
        mutation = (self._of_file if is_file else self._of_json)(said.body)
        if mutation.text == said.body:
            return
        self.mutations.append((f"{method} {url.path}", mutation))
        said.body = mutation.text
        said.headers["Content-Length"] = str(len(said.body))
        said.headers.popall("x-goog-hash", None)

    def _of_json(self, body: bytes) -> Mutation:
        if not body:
            return Mutation("text", b"null")
        return mutated(body, self._random, others=OTHERS)

    def _of_file(self, body: bytes) -> Mutation:
        lines = body.split(b"\n")
        at = self._random.randrange(max(1, len(lines) - 1))
        if not lines[at]:
            return Mutation("file", b"\n")
        mutation = mutated(lines[at], self._random, others=dict.fromkeys(ROWS, b"{}"))
        lines[at] = mutation.text.replace(b"\n", b"")
        return Mutation(f"file, {mutation.kind}", b"\n".join(lines), mutation.place)


class Stage:
    """A world with a few jobs, a client, and one call."""

    def __init__(
        self, case: Case, name: str, line: TamperedLine, random: Random, directory: Path
    ) -> None:
        self.case = case
        self.name = name
        self.line = line
        self.random = random
        self.directory = directory

    async def play(self, scene: "Scene") -> None:
        """Play the call."""
        case, line = self.case, self.line
        line.begin(self, self.random)
        self._fill(scene)
        story, before = len(case.story), len(case.violations)
        account = None if self.random.random() < 0.1 else "acme"
        async with line.client(account_id=account, poll=POLL, retry=RETRY) as client:
            await scene.act(self, client)
        case.faults += len(line.mutations)
        if len(case.violations) == before:
            del case.story[story:]
            return
        for path, mutation in line.mutations[:5]:
            case.say(f"{path}: {mutation}: {mutation.text[:2000]!r}")

    def _fill(self, scene: "Scene") -> None:
        emulator = self.line.emulator
        if scene.has_files:
            self.directory.mkdir()
        for job, end in ENDS.items():
            emulator.script_job(
                job,
                phases=[
                    {"state": "PENDING", "seconds": 20},
                    {"state": "RUNNING", "seconds": 90},
                    end,
                ],
                rows=len(ROWS),
                fields={"outputDatasetId": f"accounts/acme/datasets/{job}-out"},
            )
        for job in scene.outputs:
            emulator.add_dataset(f"{job}-out", files={"BIJOutputSet.jsonl": _results(job)})

    # --- What must be true

    async def ends(self, call: Awaitable[Any]) -> Any:
        """Give what a call gives; None if it is an error."""
        found = await self.case.ends(self.name, call, within=DAY)
        if isinstance(found, BaseException):
            _ = repr(found), str(found)
            return None
        return found

    def is_good(self, found: object, of: str) -> None:
        """Check a job or a dataset."""
        case = self.case
        if not isinstance(found, BatchInferenceJob | Dataset):
            case.violate(f"{self.name}: {found!r} is no answer")
            return
        case.is_of(self.name, found.id, of)
        json.dumps(to_dict(found))
        hash(found)
        _ = repr(found)

    def is_outcome(self, found: BatchInferenceJob, of: str) -> None:
        """Check a job that has ended."""
        self.is_good(found, of)
        if not found.is_terminal:
            self.case.violate(f"{self.name}: {found!r} has not ended")
        kinds = {mutation.kind for _, mutation in self.line.mutations}
        if kinds <= {"another", "reordered"} and found.state != ENDS[of]:
            self.case.violate(f"{self.name}: {found.state} is the end of another job")


def _results(job: str) -> bytes:
    rows = [
        {
            "custom_id": row,
            "response": {"choices": [{"index": 0, "message": {"content": f"{job} {row}"}}]},
        }
        for row in ROWS
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _others() -> dict[str, bytes]:
    """Give the answers about other things, as a confused server might give them."""

    def job(name: str) -> dict[str, Any]:
        return {
            "name": f"accounts/acme/batchInferenceJobs/{name}",
            "state": f"JOB_STATE_{ENDS[name]}",
            "createTime": "2026-09-14T09:00:00.000000Z",
            "outputDatasetId": f"accounts/acme/datasets/{name}-out",
        }

    jobs = {name: json.dumps(job(name)).encode() for name in ENDS}
    dataset = {"name": "accounts/acme/datasets/data", "state": "READY", "exampleCount": "6"}
    pages = {"batchInferenceJobs": [job(name) for name in ENDS], "nextPageToken": ""}
    return {
        **jobs,
        "data": json.dumps(dataset).encode(),
        "acme": b'{"accounts":[{"name":"accounts/acme"}]}',
        "page": json.dumps(pages).encode(),
        "refusal": b'{"code":5,"message":"not found","details":[]}',
        "nothing": b"{}",
    }


OTHERS: Final = _others()


# --- The calls ------------------------------------------------------------------------------------

Act = Callable[[Stage, BatchClient], Awaitable[None]]


async def _get(stage: Stage, client: BatchClient) -> None:
    mask = stage.random.choice(((), ("state", "job_progress"), ("create_time",)))
    found = await stage.ends(client.jobs.get("alpha", read_mask=mask))
    if found is not None:
        stage.is_good(found, "alpha")


async def _list(stage: Stage, client: BatchClient) -> None:
    async def all_of_them() -> list[Any]:
        return [job async for job in client.jobs.list(page_size=2)]

    for found in await stage.ends(all_of_them()) or ():
        stage.is_good(found, found.id)


async def _wait(stage: Stage, client: BatchClient) -> None:
    wait = client.jobs.wait_until_terminal("alpha")
    if stage.random.random() < 0.5:
        found = await stage.ends(wait)
        if found is not None:
            stage.is_outcome(found, "alpha")
        return

    async def snapshots() -> list[Any]:
        return [snapshot async for snapshot in wait]

    found = await stage.ends(snapshots())
    if found is not None:
        stage.is_outcome(found[-1].job, "alpha")
        if any(each.job.is_terminal for each in found[:-1]):
            stage.case.violate(f"{stage.name}: a terminal snapshot is not the last one")


async def _watch(stage: Stage, client: BatchClient) -> None:
    names = stage.random.sample(list(ENDS), 3)
    found = await stage.ends(client.jobs.watch(names))
    if found is None:
        return
    if list(found) != names:
        stage.case.violate(f"{stage.name}: outcomes of {list(found)}")
    for name, outcome in found.items():
        if outcome.job is not None:
            stage.is_outcome(outcome.job, name)
        else:
            stage.case.raised(stage.name, outcome.error)


async def _create(stage: Stage, client: BatchClient) -> None:
    stage.line.emulator.add_dataset("data", files={"rows.jsonl": _rows()})
    job_id = stage.random.choice(("made-here", None))
    before = _jobs(stage)
    found = await stage.ends(
        client.jobs.create(
            model=MODEL,
            input_dataset="data",
            job_id=job_id,
            inference_parameters={"max_tokens": 5, "temperature": 0.3},
        )
    )
    made = _jobs(stage) - before
    if len(made) > 1:
        stage.case.violate(f"{stage.name}: jobs were made: {sorted(made)}")
    if found is not None:
        stage.is_good(found, job_id or found.id)
        if {found.id} != made:
            stage.case.violate(f"{stage.name}: {found.id} was returned, {sorted(made)} made")


async def _delete(stage: Stage, client: BatchClient) -> None:
    before = _jobs(stage)
    await stage.ends(client.jobs.delete("alpha", wait=stage.random.random() < 0.5))
    if before - _jobs(stage) - {"alpha"}:
        stage.case.violate(f"{stage.name}: another job was deleted")


async def _datasets(stage: Stage, client: BatchClient) -> None:
    match stage.random.randrange(4):
        case 0:
            found = await stage.ends(client.datasets.get("alpha-out"))
            if found is not None:
                stage.is_good(found, "alpha-out")
        case 1:

            async def all_of_them() -> list[Any]:
                return [each async for each in client.datasets.list(page_size=2)]

            for found in await stage.ends(all_of_them()) or ():
                stage.is_good(found, found.id)
        case 2:
            found = await stage.ends(client.datasets.create("made-here", example_count=3))
            if found is not None:
                stage.is_good(found, "made-here")
        case _:
            await stage.ends(client.datasets.delete("alpha-out"))


async def _upload(stage: Stage, client: BatchClient) -> None:
    path = stage.directory / "rows.jsonl"
    path.write_bytes(_rows())
    dataset_id = stage.random.choice(("mine", None))
    limits = Limits(max_upload_bytes=stage.random.choice((10, 10**6)))
    found = await stage.ends(client.datasets.upload(path, dataset_id=dataset_id, limits=limits))
    if found is None:
        return
    stage.is_good(found, dataset_id or found.id)
    stored = stage.line.world.datasets.find("acme", found.id)
    if stored is None or list(stored.files.values()) not in ([len(_rows())], []):
        stage.case.violate(f"{stage.name}: {found.id} holds {stored and stored.files}")


async def _download(stage: Stage, client: BatchClient) -> None:
    found = await stage.ends(client.datasets.download("alpha-out", stage.directory / "files"))
    inside = stage.directory.resolve()
    for path in found or ():
        if not path.resolve().is_relative_to(inside):
            stage.case.violate(f"{stage.name}: {path} is outside")
    if found and not stage.line.mutations and found[0].read_bytes() != _results("alpha"):
        stage.case.violate(f"{stage.name}: another content")


async def _results_of(stage: Stage, client: BatchClient) -> None:
    async def read() -> list[Any]:
        async with client.results("alpha", expected=ROWS) as rows:
            return [row async for row in rows]

    await stage.ends(client.jobs.wait_until_terminal("alpha"))
    found = await stage.ends(read())
    if found is None:
        return
    ids = [row.custom_id for row in found if row.custom_id in ROWS]
    if not _is_of_files(stage):
        stage.case.once(stage.name, ids)
        for row in found:
            if row.ok and row.text != f"alpha {row.custom_id}":
                stage.case.violate(f"{stage.name}: {row.text!r} is the answer to {row.custom_id}")
    for row in found:
        _ = repr(row), json.dumps(to_dict(row))


async def _run(stage: Stage, client: BatchClient) -> None:
    path, output = stage.directory / "rows.jsonl", stage.directory / "output.jsonl"
    path.write_bytes(_rows())
    phases = [{"state": "RUNNING", "seconds": 5}, "COMPLETED"]
    stage.line.emulator.script_jobs(phases=phases, times=None)

    async def read() -> Any:
        result = await client.run(
            path, model=MODEL, name="chaos", limits=Limits(max_rows=3), output=output
        )
        async with result:
            rows = [row.custom_id async for row in result]
            missing = [each async for each in result.missing_ids()]
            return result.report, rows, missing, str(result.report)

    before = _jobs(stage)
    found = await stage.ends(read())
    made = _jobs(stage) - before
    if len(made) > 2:
        stage.case.violate(f"{stage.name}: jobs were made: {sorted(made)}")
    stage.case.once(f"{stage.name}: rows that were run", stage.line.billed.elements())
    if found is None:
        return
    report, rows, missing, _ = found
    stage.case.same_rows(stage.name, [*rows, *missing], ROWS)
    written = [json.loads(line) for line in output.read_bytes().splitlines()]
    stage.case.once(f"{stage.name}: the output", [row["custom_id"] for row in written])
    if report.rows != len(ROWS) or report.succeeded != len(written):
        stage.case.violate(f"{stage.name}: the report does not add up: {report}")
    texts = {row["custom_id"]: json.dumps(row) for row in written}
    wrong = [row for row in texts if f"answer to {row}" not in texts[row]]
    if wrong and not _is_of_files(stage):
        stage.case.violate(f"{stage.name}: another row's answer: {wrong}")


def _is_of_files(stage: Stage) -> bool:
    return any(mutation.kind.startswith("file") for _, mutation in stage.line.mutations)


def _rows() -> bytes:
    rows = [
        {"custom_id": row, "body": {"messages": [{"role": "user", "content": row}]}} for row in ROWS
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _jobs(stage: Stage) -> set[str]:
    jobs = stage.line.world.jobs._jobs.get("acme", {})
    return {name for name, job in jobs.items() if job.gone is None}


@attrs.frozen
class Scene:
    """A call, and how often it is made beside the others."""

    act: Act
    weight: float
    has_files: bool = False
    """Whether it reads or writes files."""

    outputs: tuple[str, ...] = ()
    """Jobs whose output dataset is there."""


SCENES: Final = {
    "get": Scene(_get, 3),
    "list": Scene(_list, 2),
    "wait": Scene(_wait, 3),
    "watch": Scene(_watch, 2),
    "create": Scene(_create, 2),
    "delete": Scene(_delete, 1),
    "datasets": Scene(_datasets, 2, outputs=("alpha", "beta", "gamma")),
    "upload": Scene(_upload, 2, has_files=True),
    "download": Scene(_download, 2, has_files=True, outputs=("alpha", "beta")),
    "results": Scene(_results_of, 1, outputs=("alpha", "beta")),
    "run": Scene(_run, 1, has_files=True),
}
