"""Which job is carried next, and the ledger's side of each step of its journey.

Order: what is paid and not yet on disk first, least time left first; then saved pictures that another row wants
too; then planned work in manifest order. Each question reads a bounded number of rows, so the feed holds nothing
that grows with the manifest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from batch.config import LOCAL_SERVICE
from batch.ledger.states import IN_FLIGHT, OPEN, Event, State
from batch.model import Target, Task

if TYPE_CHECKING:
    from collections.abc import Collection

    from batch.ledger.store import Ledger

PAGE = 64  # jobs read at a time

_IN_FLIGHT_LIST = ", ".join(f"'{state}'" for state in IN_FLIGHT)

_IN_FLIGHT = f"""
SELECT job, coalesce(submitted_at, 0) AS a, job AS b FROM jobs
WHERE {OPEN} AND state IN ({_IN_FLIGHT_LIST}) AND run_id IS NOT :run
  AND (coalesce(submitted_at, 0), job) > (:a, :b)
ORDER BY a, b LIMIT :page
"""

_WANTED = """
SELECT DISTINCT r.job AS job, 0 AS a, r.job AS b FROM rows r JOIN jobs j USING (job)
WHERE r.selected AND r.position IS NOT NULL AND (r.kept_job IS NOT r.job OR r.kept_output IS NOT r.output)
  AND j.state = 'saved' AND r.job > :b AND EXISTS (SELECT 1 FROM events)
ORDER BY b LIMIT :page
"""

_PLANNED = """
SELECT r.job AS job, 0 AS a, r.position AS b FROM rows r JOIN jobs j USING (job)
WHERE r.position > :b AND r.selected AND j.state = 'planned'
  AND (:pilot IS NULL OR r.job IN (SELECT value FROM json_each(:pilot)))
  AND NOT EXISTS (SELECT 1 FROM rows e WHERE e.job = r.job AND e.selected AND e.position < r.position)
ORDER BY b LIMIT :page
"""


class Feed:
    """The jobs of this run, each once, in the order they are to be carried.

    A later round gets `settled`, the jobs that were unknown before; in flight are then only those.
    """

    def __init__(self, settled: Collection[int] | None = None) -> None:
        self._questions = [_IN_FLIGHT, _WANTED, _PLANNED] if settled is None else [_PLANNED]
        self._settled = list(settled or ())
        self._wanted: set[int] = set()  # on the local service they are planned anew while this feed goes on
        self._a, self._b = -1.0, -1

    def page(self, ledger: Ledger) -> list[Task]:
        """Return the next jobs, at most PAGE; an empty list when there are no more."""
        if self._settled:
            jobs, self._settled = self._settled, []
            known = [task(ledger, job) for job in jobs]
            going_on = [found for found in known if found.state in IN_FLIGHT]
            if going_on:
                return going_on
        while self._questions:
            page = ledger.connection.execute(
                self._questions[0],
                {
                    "run": ledger.run_id,
                    "a": self._a,
                    "b": self._b,
                    "page": PAGE,
                    "pilot": ledger.meta("pilot"),
                },
            ).fetchall()
            if not page:
                self._questions.pop(0)
                self._a, self._b = -1.0, -1
                continue
            self._a, self._b = page[-1]["a"], page[-1]["b"]
            jobs = [row["job"] for row in page if row["job"] not in self._wanted]
            if self._questions[0] is _WANTED:
                self._wanted.update(jobs)
            if jobs:
                return [task(ledger, job) for job in jobs]
        return []


def open_jobs(ledger: Ledger) -> int:
    """Count the jobs that the feed will yield."""
    total: int = ledger.connection.execute(
        f"SELECT (SELECT count(*) FROM jobs WHERE {OPEN} AND state IN ({_IN_FLIGHT_LIST})) + "
        "(SELECT count(DISTINCT r.job) FROM rows r JOIN jobs j USING (job) WHERE r.selected AND r.position IS NOT NULL "
        "AND ((j.state = 'planned' AND (:pilot IS NULL OR r.job IN (SELECT value FROM json_each(:pilot)))) OR "
        "(j.state = 'saved' AND (r.kept_job IS NOT r.job OR r.kept_output IS NOT r.output))))",
        {"pilot": ledger.meta("pilot")},
    ).fetchone()[0]
    return total


def choose_pilot(ledger: Ledger, number: int | None) -> None:
    """Let only `number` planned jobs, spread evenly over the manifest, be fed; None: all. Runs inside `atomic`."""
    run = ledger.connection.execute
    run("DELETE FROM meta WHERE name='pilot'")
    if number is None:
        return
    planned = "FROM rows r JOIN jobs j USING (job) WHERE r.selected AND r.position IS NOT NULL AND j.state='planned'"
    total: int = run(f"SELECT count(DISTINCT r.job) {planned}").fetchone()[0]
    places = {i * total // number for i in range(number)} if number < total else range(total)
    ordered = run(f"SELECT r.job AS job, min(r.position) AS place {planned} GROUP BY r.job ORDER BY place")
    chosen = [row["job"] for place, row in enumerate(ordered) if place in places]
    ledger.set_meta("pilot", json.dumps(chosen))


def estimate_open(ledger: Ledger, price: int) -> None:
    """Note `price` (micro-dollars) for jobs that were sent when no price was known. Runs inside `atomic`."""
    ledger.connection.execute(
        f"UPDATE jobs SET estimate=? WHERE {OPEN} AND estimate IS NULL AND state IN ('sending', 'unknown', 'accepted')",
        (price,),
    )


def paid_jobs(ledger: Ledger) -> int:
    """Count the jobs that were accepted and have no picture on disk yet."""
    count: int = ledger.connection.execute(
        f"SELECT count(*) FROM jobs WHERE {OPEN} AND state IN ({_IN_FLIGHT_LIST})"
    ).fetchone()[0]
    return count


def unknown_jobs(ledger: Ledger) -> int:
    """Count the jobs that nobody knows about."""
    count: int = ledger.connection.execute(
        f"SELECT count(*) FROM jobs WHERE {OPEN} AND state=?", (State.UNKNOWN,)
    ).fetchone()[0]
    return count


def task(ledger: Ledger, job: int) -> Task:
    """Return one job as it stands."""
    row = ledger.connection.execute("SELECT * FROM jobs WHERE job=?", (job,)).fetchone()
    wanting = ledger.connection.execute(
        "SELECT r.id, r.output, r.files, r.kept_job, r.kept_output, r.position, k.sha256 AS kept_sha256 "
        "FROM rows r LEFT JOIN jobs k ON k.job = r.kept_job WHERE r.job=? ORDER BY r.position",
        (job,),
    ).fetchall()
    holding = ledger.connection.execute(  # also a row that wants other work by now
        "SELECT kept_output FROM rows WHERE kept_job=? AND kept_output IS NOT NULL ORDER BY row", (job,)
    )
    files: dict[str, Path] = {}
    for want in wanting:
        files |= {content: Path(path) for content, path in json.loads(want["files"]).items()}
    return Task(
        job=job,
        key=row["payload_key"],
        state=row["state"],
        targets=tuple(
            Target(want["id"], want["output"], want["kept_output"], want["kept_sha256"])
            for want in wanting
            if want["position"] is not None
            and (want["kept_job"], want["kept_output"]) != (job, want["output"])
        ),
        sources=tuple(held["kept_output"] for held in holding),
        parameters=json.loads(row["parameters"]),
        files=files,
        request_id=row["request_id"],
        output_url=row["output_url"],
        submitted_at=row["submitted_at"],
        estimate=row["estimate"],
        sha256=row["sha256"],
        attempts=row["attempts"],
    )


def kept(ledger: Ledger, task: Task) -> None:
    """Write down that the task's picture now lies at each of its targets; runs inside `atomic`.

    A row that had its picture there before has it no longer: names may move from one row to another.
    """
    ledger.connection.executemany(
        "UPDATE rows SET kept_job=NULL, kept_output=NULL WHERE kept_output=? AND id<>?",
        [(target.output, target.id) for target in task.targets],
    )
    ledger.connection.executemany(
        "UPDATE rows SET kept_job=?, kept_output=? WHERE id=? AND job=?",
        [(task.job, target.output, target.id, task.job) for target in task.targets],
    )


def retry_all(ledger: Ledger) -> None:
    """Let the selected failed and expired jobs be planned again; runs inside `atomic`."""
    after = -1
    while again := ledger.connection.execute(
        "SELECT j.job FROM jobs j WHERE j.state <> 'saved' AND j.state IN ('failed', 'expired') AND j.job > ? "
        "AND EXISTS (SELECT 1 FROM rows r WHERE r.job = j.job AND r.selected) ORDER BY j.job LIMIT ?",
        (after, PAGE),
    ).fetchall():
        for row in again:
            ledger.move(row["job"], Event.RETRY)
        after = again[-1]["job"]


def recover(ledger: Ledger) -> int:
    """Settle what a dead run left behind; runs inside `atomic`; return how many jobs became unknown.

    `sending` was interrupted: unknown, it may have been accepted. A local service has forgotten everything that
    was under way and nothing was paid: its jobs go back to planned.
    """
    local = ledger.meta("service") == LOCAL_SERVICE
    states = (State.SENDING, *((State.UNKNOWN, *IN_FLIGHT) if local else ()))
    jobs = ledger.connection.execute(
        f"SELECT job FROM jobs WHERE {OPEN} AND state IN ({','.join('?' * len(states))})",
        states,
    ).fetchall()
    for row in jobs:
        if local:
            ledger.move(row["job"], Event.RESTART)
        else:
            ledger.move(
                row["job"],
                Event.LOSE,
                error_class="interrupted",
                error="The run ended while this row's request was on its way; it may have been accepted and billed.",
            )
    if local:
        ledger.connection.execute("DELETE FROM uploads")
    return 0 if local else len(jobs)
