"""Names: what may stand as a picture's path below `images/`, and how a derived id is spelt.

Rule 1: a name that passes here can be written on Linux, macOS and Windows, unpacked from a ZIP and synchronised
by a cloud drive, and never leads out of its folder. Rule 2: nothing is repaired silently, save that text is
brought to Unicode NFC, which no one can see. Rule 3: this file is pure, it never looks at a disk.
Sources: Microsoft "Naming Files, Paths, and Namespaces"; Unicode UAX #15.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from unicodedata import normalize
from urllib.parse import unquote

MAX_NAME_BYTES = 200  # of the 255 most file systems allow: room for a temporary suffix beside it
MAX_PATH_BYTES = 800
PREVIOUS = ".previous"
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
    """Return what two names share when a file system may take them for one: letter case and form aside."""
    if output.isascii():
        return output.lower()
    return normalize("NFC", normalize("NFC", output).casefold())


def normal_name(output: str) -> str:
    """Return the name in Unicode NFC, as it is written down and on disk."""
    return output if output.isascii() else normalize("NFC", output)


def fault(output: str, extension: str) -> str | None:
    """Return why a picture cannot be written under this name on every system, None when it can.

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
    """Return a picture's stem as a part of an id: letters, digits, dot, dash and underscore, at most 60 bytes."""
    plain = _NOT_PORTABLE.sub("-", normalize("NFC", text)).strip("-. ")
    while len(plain.encode()) > _STEM_BYTES:
        plain = plain[:-1]
    return plain.strip("-. ") or "image"


def is_url(picture: str) -> bool:
    """Tell a URL from a path."""
    return picture.lower().startswith(("http://", "https://"))


def picture_stem(picture: str) -> str:
    """Return the name of a picture without folders and suffix, for a path or a URL."""
    path = unquote(picture.partition("?")[0].partition("#")[0]) if is_url(picture) else picture
    return PurePosixPath(path).stem
