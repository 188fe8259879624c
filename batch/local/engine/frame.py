"""The asked-for aspect ratio: extend a plain backdrop, or crop round the object.

A catalogue wants the whole object, so a plain backdrop is extended: its smooth part goes on as it leaves the border,
its grain is mirrored. Where the backdrop is not plain, the picture is cropped with the object in the middle.
"match_input_image" returns the picture as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .colour import Bytes, floats, octets
from .contract import MATCH_INPUT
from .decode import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, flags: NDArray[Any]) -> Box:
        """Smallest box round the true pixels, of which there must be one."""
        rows, columns = np.flatnonzero(flags.any(axis=1)), np.flatnonzero(flags.any(axis=0))
        return cls(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def longer_side(self) -> int:
        """Pixels along the longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    def grown(self, margin: int, width: int, height: int) -> Box:
        """Add a margin, kept inside a picture of this size."""
        return Box(
            max(0, self.left - margin),
            max(0, self.top - margin),
            min(width, self.right + margin),
            min(height, self.bottom + margin),
        )


@dataclass(frozen=True, slots=True)
class Canvas:
    """A finished picture with what framing must know of it."""

    picture: Picture
    box: Box
    plain_backdrop: bool


def reframe(canvas: Canvas, aspect_ratio: str, longest_side: int) -> Picture:
    """Bring a canvas to an aspect ratio such as "4:5"; the result has at most `longest_side` pixels a side."""
    if aspect_ratio == MATCH_INPUT:
        return canvas.picture
    across, down = (int(part) for part in aspect_ratio.split(":"))
    extended = canvas.plain_backdrop
    height, width = canvas.picture.rgb.shape[:2]
    size = (
        _padded_size(width, height, across / down)
        if extended
        else _cropped_size(width, height, across / down)
    )
    picture = _pad(canvas.picture, size) if extended else _crop(canvas, size)
    return _bounded(picture, across / down, longest_side)


def _padded_size(width: int, height: int, ratio: float) -> tuple[int, int]:
    return (
        (max(width, round(height * ratio)), height)
        if width < height * ratio
        else (width, round(width / ratio))
    )


def _cropped_size(width: int, height: int, ratio: float) -> tuple[int, int]:
    if width < height * ratio:
        return width, max(1, round(width / ratio))
    return max(1, round(height * ratio)), height


def _crop(canvas: Canvas, size: tuple[int, int]) -> Picture:
    height, width = canvas.picture.rgb.shape[:2]
    left = _start(canvas.box.left, canvas.box.right, size[0], width)
    top = _start(canvas.box.top, canvas.box.bottom, size[1], height)
    rows, columns = slice(top, top + size[1]), slice(left, left + size[0])
    alpha = canvas.picture.alpha
    return Picture(
        rgb=np.ascontiguousarray(canvas.picture.rgb[rows, columns]),
        alpha=None if alpha is None else np.ascontiguousarray(alpha[rows, columns]),
    )


def _start(first: int, last: int, length: int, available: int) -> int:
    """Where a crop starts that has the span in its middle and stays inside the picture."""
    return min(max(0, (first + last - length) // 2), available - length)


def _pad(picture: Picture, size: tuple[int, int]) -> Picture:
    height, width = picture.rgb.shape[:2]
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    right, bottom = size[0] - width - left, size[1] - height - top
    if picture.alpha is not None:
        edges = (top, bottom, left, right)
        return Picture(
            rgb=octets(cv2.copyMakeBorder(picture.rgb, *edges, cv2.BORDER_REPLICATE)),
            alpha=octets(cv2.copyMakeBorder(picture.alpha, *edges, cv2.BORDER_CONSTANT, value=(0,))),
        )
    rgb = _extended(picture.rgb, left, right)
    turned = _extended(np.ascontiguousarray(rgb.swapaxes(0, 1)), top, bottom)
    return Picture(rgb=np.ascontiguousarray(turned.swapaxes(0, 1)), alpha=None)


def _extended(rgb: Bytes, left: int, right: int) -> Bytes:
    """Extend a picture sideways. The old pixels are kept as they are."""
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


def _bounded(picture: Picture, ratio: float, longest_side: int) -> Picture:
    height, width = picture.rgb.shape[:2]
    if max(height, width) <= longest_side:
        return picture
    size = (
        (longest_side, round(longest_side / ratio))
        if ratio >= 1
        else (round(longest_side * ratio), longest_side)
    )
    alpha = picture.alpha
    return Picture(
        rgb=octets(cv2.resize(picture.rgb, size, interpolation=cv2.INTER_AREA)),
        alpha=None if alpha is None else octets(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)),
    )
