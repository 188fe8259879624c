"""The columns of manifests and reports: which are the model's, which are ours, which are the user's.

Rule 1: a column with a parameter's name is that parameter. Rule 2: a file that has both `payload_key` and `run_id` is
texbatch's own, and its outcome columns are dropped on reading. Rule 3: in any other file a column with an outcome's name
is the user's and becomes `manifest_<name>`, so that it is never mistaken for the report's own; one with the name of an
outcome added later keeps it, and ours is `texbatch_<name>`. Rule 4: all problems of the names are reported together,
before the first row. This module knows no file format.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from batch.core.csv_format import ADDED_LATER, OUTCOME_COLUMNS, OWN_PREFIX, bad_character
from batch.core.models import Issue, Problem
from batch.core.parameters import BY_NAME
from batch.manifest.problems import edits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


ID = "id"
MISSPELT_WITHIN = 2
MAX_COLUMNS = 16_384
"""As many as Excel has."""
OUTCOME_NAMES = frozenset(OUTCOME_COLUMNS) - ADDED_LATER | {OWN_PREFIX + name for name in ADDED_LATER}


is_own = frozenset({"payload_key", "run_id"}).issubset
"""Whether texbatch wrote a file with these columns."""


def report_names(columns: Sequence[str]) -> dict[str, str]:
    """Return the columns that are not parameters, in order, each with its name in the report."""
    return {
        column: f"manifest_{column}" if column in OUTCOME_NAMES else column
        for column in columns
        if column not in BY_NAME
    }


def clashes(columns: Sequence[str]) -> Iterator[tuple[str, Issue]]:
    """Yield the columns whose name in the report is taken by another column of the same file."""
    if is_own(columns):
        return
    for column, name in report_names(columns).items():
        if name != column and name in columns:
            yield (
                column,
                Issue(f"goes to the report as {name}, which is there too.", "Rename one of the two."),
            )


def misspelt(columns: Sequence[str]) -> Iterator[tuple[str, Issue, bool]]:
    """Yield (column, issue, whether it is only a warning) for each column whose name resembles a parameter's.

    It resembles one that is at most two edits away, letter case aside. Where several parameters are near, one without a
    column comes first, then the nearest: a misspelt parameter would be lost silently, a spare column is harmless.
    """
    for column in columns:
        if column in BY_NAME or column == ID:
            continue
        near = [(name in columns, distance, name) for distance, name in _near(column)]
        if near:
            has_column, _, name = min(near, key=lambda entry: entry[:2])
            hint = (
                "Both are there: this one only goes to the report."
                if has_column
                else "Then rename it; if not, give it a name less alike."
            )
            reason = f"is not a parameter and looks like {name}."
            yield column, Issue(reason, f"Did you mean {name}? {hint}"), has_column


@lru_cache(maxsize=1024)
def _near(column: str) -> tuple[tuple[int, str], ...]:
    """Return (edits, parameter) for the parameters that a column resembles; cached, as each YAML row asks again."""
    word = column.casefold()
    distances = ((edits(word, name, MISSPELT_WITHIN), name) for name in BY_NAME)
    return tuple((distance, name) for distance, name in distances if distance is not None)


def header_problems(file: str, names: Sequence[str], line: Callable[[str], int | None]) -> Iterator[Problem]:
    """Yield problems and warnings of a table's columns; `line` returns the line that names a column, None where there is none."""
    if len(names) > MAX_COLUMNS:
        reason = f"there are {len(names)} columns; a table may have {MAX_COLUMNS}."
        yield Problem(file, line(names[0]), None, reason, "Leave out what texbatch need not read.")
        return
    seen: set[str] = set()
    for index, name in enumerate(names, start=1):
        if not name:
            remedy = "Name it, or remove the column and its separators."
            yield Problem(file, line(name), None, f"column {index} has no name.", remedy)
        elif issue := bad_character(name):
            reason = f"the name of column {index} ({name!a}) cannot be used: {issue.reason}"
            yield Problem(file, line(name), None, reason, issue.remedy)
        elif name in seen:
            remedy = "Rename or remove one of the two columns."
            yield Problem(file, line(name), name, "is there twice.", remedy)
        seen.add(name)
    names = [name for name in names if not bad_character(name)]
    for name, issue, warning in misspelt(names):
        yield Problem(file, line(name), name, issue.reason, issue.remedy, warning)
    for name, issue in clashes(names):
        yield Problem(file, line(name), name, issue.reason, issue.remedy)
