"""Thumbnails for the contact sheet: each made once, kept in thumbs/ under a name derived from its image's content.

An image that cannot be shown is skipped with the reason, which the sheet shows. Nothing is fetched: an image that was
given as a URL has no thumbnail. Thumbnails are never removed here: they are small, and an image may come back. They are
not fsynced either: an empty one, as a power cut leaves it, is made again.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from batch.core.errors import FolderError
from batch.core.imaging import READ_FORMATS, open_image
from batch.output.files import IMAGE_LIMIT, atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch.output.folder import OutputFolder

SIZE = 320  # pixels of the longer side: sharp at twice the density of its place in the sheet
WORKERS = min(4, os.cpu_count() or 1)
GONE = "the file is not there any more"
MOVED_AWAY = "moved away"
FILE_CHANGED = "the file has changed since"
SEEN = frozenset({b"tRNS", b"eXIf"})
"""Chunks of a PNG that change how it looks: its transparency, and its orientation."""


@dataclass(slots=True)
class Shown:
    """An image of the sheet: its URL as the page sees it, its thumbnail's name, and why it has none.

    Neither a name nor a note: there was no time, and the page shows the image itself. Both: the image is not there any
    more, its earlier thumbnail is. `path` and `name` are where the image is and what its thumbnail is to be called,
    None and "" for a URL; `gone` is the note when the file is missing.
    """

    href: str
    thumb: str | None = None
    note: str | None = None
    path: Path | None = None
    name: str = ""
    sha256: str | None = None
    gone: str = GONE


@dataclass(slots=True)
class Thumbnails:
    """The images of one sheet, each once, however many rows show it."""

    folder: OutputFolder
    shown: list[Shown] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, path: Path, sha256: str | None = None, *, gone: str = GONE) -> int:
        """Add an image; return its number in `shown`. `gone` is its note when there is no file.

        Without a hash it is one that never changes under its name, like those in images/.previous/.
        """
        if sha256 is not None:
            name = f"{sha256[:40]}.webp"
        else:
            known = path.stat()
            identity = f"{path.name}\0{known.st_size}\0{known.st_mtime_ns}"
            name = f"v{hashlib.sha256(os.fsencode(identity)).hexdigest()[:39]}.webp"
        number = self._numbers.setdefault(f"{name} {path}", len(self.shown))
        if number == len(self.shown):
            # A relative path, quoted: a file's name can never give the URL a scheme.
            url = quote_from_bytes(os.fsencode(os.path.relpath(path, self.folder.path)), safe="/")
            self.shown.append(Shown(url, path=path, name=name, sha256=sha256, gone=gone))
        return number

    def link(self, url: str) -> int:
        """Add an image that was given as a URL: the page links to it and never loads it."""
        number = self._numbers.setdefault(url, len(self.shown))
        if number == len(self.shown):
            self.shown.append(Shown(url, note="link"))
        return number

    def make(
        self,
        within_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Make the thumbnails that are not there yet, as far as the time goes; raises FolderError.

        With `check`, which is called before each and may raise, this thread makes them alone.
        """
        thumbs = self.folder.thumbs
        ends = None if within_s is None else clock() + within_s
        try:
            if thumbs.is_symlink():
                raise FolderError(f"{thumbs}: is a link. Nothing is written there: remove the link.")
            thumbs.mkdir(mode=0o700, exist_ok=True)
            thumbs.chmod(0o700)
            there = {entry.name for entry in os.scandir(thumbs) if entry.stat().st_size}
        except OSError as exc:
            raise FolderError(f"{thumbs}: cannot be used ({exc.strerror or exc}).") from exc
        missing = []
        for shown in self.shown:
            shown.thumb = shown.name if shown.name in there else None
            if shown.path is not None and not shown.path.is_file():
                shown.note = shown.gone
            elif shown.path is not None and shown.thumb is None:
                missing.append(shown)
        make = partial(_make, thumbs, there, lambda: ends is None or clock() < ends)
        if check is not None:
            for shown in missing:
                check()
                make(shown)
            return
        with ThreadPoolExecutor(WORKERS) as threads:  # Pillow works without the interpreter's lock
            for _ in threads.map(make, missing):
                pass


def _make(thumbs: Path, there: set[str], may_make: Callable[[], bool], shown: Shown) -> None:
    """Make the thumbnail of one image, if there is time, or note why there is none; `there` are the names that exist."""
    if shown.name in there:  # other rows have the same image
        shown.thumb = shown.name
        return
    if shown.path is None or not may_make():
        return
    try:
        if shown.path.stat().st_size > IMAGE_LIMIT:
            shown.note = f"the file is over {IMAGE_LIMIT >> 20} MiB"
            return
        data = shown.path.read_bytes()
    except OSError as exc:
        shown.note = f"the file cannot be read ({exc.strerror})"
        return
    if shown.sha256 is not None and hashlib.sha256(data).hexdigest() != shown.sha256:
        shown.note = FILE_CHANGED
        return
    try:
        small = shrink(data)
    except Exception:  # noqa: BLE001  decoders raise anything on broken bytes
        shown.note = "the file does not decode as an image"
        return
    try:
        atomic_write(thumbs / shown.name, small, 0o600, durable=False)
    except OSError as exc:
        raise FolderError(f"{thumbs / shown.name}: cannot be written ({exc.strerror}).") from exc
    there.add(shown.name)
    shown.thumb = shown.name


def shrink(data: bytes) -> bytes:
    """Return an image as a WebP of at most SIZE pixels a side, upright; raises what the decoder raises."""
    from PIL import ImageOps  # noqa: PLC0415  start-up time

    with open_image(data, READ_FORMATS, SEEN) as image:
        image.draft("RGB", (SIZE * 2, SIZE * 2))  # a JPEG decodes straight to a smaller size
        image.thumbnail((SIZE, SIZE), reducing_gap=2.0)
        try:
            upright = ImageOps.exif_transpose(image)
        except Exception:  # noqa: BLE001  EXIF that cannot be read says nothing: the parser raises anything
            upright = image
        clear = upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info
        out = io.BytesIO()
        upright.convert("RGBA" if clear else "RGB").save(out, "WEBP", quality=78, method=2)
    return out.getvalue()
