"""Do harm to everything around the client, for a time, and look for a promise that is broken.

`python tests/chaos` plays all kinds; the package's docstring names the rest. Exit code 1: a promise
is broken.
"""

import argparse
import random
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def main() -> int:
    """Play, and say how it went."""
    from chaos import KINDS, driver  # noqa: PLC0415  # the path is set by now

    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, help="one case of one kind, whose story is told")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long; %(default)s")
    parser.add_argument("--first", type=int, help="the first seed; drawn by chance if not given")
    parser.add_argument("--json", type=Path, help="the file to write the table to")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if given.seed is not None:
        if len(given.kinds) != 1:
            parser.error("--seed is of one kind")
        return driver.play_one(given.kinds[0], given.seed, given.seconds)
    first = random.SystemRandom().randrange(10**9) if given.first is None else given.first
    long = driver.Long(tuple(given.kinds) or KINDS, first)
    long.play(given.seconds)
    print(long.table())
    if given.json:
        long.write(given.json)
    return 0 if long.is_clean else 1


# The file's own directory comes first on the path, and its modules must not be found there.
sys.path[:] = [
    str(TESTS),
    str(TESTS / "support"),
    *(each for each in sys.path if each != str(TESTS / "chaos")),
]

if __name__ == "__main__":
    sys.exit(main())
