"""Write `llms.txt`: each page with its address and its first sentence, for programs that read."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx


def write(app: Sphinx, failure: Exception | None) -> None:
    """Write the file into the built pages, in the order of the table of contents."""
    if failure is not None or app.builder.name != "html":
        return
    root, below = app.config.root_doc, app.env.toctree_includes
    lines = [f"# {app.config.project}", "", f"> {_first_sentence(app, root)}", "", "## Pages", ""]
    for page in below[root]:
        lines += [_line(app, one) for one in (page, *below.get(page, ()))]
    Path(app.outdir, "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _line(app: Sphinx, page: str) -> str:
    """Return a link to the Markdown of a page, or to the page if directives write most of it."""
    source = app.env.doc2path(page).read_text(encoding="utf-8")
    is_drawn = "{eval-rst}" in source or "{include}" in source
    address = f"{page}.html" if is_drawn else f"_sources/{page}.md.txt"
    return f"- [{app.env.titles[page].astext()}]({address}): {_first_sentence(app, page)}"


def _first_sentence(app: Sphinx, page: str) -> str:
    """Return the first sentence of a page, but for tables and lists."""
    for paragraph in app.env.get_doctree(page).findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            text = " ".join(paragraph.astext().split())
            return re.split(r"(?<=[.?!])\s", text, maxsplit=1)[0]
    return ""
