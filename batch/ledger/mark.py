"""The high-water mark: how far the ledger has come, noted apart from it, so that a ledger that lost its end is noticed.

SQLite takes a missing write-ahead log for an empty one, and a file restored from an old copy looks whole. So a small
file beside the ledger holds the number of the last event that was committed. It is written after each commit, before
the POST that the commit allows can leave. It is not synced: a power cut may leave it behind the ledger, but nothing
leaves it ahead. A ledger that is behind its mark has lost what was on disk: what it shows as planned may be paid for.

Below that line are the uploads since the last run began: without their URLs the history cannot show which request was
a row's. What a run does about a loss is in runs.py.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.core.errors import FolderError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

MARK_FILE = ".ledger-mark"
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_HEAD = 48  # bytes of the first line, which is written in place


@dataclass(frozen=True, slots=True)
class Loss:
    """What a ledger has lost: everything after `since` (epoch seconds); with `rows` also rows of the manifest.

    `ends` is the last event it has, `ended` the last one it had.
    """

    since: float
    rows: bool
    ends: int
    ended: int


@dataclass(slots=True)
class Mark:
    """The mark of one ledger: the last event's number and run, and when the folder's first run began (epoch seconds).

    `noticed` says that a loss has been reported to a person. Each method that writes raises FolderError.
    """

    path: Path
    seq: int
    run: int
    first: float
    noticed: bool = False
    _file: int | None = None

    @classmethod
    def read(cls, ledger: Path) -> Mark | None:
        """Return the mark beside a ledger, None when there is none that can be read as one."""
        path = ledger.with_name(MARK_FILE)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _unusable(path, exc) from exc
        try:
            words = os.read(descriptor, _HEAD).decode("ascii", "replace").split()
        finally:
            os.close(descriptor)
        try:
            seq, run, first, noticed = words
            return cls(path, int(seq), int(run), float(first), noticed == "1")
        except ValueError:
            return None

    @classmethod
    def begin(cls, ledger: Path, seq: int, run: int, first: float) -> Mark:
        """Replace the mark of a ledger, on disk when this returns; earlier uploads are in the ledger."""
        mark = cls(ledger.with_name(MARK_FILE), -1, run, first)
        temporary = mark.path.with_name(f"{MARK_FILE}.new")
        try:
            temporary.unlink(missing_ok=True)  # of a run that was killed
            mark._file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                mark.advance(seq)
                os.fsync(mark._file)
            finally:
                mark.close()
            temporary.replace(mark.path)
            folder = os.open(mark.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except (OSError, FolderError) as exc:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(exc, FolderError):
                raise
            raise _unusable(mark.path, exc) from exc
        return mark

    def advance(self, seq: int, *, noticed: bool = False) -> None:
        """Note the last event that is on disk, and whether a loss has been reported; write nothing when both are known."""
        if seq <= self.seq and noticed <= self.noticed:
            return
        self.seq, self.noticed = max(seq, self.seq), noticed or self.noticed
        head = f"{self.seq:016d} {self.run:010d} {self.first:017.6f} {self.noticed:d}\n".encode()
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.pwrite(self._file, head, 0)
        except OSError as exc:
            raise _unusable(self.path, exc) from exc

    def add_upload(self, sha256: str, url: str, at: float) -> None:
        """Note where the service has an image, and since when (epoch seconds)."""
        if not url.isprintable() or " " in url:
            return  # no such line could be read back; the row is then left to a person
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{sha256} {at:.6f} {url}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as exc:
            raise _unusable(self.path, exc) from exc

    def uploads(self) -> Iterator[tuple[str, str, float]]:
        """Yield (sha256, URL, when) of every upload since the last run began."""
        with self.path.open(encoding="utf-8", errors="replace") as file:
            file.readline()
            for line in file:
                words = line.split()
                if line.endswith("\n") and len(words) == 3:
                    yield words[0], words[2], float(words[1])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def find_loss(connection: sqlite3.Connection, mark: Mark | None) -> Loss | None:
    """Return what a ledger has lost, None when nothing is missing. Read the mark before the ledger: that may go on."""
    if mark is None:
        return None
    ends: int = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
    if ends >= mark.seq:
        return None
    known = connection.execute(
        "SELECT (SELECT max(at) FROM events) AS event, (SELECT max(started_at) FROM runs) AS begun, "
        "(SELECT coalesce(max(run), 0) FROM runs) AS run"
    ).fetchone()
    since = max(
        (moment for moment in (known["event"], known["begun"]) if moment is not None), default=mark.first
    )
    return Loss(since, known["run"] < mark.run, ends, mark.seq)


def _unusable(path: Path, exc: OSError) -> FolderError:
    remedy = "Make room" if exc.errno in NO_ROOM else "Make it a file again that this user can read and write"
    return FolderError(
        f"{path}: cannot be used ({exc.strerror or exc}). It shows whether the ledger is complete. {remedy}, then run again."
    )
