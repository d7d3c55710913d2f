"""The example DAGs, run inline by `dag.test()`, and what can be asked of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
REQUESTS = [
    {"custom_id": name, "body": {"messages": [{"role": "user", "content": name}]}}
    for name in ("a", "b", "c")
]


@pytest.fixture(scope="module")
def home(server, key, tmp_path_factory):
    """An Airflow with a database and a connection, and none of its processes."""
    home = tmp_path_factory.mktemp("home")
    connection = {"conn_type": "fireworks", "host": server.base_url, "password": key}
    environ = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples/airflow"),
        "AIRFLOW_CONN_FIREWORKS_DEFAULT": json.dumps(connection),
        "FIREWORKS_BATCH_TIME_SCALE": "0.01",
    }
    subprocess.run(
        [str(Path(sys.executable).with_name("airflow")), "db", "migrate"],
        env=environ,
        check=True,
        capture_output=True,
    )
    return home, environ


def run(home, name: str) -> None:
    """Run an example DAG inline, in the directory of the home."""
    directory, environ = home
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/airflow" / name)],
        env=environ,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ids_in(path: Path) -> list[str]:
    """Return the ids of the rows of a file."""
    return [json.loads(line)["custom_id"] for line in path.read_text("utf-8").splitlines()]


def test_a_file_of_requests(home):
    """The DAG of a nightly file runs from end to end, and leaves the results in its file."""
    directory, _ = home
    text = "".join(f"{json.dumps(row)}\n" for row in REQUESTS)
    (directory / "requests.jsonl").write_text(text, "utf-8")
    run(home, "nightly_reviews.py")

    assert ["a", "b", "c"] == ids_in(directory / "results.jsonl")


def test_one_job_each(home):
    """Two lists of requests make two files, each with its own rows."""
    directory, _ = home
    (directory / "results").mkdir()
    run(home, "one_job_each.py")

    for number, city in enumerate(("Lima", "Oslo")):
        rows = ids_in(directory / "results" / f"{number}.jsonl")
        assert [f"{city}-population", f"{city}-area"] == rows
