"""Files of an output folder: written whole or not at all, and the images among them by name.

A file is written beside its target, fsynced and renamed, so a killed process leaves the old file or the new one, never
a half. Its temporary file has a name that `is_partial` knows. A file is taken for an image only by its hash.

An ImageStore says where the images of a folder are: six operations on names, and a listing that needs no memory for a
million files. Rule 1: a name is a path below `images/` with forward slashes; earlier versions are below `.previous/`.
Rule 2: nothing leads out of the folder. Rule 3: the store moves and writes what it is asked to; which image may go where is
decided in images.py and previous.py. Another store, such as an object storage, has to pass
tests/unit/output/test_image_store.py.

Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from batch.core.errors import FolderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

IMAGES = "images"
PREVIOUS = ".previous"
"""The folder of the images below the output folder, and that of earlier versions below the images."""

PARTIAL = ".texbatch-{}.part"
"""The name of a file that is being written, with something in it that no other has."""

IMAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of the largest image that is kept, read again or shown."""


FILES_A_PAGE = 1000
"""Names of a listing's page."""


def is_partial(name: str) -> bool:
    """Return whether a file name is that of a file being written, or left half-written by a process that was killed."""
    start, _, end = PARTIAL.partition("{}")
    return name.startswith(start) and name.endswith(end)


@contextmanager
def atomic_file(
    path: Path,
    mode: int | None = None,
    *,
    durable: bool = True,
    may_replace: Callable[[], bool] = lambda: True,
) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends, and is removed when the block raises.

    Without a `mode` the umask decides who may read it, as with any program's file. One that is not `durable` is not
    fsynced: after a power cut it may be empty. `may_replace` is asked at the last moment; with False `path` stays as it is.
    Raises OSError.
    """
    temporary = path.parent / PARTIAL.format(secrets.token_hex(8))
    # Not mkstemp: its files are their user's alone, and the umask can be read only by changing it.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(descriptor)
            if mode is not None:
                os.fchmod(descriptor, mode)
        if not may_replace():
            temporary.unlink()
            return
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def atomic_write(path: Path, data: bytes, mode: int | None = None, *, durable: bool = True) -> None:
    """Write a file whole or not at all, as `atomic_file` does; raises OSError."""
    with atomic_file(path, mode, durable=durable) as file:
        file.write(data)


def sha256_of(path: Path) -> str | None:
    """Return the hash of a file; None if it is not a regular file, cannot be read, or is larger than any image."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > IMAGE_LIMIT:
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def read_verified(path: Path, sha256: str | None) -> bytes | None:
    """Return the bytes of a file, or None when it is gone or holds something else."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


# -- images ------------------------------------------------------------------------------------------------------------


class StoreEntry(NamedTuple):
    """What a store has under a name: a plain file, a link, or something else, such as a folder."""

    name: str
    is_file: bool
    is_link: bool = False


class ImageStore(Protocol):
    """The images of one output folder, by name."""

    def exists(self, name: str) -> tuple[int, int] | None:
        """Return size (bytes) and modification time (ns) of what lies there, or None when nothing does."""

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if it is missing, unreadable or larger than any image."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, in place of what lies there; raises FolderError."""

    def archive(self, name: str) -> str | None:
        """Move what lies there to a new name below `.previous/`; return that name, or None if nothing was moved.

        The new name has the time of the last change: `a.png` becomes `.previous/a.20270115T080000Z.png`. Raises
        FolderError.
        """

    def list(self, prefix: str = "", *, skip: str = "") -> Iterator[StoreEntry]:
        """Yield, in no order, everything whose name begins with `prefix`, save the folder `skip` and all below it.

        Names that are not Unicode are left out. Raises FolderError for what cannot be read.
        """

    def delete(self, name: str) -> None:
        """Remove a file if it is there and can be removed."""


@dataclass(frozen=True, slots=True)
class LocalImageStore:
    """The images in a folder of this machine. Links below it are neither followed nor written through."""

    folder: Path

    def exists(self, name: str) -> tuple[int, int] | None:
        """Return size and modification time, those of the link itself when it leads nowhere."""
        path = self.folder / name
        for look in (os.stat, os.lstat):
            with suppress(OSError):
                status = look(path)
                return status.st_size, status.st_mtime_ns
        return None

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if it is missing, unreadable or larger than any image."""
        path = self.folder / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > IMAGE_LIMIT:
                return None
            return path.read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; raises FolderError, also where a link leads out of the folder."""
        path = self.folder / name
        try:
            if "/" in name and self._leads_out(path):
                raise FolderError(f"{path}: a link leads out of the output folder. Remove the link.")
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data)
        except OSError as exc:
            raise FolderError(
                f"{path}: cannot be written ({exc.strerror or exc}). Make room or fix it, then run again."
            ) from exc

    def archive(self, name: str) -> str | None:
        """Move a file below `.previous/`; what lies behind a link that leads out of the folder stays there."""
        path, found = self.folder / name, self.exists(name)
        try:
            if found is None or self._leads_out(path):
                return None
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(found[1] // 1_000_000_000))
            parent = (self.folder / PREVIOUS / name).parent
            parent.mkdir(parents=True, exist_ok=True)
            number = 0
            while os.path.lexists(
                previous := parent / f"{path.stem}.{stamp}{f'-{number}' if number else ''}{path.suffix}"
            ):
                number += 1
            path.rename(previous)
        except OSError as exc:
            raise FolderError(
                f"{path}: cannot be moved ({exc.strerror or exc}). Make it writable, then run again."
            ) from exc
        return str(previous.relative_to(self.folder))

    def list(self, prefix: str = "", *, skip: str = "") -> Iterator[StoreEntry]:
        """Yield what is there, sub-folders and their content too; links are yielded and not followed."""
        parent = prefix[: prefix.rfind("/") + 1]
        try:
            entries = os.scandir(self.folder / parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as exc:
            raise FolderError(
                f"{self.folder / parent}: cannot be read ({exc.strerror}). Make it readable, then run again: nothing "
                "is paid for again before it is known which images lie there."
            ) from exc
        with entries:
            for entry in entries:
                name = parent + entry.name
                if not name.startswith(prefix) or name == skip or not (name.isascii() or _is_unicode(name)):
                    continue
                yield StoreEntry(name, entry.is_file(follow_symlinks=False), entry.is_symlink())
                if entry.is_dir(follow_symlinks=False):
                    yield from self.list(f"{name}/", skip=skip)

    def delete(self, name: str) -> None:
        """Remove a file if it is there and can be removed."""
        with suppress(OSError):
            (self.folder / name).unlink()

    def _leads_out(self, path: Path) -> bool:
        """Return whether a link on the way to a file leads out of the folder."""
        below = takewhile(lambda parent: parent != self.folder, path.parents)
        if not any(parent.is_symlink() for parent in below):
            return False
        return not path.parent.resolve().is_relative_to(self.folder.resolve())


@dataclass
class ImageListing:
    """What a store has, a page at a time. `check` is called at each page and may raise, to end it early.

    A listing with links (`has_symlinks`) does not show everything, since they are not followed.
    """

    entries: Iterable[StoreEntry]
    check: Callable[[], None] = lambda: None
    has_symlinks: bool = False
    partial_files: list[str] = field(default_factory=list)
    """Half-written files of a run that was killed; they are in none of the pages."""

    def pages(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the names in no order, plain files and all others; raises what the entries raise."""
        files: list[str] = []
        others: list[str] = []
        for entry in self.entries:
            if entry.is_file and is_partial(entry.name.rpartition("/")[2]):
                self.partial_files.append(entry.name)
                continue
            self.has_symlinks = self.has_symlinks or entry.is_link
            (files if entry.is_file else others).append(entry.name)
            if len(files) + len(others) == FILES_A_PAGE:
                self.check()
                yield files, others
                files, others = [], []
        yield files, others


def _is_unicode(name: str) -> bool:
    """Return whether a name is Unicode: a name that is not UTF-8 on disk is none of ours."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
