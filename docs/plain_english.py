"""Print figures about the English of README, pages, docstrings and help texts.

They are there to be looked at, and fail nothing: a long sentence may be plain, and a short one a
riddle.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import fireworks_batch

ROOT = Path(__file__).parents[1]
PACKAGE = Path(fireworks_batch.__file__).parent
LONGEST = 10  # of each source, as many are printed

# What makes a reader search for the noun, or read from the end.
RIDDLES = {
    "somebody, whoever, nobody": r"(?:some|any|every|no)(?:body|one)|no one|whoever",
    "whatever, whichever": r"whatever|whichever",
    "as much less, so many": r"as (?:much|many|far)(?: (?:less|more|later|faster)|[.,;])"
    r"|so (?:many|long|much)",
    "what is left, the rest": r"(?:what|which|that) (?:is|are|was|were) left|the rest",
    "of those that": r"of (?:those|which|whom)",
    "those that, those of": r"those (?:that|which|who|whose|of|in|when|where|it|to|for)",
    "that which, that of": r"that (?:which|of)",
    "the one that, one that": r"(?:the )?ones? (?:that|which|who|whose|of its|in which)",
    "is none, is no": r"(?<!here )(?:is|are|was) (?:none|no(?! longer))\b",
    "nor does, so is": r"nor (?:does|do|is|are|can|has|have)|(?<=, )so (?:does|do|is|are)",
    "all but, nothing but": r"(?:all|nothing|none|each|every) but",
    "of its own": r"of (?:its|their|your|our|his) own|of (?:yours|ours)",
    "What as the subject": r"^What\b(?=[^?]*\.$)",
    "two semicolons": r".*;.*;",
}
PATTERNS = {name: re.compile(rf"(?:^|\b)(?:{riddle})") for name, riddle in RIDDLES.items()}

# The lines at which a paragraph ends: an item, a row of a table, a heading, an argument, nothing.
BEGINS = re.compile(r"[-*] |\d+\. |[|#]|\*?\w+(?:, \w+)*: |$")


class Passage(NamedTuple):
    """A paragraph, a list item, a cell of a table or a help text, on one line."""

    source: str
    place: str
    text: str


def passages() -> Iterator[Passage]:
    """Yield each passage of README, pages, docstrings and help texts, without its code."""
    yield from _pages("README", [ROOT / "README.md"])
    yield from _pages("docs", sorted((ROOT / "docs").glob("*.md")))
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE.parent))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Expr | ast.keyword):
                found = node.value
                if not (isinstance(found, ast.Constant) and isinstance(found.value, str)):
                    continue
                if isinstance(node, ast.Expr):
                    for line, text in _paragraphs(found.value.splitlines(), found.lineno):
                        yield Passage("docstrings", f"{name}:{line}", text)
                elif node.arg == "help":
                    yield Passage("help", f"{name}:{found.lineno}", " ".join(found.value.split()))


def _pages(source: str, paths: list[Path]) -> Iterator[Passage]:
    for path in paths:
        for line, text in _paragraphs(path.read_text(encoding="utf-8").splitlines(), 1):
            yield Passage(source, f"{path.relative_to(ROOT)}:{line}", text)


def _paragraphs(lines: list[str], first: int) -> Iterator[tuple[int, str]]:
    """Yield each paragraph and the number of its first line; an item or argument begins one."""
    block: list[str] = []
    for number, line in enumerate([*_prose(lines), ""], first):
        if block and BEGINS.match(line):
            text = " ".join(block)
            for cell in text.strip("|").split(" | ") if text.startswith("|") else [text]:
                if cell.strip(" |:-"):
                    yield number - len(block), _plain(cell)
            block = []
        if line:
            block.append(line)


def _prose(lines: list[str]) -> Iterator[str]:
    """Yield each line, or an empty one in place of code, a drawing, a picture or a directive."""
    in_code = False
    for line in map(str.strip, lines):
        is_fence = line.startswith(("```", ":::"))
        in_code ^= is_fence
        hidden = in_code or is_fence or line.startswith((">>>", "...", ":", "!", "├", "│", "└"))
        yield "" if hidden else line


def _plain(text: str) -> str:
    """Return the text without marks, with `code` in place of code."""
    text = re.sub(r"{term}`([^`<]+?)(?: <[^>]*>)?`", r"\1", text)
    text = re.sub(r"`+[^`]+`+", "code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"^(?:[-*#]+|\d+\.) |\*\*", "", text).replace("*", "").strip()


def sentences(text: str) -> list[str]:
    """Return the sentences of a passage."""
    return [each for each in re.split(r"(?<=[.?!])\)? +(?=[A-Z(\d]|code)", text) if each]


def main() -> None:
    """Print lengths and riddles, source by source."""
    lengths: dict[str, list[tuple[int, str, str]]] = {}
    riddles: dict[str, list[tuple[str, str]]] = {name: [] for name in PATTERNS}
    for source, place, text in passages():
        for sentence in sentences(text):
            lengths.setdefault(source, []).append((len(sentence.split()), place, sentence))
            for name, pattern in PATTERNS.items():
                riddles[name] += [(source, place)] * len(pattern.findall(sentence))
    print_lengths(lengths)
    print_riddles(riddles, [*lengths])


def print_lengths(lengths: dict[str, list[tuple[int, str, str]]]) -> None:
    """Print how long the sentences are, and the longest."""
    print(f"{'words in a sentence':26} sentences median   90 % longest")
    for source, found in lengths.items():
        words = [count for count, _, _ in found]
        tenth = quantiles(words, n=10)[-1]
        print(f"{source:26} {len(words):9} {median(words):6.0f} {tenth:6.0f} {max(words):7}")
    for source, found in lengths.items():
        print(f"\nThe longest sentences of: {source}")
        for count, place, sentence in sorted(found, reverse=True)[:LONGEST]:
            print(f"{count:4} {place}: {sentence[:90]}")


def print_riddles(riddles: dict[str, list[tuple[str, str]]], sources: list[str]) -> None:
    """Print how many riddles of each kind there are, and where."""
    print(f"\n{'riddles':26} " + " ".join(f"{source:>10}" for source in sources))
    everything = {"all": [each for found in riddles.values() for each in found]}
    for name, found in (riddles | everything).items():
        counts = Counter(source for source, _ in found)
        print(f"{name:26} " + " ".join(f"{counts[source]:10}" for source in sources))
    for name, found in riddles.items():
        print(f"\nWhere: {name}")
        for place, count in Counter(place for _, place in found).items():
            print(f"  {place}" + (f" ({count})" if count > 1 else ""))


if __name__ == "__main__":
    main()
