"""What the ledger remembers of input files: hashes, and the manifest it can adopt again without reading it.

Rule 1: nothing here is needed for a right result. A file that is not remembered is read and checked again.
Rule 2: a file counts as unchanged while path, inode, size and modification time are those that were seen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.ledger.meta import Meta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch.ledger.ledger import Ledger

LOOKING = "CREATE TEMP TABLE looking (path TEXT PRIMARY KEY, inode INTEGER, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID"
"""The local files that the manifest being staged names."""

FileFacts = tuple[int | None, int | None, int | None]
"""Inode, size and modification time in ns. The inode is None for a file that changed while it was read: it matches none."""


def facts_of(status: os.stat_result) -> FileFacts:
    """Return the facts by which a file counts as unchanged."""
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class InputCache:
    """Content hashes of input files; while a manifest is staged it also collects the facts of every file it names."""

    ledger: Ledger

    def hash_of(self, path: str, status: os.stat_result) -> str | None:
        """Note the facts of a file, and return its hash if it is remembered: by where its links lead.

        A file that changes meanwhile gets no facts, and is never taken for unchanged.
        """
        execute = self.ledger.connection.execute
        execute(
            "INSERT INTO looking VALUES (?,?,?,?) ON CONFLICT (path) DO UPDATE SET inode=NULL "
            "WHERE (inode, size, mtime_ns) IS NOT (excluded.inode, excluded.size, excluded.mtime_ns)",
            (path, *facts_of(status)),
        )
        row = execute(
            "SELECT sha256 FROM pictures WHERE path=? AND size=? AND mtime_ns=?",
            (os.path.realpath(path), status.st_size, status.st_mtime_ns),
        ).fetchone()
        return row["sha256"] if row else None

    def remember_hash(self, path: str, status: os.stat_result, sha256: str) -> None:
        """Remember the hash of a file."""
        self.ledger.connection.execute(
            "INSERT OR REPLACE INTO pictures VALUES (?,?,?,?)",
            (os.path.realpath(path), status.st_size, status.st_mtime_ns, sha256),
        )


def input_files(ledger: Ledger) -> Iterator[tuple[str, FileFacts]]:
    """Yield the local files that the manifest adopted last names, as they were when it was read."""
    for row in ledger.connection.execute("SELECT path, inode, size, mtime_ns FROM looked"):
        yield row["path"], (row["inode"], row["size"], row["mtime_ns"])


def remember_manifest(ledger: Ledger, fingerprint: str | None) -> None:
    """Note the fingerprint of the manifest just adopted and the files it names; None forgets both. Inside `atomic`."""
    execute = ledger.connection.execute
    execute("DELETE FROM meta WHERE name=?", (Meta.FINGERPRINT,))
    execute("DELETE FROM looked")
    if fingerprint is not None:
        execute("INSERT INTO looked SELECT path, inode, size, mtime_ns FROM temp.looking")
        ledger.set_meta(Meta.FINGERPRINT, fingerprint)
