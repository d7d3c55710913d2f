"""What must be true in every case is found where it is not."""

import asyncio
import logging
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from chaos import driver
from chaos.invariants import KEY, Case, run
from fireworks_batch import FireworksBatchError, TransportError

ROOT = Path(__file__).parents[2]
LEFT = []


async def _ends_well(case):
    async def answer():
        return 1

    assert await case.ends("it", answer(), within=1.0) == 1


async def _raises_ours(case):
    async def fail():
        raise TransportError("no")

    assert isinstance(await case.ends("it", fail(), within=1.0), FireworksBatchError)


async def _is_late(case):
    await case.ends("it", asyncio.sleep(60), within=0.01)


async def _raises_another(case):
    async def fail():
        raise KeyError("x")

    await case.ends("it", fail(), within=1.0)


async def _is_cancelled(case):
    async def leave():
        raise asyncio.CancelledError

    await case.ends("it", leave(), within=1.0)


async def _says_the_key(case):
    async def fail():
        error = TransportError("no")
        error.request_id = KEY
        raise error

    await case.ends("it", fail(), within=1.0)


async def _says_the_key_below(case):
    async def fail():
        error = TransportError("no")
        error.__context__ = ValueError(KEY)
        raise error

    await case.ends("it", fail(), within=1.0)


async def _logs_the_key(_):
    logging.getLogger("fireworks_batch.http").debug("sent %s", KEY)


async def _writes_the_key(case):
    (case.directory / "file").write_text(KEY)


async def _leaves_a_file(case):
    (case.directory / "temporary" / "part").write_text("x")


async def _leaves_a_task(_):
    LEFT.append(asyncio.create_task(asyncio.sleep(60)))


async def _leaves_a_timer(_):
    asyncio.get_running_loop().call_later(60, print)


async def _leaves_a_descriptor(case):
    LEFT.append((case.directory / "open").open("w"))


async def _leaves_a_thread(_):
    done = threading.Event()
    LEFT.append(done)
    threading.Thread(target=done.wait, args=(5,)).start()


async def _warns(_):
    warnings.warn("odd", stacklevel=1)


async def _tells_the_loop(_):
    asyncio.get_running_loop().call_exception_handler({"message": "odd"})


async def _grows(_):
    LEFT.append(b"x" * 250_000_000)


async def _breaks(_):
    raise ZeroDivisionError


async def _doubles_a_name(case):
    case.once("jobs", ["a", "b", "a"])


async def _loses_a_row(case):
    case.same_rows("rows", ["a"], ["a", "b"])


async def _doubles_a_row(case):
    case.same_rows("rows", ["a", "b", "b"], {"a": 1, "b": 2})


async def _is_of_another(case):
    case.is_of("an answer", "job-b", "job-a")


@pytest.mark.parametrize("scenario", [_ends_well, _raises_ours], ids=lambda each: each.__name__)
def test_what_is_as_it_must_be_is_no_violation(scenario):
    """A good answer, and one of our errors."""
    assert played(scenario) == []


@pytest.mark.parametrize(
    ("scenario", "violation"),
    [
        (_is_late, "it: has not ended within 0.01 s"),
        (_raises_another, "it: raised KeyError"),
        (_is_cancelled, "it: was cancelled by itself"),
        (_says_the_key, "the key is in TransportError of it"),
        (_says_the_key_below, "the key is in ValueError of it"),
        (_logs_the_key, "the key is in a record of the log"),
        (_writes_the_key, "the key is in the file file"),
        (_leaves_a_file, "left in the temporary directory: temporary/part"),
        (_leaves_a_task, "left behind: ['task"),
        (_leaves_a_timer, "left behind: ['timer"),
        (_leaves_a_descriptor, "left open: "),
        (_leaves_a_thread, "left running: "),
        (_warns, "UserWarning: odd"),
        (_tells_the_loop, "told to the loop: odd"),
        (_grows, "memory: "),
        (_breaks, "ZeroDivisionError"),
        (_doubles_a_name, "jobs: more than once: ['a']"),
        (_loses_a_row, "rows: lost ['b']"),
        (_doubles_a_row, "rows: lost [], doubled or foreign ['b']"),
        (_is_of_another, "an answer: is of 'job-b', asked was 'job-a'"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells all of it")
def test_a_broken_promise_is_found(scenario, violation):
    """It is a violation, and the story ends with the command that plays the case again."""
    violations = played(scenario)
    assert violations
    assert any(each.startswith(violation) for each in violations)


def played(scenario):
    """Play a scenario, and give the violations; what it left is cleared away."""
    case = Case("proxy", 7)
    try:
        run(case, lambda: scenario(case))
    finally:
        for each in LEFT:
            for end in ("set", "close"):
                getattr(each, end, lambda: None)()
        LEFT.clear()
    assert case.tell().splitlines()[-1] == "play it again: python tests/chaos proxy --seed 7"
    return case.violations


@pytest.mark.once
def test_a_case_can_be_played_again():
    """By the command in the last line of its story."""
    command = Case("hostile", 3).command.removeprefix("python ").split()
    done = subprocess.run(  # our own interpreter and file
        [sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True
    )
    first, *_, last = done.stdout.splitlines()
    assert first.endswith("hostile 3")
    assert last == "play it again: python tests/chaos hostile --seed 3"


@pytest.mark.once
@pytest.mark.filterwarnings("default")
def test_a_long_run_adds_up(tmp_path, capsys):
    """Each kind is played; the table and the JSON say how much, and name each violation's seed."""
    long = driver.Long(("hostile",), 7)
    long.play(1.5)
    long._add(driver.Played("hostile", 99, violations=("it broke\nhere",)))
    long.write(tmp_path / "x.json")
    tally = driver.json.loads((tmp_path / "x.json").read_text())["hostile"]
    assert tally["cases"] == tally["last"] - tally["first"] + 2
    assert tally["violations"] == [[99, "it broke\nhere"]]
    assert "hostile --seed 99" in long.table()
    assert "hostile 99: it broke\n" in capsys.readouterr().out
