"""What a run would do: the rows of a manifest beside what the ledger knows of them. It changes nothing.

The rows are those on their way in (`staged`, see stage.py), or those adopted before, when nothing about them can have
changed since (see `batch.unchanged`). Both are counted by the same question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.ledger.states import AT_RISK, State

if TYPE_CHECKING:
    import sqlite3

_PAID = ",".join(f"'{state}'" for state in (*AT_RISK, State.SAVED, State.EXPIRED))

STAGED = f"""
SELECT s.number, s.id, s.job, new.state AS state,
       old.job IS NOT NULL AND (old.state IN ({_PAID}) OR old.cost IS NOT NULL) AS was_paid
FROM staged s
LEFT JOIN jobs new ON new.job = s.job
LEFT JOIN rows r ON r.id = s.id
LEFT JOIN jobs old ON old.job = r.job AND r.job IS NOT s.job
WHERE s.selected
"""

ADOPTED = """
SELECT r.position AS number, r.id, r.job, new.state AS state, 0 AS was_paid
FROM rows r JOIN jobs new ON new.job = r.job
WHERE r.position IS NOT NULL
"""
"""The rows of the manifest adopted last, all selected: each has the job it had, so none has changed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: counts of the selected rows, and of the jobs it would pay for.

    `changed` names rows whose id was paid for with other work before: (row number, id). `price` is the last
    price a job of this folder cost, in micro-dollars, None when none is known.
    """

    rows: int
    new: int
    changed: tuple[tuple[int, str], ...]
    done: int
    in_flight: int
    unknown: int
    failed: int
    to_send: int
    price: int | None

    @property
    def cost(self) -> int | None:
        """Micro-dollars the jobs to send will cost, or None when no price is known."""
        return None if self.price is None else self.to_send * self.price


def compare(connection: sqlite3.Connection, rows: str, *, retry_failed: bool, price: int | None) -> Plan:
    """Say what a run of these rows, STAGED or ADOPTED, would do."""
    fresh = "(state IS NULL OR state = 'planned')"
    ended = "state IN ('failed', 'expired', 'abandoned')"
    again = "state IN ('failed', 'expired')" if retry_failed else "0"
    counts = connection.execute(
        f"SELECT count(*) AS rows, count(*) FILTER (WHERE {fresh} AND NOT was_paid) AS new, "
        f"count(*) FILTER (WHERE {fresh} AND was_paid) AS changed, "
        "count(*) FILTER (WHERE state = 'saved') AS done, count(*) FILTER (WHERE state = 'unknown') AS unknown, "
        "count(*) FILTER (WHERE state IN ('sending', 'accepted', 'completed')) AS in_flight, "
        f"count(*) FILTER (WHERE {ended}) AS failed, "
        f"count(DISTINCT job) FILTER (WHERE {fresh} OR {again}) AS to_send FROM ({rows})"
    ).fetchone()
    figures = dict(counts)
    changed: list[tuple[int, str]] = []
    if figures.pop("changed"):
        found = connection.execute(
            f"SELECT number, id FROM ({rows}) WHERE {fresh} AND was_paid ORDER BY number"
        )
        changed = [(row["number"], row["id"]) for row in found]
    return Plan(**figures, changed=tuple(changed), price=price)
