"""The engine "card": a tiny valid picture computed from the request body alone.

Size and pixels come from the SHA-256 of the canonical body, so a test can prove that a picture belongs to its
row: `card_for(body)` gives the very bytes again, with the same version of Pillow. It costs a fraction of a
millisecond and looks at no input picture. Pillow is imported on the first card, to keep the start short.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

from batch.local.jobs import canonical
from batch.parameters import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

GRID = 8
SMALLEST = 16


def card_size(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of the card in pixels, 16 … 79 each."""
    digest = hashlib.sha256(canonical(body)).digest()
    return SMALLEST + digest[0] % 64, SMALLEST + digest[1] % 64


def card_for(body: Mapping[str, Any]) -> bytes:
    """Return the picture of this request body, in the format and quality it asks for."""
    from PIL import Image  # noqa: PLC0415  start-up time

    image_format = str(body.get("image_format", BY_NAME["image_format"].default))
    quality = int(body.get("quality", BY_NAME["quality"].default))
    pixels = hashlib.shake_256(canonical(body)).digest(GRID * GRID * 3)
    picture = Image.frombytes("RGB", (GRID, GRID), pixels)
    picture = picture.resize(card_size(body), Image.Resampling.NEAREST)
    out = io.BytesIO()
    if image_format == "png":
        picture.save(out, "PNG", compress_level=1)
    else:
        picture.save(out, image_format.upper(), quality=quality)
    return out.getvalue()
