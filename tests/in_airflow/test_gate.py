"""A real Airflow, and one run of a DAG whose tasks come to all ends; each test states one fact."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from airflow_processes import PROCESSES, Airflow, until
from emulator_process import Server

pytestmark = pytest.mark.timeout(600)

DAGS = Path(__file__).with_name("dags")
TASKS = 20
RUN = "one"
HELD = {"state": "RUNNING", "seconds": 12 * 3600}
BRIEF = {"state": "RUNNING", "seconds": 300}  # five seconds here


@attrs.frozen
class Course:
    """What is to be seen when it is over."""

    airflow: Airflow
    files: Path
    tasks: dict[str, dict[str, Any]]
    deferred: int
    created: list[str]
    gone: set[str]

    def state(self, task: str) -> str:
        """Return the last state of a task."""
        return str(self.tasks[task]["state"])

    def jobs(self, task: str) -> list[str]:
        """Return the ids of the jobs of a task, in the order of their creation."""
        return [each for each in self.created if each.startswith(f"{task}-{RUN}")]

    def log(self, task: str) -> str:
        """Return the logs of all tries of a task."""
        paths = (self.airflow.home / "logs").rglob(f"task_id={task}/**/*.log")
        return "\n".join(path.read_text("utf-8", "replace") for path in paths)


def is_waiting(airflow: Airflow, task: str) -> bool:
    """Say whether the second try of a task is deferred."""
    found = airflow.tasks("gate", RUN)[task]
    return found["try_number"] == 2 and found["state"] == "deferred"


@pytest.fixture(scope="module")
def course(server: Server, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """Play it: all tasks are deferred, the triggerer is killed, a user ends two of them."""
    home, files = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("files")
    # Jobs run until they are let go: this machine decides how soon all tasks are deferred.
    server.control("POST", "scripts", {"job": "*-0", "phases": [HELD], "times": None})
    server.control("POST", "scripts", {"job": "*-1", "phases": [BRIEF, "COMPLETED"]})
    server.control("POST", "jobs/elsewhere", {"phases": [HELD]})
    connection = {
        "conn_type": "fireworks",
        "host": server.base_url,
        "password": key,
        "extra": {"account_id": "acme"},
    }
    variables = {"FIREWORKS_TEST_FILES": str(files), "FIREWORKS_TEST_TASKS": str(TASKS)}
    with Airflow(home, DAGS, **variables) as airflow:
        airflow.command(
            "connections", "add", "fireworks_default", "--conn-json", json.dumps(connection)
        )
        airflow.start(*PROCESSES)
        until("Airflow is healthy", airflow.is_healthy)
        until("the DAG is there", lambda: "gate" in airflow.dags())
        airflow.ask("POST", "/api/v2/dags/gate/dagRuns", {"dag_run_id": RUN, "logical_date": None})

        def states() -> Counter[str]:
            return Counter(str(each["state"]) for each in airflow.tasks("gate", RUN).values())

        until("all tasks are deferred", lambda: states()["deferred"] == TASKS + 6)
        deferred = states()["deferred"]
        # Airflow calls `on_kill` only of a trigger that runs.
        until("it waits", lambda: [*(home / "logs").rglob("task_id=killed/*.trigger.*.log")])
        airflow.act("gate", RUN, "killed", "failed")
        until("its job is deleted", lambda: any(x["method"] == "DELETE" for x in server.requests()))
        airflow.kill("triggerer")
        airflow.start("triggerer")
        airflow.clear("gate", RUN, "cleared")
        until("the cleared task waits again", lambda: is_waiting(airflow, "cleared"))
        for job in ["elsewhere", *server.created()]:
            end = {"fails": "FAILED", "expires": "EXPIRED"}.get(job.partition("-")[0], "COMPLETED")
            status = {"code": "INTERNAL", "message": "the model has died"}
            if not job.startswith("killed"):
                server.control("POST", f"jobs/{job}", {"phases": [BRIEF, end], "status": status})
        until("all tasks have ended", lambda: not states().keys() - {"success", "failed"})
        requests = server.requests()
        yield Course(
            airflow,
            files,
            airflow.tasks("gate", RUN),
            deferred,
            server.created(),
            {each["path"].rpartition("/")[2] for each in requests if each["method"] == "DELETE"},
        )


def test_all_tasks_are_deferred_and_succeed(course):
    """Twenty mapped tasks take no worker while their jobs run, and all come to a good end."""
    assert course.deferred == TASKS + 6
    assert {course.state(f"mapped[{number}]") for number in range(TASKS)} == {"success"}
    for number in range(TASKS):
        lines = (course.files / f"mapped-{number}.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line)["custom_id"] for line in lines] == [
            f"m{number}-{row}" for row in range(3)
        ]


def test_manifests_go_on_to_the_next_task(course):
    """What a task returns is small, and a task after it can use it."""
    assert course.state("count") == "success"


def test_no_job_is_submitted_twice(course):
    """A triggerer that is killed costs nothing: each mapped task has asked for one job, once."""
    mapped = [each for each in course.created if each.startswith("gate-one-mapped")]

    assert len(mapped) == len({*mapped}) == TASKS


def test_failed_job_fails_the_task_with_the_reason(course):
    """The server's message stands in the log of the task."""
    assert course.state("fails") == "failed"
    assert "the model has died" in course.log("fails")
    assert len(course.jobs("fails")) == 1


def test_expired_job_fails_the_task_but_leaves_its_rows(course):
    """Rows without a response are too many for the task; those that came are in the file."""
    assert course.state("expires") == "failed"
    assert "max_failed_rows" in course.log("expires")
    assert (course.files / "expires.jsonl").exists()


def test_rows_that_expired_run_again(course):
    """With retry_rows the task is deferred once more, for a job of the rows that were left."""
    assert course.state("expires-again") == "success"
    assert [each[-1] for each in course.jobs("expires-again")] == ["0", "1"]
    assert len((course.files / "expires-again.jsonl").read_text("utf-8").splitlines()) == 3


def test_another_try_adopts_the_job(course):
    """A task that a user has cleared runs again, and finds the job of the try before."""
    assert course.state("cleared") == "success"
    assert course.tasks["cleared"]["try_number"] == 2
    assert len(course.jobs("cleared")) == 1


def test_killed_task_deletes_its_job_if_it_is_asked_to(course):
    """Not so a task that is cleared, though it was asked, too; nor does a restart delete any."""
    assert course.state("killed") == "failed"
    assert course.gone == {*course.jobs("killed")}


def test_sensor_waits_for_a_job_made_elsewhere(course):
    """It is deferred as the operator is."""
    assert course.state("senses") == "success"


def test_key_is_in_the_connection_alone(course, key):
    """Neither the metadata database nor any log has the key: the connection is encrypted."""
    assert key not in course.airflow.dump()
    assert key not in course.airflow.logs()
    assert len(course.airflow.logs()) > 1000


def test_provider_is_found_and_its_connection_form_has_its_fields(course):
    """Airflow shows the provider, and what its connection asks for."""
    assert "fireworks-batch" in course.airflow.command("providers", "list")
    meta = course.airflow.ask("GET", "/ui/connections/hook_meta")
    (fields,) = [each for each in meta if each["connection_type"] == "fireworks"]

    assert {"account_id", "max_requests_per_minute", "proxy"} <= {*fields["extra_fields"]}
