"""Small synthetic images for the engine's tests: an object on a studio backdrop, and swatches."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from batch.server.engines.base import RenderRequest

BACKDROP = (196, 204, 212)


def backdrop(width=160, height=160):
    """A backdrop that darkens a little towards the floor."""
    fall = np.linspace(1.0, 0.95, height)[:, None, None]
    return np.rint(np.full((height, width, 3), BACKDROP) * fall).astype(np.uint8)


def object_mask(width=160, height=160):
    """The true mask of `product`: an ellipse in the middle."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 4, height // 4), 0, 0, 360, 1, -1)
    return mask == 1


def product(width=160, height=160, colour=(150, 60, 50)):
    """An ellipse of one colour, lit from the left, in front of the backdrop."""
    light = np.linspace(1.25, 0.6, width)[None, :, None]
    shaded = np.clip(np.rint(np.full((height, width, 3), colour) * light), 0, 255)
    return np.where(object_mask(width, height)[..., None], shaded, backdrop(width, height)).astype(np.uint8)


def swatch(side=48, stripe=4):
    """Green and cream stripes that repeat without a seam."""
    stripes = (np.arange(side) // stripe % 2)[None, :, None]
    return np.broadcast_to(np.where(stripes, (40, 120, 60), (220, 210, 180)), (side, side, 3)).astype(
        np.uint8
    )


def encoded(pixels, image_format="png", **options):
    """Encode an array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def decoded(data):
    """The pixels of an encoded image, in its own mode."""
    return np.asarray(Image.open(io.BytesIO(data)))


def request(**changes):
    """A render request with small lossless images; every field can be changed."""
    fields = {
        "product": encoded(product()),
        "texture": encoded(swatch()),
        "prompt": "Apply the texture",
        "seed": 7,
        "aspect_ratio": "match_input_image",
        "image_format": "png",
        "quality": 95,
    }
    return RenderRequest(**(fields | changes))
