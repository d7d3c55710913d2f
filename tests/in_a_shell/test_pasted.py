"""README and tutorial, pasted into a shell block by block, from the first to the last.

Nothing is installed but the wheel that the variable WHEEL names: the line that installs from a
clone installs that wheel. This needs a package index, so `make paste` runs it, and not `make test`.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As it was before the tests took proxies and home away: pip needs both.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not re.match("FIREWORKS_|PYTHON|VIRTUAL_ENV|WHEEL", name)
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "-- the block has ended --\n"


@contextmanager
def shell(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a bash that ends at the first command that fails, and end all that it has started."""
    python = Path(sys.base_prefix) / "bin"  # `python3` is of the version that runs the tests
    process = subprocess.Popen(
        ["/usr/bin/env", "bash", "-e"],
        cwd=directory,
        env={**ENVIRONMENT, "PATH": f"{python}:{ENVIRONMENT['PATH']}", "TMPDIR": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        with process:
            yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def paste(process: "subprocess.Popen[str]", block: str) -> str:
    """Let the shell run a block to its end, and return what it shows."""
    process.stdin.write(f"{block}echo '{MARK.strip()}'\n")
    process.stdin.flush()
    shown = []
    for line in process.stdout:
        if line == MARK:
            return "".join(shown)
        shown.append(line)
    pytest.fail(f"{block}\nfailed:\n{''.join(shown)}")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Give a directory to install in, which the pages share: an installation takes long."""
    return tmp_path_factory.mktemp("clone")


@pytest.fixture
def directory(clone):
    """Give that directory, without what another page has left beside the installation."""
    for path in clone.glob("try/*"):
        if not path.is_dir() and path.name != "pyvenv.cfg":
            path.unlink()
    return clone


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_a_page_can_be_pasted_from_its_first_block_to_its_last(directory, page):
    """No command fails, none waits for a reader, and nothing is left running."""
    wheel = Path(os.environ["WHEEL"]).resolve(strict=True)
    text = (ROOT / page).read_text(encoding="utf-8")
    shown, installed = "", False
    with shell(directory) as process:
        paste(process, "trap 'kill $(jobs -p)' ERR\n")  # or its stdout would not end
        for fence in FENCE.finditer(text):
            language, block = fence.groups()
            above = text[: fence.start()].rstrip().rpartition("\n\n")[2]
            if language == "sh":
                installed |= "'.[cli]'" in block
                shown = paste(process, block.replace("'.[cli]'", f"'{wheel}[cli]'"))
            elif language == "text":
                expected = block.splitlines() if above.endswith("prints:") else []
                assert {*expected} <= {*shown.splitlines()}
            else:
                name = re.search(r"[Ss]ave .* as `([\w.]+)`:$", above)
                assert name, f"nothing says what a reader does with this:\n{block}"
                paste(process, f"cat > {name[1]} <<'END'\n{block}END\n")
        place = paste(
            process, "python -c 'import fireworks_batch; print(fireworks_batch.__file__)'\n"
        )
        paste(process, "wait\n")  # for what has been killed
        process.stdin.close()
        left = process.stdout.read()  # ends when no process has the shell's stdout any more
    assert installed
    assert place.startswith(str(directory))
    assert left == ""
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
