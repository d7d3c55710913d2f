"""Run all benchmarks, one after the other, and end with what each one says.

`--tenth` is the size for CI: the figures only, since the courses and the crashes of that size are
among the tests. A script that fails says why on its last line, which is repeated at the end.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FIGURES = (
    "cli_start",
    "end_to_end",
    "fleet",
    "get_job",
    "polling",
    "results",
    "submission",
    "transfer",
)
PROOFS = ("courses", "crashes")


def run(name: str, *options: str) -> tuple[int, str]:
    """Run a script, show what it prints, and return its exit code and its last line."""
    print(f"== {name}", flush=True)
    last = ""
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, last


def main() -> int:
    """Run them, and say which ones failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenth", action="store_true", help="the size for CI")
    is_tenth = parser.parse_args().tenth
    ends = {name: run(name, *["--tenth"] * is_tenth) for name in FIGURES}
    if not is_tenth:
        ends |= {name: run(name) for name in PROOFS}
    print("== summary")
    for name, (code, last) in ends.items():
        print(f"{name}: {f'FAILED ({code}): {last}' if code else 'passed'}")
    return int(any(code for code, _ in ends.values()))


if __name__ == "__main__":
    sys.exit(main())
