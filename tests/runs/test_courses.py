"""Random courses of runs: what a run promises is true whatever callers, people and server do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import courses

ROOT = Path(__file__).parents[2]

COURSES = 300
AT_ONCE = 10


@pytest.fixture(scope="module", autouse=True)
def _nursery():
    """The process from which callers are forked that are killed."""
    yield
    courses.NURSERY.close()


@pytest.mark.once
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, COURSES, AT_ONCE))
def test_a_run_keeps_its_promises_in_random_courses(first):
    """Each id once, nothing paid twice or lost, no job without a reason: see the rules there."""
    for seed in range(first, first + AT_ONCE):
        violations, story = courses.play(seed)
        assert not violations, courses.tell(seed, violations, story)


@pytest.mark.once
@pytest.mark.parametrize(
    "seed",
    [
        670196646,  # an output comes between its being given up and the next job
        670197787,  # the same, where the row in it must not run again
        670200599,  # an output that is there is a 400, and cannot be seen
        342638489,  # the file of errors is downloaded as garbage: a row that failed for good
        981176719,  # the same, and the counters of the job are behind
    ],
)
def test_a_course_that_broke_a_promise_once(seed):
    """Found among 5,000 drawn by chance."""
    violations, story = courses.play(seed)
    assert not violations, courses.tell(seed, violations, story)


def test_a_course_is_the_same_each_time():
    """So that a failure can be played again: the same story, word by word."""
    seed = next(seed for seed in range(100) if not courses.draw(seed).has_processes)
    first, second = (
        [re.sub(r"\d+ s ago|'/[^']*'", "...", line) for line in courses.play(seed)[1]]
        for _ in range(2)
    )  # the wall clock and temporary directories differ
    assert len(first) > 20
    assert first == second


@pytest.mark.once
def test_a_course_can_be_played_again():
    """By the command in the last line of its story."""
    *_, last = courses.tell(7, [], []).splitlines()
    command = last.removeprefix("play it again: python ").split()
    played = subprocess.run(  # our own interpreter and file
        [sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert played.stdout.splitlines()[0].startswith("course 7: ")
    assert played.stdout.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"answered": []}, "ids in the result of call 2"),
        ({"failed": ["r0", "r0"]}, "ids in the result of call 2"),
        ({"text": courses.KEY}, "the key is in the report"),
    ],
)
def test_a_broken_promise_is_found(monkeypatch, change, violation):
    """Where a result is not what it should be, the story ends with a violation."""
    read = courses.read_outcome

    async def read_wrongly(result):
        return courses.attrs.evolve(await read(result), **change)

    monkeypatch.setattr(courses, "read_outcome", read_wrongly)
    course = courses.Course(
        seed=0,
        rows={"r0": (), "r1": (400,)},
        max_rows=2,
        assume={},
        scripts=[],
        acts=[(courses.Call(how="submit"),)],
        last=courses.Call(),
    )
    violations, story = courses.play_course(course)
    assert violations[0].startswith(violation)
    assert f"VIOLATION: {violations[0]}" in "\n".join(story)


def test_rows_that_are_paid_twice_are_found(monkeypatch):
    """A client that takes another name for each call makes jobs that the witness objects to."""
    course = courses.Course(
        seed=0,
        rows={"r0": (), "r1": ()},
        max_rows=2,
        assume={},
        scripts=[],
        acts=[(courses.Call(),)],
        last=courses.Call(),
    )
    names, places = iter("abc"), iter(range(3))
    monkeypatch.setattr(courses, "name_of_run", lambda: next(names))
    monkeypatch.setattr(courses.Witness, "_chain", lambda *_: ("x", next(places)))
    violations, _ = courses.play_course(course)
    assert violations[0].startswith("r0 r1 of x-0 ")
    assert " run again by x-1 " in violations[0]
