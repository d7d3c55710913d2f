"""What a user gets from an installation; true of the wheel and of an editable install alike."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import fireworks_batch

DISTRIBUTION = "fireworks-batch"
PROVIDER = "fireworks_batch.airflow.get_provider_info"
ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"


def modules_after(statement: str) -> set[str]:
    """The names in sys.modules of a fresh interpreter that has run only this statement."""
    program = f"{statement}; import json, sys; print(json.dumps(list(sys.modules)))"
    # -I leaves out the working directory: what is imported is what is installed.
    command = [sys.executable, "-I", "-c", program]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(finished.stdout))


def newest_heading() -> str:
    """The first `## [...]` heading of the changelog, without brackets and date."""
    found = re.search(r"^## \[?([^\]\s]+)", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, "the changelog has no heading"
    return found[1]


def test_version_is_that_of_the_metadata():
    """The package and its metadata name one version."""
    assert metadata.version(DISTRIBUTION) == fireworks_batch.__version__


def test_changelog_is_headed_by_this_version():
    """The changelog starts with this version, or with "Unreleased" while it is in the making."""
    version = Version(fireworks_batch.__version__)
    expected = "Unreleased" if version.is_devrelease else str(version)

    assert newest_heading() == expected


def test_package_says_that_it_is_typed():
    """Type checkers use the annotations, because py.typed is installed."""
    assert resources.files(fireworks_batch).joinpath("py.typed").is_file()


def test_lowest_python_is_3_11():
    """An installer refuses Pythons older than 3.11, and no newer one."""
    assert metadata.metadata(DISTRIBUTION)["Requires-Python"] == ">=3.11"


def test_licence_is_apache_2():
    """The metadata name the licence by its SPDX expression, and its text comes along."""
    facts = metadata.metadata(DISTRIBUTION)

    assert facts["License-Expression"] == "Apache-2.0"
    assert facts.get_all("License-File") == ["LICENSE"]


def test_requirements_have_lower_bounds_only():
    """A user is never kept from a newer release of what we depend on."""
    requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]

    assert requirements
    assert {bound.operator for line in requirements for bound in line.specifier} == {">="}


def test_every_requirement_has_a_lower_bound():
    """Each dependency names the oldest release that is tested."""
    requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]

    assert [line.name for line in requirements if not line.specifier] == []


def test_pages_at_the_top_are_in_the_source_distribution():
    """README comes by itself; each other page is named, and copied for the tests of the wheel."""
    pages = {path.name for path in ROOT.glob("*.md")} - {"README.md"}
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} == pages
    assert {f"/{page}" for page in pages} <= {*included}


def test_the_aiohttp_that_is_advised_can_be_installed():
    """The page on security names a release that our own bound allows."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    advised = re.search(r"aiohttp>=([\d.]+)", page)
    (bound,) = (
        line.specifier
        for line in map(Requirement, metadata.requires(DISTRIBUTION) or ())
        if line.name == "aiohttp"
    )

    assert advised
    assert bound.contains(advised[1])
    assert f"aiohttp {advised[1]} or newer" in page


def test_import_leaves_out_what_only_some_need():
    """The client needs neither the emulator, nor the command line, nor a test tool."""
    left_out = {"fireworks_batch.emulator", "fireworks_batch.cli", "typer", "rich", "pytest"}

    modules = modules_after("from fireworks_batch import BatchClient")

    assert "fireworks_batch.client" in modules
    assert modules & left_out == set()


def test_import_of_the_package_imports_nothing_else_of_it():
    """Each public name is imported when it is first used, and aiohttp and attrs with it."""
    modules = modules_after("import fireworks_batch")

    assert [name for name in modules if name.startswith("fireworks_batch")] == ["fireworks_batch"]
    assert modules & {"aiohttp", "attr", "attrs", "asyncio"} == set()


def test_airflow_learns_of_the_provider_without_importing_anything():
    """Each component of Airflow asks all providers: the answer imports no Airflow, no client."""
    (found,) = metadata.entry_points(group="apache_airflow_provider", module=PROVIDER)
    info = found.load()()
    modules = modules_after(f"from {PROVIDER} import get_provider_info; get_provider_info()")

    assert info["package-name"] == DISTRIBUTION
    assert not {"airflow", "aiohttp", "fireworks_batch.client"} & modules


def test_modules_that_the_provider_names_are_there():
    """What Airflow imports by name is installed: hooks, operators, sensors, triggers, links."""
    (found,) = metadata.entry_points(group="apache_airflow_provider", module=PROVIDER)
    info = found.load()()
    parts = [part for kind in ("hooks", "operators", "sensors", "triggers") for part in info[kind]]
    names = [name for part in parts for name in part["python-modules"]]
    classes = [*info["extra-links"], info["connection-types"][0]["hook-class-name"]]
    names += [name.rpartition(".")[0] for name in classes]

    assert len(names) == 6
    for name in names:
        assert find_spec(name), name
