"""The fixtures of the tests that need Airflow."""

from collections.abc import Iterator

import pytest
from emulator_process import Server, emulator_process

pytest_plugins = ["fireworks_batch.pytest_plugin"]

KEY = "fw_airflow_secret_key"


@pytest.fixture(scope="session")
def key() -> str:
    """The API key."""
    return KEY


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An emulator in which an hour takes a minute."""
    with emulator_process(KEY, speed=60) as server:
        yield server
