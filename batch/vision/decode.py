"""Encoded bytes to an upright 8-bit sRGB image of bounded size.

Rule 1: every Pillow-readable image ends in one form: `Image`. EXIF orientation is applied, an embedded ICC
profile is converted to sRGB, 16-bit and float data are scaled to 8 bits, animations give their first frame.
Rule 2: work is bounded before it is done. Pillow's pixel limit refuses an image from its header; JPEGs are decoded
at a reduced size (draft), others are reduced by box averaging.
Rule 3: only the formats of FORMATS are opened; Pillow runs a program of its own for one of the others. Of a PNG only the
chunks that are used here are looked at: one of another kind that is long or damaged harms no pixel.
Rule 4: whatever a decoder raises leaves here as DecodeError, naming the image and the reason. Its warning of a
decompression bomb is an error; its others (odd metadata, a palette's transparency) concern nothing that is used here.
"""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from batch.vision.planes import Bytes, octets

# What Pillow's decoders raise on damaged files, over and above UnidentifiedImageError (an OSError).
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_PNG = b"\x89PNG\r\n\x1a\n"
_USED = frozenset({b"tRNS", b"eXIf", b"iCCP"})
# It bounds a colour profile as well, and some have more than the usual 1 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20
# Held while warnings are caught, which Python does for all threads together.
_ONE_AT_A_TIME = threading.Lock()
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


class DecodeError(ValueError):
    """The bytes cannot be used as an image; the text names the image and the reason."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright image: `rgb` is height x width x 3; `alpha` is None when the image is opaque."""

    rgb: Bytes
    alpha: Bytes | None

    def each(self, step: Callable[[Bytes], Bytes]) -> "DecodedImage":
        """Return the image whose planes `step` makes of ours; it must keep colour and alpha in register."""
        return DecodedImage(step(self.rgb), None if self.alpha is None else step(self.alpha))


def decode(data: bytes, name: str, longest_side: int) -> DecodedImage:
    """Decode an image and shrink it to at most `longest_side` pixels; errors call it by `name`."""
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(_used(data)), formats=FORMATS)
            _refuse_huge(image, name)
            return _normalised(image, longest_side)
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError(f"{name}: too large. {error}") from error
    except UnidentifiedImageError as error:  # its own words name our buffer, not the image
        raise DecodeError(f"{name}: cannot be decoded. It is not an image of a known format.") from error
    except _DECODER_ERRORS as error:
        raise DecodeError(f"{name}: cannot be decoded. {error}") from error


def _used(data: bytes) -> bytes:
    """Return a PNG with its critical chunks and the whole ones of _USED alone; anything else as it is."""
    if not data.startswith(_PNG):
        return data
    kept, at, name = [_PNG], len(_PNG), b""
    while at + 8 <= len(data) and name != b"IEND":
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        whole = struct.pack(">I", zlib.crc32(data[at + 4 : end - 4])) == data[end - 4 : end]
        if not name[0] & 0x20 or (name in _USED and whole):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _refuse_huge(image: Image.Image, name: str) -> None:
    pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise DecodeError(f"{name}: too large. {image.width} x {image.height} pixels; the limit is {limit}.")


def _normalised(image: Image.Image, longest_side: int) -> DecodedImage:
    profile = image.info.get("icc_profile")
    image.draft(None, (longest_side, longest_side))
    upright = _upright(image)
    shrink = max(upright.size) // longest_side
    flat = _eight_bit(upright)
    if shrink > 1:
        flat = flat.reduce(shrink)
    flat = _in_srgb(flat, profile)
    if max(flat.size) > longest_side:
        flat.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return _split(flat)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says; one whose EXIF cannot be read stays as it is."""
    image.load()  # what is wrong with the pixels is said here
    try:
        return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring deep greyscale and palettes to an 8-bit mode that can be averaged."""
    if image.mode in _DEEP_MODES:
        deep = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = 65_535.0 if image.mode.startswith("I") else max(1.0, float(deep.max(initial=0.0)))
        return Image.fromarray(octets(np.clip(np.rint(deep / span * 255), 0, 255)))
    if image.mode in ("RGB", "RGBA", "CMYK", "L", "LA"):
        return image
    transparent = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB; without a profile, or with one that does not fit the image, by Pillow's plain rules."""
    target = "RGBA" if image.mode in ("RGBA", "LA") or "transparency" in image.info else "RGB"
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        try:
            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode=target
            )
        except (ImageCms.PyCMSError, OSError):
            return image.convert(target)
        if converted is not None:
            return converted
    return image.convert(target)


def _split(image: Image.Image) -> DecodedImage:
    pixels = np.asarray(image)
    rgb = np.ascontiguousarray(pixels[..., :3])
    if image.mode != "RGBA" or int(pixels[..., 3].min()) == 255:
        return DecodedImage(rgb=rgb, alpha=None)
    return DecodedImage(rgb=rgb, alpha=np.ascontiguousarray(pixels[..., 3]))
