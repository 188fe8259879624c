"""Opening and closing the ledger's file: every setting of SQLite, the tables, and what is refused before it is read.

Rules:
- A file that is not a ledger, is damaged, or was written by a newer texbatch is refused and left as it is. A ledger of
  an older texbatch is brought up to date in one transaction; a reader does that in a copy.
- Who only appends (a person's decision) waits for nobody and checks no pages: it changes nothing that is there, and
  keeps the clean-close marker only where nobody else wrote meanwhile.
- Torn pages are refused before anything is decided by them. Checking every page takes seconds in a folder of a million
  rows, so it is left out where it can find nothing new: after a clean close the write-ahead log is gone, everything is
  in the file and on disk, and the file gets the very modification time that it has written down inside (the clean-close
  marker). Any later change to the file gives it another time, and a killed run or a power cut leaves a log. In those
  cases, and where a file system keeps times coarsely, every page is checked.
- A ledger that has lost its end, or is gone although rows were sent from its folder, is refused: what it no longer knows
  would be paid for again.
- No message advises what forgets payments: a ledger is restored, never moved away.
"""

from __future__ import annotations

import csv
import os
import sqlite3
import time
from contextlib import closing, suppress
from functools import cache
from importlib import resources
from shlex import quote
from typing import TYPE_CHECKING, Any

from batch.core.config import LOCAL_SERVICE
from batch.core.errors import FolderError, FolderLocked, LedgerLost
from batch.ledger.integrity import RESTORE, missing_columns
from batch.ledger.mark import Mark, find_loss
from batch.ledger.meta import Meta

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = (
    0x7465_7862  # "texb", in the file's header: distinguishes a ledger from any other SQLite file
)
SQLITE = sqlite3.sqlite_version
MIGRATIONS = (
    "schema.sql", "accounts.sql", "moved.sql", "kept_for.sql", "aliases.sql", "lost_when.sql", "by_itself.sql",
    "drawn.sql", "redone.sql", "decisions.sql", "candidates.sql", "invalid.sql",
)  # fmt: skip
"""Scripts in this folder, each applied once, in order; a ledger's version is how many of them it has seen."""

NO_TEMPORARY = (
    "No temporary folder can be written: what SQLite would keep there takes memory. Set TMPDIR to a folder that can be "
    "written."
)

_OURS: dict[str, Any] = {"isolation_level": None, "check_same_thread": False}
"""Transactions are begun by hand, and the thread that has the ledger changes."""

BUSY_S = 10.0  # another program may hold the file for a moment
APPENDING_BUSY_S = 60.0  # a run may be adopting a long manifest
CACHE_KIB = 32 << 10  # of pages, each connection at most: a million rows are looked up in no order
SYNCHRONOUS = "FULL"  # a commit is on disk when it returns: what was sent and paid for survives a power cut
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # sqlite.org/fileformat2.html, section 4.1
_SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""A flipped bit in a name makes Python fail to decode SQLite's own words."""

WAL = "-wal"
"""What SQLite adds to the ledger's name for its write-ahead log."""

_TABLES = "SELECT count(*) FROM sqlite_master WHERE type='table'"


def for_writing(path: Path) -> sqlite3.Connection:
    """Open a ledger, made when there is none, with today's tables; raises FolderError, LedgerLost."""
    check_not_gone(path)
    mark = Mark.read(path)
    try:
        connection = _connect(path, read_only=False)
        try:
            if (
                connection.execute("PRAGMA application_id").fetchone()[0]
                or connection.execute(_TABLES).fetchone()[0]
            ):
                _check_header(connection, path)
                if not _was_closed_clean(connection, path):
                    _check_pages(connection, path)
                if mark is not None and not mark.noticed:
                    _check_end_once(connection, path, mark)
            else:
                check_not_gone(path, empty=True)
            _set_up(
                connection, path
            )  # only now: it writes into the file, and another program's is left as it is
        except BaseException:
            connection.close()
            raise
    except _SQLITE_ERRORS as exc:
        raise file_error(path, exc) from exc
    return connection


def for_appending(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open an existing ledger to append to it, also during a run that writes it; and return whether it was closed clean.

    Raises FolderError, also for a ledger of an older texbatch (see `needs_upgrade`).
    """
    _check_there(path)
    try:
        connection = _connect(path, read_only=False, busy_s=APPENDING_BUSY_S)
        try:
            _check_current(connection, path)
            connection.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
            return connection, _was_closed_clean(connection, path)
        except BaseException:
            connection.close()
            raise
    except _SQLITE_ERRORS as exc:
        raise file_error(path, exc) from exc


def needs_upgrade(path: Path) -> bool:
    """Return whether an existing ledger is of an older texbatch: only who holds the folder upgrades it; raises FolderError."""
    _check_there(path)
    try:
        with closing(_connect(path, read_only=True)) as connection:
            return _check_header(connection, path) < len(MIGRATIONS)
    except _SQLITE_ERRORS as exc:
        raise file_error(path, exc) from exc


def for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing ledger for reading only, also during a run that writes it; raises FolderError."""
    _check_there(path)
    try:
        connection = _connect(path, read_only=True)
        try:
            version = _check_header(connection, path)
            if version == len(MIGRATIONS):
                return connection
            copy = _connect_temporary()  # of an older texbatch: the file stays as it is
            connection.backup(copy)
            copy.executescript("\n".join(map(_script, MIGRATIONS[version:])))
        except BaseException:
            connection.close()
            raise
        connection.close()
    except _SQLITE_ERRORS as exc:
        raise file_error(path, exc) from exc
    return copy


def temporary() -> sqlite3.Connection:
    """Open an empty ledger that SQLite keeps in a temporary file and deletes."""
    connection = _connect_temporary()
    connection.executescript("\n".join(map(_script, MIGRATIONS)))
    return connection


def close_clean(connection: sqlite3.Connection, path: Path) -> None:
    """Close a ledger that is well, with the clean-close marker: the next opening need not check every page."""
    now = time.time_ns()
    with suppress(sqlite3.Error):
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (Meta.SEALED, str(now)))
    connection.close()
    if not _size(path, WAL):  # a reader may still hold it open; the log then stays, and with it the doubt
        with suppress(OSError):
            os.utime(path, ns=(now, now))


def _was_closed_clean(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        marker = connection.execute("SELECT value FROM meta WHERE name=?", (Meta.SEALED,)).fetchone()
        return marker is not None and marker[0] == str(path.stat().st_mtime_ns) and not _size(path, WAL)
    except (sqlite3.Error, OSError):
        return False


def data_version(connection: sqlite3.Connection) -> int:
    """Return a number that differs as soon as another connection has committed anything."""
    number: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return number


# -- what is refused ---------------------------------------------------------------------------------------------------


def check_not_gone(path: Path, *, empty: bool = False) -> None:
    """Refuse to make a ledger where there was one: without it, rows that were paid for would be paid for again.

    `empty` says that the file holds no table, whatever its size.
    """
    if path.is_symlink():
        raise FolderError(f"{path}: is a link. Give the folder that the ledger itself lies in as --out.")
    if not empty and _size(path):
        return
    if not empty and _size(path, WAL):
        raise _gone(path, f"{path.name}{WAL}")
    mark = Mark.read(path)
    if mark is not None and mark.seq:
        raise _gone(path, mark.path.name)
    report = path.with_name("report.csv")
    if report.exists() and _lists_sent_rows(report):
        raise _gone(path, report.name)


def _gone(path: Path, witness: str) -> FolderError:
    return FolderError(
        f"{path}: is gone or empty, but {witness} shows that rows were sent from this folder. Restore the ledger, with "
        f"{path.name}{WAL} if there is one: without it, rows that were paid for would be paid for again. To pay for all "
        "of them again anyway, give a new --out folder."
    )


def _lists_sent_rows(report: Path) -> bool:
    """Return whether a report of ours names a row that was sent."""
    try:
        with report.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            ours = {"payload_key", "run_id", "attempts"} <= set(rows.fieldnames or ())
            return ours and any(row["attempts"] not in {"", "0", None} for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error):
        return False  # not a report of ours, or not readable


def is_local(connection: sqlite3.Connection) -> bool:
    """Return whether a ledger is of the local service, where nothing is ever paid."""
    found = connection.execute("SELECT value FROM meta WHERE name=?", (Meta.SERVICE,)).fetchone()
    return found is not None and found[0] == LOCAL_SERVICE


def check_end(connection: sqlite3.Connection, path: Path, mark: Mark | None) -> None:
    """Refuse a ledger that has lost its end, as a run does; `mark` was read before the ledger was opened."""
    lost = None if is_local(connection) else find_loss(connection, mark)
    if lost is not None:
        raise LedgerLost(
            f"{path}: has lost what was written last: it ends at event {lost.ends} of {lost.ended}, so rows that it shows "
            f"as new may have been sent and paid for. Nothing is sent. If you still have {path.name}{WAL}, or a copy of "
            f"the folder, put it back. If not, run again, or `texbatch resolve {quote(str(path.parent))} --reconcile`: those rows are "
            "then unknown, and the account's history is asked before any of them is sent."
        )


def _check_end_once(connection: sqlite3.Connection, path: Path, mark: Mark) -> None:
    """Refuse a ledger that has lost its end the first time only, so that a person hears of it; nothing is changed."""
    try:
        check_end(connection, path, mark)
    except LedgerLost:
        mark.advance(mark.seq, noticed=True)
        mark.close()
        raise


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise FolderError(f"{path}: there is no ledger here. Give the folder that `run --out` wrote.")


def _check_header(connection: sqlite3.Connection, path: Path) -> int:
    """Refuse what is not a ledger, or a newer one; return how many of the migrations it has seen."""
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        foreign = application != APPLICATION_ID or not connection.execute(_TABLES).fetchone()[0]
    except sqlite3.DatabaseError as exc:
        raise FolderError(f"{path}: is damaged, or not a ledger ({exc}). {RESTORE}") from exc
    if foreign:
        raise FolderError(
            f"{path}: is not a texbatch ledger. If texbatch wrote this folder, restore its ledger from a copy, since it "
            "alone knows which rows were paid for; if not, give another --out."
        )
    if version > len(MIGRATIONS):
        raise FolderError(f"{path}: was written by a newer texbatch (schema {version}). Upgrade texbatch.")
    return version


def _check_current(connection: sqlite3.Connection, path: Path) -> None:
    if _check_header(connection, path) < len(MIGRATIONS):
        raise FolderError(f"{path}: is of an older texbatch. The next run brings it up to date.")


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file with torn pages, or whose indexes and rows disagree, before anything is decided by it."""
    try:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        found = next(missing_columns(connection), found)
    except sqlite3.DatabaseError as exc:
        found = str(exc)
    if found != "ok":
        raise FolderError(f"{path}: is damaged ({found}). {RESTORE}")


def _check_wal(path: Path) -> None:
    """Refuse a write-ahead log that is not one: SQLite would drop it, and the commits in it, without a word.

    A power cut may leave one of zeros: nothing had been promised then.
    """
    wal = path.with_name(f"{path.name}{WAL}")
    try:
        with wal.open("rb") as file:
            head = file.read(4)
    except OSError:
        return  # SQLite says what is wrong
    if head.strip(b"\0") and head not in _WAL_MAGIC:
        raise FolderError(
            f"{wal}: is damaged, and holds what the ledger does not yet. Restore it; without it, rows that were paid for "
            "may be sent again."
        )


# -- the connection and its settings -----------------------------------------------------------------------------------


def _connect(path: Path, *, read_only: bool, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """Open the file with every setting it needs; the only place that knows them."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    try:
        if _size(path, WAL):
            _check_wal(path)
        if not read_only:  # it holds prompts and URLs: nobody else's business
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, timeout=busy_s, **_OURS)
        try:
            if read_only and not _is_readable(connection) and not _size(path, WAL):
                connection.close()
                # Closed in order, and now on a read-only disk.
                connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, **_OURS)
            _configure(connection)
        except BaseException:
            connection.close()
            raise
    except OSError as exc:
        raise FolderError(
            f"{path}: cannot be opened ({exc.strerror or exc}). Run as the user whose folder this is, or let this user read "
            "and write it."
        ) from exc
    return connection


def _connect_temporary() -> sqlite3.Connection:
    """Open a database that nobody else sees, in a temporary file; in memory where there can be none."""
    place = "" if can_spill() else ":memory:"
    return _configure(sqlite3.connect(place, **_OURS))


def _configure(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys=ON")
    store = "FILE" if can_spill() else "MEMORY"
    connection.execute(f"PRAGMA temp_store={store}")  # a manifest of any length on its way in
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS away (row INTEGER PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT)"
    )
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    """Let commits go to a write-ahead log, each on disk when it returns; give an older or new ledger today's tables."""
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise FolderLocked(
            f"{path}: this file system cannot hold a ledger (journal mode {mode}). Use a local disk for --out: move the "
            "folder there as a whole."
        )
    connection.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
    missing = MIGRATIONS[connection.execute("PRAGMA user_version").fetchone()[0] :]
    if not missing:
        return
    header = f"PRAGMA application_id={APPLICATION_ID};\nPRAGMA user_version={len(MIGRATIONS)};"
    try:
        # executescript commits whatever is open, so the script carries its own transaction.
        connection.executescript("\n".join(["BEGIN IMMEDIATE;", *map(_script, missing), header, "COMMIT;"]))
    except sqlite3.Error as exc:
        raise FolderError(
            f"{path}: cannot be brought up to date ({exc}); it is as it was. Make room, or restore it from a copy, then "
            "run again."
        ) from exc


def _script(name: str) -> str:
    return resources.files("batch.ledger").joinpath(name).read_text(encoding="utf-8")


def _is_readable(connection: sqlite3.Connection) -> bool:
    """Return whether SQLite can read the file as it is opened: a write-ahead log wants a file of shared memory beside it."""
    try:
        connection.execute(_TABLES)
    except sqlite3.OperationalError as exc:
        return exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN
    except sqlite3.DatabaseError:
        return True
    return True


def _size(path: Path, suffix: str = "") -> int:
    """Return the bytes of a file, 0 where there is none; `suffix` names one beside it."""
    try:
        return os.stat(f"{path}{suffix}").st_size  # noqa: PTH116  a suffix is not a part of a path
    except OSError:
        return 0


@cache
def can_spill() -> bool:
    """Return whether SQLite finds a folder for its temporary files, by having it write one."""
    try:
        with closing(sqlite3.connect("", isolation_level=None)) as connection:
            connection.execute("PRAGMA cache_size=1")
            connection.execute("CREATE TABLE probe AS SELECT zeroblob(65536) AS filling")
    except sqlite3.Error:
        return False
    return True


def unsupported_reason(folder: Path) -> str | None:
    """Return why the file system of `folder` cannot hold a ledger, None when it can; tried with a small database there."""
    try:
        with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
            mode: str = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("CREATE TABLE probe (value)")
    except sqlite3.Error as exc:
        return str(exc)
    return None if mode == "wal" else f"journal mode {mode}"


# -- errors ------------------------------------------------------------------------------------------------------------


def file_error(path: Path, exc: Exception) -> FolderError:
    """Return the error to raise for one that SQLite met at the ledger's file: reason and remedy for each kind."""
    code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL or "disk is full" in str(exc):
        return FolderError(
            f"{path}: cannot be written ({exc}). Nothing is lost: make room there, and in the temporary folder (TMPDIR), "
            "then run again."
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return FolderError(f"{path}: another program holds it ({exc}). End that program, then run again.")
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}:
        return FolderError(
            f"{path}: cannot be read or written ({exc}). Nothing is lost: make room, make the folder writable for this user, "
            f"{'' if can_spill() else 'set TMPDIR to a folder that can be written, '}then run again."
        )
    return FolderError(f"{path}: is damaged ({exc}). {RESTORE}")
