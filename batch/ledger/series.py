"""Series of candidates as queries see them: which jobs are candidates, of which rows, and which of them are to be sent.

What a series is, and how one is made, is in candidates.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batch.ledger.states import State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

WITHOUT = (State.FAILED, State.EXPIRED, State.UNKNOWN, State.ABANDONED)
"""States of a row's own job in which no candidates are made for it."""

WITHOUT_LIST = ", ".join(f"'{state}'" for state in WITHOUT)

PRESENT = "c.series = (SELECT o.series FROM candidates o JOIN rows n ON n.row = o.row AND n.job = o.job WHERE o.row = c.row)"
"""A candidate `c` is in the series that holds its row's job, not in that of earlier work."""

WANTED = f"""candidates c INDEXED BY candidates_wanted CROSS JOIN jobs j ON j.job = c.job
CROSS JOIN rows r ON r.row = c.row CROSS JOIN jobs own ON own.job = r.job
WHERE c.wanted AND r.selected AND r.position IS NOT NULL AND own.state NOT IN ({WITHOUT_LIST})
AND (:pilot IS NULL OR r.job IN (SELECT value FROM json_each(:pilot)))
-- as a row's own job it is sent with those
AND NOT EXISTS (SELECT 1 FROM rows o WHERE o.job = c.job AND o.selected AND o.position IS NOT NULL)"""
"""Candidates `c` with their job `j` that the current command asked for, for rows `r` whose own job went well so far."""


def rows_of(connection: sqlite3.Connection, jobs: Sequence[int]) -> dict[int, list[sqlite3.Row]]:
    """Return for each of these jobs the rows whose candidate it is, in manifest order: id, output, files (JSON), seed."""
    found: dict[int, list[sqlite3.Row]] = {}
    for row in connection.execute(
        "SELECT c.job AS job, r.id AS id, r.output AS output, r.files AS files, json_extract(j.parameters, '$.seed') AS seed "
        "FROM candidates c JOIN rows r ON r.row = c.row JOIN jobs j ON j.job = c.job "
        "WHERE c.job IN (SELECT value FROM json_each(?)) ORDER BY r.position IS NULL, r.position, r.row",
        (json.dumps(jobs),),
    ):
        found.setdefault(row["job"], []).append(row)
    return found
