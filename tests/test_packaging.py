"""What a user gets from an installation; true of the wheel and of an editable install alike."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import fireworks_batch

DISTRIBUTION = "fireworks-batch"
PROVIDER = "fireworks_batch.airflow.get_provider_info"
ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
RELEASE = runpy.run_path(str(ROOT / ".ci" / "release"))
A_RELEASE = {
    "number": "1.2.0",
    "changed": "",
    "changelog": "# Changelog\n\n## [1.2.0] - 2030-01-31\n\n## [1.1.0] - 2029-12-24\n",
    "pyproject": '[project.urls]\nRepository = "https://git.example/owner/name"\n',
}


def modules_after(statement: str) -> set[str]:
    """The names in sys.modules of a fresh interpreter that has run only this statement."""
    program = f"{statement}; import json, sys; print(json.dumps(list(sys.modules)))"
    # -I leaves out the working directory: what is imported is what is installed.
    command = [sys.executable, "-I", "-c", program]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(finished.stdout))


def headings() -> list[str]:
    """The `## [...]` headings of the changelog, without brackets and dates; the newest first."""
    text = CHANGELOG.read_text(encoding="utf-8")
    return re.findall(r"^## \[?([^\]\s]+)", text, re.MULTILINE)


def test_version_is_that_of_the_metadata():
    """The package and its metadata name one version."""
    assert metadata.version(DISTRIBUTION) == fireworks_batch.__version__


def test_changelog_is_headed_by_this_version():
    """It begins with what is not released; this version comes next, unless it is in the making."""
    version = Version(fireworks_batch.__version__)
    newest, *released = headings()

    assert newest == "Unreleased"
    assert version.is_devrelease or released[0] == str(version)


def test_package_says_that_it_is_typed():
    """Type checkers use the annotations, because py.typed is installed."""
    assert resources.files(fireworks_batch).joinpath("py.typed").is_file()


def test_lowest_python_is_3_11():
    """An installer refuses Pythons older than 3.11, and no newer one."""
    assert metadata.metadata(DISTRIBUTION)["Requires-Python"] == ">=3.11"


def test_each_python_that_is_claimed_has_a_leg_of_the_gate():
    """The classifiers name the Pythons for which `.ci/run` tests the wheel."""
    classifiers = metadata.metadata(DISTRIBUTION).get_all("Classifier")
    claimed = [each.split()[-1] for each in classifiers if re.search(r":: 3\.\d+$", each)]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert re.findall(r"^readonly pythons=\((.+)\)$", gate, re.MULTILINE) == [" ".join(claimed)]


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
    """Each is named, and copied for the tests of the wheel."""
    pages = {path.name for path in ROOT.glob("*.md")}
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"} == pages
    assert {f"/{page}" for page in pages} <= {*included}


def test_each_link_of_the_page_on_the_index_is_absolute():
    """The long description is the README, whose links and pictures lead to files of the clone."""
    link = r'(?:\]\(|(?:src|srcset|href)=")([^)"\s]+)'
    readme = re.findall(link, (ROOT / "README.md").read_text(encoding="utf-8"))
    page = re.findall(link, metadata.metadata(DISTRIBUTION).get_payload())

    assert len(page) == len(readme) > 0
    assert [target for target in page if not target.startswith("https://")] == []


def test_addresses_of_the_project_are_those_of_one_repository():
    """The address of the repository is changed by replacing one text."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    repository = tomllib.loads(text)["project"]["urls"]["Repository"]
    addresses = re.findall(r"https://[\w.-]+/[\w.-]+", text)

    assert len(addresses) > 4
    assert [address for address in addresses if not address.startswith(repository)] == []


def test_a_release_is_not_refused():
    """A clean tree, a version, its dated section of the changelog and an address are enough."""
    assert list(RELEASE["refusals"](**A_RELEASE)) == []


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("changed", " M README.md\n", "not committed:\n M README.md"),
        ("number", "1.2.0.dev0", "1.2.0.dev0 is not the version of a release"),
        (
            "changelog",
            "## [Unreleased]\n\n- New.\n\n## [1.2.0] - 2030-01-31\n",
            "begins with '## [Unreleased]'",
        ),
        ("changelog", "## [1.2.0]\n", "not with '## [1.2.0] - YYYY-MM-DD'"),
        ("changelog", "## [1.1.0] - 2029-12-24\n", "not with '## [1.2.0] - YYYY-MM-DD'"),
        ("pyproject", 'Repository = "https://repository.invalid/name"\n', "has no address"),
    ],
)
def test_what_is_no_release_is_refused(member, value, reason):
    """For the one reason that there is; a version in the making has no section either."""
    reasons = list(RELEASE["refusals"](**{**A_RELEASE, member: value}))

    assert reason in reasons[0]
    assert len(reasons) == 1 + (member == "number")


def test_a_version_is_built_with_one_content(tmp_path):
    """The same files may be placed again; another content, or another file, is refused."""
    built, dist = tmp_path / "built", tmp_path / "dist"
    built.mkdir()
    for name in ("fireworks_batch-1.2.0-py3-none-any.whl", "fireworks_batch-1.2.0.tar.gz"):
        (built / name).write_bytes(b"one")
    for _ in range(2):
        placed = RELEASE["place"]("1.2.0", built, dist)
        assert [path.read_bytes() for path in placed] == [b"one", b"one"]

    with pytest.raises(SystemExit, match=r"not \['fireworks_batch-1\.3\.0"):
        RELEASE["place"]("1.3.0", built, dist)
    (built / "fireworks_batch-1.2.0.tar.gz").write_bytes(b"two")
    with pytest.raises(SystemExit, match="a version has one"):
        RELEASE["place"]("1.2.0", built, dist)
    assert {path.read_bytes() for path in dist.iterdir()} == {b"one"}


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
