"""What the report, the summary and `status` read from the ledger: rows, counts, money. It changes nothing.

Money is what the service named for each finished job, summed over the events, so work that was paid for and then
replaced or found unusable stays on the bill.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.ledger.states import AT_RISK, OPEN, REPORTED, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch.ledger.store import Ledger
    from batch.parameters import Scalar

MICRO = 1_000_000
"""Micro-dollars in a dollar."""

TOP_ERRORS = 10

RECENT = 20
"""Bills from which the next one is expected: the largest of them, since one job may have been free or small."""

_STANDS = f"CASE WHEN j.state = '{State.SAVED}' AND r.kept_job IS NOT r.job THEN '{State.COMPLETED}' ELSE j.state END"
"""A row's state: the job's, save that a saved job's picture may not lie there for this row yet."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row of the current manifest with its outcome; `outcome` holds every column of jobs, None where unknown."""

    id: str
    status: str
    cells: Mapping[str, str]
    parameters: Mapping[str, Scalar]
    files: Mapping[str, str]
    output: str | None
    payload_key: str
    outcome: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bill:
    """The folder's figures: rows of the current manifest by reported status, and micro-dollars over its whole life.

    `at_risk` is what perhaps paid or paid work without a picture on disk may have cost, None when no price is known.
    """

    rows: int
    statuses: Mapping[str, int]
    spent: int
    at_risk: int | None
    errors: tuple[tuple[str, int, str], ...]


def report_rows(ledger: Ledger) -> Iterator[ReportRow]:
    """Yield every row of the current manifest, in its order, one at a time."""
    for row in ledger.connection.execute(
        f"SELECT r.id, r.cells, r.files, r.kept_job, r.kept_output, {_STANDS} AS stands, j.* "
        "FROM rows r JOIN jobs j USING (job) "
        "WHERE r.position IS NOT NULL ORDER BY r.position"
    ):
        yield ReportRow(
            id=row["id"],
            status=REPORTED.get(row["stands"], row["stands"]),
            cells=json.loads(row["cells"]),
            parameters=json.loads(row["parameters"]),
            files=json.loads(row["files"]),
            output=row["kept_output"] if row["kept_job"] == row["job"] else None,
            payload_key=row["payload_key"],
            outcome=dict(row),
        )


def columns(ledger: Ledger) -> list[str]:
    """Return the manifest's own columns, in order."""
    names: list[str] = json.loads(ledger.meta("columns") or "[]")
    return names


def price(ledger: Ledger) -> int | None:
    """Return the most that one of the RECENT last jobs of this folder has cost, in micro-dollars.

    None when no bill named anything yet: that all were free so far says nothing of the next one.
    """
    most: int | None = ledger.connection.execute(
        "SELECT max(cost) FROM (SELECT cost FROM events WHERE cost IS NOT NULL ORDER BY seq DESC LIMIT ?)",
        (RECENT,),
    ).fetchone()[0]
    return most or None


def spent(ledger: Ledger) -> int:
    """Return what this folder's jobs have cost so far, in micro-dollars."""
    total: int = ledger.connection.execute("SELECT coalesce(sum(cost), 0) FROM events").fetchone()[0]
    return total


def cap_from(ledger: Ledger) -> int:
    """Return the event from which spending counts against a cap: a run that was killed hands its own on."""
    row = ledger.connection.execute(
        "SELECT cap_from, ended_at FROM runs ORDER BY run DESC LIMIT 1"
    ).fetchone()
    if row is not None and row["ended_at"] is None:
        killed: int = row["cap_from"]
        return killed
    last: int = ledger.connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
    return last


def committed(ledger: Ledger, cap_from: int, price: int) -> int:
    """Return micro-dollars spent since an event, plus what unknown and running jobs may cost: `price` where not noted."""
    total: int = ledger.connection.execute(
        "SELECT (SELECT coalesce(sum(cost), 0) FROM events WHERE seq > :since) + "
        "(SELECT coalesce(sum(coalesce(estimate, :price)), 0) FROM jobs WHERE state <> 'saved' "
        "AND state IN ('sending', 'unknown', 'accepted')) + "
        "(SELECT coalesce(sum(coalesce(j.estimate, :price)), 0) FROM events e JOIN jobs j USING (job) "  # billed, unnamed
        "WHERE e.seq > :since AND e.event IN ('complete', 'find_done') AND e.cost IS NULL)",
        {"since": cap_from, "price": price},
    ).fetchone()[0]
    return total


def already_done(ledger: Ledger) -> int:
    """Return what the selected rows' saved pictures have cost, in micro-dollars: each job once."""
    if ledger.connection.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None:
        return 0  # a first run need not look at every job
    total: int = ledger.connection.execute(
        "SELECT coalesce(sum(cost), 0) FROM jobs WHERE state='saved' AND job IN (SELECT job FROM rows WHERE selected)"
    ).fetchone()[0]
    return total


def statuses(ledger: Ledger, *, selected_only: bool = False) -> dict[str, int]:
    """Count the current manifest's rows by reported status."""
    counts: dict[str, int] = {}
    for row in ledger.connection.execute(
        f"SELECT {_STANDS} AS state, count(*) AS n FROM rows r JOIN jobs j USING (job) "
        "WHERE r.position IS NOT NULL AND (r.selected OR NOT ?) GROUP BY 1",
        (selected_only,),
    ):
        status = REPORTED.get(row["state"], row["state"])
        counts[status] = counts.get(status, 0) + row["n"]
    return counts


def bill(ledger: Ledger) -> Bill:
    """Add the folder up."""
    counts = statuses(ledger)
    marks = ",".join("?" * len(AT_RISK))
    risky: int = ledger.connection.execute(
        f"SELECT count(*) FROM jobs WHERE {OPEN} AND state IN ({marks})", AT_RISK
    ).fetchone()[0]
    known = price(ledger)
    errors = ledger.connection.execute(
        "SELECT j.error_class AS error_class, count(*) AS n, min(j.error) AS example FROM rows r JOIN jobs j USING (job) "
        "WHERE r.position IS NOT NULL AND j.error_class IS NOT NULL AND j.state <> 'saved' "
        "GROUP BY j.error_class ORDER BY n DESC, 1 LIMIT ?",
        (TOP_ERRORS,),
    )
    return Bill(
        rows=sum(counts.values()),
        statuses=counts,
        spent=spent(ledger),
        at_risk=0 if risky == 0 else None if known is None else risky * known,
        errors=tuple((row["error_class"], row["n"], row["example"]) for row in errors),
    )


def last_run(ledger: Ledger) -> Mapping[str, Any] | None:
    """Return the last run's line, or None when there was none."""
    row = ledger.connection.execute("SELECT * FROM runs ORDER BY run DESC LIMIT 1").fetchone()
    return dict(row) if row else None
