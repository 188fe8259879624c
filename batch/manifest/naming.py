"""Names: which path below `images/` an image may have, and the id that is derived from a row's content.

Rule 1: a name that passes here can be written on Linux, macOS and Windows, unpacked from a ZIP and synchronised
by a cloud drive, and never leads out of its folder. Rule 2: nothing is repaired silently, except that text is
brought to Unicode NFC, which is invisible; an id is shown to people, so it is checked and never changed. Rule 3: a
derived id depends on the row's own cells and on nothing else, not on their order, the row's position, the defaults or the
command line: a manifest may be sorted, or run with another seed, and its rows keep their ids. Rule 4: this module is
pure, it never reads a disk.
Sources: Microsoft "Naming Files, Paths, and Namespaces"; Unicode UAX #15.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from unicodedata import normalize
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_NAME_BYTES = 200  # of the 255 most file systems allow: room for a temporary suffix beside it
MAX_PATH_BYTES = 800
_PLAIN = re.compile(
    r"(?!(?i:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])\.)[A-Za-z0-9_][A-Za-z0-9_\-]{0,150}\.[a-z]{3,4}"
)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\\\ud800-\udfff]')
_RESERVED = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789¹²³"]
)
_NOT_PORTABLE = re.compile(r"[^\w.\-]+")
_STEM_BYTES = 60


def fold_name(output: str) -> str:
    """Return a key that is equal for names that some file system takes for one: without letter case and Unicode form."""
    if output.isascii():
        return output.lower()
    return normalize("NFC", normalize("NFC", output).casefold())


def normal_name(output: str) -> str:
    """Return the name in Unicode NFC, as it is recorded and on disk."""
    return output if output.isascii() else normalize("NFC", output)


def name_fault(output: str, extension: str) -> str | None:
    """Return why an image cannot be written under this name on every system, None when it can.

    The name is relative, with forward slashes, in NFC, and ends in `.extension`.
    """
    if not output.endswith("." + extension):
        return f"does not end in .{extension}"
    if _PLAIN.fullmatch(output):  # nearly every name, and quickly
        return None
    if output.startswith("/"):
        return "is an absolute path"
    if forbidden := _FORBIDDEN.search(output):
        return f"has a {forbidden.group()!r}"
    if len(output.encode()) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    return next(filter(None, map(_segment_fault, output.split("/"))), None)


def _segment_fault(segment: str) -> str | None:
    if not segment:
        return "has an empty folder name"
    if segment == "..":
        return "leads out of its folder"
    if segment.startswith("."):
        return f"has a part that starts with a dot ({segment!r})"
    if segment.endswith((".", " ")):
        return f"has a part that ends in a dot or a blank ({segment!r})"
    if segment.partition(".")[0].rstrip().upper() in _RESERVED:
        return f"has a part that Windows reserves ({segment!r})"
    if len(segment.encode()) > MAX_NAME_BYTES:
        return f"has a part longer than {MAX_NAME_BYTES} bytes"
    return None


def portable_stem(text: str) -> str:
    """Return an image's stem as a part of an id: letters, digits, dot, dash and underscore, at most 60 bytes."""
    plain = _NOT_PORTABLE.sub("-", normalize("NFC", text)).strip("-. ")
    while len(plain.encode()) > _STEM_BYTES:
        plain = plain[:-1]
    return plain.strip("-. ") or "image"


def shown(name: str) -> str:
    r"""Return a file's name so that it can be printed and stored: a byte that is not UTF-8 becomes \xNN."""
    if name.isascii():
        return name
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def is_url(image: str) -> bool:
    """Return whether an image is given by a URL, not by a path."""
    return image.lower().startswith(("http://", "https://"))


def image_stem(image: str) -> str:
    """Return the name of an image without folders and suffix, for a path or a URL."""
    path = unquote(image.partition("?")[0].partition("#")[0]) if is_url(image) else image
    return PurePosixPath(path).stem


# -- ids --------------------------------------------------------------------------------------------------------------

MAX_ID_BYTES = 200
_HASH_DIGITS = 10
_CACHED = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def id_fault(name: str) -> str | None:
    """Return why a text cannot be an id, None when it can."""
    if not name.isprintable() and _CONTROL.search(name):
        return "holds a line break or another control character"
    if len(name if name.isascii() else name.encode()) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    return None


def derive_id(cells: Mapping[str, str], image_1: str, image_2: str) -> str:
    """Return `<stem of image_1>-<stem of image_2>-<10 hex digits of the cells' hash>`; empty cells do not count."""
    content = {name: stripped for name, cell in cells.items() if (stripped := cell.strip())}
    digest = hashlib.sha256(_canonical(content).encode()).hexdigest()[:_HASH_DIGITS]
    return f"{_stem(image_1)}-{_stem(image_2)}-{digest}"


@lru_cache(maxsize=_CACHED)
def _stem(image: str) -> str:
    return portable_stem(image_stem(image))
