"""The words of code and documents: what a native engineer would write, in one vocabulary."""

import ast
import builtins
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLACES = ("README.md", "pyproject.toml", ".ci", ".github", "jobs", "samples", "batch")

SUFFIXES = (
    ".py", ".md", ".js", ".jinja", ".css", ".yaml", ".yml", ".toml", ".ipynb", ".service", ".timer", "",
)  # fmt: skip
"""No .sql: the text of a table's statement, its comments included, is in people's ledgers."""

WORDS = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\banew\b": "again",
    r"\b(tell|tells|told)\b": "report, say, show, return; name the value for what it is",
    r"\bstands?\b(?!-in\b)(?! for\b)(?! (?:side by side|alone))": "is",
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b|one\b|such\b|less\b)[a-z]": "is not a (valid) …",
    r"\bwhoever\b|(?m:^|[.:] )(?:Who|What) (?!if\b|is\b|are\b|it\b|a\b|an\b|the\b|to\b)\w+s\b": "a noun as the subject",
    r"\balso (?:while|when)\b": "even while",
    r"(?i)pictures?(?!sque)": "image",
    r"\bnought\b": "zero",
    r"\bsaid yes\b|\bword on\b|\bperson's word\b": "confirmed",
    r"\bdoes as well\b|\ball the same\b": "works too; anyway",
    r"\bfor who(?:m)? knows?\b": "if you know",
    r"\bcarried out\b|\bcarry all\b": "run, process",
}
"""What is not written any more, as a regular expression, and what to write instead."""

KEPT = re.compile(
    r"unusable_picture|run_pictures_per_minute|\bpictures\b(?= VALUES| \(|\.sha256|\.url| SET| WHERE|;)|ANEW"  # values and tables in people's folders
)


LINE_END = "\n"


def files(place):
    path = ROOT / place
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if found.suffix in SUFFIXES and found.is_file())


@pytest.mark.parametrize("place", PLACES)
def test_words_are_those_of_the_house(place):
    texts = {path.relative_to(ROOT): KEPT.sub("", path.read_text(encoding="utf-8")) for path in files(place)}
    found = [
        f"{path}:{text.count(LINE_END, 0, match.start()) + 1}: {match[0]!r}: write {better}"
        for path, text in texts.items()
        for pattern, better in WORDS.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []


def test_every_place_exists():
    assert [place for place in PLACES if not files(place)] == []


@pytest.mark.parametrize(
    "line",
    [
        "Mend it, then run again.", "It is written anew.", "what a log tells", "how a folder stands", "'x' is no time.",
        "Whoever waits here", "also while a run is going on", "a picture of it",
    ],
)  # fmt: skip
def test_the_list_finds_what_it_is_for(line):
    assert any(re.search(pattern, line, re.IGNORECASE) for pattern in WORDS)


@pytest.mark.parametrize(
    "line",
    [
        "There is no limit.", "It is no longer there.", "unusable_picture", "USD stands for dollars", "None is no more",
        "What it owns: one table.", "What is sent",
    ],
)  # fmt: skip
def test_the_list_leaves_good_english_alone(line):
    line = KEPT.sub("", line)
    assert [pattern for pattern in WORDS if re.search(pattern, line)] == []


def test_a_docstring_names_errors_that_exist():
    """`Raises X` and `raises X`: X is a name that the code of the package uses, or a built-in one."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "batch").rglob("*.py"))}
    known = set(dir(builtins)) | {
        getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
        for text in texts.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name | ast.Attribute | ast.ClassDef | ast.alias)
    }
    unknown = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, text in texts.items()
        for sentence in re.findall(r"\b[Rr]aises? ([^.;\"]+)", text)
        for name in re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", sentence)
        if name not in known
    ]
    assert unknown == []
