"""Whether a folder's file system can hold a ledger, tried with one of no content."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SQLITE = sqlite3.sqlite_version


def why_not(folder: Path) -> str | None:
    """Make a small database in WAL mode in `folder`; return why that does not work, None when it does."""
    try:
        with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
            mode: str = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("CREATE TABLE probe (value)")
    except sqlite3.Error as exc:
        return str(exc)
    return None if mode == "wal" else f"journal mode {mode}"
