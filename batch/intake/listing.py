"""YAML manifests: `defaults`, `rows` and `matrix`, read whole, at most MAX_ROWS rows.

Rule 1: structure is judged when the file is opened, all of it at once: unknown and misspelt keys, values that
are no scalars, an axis that yields nothing. Rule 2: a row gives what was written in it, as text; defaults are
kept apart, since the command line stands between the two. Rule 3: row numbers count the rows and then the
matrix, and their messages add the line; problems of structure have the line in the number's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.intake.axis import Given
from batch.intake.columns import clashes, is_own, misspelt
from batch.intake.document import Fields, Items, Node, Scalar, read_document
from batch.intake.findings import Findings
from batch.intake.matrix import expand_matrix
from batch.intake.own import kept, reopened
from batch.intake.spelling import did_you_mean
from batch.model import Problem, Row
from batch.parameters import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ROWS = 50_000
KEYS = ("defaults", "rows", "matrix")
_QUOTE = 'Put it in quotes: text that starts with { is a mapping in YAML ("{column}").'


class Listing:
    """An open YAML manifest."""

    tabular = False

    def __init__(self, path: Path, encoding: str | None) -> None:
        """Read the file; raise ManifestError with everything that is wrong with its structure."""
        self.path = path
        self.header_line = None
        self._found = Findings(path)
        root = read_document(path, encoding, self._found)
        parts = self._parts(root)
        self.defaults = self._cells(parts.get("defaults"), "defaults")
        self._rows = self._read_rows(parts.get("rows"))
        self._rows += self._read_matrix(parts.get("matrix"))
        columns = tuple(
            dict.fromkeys([name for _, cells in self._rows for name in cells] + self._own_defaults())
        )
        self.texbatch_own = is_own(columns)
        self.columns = kept(columns) if self.texbatch_own else columns
        self._judge_columns(columns)
        self._found.settle()

    def __repr__(self) -> str:
        return f"<Listing {self.path} with {len(self._rows)} rows>"

    def note(self, number: int, _column: str) -> str:
        """Return the line on which a row starts, to stand before a message."""
        return f"(line {self._rows[number - 1][0]}) "

    def rows(self) -> Iterator[Row | Problem]:
        """Yield the warnings, the rows as written, then the matrix in written order."""
        yield from self._found.warnings
        rows = (Row(number, cells) for number, (_, cells) in enumerate(self._rows, start=1))
        yield from reopened(rows, str(self.path)) if self.texbatch_own else rows

    def _own_defaults(self) -> list[str]:
        return [name for name in self.defaults if name not in BY_NAME]

    def _parts(self, root: Node) -> dict[str, Node]:
        if not isinstance(root, Fields):
            self._found.problem(
                root.line, None, "the file is a list or a text.", "Put the rows under a key `rows:`."
            )
            return {}
        for name, line in root.lines.items():
            if name not in KEYS:
                remedy = did_you_mean(name, KEYS) or f"Known are {', '.join(KEYS)}."
                if name == "manifest":
                    remedy = "A job names a manifest and has no rows itself: give them a file of their own."
                self._found.problem(line, name, "is no key of a manifest.", remedy)
        if not {"rows", "matrix"} & root.nodes.keys():
            self._found.problem(root.line, None, "there are no rows.", "Give `rows:` or `matrix:`.")
        return {
            name: node
            for name, node in root.nodes.items()
            if not (isinstance(node, Scalar) and node.text is None)
        }

    def _read_rows(self, node: Node | None) -> list[tuple[int, dict[str, str]]]:
        if node is None:
            return []
        if not isinstance(node, Items):
            self._found.problem(
                node.line, "rows", "is no list.", "Start each row with a dash: `- {image_1: …}`."
            )
            return []
        if len(node.nodes) > MAX_ROWS:
            self._too_many(node.line, "rows", len(node.nodes))
            return []
        return [
            (row.line, self._cells(row, f"row {number}")) for number, row in enumerate(node.nodes, start=1)
        ]

    def _read_matrix(self, node: Node | None) -> list[tuple[int, dict[str, str]]]:
        if node is None:
            return []
        if not isinstance(node, Fields):
            self._found.problem(
                node.line, "matrix", "is no mapping.", "Write one axis a line: `texture: [oak, denim]`."
            )
            return []
        left = MAX_ROWS - len(self._rows)
        rows = [cells for _, cells in self._rows]
        combinations = expand_matrix(node, Given(self.path.parent, rows, self.defaults, left), self._found)
        return [(node.line, cells) for cells in combinations]

    def _too_many(self, line: int, column: str, count: int) -> None:
        self._found.problem(
            line,
            column,
            f"there are {count} rows; YAML is read whole, up to {MAX_ROWS}.",
            "Use CSV: it has no limit.",
        )

    def _cells(self, node: Node | None, place: str) -> dict[str, str]:
        """Return a mapping of scalars as texts, without the nulls; note what is no scalar or misspelt."""
        if node is None:
            return {}
        if not isinstance(node, Fields):
            self._found.problem(node.line, place, "is no mapping.", "Write column: value pairs.")
            return {}
        cells: dict[str, str] = {}
        for name, value in node.nodes.items():
            if isinstance(value, Scalar):
                if value.text is not None:
                    cells[name] = value.text
            else:
                remedy = (
                    _QUOTE if isinstance(value, Fields) else "Give one value; lists belong into `matrix:`."
                )
                self._found.problem(value.line, f"{place}.{name}", "is no single value.", remedy)
        self._judge_spelling(node, place)
        return cells

    def _judge_spelling(self, node: Fields, place: str) -> None:
        for name, meant, present in misspelt(tuple(node.nodes)):
            column = f"{place}.{name}"
            reason = f"is no parameter and looks like {meant}."
            if present:
                remedy = f"Did you mean {meant}? Both are there: this one only goes to the report."
                self._found.warning(node.lines[name], column, reason, remedy)
            else:
                remedy = f"Did you mean {meant}? Then rename it; if not, give it a name less alike."
                self._found.problem(node.lines[name], column, reason, remedy)

    def _judge_columns(self, columns: tuple[str, ...]) -> None:
        for name in () if self.texbatch_own else clashes(columns):
            self._found.problem(
                None,
                name,
                f"goes to the report as manifest_{name}, which is there too.",
                "Rename one of the two.",
            )
