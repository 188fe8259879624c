"""The ledger file: opening it, binding it to one service, and the one way a job's state changes.

Rules:
- `atomic` is the only place that begins, commits or rolls back. WAL with synchronous=FULL: a commit is on disk
  when it returns, so a killed process or a power cut loses nothing that was committed.
- `move` is the only statement that writes `jobs.state`; it writes the event in the same transaction.
- A ledger of another service, of a newer texbatch, or a file that is no ledger is refused and left as it is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from batch.config import LOCAL_SERVICE
from batch.errors import FolderBusy, FolderError, IllegalMove
from batch.ledger.states import Event, State, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPLICATION_ID = 0x7465_7862  # "texb", in the file's header: tells a ledger from any other SQLite file
MIGRATIONS = ("schema.sql",)
"""Scripts in this folder, each applied once, in order; a ledger's version is how many of them it has seen."""

_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip
"""SQLite's result codes that speak of the file, not of our SQL."""

_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # sqlite.org/fileformat2.html, section 4.1

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

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Callable[[], float]) -> None:
        self.connection = connection
        self.path = path
        self.clock = clock
        self.run_id: str | None = None
        self._inode = path.stat().st_ino if path.name else None

    @classmethod
    def create_or_open(cls, path: Path, *, service: str, clock: Callable[[], float] = time.time) -> Ledger:
        """Open the folder's ledger for writing, made when there is none, and bind it to `service`.

        Raises FolderError when the file is foreign, damaged, newer, or bound to another service.
        """
        ledger = cls(_connect(path, read_only=False), path, clock)
        try:
            ledger._prepare(service)
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def read(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open an existing ledger for reading only, also while a run writes it; raises FolderError."""
        if not path.is_file():
            raise FolderError(f"{path}: there is no ledger here. Give the folder that `run --out` wrote.")
        ledger = cls(_connect(path, read_only=True), path, clock)
        try:
            ledger._check_header()
            ledger._bring_copy_up_to_date()
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def scratch(cls, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open an empty ledger of our own that SQLite keeps in a temporary file and deletes."""
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        for script in MIGRATIONS:
            connection.executescript(_script(script))
        return cls(connection, Path(), clock)

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        """Close; what the block raised because the file is in trouble becomes a FolderError."""
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
        if self._inode is None:
            return
        try:
            here = self.path.stat().st_ino
        except OSError:
            here = None
        if here != self._inode:
            raise FolderError(
                f"{self.path}: has vanished while it was in use. Put it back if you can; a new one does not know what "
                "was paid for."
            )

    def _prepare(self, service: str) -> None:
        if self._pragma("application_id") or _tables(self.connection):
            self._check_header()
            self._check_whole()
        for number, script in enumerate(
            MIGRATIONS[self._pragma("user_version") :], self._pragma("user_version") + 1
        ):
            # executescript commits whatever is open, so the script carries its own transaction.
            try:
                self.connection.executescript(
                    f"BEGIN IMMEDIATE;\n{_script(script)}\n"
                    f"PRAGMA application_id={APPLICATION_ID};\nPRAGMA user_version={number};\nCOMMIT;"
                )
            except sqlite3.Error as exc:
                raise FolderError(
                    f"{self.path}: cannot be brought up to date ({exc}); it is as it was. Make room or mend it, then run again."
                ) from exc
        bound = self.meta("service")
        if bound is None:  # new, or killed right after the script above
            with self.atomic():
                self.set_meta("service", service)
        elif bound != service:
            raise FolderError(
                f"{self.path.parent}: belongs to {_describe(bound)}, this run is for {_describe(service)}. "
                f"Use another --out folder{', or add --local' if bound == LOCAL_SERVICE else ''}."
            )

    def _check_header(self) -> None:
        try:
            application, version = self._pragma("application_id"), self._pragma("user_version")
            foreign = application != APPLICATION_ID or not _tables(self.connection)
        except sqlite3.DatabaseError as exc:
            raise FolderError(
                f"{self.path}: is damaged or no ledger ({exc}). Move it away, or restore it."
            ) from exc
        if foreign:
            raise FolderError(f"{self.path}: is not a texbatch ledger. Move it away, or use another folder.")
        if version > len(MIGRATIONS):
            raise FolderError(
                f"{self.path}: was written by a newer texbatch (schema {version}). Upgrade texbatch."
            )

    def _bring_copy_up_to_date(self) -> None:
        """Read a ledger of an older texbatch from a temporary copy with today's tables; the file stays as it is."""
        version = self._pragma("user_version")
        if version == len(MIGRATIONS):
            return
        copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        copy.row_factory = sqlite3.Row
        with closing(self.connection) as original:
            self.connection = copy
            original.backup(copy)
        for script in MIGRATIONS[version:]:
            copy.executescript(_script(script))

    def _check_whole(self) -> None:
        """Refuse a file with torn pages before anything is decided by it."""
        try:
            found = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as exc:
            found = str(exc)
        if found != "ok":
            raise FolderError(f"{self.path}: is damaged ({found}). Move it away, or restore it.")

    def _pragma(self, name: str) -> int:
        value: int = self.connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def meta(self, name: str) -> str | None:
        """Return a remembered value, or None."""
        found = self.connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return found["value"] if found else None

    def set_meta(self, name: str, value: str) -> None:
        """Remember a value under a name."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

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


def holds(request_id: str) -> Callable[[Ledger], bool]:
    """Return the question whether any row of a ledger holds or held this request id."""

    def ask(ledger: Ledger) -> bool:
        found = ledger.connection.execute(
            "SELECT 1 FROM events WHERE request_id=? LIMIT 1", (request_id,)
        ).fetchone()
        return found is not None

    return ask


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the file with every setting it needs; the only place that knows them."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    _check_wal(path)
    try:
        if not read_only:  # it holds prompts and URLs: nobody else's business
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = _open(uri)
        if read_only and not _readable(connection) and not _size(path.with_name(path.name + "-wal")):
            connection.close()
            connection = _open(f"{uri}&immutable=1")  # closed in peace, and now on a read-only disk
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=FILE")  # a manifest of any length on its way in
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        foreign = application != APPLICATION_ID and (application or _tables(connection))
        if not read_only and not foreign:  # journal_mode is written into the file: not into another's
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                raise FolderBusy(
                    f"{path}: this file system cannot hold a ledger (journal mode {mode}). Use a local disk for --out."
                )
            connection.execute("PRAGMA synchronous=FULL")
    except (sqlite3.Error, OSError) as exc:
        raise FolderError(
            f"{path}: cannot be opened as a ledger ({exc}). Move it away, or restore it."
        ) from exc
    return connection


def _open(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _readable(connection: sqlite3.Connection) -> bool:
    """Tell whether SQLite can read the file as it is opened: a write-ahead log wants a file of shared memory beside it."""
    try:
        _tables(connection)
    except sqlite3.OperationalError as exc:
        return exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN
    except sqlite3.DatabaseError:
        return True
    return True


def _check_wal(path: Path) -> None:
    """Refuse a write-ahead log that is none: SQLite would drop it, and the commits in it, without a word.

    A power cut may leave one of zeros: nothing had been promised then.
    """
    wal = path.with_name(path.name + "-wal")
    try:
        with wal.open("rb") as file:
            head = file.read(4)
    except OSError:
        return
    if head.strip(b"\0") and head not in _WAL_MAGIC:
        raise FolderError(
            f"{wal}: is damaged, and holds what the ledger does not yet. Restore it; without it, rows that were paid for "
            "may be sent again."
        )


def _tables(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM sqlite_master WHERE type='table'").fetchone()[0]
    return count


def _script(name: str) -> str:
    return resources.files("batch.ledger").joinpath(name).read_text(encoding="utf-8")


def _describe(service: str) -> str:
    return "the local service (--local)" if service == LOCAL_SERVICE else service
