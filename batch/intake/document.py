"""YAML read as written: a tree of texts, lists and mappings, each with its line.

Plain YAML turns `4:5` into 245, `0123` into 83, `no` into False and a date into an object. Here no plain scalar
is resolved at all, save null: a value is the text that was written, and the parameters' own types are applied
later, the same way as for CSV. So we build the tree from PyYAML's events instead of its constructors. That also
bounds the nesting (libyaml's composer recurses until the stack ends), shows keys given twice, and lets an alias
share its anchor's tree instead of copying it (no "billion laughs"). Tags are refused, `<<` merges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from batch.errors import ManifestError
from batch.intake import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batch.intake.findings import Findings

MAX_BYTES = 64 << 20
MAX_DEPTH = 20
_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "map", "seq"))
_MERGE = "<<"
_REMEDIES = {
    "mapping values are not allowed": 'Put text that holds ": " in quotes, and check the indentation.',
    "cannot start any token": "Put text that starts with a special character in quotes; indent with blanks, no tabs.",
    "unexpected end of stream": "Close the quote or the bracket.",
    "did not find expected": "Put text that starts with { or [ in quotes, and check indentation and brackets.",
    "control characters": "Remove it, or save the file as plain UTF-8.",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as written, None for null; `plain` when it stood without quotes."""

    line: int
    text: str | None
    plain: bool


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


Node = Scalar | Items | Fields


def read_document(path: Path, encoding: str | None, findings: Findings) -> Node:
    """Return the one document of a YAML file; note what is wrong with its keys, tags and aliases.

    Raises ManifestError where no tree can be built: not UTF-8, no YAML, empty, or above MAX_BYTES.
    """
    import yaml  # noqa: PLC0415  start-up time

    source = read_source(path, encoding)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(path, yaml.parse(source, Loader=loader), findings)
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
        _refuse_yaml(path, line, f"control characters such as #x{code:02x} are not allowed")


def read_source(path: Path, encoding: str | None) -> str:
    """Return the whole text of a YAML file; raise ManifestError when it cannot be had."""
    text.check_readable(path)
    if path.stat().st_size > MAX_BYTES:
        text.refuse(path, None, f"is larger than {MAX_BYTES >> 20} MiB.", "Use CSV: it is read as a stream.")
    codec = text.codec_of(path, encoding)
    try:
        with text.open_text(path, codec) as file:
            return file.read().removeprefix(text.BOM)
    except UnicodeError:
        raise ManifestError([text.undecodable(path, codec)]) from None


def _refuse_yaml(path: Path, line: int | None, reason: str) -> NoReturn:
    remedy = next(
        (remedy for part, remedy in _REMEDIES.items() if part in reason), "Check this line and the one above."
    )
    text.refuse(path, line, f"is no valid YAML: {reason}.", remedy)


class _Builder:
    """Builds the tree from events; goes on after each problem it can name."""

    def __init__(self, path: Path, events: Iterator[Any], findings: Findings) -> None:
        self._path = path
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._findings = findings

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
        if root is None or (isinstance(root, Scalar) and root.text is None):
            text.refuse(self._path, 1, "the file is empty.", "Give `rows:` or `matrix:`.")
        return root

    def _problem(self, event: Any, reason: str, remedy: str) -> None:
        self._findings.problem(event.start_mark.line + 1, None, reason, remedy)

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        kind = type(event).__name__
        if kind == "AliasEvent":
            known = self._anchors.get(event.anchor)
            if known is None:
                self._problem(
                    event, f"*{event.anchor} refers to nothing above.", f"Define &{event.anchor} first."
                )
                return Scalar(line, None, plain=False)
            return known
        if depth > MAX_DEPTH:
            text.refuse(
                self._path, line, f"is nested deeper than {MAX_DEPTH} levels.", "A manifest needs three."
            )
        if event.tag is not None and event.tag != "!" and event.tag not in _TAGS:
            self._problem(
                event, f"the tag {event.tag} is not understood.", "Remove it: values are read as text."
            )
        node: Node
        if kind == "ScalarEvent":
            plain = event.style is None or event.style == ""
            null = plain and event.tag is None and _NULL.fullmatch(event.value) is not None
            node = Scalar(line, None if null else event.value, plain)
        elif kind == "SequenceStartEvent":
            node = Items(line)
            while type(item := next(self._events)).__name__ != "SequenceEndEvent":
                node.nodes.append(self._node(item, depth + 1))
        else:
            node = self._fields(line, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _fields(self, line: int, depth: int) -> Fields:
        node = Fields(line)
        merged: list[Node] = []
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            name = (key.text or "").strip() if isinstance(key, Scalar) else ""
            if not name:
                self._problem(
                    event, "a key is empty or no text.", "Name the column; put text with {…} in quotes."
                )
            elif name == _MERGE:
                merged.append(value)
            elif name in node.nodes:
                self._problem(
                    event,
                    f"the key {name} is given twice (first on line {node.lines[name]}).",
                    "Remove one of the two.",
                )
            else:
                node.nodes[name] = value
                node.lines[name] = key.line
        for value in merged:
            self._merge(node, value)
        return node

    def _merge(self, node: Fields, value: Node) -> None:
        for source in value.nodes if isinstance(value, Items) else [value]:
            if not isinstance(source, Fields):
                self._findings.problem(
                    source.line, None, "<< merges no mapping.", "Refer to a mapping: <<: *name."
                )
                continue
            for name, inner in source.nodes.items():
                node.nodes.setdefault(name, inner)
                node.lines.setdefault(name, source.lines[name])
