"""The matrix of a YAML manifest: every combination of the axes' choices, in written order, less the excluded.

Rule 1: the last axis turns fastest. Rule 2: a single plain value (`image_2: "textures/{texture}.jpg"`) is not
an axis but the same for all combinations; a choice that carries the column itself overrides it. Rule 3:
two axes never give the same column. Rule 4: the size is known before a row is made.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

from batch.manifest.headings import misspelt
from batch.manifest.problems import did_you_mean
from batch.manifest.readers.yaml_axis import Axes, MatrixContext
from batch.manifest.readers.yaml_document import Fields, Items, Node, ScalarNode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batch.manifest.problems import ProblemLog

MAX_MATRIX_CELLS = 10_000_000
MAX_CHARACTERS = 1 << 30
MAX_CHECKS = 50_000_000
EXCLUDE = "exclude"
Choice = dict[str, str]
ExcludeRule = dict[str, frozenset[str | None]]


def expand_matrix(node: Fields, given: MatrixContext, found: ProblemLog) -> list[Choice]:
    """Return the matrix's rows; none when there is a problem, which is then noted."""
    before = len(found.problems)
    reader = Axes(given, node.nodes.keys(), found)
    start: Choice = {}  # every column in written order, with its value where that is the same for all
    axes: dict[str, list[Choice]] = {}
    for name, axis in node.nodes.items():
        if name == EXCLUDE:
            continue
        choices = reader.choices(name, axis)
        if isinstance(axis, ScalarNode) and choices == [{name: axis.text}]:
            start |= choices[0]
            continue
        axes[name] = choices
        for column in (column for choice in choices for column in choice):
            start.setdefault(column, "")
    reader.warn_of_outputs(node.line)
    _check_names(node, axes, given, found)
    rules = _rules(node.nodes.get(EXCLUDE), start, found)
    count = prod(len(choices) for choices in axes.values())
    if count > given.limit:
        reason = f"there would be {count} combinations; YAML is read whole, up to {given.limit} more rows."
        found.problem(node.line, "matrix", reason, "Use CSV: it has no limit.")
    longest = sum(max((_length(choice) for choice in choices), default=0) for choices in axes.values())
    too_large(node.line, "matrix", count * len(start), count * (_length(start) + longest), found)
    if count * len(rules) > MAX_CHECKS:
        reason = f"there are {len(rules):,} exclusions to try on {count:,} combinations."
        remedy = "Write the combinations that are meant as `rows:`."
        found.problem(node.line, "matrix.exclude", reason, remedy)
    if len(found.problems) > before:
        return []
    return _combined(start, list(axes.values()), rules, found)


def _length(cells: Choice) -> int:
    return sum(map(len, cells.values()))


def too_large(line: int, column: str, cells: int, characters: int, found: ProblemLog) -> bool:
    """Return whether the rows, all aliases and combinations written out, are more than can be held; then it is a problem."""
    too_many = cells > MAX_MATRIX_CELLS or characters > MAX_CHARACTERS
    if too_many:
        reason = f"written out, the rows have {cells:,} cells and {characters:,} characters."
        limits = f"at most {MAX_MATRIX_CELLS:,} and {MAX_CHARACTERS:,}"
        found.problem(line, column, reason, f"YAML is read whole, {limits}. Use CSV: it is read as a stream.")
    return too_many


def _combined(
    start: Choice,
    axes: Sequence[Sequence[Choice]],
    rules: Sequence[tuple[int, ExcludeRule]],
    found: ProblemLog,
) -> list[Choice]:
    """Multiply the axes; warn of rules that excluded nothing."""
    combinations: list[Choice] = []
    used: set[int] = set()
    for combination in product(*axes):
        cells = start.copy()
        for choice in combination:
            cells |= choice
        hits = [index for index, (_, rule) in enumerate(rules) if _matches(rule, cells)]
        used.update(hits)
        if not hits:
            combinations.append(cells)
    for index, (line, _) in enumerate(rules):
        if index not in used:
            remedy = "Check its values, or remove it."
            found.warning(line, "matrix.exclude", "excludes no combination.", remedy)
    return combinations


def _check_names(
    node: Fields, axes: Mapping[str, list[Choice]], given: MatrixContext, found: ProblemLog
) -> None:
    giver: dict[str, str] = {}
    for axis, choices in axes.items():
        for column in dict.fromkeys(column for choice in choices for column in choice):
            other = giver.setdefault(column, axis)
            if other != axis:
                reason = f"gives {column}, and so does the axis {other}."
                found.problem(node.lines[axis], f"matrix.{axis}", reason, "Let one axis give it.")
    for name, issue, warning in misspelt(tuple(node.nodes), given.headings):
        note = found.warning if warning else found.problem
        note(node.lines[name], f"matrix.{name}", issue.reason, issue.remedy)


def _rules(node: Node | None, columns: Collection[str], found: ProblemLog) -> list[tuple[int, ExcludeRule]]:
    """Read `exclude`: a list of mappings from a column to the value, or the list of values, it leaves out."""
    if node is None:
        return []
    rules: list[tuple[int, ExcludeRule]] = []
    for entry in node.nodes if isinstance(node, Items) else [node]:
        if not isinstance(entry, Fields) or not entry.nodes:
            remedy = "Write {product: mug, texture: denim} for each."
            found.problem(entry.line, "matrix.exclude", "is not a mapping.", remedy)
            continue
        rule: ExcludeRule = {}
        for name, value in entry.nodes.items():
            values = value.nodes if isinstance(value, Items) else [value]
            if name not in columns:
                remedy = did_you_mean(name, columns) or f"Known are {', '.join(columns)}."
                reason = "is not a column of the matrix."
                found.problem(entry.lines[name], f"matrix.exclude.{name}", reason, remedy)
            rule[name] = frozenset(item.text for item in values if isinstance(item, ScalarNode))
        rules.append((entry.line, rule))
    return rules


def _matches(rule: ExcludeRule, cells: Choice) -> bool:
    return all((cells[name] or None) in values for name, values in rule.items())
