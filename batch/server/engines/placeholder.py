"""The placeholder engine: a tiny valid image computed from the request body alone.

Size and pixels come from the SHA-256 of the canonical body, so a test can prove that an image belongs to its
row: `placeholder_image(body)` returns the same bytes again, with the same version of Pillow. It costs a fraction of a
millisecond and reads no input image. Pillow is imported on the first image, to keep the start short.
"""

import hashlib
import io
from collections.abc import Mapping
from typing import Any

from batch.core.parameters import BY_NAME
from batch.server.engines.base import RenderRequest, canonical

GRID = 8
SMALLEST = 16


class PlaceholderEngine:
    """Makes placeholder images in the server's own thread."""

    needs_images = False

    def __init__(self, images_at_once: int) -> None:
        self.capacity = images_at_once

    async def start(self) -> None:
        """Do nothing: there is nothing to load."""

    async def render(self, request: RenderRequest) -> bytes:
        """Return the image of the request's body."""
        return placeholder_image(request.body)

    async def close(self) -> None:
        """Do nothing: there is nothing to end."""


def placeholder_size(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of the image in pixels, 16 … 79 each."""
    digest = hashlib.sha256(canonical(body)).digest()
    return SMALLEST + digest[0] % 64, SMALLEST + digest[1] % 64


def placeholder_image(body: Mapping[str, Any]) -> bytes:
    """Return the image of this request body, in the format and quality it asks for."""
    from PIL import Image  # noqa: PLC0415  start-up time

    image_format = str(body.get("image_format", BY_NAME["image_format"].default))
    quality = int(body.get("quality", BY_NAME["quality"].default))
    pixels = hashlib.shake_256(canonical(body)).digest(GRID * GRID * 3)
    image = Image.frombytes("RGB", (GRID, GRID), pixels)
    image = image.resize(placeholder_size(body), Image.Resampling.NEAREST)
    out = io.BytesIO()
    if image_format == "png":
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, image_format.upper(), quality=quality)
    return out.getvalue()
