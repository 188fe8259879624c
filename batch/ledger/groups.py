"""Rows and money by the values of one column: by brand, by season, by whatever the sheet has.

A column is a parameter or one of the manifest's own. A job that rows of several groups share counts where its first row is,
so that the groups add up. A local image is named by its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batch.core.parameters import PARAMETERS
from batch.ledger.decisions import SHOWN
from batch.ledger.states import State

if TYPE_CHECKING:
    from batch.ledger.ledger import Ledger

MOST_GROUPS = 1000
"""Groups that are counted one by one; the others are one."""

_PARAMETER = (
    "(SELECT coalesce((SELECT f.value FROM json_each(r.files) f WHERE f.key = p.value), "
    "CASE p.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE p.value END) "
    "FROM json_each(j.parameters) p WHERE p.key = :column)"
)
_OWN = "(SELECT o.value FROM json_each(r.cells) o WHERE o.key = :column)"

_GROUPS = f"""
WITH bills AS (SELECT job, sum(cost) AS cost FROM events WHERE cost IS NOT NULL GROUP BY job),
wants AS (
    SELECT job, position FROM rows WHERE position IS NOT NULL
    UNION ALL
    SELECT c.job, r.position FROM candidates c JOIN rows r ON r.row = c.row WHERE r.position IS NOT NULL),
firsts AS (SELECT job, min(position) AS position FROM wants GROUP BY job),
spent AS (SELECT f.position, sum(b.cost) AS cost FROM firsts f JOIN bills b ON b.job = f.job GROUP BY f.position),
present AS (
    SELECT r.position, {SHOWN} AS state, cast(coalesce({{value}}, '') AS TEXT) AS value
    FROM rows r JOIN jobs j ON j.job = r.job WHERE r.position IS NOT NULL
    UNION ALL
    SELECT i.position, '{State.FAILED}', coalesce((SELECT v.value FROM json_each(i.{{texts}}) v WHERE v.key = :column), '')
    FROM invalid i)
SELECT value, count(*) AS rows, count(*) FILTER (WHERE state = '{State.SAVED}') AS saved,
       count(*) FILTER (WHERE state = '{State.FAILED}') AS failed, coalesce(sum(s.cost), 0) AS spent
FROM present p LEFT JOIN spent s ON s.position = p.position GROUP BY value ORDER BY count(*) DESC, min(p.position)
"""


class Group(NamedTuple):
    """The rows with one value in a column: how many there are, are saved and failed, and micro-dollars spent for them.

    `spent` is the bill of the work that the rows have now, its candidates included. Work of theirs that was replaced, and
    that of rows that left the manifest, is in no group.
    """

    value: str
    rows: int
    saved: int
    failed: int
    spent: int


class PlannedGroup(NamedTuple):
    """The rows of a plan with one value in a column, and how many jobs are to be sent for them, candidates included."""

    value: str
    rows: int
    to_send: int


class PlannedGroups(NamedTuple):
    """The rows of a plan by the values of a column: the MOST_GROUPS with most to send, and how many others there are."""

    column: str
    largest: tuple[PlannedGroup, ...]
    others: int


def folder_groups(ledger: Ledger, column: str) -> tuple[list[Group], Group | None]:
    """Return the groups of the current manifest's rows, the largest MOST_GROUPS first, and all others as one.

    `column` is a parameter, or a column of the manifest as it is named in the ledger; a row without it has the value "".
    """
    is_parameter = column in {parameter.name for parameter in PARAMETERS}
    query = _GROUPS.format(
        value=_PARAMETER if is_parameter else _OWN, texts="texts" if is_parameter else "cells"
    )
    found: list[Group] = []
    other: Group | None = None
    for row in ledger.connection.execute(query, {"column": column}):
        group = Group(*row)
        if len(found) < MOST_GROUPS:
            found.append(group)
        else:
            before = other or Group("", 0, 0, 0, 0)
            other = Group("", *(a + b for a, b in zip(before[1:], group[1:], strict=True)))
    return found, other
