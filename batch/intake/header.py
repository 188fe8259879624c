"""What is wrong with the names of a table's columns, whatever the table's format.

Rule 1: all of it is told at once, before the first row. Rule 2: the names have no blanks around them any more; an
empty name and one that is there twice are problems, since neither can be told apart in a report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.intake.columns import clashes, is_own, misspelt
from batch.model import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def header_problems(file: str, names: Sequence[str], line: Callable[[str], int | None]) -> Iterator[Problem]:
    """Yield problems and warnings of a table's columns; `line` tells where a column is named, None for nowhere."""
    for index, name in enumerate(names, start=1):
        if not name:
            remedy = "Name it, or remove the column and its separators."
            yield Problem(file, line(name), None, f"column {index} has no name.", remedy)
        elif name in names[: index - 1]:
            remedy = "Rename or remove one of the two columns."
            yield Problem(file, line(name), name, "is there twice.", remedy)
    for name, meant, has_column in misspelt(names):
        reason = f"is no parameter and looks like {meant}."
        if has_column:
            remedy = f"Did you mean {meant}? Both are there: this one only goes to the report."
        else:
            remedy = f"Did you mean {meant}? Then rename it; if not, give it a name less alike."
        yield Problem(file, line(name), name, reason, remedy, has_column)
    for name in () if is_own(names) else clashes(names):
        reason = f"goes to the report as manifest_{name}, which is there too."
        yield Problem(file, line(name), name, reason, "Rename one of the two.")
