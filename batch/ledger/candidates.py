"""Candidates: further images of a row, each of another seed, of which a person chooses one.

A row's candidates are the members of the series that holds its job; the row's own job is one of them, and which of them it
has changes nothing about the series. Series of one number are the same work but for the seed, so rows that share a job share
its candidates, paid for once.

Rule 1: `plan` decides which rows get candidates, before anybody is asked for the price; `adopt` makes no more than that.
Rule 2: a candidate is sent only by a command that asked for it: one that was left over is counted again by the next that asks.
Rule 3: a row whose own work failed, or may be at the service without an answer, gets none: its candidates would end the same.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from batch.core.models import key_and_json
from batch.core.parameters import MAX_SEED
from batch.ledger import decisions, integrity
from batch.ledger.meta import Meta
from batch.ledger.series import PRESENT, WANTED, WITHOUT_LIST
from batch.ledger.states import Event, paid

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.ledger.ledger import Ledger

SERIES_A_PAGE = 500

_TABLES = """
CREATE TEMP TABLE asking (id TEXT, place INTEGER, work INTEGER, series INTEGER);  -- work, series: a key where there is no job
CREATE INDEX temp.asking_series ON asking (series, work);
CREATE INDEX temp.asking_work ON asking (work);
CREATE INDEX temp.asking_id ON asking (id);
CREATE TEMP TABLE pool (series INTEGER, job INTEGER, own INTEGER, rank INTEGER);
CREATE INDEX temp.pool_series ON pool (series, rank);
"""

_ASKING = f"""
INSERT INTO asking
SELECT s.id, s.place, s.work, coalesce(
    (SELECT c.series FROM rows r JOIN candidates c ON c.row = r.row WHERE r.id = s.id AND c.job = s.work),
    (SELECT min(+series) FROM candidates WHERE job = s.work),  -- not through the index of all series
    s.work)
FROM ({{rows}}) s
WHERE (s.state IS NULL OR s.state NOT IN ({WITHOUT_LIST})) AND NOT s.other_query
  AND (:named OR NOT EXISTS (SELECT 1 FROM rows r JOIN temp.decided d ON d.row = r.row
       WHERE r.id = s.id AND r.job = s.work AND d.decision = 'accepted' AND NOT d.outdated))
"""

_POOL = """
INSERT INTO pool
SELECT p.series, p.job, p.own,
       row_number() OVER (PARTITION BY p.series ORDER BY p.own DESC, j.state IS 'planned', p.job)
FROM (SELECT DISTINCT series, work AS job, 1 AS own FROM asking
      UNION ALL
      SELECT DISTINCT c.series, c.job, 0 FROM candidates c WHERE c.series IN (SELECT series FROM asking)
      AND NOT EXISTS (SELECT 1 FROM asking a WHERE a.series = c.series AND a.work = c.job)) p
LEFT JOIN jobs j ON j.job = p.job
"""
"""The members of each series, in the order in which they are wanted: what was sent already before what was only planned."""

_AGAIN = f"j.state IN ('failed', 'expired') AND :retry AND (:again OR NOT {paid('j')})"


def plan(
    ledger: Ledger,
    rows: str,
    number: int,
    *,
    named: bool,
    retry_failed: bool = False,
    pay_again: bool = False,
) -> int:
    """Decide which of these rows (STAGED or ADOPTED, see staging.py) get how many candidates; return the jobs to send for it.

    Each row gets `number` images in all. Accepted ones get none unless they were `named`. Failed candidates are sent once
    more with `retry_failed`, those that were billed only with `pay_again`. Writes nothing but temporary tables. With a ledger
    that lost its end there are none: those that were planned may have been sent.
    """
    execute = ledger.connection.execute
    if number < 2 or ledger.loss is not None:
        return 0
    for table in ("asking", "pool"):
        execute(f"DROP TABLE IF EXISTS temp.{table}")
    decisions.load_current(ledger)
    for statement in _TABLES.split(";"):
        execute(statement)
    execute(_ASKING.format(rows=rows), {"named": named})
    execute(_POOL)
    values = {"number": number, "retry": retry_failed, "again": pay_again}
    new: int = execute(
        "SELECT coalesce(sum(max(:number - members, 0)), 0) FROM "
        "(SELECT count(*) AS members FROM pool GROUP BY series)",
        values,
    ).fetchone()[0]
    known: int = execute(
        "SELECT count(DISTINCT p.job) FROM pool p JOIN jobs j ON j.job = p.job WHERE NOT p.own AND p.rank <= :number "
        f"AND (j.state = 'planned' OR ({_AGAIN})) AND NOT EXISTS (SELECT 1 FROM asking a WHERE a.work = p.job)",
        values,
    ).fetchone()[0]
    return new + known


BY_PLACE = f"""
SELECT min(a.place) AS place, max(:number - (SELECT count(*) FROM pool p WHERE p.series = a.series), 0) + (
    SELECT count(*) FROM pool p JOIN jobs j ON j.job = p.job WHERE p.series = a.series AND NOT p.own AND p.rank <= :number
    AND (j.state = 'planned' OR ({_AGAIN})) AND NOT EXISTS (SELECT 1 FROM asking b WHERE b.work = p.job)) AS jobs
FROM asking a GROUP BY a.series
"""
"""After `plan`, and with its values: the jobs that it counted, at the first row of each series."""


def adopt(
    ledger: Ledger,
    number: int,
    *,
    retry_failed: bool = False,
    pay_again: bool = False,
    draw: Callable[[], int] = lambda: secrets.randbelow(MAX_SEED + 1),
) -> None:
    """Make the candidates that `plan` counted: their seeds are drawn and written down. Runs inside `atomic`.

    Called after the rows were adopted, also where no candidates are asked for (`number` 1): those of an earlier command are
    not wanted any longer. The arguments are those of `plan`.
    """
    execute = ledger.connection.execute
    forget_wanted(ledger)
    if number < 2 or ledger.loss is not None:
        return
    _draw_missing(ledger, number, draw)
    execute(
        "INSERT INTO candidates (row, series, job, wanted) SELECT r.row, p.series, p.job, NOT p.own FROM asking a "
        "JOIN rows r ON r.id = a.id AND r.job = a.work JOIN pool p ON p.series = a.series WHERE p.rank <= ? OR p.own "
        "ON CONFLICT (row, job) DO UPDATE SET series=excluded.series, wanted=excluded.wanted",
        (number,),
    )
    if retry_failed:
        failed = execute(
            f"SELECT DISTINCT j.job AS job FROM candidates c JOIN jobs j ON j.job = c.job WHERE c.wanted AND {_AGAIN}",
            {"retry": True, "again": pay_again},
        )
        for row in failed.fetchall():
            ledger.transition(row["job"], Event.RETRY)


def _draw_missing(ledger: Ledger, number: int, draw: Callable[[], int]) -> None:
    """Plan new jobs for the series that have too few, as far as a row got the work that it was planned with."""
    execute = ledger.connection.execute
    ignore_url_query = ledger.meta(Meta.IGNORE_URL_QUERY) == "1"
    after = -1
    while page := execute(
        "SELECT p.series AS series, count(*) AS members, (SELECT j.parameters FROM asking a "
        "JOIN rows r ON r.id = a.id AND r.job = a.work JOIN jobs j ON j.job = a.work "
        "WHERE a.series = p.series ORDER BY a.place LIMIT 1) AS parameters "
        "FROM pool p WHERE p.series > ? GROUP BY p.series HAVING count(*) < ? ORDER BY p.series LIMIT ?",
        (after, number, SERIES_A_PAGE),
    ).fetchall():
        for series in page:
            if series["parameters"] is None:
                continue
            parameters = integrity.parsed(series["parameters"])
            for rank in range(series["members"] + 1, number + 1):
                job = _planned(ledger, parameters, draw, ignore_url_query=ignore_url_query)
                execute(
                    "INSERT INTO pool (series, job, own, rank) VALUES (?, ?, 0, ?)",
                    (series["series"], job, rank),
                )
        after = page[-1]["series"]


def _planned(
    ledger: Ledger, parameters: dict[str, Any], draw: Callable[[], int], *, ignore_url_query: bool
) -> int:
    """Return a new job with these parameters and a seed with which the ledger has none yet."""
    while True:
        key, text = key_and_json({**parameters, "seed": draw()}, ignore_url_query=ignore_url_query)
        made = ledger.connection.execute(
            "INSERT INTO jobs (payload_key, parameters) VALUES (?, ?) ON CONFLICT (payload_key) DO NOTHING",
            (key, text),
        )
        if made.rowcount and made.lastrowid is not None:
            return made.lastrowid


def forget_wanted(ledger: Ledger) -> None:
    """Let no candidate be wanted: for a command that sends for other reasons. Runs inside `atomic`."""
    ledger.connection.execute("UPDATE candidates SET wanted=0 WHERE wanted")


def end_counts(ledger: Ledger) -> dict[str, int]:
    """Count the candidates that the current command asked for: `pending` ones that were not sent, and `failed` ones."""
    counts = ledger.connection.execute(
        "SELECT count(DISTINCT job) FILTER (WHERE state = 'planned') AS pending, "
        "count(DISTINCT job) FILTER (WHERE state IN ('failed', 'expired', 'abandoned')) AS failed "
        f"FROM (SELECT j.job, j.state FROM {WANTED})",
        {"pilot": None},
    ).fetchone()
    return dict(counts)


class CandidateCounts(NamedTuple):
    """A folder's candidates beside each row's own image: saved ones, those that failed or expired, and unknown ones."""

    made: int
    failed: int
    unknown: int


def counts(ledger: Ledger) -> CandidateCounts:
    """Count the folder's candidates."""
    found = ledger.connection.execute(
        "SELECT count(*) FILTER (WHERE state = 'saved'), count(*) FILTER (WHERE state IN ('failed', 'expired')), "
        "count(*) FILTER (WHERE state = 'unknown') "
        "FROM (SELECT DISTINCT j.job, j.state FROM candidates c JOIN jobs j ON j.job = c.job JOIN rows r ON r.row = c.row "
        f"WHERE r.position IS NOT NULL AND c.job <> r.job AND {PRESENT} "
        "AND NOT EXISTS (SELECT 1 FROM rows o WHERE o.job = c.job AND o.position IS NOT NULL))"
    ).fetchone()
    return CandidateCounts(*found)


def suspects(ledger: Ledger, last_job: int, last_event: int) -> list[Any]:
    """Return the planned candidates that a lost run may have sent: job, parameters.

    They were there before the loss (`last_job`) and nothing was recorded of them since (`last_event`). Those that are made
    later have seeds of their own, and were asked for with their price.
    """
    return ledger.connection.execute(
        "SELECT DISTINCT j.job AS job, j.parameters AS parameters, 0 AS drawn FROM candidates c JOIN jobs j ON j.job = c.job "
        "WHERE j.state = 'planned' AND j.job <= ? AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.job = j.job) "
        "AND NOT EXISTS (SELECT 1 FROM events e WHERE e.job = j.job AND e.seq > ? AND e.event <> 'retry') ORDER BY j.job",
        (last_job, last_event),
    ).fetchall()
