"""The ledger of a folder: the SQLite file, and every operation of a run on it (`LedgerStore`, see store.py).

Rules:
- `atomic` is the only place that begins, commits or rolls back a run's work. WAL with synchronous=FULL: a commit is on
  disk when it returns, so a killed process or a power cut loses nothing that was committed.
- `transition` is the only statement that writes `jobs.state` once a job is there; it appends the event in the same
  transaction.
- A file that connection.py refuses is left as it is. Which account the ledger belongs to is decided in accounts.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from batch.core import error_classes
from batch.core.errors import FolderError, InvalidTransition, RequestIdTaken, TexbatchError
from batch.core.models import CONTENT_PREFIX, Target, Task, aside_name, seed_name
from batch.core.units import boot, counter
from batch.ledger import connection as opening
from batch.ledger import integrity, store
from batch.ledger.mark import Loss, Mark, find_loss
from batch.ledger.meta import Meta
from batch.ledger.series import WANTED, rows_of
from batch.ledger.states import FORGETS_UPLOADS, IN_FLIGHT, OPEN, Event, State, next_state
from batch.ledger.store import LedgerStore, Part, Position, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batch.ledger.store import FileStamps

_LAST_EVENT = "SELECT coalesce(max(seq), 0) FROM events"

NOT_KNOWN = "not known any more"
"""A key that no request has: a body with values that are lost can be proven absent, never found."""

_IN_FLIGHT_LIST = ", ".join(f"'{state}'" for state in IN_FLIGHT)

_MISPLACED = (
    "(r.kept_job IS NOT r.job OR coalesce(r.kept_for, r.kept_output) IS NOT r.output OR r.kept_size IS -2)"
)
"""A row's image was not put at its place yet, or for another output, or it was in no file and is to be searched for again."""

_QUEUE = {
    Part.IN_FLIGHT: f"""
        -- a job of this very run is being processed already
        SELECT job, coalesce(submitted_at, 0) AS age, job AS number FROM jobs
        WHERE {OPEN} AND state IN ({_IN_FLIGHT_LIST}) AND run_id IS NOT :run
          AND (coalesce(submitted_at, 0), job) > (:age, :number)
        ORDER BY age, number LIMIT :page""",
    Part.MISPLACED: f"""
        -- EXISTS (events): nothing is saved before the first event, so a first run does not scan its rows here
        SELECT DISTINCT r.job AS job, 0 AS age, r.job AS number FROM rows r JOIN jobs j USING (job)
        WHERE r.selected AND r.position IS NOT NULL AND {_MISPLACED}
          AND j.state = 'saved' AND r.job > :number AND EXISTS (SELECT 1 FROM events)
        ORDER BY number LIMIT :page""",
    Part.PLANNED: """
        -- rows that share a job want it once: at the first selected one of them
        SELECT r.job AS job, 0 AS age, r.position AS number FROM rows r JOIN jobs j USING (job)
        WHERE r.position > :number AND r.selected AND j.state = 'planned'
          AND (:pilot IS NULL OR r.job IN (SELECT value FROM json_each(:pilot)))
          AND NOT EXISTS (SELECT 1 FROM rows e WHERE e.job = r.job AND e.selected AND e.position < r.position)
        ORDER BY number LIMIT :page""",
    Part.CANDIDATES: f"""
        SELECT DISTINCT c.job AS job, 0 AS age, c.job AS number FROM {WANTED}
          AND c.job > :number AND j.state = 'planned'
        ORDER BY number LIMIT :page""",
}


class Ledger(LedgerStore):
    """One open ledger. Synchronous; each call runs on the thread that has it at that moment (see async_ledger.py).

    `loss` is what it has lost of its end, until `checkpoint` begins a new mark; `mark` is that mark, None in a ledger that
    is read or has never sent anything.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        clock: Callable[[], float],
        *,
        writable: bool = False,
    ) -> None:
        self.connection = connection
        self.path = path
        self.clock = clock
        self.run_id: str | None = None
        self.loss: Loss | None = None
        self.mark: Mark | None = None
        self.writable = writable
        self._closes_clean = writable
        self._only_writer_since: int | None = None
        """Of a ledger that is appended to: the file's version when it was opened; None for one that is held."""
        self._inode = path.stat().st_ino if path.name else None

    @classmethod
    def create_or_open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open the folder's ledger for writing, made when there is none.

        Raises FolderError when the file is foreign, damaged or newer; LedgerLost when it has lost its end, once: opened
        again, `loss` says what it lost.
        """
        connection = opening.for_writing(path)
        try:
            ledger = cls(connection, path, clock, writable=True)
            ledger.mark = Mark.read(path)
            if ledger.mark is not None and not opening.is_local(connection):  # locally nothing was paid
                ledger.loss = find_loss(connection, ledger.mark)
        except BaseException:
            connection.close()
            raise
        return ledger

    @classmethod
    def read(cls, path: Path, *, clock: Callable[[], float] = time.time, whole: bool = False) -> Ledger:
        """Open an existing ledger for reading only, also during a run that writes it; raises FolderError.

        With `whole` one that has lost its end is refused, as a run does; raises LedgerLost.
        """
        mark = Mark.read(path) if whole else None  # before the ledger, which may go on
        connection = opening.for_reading(path)
        try:
            if mark is not None:
                opening.check_end(connection, path, mark)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, clock)

    @classmethod
    def append_to(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open an existing ledger to append to it, also during a run that writes it; nobody is waited for but a commit.

        Raises FolderError, LedgerLost when it has lost its end. One of an older texbatch must be brought up to date first, by
        who holds the folder.
        """
        mark = Mark.read(path)  # before the ledger, which may go on
        connection, clean = opening.for_appending(path)
        try:
            opening.check_end(connection, path, mark)
            ledger = cls(connection, path, clock, writable=True)
            ledger._closes_clean = clean
            ledger._only_writer_since = opening.data_version(connection)
        except BaseException:
            connection.close()
            raise
        return ledger

    @classmethod
    def temporary(cls, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open an empty ledger that SQLite keeps in a temporary file and deletes."""
        return cls(opening.temporary(), Path(), clock)

    def close(self) -> None:
        """Close the file; what was committed stays."""
        if self.mark is not None:
            self.mark.close()
        alone = self._only_writer_since is None or self._wrote_alone()
        if self._closes_clean and alone and self._in_place():
            opening.close_clean(self.connection, self.path)
        else:
            self.connection.close()

    def __str__(self) -> str:
        return str(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        """Close. An error of SQLite becomes a FolderError, and so does an error of ours when the file turns out damaged."""
        damage = None
        if exc is not None:
            if isinstance(exc, sqlite3.Error | FolderError):
                self._closes_clean = False  # not to be vouched for
            ours = isinstance(exc, InvalidTransition) or not isinstance(exc, TexbatchError | sqlite3.Error)
            if isinstance(exc, Exception) and ours:
                # An error of ours, or what a flipped bit leads to.
                damage = integrity.examine(self.connection)
                self._closes_clean = self._closes_clean and damage is None
        self.close()
        if damage is not None:
            raise integrity.damaged(damage) from exc
        if isinstance(exc, sqlite3.Error):
            raise opening.file_error(self.path, exc) from exc

    def _wrote_alone(self) -> bool:
        """Return whether nobody else has written since this ledger was opened: else there is something to vouch for."""
        try:
            return opening.data_version(self.connection) == self._only_writer_since
        except sqlite3.Error:
            return False

    def _in_place(self) -> bool:
        """Return whether the file still lies where it was opened."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    @contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """Run the block in one transaction: all of it is on disk afterwards, or nothing.

        Raises FolderError when the file has vanished or cannot be written.
        """
        if self._inode is not None and not self._in_place():  # what is written there would be lost
            raise FolderError(
                f"{self.path}: has vanished while it was in use. Put it back if you can; a new one does not know what "
                "was paid for."
            )
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as exc:
            if self.connection.in_transaction:  # SQLite itself rolls back when the disk is full
                self.connection.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error) and _is_of_file(exc):
                raise opening.file_error(self.path, exc) from exc
            raise
        if self.mark is not None:
            self.mark.advance(self.connection.execute(_LAST_EVENT).fetchone()[0])

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run the block inside `atomic` so that, when it raises, it alone is undone; raises StoreFailed."""
        execute = self.connection.execute
        try:
            execute("SAVEPOINT block")
            try:
                yield
            except BaseException as exc:
                if not _is_of_file(exc):
                    execute("ROLLBACK TO block")
                    execute("RELEASE block")
                raise
            execute("RELEASE block")
        except sqlite3.Error as exc:
            if _is_of_file(exc):
                raise StoreFailed(str(opening.file_error(self.path, exc))) from exc
            raise

    def checkpoint(self) -> None:
        """Put what was committed into the file itself, and begin its mark; called before anything is sent.

        What a run sends can then be recognised in the history although the write-ahead log is lost.
        """
        try:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            run: int = self.connection.execute("SELECT coalesce(max(run), 0) FROM runs").fetchone()[0]
            last: int = self.connection.execute(_LAST_EVENT).fetchone()[0]
        except sqlite3.Error as exc:
            raise opening.file_error(self.path, exc) from exc
        if self.mark is not None:
            self.mark.close()
        first = self.clock() if self.mark is None else self.mark.first
        self.mark = Mark.begin(self.path, last, run, first)
        self.loss = None

    def meta(self, name: str) -> str | None:
        """Return a remembered value, or None."""
        found = self.connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return found["value"] if found else None

    def set_meta(self, name: str, value: str) -> None:
        """Remember a value under a name. Runs inside `atomic`."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def is_local(self) -> bool:
        """Return whether this ledger is of the local service, where nothing is ever paid."""
        return opening.is_local(self.connection)

    def holds(self, request_id: str | None) -> bool:
        """Return whether any job holds or held this request id."""
        found = self.connection.execute("SELECT 1 FROM events WHERE request_id=? LIMIT 1", (request_id,))
        return found.fetchone() is not None

    def transition(
        self,
        job: int,
        event: Event,
        *,
        detail: str | None = None,
        billed: int | None = None,
        estimated: int | None = None,
        **fields: Any,
    ) -> State:
        """Apply one event to a job, with the fields that came with it, and append the event; return the new state.

        The fields, and what it raises, are in LedgerStore. Runs inside `atomic`.
        """
        if event == Event.LOSE:
            fields |= {"lost_boot": boot(), "lost_counter": counter()}
        unknown = fields.keys() - store.FIELDS
        if unknown:
            raise TypeError(f"not fields of a job: {sorted(unknown)}")
        row = self.connection.execute(
            "SELECT state, attempts, request_id, former, EXISTS (SELECT 1 FROM events WHERE request_id=?) AS taken "
            "FROM jobs WHERE job=?",
            (fields.get("request_id"), job),
        ).fetchone()
        if row is None:
            raise InvalidTransition(f"there is no job {job}; nothing was changed")
        if event == Event.ACCEPT and row["taken"]:
            raise RequestIdTaken(f"another row holds request {fields['request_id']}")
        try:
            state = next_state(row["state"], event, remade=row["former"] is not None)
        except InvalidTransition:
            integrity.state_of(row["state"])  # raises when it is the file that is damaged
            raise
        if event in FORGETS_UPLOADS:
            self._forget_uploads(job)
        attempt = row["attempts"] + (event in {Event.RESERVE, Event.REMAKE})
        written, former = fields, row["former"]
        if former is not None or event == Event.REMAKE or (state is State.SAVED and event != Event.KEEP):
            written, former = self._remade(job, event, state, fields, former)
        changes = ["state=:_state", "attempts=:_attempt", "former=:_former", "run_id=:_run"]
        if event == Event.REMAKE or (state is State.PLANNED and event not in {Event.THROTTLE, Event.BOUNCE}):
            changes += [f"{name}=NULL" for name in store.FIELDS if name not in written]
        changes += [f"{name}=:{name}" for name in written]
        values = {"_state": state, "_attempt": attempt, "_former": former, "_run": self.run_id, "_job": job}
        self.connection.execute(
            f"UPDATE jobs SET {', '.join(changes)} WHERE job=:_job", {**written, **values}
        )
        self.connection.execute(
            "INSERT INTO events (job, attempt, event, state, at, detail, request_id, estimate, cost, run_id, estimated) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                job, attempt, event, state, self.clock(), detail or fields.get("error"),
                fields.get("request_id") or row["request_id"], fields.get("estimate"),
                fields.get("cost") if billed is None else billed or None, self.run_id, estimated,
            ),
        )  # fmt: skip
        return state

    def _remade(
        self, job: int, event: Event, state: State, fields: dict[str, Any], former: str | None
    ) -> tuple[dict[str, Any], str | None]:
        """Return what to write of a job that was saved before, and its fields of then while it is being made again."""
        execute = self.connection.execute
        if event == Event.REMAKE:  # the selected rows wait for the image that is to be made
            execute("UPDATE rows SET kept_job=NULL WHERE job=? AND kept_job=job AND selected", (job,))
            known = execute(
                f"SELECT {', '.join(sorted(store.FIELDS))} FROM jobs WHERE job=?", (job,)
            ).fetchone()
            return fields, json.dumps(dict(known))
        if state is not State.SAVED:
            return fields, former
        if event == Event.KEEP:
            return fields, None
        # A remade job that failed is what it was before: its rows have their earlier image again, wherever it lies.
        execute(
            "UPDATE rows SET kept_job=job WHERE job=? AND kept_job IS NULL AND coalesce(kept_for, kept_output)=output",
            (job,),
        )
        return (integrity.parsed(former) if former else {}), None

    def _forget_uploads(self, job: int) -> None:
        """Forget the uploads that a job was sent with, so that the next try uploads its images again, which is free."""
        self.connection.execute(
            "DELETE FROM uploads WHERE (sha256, url) IN (SELECT substr(p.value, :prefix), s.value FROM jobs j, "
            "json_each(j.sent) s, json_each(j.parameters) p WHERE j.job = :job AND p.key = s.key)",
            {"job": job, "prefix": len(CONTENT_PREFIX) + 1},
        )
        # A link that was uploaded is known by its URL alone, without an index: looked for only where there is one.
        of_links = self.connection.execute(
            "SELECT s.value FROM jobs j, json_each(j.sent) s, json_each(j.parameters) p WHERE j.job = ? "
            "AND p.key = s.key AND substr(p.value, 1, ?) <> ?",
            (job, len(CONTENT_PREFIX), CONTENT_PREFIX),
        )
        self.connection.executemany("DELETE FROM uploads WHERE url=?", of_links.fetchall())

    # -- the queue -------------------------------------------------------------------------------------------------------

    def next_jobs(self, after: Position) -> tuple[list[Task], Position]:
        """Return the jobs after a position, at most JOBS_A_PAGE and of one part, and where they end; an empty list at the end.

        Each query reads a bounded number of rows, so nothing here grows with the manifest.
        """
        while True:
            page = self.connection.execute(
                _QUEUE[after.part],
                {
                    "run": self.run_id,
                    "age": after.age,
                    "number": after.number,
                    "page": store.JOBS_A_PAGE,
                    "pilot": self.meta(Meta.PILOT),
                },
            ).fetchall()
            if page:
                end = Position(after.part, page[-1]["age"], page[-1]["number"])
                return self.tasks([row["job"] for row in page]), end
            if after.part is Part.CANDIDATES:
                return [], after
            after = Position(Part(after.part + 1))

    def tasks(self, jobs: Sequence[int], *, again: bool = False) -> list[Task]:
        """Return these jobs as they are now, in this order; with `again` the selected rows that have their image want it too.

        Raises FolderError for a job whose text is not what was written.
        """
        execute, these = self.connection.execute, {"jobs": json.dumps(jobs), "again": again}
        wanted = "job IN (SELECT value FROM json_each(:jobs))"
        found = {row["job"]: row for row in execute(f"SELECT * FROM jobs WHERE {wanted}", these)}
        files: dict[int, dict[str, Path]] = {job: {} for job in jobs}
        targets: dict[int, list[Target]] = {job: [] for job in jobs}
        sources: dict[int, list[str]] = {job: [] for job in jobs}
        own: set[int] = set()
        for row in execute(
            "SELECT r.job, r.id, r.output, r.files, r.kept_output, r.position, k.sha256 AS kept_sha256, "
            f"{_MISPLACED} OR (r.selected AND :again) AS wanted "
            f"FROM rows r LEFT JOIN jobs k ON k.job = r.kept_job WHERE r.{wanted} ORDER BY +r.position",
            these,
        ):
            own.add(row["job"])
            files[row["job"]] |= {
                content: Path(path) for content, path in integrity.parsed(row["files"]).items()
            }
            if row["position"] is not None and row["wanted"]:
                targets[row["job"]].append(
                    Target(row["id"], row["output"], row["kept_output"], row["kept_sha256"])
                )
        for row in execute(  # also a row that wants other work by now
            f"SELECT kept_job, kept_output FROM rows WHERE kept_{wanted} AND kept_output IS NOT NULL "
            "AND coalesce(kept_size, 0) >= 0 ORDER BY row",
            these,
        ):
            sources[row["kept_job"]].append(row["kept_output"])
        rowless = [job for job in jobs if job not in own]
        extra = rows_of(self.connection, rowless) if rowless else {}
        tasks = []
        for job in jobs:
            row, rows = found[job], extra.get(job, [])
            for of in rows:
                files[job] |= {content: Path(path) for content, path in integrity.parsed(of["files"]).items()}
            name = targets[job][0].id if targets[job] else row["payload_key"]
            state, parameters = integrity.state_of(row["state"]), integrity.parsed(row["parameters"])
            # A planned one is about to be paid for.
            if state is State.PLANNED and integrity.differs(row["payload_key"], parameters):
                raise integrity.other_work(row["payload_key"])
            tasks.append(
                Task(
                    job=job,
                    key=row["payload_key"],
                    name=seed_name(rows[0]["id"], rows[0]["seed"]) if rows else name,
                    state=state,
                    targets=tuple(targets[job]),
                    sources=tuple(sources[job]),
                    parameters=parameters,
                    files=files[job],
                    request_id=row["request_id"],
                    output_url=row["output_url"],
                    submitted_at=row["submitted_at"],
                    estimate=row["estimate"],
                    sha256=row["sha256"],
                    attempts=row["attempts"],
                    aside=aside_name(rows[0]["output"], rows[0]["seed"]) if rows else None,
                )
            )
        return tasks

    def open_jobs(self) -> int:
        """Count the jobs that the queue will yield."""
        total: int = self.connection.execute(
            f"SELECT (SELECT count(*) FROM jobs WHERE {OPEN} AND state IN ({_IN_FLIGHT_LIST})) + "
            "(SELECT count(DISTINCT r.job) FROM rows r JOIN jobs j USING (job) WHERE r.selected AND r.position IS NOT NULL "
            "AND ((j.state = 'planned' AND (:pilot IS NULL OR r.job IN (SELECT value FROM json_each(:pilot)))) OR "
            f"(j.state = 'saved' AND {_MISPLACED}))) + "
            f"(SELECT count(DISTINCT c.job) FROM {WANTED} AND j.state = 'planned')",
            {"pilot": self.meta(Meta.PILOT)},
        ).fetchone()[0]
        return total

    def outstanding(self) -> store.Outstanding:
        """Count what is paid, or may be, and not on disk."""
        in_flight, unknown, denied = self.connection.execute(
            f"SELECT count(*) FILTER (WHERE state IN ({_IN_FLIGHT_LIST})), count(*) FILTER (WHERE state = :unknown), "
            "count(*) FILTER (WHERE state = :completed AND error_class = :no_image) "
            f"FROM jobs WHERE {OPEN} AND state IN ({_IN_FLIGHT_LIST}, :unknown)",
            {"unknown": State.UNKNOWN, "completed": State.COMPLETED, "no_image": error_classes.NO_IMAGE},
        ).fetchone()
        waiting: int = 0
        if denied:
            waiting = self.connection.execute(
                "SELECT count(*) FROM jobs j JOIN rows r ON r.job = j.job AND r.selected AND r.position IS NOT NULL "
                f"WHERE j.{OPEN} AND j.state=? AND j.error_class=?",
                (State.COMPLETED, error_classes.NO_IMAGE),
            ).fetchone()[0]
        return store.Outstanding(in_flight, unknown, denied, waiting)

    # -- images and uploads ----------------------------------------------------------------------------------------------

    def place_image(self, task: Task, stamps: Mapping[str, FileStamps]) -> None:
        """Record that the task's image now lies at each of its targets. Runs inside `atomic`."""
        self.connection.executemany(
            "UPDATE rows SET kept_job=NULL, kept_output=NULL, kept_for=NULL, kept_size=NULL WHERE kept_output=? AND id<>?",
            [(target.output, target.id) for target in task.targets],
        )
        self.connection.executemany(
            "UPDATE rows SET kept_job=?, kept_output=?, kept_for=?, kept_size=?, kept_mtime_ns=?, kept_changed=0 "
            "WHERE id=? AND job=?",
            [
                (
                    task.job,
                    target.output,
                    target.asked,
                    *stamps.get(target.output, (None, None)),
                    target.id,
                    task.job,
                )
                for target in task.targets
            ],
        )

    def note_not_fetched(self, job: int, error_class: str, error: str) -> None:
        """Record why the image of a completed job is not on disk yet. Runs inside `atomic`."""
        self.connection.execute(
            "UPDATE jobs SET error_class=?, error=? WHERE job=? AND state='completed'",
            (error_class, error, job),
        )

    def other_hashes_at(self, output: str, job: int) -> list[str]:
        """Return the hashes of other jobs' images that rows have, or had before they changed, at a place."""
        found = self.connection.execute(
            "SELECT k.sha256 FROM rows r JOIN jobs k ON k.job = r.kept_job "
            "WHERE r.kept_output=? AND k.job <> ? AND k.sha256 IS NOT NULL",
            (output, job),
        )
        return [row["sha256"] for row in found]

    def files_to_search(self) -> list[str]:
        """Return the names below images/ that no row had when the run began; remember that they were searched."""
        self.set_meta(Meta.SEARCHED, self.digest_of_foreign_files())
        return [
            row["name"] for row in self.connection.execute("SELECT name FROM foreign_files ORDER BY rowid")
        ]

    def digest_of_foreign_files(self) -> str:
        """Return a number that differs between sets of foreign files (see image_index.py), whatever their order."""
        names = self.connection.execute("SELECT name FROM foreign_files")
        return str(
            sum(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) for (name,) in names)
        )

    def note_places(self, fold: Callable[[str], str]) -> None:
        """Let `is_name_free` know where the rows of the manifest want their images."""
        self.connection.create_function("fold", 1, fold, deterministic=True)
        self.connection.execute("DROP TABLE IF EXISTS temp.places")
        self.connection.execute(
            "CREATE TEMP TABLE places AS SELECT id, fold(output) AS folded FROM rows WHERE position IS NOT NULL"
        )
        self.connection.execute("CREATE INDEX temp.places_folded ON places (folded)")

    def is_name_free(self, name: str, row_id: str) -> bool:
        """Return whether no row but this one wants its image under this name, or has one there."""
        found = self.connection.execute(
            "SELECT 1 FROM places WHERE folded = fold(:name) AND id <> :id "
            "UNION ALL SELECT 1 FROM rows WHERE kept_output = :name AND id <> :id LIMIT 1",
            {"name": name, "id": row_id},
        ).fetchone()
        return found is None

    def uploaded(self, sha256: str, since: float) -> str | None:
        """Return the URL under which the service has this content since then or later, or None."""
        row = self.connection.execute(
            "SELECT url FROM uploads WHERE sha256=? AND uploaded_at>?", (sha256, since)
        ).fetchone()
        return row["url"] if row else None

    def remember_upload(self, sha256: str, url: str, at: float) -> None:
        """Note where the service has this content; also beside the ledger, in case it loses its end. Inside `atomic`."""
        self.connection.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (sha256, url, at))
        if self.mark is not None:
            self.mark.add_upload(sha256, url, at)

    # -- what the history is asked about ---------------------------------------------------------------------------------

    def unconfirmed(self) -> list[store.UnconfirmedSubmit]:
        """Return the submits without an answer, as the history is asked about them."""
        return [
            store.UnconfirmedSubmit(
                row["job"],
                _body(row),
                row["submitted_at"] or row["ended_at"],  # a ledger of an earlier version may lack the first
                row["ended_at"],
                skew=row["skew"],
                boot=row["lost_boot"],
                counter=row["lost_counter"],
            )
            for row in self.connection.execute(
                "SELECT j.job, j.parameters, j.sent, j.submitted_at, j.skew, j.lost_boot, j.lost_counter, "
                "(SELECT max(at) FROM events e WHERE e.job = j.job AND e.event = ?) AS ended_at "
                f"FROM jobs j WHERE j.{OPEN} AND j.state = ? ORDER BY j.job",
                (Event.LOSE, State.UNKNOWN),
            )
        ]

    def own_requests(self, since: float) -> list[store.OwnRequest]:
        """Return every request this folder holds or held of which something was recorded since then."""
        return [
            store.OwnRequest(
                row["request_id"],
                next((at for at in (row["accepted_at"], row["submitted_at"]) if at is not None), 0.0),
                None if row["submitted_at"] is None else _body(row),
                row["submitted_at"],
                skew=row["skew"],
            )
            for row in self.connection.execute(
                "SELECT e.request_id, min(CASE WHEN e.event = ? THEN e.at END) AS accepted_at, j.parameters, j.sent, "
                "CASE WHEN j.request_id = e.request_id THEN j.submitted_at END AS submitted_at, j.skew "
                "FROM events e JOIN jobs j USING (job) WHERE e.request_id IS NOT NULL AND e.at >= ? GROUP BY e.request_id",
                (Event.ACCEPT, since),
            )
        ]

    def times_absent(self, job: int) -> int:
        """Count how often this run has found that the job never arrived."""
        count: int = self.connection.execute(
            "SELECT count(*) FROM events WHERE job=? AND event=? AND run_id IS ?",
            (job, Event.ABSENT, self.run_id),
        ).fetchone()[0]
        return count

    def expired(self, since: float, most: int) -> list[store.ExpiredJob]:
        """Return expired jobs that were sent since then, the newest first, at most so many; none of the local service."""
        if self.is_local():
            return []
        rows = self.connection.execute(
            "SELECT job, request_id, cost, attempts FROM jobs "
            f"WHERE {OPEN} AND state = ? AND request_id IS NOT NULL AND submitted_at > ? ORDER BY submitted_at DESC LIMIT ?",
            (State.EXPIRED, since, most),
        )
        return [store.ExpiredJob(*row) for row in rows]

    def billed(self, job: int, attempt: int) -> tuple[int, bool]:
        """Return how much of an attempt's bill is our estimate, and whether the service named a cost."""
        estimated, named = self.connection.execute(
            "SELECT coalesce(sum(estimated), 0), "
            "coalesce(max(event IN (?, ?) AND cost IS NOT NULL AND estimated IS NULL), 0) "
            "FROM events WHERE job=? AND attempt=?",
            (Event.COMPLETE, Event.FIND_DONE, job, attempt),
        ).fetchone()
        return estimated, bool(named)

    # -- runs and what they learn ----------------------------------------------------------------------------------------

    def recover(self) -> int:
        """Recover what a dead run left behind; return how many jobs became unknown. Runs inside `atomic`."""
        local = self.is_local()
        states = (State.SENDING, *((State.UNKNOWN, *IN_FLIGHT) if local else ()))
        jobs = self.connection.execute(
            f"SELECT job FROM jobs WHERE {OPEN} AND state IN ({','.join('?' * len(states))})",
            states,
        ).fetchall()
        for row in jobs:
            if local:
                self.transition(row["job"], Event.RESTART)
            else:
                self.transition(
                    row["job"],
                    Event.LOSE,
                    error_class=error_classes.INTERRUPTED,
                    error=store.INTERRUPTED_TEXT,
                )
        if local:
            self.connection.execute("DELETE FROM uploads")
        return 0 if local else len(jobs)

    def price(self) -> int | None:
        """Return the most that one of the RECENT last jobs has cost, None when no bill named anything yet; no estimate counts."""
        most: int | None = self.connection.execute(
            "SELECT max(cost) FROM (SELECT cost FROM events WHERE cost >= 0 AND coalesce(estimated, 0) = 0 "
            "ORDER BY seq DESC LIMIT ?)",
            (store.RECENT,),
        ).fetchone()[0]
        return most or None

    def choose_pilot(self, number: int | None, *, rest: bool = False) -> None:
        """Let only `number` planned jobs, spread evenly over the manifest, be sent; None: all. Runs inside `atomic`.

        A job of which only candidates are to be sent counts as one of them. `rest` says that all rows of the manifest were
        chosen, so that a run without a pilot sends what the pilots left.
        """
        execute = self.connection.execute
        execute("DELETE FROM meta WHERE name=?", (Meta.PILOT,))
        if number is None:
            if rest:
                execute("DELETE FROM meta WHERE name=?", (Meta.PILOT_ONLY,))
            return
        planned = (
            "FROM rows r JOIN jobs j USING (job) WHERE r.selected AND r.position IS NOT NULL AND (j.state='planned' "
            "OR r.row IN (SELECT c.row FROM candidates c JOIN jobs m ON m.job = c.job WHERE c.wanted AND m.state='planned'))"
        )
        total: int = execute(f"SELECT count(DISTINCT r.job) {planned}").fetchone()[0]
        places = {i * total // number for i in range(number)} if number < total else range(total)
        ordered = execute(
            f"SELECT r.job AS job, min(r.position) AS place {planned} GROUP BY r.job ORDER BY place"
        )
        chosen = [row["job"] for place, row in enumerate(ordered) if place in places]
        self.set_meta(Meta.PILOT, json.dumps(chosen))

    def estimate_open(self, price: int) -> None:
        """Note `price` for jobs that were sent when no price was known. Runs inside `atomic`."""
        self.connection.execute(
            f"UPDATE jobs SET estimate=? WHERE {OPEN} AND estimate IS NULL AND state IN ('sending', 'unknown', 'accepted')",
            (price,),
        )

    def start_run(self, *, max_cost: int | None, price: int | None) -> tuple[int, int]:
        """Write the row of the run that begins; return what is spent of its cap, and what saved images have cost."""
        execute = self.connection.execute
        last = execute("SELECT cap_from, ended_at, by_itself FROM runs ORDER BY run DESC LIMIT 1").fetchone()
        if last is not None and (last["ended_at"] is None or not last["by_itself"]):
            cap_from = last["cap_from"]
        else:
            cap_from = execute(_LAST_EVENT).fetchone()[0]
        committed: int = execute(
            "SELECT (SELECT coalesce(sum(cost), 0) FROM events WHERE seq > :since) + "
            # what unknown and running jobs may cost
            f"(SELECT coalesce(sum(coalesce(estimate, :price)), 0) FROM jobs WHERE {OPEN} "
            "AND state IN ('sending', 'unknown', 'accepted')) + "
            # what was billed without a cost being named
            "(SELECT coalesce(sum(coalesce(j.estimate, :price)), 0) FROM events e JOIN jobs j USING (job) "
            "WHERE e.seq > :since AND e.event IN ('complete', 'find_done') AND e.cost IS NULL AND j.cost IS NULL)",
            {"since": cap_from, "price": price or 0},
        ).fetchone()[0]
        already_done: int = 0
        if (
            execute("SELECT 1 FROM events LIMIT 1").fetchone() is not None
        ):  # a first run need not look at every job
            already_done = execute(
                "SELECT coalesce(sum(cost), 0) FROM jobs WHERE state='saved' AND job IN (SELECT job FROM rows WHERE selected)"
            ).fetchone()[0]
        execute(
            "INSERT INTO runs (run_id, pid, started_at, max_cost, cap_from, already_done) VALUES (?,?,?,?,?,?)",
            (self.run_id, os.getpid(), self.clock(), max_cost, cap_from, already_done),
        )
        return committed, already_done

    def finish_run(self, *, rows_saved: int, status_calls: int, http_429: int, exit_code: int) -> None:
        """Close the row of this run. Runs inside `atomic`."""
        self.connection.execute(
            "UPDATE runs SET ended_at=?, rows_saved=?, status_calls=?, http_429=?, exit_code=? WHERE run_id=?",
            (self.clock(), rows_saved, status_calls, http_429, exit_code, self.run_id),
        )

    def mark_ended_by_itself(self, *, restore: bool) -> None:
        """Note that this run ended by itself; a restore takes over what the run before it says. Runs inside `atomic`."""
        before = "SELECT b.by_itself FROM runs b WHERE b.run < runs.run ORDER BY b.run DESC LIMIT 1"
        ended = f"coalesce(({before}), 1)" if restore else "1"
        self.connection.execute(f"UPDATE runs SET by_itself={ended} WHERE run_id=?", (self.run_id,))

    def observations(self) -> str | None:
        """Return what the runs have learned about the service, as `save_observations` got it, or None."""
        return self.meta(Meta.OBSERVATIONS)

    def save_observations(self, learned: str) -> None:
        """Remember what the runs have learned about the service. Runs inside `atomic`."""
        self.set_meta(Meta.OBSERVATIONS, learned)


def _is_of_file(exc: BaseException) -> bool:
    """Return whether the file failed, and not only what was to be written there."""
    return isinstance(exc, sqlite3.Error) and not isinstance(exc, sqlite3.IntegrityError)


def _body(row: sqlite3.Row) -> dict[str, object]:
    """Return what was sent; a value that was lost with the ledger's end is left out, and no request then matches."""
    body: dict[str, object] = integrity.parsed(row["parameters"]) | integrity.parsed(row["sent"] or "{}")
    known = {name: value for name, value in body.items() if value is not None}
    return known if len(known) == len(body) else known | {NOT_KNOWN: True}
