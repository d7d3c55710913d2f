"""The fixtures for users' tests, used as a user would."""

import asyncio
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fireworks_batch import BatchClient, JobNotFinishedError, TransportError
from fireworks_batch.emulator import Emulator

pytest_plugins = ["fireworks_batch.pytest_plugin"]


def test_a_synchronous_test_runs_unchanged_code(fireworks_emulator):
    """What is in the environment is all that the code needs, and its waits are short."""
    fireworks_emulator.script_job("nightly", phases=["PENDING", "RUNNING", "COMPLETED"])

    async def nightly():
        async with BatchClient() as client:
            return await client.jobs.wait_until_terminal("nightly")

    assert asyncio.run(nightly()).is_success
    assert isinstance(fireworks_emulator, Emulator)


def test_each_test_gets_an_empty_emulator(fireworks_emulator):
    """Jobs and requests of the test before are gone."""
    assert fireworks_emulator.requests() == []
    fireworks_emulator.script_job("left-behind", phases=["RUNNING"])


async def test_the_client_is_that_of_the_emulator(fireworks_emulator, fireworks_client):
    """The one fixture brings the other along, and nothing of the test before is there."""
    assert [job async for job in fireworks_client.jobs.list()] == []
    fireworks_emulator.script_job("here", phases=["RUNNING"])
    job = await fireworks_client.jobs.get("here")
    with pytest.raises(JobNotFinishedError, match="it is RUNNING"):
        job.raise_for_outcome()


async def test_an_outage_is_made_from_the_test(fireworks_emulator, fireworks_client):
    """`stop` and `start` are awaited in the test's own loop."""
    fireworks_emulator.script_job("here", phases=["RUNNING"])
    await fireworks_emulator.stop()
    with pytest.raises(TransportError, match=r"cannot connect|Connect call failed|refused"):
        await fireworks_client.jobs.get("here")
    await fireworks_emulator.start()
    assert (await fireworks_client.jobs.get("here")).id == "here"


def test_errors_of_a_method_arrive_in_the_test(fireworks_emulator):
    """A script that cannot be used is refused where it was written."""
    with pytest.raises(ValueError, match="job id"):
        fireworks_emulator.script_job("No Id", phases=["RUNNING"])


def test_the_environment_is_set(fireworks_emulator):
    """Key, account, base URL and time scale stand where `BatchClient` looks."""
    assert os.environ["FIREWORKS_API_KEY"] == fireworks_emulator.api_key
    assert os.environ["FIREWORKS_ACCOUNT_ID"] == fireworks_emulator.account_id
    assert os.environ["FIREWORKS_BASE_URL"] == fireworks_emulator.base_url
    assert float(os.environ["FIREWORKS_BATCH_TIME_SCALE"]) == pytest.approx(1 / 3000)


# --- A user's project ---------------------------------------------------------------------------

# The files of the page "Test your own code", by their captions.
PAGE = Path(__file__).parents[1] / "docs" / "test-your-code.md"
PROJECT = dict(
    re.findall(
        r"```\{code-block\} python\n:caption: (\S+)\n\n(.*?)```",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
)
PROJECT["pytest.ini"] = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
# This keeps pytest-asyncio 1.5 from making a loop that nobody closes.
PROJECT["conftest.py"] += '__import__("asyncio").set_event_loop(None)\n'


def run_project(directory, *arguments):
    """Run pytest on a project as its owner would, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.fixture
def project(tmp_path):
    """A directory with a user's code and tests, as the documentation shows them."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_users_project_uses_it(project):
    """From its `conftest.py`, with pytest-asyncio in its strict mode.

    In CI this runs in a fresh environment that has the built wheel.
    """
    ended = run_project(project, "test_nightly.py")
    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr
    assert ended.returncode == 0


def test_nobody_loads_it_unasked():
    """It is no entry point, which would import the library into every run of the environment."""
    groups = {point.group for point in metadata.distribution("fireworks-batch").entry_points}
    assert groups == {"console_scripts", "apache_airflow_provider"}
