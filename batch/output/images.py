"""Finished images: decoded in full, then written under their names, never over something else.

What lay there before with other bytes is archived in `images/.previous/`: nothing in the folder is overwritten.

`check_images` finds where each saved image is: present, moved away, or changed. One stat a row; a file is read only when
its size or modification time differs from what was seen last, and what it held is remembered with them, so a folder in
which nothing happened is not read again. An image that was moved away is nobody's fault and costs nothing: its row stays
saved. An image that was put back is present again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from batch.core.errors import TexbatchError
from batch.core.imaging import RESULT_FORMATS, open_image
from batch.core.models import StoredImage
from batch.core.parameters import EXTENSIONS
from batch.ledger import image_index
from batch.ledger.image_index import UNREADABLE
from batch.ledger.states import State
from batch.output.files import IMAGE_LIMIT, IMAGES, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batch.core.models import Target, Task
    from batch.ledger.image_index import SavedImage
    from batch.ledger.ledger import Ledger
    from batch.output.files import ImageStore
    from batch.output.previous import PreviousVersions

MOVED = "moved"
CHANGED = "changed"

_FORMATS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}
"""Pillow's names of the formats, and ours. An MPO is a JPEG with more images behind it."""

_BASE64 = str.maketrans("-_", "+/", "=")  # the URL-safe alphabet is taken too; padding is added again


class UnusableImage(TexbatchError):
    """A result is not a finished image."""


def decode_image(data: bytes, image_format: str) -> StoredImage:
    """Decode a result in full; raises UnusableImage with the reason when it is not a whole image.

    An image in another format than the one asked for was paid for and is good: `came_as` says which it is.
    """
    from PIL import UnidentifiedImageError  # noqa: PLC0415  start-up time

    if not data:
        raise UnusableImage("the image is empty")
    if len(data) > IMAGE_LIMIT:
        raise UnusableImage(f"the image is over {IMAGE_LIMIT >> 20} MiB")
    try:
        with open_image(data, RESULT_FORMATS) as image:
            found, (width, height) = _FORMATS[image.format], image.size
            image.load()
    except MemoryError:  # this machine's trouble, which says nothing about a paid image
        raise
    # Decoders raise anything on broken bytes: struct.error, IndexError, zlib.error …
    except Exception as exc:
        start = data[:16].decode("ascii", "replace").strip()
        # Pillow's own words for bytes of no known format name our buffer.
        why = "of no known format" if isinstance(exc, UnidentifiedImageError) else exc
        raise UnusableImage(
            f"the result does not decode as an image ({why}; it starts with {start!r})"
        ) from exc
    came_as = None if found == image_format else found
    return StoredImage(data, width, height, hashlib.sha256(data).hexdigest(), came_as)


def from_base64(text: str) -> bytes:
    """Return the bytes of a base64 result; raises UnusableImage.

    It may have a data-URL head, be broken into lines, use the URL-safe alphabet, and lack its padding.
    """
    text = text.strip()
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    text = "".join(text.split()).translate(_BASE64)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise UnusableImage(f"the base64 result cannot be read ({exc})") from exc


def write_image(previous: PreviousVersions, task: Task, image: StoredImage) -> None:
    """Put a job's image under the name that each of its rows wants; blocking; raises FolderError when the disk refuses.

    Whatever a row had before, under this name or another, is archived. So is a paid image that no row wants as its own: a
    candidate's, or that of a row which has changed.
    """
    for target in task.targets:
        exists = previous.image_store.exists(target.output)
        if exists and not previous.archive_if_different(target.output, image.sha256):
            continue
        if target.kept and target.kept != target.output:
            previous.archive(target.kept, target.kept_sha256)
        previous.image_store.write(target.output, image.data)
    if not task.targets and task.state != State.SAVED:
        image_format = image.came_as or str(task.parameters["image_format"])
        previous.put(task.aside or task.key, EXTENSIONS[image_format], image.data, image.sha256)


def make_way(previous: PreviousVersions, target: Target, others: Iterable[str]) -> None:
    """Archive what lies in the place of an image that is in no file, as if it had been written; blocking.

    `others` are the hashes of other rows' images that may lie there; what the row had before under another name goes too.
    Raises FolderError when the disk refuses.
    """
    for sha256 in others:
        previous.archive(target.output, sha256)
    if target.kept and target.kept != target.output:
        previous.archive(target.kept, target.kept_sha256)


def find(image_store: ImageStore, names: Iterable[str], sha256: str) -> tuple[str, bytes] | None:
    """Return the first of these names that holds the image, and its bytes; None when none does."""
    for name in names:
        data = image_store.read(name)
        if data is not None and hashlib.sha256(data).hexdigest() == sha256:
            return name, data
    return None


class ExistingImage(NamedTuple):
    """A file below images/ that holds a saved job's image; `earlier`: as an earlier version of one of its rows."""

    name: str
    data: bytes
    earlier: bool = False


def find_existing(
    previous: PreviousVersions,
    task: Task,
    foreign: Callable[[], Iterable[str]],
    check: Callable[[], None],
) -> ExistingImage | None:
    """Find a saved job's image by its hash: where rows have it or want it, among their earlier versions, anywhere else.

    Blocking. `foreign` returns the names of files that no row knows of, which are read once a run; `check` is called at
    each of them and may raise, to end it early.
    """
    if task.sha256 is None:
        return None
    outputs = [target.output for target in task.targets]
    earlier = previous.versions_of(outputs)
    found = find(previous.image_store, (*task.sources, *outputs, *earlier), task.sha256)
    if found is None:
        with previous.indexing:
            if not previous.indexed:
                previous.index(foreign(), check)
        found = previous.find_by_hash(task.sha256)
    return found and ExistingImage(*found, earlier=found[0] in earlier)


def holds_no_other(image_store: ImageStore, name: str, sha256: str) -> bool:
    """Return whether a name holds nothing, or that very image; blocking."""
    return image_store.exists(name) is None or find(image_store, [name], sha256) is not None


def check_images(
    ledger: Ledger,
    folder: Path,
    *,
    read: bool = True,
    ids: Sequence[str] | None = None,
    remember: bool = True,
) -> None:
    """Check every saved image of the manifest's rows below `folder`; reports on this ledger then show what was found.

    Without `read` no file is read: one whose size or time differs counts as it did when it was read last. With `ids` only
    these rows' images are checked. The facts of files that were read are remembered in a ledger that can be written, unless `remember` is false:
    who does not hold the folder writes no facts about its files.
    """
    images = f"{folder / IMAGES}/"
    for page in image_index.saved_images(ledger, ids):
        away: list[tuple[int, str, str | None]] = []
        seen: list[tuple[int, int, bool, str | None, int]] = []
        for row in page:
            state, sha256, news = _check(images + row.output, row, read=read)
            if state is not None:
                away.append((row.row, state, sha256))
            if news is not None:
                seen.append((*news, state == CHANGED, sha256 or None, row.row))
        if away:
            image_index.note_away(ledger, away)
        if seen and remember and ledger.writable:
            image_index.remember_facts(ledger, seen)


def _check(
    path: str, row: SavedImage, *, read: bool
) -> tuple[str | None, str | None, tuple[int, int] | None]:
    """Return the state of a row's image, None for present; the hash that it was changed to; its file's facts when they are news.

    An image that was changed and then moved away keeps the hash that it was changed to.
    """
    known = (CHANGED, row.found_sha256) if row.changed else (None, None)
    nowhere = row.size is not None and row.size < 0
    try:
        found = os.stat(path)  # noqa: PTH116  a million times perhaps
    except (OSError, ValueError):
        return MOVED, known[1], None
    if not stat.S_ISREG(found.st_mode):
        return CHANGED, UNREADABLE, None
    now = found.st_size, found.st_mtime_ns
    # An earlier version noted that a file was changed, and not to what.
    if now == (row.size, row.mtime_ns) and not (read and row.changed and row.found_sha256 is None):
        return *known, None
    if not read:
        return *((MOVED, None) if nowhere else known), None
    digest = row.sha256 and sha256_of(Path(path))
    if digest == row.sha256:
        return None, None, now
    # What lies there was never this row's, or is a changed image.
    return (MOVED, None, None) if nowhere else (CHANGED, digest or UNREADABLE, now)
