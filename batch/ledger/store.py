"""The ledger file: one open ledger, bound to one service, and the one way a job's state changes.

Rules:
- `atomic` is the only place that begins, commits or rolls back a run's work. WAL with synchronous=FULL: a commit is on
  disk when it returns, so a killed process or a power cut loses nothing that was committed.
- `move` is the only statement that writes `jobs.state` once a job is there; it writes the event in the same transaction.
- A ledger of another service is refused and left as it is; so is every file that `opening` refuses.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from batch.config import LOCAL_SERVICE
from batch.errors import FolderError, IllegalMove
from batch.ledger import opening
from batch.ledger.states import Event, State, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip
"""SQLite's result codes that speak of the file, not of our SQL."""

_FACTS = frozenset(
    {
        "request_id", "submitted_at", "completed_at", "output_url", "estimate", "sent", "skew", "cost", "http_status", "error_class", "error",
        "queue_s", "inference_s", "total_s", "sha256", "width", "height",
    }
)  # fmt: skip

_FORGET = (
    "request_id=NULL, submitted_at=NULL, completed_at=NULL, output_url=NULL, estimate=NULL, sent=NULL, skew=NULL, cost=NULL, http_status=NULL, "
    "error_class=NULL, error=NULL, queue_s=NULL, inference_s=NULL, total_s=NULL, sha256=NULL, width=NULL, height=NULL"
)


class Ledger:
    """One open ledger. Synchronous; every call runs on the thread that owns it for that moment (see desk.py)."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, clock: Callable[[], float], *, ours: bool = False
    ) -> None:
        self.connection = connection
        self.path = path
        self.clock = clock
        self.run_id: str | None = None
        self._ours = ours
        self._inode = path.stat().st_ino if path.name else None

    @classmethod
    def create_or_open(cls, path: Path, *, service: str, clock: Callable[[], float] = time.time) -> Ledger:
        """Open the folder's ledger for writing, made when there is none, and bind it to `service`.

        Raises FolderError when the file is foreign, damaged, newer, or bound to another service.
        """
        connection = opening.for_writing(path)
        try:
            ledger = cls(connection, path, clock, ours=True)
            ledger._bind(service)
        except BaseException:
            connection.close()
            raise
        return ledger

    @classmethod
    def read(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open an existing ledger for reading only, also while a run writes it; raises FolderError."""
        return cls(opening.for_reading(path), path, clock)

    @classmethod
    def scratch(cls, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open an empty ledger of our own that SQLite keeps in a temporary file and deletes."""
        return cls(opening.scratch(), Path(), clock)

    def close(self) -> None:
        """Close the file; what was committed stays."""
        if self._ours and self._in_place():
            opening.close_sealed(self.connection, self.path)
        else:
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        """Close; what the block raised because the file is in trouble becomes a FolderError."""
        if isinstance(exc, sqlite3.Error | FolderError):
            self._ours = False  # not to be vouched for
        self.close()
        if isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF in _TROUBLE:
            raise FolderError(f"{self.path}: is damaged ({exc}). Move it away, or restore it.") from exc

    @contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """Run the block in one transaction: all of it is on disk afterwards, or nothing.

        Raises FolderError when the file has vanished or cannot be written.
        """
        self._check_place()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as exc:
            if self.connection.in_transaction:  # SQLite itself rolls back when the disk is full
                self.connection.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error) and not isinstance(exc, sqlite3.IntegrityError):
                raise FolderError(
                    f"{self.path}: cannot be written ({exc}). Nothing is lost: make room or mend it, then run again."
                ) from exc
            raise

    def _check_place(self) -> None:
        """Refuse to go on in a file that was deleted or replaced: what is written there would be lost."""
        if self._inode is not None and not self._in_place():
            raise FolderError(
                f"{self.path}: has vanished while it was in use. Put it back if you can; a new one does not know what "
                "was paid for."
            )

    def _in_place(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _bind(self, service: str) -> None:
        bound = self.meta("service")
        if bound is None:  # new, or killed right after its tables were made
            with self.atomic():
                self.set_meta("service", service)
        elif bound != service:
            raise FolderError(
                f"{self.path.parent}: belongs to {_describe(bound)}, this run is for {_describe(service)}. "
                f"Use another --out folder{', or add --local' if bound == LOCAL_SERVICE else ''}."
            )

    def meta(self, name: str) -> str | None:
        """Return a remembered value, or None."""
        found = self.connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return found["value"] if found else None

    def set_meta(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def holds(self, request_id: str) -> bool:
        """Tell whether any job holds or held this request id."""
        found = self.connection.execute("SELECT 1 FROM events WHERE request_id=? LIMIT 1", (request_id,))
        return found.fetchone() is not None

    def move(self, job: int, event: Event, *, detail: str | None = None, **facts: Any) -> State:
        """Move one job by one event, with the facts that came with it, and append the event; return the new state.

        Must run inside `atomic`. Raises IllegalMove, and writes nothing, when the table has no such transition.
        """
        unknown = facts.keys() - _FACTS
        if unknown:
            raise TypeError(f"not facts of a job: {sorted(unknown)}")
        row = self.connection.execute(
            "SELECT state, attempts, request_id FROM jobs WHERE job=?", (job,)
        ).fetchone()
        if row is None:
            raise IllegalMove(f"there is no job {job}; nothing was changed")
        state = step(State(row["state"]), event)
        attempt = row["attempts"] + (event is Event.RESERVE)
        changes = [f"{name}=:{name}" for name in facts]
        if state is State.PLANNED and event not in {Event.THROTTLE, Event.BOUNCE}:
            changes.insert(0, _FORGET)
        self.connection.execute(
            f"UPDATE jobs SET {', '.join(['state=:_state', 'attempts=:_attempt', 'run_id=:_run', *changes])} "
            "WHERE job=:_job",
            {**facts, "_state": state, "_attempt": attempt, "_run": self.run_id, "_job": job},
        )
        self.connection.execute(
            "INSERT INTO events (job, attempt, event, state, at, detail, request_id, estimate, cost, run_id) "
            "VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                job, attempt, event, state, self.clock(), detail or facts.get("error"),
                facts.get("request_id") or row["request_id"], facts.get("estimate"), facts.get("cost"),
                self.run_id,
            ),
        )  # fmt: skip
        return state


def _describe(service: str) -> str:
    return "the local service (--local)" if service == LOCAL_SERVICE else service
