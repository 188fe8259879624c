"""YAML manifests: `defaults`, `rows` and `matrix`, read whole, at most MAX_ROWS rows.

Rule 1: the structure is checked when the file is opened, all of it at once: unknown and misspelt keys, values that
are not scalars, an axis that yields nothing. Rule 2: a row has what was written in it, as text; defaults are kept
separately, since the command line comes between the two. Rule 3: row numbers count the rows and then the
matrix, and their messages add the line; problems of structure have the line instead of the number. Rule 4: a key names one
column, however it is spelt and wherever it is; `columns` says which keys are which parameters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batch.core.models import Problem, Row
from batch.core.parameters import BY_NAME
from batch.manifest.headings import clashes, misspelt
from batch.manifest.input_images import OutputFolders
from batch.manifest.problems import ProblemLog, did_you_mean
from batch.manifest.readers.base import StreamingManifest
from batch.manifest.readers.yaml_axis import MatrixContext
from batch.manifest.readers.yaml_document import (
    COLUMNS_KEY,
    Fields,
    Items,
    Node,
    ScalarNode,
    read_columns,
    read_document,
)
from batch.manifest.readers.yaml_matrix import EXCLUDE, expand_matrix, too_large

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_ROWS = 50_000
KEYS = (COLUMNS_KEY, "defaults", "rows", "matrix")
_NO_COLUMNS = frozenset({EXCLUDE, "glob", "as"})
_QUOTE = 'Put it in quotes: text that starts with { is a mapping in YAML ("{column}").'


class YamlManifest(StreamingManifest):
    """An open YAML manifest."""

    suffixes = (".yaml", ".yml")
    has_globs = True
    tabular = False

    def _open(self) -> Iterable[Problem]:
        self._found = ProblemLog(self.path)
        root = read_document(self.path, self._encoding, self._found)
        parts = self._parts(root)
        self._read_keys(parts)
        self.defaults = self._cells(parts.get("defaults"), "defaults")
        self._written = self._read_rows(parts.get("rows"))
        self._written += self._read_matrix(parts.get("matrix"))
        own_defaults = [name for name in self.defaults if name not in BY_NAME]
        columns = tuple(dict.fromkeys([name for _, cells in self._written for name in cells] + own_defaults))
        self._headings = replace(self._headings, names=columns)
        for name, issue in clashes(self._headings):
            self._found.problem(None, name, issue.reason, issue.remedy)
        return self._found.entries

    def note(self, number: int, column: str) -> str:  # noqa: ARG002  a row has one line
        """Return the line on which a row starts as a prefix for messages."""
        return f"(line {self._written[number - 1][0]}) "

    def _rows(self) -> Iterator[Row | Problem]:
        return (Row(number, cells) for number, (_, cells) in enumerate(self._written, start=1))

    def _parts(self, root: Node) -> dict[str, Node]:
        if not isinstance(root, Fields):
            reason, remedy = "the file is a list or a text.", "Put the rows under a key `rows:`."
            self._found.problem(root.line, None, reason, remedy)
            return {}
        for name, line in root.lines.items():
            if name not in KEYS:
                remedy = did_you_mean(name, KEYS) or f"Known are {', '.join(KEYS)}."
                if name == "manifest":
                    remedy = "A job names a manifest and has no rows itself: give them a file of their own."
                self._found.problem(line, name, "is not a key of a manifest.", remedy)
        if not {"rows", "matrix"} & root.nodes.keys():
            self._found.problem(root.line, None, "there are no rows.", "Give `rows:` or `matrix:`.")
        return {
            name: node
            for name, node in root.nodes.items()
            if not (isinstance(node, ScalarNode) and node.text is None)
        }

    def _read_keys(self, parts: Mapping[str, Node]) -> None:
        """Find which keys are which parameters, and call these by their names in the tree."""
        mappings = list(_mappings(parts))
        lines: dict[str, int] = {}
        for mapping in mappings:
            for name, line in mapping.lines.items():
                if name not in _NO_COLUMNS:
                    lines[name] = min(line, lines.get(name, line))
        self._take_headings(tuple(lines), read_columns(parts.get(COLUMNS_KEY), self._found))
        for heading, issue, warning in self._headings.issues:
            note = self._found.warning if warning else self._found.problem
            note(lines.get(heading or ""), heading, issue.reason, issue.remedy)
        if renames := self._headings.renames:
            for mapping in mappings:
                mapping.rename(renames)

    def _read_rows(self, node: Node | None) -> list[tuple[int, dict[str, str]]]:
        if node is None:
            return []
        if not isinstance(node, Items):
            remedy = "Start each row with a dash: `- {image_1: …}`."
            self._found.problem(node.line, "rows", "is not a list.", remedy)
            return []
        if len(node.nodes) > MAX_ROWS:
            reason = f"there are {len(node.nodes)} rows; YAML is read whole, up to {MAX_ROWS}."
            self._found.problem(node.line, "rows", reason, "Use CSV: it has no limit.")
            return []
        known: dict[int, dict[str, str]] = {}  # an alias is the very node it refers to, and shares its cells
        rows: list[tuple[int, dict[str, str]]] = []
        for number, row in enumerate(node.nodes, start=1):
            if id(row) not in known:
                known[id(row)] = self._cells(row, f"row {number}")
            rows.append((row.line, known[id(row)]))
        sizes = {where: (len(cells), sum(map(len, cells.values()))) for where, cells in known.items()}
        cells, characters = (sum(sizes[id(row)][index] for row in node.nodes) for index in (0, 1))
        return [] if too_large(node.line, "rows", cells, characters, self._found) else rows

    def _read_matrix(self, node: Node | None) -> list[tuple[int, dict[str, str]]]:
        if node is None:
            return []
        if not isinstance(node, Fields):
            remedy = "Write one axis a line: `texture: [oak, denim]`."
            self._found.problem(node.line, "matrix", "is not a mapping.", remedy)
            return []
        left = MAX_ROWS - len(self._written)
        rows = [cells for _, cells in self._written]
        given = MatrixContext(
            self.path.parent, rows, self.defaults, left, OutputFolders(self._out), self._headings
        )
        combinations = expand_matrix(node, given, self._found)
        return [(node.line, cells) for cells in combinations]

    def _cells(self, node: Node | None, where: str) -> dict[str, str]:
        """Return a mapping of scalars as texts, without the nulls; note what is not a scalar or is misspelt."""
        if node is None:
            return {}
        if not isinstance(node, Fields):
            self._found.problem(node.line, where, "is not a mapping.", "Write column: value pairs.")
            return {}
        cells: dict[str, str] = {}
        for name, value in node.nodes.items():
            if isinstance(value, ScalarNode):
                if value.text is not None:
                    cells[name] = value.text
            else:
                remedy = "Give one value; lists belong into `matrix:`."
                remedy = _QUOTE if isinstance(value, Fields) else remedy
                column = f"{where}.{self.heading(name)}"
                self._found.problem(value.line, column, "is not a single value.", remedy)
        for name, issue, warning in misspelt(tuple(node.nodes), self._headings):
            note = self._found.warning if warning else self._found.problem
            note(node.lines[name], f"{where}.{name}", issue.reason, issue.remedy)
        return cells


def _mappings(parts: Mapping[str, Node]) -> Iterator[Fields]:
    """Yield every mapping of a manifest whose keys are columns, each once: an alias is the very node it refers to."""
    seen: set[int] = set()
    matrix = parts.get("matrix")
    nodes = [parts.get("defaults"), parts.get("rows"), matrix]
    nodes += matrix.nodes.values() if isinstance(matrix, Fields) else ()
    for node in nodes:
        for each in node.nodes if isinstance(node, Items) else [node]:
            if isinstance(each, Fields) and id(each) not in seen:
                seen.add(id(each))
                yield each
