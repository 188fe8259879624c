"""The matrix of a YAML manifest: every combination of the axes' choices, in written order, less the excluded.

Rule 1: the last axis turns fastest. Rule 2: a single plain value (`image_2: "textures/{texture}.jpg"`) is no
axis but the same for all combinations, and a choice that carries the column itself stands above it. Rule 3:
two axes never give the same column. Rule 4: the size is known before a row is made.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

from batch.intake.axis import Axes, Given
from batch.intake.columns import misspelt
from batch.intake.document import Fields, Items, Node, Scalar
from batch.intake.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batch.intake.findings import Findings

EXCLUDE = "exclude"
Choice = dict[str, str]
Rule = dict[str, frozenset[str | None]]


def expand_matrix(node: Fields, given: Given, found: Findings) -> list[Choice]:
    """Return the matrix's rows; none when there is a problem, which is then noted."""
    before = len(found.problems)
    reader = Axes(given, node.nodes.keys(), found)
    start: Choice = {}  # every column in written order, with its value where that is the same for all
    axes: dict[str, list[Choice]] = {}
    for name, axis in node.nodes.items():
        if name == EXCLUDE:
            continue
        choices = reader.choices(name, axis)
        if isinstance(axis, Scalar) and choices == [{name: axis.text}]:
            start |= choices[0]
            continue
        axes[name] = choices
        for column in (column for choice in choices for column in choice):
            start.setdefault(column, "")
    _judge_names(node, axes, found)
    rules = _rules(node.nodes.get(EXCLUDE), start, found)
    count = prod(len(choices) for choices in axes.values())
    if count > given.limit:
        found.problem(
            node.line,
            "matrix",
            f"there would be {count} combinations; YAML is read whole, up to {given.limit} more rows.",
            "Use CSV: it has no limit.",
        )
    if len(found.problems) > before:
        return []
    return _combined(start, list(axes.values()), rules, found)


def _combined(
    start: Choice, axes: Sequence[Sequence[Choice]], rules: Sequence[tuple[int, Rule]], found: Findings
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
            found.warning(
                line, "matrix.exclude", "excludes no combination.", "Check its values, or remove it."
            )
    return combinations


def _judge_names(node: Fields, axes: Mapping[str, list[Choice]], found: Findings) -> None:
    giver: dict[str, str] = {}
    for axis, choices in axes.items():
        for column in dict.fromkeys(column for choice in choices for column in choice):
            other = giver.setdefault(column, axis)
            if other != axis:
                found.problem(
                    node.lines[axis],
                    f"matrix.{axis}",
                    f"gives {column}, and so does the axis {other}.",
                    "Let one axis give it.",
                )
    for name, meant, present in misspelt(tuple(node.nodes)):
        note = found.warning if present else found.problem
        note(
            node.lines[name],
            f"matrix.{name}",
            f"is no parameter and looks like {meant}.",
            f"Did you mean {meant}? If not, give it a name less alike.",
        )


def _rules(node: Node | None, columns: Collection[str], found: Findings) -> list[tuple[int, Rule]]:
    """Read `exclude`: a list of mappings from a column to the value, or the list of values, it leaves out."""
    if node is None:
        return []
    rules: list[tuple[int, Rule]] = []
    for entry in node.nodes if isinstance(node, Items) else [node]:
        if not isinstance(entry, Fields) or not entry.nodes:
            found.problem(
                entry.line,
                "matrix.exclude",
                "is no mapping.",
                "Write {product: mug, texture: denim} for each.",
            )
            continue
        rule: Rule = {}
        for name, value in entry.nodes.items():
            values = value.nodes if isinstance(value, Items) else [value]
            if name not in columns:
                remedy = did_you_mean(name, columns) or f"Known are {', '.join(columns)}."
                found.problem(
                    entry.lines[name], f"matrix.exclude.{name}", "is no column of the matrix.", remedy
                )
            rule[name] = frozenset(item.text for item in values if isinstance(item, Scalar))
        rules.append((entry.line, rule))
    return rules


def _matches(rule: Rule, cells: Choice) -> bool:
    return all((cells[name] or None) in values for name, values in rule.items())
