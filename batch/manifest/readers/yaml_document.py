"""YAML read as written: a tree of texts, lists and mappings, each with its line.

Plain YAML turns `4:5` into 245, `0123` into 83, `no` into False and a date into an object. Here no plain scalar
is resolved at all, except null: a value is the text that was written, and the parameters' own types are applied
later, the same way as for CSV. So we build the tree from PyYAML's events instead of its constructors. That also
bounds the nesting (libyaml's composer recurses until the stack ends), shows keys given twice, and lets an alias
share its anchor's tree instead of copying it (no "billion laughs"). Tags are refused, `<<` merges.

In `prompt: Swatch #7 (oak)` the value ends before the #. A warning says so where a letter follows the # at once, since
that was hardly meant as a comment; `key: value  # words` is a comment as people write them. Numbers, choices and quoted
texts are not checked for this. In `prompt: &Sons oak` the name after the & is lost too: a warning, unless something
refers to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from batch.core.csv_format import bad_character
from batch.core.errors import ManifestError
from batch.core.parameters import BY_NAME
from batch.manifest.columns import spelt
from batch.manifest.headings import which_parameter
from batch.manifest.readers.base import BOM, check_readable, codec_of, refuse, undecodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.manifest.problems import ProblemLog

COLUMNS_KEY = "columns"
MAX_BYTES = 64 << 20
MAX_DEPTH = 20
MAX_TEXT = 1 << 20
_CUT = re.compile(r"[ \t]+(#[^\s#][^\r\n]*)")
_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "map", "seq"))
_MERGE = "<<"
_KNOWN = (
    ("nesting depth", f"is nested deeper than {MAX_DEPTH} levels.", "A manifest needs three."),
    ("mapping values are not allowed", 'has a second ": " in one value.',
     'Put text that holds ": " in quotes, and check the indentation.'),
    ("cannot start any token", "has a character that cannot start a value.",
     "Put text that starts with a special character in quotes; indent with blanks, no tabs."),
    ("unexpected end of stream", "has a quote or a bracket that is not closed.", "Close it."),
    ("did not find expected", "does not fit here: a bracket is open, or the indentation is off.",
     "Put text that starts with { or [ in quotes, close each bracket, and check the indentation."),
)  # fmt: skip
"""Part of the parser's words, and ours: the parser's change from version to version, and nobody should depend on them."""


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A value as written, None for null; `plain` when it stood without quotes, `cut` what a # takes from its end."""

    line: int
    text: str | None
    plain: bool
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    nodes: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping; `lines` has the line of each key."""

    line: int
    nodes: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def rename(self, names: Mapping[str, str]) -> None:
        """Give some keys other names, in place."""
        pairs = [(names.get(key, key), node, self.lines[key]) for key, node in self.nodes.items()]
        self.nodes.clear()
        self.lines.clear()
        for key, node, line in pairs:
            self.nodes[key], self.lines[key] = node, line


Node = ScalarNode | Items | Fields


def read_document(path: Path, encoding: str | None, found: ProblemLog) -> Node:
    """Return the one document of a YAML file; note what is wrong with its keys, tags and aliases.

    Raises ManifestError where no tree can be built: not UTF-8, no YAML, empty, or above MAX_BYTES.
    """
    import yaml  # noqa: PLC0415  start-up time

    source = read_source(path, encoding)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(path, source, yaml.parse(source, Loader=loader), found)
    try:
        return builder.document()
    except yaml.MarkedYAMLError as error:
        reason = str(error.problem or error.context)
        at_end = "end of stream" in reason and error.context_mark is not None  # then say where it began
        mark = error.context_mark if at_end else error.problem_mark
        _refuse_yaml(path, mark.line + 1 if mark else None, reason)
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        line = source[: source.find(chr(code))].count("\n") + 1
        reason = f"has the control character #x{code:02x}."
        refuse(path, line, reason, "Remove it, or save the file as plain UTF-8.")


def read_columns(node: Node | None, found: ProblemLog) -> dict[str, str]:
    """Return `columns`, the headings by parameter or `id`, "" where no column is it; what is neither is a problem."""
    if node is None:
        return {}
    if not isinstance(node, Fields):
        remedy = 'Write `columns: {image_1: "Bild 1", id: SKU}`.'
        found.problem(node.line, COLUMNS_KEY, "is not a mapping.", remedy)
        return {}
    columns: dict[str, str] = {}
    for name, value in node.nodes.items():
        line, column = node.lines[name], f"{COLUMNS_KEY}.{name}"
        parameter = spelt(name)
        if not isinstance(value, ScalarNode):
            found.problem(line, column, "is not a heading.", "Write the heading of one column.")
        elif parameter is None:
            found.problem(line, column, "is not a parameter.", which_parameter(name))
        elif parameter in columns:
            found.problem(line, column, "is given twice.", "Remove one of the two.")
        else:
            columns[parameter] = (value.text or "").strip()
    return columns


def read_source(path: Path, encoding: str | None) -> str:
    """Return the whole text of a YAML file; raise ManifestError when it cannot be had."""
    check_readable(path)
    if path.stat().st_size > MAX_BYTES:
        refuse(path, None, f"is larger than {MAX_BYTES >> 20} MiB.", "Use CSV: it is read as a stream.")
    codec = codec_of(path, encoding)
    try:
        with path.open(encoding=codec, newline="") as file:
            source = file.read().removeprefix(BOM)
        source.encode()  # some encodings can write half a character
    except UnicodeError:
        raise ManifestError([undecodable(path, codec)]) from None
    return source


def _refuse_yaml(path: Path, line: int | None, reason: str) -> NoReturn:
    unknown = f"is not valid YAML ({reason}).", "Check this line and the one above."
    ours = next(((said, remedy) for part, said, remedy in _KNOWN if part in reason), unknown)
    refuse(path, line, *ours)


class _Builder:
    """Builds the tree from events; goes on after each problem it can name."""

    def __init__(self, path: Path, source: str, events: Iterator[Any], found: ProblemLog) -> None:
        self._path = path
        self._source = source
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._idle: dict[str, int] = {}
        self._found = found

    def document(self) -> Node:
        """Return the first document; a second one is a problem."""
        root: Node | None = None
        for event in self._events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                if root is not None:
                    self._problem(event, "a second document starts here.", "Keep one document a file.")
                    break
                root = self._node(next(self._events), 0)
        for anchor, line in self._idle.items():
            self._found.warning(
                line, None, f"&{anchor} is not sent: in YAML it names the value, and nothing refers to it.",
                "If it is text, put the value in quotes; if not, remove it.",
            )  # fmt: skip
        if root is None or (isinstance(root, ScalarNode) and root.text is None):
            refuse(self._path, 1, "the file is empty.", "Give `rows:` or `matrix:`.")
        return root

    def _problem(self, event: Any, reason: str, remedy: str) -> None:
        self._found.problem(event.start_mark.line + 1, None, reason, remedy)

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        kind = type(event).__name__
        if kind == "AliasEvent":
            known = self._anchors.get(event.anchor)
            self._idle.pop(event.anchor, None)
            if known is None:
                reason = f"*{event.anchor} refers to nothing above."
                self._problem(event, reason, f"Define &{event.anchor} first.")
                return ScalarNode(line, None, plain=False)
            return known
        if depth > MAX_DEPTH:
            refuse(self._path, line, f"is nested deeper than {MAX_DEPTH} levels.", "A manifest needs three.")
        if event.tag is not None and event.tag != "!" and event.tag not in _TAGS:
            reason = f"the tag {event.tag} is not understood."
            self._problem(event, reason, "Remove it: values are read as text.")
        node: Node
        if kind == "ScalarEvent":
            node = self._scalar(event, line)
        elif kind == "SequenceStartEvent":
            node = Items(line)
            while type(item := next(self._events)).__name__ != "SequenceEndEvent":
                node.nodes.append(self._node(item, depth + 1))
        else:
            node = self._fields(line, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            if isinstance(node, ScalarNode):
                self._idle[event.anchor] = line
        return node

    def _scalar(self, event: Any, line: int) -> ScalarNode:
        plain = event.style is None or event.style == ""
        null = plain and event.tag is None and _NULL.fullmatch(event.value) is not None
        cut = _CUT.match(self._source, event.end_mark.index) if plain else None
        node = ScalarNode(line, None if null else event.value, plain, cut[1] if cut else "")
        if len(event.value) > MAX_TEXT:
            self._problem(event, f"a text is longer than {MAX_TEXT:,} characters.", "Write it shorter.")
        return node

    def _fields(self, line: int, depth: int) -> Fields:
        node = Fields(line)
        merged: list[Node] = []
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(event, depth + 1)
            value_event = next(self._events)
            value = self._node(value_event, depth + 1)
            name = (key.text or "").strip() if isinstance(key, ScalarNode) else ""
            if type(value_event).__name__ != "AliasEvent":
                self._check_cut(name, value)
            if issue := bad_character(name):
                self._problem(event, f"the key {name!a} cannot be used: {issue.reason}", issue.remedy)
            elif not name:
                remedy = "Name the column; put text with {…} in quotes."
                self._problem(event, "a key is empty or not text.", remedy)
            elif name == _MERGE:
                merged.append(value)
            elif name in node.nodes:
                reason = f"the key {name} is given twice (first on line {node.lines[name]})."
                self._problem(event, reason, "Remove one of the two.")
            else:
                node.nodes[name] = value
                node.lines[name] = key.line
        for value in merged:
            self._merge(node, value)
        return node

    def _check_cut(self, name: str, value: Node) -> None:
        """Warn where the end of a text was probably taken for a comment."""
        parameter = BY_NAME.get(spelt(name) or name)
        if parameter is not None and (parameter.choices or parameter.kind in {"int", "bool"}):
            return
        for item in value.nodes if isinstance(value, Items) else [value]:
            if isinstance(item, ScalarNode) and item.cut:
                self._found.warning(
                    item.line, name, f"ends before {item.cut!r}: in YAML a # after a blank begins a comment.",
                    "Put the value in quotes; if a comment is meant, write a blank after the #.",
                )  # fmt: skip

    def _merge(self, node: Fields, value: Node) -> None:
        for source in value.nodes if isinstance(value, Items) else [value]:
            if not isinstance(source, Fields):
                remedy = "Refer to a mapping: <<: *name."
                self._found.problem(source.line, None, "<< does not merge a mapping.", remedy)
                continue
            for name, inner in source.nodes.items():
                node.nodes.setdefault(name, inner)
                node.lines.setdefault(name, source.lines[name])
