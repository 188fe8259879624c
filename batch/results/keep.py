"""Finished pictures on disk: looked at, written whole or not at all, and never over something else.

A file is written beside its target, fsynced and renamed, so a killed process leaves either nothing or the whole
picture. What stood there before with other bytes moves to `images/.previous/`: nothing in the folder is overwritten.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import secrets
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from batch.errors import FolderError, TexbatchError
from batch.model import Picture
from batch.pillow import pillow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.model import Target
    from batch.results.aside import Aside

IMAGES = "images"
PREVIOUS = ".previous"
PICTURE_LIMIT = 64 * 1024 * 1024

_PILLOW = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


class UnusablePicture(TexbatchError):
    """What came is not the picture that was asked for."""


def look_at(data: bytes, image_format: str) -> Picture:
    """Decode the bytes in full; return them as a Picture, or raise UnusablePicture saying why not."""
    from PIL import UnidentifiedImageError  # noqa: PLC0415  start-up time

    if not data:
        raise UnusablePicture("the picture is empty")
    if len(data) > PICTURE_LIMIT:
        raise UnusablePicture(f"the picture is over {PICTURE_LIMIT >> 20} MiB")
    try:
        with pillow().open(io.BytesIO(data)) as image:
            found, (width, height) = image.format, image.size
            image.load()
    except MemoryError:  # that is this machine's trouble and says nothing about a paid picture
        raise
    except (
        Exception
    ) as exc:  # decoders raise anything on broken bytes: struct.error, IndexError, zlib.error …
        start = data[:16].decode("ascii", "replace").strip()
        # Pillow's own words for bytes of no known format name our buffer.
        why = "of no known format" if isinstance(exc, UnidentifiedImageError) else exc
        raise UnusablePicture(
            f"what came does not decode as a picture ({why}; it starts with {start!r})"
        ) from exc
    if found != _PILLOW[image_format]:
        raise UnusablePicture(f"asked for {image_format}, got {found}")
    return Picture(data, width, height, hashlib.sha256(data).hexdigest())


def from_base64(text: str) -> bytes:
    """Return the bytes of a base64 result, with or without a data-URL head; raises UnusablePicture."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise UnusablePicture(f"the base64 result cannot be read ({exc})") from exc


def write(folder: Path, target: Target, picture: Picture, aside: Aside) -> None:
    """Put the picture at its target below `folder`/images; blocking; raises FolderError when the disk refuses.

    Whatever the row had before, under this name or another, is kept under images/.previous/.
    """
    images = folder / IMAGES
    path = images / target.output
    try:
        _stay_inside(images, path)
        if path.exists():
            if not aside.clear(path, unless=picture.sha256):
                return
        elif not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        if target.kept and target.kept != target.output:
            aside.retire(images / target.kept, target.kept_sha256)
        write_whole(path, picture.data)
    except OSError as exc:
        raise FolderError(
            f"{path}: cannot be written ({exc.strerror or exc}). Make room or mend it, then run again."
        ) from exc


def keep_aside(folder: Path, name: str, picture: Picture) -> None:
    """Put a paid picture that no row wants any more under images/.previous/; blocking; raises FolderError."""
    path = folder / IMAGES / PREVIOUS / name
    try:
        if not _holds(path, picture.sha256):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, picture.data)
    except OSError as exc:
        raise FolderError(f"{path}: cannot be written ({exc.strerror or exc}).") from exc


def read(folder: Path, output: str, sha256: str | None) -> bytes | None:
    """Return the bytes of a saved picture, or None when it is gone or no longer the one that was saved."""
    try:
        data = (folder / IMAGES / output).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


def find(folder: Path, names: Iterable[str], sha256: str) -> tuple[str, bytes] | None:
    """Return the first of these names below `folder`/images that holds the picture, and its bytes; None: none does."""
    for name in names:
        data = read(folder, name, sha256)
        if data is not None:
            return name, data
    return None


def write_whole(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.

    Without a `mode` who may read it is what the umask says, as with any program's file.
    """
    temporary = str(path.parent / f".texbatch-{secrets.token_hex(8)}.part")
    # Not mkstemp: its files are their user's alone, and the umask can be asked of the kernel only by making a file.
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else 0o600
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if mode is not None:
                os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _stay_inside(images: Path, path: Path) -> None:
    """Refuse a target that a symbolic link inside the folder leads out of it."""
    below = takewhile(lambda parent: parent != images, path.parents)
    linked = any(parent.is_symlink() for parent in below)
    if linked and not path.parent.resolve().is_relative_to(images.resolve()):
        raise FolderError(f"{path}: a link leads out of the output folder. Remove the link.")


def _holds(path: Path, sha256: str | None) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
