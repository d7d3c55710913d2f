"""Operator and sensor in this process: what a worker would do, without Airflow's processes."""

import json
import signal
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from fireworks_batch import ConfigurationError, Limits, PollPolicy, Submission
from fireworks_batch.airflow.operators.batch import FireworksBatchOperator, run_name
from fireworks_batch.airflow.sensors.job import FireworksBatchJobSensor

MODEL = "accounts/fireworks/models/demo-8b"
FAST = PollPolicy(initial_interval=0.01, max_interval=0.05, min_interval=0.0, not_found_grace=0.05)
HELD = [{"state": "RUNNING", "seconds": 1e6}]


def rows(*ids: str) -> list[dict[str, object]]:
    """Return a request for each id."""
    return [
        {"custom_id": each, "body": {"messages": [{"role": "user", "content": each}]}}
        for each in ids
    ]


def context(**names: object):
    """Return as much of a task's context as is used; it keeps what is pushed."""
    pushed = {}

    def push(key, value) -> None:
        pushed[key] = value

    ti = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, **names}
    return {"ti": SimpleNamespace(**ti, xcom_push=push, pushed=pushed)}


@pytest.fixture
def emulator(fireworks_emulator, monkeypatch):
    """An emulator in a thread, with the default connection in the environment."""
    fields = {
        "conn_type": "fireworks",
        "host": fireworks_emulator.base_url,
        "password": fireworks_emulator.api_key,
    }
    monkeypatch.setenv("AIRFLOW_CONN_FIREWORKS_DEFAULT", json.dumps(fields))
    monkeypatch.delenv("FIREWORKS_API_KEY")
    return fireworks_emulator


@pytest.fixture
def operator(tmp_path):
    """Return a function that makes an operator of two requests."""

    def make(**arguments):
        terms = {"requests": rows("a", "b"), "output_path": tmp_path / "out.jsonl"}
        task = FireworksBatchOperator(
            task_id="t", model=MODEL, poll=FAST, **{"deferrable": False, **terms, **arguments}
        )
        task.render_template_fields({"word": "rendered"})
        return task

    return make


def created(emulator) -> list[str]:
    """Return the ids of the jobs that were asked for."""
    return [
        each.query["batchInferenceJobId"]
        for each in emulator.requests()
        if each.method == "POST" and each.path.endswith("/batchInferenceJobs")
    ]


def ids_in(path) -> list[str]:
    """Return the ids of the rows of a file."""
    return [json.loads(line)["custom_id"] for line in path.read_text("utf-8").splitlines()]


# --- The run's name -------------------------------------------------------------------------------


def test_each_try_of_a_task_has_the_same_name():
    """It is made of DAG, run, task and map index; a long one is cut, and stays unlike others."""
    long = "x" * 250
    names = {
        run_name(context(**each))
        for each in (
            {"try_number": 1},
            {"try_number": 2},
            {"map_index": 0},
            {"dag_id": long, "run_id": long},
            {"dag_id": long, "run_id": long, "task_id": "u"},
        )
    }
    assert {"d/r/t", "d/r/t/0"} <= names
    assert len(names) == 4
    assert max(map(len, names)) == 500


# --- The operator ---------------------------------------------------------------------------------


def test_task_that_is_not_deferrable_waits_in_its_worker(emulator, operator, tmp_path):
    """It returns the manifest, and shows the link to the job."""
    emulator.fail_rows(row="b", code=400)
    ran, errors = context(), tmp_path / "errors.jsonl"
    manifest = operator(errors_path=errors, max_failed_rows=1).execute(ran)
    (job_id,) = created(emulator)

    assert [job_id] == manifest["jobs"]
    assert (2, 1, 1, 0) == tuple(
        manifest[name] for name in ("rows", "succeeded", "failed", "missing")
    )
    assert manifest["output"] == str(tmp_path / "out.jsonl")
    assert (["a"], ["b"]) == (ids_in(tmp_path / "out.jsonl"), ids_in(errors))
    assert ran["ti"].pushed["_link_FireworksBatchJobLink"].endswith(job_id)
    assert "retried" not in manifest  # each call of the client counts its own
    assert json.loads(json.dumps(manifest)) == manifest


def test_too_many_failed_rows_fail_the_task_and_lose_nothing(emulator, operator, tmp_path):
    """The file has what came, and the text says what to do."""
    emulator.fail_rows(row="b", code=400)
    with pytest.raises(AirflowException, match=r"1 of 2 rows succeeded, 1 failed.*max_failed_rows"):
        operator().execute(context())
    assert ids_in(tmp_path / "out.jsonl") == ["a"]


def test_task_is_deferred_with_what_it_needs_to_go_on(emulator, operator, tmp_path):
    """Another worker goes on with what was stored: the trigger has no secret, and no rows."""
    emulator.script_jobs(phases=HELD)
    with pytest.raises(TaskDeferred) as deferred:
        operator(deferrable=True).execute(context())
    stored = json.dumps([deferred.value.trigger.serialize(), deferred.value.kwargs])
    emulator.script_job(created(emulator)[0], phases=["COMPLETED"])
    manifest = operator(deferrable=True).execute_complete(
        context(), {"status": "ended"}, **deferred.value.kwargs
    )

    assert emulator.api_key not in stored
    assert "messages" not in stored
    assert manifest["succeeded"] == 2
    assert len(created(emulator)) == 1


def test_file_that_has_changed_meanwhile_fails_the_task(emulator, operator, tmp_path):
    """Other rows would be other jobs, and be paid for: nothing is submitted."""
    emulator.script_jobs(phases=HELD)
    with pytest.raises(TaskDeferred) as deferred:
        operator(deferrable=True).execute(context())
    emulator.script_job(created(emulator)[0], phases=["COMPLETED"])
    task = operator(deferrable=True, requests=rows("a", "c"))
    with pytest.raises(ValueError, match="pass the requests that were submitted"):
        task.execute_complete(context(), {"status": "ended"}, **deferred.value.kwargs)
    assert len(created(emulator)) == 1


def test_submission_that_was_lost_is_found_again(emulator, operator):
    """`DAG.test` forgets what a task was deferred with: the same requests find the same job."""
    emulator.script_jobs(phases=HELD)
    with pytest.raises(TaskDeferred) as deferred:
        operator(deferrable=True).execute(context())
    assert Submission.from_json(deferred.value.kwargs["submission"]).rows == 2
    emulator.script_job(created(emulator)[0], phases=["COMPLETED"])
    manifest = operator(deferrable=True).execute_complete(context(), {"status": "ended"})

    assert (2, 1) == (manifest["succeeded"], len(created(emulator)))


def test_error_of_the_trigger_is_that_of_the_task(operator):
    """The text of the event is raised."""
    with pytest.raises(AirflowException, match="the time ran out"):
        operator().execute_complete(context(), {"status": "error", "message": "the time ran out"})


@pytest.mark.parametrize("is_asked", [True, False])
def test_user_ends_a_task_that_waits_in_its_worker(emulator, operator, is_asked):
    """The task ends at once; its job is deleted only with cancel_on_kill."""
    emulator.script_jobs(phases=HELD)
    task = operator(cancel_on_kill=is_asked)

    def kill_when_it_waits() -> None:
        polls = 0
        while polls < 3:
            paths = [each.path for each in emulator.requests() if each.method == "GET"]
            polls = sum("/batchInferenceJobs/" in path for path in paths)
        task.on_kill()

    killer = threading.Thread(target=kill_when_it_waits)
    killer.start()
    with pytest.raises(AirflowException, match="was ended by a signal"):
        task.execute(context())
    killer.join()

    assert is_asked == any(each.method == "DELETE" for each in emulator.requests())


def test_files_of_an_object_storage_are_copied(emulator, operator, tmp_path):
    """By their URL or as a path object; what is packed is read as such."""
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows("a", "b")), "utf-8")
    task = operator(
        requests=source.as_uri(), output_path=ObjectStoragePath((tmp_path / "there").as_uri())
    )
    manifest = task.execute(context())

    assert ids_in(tmp_path / "there") == ["a", "b"]
    assert manifest["output"] == (tmp_path / "there").as_uri()


@pytest.mark.parametrize("kind", ["output", "errors"])
def test_requests_may_have_the_name_of_an_output(emulator, operator, tmp_path, kind):
    """The errors of a run that are sent again lie in a file of errors."""
    source = tmp_path / f"{kind}.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows("a", "b")), "utf-8")
    target = tmp_path / "there"
    target.mkdir()
    operator(
        requests=source.as_uri(),
        output_path=(target / "output.jsonl").as_uri(),
        errors_path=(target / "errors.jsonl").as_uri(),
    ).execute(context())

    assert ids_in(target / "output.jsonl") == ["a", "b"]


def test_missing_directory_is_found_out_before_anything_is_paid(emulator, operator, tmp_path):
    """Not hours later, when the results are there."""
    with pytest.raises(AirflowException, match="there is no directory for"):
        operator(output_path=tmp_path / "nowhere" / "out.jsonl").execute(context())
    assert created(emulator) == []


@pytest.mark.parametrize("timeout", [0, -1, timedelta(hours=1)])
def test_timeout_that_is_no_number_of_seconds_is_refused_at_once(operator, timeout):
    """When the DAG is read."""
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds above 0"):
        operator(timeout=timeout)


def test_braces_in_a_prompt_are_sent_as_they_are(emulator, operator, tmp_path):
    """Requests are data: Airflow renders the path of a file, and no prompt."""
    task = operator(requests=rows("{{ word }}", "{% for"))
    task.execute(context())

    assert ids_in(tmp_path / "out.jsonl") == ["{{ word }}", "{% for"]
    assert operator(requests="{{ word }}.jsonl").requests == "rendered.jsonl"


def test_refusal_of_one_further_job_does_not_lose_another(emulator, operator, tmp_path):
    """Two shards are to run again; one job is created, and its rows count, though one is not."""
    task = operator(
        requests=rows("a", "b"), limits=Limits(max_rows=1), retry_rows=1, max_failed_rows=1
    )
    emulator.script_jobs("*-0", phases=["EXPIRED"], times=None)
    emulator.add_fault(
        "status", status=400, method="POST", path="*/batchInferenceJobs", after=3, times=None
    )
    manifest = task.execute(context())

    assert (manifest["succeeded"], manifest["missing"]) == (1, 1)
    assert len(ids_in(tmp_path / "out.jsonl")) == 1


def test_signal_between_two_steps_is_not_lost(emulator, operator):
    """A task that is ended while it copies files, say, does not begin to wait."""
    emulator.script_jobs(phases=HELD)
    task = operator()
    task.on_kill()
    with pytest.raises(AirflowException, match="was ended by a signal"):
        task.execute(context())
    assert created(emulator) == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="is of Unix")
def test_time_out_of_airflow_leaves_nothing_running(emulator, operator):
    """execution_timeout raises in a signal handler: the wait is cancelled, the client closed."""

    class TooLateError(BaseException):
        pass

    def ring(*_: object) -> None:
        raise TooLateError

    emulator.script_jobs(phases=HELD)
    task = operator(cancel_on_kill=True)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(TooLateError):
            task.execute(context())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert any(each.method == "DELETE" for each in emulator.requests())


# --- The sensor -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_deferrable", [True, False])
def test_sensor_fails_with_the_reason_of_the_server(emulator, is_deferrable):
    """A job that did not complete is no success, and its message is told."""
    emulator.script_job("bad", phases=["FAILED"], status={"code": "INTERNAL", "message": "boo"})
    sensor = FireworksBatchJobSensor(task_id="s", job="bad", deferrable=is_deferrable)
    with pytest.raises(AirflowException, match="ended FAILED: INTERNAL: boo"):
        sensor.execute(context())


def test_sensor_is_deferred_again_if_the_job_runs_after_all(emulator):
    """The event alone is no proof: a job may have been made anew under its id."""
    emulator.script_job("runs", phases=HELD)
    sensor = FireworksBatchJobSensor(task_id="s", job="runs", deferrable=True)
    with pytest.raises(TaskDeferred):
        sensor.execute_complete(context(), {"status": "ended"})


def test_sensor_of_a_job_that_is_not_there_fails_as_sensors_do(emulator):
    """With an error of Airflow, which soft_fail knows."""
    with pytest.raises(AirflowException, match="404"):
        FireworksBatchJobSensor(task_id="s", job="gone", deferrable=True).execute(context())


def test_sensor_takes_an_id_a_name_or_a_reference(emulator):
    """What other tasks have at hand; a job that has ended is not deferred."""
    emulator.script_job("good", phases=["COMPLETED"])
    name = "accounts/acme/batchInferenceJobs/good"
    stored = {"account_id": "acme", "job_id": "good", "base_url": emulator.base_url, "version": 1}
    for job in ("good", name, json.dumps(stored)):
        FireworksBatchJobSensor(task_id="s", job=job, deferrable=True).execute(context())


def test_sensor_is_deferred_while_the_job_runs(emulator):
    """The trigger waits for that job alone, and Airflow's own limit of time ends the wait."""
    emulator.script_job("runs", phases=HELD)
    with pytest.raises(TaskDeferred) as deferred:
        FireworksBatchJobSensor(task_id="s", job="runs", deferrable=True, timeout=60).execute(
            context()
        )
    (ref,) = deferred.value.trigger.refs
    assert json.loads(ref)["job_id"] == "runs"
    assert deferred.value.timeout.total_seconds() == 60
