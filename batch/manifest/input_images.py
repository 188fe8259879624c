"""The images of a manifest: is the file there, is it an image, and what is the hash of its content.

Planning opens each image once: its header is identified and its bytes are hashed, nothing is decoded. The results are
cached (a bounded number of texts here, file facts on disk in an InputImageCache), so that ten thousand rows with one image
open it once. Just before an upload `load_data_url` reads and decodes it whole. HEIC and AVIF, which no service is known to
take, are uploaded as JPEG (PNG where they are transparent); a row's identity is the hash of the file's own bytes.

Rule 1: a URL is sent as it is and never fetched. Rule 2: a path is relative to the manifest's folder; `~` is
not expanded. Rule 3: Pillow's pixel limit is an error here, not a warning. Rule 4: an image that texbatch made itself is
used with a warning: below `images/` or `thumbs/` of an output folder, by its own path or by where its links lead.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from batch.core.errors import IssueError
from batch.core.imaging import INPUT_FORMATS, READ_FORMATS, NotAnImage, open_image, pillow
from batch.core.links import is_private_host, without_query
from batch.core.models import CONTENT_PREFIX, Issue
from batch.manifest.naming import normal_name, shown
from batch.manifest.problems import closest

MAX_IMAGE_BYTES = 64 << 20
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
CONVERTED_QUALITY = 95
"""Of the JPEG that a HEIC or an AVIF is sent as."""

LEDGER = "ledger.sqlite"
_OPAQUE = 255
_CACHED_TEXTS = 1 << 15
_SUGGESTIONS = 20
_FOLDER_ENTRIES = 5000
_SIMPLE_URL = re.compile(
    r"https?://(?:[A-Za-z0-9-]+\.)+(?!(?:local|internal|intranet|lan|home|corp|localhost|localdomain|arpa)[:/])"
    r"[A-Za-z]{2,}(?::[0-9]{1,4})?(?:/[!-+\--:<-{}~]*)?"
)
is_simple_url = _SIMPLE_URL.fullmatch
"""Whether an image is a URL that any service takes as it is, with nothing to check."""
_MADE = frozenset({"images", "thumbs"})
_FILES = frozenset(
    {LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", "report.csv", "failures.csv", "summary.json", "report.html"}
)
_SQLITE = b"SQLite format 3\0"
_APPLICATION = slice(68, 72)  # sqlite.org/fileformat2.html, section 1.3
_OURS = frozenset({b"texb", b"\0\0\0\0"})  # the second before the first checkpoint
_SEVERAL = re.compile(r"https?://[^?\s,;|]*[\s,;|]+https?://", re.IGNORECASE)
"""URLs one after the other; behind a ? one may be a part of the other."""
_WINDOWS = re.compile(r"([A-Za-z]):[\\/]+")
_NO_SCHEME = re.compile(
    r"(?:www\.[^/]+|(?:[a-z0-9-]+\.)+(?:com|net|org|io|shop|store|de|fr|co\.uk|eu))/\S", re.IGNORECASE
)
_JOINERS = "\u200c\u200d"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?://|(?<=data:)|(?<=http:)|(?<=https:))", re.IGNORECASE)
has_scheme = _SCHEME.match
"""Whether the text of an image is an address of some kind, not a path."""


class ImageError(IssueError):
    """An image cannot be used."""


class InputImageCache(Protocol):
    """File facts that outlive a run; a file is the same while path, size and modification time are."""

    def hash_of(self, path: str, status: os.stat_result) -> str | None:
        """Note that a row wants the file at this path; return its remembered SHA-256 (hex), None if it is new or changed.

        `status` is that of the file itself, behind any links.
        """

    def remember_hash(self, path: str, status: os.stat_result, sha256: str) -> None:
        """Keep the SHA-256 of a file that is an image."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image parameter that can be used: `value` goes into the payload, `path` is None for a URL."""

    value: str
    path: Path | None
    warning: tuple[str, str, str] | None = None  # host or output folder, reason, remedy: once for each


@dataclass(frozen=True, slots=True)
class UnreadableFile(Issue):
    """The file behind an image parameter cannot even be opened: it is gone, or not ours to read."""

    path: Path


class InputImages:
    """Finds the images of one manifest; `find` caches the results for the texts asked for last.

    With `uploads_links` nothing is said of a link to a private address: it is fetched and uploaded.
    """

    def __init__(self, folder: Path, seen: InputImageCache | None, *, uploads_links: bool = False) -> None:
        self._folder = folder
        self._uploads_links = uploads_links
        self._seen = seen
        self._suggestions = _SUGGESTIONS
        self._outputs = OutputFolders()
        self._entries = lru_cache(maxsize=16)(_entries)
        self.find = lru_cache(maxsize=_CACHED_TEXTS)(self._find)

    def _find(self, written: str) -> FoundImage | Issue:
        """Return what the text of an image parameter refers to, or why it cannot be used."""
        if has_scheme(written):
            return _url(written, uploaded=self._uploads_links)
        path = Path(os.path.abspath(self._folder / written))  # noqa: PTH100  `..` only, links stay
        try:
            value = CONTENT_PREFIX + self._sha256(path, written)
        except ImageError as error:
            return Issue(error.reason, error.remedy)
        except FileNotFoundError:
            return UnreadableFile(f"{written} does not exist.", self._similar(written), path)
        except OSError as error:
            reason = f"{written} cannot be read ({error.strerror})."
            return UnreadableFile(reason, "Check the path and its permissions.", path)
        folder = self._outputs.holding(str(path))
        if folder is None:
            return FoundImage(value, path)
        reason = f"{written} is an image that texbatch made, in the output folder {folder}."
        remedy = "If that is not meant, name the product's own image."
        return FoundImage(value, path, (folder, reason, remedy))

    def _sha256(self, path: Path, written: str) -> str:
        if "\0" in written:
            raise ImageError("the path holds a NUL byte.", "Remove it.")
        text = str(path)
        if not text.isascii() and shown(text) != text:
            raise ImageError(f"the path {shown(text)} is not valid UTF-8.", "Rename that file or folder.")
        status = path.stat()
        _check_file(status, written)
        if self._seen is not None and (known := self._seen.hash_of(text, status)):
            return known
        with path.open("rb") as file:
            identify(file, written)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if self._seen is not None:
            self._seen.remember_hash(text, status, sha256)
        return sha256

    def _similar(self, written: str) -> str:
        """Return a hint at what was meant; only the first few missing files are searched for, a folder can be large."""
        path = self._folder / written
        if hint := _misread(written, self._folder):
            return hint
        if not path.parent.is_dir():
            return f"There is no folder {path.parent}; paths start at the manifest's folder."
        if self._suggestions == 0:
            return "Check the path; it starts at the manifest's folder."
        self._suggestions -= 1
        match = closest(path.name, self._entries(path.parent))
        if match is not None and closest(path.stem, [PurePath(match).stem]) is None:
            match = None  # alike in nothing but the suffix
        if match is not None and normal_name(match) == normal_name(path.name):
            return (
                "The folder has a file whose name looks the same, its accents written in another Unicode form: "
                "rename it, or copy its name from the folder."
            )
        return (
            f"Did you mean {shown(match)}?"
            if match
            else "Check the path; it starts at the manifest's folder."
        )


@dataclass(slots=True)
class OutputFolders:
    """Finds the output folder that a file belongs to; `out` is one that may have no ledger yet.

    An output folder is known by its ledger, whichever job made it. A file called ledger.sqlite is another program's only
    when it is a whole SQLite file that says so: a ledger that was just made, or that is damaged, still marks its folder,
    since an image paid for twice is worse than a warning.
    """

    out: str | os.PathLike[str] | None = None
    _known: dict[str, bool] = field(default_factory=dict, init=False, repr=False)

    def holding(self, path: str) -> str | None:
        """Return the output folder in which texbatch made a file, None when it did not."""
        for whole in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100  links are followed in the second alone
            folder, name = os.path.split(whole)
            marks = _FILES
            while name:  # upwards; only the file itself may be one that texbatch writes beside images/
                if name in marks and self._is_output(folder):
                    return folder
                folder, name = os.path.split(folder)
                marks = _MADE
        return None

    def _is_output(self, folder: str) -> bool:
        if folder not in self._known:
            self._known[folder] = self._has_ledger(folder) or (
                self.out is not None and folder in {os.path.abspath(self.out), os.path.realpath(self.out)}  # noqa: PTH100  as above
            )
        return self._known[folder]

    @staticmethod
    def _has_ledger(folder: str) -> bool:
        try:
            with Path(folder, LEDGER).open("rb") as file:
                head = file.read(_APPLICATION.stop)
        except OSError:
            return False
        return not head.startswith(_SQLITE) or head[_APPLICATION] in _OURS


def _entries(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry, _ in zip(entries, range(_FOLDER_ENTRIES), strict=False)]


def _misread(written: str, folder: Path) -> str | None:
    """Return what to do about a path that is none on this machine, as far as its form shows that; None for others."""
    if written.startswith("~"):
        return "~ is not expanded: write the path out."
    if hidden := _invisible(written):
        return f"The path holds an invisible character ({hidden}): remove it."
    if windows := _WINDOWS.match(written):
        here = Path("/mnt", windows[1].lower(), written[windows.end() :].replace("\\", "/"))
        if here.exists():
            return f"It is a Windows path: on this machine it is {here}."
        return (
            "It is a Windows path: write where the file is on this machine, or copy it beside the manifest."
        )
    if written.startswith("\\\\"):
        return "It is the path of a Windows share: write where that is mounted on this machine, or copy the file."
    if "\\" in written:
        return "Write folders with a forward slash (/)."
    if written.startswith("//"):
        return f"If it is a URL, write https: before it: https:{written}"
    if _NO_SCHEME.match(written) and not (folder / written.partition("/")[0]).exists():
        return f"If it is a URL, https:// is missing: write https://{written}"
    return None


def _invisible(text: str, *, at_ends: bool = False) -> str | None:
    """Return the name and number of the first character that nobody sees, or sees as a blank; None where there is none.

    The characters that join letters and emoji are seen by what they do: they count at the ends alone. With `at_ends` so do
    all but blanks.
    """
    if text.isascii():
        return None
    for at, character in enumerate(text):
        category = unicodedata.category(character)
        inside = 0 < at < len(text) - 1
        if category in {"Zs", "Zl", "Zp"} and character != " ":
            pass
        elif category != "Cf" or (inside and (at_ends or character in _JOINERS)):
            continue
        where = " at its end" if at == len(text) - 1 else ""
        return f"{unicodedata.name(character, 'without a name')}, U+{ord(character):04X}{where}"
    return None


def _url(written: str, *, uploaded: bool) -> FoundImage | Issue:
    remedy = "Give an http(s) URL, or the path of a file."
    if _SEVERAL.match(written):
        return Issue("several URLs in one cell.", "Keep one; give each of the others a column of its own.")
    if hidden := _invisible(written, at_ends=True):
        return Issue(f"the URL holds an invisible character ({hidden}).", "Remove it.")
    try:
        parts = urlsplit(written)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return Issue(f"{written} is not a valid URL.", remedy)
    if parts.scheme not in ("http", "https"):
        scheme = f"{parts.scheme}://" if parts.scheme != "data" else "data:"
        return Issue(f"{scheme} addresses cannot be used.", remedy)
    if not host or any(character.isspace() for character in written):
        return Issue("the URL has no host or holds a blank.", remedy)
    if parts.username is None and parts.password is None:
        if uploaded or not is_private_host(host):
            return FoundImage(written, None)
        reason = f"{host} is an address of your own network, which the service cannot reach."
        remedy = (
            "Give --upload-links private: this machine then fetches the image and uploads it. Or name a file."
        )
        return FoundImage(written, None, (host, reason, remedy))
    reason = f"a URL on {host} carries a user name or password."
    remedy = "The service and the report will see it: use a signed URL or a file."
    return FoundImage(written, None, (host, reason, remedy))


def _check_file(status: os.stat_result, name: object) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name} is a folder.", "Name the file inside it.")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name} is not a regular file.", "Copy the image into a file.")
    if status.st_size == 0:
        raise ImageError(f"{name} is an empty file.", "Save the image again.")
    if status.st_size > MAX_IMAGE_BYTES:
        raise ImageError(f"{name} is larger than {MAX_IMAGE_BYTES >> 20} MiB.", "Save it smaller or as JPEG.")


def identify(source: bytes | BinaryIO, name: object) -> Any:
    """Return the Pillow image of a source, its header read; raise ImageError when it cannot be used."""
    image_module = pillow()
    try:
        return open_image(source, READ_FORMATS)
    except NotAnImage as error:
        raise ImageError(f"{name} is {error.kind.name}.", error.kind.remedy) from None
    except image_module.DecompressionBombError:
        limit = image_module.MAX_IMAGE_PIXELS // 1_000_000
        raise ImageError(f"{name} has more than {limit} million pixels.", "Scale it down.") from None
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError):  # the last of libheif
        remedy = f"Save it as one of {', '.join(INPUT_FORMATS)}."
        raise ImageError(f"{name} is not an image that can be read.", remedy) from None


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """The bytes behind a link; as text it is the link, for messages."""

    link: str
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return without_query(self.link)


def load_data_url(path: Path | FetchedImage, sha256: str) -> str:
    """Return an image planned as `sha256` (hex) as a base64 data URL, read and decoded whole.

    Blocking: call it in a worker thread. Raises ImageError when the file vanished, changed since it was
    planned, does not decode to the end, or is above the limits.
    """
    if isinstance(path, FetchedImage):
        data = path.data
    else:
        again = "Restore it, or run again to plan the new file."
        try:
            with path.open("rb") as file:
                _check_file(os.fstat(file.fileno()), path)
                data = file.read(MAX_IMAGE_BYTES + 1)
        except FileNotFoundError:
            raise ImageError(f"{path} is gone since it was planned.", again) from None
        except OSError as error:
            raise ImageError(f"{path} cannot be read ({error.strerror}).", "Check its permissions.") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ImageError(f"{path} has changed since it was planned.", again)
    image = identify(data, path)
    try:
        image.load()
    except Exception as error:  # decoders raise anything on damaged data: struct.error, IndexError …
        reason = f"{path} does not decode: it is truncated or damaged."
        raise ImageError(reason, "Save the image again.") from error
    if image.format not in MEDIA_TYPES:
        kind, data = _converted(image)
        if len(data) > MAX_IMAGE_BYTES:
            raise ImageError(
                f"{path} is larger than {MAX_IMAGE_BYTES >> 20} MiB as {kind}.",
                "Scale it down, or save it as JPEG.",
            )
    else:
        kind = image.format
    return f"data:{MEDIA_TYPES[kind]};base64,{base64.b64encode(data).decode('ascii')}"


def _converted(image: Any) -> tuple[str, bytes]:
    """Return a loaded image as a JPEG, or as a PNG where a pixel is transparent, and which of them it is.

    It is upright and keeps its colour profile. Everything else that the file says (where a photo was taken) is left out.
    """
    from PIL import ImageOps  # noqa: PLC0415  start-up time

    upright = ImageOps.exif_transpose(image)
    profile = {"icc_profile": upright.info["icc_profile"]} if upright.info.get("icc_profile") else {}
    clear = upright.convert("RGBA") if upright.has_transparency_data else None
    file = io.BytesIO()
    if clear is not None and clear.getchannel("A").getextrema()[0] != _OPAQUE:
        clear.info = {}
        clear.save(file, "PNG", **profile)
        return "PNG", file.getvalue()
    plain = upright.convert("RGB")
    plain.info = {}
    plain.save(file, "JPEG", quality=CONVERTED_QUALITY, subsampling=0, **profile)
    return "JPEG", file.getvalue()
