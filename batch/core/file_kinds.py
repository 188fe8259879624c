"""What a file is, by its first bytes: what is not an image that can be sent is called by its name.

The formats that are sent as they are (`INPUT_FORMATS` in imaging.py) are not in this table: Pillow reads their headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD_BYTES = 4096
"""Bytes of a file's beginning that `file_kind` needs."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: its name with an article, for "x.jpg is …", and what to do about it."""

    name: str
    remedy: str


HEIC = FileKind(
    "a HEIC photo, as iPhones take them", "Install the extra 'texbatch[heic]', or save it as JPEG."
)
AVIF = FileKind("an AVIF image", "Install Pillow 11.3 or later, or save it as JPEG or PNG.")
RAW = FileKind("a camera's raw file", "Develop it, and save it as JPEG.")
HTML = FileKind("an HTML page, not an image", "Download the image itself, not the page that shows it.")

_EXPORT = "Export it as PNG."
_SVG = FileKind("an SVG drawing", _EXPORT)
_PDF = FileKind("a PDF document", "Export the page as PNG.")
_POSTSCRIPT = FileKind("an EPS or Illustrator drawing", _EXPORT)
_PHOTOSHOP = FileKind("a Photoshop document", "Export it as PNG or JPEG.")
_VIDEO = FileKind("a video", "Save a still of it as JPEG.")
_OTHER_IMAGE = "Save it as JPEG or PNG."

_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"%PDF-", _PDF),
    (0, b"%!PS", _POSTSCRIPT),
    (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"8BPS", _PHOTOSHOP),
    (0, b"\xff\x0a", FileKind("a JPEG XL image", _OTHER_IMAGE)),
    (4, b"JXL \r\n\x87\n", FileKind("a JPEG XL image", _OTHER_IMAGE)),
    (4, b"jP  \r\n\x87\n", FileKind("a JPEG 2000 image", _OTHER_IMAGE)),
    (0, b"\x00\x00\x01\x00", FileKind("an icon (ICO)", _OTHER_IMAGE)),
    (8, b"CR\x02\x00", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"IIU\x00", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (8, b"AVI LIST", _VIDEO),
    (0, b"\x1a\x45\xdf\xa3", _VIDEO),
    (0, b"PK\x03\x04", FileKind("a ZIP archive or an Office document", "Take the image out of it.")),
    (0, b"\x00\x05\x16\x07", FileKind("not an image but what macOS notes about one", "Name the file without ._.")),
    (
        0,
        b"version https://git-lfs",
        FileKind("a Git LFS pointer, not the image", "Fetch the image with git lfs pull."),
    ),
)  # fmt: skip
"""Offset, bytes there, kind."""

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_ANY_IMAGE_BRANDS = frozenset({b"mif1", b"msf1", b"mif2"})  # of a HEIF of whatever codec

_HTML = re.compile(rb"(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body)\b", re.DOTALL)


def file_kind(head: bytes) -> FileKind | None:
    """Return the kind of a file by its first HEAD_BYTES; None for one that may be an image to be sent as it is."""
    for offset, signature, kind in _SIGNATURES:
        if head.startswith(signature, offset):
            return kind
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text.startswith(b"<"):
        return None
    if _HTML.match(text):
        return HTML
    if b"<svg" in text:
        return _SVG
    return FileKind("an XML document, not an image", "Name the image itself.")


def _of_brands(head: bytes) -> FileKind:
    """Return the kind of a file of boxes (ISO 14496-12): its first box names the brands that it complies with."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {major, *(head[at : at + 4] for at in range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return AVIF
    if brands & _HEIC_BRANDS or major in _ANY_IMAGE_BRANDS:
        return HEIC
    return RAW if major == b"crx " else _VIDEO
