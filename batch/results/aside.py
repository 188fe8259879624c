"""What was moved out of another picture's way: `images/.previous/`, and which picture is which there, by its hash.

Rows that exchange ids displace each other's pictures, each under the name it had: only the hash tells whose it is.

Rule 1: moving a picture and asking for one exclude each other, so nobody asks while it is at neither place.
Rule 2: the folder is searched once a run, when a picture is missed for the first time; what is moved from then on is
noted. A run that misses nothing reads nothing here.
"""

from __future__ import annotations

import glob
import hashlib
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch.results.keep import IMAGES, PICTURE_LIMIT, PREVIOUS, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Aside:
    """The pictures set aside in one output folder; one object a run, shared by its threads. Everything here blocks.

    `searched` says that `find` knows the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.searched = False
        self._folder = folder
        self._images = folder / IMAGES
        self._moving = threading.Lock()
        self._names: dict[str, str] | None = None  # sha256 → name below images/; None until the search begins

    def clear(self, path: Path, *, unless: str) -> bool:
        """Move what lies at a path out of the way, unless it is that very picture (sha256); say whether it was not."""
        with self._moving:
            lying = _sha256(path)
            if lying != unless:
                self._move(path, lying)
            return lying != unless

    def retire(self, path: Path, sha256: str | None) -> None:
        """Move a picture away that its row no longer has there; another row may have taken the name since."""
        with self._moving:
            lying = _sha256(path)
            if lying is not None and lying == sha256:
                self._move(path, lying)

    def named(self, outputs: Iterable[str]) -> list[str]:
        """Return the names below images/ of what was set aside under these output names, newest first."""
        place = self._images / PREVIOUS
        found: list[str] = []
        for output in outputs if place.is_dir() else ():
            path = Path(output)
            versions = (place / path.parent).glob(f"{glob.escape(path.stem)}.*{glob.escape(path.suffix)}")
            found += sorted((str(version.relative_to(self._images)) for version in versions), reverse=True)
        return found

    def search(self, strangers: Iterable[str], check: Callable[[], None] = lambda: None) -> None:
        """Learn what lies in .previous/, and in files below images/ that no row knows of.

        `check` is called at each file and may raise, to end it early.
        """
        with self._moving:
            names = self._names = {}
        paths = [self._images / name for name in strangers]
        for path in (*paths, *(self._images / PREVIOUS).rglob("*")):
            check()
            if sha256 := _sha256(path):
                names.setdefault(sha256, str(path.relative_to(self._images)))
        self.searched = True

    def find(self, sha256: str) -> tuple[str, bytes] | None:
        """Return a picture that the search has seen, or that was moved since: its name below images/, and its bytes."""
        with self._moving:
            name = (self._names or {}).get(sha256)
            data = None if name is None else read(self._folder, name, sha256)
        return None if name is None or data is None else (name, data)

    def forget(self, name: str, sha256: str, *, lies_at: str) -> None:
        """Remove a picture that was set aside and lies at its row's place again."""
        with self._moving:
            with suppress(OSError):  # then it stays as one more version
                (self._images / name).unlink()
            if self._names is not None:
                self._names[sha256] = lies_at

    def _move(self, path: Path, sha256: str | None) -> None:
        if not path.exists():
            return
        relative = path.relative_to(self._images)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(path.stat().st_mtime))
        place = self._images / PREVIOUS / relative.parent
        place.mkdir(parents=True, exist_ok=True)
        number = 0
        while (
            aside := place / f"{relative.stem}.{stamp}{f'-{number}' if number else ''}{relative.suffix}"
        ).exists():
            number += 1
        path.rename(aside)
        if self._names is not None and sha256 is not None:
            self._names[sha256] = str(aside.relative_to(self._images))


def _sha256(path: Path) -> str | None:
    """Return the hash of a file; None of what is no file, and of what is larger than any picture."""
    try:
        if not path.is_file() or path.stat().st_size > PICTURE_LIMIT:
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
