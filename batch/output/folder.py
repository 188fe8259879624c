"""The output folder: where its files are, and the lock that lets one run at a time use it.

The lock is the kernel's (flock on the folder itself), so it dies with its process and leaves no file behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from batch.core.config import check_not_url
from batch.core.errors import FolderError, FolderFailed, FolderLocked
from batch.core.units import iso
from batch.ledger.decisions import are_shown
from batch.ledger.ledger import Ledger
from batch.ledger.mark import NO_ROOM
from batch.ledger.runs import last_run
from batch.output.files import IMAGES, PARTIAL, PREVIOUS, LocalImageStore, atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch.output.files import ImageStore

_HELD = {errno.EWOULDBLOCK, errno.EACCES}
_ASKING_S = 0.05  # longer than `is_held` keeps the lock it asks with

REPORTING_S = 60.0
"""How long a run waits for `texbatch mark` to write the reports of a large folder: a schedule should not fail for that."""


class OutputFolder:
    """Where everything lies below DIR; raises UsageError for a URL, which would become a local folder of that name."""

    def __init__(self, path: Path | str) -> None:
        check_not_url(path)
        self.path = Path(path)
        self.ledger = self.path / "ledger.sqlite"
        self.images = self.path / IMAGES
        self.image_store: ImageStore = LocalImageStore(self.images)
        self.report = self.path / "report.csv"
        """Every row of the manifest with its outcome."""
        self.failures = self.path / "failures.csv"
        """The failed and expired rows; a valid manifest."""
        self.decisions = self.path / "decisions.csv"
        """What people decided; perhaps with edits that were not taken in yet."""
        self.summary = self.path / "summary.json"
        self.sheet = self.path / "report.html"
        self.thumbs = self.path / "thumbs"
        self.files = (self.ledger, self.report, self.failures, self.decisions, self.summary, self.sheet)

    @contextmanager
    def hold(self, *, patient: bool = False, within_s: float = 0.0) -> Iterator[None]:
        """Make the folder if need be and hold it alone, at most `within_s` seconds after another process did.

        `patient` waits longer for a command that only reports what was decided.

        Raises FolderLocked when another process holds it or the file system cannot lock, FolderError when it cannot
        be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise FolderError(f"{self.path}: cannot be used as output folder ({exc.strerror}).") from exc
        try:
            self._lock(descriptor, REPORTING_S if patient else 0.0, within_s)
            if not os.access(self.path, os.W_OK):
                remedy = (
                    "Make it writable" if self.ledger.exists() else "Give another --out, or make it writable"
                )
                raise FolderError(f"{self.path}: is read-only. {remedy}.")
            self._check_links()
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Return whether a run, or a command that changes the folder, holds it now; False where that cannot be known."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:  # shared: two processes that ask do not see each other
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as exc:
            return exc.errno in _HELD
        finally:
            os.close(descriptor)
        return False

    def check_foreign(self) -> None:
        """Refuse a folder that no run has used and that has somebody else's files where the reports would go."""
        for path, sign in (
            (self.report, b"payload_key"),
            (self.failures, b"payload_key"),
            (self.decisions, b"decided_by"),
            (self.summary, b'"spent_usd"'),
            (self.sheet, b"texbatch"),
        ):
            try:
                if path.exists() and sign not in path.read_bytes():
                    raise FolderError(
                        f"{path}: texbatch did not write it, and would overwrite it. Nothing was sent. Move it away, or give "
                        "another --out."
                    )
            except OSError as exc:
                raise FolderError(f"{path}: cannot be read ({exc.strerror}). Nothing was sent.") from exc

    def try_images(self) -> None:
        """Write, rename and remove a small file among the images; raises FolderError, with exit code 3 without room.

        To be called before anything is sent: an image that is paid for needs a place.
        """
        probe = self.images / PARTIAL.format(secrets.token_hex(8))
        try:
            self.images.mkdir(exist_ok=True)
            atomic_write(probe, bytes(4096))
            probe.unlink()
        except OSError as exc:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
            reason = f"{self.images}: cannot be written ({exc.strerror or exc}). Nothing was sent."
            if exc.errno in NO_ROOM:
                raise FolderFailed(f"{reason} Make room, then run again.") from exc
            raise FolderError(f"{reason} Make it writable for this user, then run again.") from exc

    def _lock(self, descriptor: int, patience_s: float, within_s: float) -> None:
        """Lock the folder; raises FolderLocked. Tried twice: another process may just be asking whether it is held."""
        began = monotonic()
        for number in count():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                if exc.errno not in _HELD:
                    raise FolderLocked(
                        f"{self.path}: this file system cannot lock ({exc.strerror}). Use a local disk for --out: move the "
                        "folder there as a whole."
                    ) from exc
                waited_s = monotonic() - began
                if number and waited_s >= within_s and not (waited_s < patience_s and self._is_reporting()):
                    raise FolderLocked(
                        f"{self.path}: {self._holder()} holds this folder. Wait for it to end, then run again."
                    ) from exc
                sleep(_ASKING_S)
            else:
                return

    def _is_reporting(self) -> bool:
        """Return whether the folder is held by no run, and has decisions that are not in its reports yet: they are being written."""
        with suppress(FolderError), Ledger.read(self.ledger) as ledger:
            run = last_run(ledger)
            return (run is None or run["ended_at"] is not None) and not are_shown(ledger)
        return False

    def _holder(self) -> str:
        with suppress(FolderError), Ledger.read(self.ledger) as ledger:  # it may be under way itself
            run = last_run(ledger)
            if run is not None and run["ended_at"] is None:
                return f"another run (pid {run['pid']}, started {iso(run['started_at'])})"
        return "another run"

    def _check_links(self) -> None:
        """Refuse a folder of which a part is a link: what is written there would lie, or be changed, elsewhere."""
        folders = (self.images, self.images / PREVIOUS, self.thumbs)
        for path in (*self.files, *folders):
            if path.is_symlink():
                raise FolderError(
                    f"{path}: is a link to {os.readlink(path)}. Nothing is written there: remove the link, or "  # noqa: PTH115  as it is written
                    "give the folder that it leads to as --out."
                )
        for path in folders:
            if path.exists() and not path.is_dir():
                raise FolderError(f"{path}: is a file where texbatch keeps a folder. Move it away.")
