"""texbatch's own files as manifests: report.csv and failures.csv, perhaps with a person's edits.

Rule 1: the outcome columns are dropped and the neutralised cells restored, so that a failed row goes in as it
came. Rule 2: a row that the service may be working on is refused: sent again it would be paid for twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.intake.columns import ID
from batch.model import Problem, Row
from batch.table import OUTCOME_COLUMNS, restore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_OUTCOMES = frozenset(OUTCOME_COLUMNS)


def kept(header: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that are not outcomes."""
    return tuple(name for name in header if name not in _OUTCOMES)


def reopened(rows: Iterable[Row | Problem], file: str) -> Iterator[Row | Problem]:
    """Yield the rows as they were before they went into a report; submitted ones as problems."""
    for row in rows:
        if isinstance(row, Problem):
            yield row
        elif reason := _submitted(row.cells):
            yield Problem(
                file,
                row.number,
                "status",
                f"{row.cells.get(ID) or 'the row'} {reason}.",
                "Remove the row here; `texbatch run` or `texbatch resolve` on its output folder settles it.",
            )
        else:
            yield Row(
                row.number,
                {name: restore(cell) for name, cell in row.cells.items() if name not in _OUTCOMES},
            )


def _submitted(cells: Mapping[str, str]) -> str | None:
    status = cells.get("status", "").strip()
    request_id = restore(cells.get("request_id", "").strip())
    if status == "unknown":
        return "may have been submitted already (status unknown)"
    if status == "pending" and request_id:
        return f"is already submitted (request {request_id})"
    return None
