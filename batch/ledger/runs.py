"""The runs of a folder: what a lost one may have sent, what is planned again, and what the last ones say.

A run has one row. It is written in the transaction that adopts the manifest, closed when the run has its exit code, and
marked `by_itself` only when all reports are on disk: the cap of a run without that mark is continued by the next one.

Where the ledger lost its end (see mark.py) every job that a lost run may have sent is unknown (`suspect`). It is looked for
in the account's history, and sent again only when it is proven absent there. A value that was sent and is lost too (the URL
of an upload, a drawn seed) is null in `sent`: the job can be proven absent, but no request can be proven to be its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batch.core import error_classes
from batch.core.parameters import IMAGE_PARAMETERS
from batch.ledger import candidates, integrity
from batch.ledger.meta import Meta
from batch.ledger.states import OPEN, Event, State, paid
from batch.ledger.store import JOBS_A_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.ledger.ledger import Ledger

_SUSPECTS = f"""
SELECT j.job AS job, j.parameters AS parameters, max(r.asked_key <> j.payload_key AND NOT r.redone) AS drawn
FROM jobs j JOIN rows r ON r.job = j.job
WHERE j.{OPEN} AND j.state = '{State.PLANNED}' AND r.position IS NOT NULL AND (:rows OR j.job <= :job)
  -- an event after the loss proves that this ledger sent the job itself; a retry proves nothing about the lost run
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.job = j.job AND e.seq > :seq AND e.event <> '{Event.RETRY}')
GROUP BY j.job ORDER BY j.job
"""


def has_lost_end(ledger: Ledger) -> bool:
    """Return whether this ledger has ever lost its end."""
    return ledger.loss is not None or ledger.meta(Meta.LOSS) is not None


def suspect(ledger: Ledger, price: int) -> int:
    """Move the planned jobs that a lost run may have sent to unknown; return how many. Runs inside `atomic`.

    So are jobs that had failed when a later run wants to retry them, and, where rows were lost as well, those of every
    row that comes to the folder later: which manifests it has seen is not known. `price` is what one costs, in
    micro-dollars.
    """
    execute = ledger.connection.execute
    if ledger.loss is not None:
        for sha256, url, at in ledger.mark.uploads() if ledger.mark is not None else ():
            execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (sha256, url, at))
        seq, job = execute(
            "SELECT (SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(job), 0) FROM jobs)"
        ).fetchone()
        rows = ledger.loss.rows  # where they were lost, so were their seeds
        lost = {"since": ledger.loss.since, "seq": seq, "job": job, "rows": rows, "seeds": rows}
        ledger.set_meta(Meta.LOSS, json.dumps(lost))
    text = ledger.meta(Meta.LOSS)
    if text is None:
        return 0
    lost = integrity.parsed(text)
    suspects = [
        *execute(_SUSPECTS, lost).fetchall(),
        *candidates.suspects(ledger, lost["job"], lost["seq"]),
    ]
    for row in suspects:
        parameters = integrity.parsed(row["parameters"])
        sent: dict[str, str | None] = {"seed": None} if lost["seeds"] and row["drawn"] else {}
        for name in IMAGE_PARAMETERS:
            kind, _, sha256 = str(parameters[name]).partition(":")
            if kind == "sha256":
                found = execute("SELECT url FROM uploads WHERE sha256=?", (sha256,)).fetchone()
                sent[name] = found["url"] if found else None
        ledger.transition(
            row["job"], Event.RESERVE, submitted_at=lost["since"], estimate=price, sent=json.dumps(sent)
        )
        ledger.transition(
            row["job"],
            Event.LOSE,
            error_class=error_classes.LOST_LEDGER,
            error="The ledger lost what was written last: this row may have been sent, accepted and billed.",
        )
    return len(suspects)


def requeue_failed(ledger: Ledger, *, pay_again: bool = False) -> None:
    """Let the selected failed and expired jobs be planned again, paid ones only with `pay_again`; inside `atomic`."""
    after = -1
    while again := ledger.connection.execute(
        f"SELECT j.job FROM jobs j WHERE j.{OPEN} AND j.state IN ('failed', 'expired') AND j.job > ? "
        f"AND EXISTS (SELECT 1 FROM rows r WHERE r.job = j.job AND r.selected) AND (? OR NOT {paid('j')}) "
        "ORDER BY j.job LIMIT ?",
        (after, pay_again, JOBS_A_PAGE),
    ).fetchall():
        for row in again:
            ledger.transition(row["job"], Event.RETRY)
        after = again[-1]["job"]


def has_sent(ledger: Ledger) -> bool:
    """Return whether a POST ever left this folder, or may have."""
    sent = ledger.connection.execute("SELECT 1 FROM events WHERE event=? LIMIT 1", (Event.RESERVE,))
    return sent.fetchone() is not None


def has_sent_pilot_only(ledger: Ledger) -> bool:
    """Return whether this folder has sent a pilot, and no run of the whole manifest was begun to send the rest."""
    return ledger.meta(Meta.PILOT_ONLY) is not None


def last_run(ledger: Ledger) -> Mapping[str, Any] | None:
    """Return the last run's line, or None when there was none."""
    row = ledger.connection.execute("SELECT * FROM runs ORDER BY run DESC LIMIT 1").fetchone()
    return dict(row) if row else None


def last_success(ledger: Ledger) -> float | None:
    """Return when a run last ended with everything done, epoch seconds, None when none has."""
    ended: float | None = ledger.connection.execute(
        "SELECT max(ended_at) FROM runs WHERE exit_code=0"
    ).fetchone()[0]
    return ended
