"""How the documentation is built; what can be drawn from the code's own tables is."""

import re
import sys
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.typing import stringify_annotation

DOCS = Path(__file__).parent
DRAWN = DOCS / "_drawn"
sys.path.insert(0, str(DOCS))

import drawn
import inventories
import llms
import measured

import fireworks_batch
from fireworks_batch import __version__, emulator, pytest_plugin, typing
from fireworks_batch.jobs.wait import Driven

project = "fireworks-batch"
project_copyright = "the authors of fireworks-batch"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_drawn"]
# A field named as a builtin type is (``bytes``) makes each annotation of that type ambiguous.
suppress_warnings = ["ref.python"]

# What stands in single backticks in a docstring is code, and a link if it is a name of ours.
default_role = "py:obj"
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_type_aliases = {name: f"~fireworks_batch.typing.{name}" for name in drawn.ALIASES}

# The inventories are made of a file here, so that nothing is fetched.
intersphinx_mapping = inventories.write(DOCS / "inventories.toml", DRAWN)

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"fireworks-batch {__version__}"
html_static_path: list[str] = []
html_show_sphinx = False

# --- Docstrings -----------------------------------------------------------------------------------


class Docstring(GoogleDocstring):
    """A docstring in Google's style, whose types stand in the signatures alone.

    The style has "type: text" for an attribute and for what is returned. Here a colon is a colon.
    """

    def _consume_returns_section(self, *_: Any) -> list[tuple[str, str, list[str]]]:
        return [("", "", self._dedent(self._consume_to_next_section()))]


def read_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make fields of the sections of a docstring."""
    what = "method" if what in {"attribute", "data", "property"} else what
    style = Config(napoleon_google_docstring=True, napoleon_numpy_docstring=False)
    lines[:] = Docstring(lines, style, app, what, name, obj, options).lines()


# --- Signatures -----------------------------------------------------------------------------------

# What callers make themselves. All other objects they receive, and the signature is of no use.
MADE_BY_CALLERS = {
    fireworks_batch.BatchClient,
    fireworks_batch.InferenceParameters,
    fireworks_batch.JobRef,
    fireworks_batch.Limits,
    fireworks_batch.Placement,
    fireworks_batch.PollPolicy,
    fireworks_batch.RetryPolicy,
    emulator.Emulator,
    emulator.Phase,
    emulator.RowFailureError,
}

# What autodoc makes of each alias, and the name to show instead.
ALIASES = {
    stringify_annotation(getattr(typing, name), "smart"): f"~fireworks_batch.typing.{name}"
    for name in drawn.ALIASES
}
FIXTURES = {f"fireworks_batch.pytest_plugin.{name}" for name in pytest_plugin.__all__}


def show_signature(
    _: Sphinx, what: str, name: str, obj: Any, __: Any, args: str | None, result: str | None
) -> tuple[str, str | None] | None:
    """Leave the signature of a class out that callers do not make; show aliases by their names."""
    if args is None:
        return None
    if what in {"class", "exception"} and obj not in MADE_BY_CALLERS:
        return "", None
    if name in FIXTURES:
        return "", None
    for text, alias in ALIASES.items():
        args = args.replace(f": {text}", f": {alias}").replace(f"[{text}]", f"[{alias}]")
    return re.sub(r"<function (\w+)[^>]*>", r"\1", args), result


# How a number of seconds is spelt on the wire is nothing to a reader.
for model in (fireworks_batch.BatchInferenceJob, fireworks_batch.Dataset):
    model.__annotations__ = get_type_hints(model)


def show_public_bases(*arguments: Any) -> None:
    """Leave the bases out that are not public: they are means, and nothing to rely on."""
    bases: list[Any] = arguments[-1]
    bases[:] = [base for base in bases if get_origin(base) is not Driven] or [object]


def find_ours(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Find a name of ours that stands without its module, as docstrings have it."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    for module in ("fireworks_batch", "fireworks_batch.typing", "fireworks_batch.emulator"):
        if (name := f"{module}.{node['reftarget']}") in domain.objects:
            page = node["refdoc"]
            return domain.resolve_xref(env, page, app.builder, "obj", name, node, content)
    return None


def setup(app: Sphinx) -> None:
    """Draw before anything is read."""
    app.connect("builder-inited", lambda _: drawn.write(DRAWN))
    app.connect("builder-inited", lambda _: measured.write(DRAWN))
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("missing-reference", find_ours)
    app.connect("build-finished", llms.write)
