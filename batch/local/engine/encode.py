"""A finished picture to file bytes: fast settings, no metadata, so that equal pictures give equal bytes.

JPEG has no transparency: a transparent picture is laid on white there, and kept transparent in PNG and WebP.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .colour import octets

if TYPE_CHECKING:
    from .decode import Picture

_FULL_CHROMA_FROM = 90
"""JPEG quality from which chroma is stored at full resolution: prints and weaves have sharp colours."""


def encode(picture: Picture, image_format: str, quality: int) -> bytes:
    """Encode as "jpeg", "png" or "webp". Quality 1 … 100 is the codec's own scale; PNG is lossless."""
    out = io.BytesIO()
    if image_format == "jpeg":
        subsampling = 0 if quality >= _FULL_CHROMA_FROM else 2
        _on_white(picture).save(out, "JPEG", quality=quality, subsampling=subsampling)
    elif image_format == "png":
        _image(picture).save(out, "PNG", compress_level=1)
    else:
        _image(picture).save(out, "WEBP", quality=quality, method=0)
    return out.getvalue()


def _image(picture: Picture) -> Image.Image:
    if picture.alpha is None:
        return Image.fromarray(picture.rgb)
    return Image.fromarray(np.dstack([picture.rgb, picture.alpha]))


def _on_white(picture: Picture) -> Image.Image:
    if picture.alpha is None:
        return Image.fromarray(picture.rgb)
    alpha = picture.alpha[..., None].astype(np.float32) / 255
    return Image.fromarray(octets(np.rint(picture.rgb * alpha + 255 * (1 - alpha))))
