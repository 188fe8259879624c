"""Arrays that hold images, and small steps on them that the other modules share.

Arrays are `Bytes` (uint8) or `Floats` (float32), rows first, channels last; masks are `Bytes` of 0 and 1.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]
Places: TypeAlias = NDArray[np.intp]
Plane = TypeVar("Plane", Bytes, Floats)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, flags: NDArray[Any]) -> "Box":
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

    def grown(self, margin: int, width: int, height: int) -> "Box":
        """Add a margin, kept inside an image of this size."""
        return Box(
            max(0, self.left - margin),
            max(0, self.top - margin),
            min(width, self.right + margin),
            min(height, self.bottom + margin),
        )


def floats(values: Any) -> Floats:
    """Return what OpenCV answered as a float32 array; no copy when it is one already."""
    return np.asarray(values, dtype=np.float32)


def octets(values: Any) -> Bytes:
    """Return what OpenCV answered, or a boolean mask, as uint8; no copy when it is that already."""
    return np.asarray(values, dtype=np.uint8)


def scaled(plane: Plane, factor: float, method: int = cv2.INTER_AREA) -> Plane:
    """Return the image at `factor` times its size, at least one pixel a side."""
    height, width = plane.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(plane, size, interpolation=method), dtype=plane.dtype)


def slopes(plane: Floats) -> tuple[Floats, Floats]:
    """Return how much a plane rises in a pixel, across and down."""
    across, down = (cv2.Sobel(plane, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1)))
    return floats(across), floats(down)


def disk(side: int) -> Bytes:
    """Return a round neighbourhood, `side` pixels wide, for erosion and dilation."""
    return octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def outline(mask: Bytes) -> Flags:
    """Return the pixels on both sides of the border of a mask."""
    return np.asarray(cv2.dilate(mask, _DISK3) != cv2.erode(mask, _DISK3))


_DISK3 = disk(3)
