"""A real Airflow on this machine: its four processes, and what a user does in its web interface."""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

BIN = Path(sys.executable).parent
PROCESSES = ("api-server", "scheduler", "dag-processor", "triggerer")


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(what: str, is_so: Callable[[], Any], seconds: float = 180.0) -> Any:
    """Return the first true value; fail if none comes in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := is_so():
            return value
        time.sleep(0.3)
    raise TimeoutError(what)


class Airflow:
    """Airflow with an empty home, bound to the loopback."""

    def __init__(self, home: Path, dags: Path, **variables: str) -> None:
        port = free_port()
        self.home = home
        self.base = f"http://127.0.0.1:{port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        settings = {
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_FOLDER": str(dags),
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.base}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__PARALLELISM": "4",
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": "4",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__BASE_URL": self.base,
            "API__WORKERS": "1",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        self.environ = {
            **os.environ,
            **variables,
            "AIRFLOW_HOME": str(home),
            "NO_PROXY": "*",
            "no_proxy": "*",
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        }

    def __enter__(self) -> Self:
        self.command("db", "migrate")
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self.processes]:
            self.kill(name)

    def command(self, *arguments: str) -> str:
        """Run `airflow`, and return what it prints."""
        done = subprocess.run(
            [str(BIN / "airflow"), *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *names: str) -> None:
        """Start processes, each in a group of its own."""
        for name in names:
            log = (self.home / f"{name}.log").open("ab")
            self.processes[name] = subprocess.Popen(
                [str(BIN / "airflow"), name],
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            log.close()

    def kill(self, name: str) -> None:
        """Kill a process, and all that it has started."""
        process = self.processes.pop(name)
        # Workers have groups of their own, and outlive the process that has started them.
        started = psutil.Process(process.pid).children(recursive=True)
        for each in [process, *started]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        psutil.wait_procs(started, timeout=10)

    def is_healthy(self) -> bool:
        """Say whether all four processes are seen to live."""
        try:
            health = self.ask("GET", "/api/v2/monitor/health")
        except (OSError, urllib.error.URLError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[part]["status"] == "healthy" for part in parts)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Call the REST API; everybody is its administrator."""
        headers = {"Content-Type": "application/json"}
        if "monitor" not in path:
            with urllib.request.urlopen(f"{self.base}/auth/token", timeout=30) as answer:
                headers["Authorization"] = f"Bearer {json.load(answer)['access_token']}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base}{path}", data=data, method=method, headers=headers
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run, by task id and map index."""
        found = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances?limit=200")
        return {
            each["task_id"] + (f"[{each['map_index']}]" if each["map_index"] >= 0 else ""): each
            for each in found["task_instances"]
        }

    def dags(self) -> set[str]:
        """Return the ids of the DAGs that were read."""
        return {each["dag_id"] for each in self.ask("GET", "/api/v2/dags")["dags"]}

    def act(self, dag: str, run: str, task: str, state: str) -> None:
        """Mark a task, as a user does."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"
        self.ask("PATCH", path, {"new_state": state})

    def clear(self, dag: str, run: str, task: str) -> None:
        """Have a task run again, as a user does."""
        body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "only_failed": False}
        self.ask("POST", f"/api/v2/dags/{dag}/clearTaskInstances", body)

    def dump(self) -> str:
        """Return all that the metadata database holds."""
        with sqlite3.connect(self.home / "airflow.db") as database:
            return "\n".join(database.iterdump())

    def logs(self) -> str:
        """Return all logs, of tasks and of the processes."""
        return "\n".join(
            path.read_text("utf-8", "replace") for path in sorted(self.home.rglob("*.log"))
        )
