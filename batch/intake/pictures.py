"""The pictures of a manifest: is it there, is it one, and what is its content's hash.

Planning looks at each picture once: its header is identified and its bytes are hashed, nothing is decoded.
What was found is remembered (a bounded number of texts here, file facts on disk in a PictureCache), so that ten
thousand rows with one picture cost one look. Just before an upload `load_picture` reads and decodes it whole.

Rule 1: a URL is sent as it is and never fetched. Rule 2: a path is relative to the manifest's folder; `~` is
not expanded. Rule 3: Pillow's pixel limit is an error here, not a warning.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from batch.intake.spelling import closest
from batch.model import CONTENT_PREFIX
from batch.pillow import pillow

if TYPE_CHECKING:
    from types import ModuleType

MAX_BYTES = 64 << 20
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
_REMEMBERED = 1 << 15
_SUGGESTIONS = 20
_FOLDER_ENTRIES = 5000
_SIMPLE_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,4})?(?:/[!-~]*)?")
is_plain_url = _SIMPLE_URL.fullmatch
"""Tell whether an image is a URL that any service takes as it is, with nothing to look at."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?://|(?<=data:)|(?<=http:)|(?<=https:))", re.IGNORECASE)


class PictureError(ValueError):
    """A picture cannot be used: the reason and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.reason = reason
        self.remedy = remedy


class PictureCache(Protocol):
    """File facts that outlive a run; a file is the same while path, size and modification time are."""

    def looked(self, path: str, status: os.stat_result) -> None:
        """Note that a row wants the file at this path, links and all, and how it was then."""

    def recall(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return the SHA-256 (hex) remembered for a file, None when it is new or changed."""

    def remember(self, path: str, size: int, mtime_ns: int, sha256: str) -> None:
        """Keep the SHA-256 of a file that was found good."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an image parameter stands for: `value` goes into the payload, `path` is None for a URL."""

    value: str
    path: Path | None
    warning: tuple[str, str, str] | None = None  # a host, reason and remedy: said once a host


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an image parameter cannot be used, and what to do."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class LoadedPicture:
    """A picture's bytes as they will be uploaded."""

    data: bytes
    media_type: str


Look = Callable[[str], Found | Trouble]


class Pictures:
    """Looks at the pictures of one manifest; `look` remembers the texts it has seen last."""

    def __init__(self, folder: Path, seen: PictureCache | None) -> None:
        self._folder = folder
        self._seen = seen
        self._suggestions = _SUGGESTIONS
        self._entries = lru_cache(maxsize=16)(_entries)
        self.look: Look = lru_cache(maxsize=_REMEMBERED)(self._look)

    def _look(self, written: str) -> Found | Trouble:
        try:
            if _SCHEME.match(written):
                return _url(written)
            path = Path(os.path.abspath(self._folder / written))  # noqa: PTH100  `..` only, links stay
            return Found(CONTENT_PREFIX + self._sha256(path, written), path)
        except PictureError as error:
            return Trouble(error.reason, error.remedy)
        except FileNotFoundError:
            return Trouble(f"{written} does not exist.", self._similar(written))
        except OSError as error:
            return Trouble(
                f"{written} cannot be read ({error.strerror}).", "Check the path and its permissions."
            )

    def _sha256(self, path: Path, written: str) -> str:
        if "\0" in written:
            raise PictureError("the path holds a NUL byte.", "Remove it.")
        status = path.stat()
        _check_file(status, written)
        if self._seen is not None:
            self._seen.looked(str(path), status)
        facts = (os.path.realpath(path), status.st_size, status.st_mtime_ns)
        known = self._seen.recall(*facts) if self._seen is not None else None
        if known is not None:
            return known
        with path.open("rb") as file:
            identify(file, written)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if self._seen is not None:
            self._seen.remember(*facts, sha256)
        return sha256

    def _similar(self, written: str) -> str:
        """Say what else there is; searched for the first few missing files only, a folder can be large."""
        path = self._folder / written
        if written.startswith("~"):
            return "~ is not expanded: write the path out."
        if "\\" in written:
            return "Write folders with a forward slash (/)."
        if not path.parent.is_dir():
            return f"There is no folder {path.parent}; paths start at the manifest's folder."
        if self._suggestions == 0:
            return "Check the path; it starts at the manifest's folder."
        self._suggestions -= 1
        match = closest(path.name, self._entries(path.parent))
        return f"Did you mean {match}?" if match else "Check the path; it starts at the manifest's folder."


def _entries(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry, _ in zip(entries, range(_FOLDER_ENTRIES), strict=False)]


def _url(written: str) -> Found:
    remedy = "Give an http(s) URL, or the path of a file."
    try:
        parts = urlsplit(written)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise PictureError(f"{written} is no valid URL.", remedy) from None
    if parts.scheme not in ("http", "https"):
        shown = f"{parts.scheme}://" if parts.scheme != "data" else "data:"
        raise PictureError(f"{shown} addresses cannot be used.", remedy)
    if not host or any(character.isspace() for character in written):
        raise PictureError("the URL has no host or holds a blank.", remedy)
    if parts.username is None and parts.password is None:
        return Found(written, None)
    reason = f"a URL on {host} carries a user name or password."
    return Found(
        written, None, (host, reason, "The service and the report will see it: use a signed URL or a file.")
    )


def _check_file(status: os.stat_result, name: object) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{name} is a folder.", "Name the file inside it.")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(f"{name} is no regular file.", "Copy the picture into a file.")
    if status.st_size == 0:
        raise PictureError(f"{name} is an empty file.", "Save the picture again.")
    if status.st_size > MAX_BYTES:
        raise PictureError(f"{name} is larger than {MAX_BYTES >> 20} MiB.", "Save it smaller or as JPEG.")


def identify(file: BinaryIO, name: object) -> Any:
    """Return the opened Pillow image after a look at its header; raise PictureError when it is no use to us."""
    image_module = pillow()
    known = [kind for kind in MEDIA_TYPES if kind != "MPO"]  # Pillow opens an MPO as JPEG and renames it then
    try:
        image = image_module.open(file, formats=known)
    except (image_module.DecompressionBombWarning, image_module.DecompressionBombError):
        raise _too_many_pixels(image_module, name) from None
    except (OSError, SyntaxError, ValueError, EOFError):
        raise PictureError(
            f"{name} is no picture that can be read.", f"Save it as one of {', '.join(known)}."
        ) from None
    if image.width * image.height > image_module.MAX_IMAGE_PIXELS:
        raise _too_many_pixels(image_module, name)
    return image


def _too_many_pixels(image_module: ModuleType, name: object) -> PictureError:
    limit = image_module.MAX_IMAGE_PIXELS // 1_000_000
    return PictureError(f"{name} has more than {limit} million pixels.", "Scale it down.")


def load_picture(path: Path, sha256: str) -> LoadedPicture:
    """Return the bytes of a picture planned as `sha256` (hex), read and decoded whole.

    Blocking: call it in a worker thread. Raises PictureError when the file vanished, changed since it was
    planned, does not decode to the end, or is above the limits.
    """
    again = "Restore it, or run again to plan the new file."
    try:
        with path.open("rb") as file:
            _check_file(os.fstat(file.fileno()), path)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PictureError(f"{path} is gone since it was planned.", again) from None
    except OSError as error:
        raise PictureError(f"{path} cannot be read ({error.strerror}).", "Check its permissions.") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PictureError(f"{path} has changed since it was planned.", again)
    image = identify(io.BytesIO(data), path)
    try:
        image.load()
    except (
        Exception
    ) as error:  # decoders raise anything on damaged data: struct.error, IndexError, zlib.error …
        raise PictureError(
            f"{path} does not decode: it is truncated or damaged.", "Save the picture again."
        ) from error
    return LoadedPicture(data, MEDIA_TYPES[image.format])
