"""The built pages: nothing public is missing, nothing is shown wrongly, and a search finds it.

`make docs` builds the pages and runs these tests.
"""

import ast
import html
import inspect
import json
import re
import zlib
from collections.abc import Coroutine
from functools import cache
from pathlib import Path

import attrs
import pytest
import typer
from sphinx.search.en import SearchEnglish

import fireworks_batch
from fireworks_batch import JobPhase, RunStage, emulator, pytest_plugin, typing
from fireworks_batch.cli.app import app
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.emulator import Assumptions, Emulator
from fireworks_batch.emulator.command import _parser as emulator_parser
from fireworks_batch.emulator.http.faults import ACTIONS
from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.states import OpenEnum

PACKAGE = Path(fireworks_batch.__file__).parent
BUILT = Path(__file__).parents[2] / "docs" / "_build" / "html"
MODULES = {
    "fireworks_batch": fireworks_batch,
    "fireworks_batch.typing": typing,
    "fireworks_batch.emulator": emulator,
    "fireworks_batch.pytest_plugin": pytest_plugin,
}
NAMES = sorted(
    f"{module}.{name}"
    for module, its in MODULES.items()
    for name in its.__all__
    if name != "__version__"
)


def public(name):
    """Return what a name of `NAMES` stands for."""
    module, _, last = name.rpartition(".")
    return getattr(MODULES[module], last)


CLASSES = [name for name in NAMES if isinstance(public(name), type)]
ENUMERATIONS = [
    name for name in CLASSES if issubclass(public(name), OpenEnum | JobPhase | RunStage)
]


@cache
def documented():
    """Return the names that the reference describes, by the inventory of the built pages."""
    body = (BUILT / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split()[0] for line in zlib.decompress(body).decode().splitlines()}


@cache
def page(name):
    """Return the content of a built page as HTML."""
    text = (BUILT / f"{name}.html").read_text(encoding="utf-8")
    return text[text.index('<article role="main"') : text.index("</article>")]


def text_of(name):
    """Return the text of a built page."""
    return text_in(page(name))


def text_in(markup):
    """Return the text of a piece of HTML; what a block ends with touches nothing."""
    blocks = re.sub(r"</(?:dt|dd|p|td|th|li|pre|h\d)>", "\n", markup)
    return html.unescape(re.sub(r"<[^>]+>", "", blocks))


REFERENCE = [
    "reference-client",
    "reference-waiting",
    "reference-runs",
    "reference-models",
    "reference-errors",
    "reference-emulator",
]


# --- Nothing public is missing ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_in_the_reference(name):
    """A name can be looked up under the module that it is imported from."""
    assert name in documented()


def members_of(cls):
    """Return the public names that a class or a private base of it defines, and its fields."""
    homes = [base for base in cls.__mro__ if base.__module__.startswith("fireworks_batch")]
    mine = {base for name in CLASSES if (base := public(name)) is not cls}
    found = {field.name for field in attrs.fields(cls)} if attrs.has(cls) else set()
    for home in homes:
        if home not in mine:
            found |= {*vars(home), *inspect.get_annotations(home), *attributes_set_by(home)}
    return sorted(name for name in found if not name.startswith("_"))


def attributes_set_by(cls):
    """Return the attributes that the constructor of a class sets and annotates."""
    if "__init__" not in vars(cls) or not issubclass(cls, Exception):
        return set()
    tree = ast.parse(inspect.getsource(inspect.getmodule(cls)))
    (its,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__]
    return {
        node.target.attr
        for node in ast.walk(its)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute)
    }


# What an object has because it is a coroutine is of use to an event loop alone.
MEMBERS = [
    f"{name}.{member}"
    for name in CLASSES
    for member in members_of(public(name))
    if not hasattr(Coroutine, member) or member in vars(public(name))
]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_of_a_public_class_is_in_the_reference(name):
    """Methods, properties, fields and attributes of errors, and members of enumerations."""
    assert name in documented()


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_an_enumeration_has_its_members_in_the_reference(name):
    """A reader sees each value that the server may send."""
    assert {f"{name}.{member}" for member in public(name).__members__} <= documented()


def described(name):
    """Return the text of the entry of a name in the page about the emulator."""
    found = page("reference-emulator")
    start = found.index(f'id="{name}"')
    rest = found[start:]
    stop = re.search(r'<dt class="sig sig-object py" id="', rest)
    return text_in(rest[: stop.start()] if stop else rest)


def test_each_fault_action_is_in_the_reference():
    """The method that sets up a fault says what each action does."""
    found = described("fireworks_batch.emulator.Emulator.add_fault").partition("Parameters")[2]
    says = re.split(r"\nmethod \W", found)[0]

    for action in ACTIONS:
        assert re.search(rf"\b{action}\b", says), action


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Assumptions)])
def test_each_position_of_a_switch_is_in_the_reference(name):
    """The first position is the default, as the page says."""
    positions = Assumptions.__annotations__[name].__args__
    found = described(f"fireworks_batch.emulator.Assumptions.{name}")

    assert f"Literal[{', '.join(map(repr, positions))}]" in found
    assert getattr(Assumptions(), name) == positions[0]


UNKNOWN = {"?": 0}


@pytest.mark.parametrize("method", ["script_job", "script_jobs"])
@pytest.mark.parametrize("given", [{"phases": [UNKNOWN]}, {"output": UNKNOWN}, {"status": UNKNOWN}])
async def test_each_member_of_a_script_is_in_the_reference(method, given):
    """The emulator names the members that it knows, when it is given another one."""
    async with Emulator() as running:
        with pytest.raises(ValueError, match="known: ") as refusal:
            getattr(running, method)("job", **given)

    found = described(f"fireworks_batch.emulator.Emulator.{method}")
    known = str(refusal.value).partition("known: ")[2].split(", ")
    assert [member for member in known if not re.search(rf"\b{member}\b", found)] == []


# --- The command line ---------------------------------------------------------------------------


def commands_of(group, before=""):
    """Return the commands of a group and of its groups, by their whole names."""
    found = {}
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            found |= commands_of(one, f"{before}{name} ")
        else:
            found[f"{before}{name}"] = one
    return found


PROGRAM = typer.main.get_command(app)
COMMANDS = commands_of(PROGRAM)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_are_in_the_reference(name):
    """The section of a command, or that of all commands, has each spelling of its options."""
    sections = re.split(r"<h2>", page("reference-options"))[1:]
    (own,) = [one for one in map(text_in, sections) if re.match(rf"{name}( [A-Z]|¶)", one)]
    shown = text_in(sections[0]) + own

    params = [*PROGRAM.params, *COMMANDS[name].params]
    options = {text for param in params for text in param.opts if text.startswith("-")}
    if name == "emulator":
        options |= set(emulator_parser("emulator")._option_string_actions)
    assert [text for text in options if not re.search(rf"(?<![\w-]){text}(?![\w-])", shown)] == []


def variables():
    """Return the variables of the environment that the code reads by their names."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(ast.Attribute(owner, "get"), [ast.Constant(str(name)), *_]):
                    if ast.unparse(owner).endswith("environ"):
                        found.add(name)
                case ast.keyword("envvar", ast.Constant(str(name))):
                    found.add(name)
    return sorted(found)


@pytest.mark.parametrize("name", variables())
def test_a_variable_of_the_environment_is_in_the_reference(name):
    """Or on the page on the command line."""
    pages = ["reference", "reference-options", "command-line"]

    assert any(re.search(rf"\b{name}\b", text_of(one)) for one in pages)


def test_each_exit_code_is_on_the_page_on_the_command_line():
    """A script can look a code up."""
    rows = re.findall(r"<tr[^>]*><td><p>(\d+)</p></td>", page("command-line"))

    assert [*map(int, rows)] == [*map(int, ExitCode)]


def errors_below(cls):
    """Return the names of an error and of all errors below it."""
    return [cls.__name__, *(name for one in cls.__subclasses__() for name in errors_below(one))]


@pytest.mark.parametrize("name", sorted(set(errors_below(FireworksBatchError))))
def test_an_error_has_a_row_on_the_page_of_errors(name):
    """The page says what the error means and what to do."""
    assert re.search(rf"<(td|p)>.*?{name}\b", page("errors"))


# --- Nothing is shown wrongly -------------------------------------------------------------------


def test_no_text_is_rendered_as_a_type():
    """A docstring "A: B" is a text with a colon: types stand in the signatures alone."""
    fields = re.findall(r"<dt[^>]*>([^<]*)<span class=\"colon\">", "".join(map(page, REFERENCE)))

    assert {*fields} == {"Parameters", "Returns", "Raises"}


@pytest.mark.parametrize("name", REFERENCE)
def test_signatures_are_readable(name):
    """They show no object of the interpreter, no private name, and nothing that attrs has made."""
    found = re.findall(r'<dt class="sig.*?</dt>', page(name), re.DOTALL)
    shown = text_in("\n".join(found))

    assert found
    assert re.findall(r"<\w.*?>|~\w+|Annotated|NOTHING|_Unset|__init__|__new__|= _\w+", shown) == []
    assert "Method generated by attrs" not in text_of(name)
    assert "Represent a PEP 604 union type" not in text_of(name)


ALIASES = [name for name in typing.__all__ if f"fireworks_batch.typing.{name}" not in CLASSES]


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_is_shown_by_its_name(name):
    """Its expansion stands in one place, its own entry."""
    expansion = next(line for line in drawn_aliases() if f"py:type:: {name}\n" in line)
    written = re.search(r":canonical: (.*)", expansion)[1]
    shown = " ".join(text_of("reference-client").split())
    found = re.search(rf"type fireworks_batch\.typing\.{name} = ([^#]*)", shown)

    assert re.sub(r"\s", "", found[1]).startswith(re.sub(r"\s", "", written))
    assert re.search(rf": {name}\b", "".join(map(text_of, REFERENCE)))


def drawn_aliases():
    """Return the entries of the aliases, as drawn from the code."""
    text = (BUILT.parents[1] / "_drawn" / "aliases.rst").read_text(encoding="utf-8")
    return re.split(r"(?=\.\. py:type)", text)


HANDLES = [
    name
    for name in CLASSES
    if name.startswith("fireworks_batch.typing.") or issubclass(public(name), FireworksBatchError)
]


@pytest.mark.parametrize("name", HANDLES)
def test_what_callers_only_receive_shows_no_constructor(name):
    """There is nothing to call."""
    found = next(text for text in map(page, REFERENCE) if f'id="{name}"' in text)
    signature = found[found.index(f'id="{name}"') :].partition("</dt>")[0]

    assert "sig-paren" not in signature


# --- What else is there -------------------------------------------------------------------------


def test_the_changelog_is_a_page():
    """It is that of the repository."""
    assert "Keep a Changelog" in text_of("changelog")


def test_llms_txt_names_each_page():
    """Each with an address that is there, and a sentence about it."""
    lines = (BUILT / "llms.txt").read_text(encoding="utf-8").splitlines()
    links = dict(re.findall(r"^- \[[^\]]+\]\(([^)]+)\): (.+)$", "\n".join(lines), re.MULTILINE))
    named = {re.split(r"\.(?:html|md)", address)[0].removeprefix("_sources/") for address in links}

    assert lines[0] == "# fireworks-batch"
    sources = BUILT.parents[1]
    pages = [*sources.glob("*.md"), *sources.glob("integrations/*.md")]
    assert named == {str(page.relative_to(sources).with_suffix("")) for page in pages} - {"index"}
    assert all((BUILT / address).is_file() for address in links)


def test_a_block_can_be_copied_without_its_prompts():
    """The copy button leaves the dollar out."""
    assert "copybutton.js" in (BUILT / "tutorial.html").read_text(encoding="utf-8")
    script = (BUILT / "_static" / "copybutton.js").read_text(encoding="utf-8")
    pattern = ast.literal_eval(re.findall(r"formatCopyText\(text, ('.*?'), true", script)[0])
    lines = ["$ ls", ">>> 1", "... 2", "ls"]

    assert [re.sub(f"^({pattern})", "", line) for line in lines] == ["ls", "1", "2", "ls"]


def test_names_of_other_projects_are_links():
    """Their addresses are known here: the build fetches nothing."""
    found = page("reference-client")

    assert 'href="https://docs.python.org/3/library/ssl.html#ssl.SSLContext"' in found
    assert "https://docs.aiohttp.org/en/stable/client_reference.html#aiohttp.ClientSession" in found


# --- The search -----------------------------------------------------------------------------------

# What a stranger looks for, and a page that is about it.
SEARCHES = {
    "backoff": "how-waiting-works",
    "cancel": "wait-for-one-job",
    "checkpoint": "submit-once",
    "concurrency": "reference-client",
    "idempotent": "submit-once",
    "quota": "errors",
    "rate limit": "how-waiting-works",
    "resume": "submit-once",
    "retry": "how-waiting-works",
}


@cache
def index():
    """Return the index that the search of the pages reads."""
    text = (BUILT / "searchindex.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))


def found_by(word):
    """Return the pages that a search for a word finds, as the script of the pages does."""
    stem = SearchEnglish({}).stem(word)
    found = [index()[kind].get(stem, []) for kind in ("terms", "titleterms")]
    numbers = {n for one in found for n in ([one] if isinstance(one, int) else one)}
    return {index()["docnames"][number] for number in numbers}


@pytest.mark.parametrize(("words", "about"), SEARCHES.items())
def test_a_search_finds_the_page_that_is_about_it(words, about):
    """All words are on the page."""
    assert about in set.intersection(*map(found_by, words.split()))
