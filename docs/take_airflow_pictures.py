"""Take the pictures of docs/in-airflow.md: a real Airflow, an emulator, and a real browser.

Needs Airflow and Playwright, and a Chromium, whose path is the argument if it is not in PATH::

    pip install -e '.[airflow]' --group pictures
    python docs/take_airflow_pictures.py [/path/to/chromium]

Playwright's own download of a browser is not needed. What is started here is stopped at the end.
"""

import contextlib
import json
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/support"))

from airflow_processes import PROCESSES, Airflow, until
from emulator_process import Server, emulator_process

PICTURES = Path(__file__).parent / "pictures"
KEY = "fw_emulator_key_of_the_pictures"
DAG, TASK = "nightly_reviews", "classify"
# Sections of the form open and close in a quarter of a second.
MOMENT = 1000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def an_airflow(server: Server, directory: Path) -> Iterator[Airflow]:
    """Run Airflow with the example DAGs, in a directory that has their requests."""
    held = [{"state": "RUNNING", "seconds": 12 * 3600}]
    server.control("POST", "scripts", {"job": "*", "phases": held, "times": None})
    home, files = directory / "home", directory / "files"
    home.mkdir()
    files.mkdir()
    body = {"messages": [{"role": "user", "content": "Good or bad: I would buy it again."}]}
    rows = [json.dumps({"custom_id": f"review-{number}", "body": body}) for number in range(24)]
    (files / "requests.jsonl").write_text("\n".join(rows), encoding="utf-8")
    connection = {"conn_type": "fireworks", "host": server.base_url, "password": KEY}
    variables = {"AIRFLOW_CONN_FIREWORKS_DEFAULT": json.dumps(connection)}
    with (
        contextlib.chdir(files),
        Airflow(home, ROOT / "examples/airflow", **variables) as airflow,
    ):
        airflow.start(*PROCESSES)
        until("Airflow is healthy", airflow.is_healthy)
        yield airflow


@contextlib.contextmanager
def a_page(chromium: str, directory: Path) -> Iterator[Page]:
    """Open a page of a browser that has never run before."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            directory / "browser",
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1200, "height": 1400},
            color_scheme="light",
            timezone_id="UTC",
        )
        try:
            yield browser.new_page()
        finally:
            browser.close()


# --- The connection form --------------------------------------------------------------------------


def take_connection(page: Page, airflow: Airflow) -> None:
    """Fill the form in, and show its two sections one below the other.

    The form has only one of them open at a time: the picture is put together from two.
    """
    page.goto(f"{airflow.base}/connections")
    page.get_by_role("button", name="Add Connection").first.click()
    form = page.get_by_role("dialog")
    form.locator('input[name="connection_id"]').fill("fireworks_default")
    form.get_by_role("combobox").fill("Fireworks AI")
    page.get_by_role("option", name="Fireworks AI").click()
    form.locator('input[name="password"]').fill(KEY)
    page.wait_for_timeout(MOMENT)
    form.locator('input[name="password"]').blur()
    box = _box(form)
    upper = _shot(page, {**box, "height": _top(form, "Extra Fields") - box["y"]})

    form.get_by_role("button", name="Extra Fields", exact=True).click()
    page.wait_for_timeout(MOMENT)
    form.locator('[name="element_account_id"]').fill("acme")
    form.locator('[name="element_account_id"]').blur()
    box, top = _box(form), _top(form, "Extra Fields")
    lower = _shot(page, {**box, "y": top, "height": _top(form, "Extra Fields JSON") - top})

    page.set_content(f'<div style="width: max-content">{_image(upper)}{_image(lower)}</div>')
    page.locator("div").screenshot(path=PICTURES / "airflow-connection.png")


def _box(found: Locator) -> Any:
    return found.bounding_box()


def _top(form: Locator, section: str) -> float:
    return float(_box(form.get_by_role("button", name=section, exact=True))["y"])


def _shot(page: Page, clip: Any) -> bytes:
    return page.screenshot(clip=clip, animations="disabled")


def _image(png: bytes) -> str:
    data = b64encode(png).decode()
    return f'<img style="display: block" src="data:image/png;base64,{data}">'


# --- The deferred task ----------------------------------------------------------------------------


def take_deferred(page: Page, airflow: Airflow) -> None:
    """Show the details of a task whose job runs: the link to the job, and what waits for it."""
    run = until("the DAG has run", lambda: _run_of_the_night(airflow))
    until("it waits", lambda: airflow.tasks(DAG, run)[TASK]["triggerer_job"])
    page.goto(f"{airflow.base}/dags/{DAG}/runs/{quote(run, safe='')}/tasks/{TASK}/details")
    page.get_by_role("link", name="Fireworks job").wait_for()
    last = page.get_by_role("row", name="Trigger creation time")
    last.wait_for()
    page.wait_for_timeout(MOMENT)
    box = _box(last)
    clip = {"x": 0, "y": 0, "width": 1200, "height": box["y"] + box["height"]}
    page.screenshot(path=PICTURES / "airflow-deferred.png", clip=clip, animations="disabled")


def _run_of_the_night(airflow: Airflow) -> str | None:
    """Return the id of the run that the schedule has made, if it is there."""
    if DAG not in airflow.dags():
        return None
    runs = airflow.ask("GET", f"/api/v2/dags/{DAG}/dagRuns")["dag_runs"]
    return str(runs[0]["dag_run_id"]) if runs else None


def main() -> None:
    """Take both."""
    chromium = sys.argv[1] if sys.argv[1:] else shutil.which("chromium")
    if chromium is None:
        raise SystemExit("there is no chromium in PATH: give the path of one")
    with (
        TemporaryDirectory(prefix="fireworks-pictures-") as name,
        emulator_process(KEY, speed=60) as server,
        an_airflow(server, Path(name)) as airflow,
        a_page(chromium, Path(name)) as page,
    ):
        take_connection(page, airflow)
        take_deferred(page, airflow)
    print("airflow-connection.png, airflow-deferred.png")


if __name__ == "__main__":
    main()
