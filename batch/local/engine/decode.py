"""Encoded bytes to an upright 8-bit sRGB picture of bounded size.

Rule 1: every Pillow-readable picture ends in one form: `Picture`. EXIF orientation is applied, an embedded ICC
profile is converted to sRGB, 16-bit and float data are scaled to 8 bits, animations give their first frame.
Rule 2: work is bounded before it is done. Pillow's pixel limit refuses a picture from its header; JPEGs are decoded
at a reduced size (draft), others are reduced by box averaging.
Rule 3: whatever a decoder raises leaves here as PictureError, naming the picture and the reason. Its warning of a
decompression bomb is an error; its others (odd metadata, a palette's transparency) concern nothing that is used here.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from .colour import Bytes, octets
from .contract import PictureError

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files, over and above UnidentifiedImageError (an OSError)."""
_ONE_AT_A_TIME = threading.Lock()
"""Held while warnings are caught, which Python does for all threads together."""
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


@dataclass(frozen=True, slots=True)
class Picture:
    """An upright picture: `rgb` is height x width x 3; `alpha` is None when the picture is opaque."""

    rgb: Bytes
    alpha: Bytes | None


def decode(data: bytes, name: str, longest_side: int) -> Picture:
    """Decode a picture and shrink it to at most `longest_side` pixels; errors call it by `name`."""
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            _refuse_huge(image, name)
            return _normalised(image, longest_side)
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{name}: too large. {error}") from error
    except UnidentifiedImageError as error:  # its own words name our buffer, not the picture
        raise PictureError(
            f"{name}: cannot be decoded. It is no picture of a format that is known."
        ) from error
    except _DECODER_ERRORS as error:
        raise PictureError(f"{name}: cannot be decoded. {error}") from error


def _refuse_huge(image: Image.Image, name: str) -> None:
    pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise PictureError(f"{name}: too large. {image.width} x {image.height} pixels; the limit is {limit}.")


def _normalised(image: Image.Image, longest_side: int) -> Picture:
    profile = image.info.get("icc_profile")
    image.draft(None, (longest_side, longest_side))
    upright = ImageOps.exif_transpose(image)
    shrink = max(upright.size) // longest_side
    flat = _eight_bit(upright)
    if shrink > 1:
        flat = flat.reduce(shrink)
    flat = _in_srgb(flat, profile)
    if max(flat.size) > longest_side:
        flat.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return _split(flat)


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
    """Convert to sRGB; without a profile, or with one that does not fit the picture, by Pillow's plain rules."""
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


def _split(image: Image.Image) -> Picture:
    pixels = np.asarray(image)
    rgb = np.ascontiguousarray(pixels[..., :3])
    if image.mode != "RGBA" or int(pixels[..., 3].min()) == 255:
        return Picture(rgb=rgb, alpha=None)
    return Picture(rgb=rgb, alpha=np.ascontiguousarray(pixels[..., 3]))
