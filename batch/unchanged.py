"""Whether a manifest is still what it was when it was adopted last: then its rows need not be read again.

Rule 1: the imprint of a manifest is a hash of its bytes, its folder, how it is read, and this version of texbatch; it
is in the ledger only while the rows there are those of a manifest that was adopted whole, without a warning.
Rule 2: the local pictures it named must be the same files: path, inode, size and modification time, as they were when
they were looked at. Rule 3: any doubt means no: the manifest is read again, which is always right and only slower.
So no YAML, whose globs see more than its bytes do, and no file that was written to while it was read.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from batch.ledger import feed
from batch.ledger.opening import MIGRATIONS
from batch.model import KEY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.config import Reading
    from batch.ledger.store import Ledger

_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".xlsx", ".parquet"})
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Imprint:
    """A manifest as it was read: its hash, and the file's facts before that."""

    value: str
    facts: tuple[int, int, int]


def imprint(path: Path, reading: Reading, check: Callable[[], None]) -> Imprint | None:
    """Return the imprint of a manifest, None when it can have none; `check` may raise, to end it early."""
    if path.suffix.lower() not in _SUFFIXES:
        return None
    how = [
        version("texbatch"), len(MIGRATIONS), KEY_PREFIX, path.suffix.lower(), os.path.abspath(path.parent),  # noqa: PTH100  `..` only, links stay
        sorted(reading.parameters.items()), reading.name, reading.encoding, reading.ignore_url_query,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(how).encode())
    try:
        facts = _facts(path.stat())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                check()
    except OSError:
        return None  # reading it says what is wrong
    return Imprint(digest.hexdigest(), facts)


def since(ledger: Ledger, found: Imprint, check: Callable[[], None]) -> bool:
    """Tell whether nothing has changed since a manifest with this imprint was adopted: not one of its pictures."""
    if ledger.meta("imprint") != found.value:
        return False
    for row in ledger.connection.execute("SELECT path, inode, size, mtime_ns FROM looked"):
        check()
        try:
            facts = _facts(os.stat(row["path"]))  # noqa: PTH116  a million times perhaps
        except OSError:
            return False
        if facts != (row["inode"], row["size"], row["mtime_ns"]):
            return False
    return True


def adopt(ledger: Ledger, *, retry_failed: bool) -> None:
    """Make the manifest that was adopted last the current one again, all its rows selected; runs inside `atomic`."""
    ledger.connection.execute(
        "UPDATE rows SET selected = position IS NOT NULL WHERE selected <> (position IS NOT NULL)"
    )
    if retry_failed:
        feed.retry_all(ledger)


def remember(ledger: Ledger, path: Path, found: Imprint | None) -> None:
    """Note the imprint of the manifest just adopted, None for one that has none; runs inside `atomic`."""
    run = ledger.connection.execute
    run("DELETE FROM meta WHERE name='imprint'")
    run("DELETE FROM looked")
    try:
        same = found is not None and found.facts == _facts(path.stat())
    except OSError:
        same = False
    if found is not None and same:
        run("INSERT INTO looked SELECT path, inode, size, mtime_ns FROM temp.looking")
        ledger.set_meta("imprint", found.value)


class Looks:
    """The ledger's memory of content hashes, as the intake's PictureCache; notes every file that is looked at."""

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger.connection
        self._connection.execute("DROP TABLE IF EXISTS temp.looking")
        self._connection.execute(
            "CREATE TEMP TABLE looking (path TEXT PRIMARY KEY, inode INTEGER, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID"
        )

    def looked(self, path: str, status: os.stat_result) -> None:
        """Note the facts of a file; one that changes meanwhile gets none, and will never be taken for unchanged."""
        self._connection.execute(
            "INSERT INTO looking VALUES (?,?,?,?) ON CONFLICT (path) DO UPDATE SET inode=NULL "
            "WHERE (inode, size, mtime_ns) IS NOT (excluded.inode, excluded.size, excluded.mtime_ns)",
            (path, *_facts(status)),
        )

    def recall(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return the hash of a file that has not changed, or None."""
        row = self._connection.execute(
            "SELECT sha256 FROM pictures WHERE path=? AND size=? AND mtime_ns=?", (path, size, mtime_ns)
        ).fetchone()
        return row["sha256"] if row else None

    def remember(self, path: str, size: int, mtime_ns: int, sha256: str) -> None:
        """Remember the hash of a file."""
        self._connection.execute(
            "INSERT OR REPLACE INTO pictures VALUES (?,?,?,?)", (path, size, mtime_ns, sha256)
        )


def _facts(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
