"""What was moved out of another image's way: `images/.previous/`, and which image is which there, by its hash.

Rows that exchange ids displace each other's images, each under the name it had: only the hash shows whose it is.

Rule 1: moving an image and asking for one exclude each other, so nobody asks while it is at neither place.
Rule 2: the folder is searched once a run, when an image is missed for the first time; what is moved from then on is
noted. A run that misses nothing reads nothing here.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batch.output.files import PREVIOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch.output.files import ImageStore


@dataclass(slots=True)
class PreviousVersions:
    """The images archived in one image store; one object a run, shared by its threads. Everything here blocks.

    `indexed` says that `find_by_hash` knows what lies there; `indexing` is held by the thread that sees to it.
    """

    image_store: ImageStore
    indexed: bool = field(default=False, init=False)
    indexing: threading.Lock = field(default_factory=threading.Lock, init=False)
    _moving: threading.Lock = field(default_factory=threading.Lock, init=False)
    _names: dict[str, str] | None = field(default=None, init=False)
    """sha256 → name below images/; None until the index is made."""

    def archive_if_different(self, name: str, sha256: str) -> bool:
        """Move what lies under a name out of the way unless it is that very image; return whether it was another."""
        with self._moving:
            found = self._sha256_at(name)
            if found != sha256:
                self._archive(name, found)
            return found != sha256

    def archive(self, name: str, sha256: str | None) -> None:
        """Move an image that its row no longer has there; another row's image may have taken the name since."""
        with self._moving:
            found = self._sha256_at(name)
            if found is not None and found == sha256:
                self._archive(name, found)

    def put(self, stem: str, extension: str, data: bytes, sha256: str) -> str:
        """Put an image here that no row has at its place, unless it is there; return its name.

        Where another image has the name, a number is put on it.
        """
        with self._moving:
            for number in itertools.count(1):
                name = f"{PREVIOUS}/{stem}{f'-{number}' if number > 1 else ''}.{extension}"
                if self.image_store.exists(name) is None:
                    self.image_store.write(name, data)
                elif self._sha256_at(name) != sha256:
                    continue
                break
            if self._names is not None:
                self._names[sha256] = name
            return name

    def versions_of(self, outputs: Iterable[str]) -> list[str]:
        """Return the names of what was archived under these output names, newest first."""
        found: list[str] = []
        for output in outputs:
            path = PurePosixPath(PREVIOUS, output)
            prefix = str(path.with_suffix("")) + "."
            versions = (entry.name for entry in self.image_store.list(prefix))
            found += sorted(
                (name for name in versions if name.endswith(path.suffix) and "/" not in name[len(prefix) :]),
                reverse=True,
            )
        return found

    def index(self, foreign: Iterable[str], check: Callable[[], None] = lambda: None) -> None:
        """Learn which images lie in `.previous/`, and in the `foreign` files that no row knows of.

        `check` is called at each file and may raise, to end it early.
        """
        with self._moving:
            names = self._names = {}
        archived = (entry.name for entry in self.image_store.list(f"{PREVIOUS}/"))
        for name in (*foreign, *archived):
            check()
            if sha256 := self._sha256_at(name):
                names.setdefault(sha256, name)
        self.indexed = True

    def find_by_hash(self, sha256: str) -> tuple[str, bytes] | None:
        """Return an image that the index has, or that was moved since: its name below images/, and its bytes."""
        with self._moving:
            name = (self._names or {}).get(sha256)
            data = None if name is None else self.image_store.read(name)
        if name is None or data is None or hashlib.sha256(data).hexdigest() != sha256:
            return None
        return name, data

    def forget(self, name: str, sha256: str, *, lies_at: str) -> None:
        """Remove an archived image that lies at its row's place again; one that cannot be removed stays archived."""
        with self._moving:
            self.image_store.delete(name)
            if self._names is not None:
                self._names[sha256] = lies_at

    def _sha256_at(self, name: str) -> str | None:
        data = self.image_store.read(name)
        return None if data is None else hashlib.sha256(data).hexdigest()

    def _archive(self, name: str, sha256: str | None) -> None:
        archived = self.image_store.archive(name)
        if archived is not None and self._names is not None and sha256 is not None:
            self._names[sha256] = archived
