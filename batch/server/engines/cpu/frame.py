"""The asked-for aspect ratio: extend a plain backdrop, or crop round the object.

A catalogue wants the whole object, so a plain backdrop is extended: its smooth part goes on as it leaves the border,
its grain is mirrored. Where the backdrop is not plain, the image is cropped with the object in the middle.
"match_input_image" returns the image as it is.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batch.server.engines.base import MATCH_INPUT
from batch.vision.decode import DecodedImage
from batch.vision.planes import Box, Bytes, floats, octets


@dataclass(frozen=True, slots=True)
class Canvas:
    """A finished image with what framing must know of it."""

    image: DecodedImage
    box: Box
    plain_backdrop: bool


def reframe(canvas: Canvas, aspect_ratio: str, longest_side: int) -> DecodedImage:
    """Bring a canvas to an aspect ratio such as "4:5"; the result has at most `longest_side` pixels a side."""
    if aspect_ratio == MATCH_INPUT:
        return canvas.image
    across, down = (int(part) for part in aspect_ratio.split(":"))
    height, width = canvas.image.rgb.shape[:2]
    if canvas.plain_backdrop:
        image = _pad(canvas.image, _padded_size(width, height, across / down))
    else:
        image = _crop(canvas, _cropped_size(width, height, across / down))
    return _bounded(image, across / down, longest_side)


def _padded_size(width: int, height: int, ratio: float) -> tuple[int, int]:
    if width < height * ratio:
        return max(width, round(height * ratio)), height
    return width, round(width / ratio)


def _cropped_size(width: int, height: int, ratio: float) -> tuple[int, int]:
    if width < height * ratio:
        return width, max(1, round(width / ratio))
    return max(1, round(height * ratio)), height


def _crop(canvas: Canvas, size: tuple[int, int]) -> DecodedImage:
    height, width = canvas.image.rgb.shape[:2]
    left = _start(canvas.box.left, canvas.box.right, size[0], width)
    top = _start(canvas.box.top, canvas.box.bottom, size[1], height)
    rows, columns = slice(top, top + size[1]), slice(left, left + size[0])
    return canvas.image.each(lambda plane: np.ascontiguousarray(plane[rows, columns]))


def _start(first: int, last: int, length: int, available: int) -> int:
    """Where a crop starts that has the span in its middle and stays inside the image."""
    return min(max(0, (first + last - length) // 2), available - length)


def _pad(image: DecodedImage, size: tuple[int, int]) -> DecodedImage:
    height, width = image.rgb.shape[:2]
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    right, bottom = size[0] - width - left, size[1] - height - top
    if image.alpha is not None:
        edges = (top, bottom, left, right)
        return DecodedImage(
            rgb=octets(cv2.copyMakeBorder(image.rgb, *edges, cv2.BORDER_REPLICATE)),
            alpha=octets(cv2.copyMakeBorder(image.alpha, *edges, cv2.BORDER_CONSTANT, value=(0,))),
        )
    rgb = _extended(image.rgb, left, right)
    turned = _extended(np.ascontiguousarray(rgb.swapaxes(0, 1)), top, bottom)
    return DecodedImage(rgb=np.ascontiguousarray(turned.swapaxes(0, 1)), alpha=None)


def _extended(rgb: Bytes, left: int, right: int) -> Bytes:
    """Extend an image sideways. The old pixels are kept as they are."""
    if left + right == 0:
        return rgb
    parts = [_beside(rgb[:, ::-1], left)[:, ::-1], rgb, _beside(rgb, right)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def _beside(rgb: Bytes, length: int) -> Bytes:
    """`length` columns that continue the right border: its mean colour a row, plus mirrored grain."""
    width = rgb.shape[1]
    strip = max(1, min(24, width // 20))
    border = floats(rgb[:, width - strip :])
    smooth = floats(cv2.GaussianBlur(border, (0, 0), 3.0))
    level, grain = smooth[:, -1:], border - smooth
    fold = np.arange(length) % (2 * strip)
    mirrored = np.where(fold < strip, strip - 1 - fold, fold - strip)
    return octets(np.clip(np.rint(level + grain[:, mirrored]), 0, 255))


def _bounded(image: DecodedImage, ratio: float, longest_side: int) -> DecodedImage:
    height, width = image.rgb.shape[:2]
    if max(height, width) <= longest_side:
        return image
    across, down = (
        (longest_side, longest_side / ratio) if ratio >= 1 else (longest_side * ratio, longest_side)
    )
    size = (round(across), round(down))
    return image.each(lambda plane: octets(cv2.resize(plane, size, interpolation=cv2.INTER_AREA)))
