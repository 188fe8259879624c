"""texbatch's own files as manifests: report.csv and failures.csv, perhaps with a person's edits.

Rule 1: the outcome columns are dropped and the escaped cells are unescaped, so that a failed row is read as it was given.
Its columns have the user's headings; the folder, or `--column`, says which parameters they are.
Rule 2: a row that the service may be working on is refused: sent again it would be paid for twice.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from batch.core.csv_format import ADDED_LATER, OWN_PREFIX, unescape_formula
from batch.core.models import Issue, Problem
from batch.manifest.columns import ID, OUTCOME_NAMES
from batch.manifest.headings import FolderHeadings, Headings, find_headings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.core.models import Row


@lru_cache(maxsize=64)
def without_outcomes(header: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that are not outcomes.

    Of the outcomes that were added later, a column before `status` is the manifest's own, and so is one that has ours
    beside it, prefixed.
    """
    ours = header[header.index("status") :] if "status" in header else header
    later = {name for name in ADDED_LATER if name in ours and OWN_PREFIX + name not in header}
    return tuple(name for name in header if name not in OUTCOME_NAMES and name not in later)


def headings(header: tuple[str, ...], mapping: Mapping[str, str], known: FolderHeadings) -> Headings:
    """Return which heading of a file of ours is which parameter; own columns and outcomes are named as written."""
    plain = {unescape_formula(heading): heading for heading in without_outcomes(header)}
    found = find_headings(tuple(plain), mapping, known)
    renamed = {plain[heading]: name for name, heading in found.written.items()}
    return replace(found, names=tuple(renamed.get(heading, heading) for heading in header))


def lost_id(header: Sequence[str], mapping: Mapping[str, str], known: FolderHeadings) -> Issue | None:
    """Return what is wrong with a file of ours whose ids have a heading that no folder explains here."""
    if ID in header or ID in mapping or known.meanings:
        return None
    return Issue(
        "no column is id: the file has the headings of another folder's manifest.",
        "Say which column it is, and which are the other parameters: --column id=…; or none: --column id=",
    )


def restored_names(header: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of a file of ours that are not outcomes, as the manifest named them."""
    return tuple(map(unescape_formula, without_outcomes(header)))


def restored(row: Row | Problem, file: str) -> Row | Problem:
    """Return a row as it was before the report was written, or the problem of one that was submitted."""
    if isinstance(row, Problem):
        return row
    if reason := _submitted(row.cells):
        reason = f"{row.cells.get(ID) or 'the row'} {reason}."
        remedy = "Remove the row here; `texbatch run` or `texbatch resolve` on its output folder settles it."
        return Problem(file, row.number, "status", reason, remedy)
    names = without_outcomes(tuple(row.cells))
    cells, formerly = (
        {unescape_formula(name): unescape_formula(cells[name]) for name in names if name in cells}
        for cells in (row.cells, row.formerly)
    )
    return row._replace(cells=cells, formerly=formerly)


def _submitted(cells: Mapping[str, str]) -> str | None:
    status = cells.get("status", "").strip()
    request_id = unescape_formula(cells.get("request_id", "").strip())
    if status == "unknown":
        return "may have been submitted already (status unknown)"
    if status == "pending" and request_id:
        return f"is already submitted (request {request_id})"
    return None
