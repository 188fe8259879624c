"""Uploads and output files: bytes in a temporary folder of this server's own, names that cannot be guessed.

Rule 1: a file is found through the table, never by joining a path from a request. Rule 2: the folder is removed
when the server ends. A server that was killed cannot do that, so each holds a lock on its folder, and the next
one removes the folders nobody holds. Rule 3: output files end with their lifetime, uploads with the server.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PREFIX = "texbatch-local-"
LOCK = "lock"
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tif",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One file: its name in URLs, its kind "assets" or "outputs", its type, when it was made, whose output it is."""

    name: str
    kind: str
    content_type: str
    made_at: float
    request_id: str


class Files:
    """The folder and the table of files in it; a context manager that removes both."""

    def __init__(self) -> None:
        sweep(Path(tempfile.gettempdir()))
        fresh = Path(tempfile.mkdtemp(prefix=".texbatch-new-"))
        self._lock = (fresh / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # renamed when locked: a sweeper never sees a folder of ours that is not held
        self.folder = fresh.rename(fresh.with_name(PREFIX + fresh.name.removeprefix(".texbatch-new-")))
        self._table: dict[str, Stored] = {}
        self._outputs: deque[Stored] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)
        self._lock.close()

    def keep(self, data: bytes, kind: str, content_type: str, now: float, request_id: str = "") -> Stored:
        """Write the bytes and return what they are known as."""
        extension = EXTENSIONS.get(content_type, "bin")
        name = f"{secrets.token_urlsafe(24)}.{extension}"
        stored = Stored(name, kind, content_type, now, request_id)
        (self.folder / name).write_bytes(data)
        self._table[name] = stored
        if kind == "outputs":
            self._outputs.append(stored)
        return stored

    def find(self, kind: str, name: str, now: float, output_lifetime_s: float) -> Stored | None:
        """Return the file of that name if it is of that kind and still alive."""
        self._expire(now - output_lifetime_s)
        stored = self._table.get(name)
        return stored if stored is not None and stored.kind == kind else None

    def read(self, stored: Stored) -> bytes:
        """Return the bytes of a file."""
        return (self.folder / stored.name).read_bytes()

    def _expire(self, before: float) -> None:
        while self._outputs and self._outputs[0].made_at <= before:
            stored = self._outputs.popleft()
            del self._table[stored.name]
            (self.folder / stored.name).unlink()


def sweep(parent: Path) -> None:
    """Remove the folders in `parent` whose servers were killed: those of this user that nobody holds."""
    for folder in parent.glob(PREFIX + "*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # in use, or another server swept it at the same moment
