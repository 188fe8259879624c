"""The columns of manifests and reports: which are the model's, which are ours, which are the user's.

Rule 1: a column that bears a parameter's name is that parameter. Rule 2: a file that has both `payload_key` and
`run_id` is texbatch's own, and its outcome columns are dropped on reading. Rule 3: in any other file a column
that bears an outcome's name is the user's and goes on as `manifest_<name>`, so that the report's own outcome
columns are never taken for his. This file knows no file format.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from batch.intake.spelling import edits
from batch.parameters import BY_NAME
from batch.table import OUTCOME_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

ID = "id"
MISSPELT_WITHIN = 2
_OUTCOMES = frozenset(OUTCOME_COLUMNS)


def is_own(columns: Collection[str]) -> bool:
    """Tell whether a file with these columns was written by texbatch."""
    return "payload_key" in columns and "run_id" in columns


def report_name(column: str) -> str:
    """Return the name under which a user's column stands in the report."""
    return f"manifest_{column}" if column in _OUTCOMES else column


def report_names(columns: Sequence[str]) -> dict[str, str]:
    """Return the columns that are no parameters, in order, each with its name in the report."""
    return {column: report_name(column) for column in columns if column not in BY_NAME}


def clashes(columns: Sequence[str]) -> Iterator[str]:
    """Yield the columns whose name in the report is taken by another column of the same file."""
    taken = set(columns)
    for column in columns:
        if report_name(column) != column and report_name(column) in taken:
            yield column


def misspelt(columns: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield (column, the parameter it resembles, whether that parameter has a column as well).

    Resembles: one or two edits away, letter case aside. Where several parameters are near, one without a column
    comes first, then the nearest: a misspelt parameter would be lost silently, a spare column harms nobody.
    """
    present = set(columns)
    for column in columns:
        if column in BY_NAME or column == ID:
            continue
        near = [(name in present, distance, name) for distance, name in _near(column)]
        if near:
            has_column, _, name = min(near, key=lambda entry: entry[:2])
            yield column, name, has_column


@lru_cache(maxsize=1024)
def _near(column: str) -> tuple[tuple[int, str], ...]:
    """Return (edits, parameter) for the parameters a column resembles; remembered, as each YAML row asks again."""
    word = column.casefold()
    distances = ((edits(word, name, MISSPELT_WITHIN), name) for name in BY_NAME)
    return tuple((distance, name) for distance, name in distances if distance is not None)
