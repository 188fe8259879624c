"""What people decided of rows' images: accepted, rejected, cleared; by whom, when, and for which image.

Decisions are append-only, and each is about one image, known by its hash. The one that holds for a row is the last one about
the image that the row has now, wherever that lies. Another image of the row is undecided: the report then shows `cleared`,
and what was decided before. A row that has no image of its own work, because that failed or is under way, shows what was
decided last.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.ledger.ledger import Ledger


class Decision(StrEnum):
    """What can be decided of an image. The values are in ledgers and reports: they never change."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CLEARED = "cleared"


REASONS = ("texture", "colour", "shape", "framing", "background", "artefact", "other")
"""Why an image is rejected, in a word."""

IMAGE = (
    "CASE WHEN j.state = 'saved' AND r.kept_job = r.job "
    "THEN coalesce(a.sha256, CASE WHEN a.row IS NULL AND r.kept_changed THEN r.kept_sha256 END, j.sha256) END"
)
"""The hash of the image that a row `r` with its job `j` has now, NULL for none; `a` is what a check of the images found."""

WAS_REJECTED = (
    "coalesce((SELECT decision FROM decisions d WHERE d.row = {0}.row AND d.sha256 = {1}.sha256 ORDER BY d.seq DESC LIMIT 1) "
    f"= '{Decision.REJECTED}', 0)"
)
"""The SQL condition that the image of a job was rejected for a row, whose aliases are to be filled in."""


def load_current(ledger: Ledger) -> None:
    """List in a temporary table, `decided`, what holds for each row that was ever decided about: one line a row.

    `decision`, `reason`, `note`, `by`, `at` and `sha256` are those of its last decision about the image that it has now; with
    `outdated` 1 there is none, and they are those of the last one about another image. Call it after the images were checked.
    """
    execute = ledger.connection.execute
    execute("DROP TABLE IF EXISTS temp.decided")
    execute(
        "CREATE TEMP TABLE decided AS SELECT c.row AS row, c.own IS NULL AS outdated, "
        "d.decision, d.reason, d.note, d.by, d.at, d.sha256 FROM "
        "(SELECT n.row, (SELECT max(seq) FROM decisions WHERE row = n.row AND (n.image IS NULL OR sha256 = n.image)) AS own, "
        "(SELECT max(seq) FROM decisions WHERE row = n.row) AS last FROM "
        f"(SELECT r.row AS row, {IMAGE} AS image FROM rows r JOIN jobs j USING (job) LEFT JOIN temp.away a ON a.row = r.row "
        "WHERE r.row IN (SELECT row FROM decisions)) n) c "
        "JOIN decisions d ON d.seq = coalesce(c.own, c.last)"
    )
    execute("CREATE INDEX temp.decided_row ON decided (row)")


def rows_with(ledger: Ledger, decision: Decision) -> frozenset[str]:
    """Return the ids of the manifest's rows whose present image was so decided."""
    if ledger.connection.execute("SELECT 1 FROM decisions LIMIT 1").fetchone() is None:
        return frozenset()
    load_current(ledger)
    found = ledger.connection.execute(
        "SELECT r.id FROM temp.decided d JOIN rows r USING (row) JOIN jobs j USING (job) WHERE r.position IS NOT NULL "
        "AND j.state = 'saved' AND r.kept_job = r.job AND NOT d.outdated AND d.decision = ?",
        (decision,),
    )
    return frozenset(row["id"] for row in found)
