"""Opening and closing the ledger's file: every setting of SQLite, the tables, and what is refused before it is read.

Rules:
- A file that is no ledger, is damaged, or was written by a newer texbatch is refused and left as it is. A ledger of an
  older texbatch is brought up to date in one transaction; a reader does that in a copy.
- Torn pages are refused before anything is decided by them. Looking at every page takes seconds in a folder of a
  million rows, so it is left out where it can find nothing new: after a clean close the write-ahead log is gone, all of
  it is in the file and on disk, and the file gets the very modification time that it has written down inside (its
  seal). Whoever writes to the file later, tears or cuts it, gives it another time; a killed run or a power cut leaves a
  log. Then, and wherever file systems keep times coarsely, every page is looked at.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from importlib import resources
from typing import TYPE_CHECKING

from batch.errors import FolderBusy, FolderError

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x7465_7862  # "texb", in the file's header: tells a ledger from any other SQLite file
MIGRATIONS = ("schema.sql",)
"""Scripts in this folder, each applied once, in order; a ledger's version is how many of them it has seen."""

CACHE_KIB = 32 << 10  # of pages, each connection at most: a million rows are looked up in no order
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # sqlite.org/fileformat2.html, section 4.1


def for_writing(path: Path) -> sqlite3.Connection:
    """Open a ledger, made when there is none, with today's tables; raises FolderError."""
    connection = _connect(path, read_only=False)
    try:
        if _pragma(connection, "application_id") or _tables(connection):
            _check_header(connection, path)
            if not _is_sealed(connection, path):
                _check_whole(connection, path)
        _upgrade(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing ledger for reading only, also while a run writes it; raises FolderError."""
    if not path.is_file():
        raise FolderError(f"{path}: there is no ledger here. Give the folder that `run --out` wrote.")
    connection = _connect(path, read_only=True)
    try:
        _check_header(connection, path)
        version = _pragma(connection, "user_version")
        return connection if version == len(MIGRATIONS) else _copy_up_to_date(connection, version)
    except BaseException:
        connection.close()
        raise


def scratch() -> sqlite3.Connection:
    """Open an empty ledger that SQLite keeps in a temporary file and deletes."""
    connection = _settled(sqlite3.connect("", isolation_level=None, check_same_thread=False))
    for script in MIGRATIONS:
        connection.executescript(_script(script))
    return connection


def close_sealed(connection: sqlite3.Connection, path: Path) -> None:
    """Close a ledger that is well, and seal it: the next opening need not look at every page."""
    now = time.time_ns()
    with suppress(sqlite3.Error):
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('sealed', ?)", (str(now),))
    connection.close()
    if not _size(_wal(path)):  # a reader may still hold it open; the log then stays, and with it the doubt
        with suppress(OSError):
            os.utime(path, ns=(now, now))


def _is_sealed(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        sealed = connection.execute("SELECT value FROM meta WHERE name='sealed'").fetchone()
        return sealed is not None and sealed[0] == str(path.stat().st_mtime_ns) and not _size(_wal(path))
    except (sqlite3.Error, OSError):
        return False


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        # executescript commits whatever is open, so the script carries its own transaction.
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{_script(script)}\n"
                f"PRAGMA application_id={APPLICATION_ID};\nPRAGMA user_version={number};\nCOMMIT;"
            )
        except sqlite3.Error as exc:
            raise FolderError(
                f"{path}: cannot be brought up to date ({exc}); it is as it was. Make room or mend it, then run again."
            ) from exc


def _copy_up_to_date(original: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """Return a temporary copy of a ledger of an older texbatch, with today's tables; the file stays as it is."""
    copy = _settled(sqlite3.connect("", isolation_level=None, check_same_thread=False))
    with closing(original):
        original.backup(copy)
    for script in MIGRATIONS[version:]:
        copy.executescript(_script(script))
    return copy


def _check_header(connection: sqlite3.Connection, path: Path) -> None:
    try:
        application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
        foreign = application != APPLICATION_ID or not _tables(connection)
    except sqlite3.DatabaseError as exc:
        raise FolderError(f"{path}: is damaged or no ledger ({exc}). Move it away, or restore it.") from exc
    if foreign:
        raise FolderError(f"{path}: is not a texbatch ledger. Move it away, or use another folder.")
    if version > len(MIGRATIONS):
        raise FolderError(f"{path}: was written by a newer texbatch (schema {version}). Upgrade texbatch.")


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file with torn pages before anything is decided by it."""
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        found = str(exc)
    if found != "ok":
        raise FolderError(f"{path}: is damaged ({found}). Move it away, or restore it.")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the file with every setting it needs; the only place that knows them."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    _check_wal(path)
    try:
        if not read_only:  # it holds prompts and URLs: nobody else's business
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = _open(uri)
        if read_only and not _readable(connection) and not _size(_wal(path)):
            connection.close()
            connection = _open(f"{uri}&immutable=1")  # closed in peace, and now on a read-only disk
        _settled(connection)
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


def _settled(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=FILE")  # a manifest of any length on its way in
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    return connection


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


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
    wal = _wal(path)
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
