"""Play random courses of runs, and look for a promise that is broken.

A course is drawn from its seed: what callers, people and the server do. `tests/support/courses.py`
says how, and what must be true. 5,000 courses are played in as many processes as there are
processors, from a seed that chance determines; the tests play 300 that are always the same.
`--seed N` plays one course, and tells its story. Exit code 1: a promise is broken.
"""

import argparse
import multiprocessing
import os
import random
import sys
from unittest import mock

from figures import support

COURSES = 5_000


def play(seed: int) -> str:
    """Play a course, and tell what is wrong with it; nothing if all is well."""
    courses = support("courses")
    with mock.patch("os.fsync"):  # no course can see what it does, which takes a third of the time
        violations, story = courses.play(seed)
    return str(courses.tell(seed, violations, story)) if violations else ""


def play_one(seed: int) -> int:
    """Play a course, and tell its story."""
    courses = support("courses")
    violations, story = courses.play(seed)
    print(courses.tell(seed, violations, story))
    courses.NURSERY.close()
    return 1 if violations else 0


def main() -> int:
    """Play, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="one course, whose story is told")
    seed = parser.parse_args().seed
    if seed is not None:
        return play_one(seed)
    first = random.SystemRandom().randrange(10**9)
    print(f"{COURSES} courses from seed {first}", flush=True)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = list(filter(None, pool.imap_unordered(play, range(first, first + COURSES), 5)))
    print("\n\n".join(found[:10]))
    if found:
        print(f"{len(found)} broke a promise; {found[:10][-1].splitlines()[-1]}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
