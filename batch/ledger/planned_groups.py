"""What a plan would send for each value of a column: the staged rows by brand, by season, by whatever the sheet has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.ledger.candidates import BY_PLACE
from batch.ledger.groups import MOST_GROUPS, PlannedGroup, PlannedGroups
from batch.ledger.staging import STAGED, sent_condition

if TYPE_CHECKING:
    from batch.ledger.ledger import Ledger


def planned_groups(
    ledger: Ledger, column: str, candidates: int, *, retry_failed: bool, pay_again: bool
) -> PlannedGroups:
    """Return the staged rows by the values of the column that the stage was made with; `column` is its heading.

    `candidates` are images a row; where they are more than one, call it after these were planned.
    """
    sent = sent_condition(retry_failed=retry_failed, pay_again=pay_again)
    further = BY_PLACE if candidates > 1 and ledger.loss is None else "SELECT 0 AS place, 0 AS jobs"
    largest: list[PlannedGroup] = []
    others = 0
    for row in ledger.connection.execute(
        f"WITH planned AS (SELECT place, {sent} AS sent, "
        f"row_number() OVER (PARTITION BY work, {sent} ORDER BY place) = 1 AS first FROM ({STAGED})), "
        f"further AS (SELECT place, sum(jobs) AS jobs FROM ({further}) GROUP BY place) "
        "SELECT g.value, count(*), count(*) FILTER (WHERE p.sent AND p.first) + coalesce(sum(f.jobs), 0) AS to_send "
        "FROM planned p JOIN temp.grouped g ON g.position = p.place LEFT JOIN further f ON f.place = p.place "
        "GROUP BY g.value ORDER BY to_send DESC, count(*) DESC, min(p.place)",
        {"number": candidates, "retry": retry_failed, "again": pay_again},
    ):
        if len(largest) < MOST_GROUPS:
            largest.append(PlannedGroup(*row))
        else:
            others += 1
    return PlannedGroups(column, tuple(largest), others)
