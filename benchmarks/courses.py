"""Play random courses of runs, and look for a promise that is broken.

A course is drawn from its seed: what callers, people and the server do. `tests/support/courses.py`
says how, and what must be true. 5,000 courses are played in as many processes as there are
processors, from a seed that chance determines; `--tenth` plays 500. `--seed N` plays one course,
and tells its story. Exit code 1: a promise is broken.
"""

import argparse
import importlib
import multiprocessing
import os
import random
import sys
from pathlib import Path
from typing import Any

COURSES = 5_000
SUPPORT = Path(__file__).parents[1] / "tests" / "support"


def courses() -> Any:
    """Import the courses, which stand with the tests."""
    if str(SUPPORT) not in sys.path:
        sys.path.insert(0, str(SUPPORT))
    return importlib.import_module("courses")


def play(seed: int) -> str:
    """Play a course, and tell what is wrong with it; nothing if all is well."""
    violations, story = courses().play(seed)
    return str(courses().tell(seed, violations, story)) if violations else ""


def main() -> int:
    """Play, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenth", action="store_true", help="a tenth of the courses")
    parser.add_argument("--seed", type=int, help="one course, whose story is told")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        violations, story = courses().play(arguments.seed)
        print(courses().tell(arguments.seed, violations, story))
        courses().NURSERY.close()
        return 1 if violations else 0
    count = COURSES // 10 if arguments.tenth else COURSES
    first = random.SystemRandom().randrange(10**9)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = list(filter(None, pool.imap_unordered(play, range(first, first + count), 5)))
    print("\n\n".join(found[:10]))
    print(f"{count} courses from seed {first}: {len(found)} broke a promise")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
