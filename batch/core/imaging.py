"""Pillow as texbatch uses it: imported late, set up once, and given nothing but the formats that were asked for.

Rule 1: every image is opened by `open_image`, with the names of the formats it may have. Pillow knows some forty more, and
runs Ghostscript for one of them. Rule 2: its pixel limit is an error. Rule 3: a PNG is opened without the chunks that no
pixel needs (texts, a colour profile, times, animation): Pillow refuses one that is long or damaged, and with it an image
that every browser shows. Rule 4: what Pillow reads with a plug-in (HEIC, AVIF) is known by its first bytes: the plug-in is
loaded for no other image.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from batch.core.file_kinds import AVIF, HEAD_BYTES, HEIC, RAW, FileKind, file_kind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import ModuleType

INPUT_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What a manifest's image may be, to be sent as it is. A JPEG of several images (MPO) is opened as JPEG and then calls itself
MPO."""

_PLUGINS = {AVIF: "AVIF", HEIC: "HEIF"}
BY_PLUGIN = frozenset(_PLUGINS.values())
"""What Pillow calls the formats that it reads with a plug-in, where that is installed."""

READ_FORMATS = (*INPUT_FORMATS, *BY_PLUGIN)
"""What a manifest's image may be, to be read; those by plug-in are sent as another."""

RESULT_FORMATS = ("JPEG", "PNG", "WEBP")
"""What a finished image may be."""

MOST_WORK = 4_000_000_000
"""Pixels times scans of a JPEG: one file can ask for thousands of passes over all its pixels, and take hours."""

_SCAN = b"\xff\xda"  # the marker; in the data of a scan 0xFF is never followed by 0xDA
_PNG = b"\x89PNG\r\n\x1a\n"
_LONGEST_HEAD = (
    1 << 20
)  # bytes of a critical chunk before the pixels; IHDR and PLTE have less than a thousand


_BEGINNINGS = (b"\xff\xd8\xff", _PNG, b"GIF8", b"BM", b"II*\0", b"MM\0*")


def is_sent_as_it_is(head: bytes) -> bool:
    """Return whether bytes begin as a file of one of INPUT_FORMATS does."""
    return head.startswith(_BEGINNINGS) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


@cache
def pillow() -> ModuleType:
    """Return PIL.Image with its documented switch: an image above the pixel limit is an error.

    Its other warnings would be printed; what matters of them is reported as a problem. Set once for the process: a
    filter that is changed around each image would not be safe in threads.
    """
    from PIL import Image  # noqa: PLC0415  start-up time

    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    return Image


def open_image(
    source: bytes | BinaryIO, formats: Sequence[str], keep_chunks: Collection[bytes] = frozenset()
) -> Any:
    """Return an image of one of these formats, its header read: of bytes it can be loaded, of a file it cannot.

    `keep_chunks` names chunks of a PNG to leave in although no pixel needs them; a damaged one is removed nevertheless.
    Raises DecompressionBombError for too many pixels, ValueError for a JPEG that takes too long, and what Pillow raises. Where
    `formats` has one of BY_PLUGIN, it raises NotAnImage for what is known to be something else.
    """
    image_module = pillow()
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    opened = _without_chunks(file, keep_chunks, pixels=isinstance(source, bytes))
    try:
        try:
            image = image_module.open(opened, formats=[name for name in formats if name not in BY_PLUGIN])
        except image_module.UnidentifiedImageError:
            if BY_PLUGIN.isdisjoint(formats):
                raise
            image = _open_by_kind(file, formats)
    except image_module.DecompressionBombWarning as exc:
        raise image_module.DecompressionBombError(str(exc)) from exc
    if image.format == "TIFF" and _is_preview(image, file):
        raise NotAnImage(RAW)
    pixels, limit = image.width * image.height, image_module.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise image_module.DecompressionBombError(
            f"Image size ({pixels} pixels) exceeds limit of {limit} pixels"
        )
    if isinstance(source, bytes) and image.format in {"JPEG", "MPO"}:
        scans = source.count(_SCAN)
        if scans > 1 and scans * pixels > MOST_WORK:
            raise ValueError(f"a JPEG of {scans} scans: it would take hours")
    return image


class NotAnImage(ValueError):
    """A file is known for what it is, and that cannot be read as an image; `kind` says what it is."""

    def __init__(self, kind: FileKind) -> None:
        super().__init__(f"is {kind.name}")
        self.kind = kind


def _open_by_kind(file: BinaryIO, formats: Sequence[str]) -> Any:
    """Return an image that Pillow reads with a plug-in; raises NotAnImage for what is known by its first bytes.

    Raises UnidentifiedImageError for anything else.
    """
    file.seek(0)
    kind = file_kind(file.read(HEAD_BYTES))
    file.seek(0)
    plugin = _PLUGINS.get(kind) if kind is not None else None
    if kind is not None and not (plugin in formats and _can_read(plugin)):
        raise NotAnImage(kind)
    return pillow().open(file, formats=[plugin] if plugin else [])


@cache
def _can_read(plugin: str) -> bool:
    """Return whether Pillow reads a format with a plug-in, which is loaded for it once."""
    if plugin == "HEIF":
        try:
            from pillow_heif import register_heif_opener  # noqa: PLC0415  an extra
        except ImportError:
            return False
        register_heif_opener()
        return True
    image_module = pillow()
    image_module.init()
    return plugin in image_module.OPEN


def _is_preview(image: Any, file: BinaryIO) -> bool:
    """Return whether a TIFF is a camera's raw file (DNG, NEF, CR2 …): what Pillow opens is its preview, a stamp."""
    tags = image.tag_v2
    file.seek(0)
    kind = file_kind(file.read(HEAD_BYTES))
    return kind is RAW or _DNG_VERSION in tags or bool(tags.get(_SUBFILE_TYPE, 0) & 1 and _SUB_IFDS in tags)


_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706


def _without_chunks(file: BinaryIO, keep_chunks: Collection[bytes], *, pixels: bool) -> BinaryIO:
    """Return a PNG without the chunks that its pixels do not need, and up to the pixels unless `pixels`; else the file."""
    start = file.read(len(_PNG))
    if start != _PNG:
        file.seek(0)
        return file
    kept, name = [start], b""
    while name != b"IEND" and len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        critical = _is_critical(name)
        if critical and not pixels and (name == b"IDAT" or size > _LONGEST_HEAD):
            kept.append(head)
            break
        if critical or name in keep_chunks:
            chunk = head + file.read(size + 4)
            if critical or _is_whole(chunk, size):
                kept.append(chunk)
        else:
            file.seek(size + 4, io.SEEK_CUR)
    return io.BytesIO(b"".join(kept))


def _is_critical(name: bytes) -> bool:
    """Return whether the pixels cannot be read without a chunk: its name begins with a capital (PNG, section 5.4)."""
    return not name[0] & 0x20


def _is_whole(chunk: bytes, size: int) -> bool:
    return len(chunk) == size + 12 and chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
