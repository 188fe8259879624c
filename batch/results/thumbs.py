"""Thumbnails for the contact sheet: each made once, kept in thumbs/ under a name that its picture's content gives.

A picture that cannot be shown is skipped with the reason, which the sheet tells. Nothing is fetched: a picture that was
given as a URL has no thumbnail. Thumbnails are never removed here: they are small, and a picture may come back. No fsync
either: one that a power cut took is made again.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from batch.errors import FolderError
from batch.results.keep import PICTURE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.folder import OutputFolder

SIZE = 320  # pixels of the longer side: sharp at twice the density of the place it has in the sheet
WORKERS = min(4, os.cpu_count() or 1)
GONE = "the file is not there any more"
CHANGED = "the file has changed since"


@dataclass(slots=True)
class Shown:
    """A picture of the sheet: where it lies as the page sees it, its thumbnail's name, and why it has none.

    Neither a name nor a note: there was no time, and the page shows the picture itself.
    """

    href: str
    thumb: str | None = None
    note: str | None = None


class Thumbs:
    """The pictures of one sheet, each once, however many rows show it."""

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self._numbers: dict[str, int] = {}
        self._files: list[tuple[str, Path | None, str | None]] = []
        self.shown: list[Shown] = []

    def picture(self, path: Path, sha256: str) -> int:
        """Note a picture whose content is known; return its number in `shown`."""
        return self._note(f"{sha256[:40]}.webp", path, sha256)

    def version(self, path: Path) -> int:
        """Note a picture that never changes under its name, like those in images/.previous/; return its number."""
        known = path.stat()
        identity = f"{path.name}\0{known.st_size}\0{known.st_mtime_ns}"
        return self._note(f"v{hashlib.sha256(os.fsencode(identity)).hexdigest()[:39]}.webp", path, None)

    def link(self, url: str) -> int:
        """Note a picture that was given as a URL: the page links to it and never loads it."""
        number = self._numbers.setdefault(url, len(self.shown))
        if number == len(self.shown):
            self._files.append(("", None, None))
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
        deadline = None if within_s is None else clock() + within_s
        try:
            self._folder.thumbs.mkdir(mode=0o700, exist_ok=True)
            self._folder.thumbs.chmod(0o700)
            there = {entry.name for entry in os.scandir(self._folder.thumbs) if entry.stat().st_size}
        except OSError as exc:
            raise FolderError(f"{self._folder.thumbs}: cannot be used ({exc.strerror or exc}).") from exc

        def take(number: int) -> None:
            self._take(number, there, may_make=deadline is None or clock() < deadline)

        if check is not None:
            for number in range(len(self.shown)):
                check()
                take(number)
            return
        with ThreadPoolExecutor(
            WORKERS
        ) as threads:  # Pillow decodes and encodes without the interpreter's lock
            for _ in threads.map(take, range(len(self.shown))):
                pass

    def _take(self, number: int, there: set[str], *, may_make: bool) -> None:
        """Find or make one picture's thumbnail; `there` are those that exist."""
        name, path, sha256 = self._files[number]
        if path is None:
            return
        shown = self.shown[number]
        if not path.is_file():
            shown.note = GONE
        elif name in there:
            shown.thumb = name
        elif may_make:
            shown.note = self._make(name, path, sha256)
            if not shown.note:
                shown.thumb = name
                there.add(name)  # other rows may have the same picture

    def _note(self, name: str, path: Path, sha256: str | None) -> int:
        key = f"{name} {path}"
        number = self._numbers.setdefault(key, len(self.shown))
        if number == len(self.shown):
            self._files.append((name, path, sha256))
            self.shown.append(Shown(href(path, self._folder.path)))
        return number

    def _make(self, name: str, path: Path, sha256: str | None) -> str | None:
        """Make one thumbnail; return why there is none, or None."""
        try:
            if path.stat().st_size > PICTURE_LIMIT:
                return f"the file is over {PICTURE_LIMIT >> 20} MiB"
            data = path.read_bytes()
        except OSError as exc:
            return f"the file cannot be read ({exc.strerror})"
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            return CHANGED
        try:
            small = shrink(data)
        except Exception:  # noqa: BLE001  decoders raise anything on broken bytes
            return "the file does not decode as a picture"
        try:
            _put(self._folder.thumbs / name, small)
        except OSError as exc:
            raise FolderError(f"{self._folder.thumbs / name}: cannot be written ({exc.strerror}).") from exc
        return None


def shrink(data: bytes) -> bytes:
    """Return a picture as a WebP of at most SIZE pixels a side, upright; raises what the decoder raises."""
    from PIL import Image, ImageOps  # noqa: PLC0415  start-up time

    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
            raise ValueError("too many pixels")
        image.draft("RGB", (SIZE * 2, SIZE * 2))  # a JPEG decodes straight to a smaller size
        image.thumbnail((SIZE, SIZE), reducing_gap=2.0)
        upright = ImageOps.exif_transpose(image)
        clear = upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info
        out = io.BytesIO()
        upright.convert("RGBA" if clear else "RGB").save(out, "WEBP", quality=78, method=2)
    return out.getvalue()


def href(path: Path, base: Path) -> str:
    """Return the relative URL of a file as a page in `base` names it; never one that has a scheme."""
    return quote_from_bytes(os.fsencode(os.path.relpath(path, base)), safe="/")


def _put(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".texbatch-", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp makes it readable by its user alone
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
