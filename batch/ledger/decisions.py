"""What people decided of rows' images: accepted, rejected, cleared; by whom, when, and for which image.

Decisions are append-only, and each is about one image, known by its hash. The one that holds for a row is the last one about
the image that the row has now, wherever that lies. Another image of the row is undecided: the report then shows `cleared`,
and what was decided before. A row that has no image of its own work, because that failed or is under way, shows what was
decided last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch.core.units import iso
from batch.ledger.meta import Meta
from batch.ledger.states import REPORTED, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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

SHOWN = f"CASE WHEN j.state = '{State.SAVED}' AND r.kept_job IS NOT r.job THEN '{State.COMPLETED}' ELSE j.state END"
"""A row's state: its job's, except that a saved job's image may not lie there for this row yet."""

_ROWS = "rows r JOIN jobs j USING (job) LEFT JOIN temp.away a ON a.row = r.row"
_BEFORE_CHOICE = (
    "(SELECT max(d.seq) FROM decisions d WHERE d.row = n.row AND d.sha256 = (SELECT h.sha256 FROM choices o "
    "JOIN jobs h ON h.job = o.had WHERE o.row = n.row AND o.job = n.job ORDER BY o.seq DESC LIMIT 1))"
)
"""The last decision about the image that a row `n` had before its present one was chosen, NULL for none."""

_DECIDED = "d.row IS NOT NULL AND NOT d.outdated AND d.decision <> 'cleared'"


@dataclass(frozen=True, slots=True)
class ShownDecision:
    """What the report shows of a row's decisions, as text; all is "" for a row that was never decided about.

    Of an image that nobody decided about, while an earlier one of its row was, it is `cleared` by nobody, at no time.
    """

    decision: str = ""
    reason: str = ""
    note: str = ""
    by: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A row as somebody decides about it: its present image's hash (None: it has none) and what is shown of it.

    `image` is UNREADABLE where its file cannot be read. `listed` says whether the row is in the manifest, `status` is the
    reported one.
    """

    row: int
    id: str
    listed: bool
    status: str
    image: str | None
    shown: ShownDecision


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision about the present image of a row, to be appended."""

    row: int
    decision: Decision
    reason: str | None
    note: str | None
    by: str
    sha256: str


def load_current(ledger: Ledger, ids: Sequence[str] | None = None) -> None:
    """List in a temporary table, `decided`, what holds for each row that was ever decided about: one line a row.

    `decision`, `reason`, `note`, `by`, `at` and `sha256` are those of its last decision about the image that it has now; with
    `outdated` 1 there is none, and they are those of the last one about another image: the one that the row had before its
    present one was chosen, where that was decided about. With `ids` these rows only. Call it
    after the images were checked.
    """
    execute = ledger.connection.execute
    named = "" if ids is None else "r.id IN (SELECT value FROM json_each(:ids)) AND "
    execute("DROP TABLE IF EXISTS temp.decided")
    execute(
        "CREATE TEMP TABLE decided AS SELECT c.row AS row, c.own IS NULL AS outdated, "
        "d.decision, d.reason, d.note, d.by, d.at, d.sha256 FROM "
        "(SELECT n.row, (SELECT max(seq) FROM decisions WHERE row = n.row AND (n.image IS NULL OR sha256 = n.image)) AS own, "
        f"coalesce({_BEFORE_CHOICE}, (SELECT max(seq) FROM decisions WHERE row = n.row)) AS last FROM "
        f"(SELECT r.row AS row, r.job AS job, {IMAGE} AS image FROM {_ROWS} WHERE {named}r.row IN (SELECT row FROM decisions)) n) c "
        "JOIN decisions d ON d.seq = coalesce(c.own, c.last)",
        {"ids": json.dumps(ids)},
    )
    execute("CREATE INDEX temp.decided_row ON decided (row)")


def shown(line: Mapping[str, Any]) -> ShownDecision:
    """Return what the report shows for a line of `decided`; all None stands for a row without one."""
    if line["decision"] is None:
        return ShownDecision()
    if line["outdated"] and line["decision"] != Decision.CLEARED:
        why = f" ({line['reason']})" if line["reason"] else ""
        note = f"another image than the one that was {line['decision']}{why} by {line['by']}"
        return ShownDecision(Decision.CLEARED, note=note)
    return ShownDecision(
        line["decision"], line["reason"] or "", line["note"] or "", line["by"], iso(line["at"])
    )


def rows_with(ledger: Ledger, decision: Decision, *, failed: bool = False) -> frozenset[str]:
    """Return the ids of the manifest's rows whose present image was so decided.

    With `failed` those too whose last image was, because what was to follow it failed, expired or was given up.
    """
    if ledger.connection.execute("SELECT 1 FROM decisions LIMIT 1").fetchone() is None:
        return frozenset()
    load_current(ledger)
    found = ledger.connection.execute(
        "SELECT r.id FROM temp.decided d JOIN rows r USING (row) JOIN jobs j USING (job) WHERE r.position IS NOT NULL "
        "AND ((j.state = 'saved' AND r.kept_job = r.job) OR (:failed AND j.state IN ('failed', 'expired', 'abandoned'))) "
        "AND NOT d.outdated AND d.decision = :decision",
        {"failed": failed, "decision": decision},
    )
    return frozenset(row["id"] for row in found)


def judged_rows(ledger: Ledger, ids: Sequence[str]) -> dict[str, JudgedRow]:
    """Return the rows with these ids, by id, as far as there are any; call it after their images were checked."""
    load_current(ledger, ids)
    found = ledger.connection.execute(
        f"SELECT r.row AS row, r.id, r.position IS NOT NULL AS listed, {SHOWN} AS state, "
        f"{IMAGE} AS image, d.outdated, d.decision, d.reason, d.note, d.by, d.at FROM json_each(?) n CROSS JOIN {_ROWS} "
        "LEFT JOIN temp.decided d ON d.row = r.row WHERE r.id = n.value",
        (json.dumps(ids),),
    )
    return {
        line["id"]: JudgedRow(
            line["row"],
            line["id"],
            bool(line["listed"]),
            REPORTED.get(line["state"], line["state"]),
            line["image"],
            shown(line),
        )
        for line in found
    }


def ids_with(ledger: Ledger, sha256: str) -> list[str]:
    """Return the ids of the manifest's rows that have this image now, as far as the images were checked."""
    found = ledger.connection.execute(
        f"SELECT r.id FROM {_ROWS} WHERE r.position IS NOT NULL AND {IMAGE} = ? ORDER BY r.position",
        (sha256,),
    )
    return [line["id"] for line in found]


def undecided(ledger: Ledger, except_for: Iterable[str]) -> list[str]:
    """Return the ids of the manifest's rows whose present image nobody accepted or rejected, but for these.

    An image that cannot be read is not among them. Call it after the images were checked.
    """
    load_current(ledger)
    found = ledger.connection.execute(
        f"SELECT r.id FROM {_ROWS} LEFT JOIN temp.decided d ON d.row = r.row "
        f"WHERE r.position IS NOT NULL AND {IMAGE} <> '' AND NOT ({_DECIDED}) "
        "AND r.id NOT IN (SELECT value FROM json_each(?)) ORDER BY r.position",
        (json.dumps(list(except_for)),),
    )
    return [line["id"] for line in found]


def earlier(ledger: Ledger, row: int) -> dict[str, ShownDecision]:
    """Return every decision about a row by its time, as the report showed it."""
    found = ledger.connection.execute(
        "SELECT 0 AS outdated, decision, reason, note, by, at FROM decisions WHERE row=? ORDER BY seq", (row,)
    )
    return {decided.at: decided for decided in map(shown, found)}


def append(ledger: Ledger, decided: Iterable[NewDecision]) -> None:
    """Append decisions, made now. Runs inside `atomic`."""
    now = ledger.clock()
    ledger.connection.executemany(
        "INSERT INTO decisions (row, decision, reason, note, by, at, sha256) VALUES (?,?,?,?,?,?,?)",
        [(new.row, new.decision, new.reason, new.note, new.by, now, new.sha256) for new in decided],
    )


def last(ledger: Ledger) -> int:
    """Return the number of the last decision, 0 when nothing was decided yet."""
    number: int = ledger.connection.execute("SELECT coalesce(max(seq), 0) FROM decisions").fetchone()[0]
    return number


def counts(ledger: Ledger) -> dict[str, int]:
    """Count the manifest's rows whose present image is accepted or rejected, as far as the images were checked."""
    found = ledger.connection.execute(
        "SELECT d.decision, count(*) FROM "
        f"(SELECT r.row AS row, {IMAGE} AS image FROM {_ROWS} WHERE r.position IS NOT NULL "
        "AND r.row IN (SELECT row FROM decisions)) n "
        "JOIN decisions d ON d.seq = (SELECT max(seq) FROM decisions WHERE row = n.row AND sha256 = n.image) GROUP BY 1"
    )
    return dict(found.fetchall())


# -- the files that show them -----------------------------------------------------------------------------------------

_REMEMBERED = 4
"""Versions of decisions.csv that are known as our own: a process may be killed before or after one was renamed into place."""


def written_files(ledger: Ledger) -> list[str]:
    """Return the hashes of the decisions.csv that texbatch wrote last, or has taken the edits of; the newest last."""
    files: list[str] = json.loads(ledger.meta(Meta.DECISIONS_FILES) or "[]")
    return files


def note_file(ledger: Ledger, sha256: str) -> None:
    """Note the hash of a decisions.csv that is texbatch's own to overwrite. Runs inside `atomic`."""
    others = [known for known in written_files(ledger) if known != sha256]
    ledger.set_meta(Meta.DECISIONS_FILES, json.dumps([*others, sha256][-_REMEMBERED:]))


def are_shown(ledger: Ledger) -> bool:
    """Return whether the reports in the folder show every decision that there is."""
    return int(ledger.meta(Meta.DECISIONS_SHOWN) or 0) >= last(ledger)


def note_shown(ledger: Ledger, seq: int) -> None:
    """Note that the reports in the folder show all decisions up to this one. Runs inside `atomic`."""
    ledger.set_meta(Meta.DECISIONS_SHOWN, str(seq))
