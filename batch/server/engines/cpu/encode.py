"""A finished image to file bytes: fast settings, no metadata, so that equal images give equal bytes.

JPEG has no transparency: a transparent image is laid on white there, and kept transparent in PNG and WebP.
"""

import io

import numpy as np
from PIL import Image

from batch.vision.decode import DecodedImage
from batch.vision.planes import octets

# JPEG quality from which chroma is stored at full resolution: prints and weaves have sharp colours.
_FULL_CHROMA_FROM = 90


def encode(image: DecodedImage, image_format: str, quality: int) -> bytes:
    """Encode as "jpeg", "png" or "webp". Quality 1 … 100 is the codec's own scale; PNG is lossless."""
    out = io.BytesIO()
    if image_format == "jpeg":
        subsampling = 0 if quality >= _FULL_CHROMA_FROM else 2
        _on_white(image).save(out, "JPEG", quality=quality, subsampling=subsampling)
    elif image_format == "png":
        _pillow(image).save(out, "PNG", compress_level=1)
    else:
        _pillow(image).save(out, "WEBP", quality=quality, method=0)
    return out.getvalue()


def _pillow(image: DecodedImage) -> Image.Image:
    if image.alpha is None:
        return Image.fromarray(image.rgb)
    return Image.fromarray(np.dstack([image.rgb, image.alpha]))


def _on_white(image: DecodedImage) -> Image.Image:
    if image.alpha is None:
        return Image.fromarray(image.rgb)
    alpha = image.alpha[..., None].astype(np.float32) / 255
    return Image.fromarray(octets(np.rint(image.rgb * alpha + 255 * (1 - alpha))))
