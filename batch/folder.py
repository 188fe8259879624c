"""The output folder: its files, and the lock that lets one run at a time use it.

The lock is the kernel's (flock on the folder itself), so it dies with its process and leaves no file behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import sleep
from typing import TYPE_CHECKING

from batch.errors import FolderBusy, FolderError
from batch.ledger.bill import last_run
from batch.ledger.store import Ledger
from batch.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_HELD = {errno.EWOULDBLOCK, errno.EACCES}
_ASKING_S = 0.05  # longer than `is_held` keeps the lock it asks with


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where everything lies below DIR."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.path / "ledger.sqlite"

    @property
    def images(self) -> Path:
        """The finished pictures."""
        return self.path / "images"

    @property
    def report(self) -> Path:
        """Every row of the manifest with its outcome."""
        return self.path / "report.csv"

    @property
    def failures(self) -> Path:
        """The failed and expired rows, a manifest as it stands."""
        return self.path / "failures.csv"

    @property
    def summary(self) -> Path:
        """The run in figures."""
        return self.path / "summary.json"

    @property
    def sheet(self) -> Path:
        """The contact sheet, a page for any browser."""
        return self.path / "report.html"

    @property
    def thumbs(self) -> Path:
        """The contact sheet's thumbnails."""
        return self.path / "thumbs"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Make the folder if need be and hold it alone.

        Raises FolderBusy when another process holds it or the file system cannot lock, FolderError when it cannot
        be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise FolderError(f"{self.path}: cannot be used as output folder ({exc.strerror}).") from exc
        try:
            try:
                _lock(descriptor)
            except OSError as exc:
                raise FolderBusy(self._who_holds(exc)) from exc
            if not os.access(self.path, os.W_OK):
                raise FolderError(f"{self.path}: is read-only. Give another --out, or make it writable.")
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Tell whether a run, or a command that changes the folder, holds it now; False where that cannot be told."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.flock(
                descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB
            )  # shared: two who ask do not see each other
        except OSError as exc:
            return exc.errno in _HELD
        finally:
            os.close(descriptor)
        return False

    def _who_holds(self, exc: OSError) -> str:
        if exc.errno not in _HELD:
            return f"{self.path}: this file system cannot lock ({exc.strerror}). Use a local disk for --out."
        holder = "another run"
        with suppress(FolderError), Ledger.read(self.ledger) as ledger:  # it may be under way itself
            run = last_run(ledger)
            if run is not None and run["ended_at"] is None:
                holder = f"another run (pid {run['pid']}, started {iso(run['started_at'])})"
        return f"{self.path}: {holder} holds this folder. Wait for it to end, or use another --out."


def _lock(descriptor: int) -> None:
    """Lock a folder for its holder alone; raises OSError. Tried twice: somebody may just be asking whether it is held."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sleep(_ASKING_S)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
