"""Reads the tables that a notebook shows."""

from html.parser import HTMLParser

SEEN = {"table", "caption", "thead", "tbody", "tr", "th", "td"}


class Tables(HTMLParser):
    """Reads tables: their captions, and the texts of their rows."""

    def __init__(self):
        super().__init__()
        self.tags = set()
        self.captions = []
        self.rows = []
        self.open = []

    def handle_starttag(self, tag, _attrs):
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif tag == "caption":
            self.captions.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["caption"]:
            self.captions[-1] += data
        elif self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data
        else:
            assert data.isspace()

    @property
    def facts(self):
        """The names and values of rows of two cells."""
        return {row[0]: row[1] for row in self.rows if len(row) == 2}


def tables(html: str) -> Tables:
    """Read a text of HTML, which is nothing but tables, each tag closed."""
    reader = Tables()
    reader.feed(html)
    reader.close()
    assert not reader.open
    assert reader.tags <= SEEN
    return reader


def shown(value) -> Tables:
    """What a notebook shows of a value."""
    return tables(value._repr_html_())
