"""How the documentation is built; what can be drawn from the code's own tables is."""

import sys
from pathlib import Path
from typing import Any, get_origin

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import drawn

from fireworks_batch import __version__
from fireworks_batch.jobs.wait import Driven

project = "fireworks-batch"
project_copyright = "the authors of fireworks-batch"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_drawn"]
# A field named as a builtin type is (``bytes``) makes each annotation of that type ambiguous.
suppress_warnings = ["ref.python"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"fireworks-batch {__version__}"
html_static_path: list[str] = []
html_show_sphinx = False


def show_public_bases(*arguments: Any) -> None:
    """Leave the bases out that are not public: they are means, and nothing to rely on."""
    bases: list[Any] = arguments[-1]
    bases[:] = [base for base in bases if get_origin(base) is not Driven] or [object]


def setup(app: Sphinx) -> None:
    """Draw before anything is read."""
    app.connect("builder-inited", lambda _: drawn.write(Path(__file__).parent / "_drawn"))
    app.connect("autodoc-process-bases", show_public_bases)
