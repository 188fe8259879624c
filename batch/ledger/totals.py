"""What the report, the summary and `status` read from the ledger: rows, counts, money. It changes nothing.

Money is what the service named for each finished job, summed over the events, so work that was paid for and then
replaced or found unusable stays on the bill.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from batch.core import error_classes
from batch.core.models import seed_name
from batch.core.parameters import RANDOM_SEED
from batch.ledger import candidates, decisions, integrity
from batch.ledger.decisions import IMAGE, SHOWN, ShownDecision
from batch.ledger.meta import Meta
from batch.ledger.prices import job_price
from batch.ledger.series import PRESENT, rows_of
from batch.ledger.states import AT_RISK, IN_FLIGHT, OPEN, REPORTED, Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch.core.parameters import Scalar
    from batch.ledger.candidates import CandidateCounts
    from batch.ledger.ledger import Ledger


TOP_ERRORS = 10

RATE_WINDOW_S = 300.0
"""The rate is that of the last minutes: a job may take one."""

MOST_EVENTS = 20_000
LAST_ERRORS = 5


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row of the current manifest with its outcome; `outcome` holds every column of jobs, None where unknown.

    `manifest_seed` is the seed that its row of the manifest asks for, None where that is any seed and the row was given one.
    `output_state` is whether a saved image was present, moved away or changed when the folder was checked; `decision` what
    people decided, and `image` the hash of the image that the row has now, None for none. A row `as_given` is invalid: its
    parameters are texts, as a manifest writes them (see InvalidRow), and it has no key.
    """

    id: str
    status: str
    cells: Mapping[str, str]
    parameters: Mapping[str, Scalar]
    files: Mapping[str, str]
    manifest_seed: int | None
    output: str | None
    payload_key: str
    outcome: Mapping[str, Any]
    output_state: str | None
    decision: ShownDecision
    image: str | None
    as_given: bool = False


_OF_INVALID: dict[str, Any] = {
    "error_class": error_classes.INVALID, "attempts": 0, "cost": 0, "sha256": None, "kept_output": None,
}  # fmt: skip
"""What the report says of every invalid row."""


@dataclass(frozen=True, slots=True)
class FolderTotals:
    """The folder's figures: rows of the current manifest by reported status, and micro-dollars over its whole life.

    `run_spent` is what the run that began last spent of it, less than nothing where it found that a job was not billed.
    `at_risk` is what perhaps paid or paid work without an image on disk may have cost: an estimate.
    `moved` and `changed` count saved images that are not as they were saved, as far as the folder was checked; `accepted`
    and `rejected` those that people decided about. `candidates` counts further images of rows.
    """

    rows: int
    statuses: Mapping[str, int]
    spent: int
    run_spent: int
    estimated: int
    at_risk: int
    errors: tuple[tuple[str, int, str], ...]
    moved: int
    changed: int
    candidates: CandidateCounts
    accepted: int
    rejected: int


@dataclass(frozen=True, slots=True)
class RecentError:
    """A job that failed, expired or became unknown, and when (epoch seconds)."""

    at: float
    id: str
    state: str
    error: str


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """One moment: the last run's line (None: there was none), jobs by state, and the pace.

    `per_minute` images over the last minutes, `left` rows that this run still has before it, `eta_s` seconds until
    they are done at that pace, None when it is not known. `idle_s` is how long ago anything happened.
    """

    run: Mapping[str, Any] | None
    states: Mapping[str, int]
    in_flight: int
    per_minute: float
    left: int
    eta_s: float | None
    idle_s: float
    recent_errors: tuple[RecentError, ...]

    @property
    def is_running(self) -> bool:
        """Whether the last run has not recorded its end; it may have been killed."""
        return self.run is not None and self.run["ended_at"] is None


@dataclass(frozen=True, slots=True)
class Stray:
    """A paid or perhaps paid (`unknown`) job that no row of the current manifest wants: it was taken out, or changed.

    `name` is the id of a row that wanted it, or its number.
    """

    name: str
    unknown: bool


@dataclass(frozen=True, slots=True)
class UnknownJob:
    """A job that may have been accepted: the ids of its rows, when it was sent (epoch seconds), micro-dollars at risk.

    A candidate is called after its rows and its seed (`seed_name`), as if these were ids; `candidate_of` are their ids.
    """

    job: int
    ids: tuple[str, ...]
    candidate_of: tuple[str, ...]
    submitted_at: float | None
    at_risk: int
    why: str


def unknown_jobs(ledger: Ledger) -> list[UnknownJob]:
    """Return the jobs that may have been accepted, oldest first, as a person decides about them."""
    known = job_price(ledger).micro
    jobs = ledger.connection.execute(
        f"SELECT job, submitted_at, estimate, error FROM jobs WHERE {OPEN} AND state=? ORDER BY submitted_at",
        (State.UNKNOWN,),
    ).fetchall()
    query = "SELECT id FROM rows WHERE job=? ORDER BY position"
    of = rows_of(ledger.connection, [job["job"] for job in jobs])
    found = []
    for job in jobs:
        own = tuple(row["id"] for row in ledger.connection.execute(query, (job["job"],)))
        rows = () if own else of.get(job["job"], ())
        found.append(
            UnknownJob(
                job["job"],
                own or tuple(seed_name(row["id"], row["seed"]) for row in rows),
                tuple(row["id"] for row in rows),
                job["submitted_at"],
                job["estimate"] if job["estimate"] is not None else known,
                job["error"] or "",
            )
        )
    return found


def strays(ledger: Ledger) -> tuple[Stray, ...]:
    """Return the jobs at risk that no row of the current manifest wants."""
    found = ledger.connection.execute(
        "SELECT job, state, (SELECT id FROM rows r WHERE r.job = j.job ORDER BY row LIMIT 1) AS id FROM jobs j "
        f"WHERE {OPEN} AND state IN ({','.join('?' * len(AT_RISK))}) "
        "AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.job = j.job AND r.position IS NOT NULL) "
        "AND NOT EXISTS (SELECT 1 FROM candidates c JOIN rows r ON r.row = c.row "
        f"WHERE c.job = j.job AND r.position IS NOT NULL AND {PRESENT}) ORDER BY job",
        AT_RISK,
    )
    return tuple(Stray(row["id"] or f"job {row['job']}", row["state"] == State.UNKNOWN) for row in found)


def report_rows(ledger: Ledger) -> Iterator[ReportRow]:
    """Yield every row of the current manifest, invalid ones too, in its order, one at a time."""
    decisions.load_current(ledger)
    rows = heapq.merge(_good_rows(ledger), _invalid_rows(ledger), key=itemgetter(0))
    return (row for _, row in rows)


def _invalid_rows(ledger: Ledger) -> Iterator[tuple[int, ReportRow]]:
    for row in ledger.connection.execute("SELECT * FROM invalid ORDER BY position"):
        yield (
            row["position"],
            ReportRow(
                id=row["id"],
                status=State.FAILED,
                cells=integrity.parsed(row["cells"]),
                parameters=integrity.parsed(row["texts"]),
                files={},
                manifest_seed=None,
                output=None,
                payload_key="",
                outcome=_OF_INVALID | {"error": row["error"]},
                output_state=None,
                decision=ShownDecision(),
                image=None,
                as_given=True,
            ),
        )


def _good_rows(ledger: Ledger) -> Iterator[tuple[int, ReportRow]]:
    for row in ledger.connection.execute(
        "SELECT r.position, r.id, r.cells, r.files, r.kept_job, r.kept_output, r.redone, r.manifest_seed, "
        f"{SHOWN} AS shown, a.state AS away, {IMAGE} AS image, d.outdated, d.decision, d.reason, d.note, d.by, d.at, k.error AS line_error, j.* "
        "FROM rows r JOIN jobs j USING (job) LEFT JOIN temp.away a ON a.row = r.row "
        "LEFT JOIN temp.decided d ON d.row = r.row "
        "LEFT JOIN kept_invalid k ON k.id = r.id AND NOT k.fixed WHERE r.position IS NOT NULL ORDER BY r.position"
    ):
        status = REPORTED.get(row["shown"], row["shown"])
        errors = [text for text in (row["error"], row["line_error"]) if text]
        report_row = ReportRow(
            id=row["id"],
            status=status,
            cells=integrity.parsed(row["cells"]),
            parameters=integrity.parsed(row["parameters"]),
            files=integrity.parsed(row["files"]),
            manifest_seed=row["manifest_seed"]
            if row["redone"] or row["manifest_seed"] != RANDOM_SEED
            else None,
            output=row["kept_output"] if row["kept_job"] == row["job"] else None,
            payload_key=row["payload_key"],
            outcome=dict(row) | {"error": "; ".join(errors) or None},
            output_state=(row["away"] or "present") if status == State.SAVED else None,
            decision=decisions.shown(row),
            image=row["image"],
        )
        yield row["position"], report_row


def columns(ledger: Ledger) -> list[str]:
    """Return the manifest's own columns, in order."""
    names: list[str] = integrity.parsed(ledger.meta(Meta.COLUMNS) or "[]")
    return names


def headings(ledger: Ledger) -> list[tuple[str, str]] | None:
    """Return the columns of the manifest as the report writes them, in its order, each with the parameter or `id` that it is.

    "" is an own column; None where an earlier version adopted the manifest.
    """
    text = ledger.meta(Meta.HEADINGS)
    return None if text is None else [(heading, meaning) for heading, meaning in integrity.parsed(text)]


def status_counts(ledger: Ledger, *, selected_only: bool = False) -> dict[str, int]:
    """Count the current manifest's rows by reported status; invalid ones are failed."""
    counts: dict[str, int] = {}
    for row in ledger.connection.execute(
        f"SELECT {SHOWN} AS state, count(*) AS n FROM rows r JOIN jobs j USING (job) "
        "WHERE r.position IS NOT NULL AND (r.selected OR NOT ?) GROUP BY 1",
        (selected_only,),
    ):
        state = integrity.state_of(row["state"])
        status = REPORTED.get(state, state)
        counts[status] = counts.get(status, 0) + row["n"]
    if invalid := _invalid(ledger, selected_only=selected_only)[0]:
        counts[State.FAILED] = counts.get(State.FAILED, 0) + invalid
    return counts


def _invalid(ledger: Ledger, *, selected_only: bool = False) -> tuple[int, str]:
    """Return how many rows of the current manifest are invalid, and what is wrong with the first of them."""
    return tuple(
        ledger.connection.execute(
            "SELECT count(*), (SELECT error FROM invalid WHERE selected OR NOT ?1 ORDER BY position LIMIT 1) "
            "FROM invalid WHERE selected OR NOT ?1",
            (selected_only,),
        ).fetchone()
    )


def spent_and_accepted(ledger: Ledger) -> tuple[int, int]:
    """Return the micro-dollars spent in a folder, and how many images of its manifest are accepted."""
    spent: int = ledger.connection.execute("SELECT coalesce(sum(cost), 0) FROM events").fetchone()[0]
    return spent, decisions.counts(ledger).get(decisions.Decision.ACCEPTED, 0)


def folder_totals(ledger: Ledger) -> FolderTotals:
    """Return the folder's figures."""
    counts = status_counts(ledger)
    spent, run_spent, estimated = ledger.connection.execute(
        "SELECT coalesce(sum(cost), 0), coalesce(sum(cost) FILTER (WHERE run_id = "
        "(SELECT run_id FROM runs ORDER BY run DESC LIMIT 1)), 0), coalesce(sum(estimated), 0) FROM events"
    ).fetchone()
    marks = ",".join("?" * len(AT_RISK))
    at_risk: int = ledger.connection.execute(
        f"SELECT coalesce(sum(coalesce(estimate, ?)), 0) FROM jobs WHERE {OPEN} AND state IN ({marks})",
        (job_price(ledger).micro, *AT_RISK),
    ).fetchone()[0]
    decided = decisions.counts(ledger)
    away = dict(ledger.connection.execute("SELECT state, count(*) FROM temp.away GROUP BY state").fetchall())
    errors = ledger.connection.execute(
        "SELECT j.error_class AS error_class, count(*) AS n, min(j.error) AS example FROM "
        "(SELECT job FROM rows WHERE position IS NOT NULL UNION ALL SELECT DISTINCT job FROM candidates WHERE wanted) "
        f"JOIN jobs j USING (job) WHERE j.error_class IS NOT NULL AND j.{OPEN} "
        "GROUP BY j.error_class ORDER BY n DESC, 1 LIMIT ?",
        (TOP_ERRORS,),
    )
    reasons = [(row["error_class"], row["n"], row["example"]) for row in errors]
    invalid, example = _invalid(ledger)
    if invalid:
        reasons = sorted([*reasons, (error_classes.INVALID, invalid, example)], key=lambda reason: -reason[1])
    return FolderTotals(
        rows=sum(counts.values()),
        statuses=counts,
        spent=spent,
        run_spent=run_spent,
        estimated=estimated,
        at_risk=at_risk,
        errors=tuple(reasons[:TOP_ERRORS]),
        moved=away.get("moved", 0),
        changed=away.get("changed", 0),
        candidates=candidates.counts(ledger),
        accepted=decided.get(decisions.Decision.ACCEPTED, 0),
        rejected=decided.get(decisions.Decision.REJECTED, 0),
    )


def folder_status(ledger: Ledger) -> FolderStatus:
    """Return the folder's status now. Made to be read every second: the rate reads the end of the events only."""
    execute, now = ledger.connection.execute, ledger.clock()
    last_run = execute("SELECT * FROM runs ORDER BY run DESC LIMIT 1").fetchone()
    states = {
        row["state"]: row["n"]
        for row in execute(
            "SELECT state, count(*) AS n FROM jobs WHERE job IN (SELECT job FROM rows WHERE position IS NOT NULL) "
            "OR job IN (SELECT job FROM candidates WHERE wanted) GROUP BY state"
        )
    }
    left = status_counts(ledger, selected_only=True).get("pending", 0)
    rate, latest = 0.0, 0.0
    if last_run is not None:
        until = last_run["ended_at"] or now
        window = min(max(until - last_run["started_at"], 1.0), RATE_WINDOW_S)
        saved: int = execute(
            "SELECT count(*) FROM events WHERE seq > (SELECT coalesce(max(seq), 0) FROM events) - ? AND at >= ? AND event = ?",
            (MOST_EVENTS, until - window, Event.KEEP),
        ).fetchone()[0]
        rate, latest = saved / window, last_run["started_at"]
    last_event = execute("SELECT at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    errors = execute(  # the last jobs that failed, expired or became unknown and still are, the latest first
        "SELECT j.job, j.state, j.error, "
        "(SELECT r.id FROM rows r WHERE r.job = j.job ORDER BY r.position LIMIT 1) AS id, "
        "(SELECT max(e.at) FROM events e WHERE e.job = j.job) AS at "
        f"FROM jobs j WHERE j.{OPEN} AND j.state IN (?, ?, ?) ORDER BY at DESC LIMIT ?",
        (State.FAILED, State.EXPIRED, State.UNKNOWN, LAST_ERRORS),
    ).fetchall()
    jobs = [row["job"] for row in errors if row["id"] is None]
    of = rows_of(ledger.connection, jobs) if jobs else {}
    extra = {job: seed_name(rows[0]["id"], rows[0]["seed"]) for job, rows in of.items()}
    return FolderStatus(
        run=None if last_run is None else dict(last_run),
        states=states,
        in_flight=sum(states.get(state, 0) for state in IN_FLIGHT),
        per_minute=rate * 60,
        left=left,
        eta_s=left / rate if rate else None,
        idle_s=max(now - max(last_event["at"] if last_event else 0.0, latest), 0.0),
        recent_errors=tuple(
            RecentError(row["at"], row["id"] or extra.get(row["job"], ""), row["state"], row["error"] or "")
            for row in errors
        ),
    )
