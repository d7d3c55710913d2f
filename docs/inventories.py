"""Inventories of other projects' documentation, made of `inventories.toml`: nothing is fetched."""

import tomllib
import zlib
from pathlib import Path


def write(source: Path, directory: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory for each project; return the mapping that intersphinx takes.

    Args:
        source: For each project its address, and the page of each name that is linked to.
        directory: Where the inventories go.
    """
    directory.mkdir(exist_ok=True)
    mapping = {}
    for project, its in tomllib.loads(source.read_text(encoding="utf-8")).items():
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# zlib\n"
        lines = [
            f"{name} py:class 1 {place if '#' in place else place + '#$'} -\n"
            for name, place in its["names"].items()
        ]
        path = directory / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
        mapping[project] = (its["address"], str(path))
    return mapping
