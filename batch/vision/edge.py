"""The soft edge at full size: how much of each pixel along the outline is object, and what lies behind it.

Outside a band round the outline the answer is exactly 0 or 1. Inside, alpha is the place of the pixel's colour on the
line from the local backdrop colour to the local object colour; where the two colours hardly differ, the coarse mask
decides (a ridge term). Colours are weighted towards chroma, since folds and shadows change lightness most.

Source of the colour line: Ruzon, Tomasi, "Alpha estimation in natural images", CVPR 2000, with one colour a side.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batch.vision.planes import Bytes, Floats, Places, floats, octets

# Contrast, in weighted 8-bit steps, below which the coarse mask outweighs the colours.
_RIDGE = 10.0
# Weighted 8-bit steps that grain and codec make.
_NOISE = 4.0
_CHROMA_WEIGHT = 2.5
# What lightness counts for where it may be a shadow's.
_SHADOW_WEIGHT = 0.3
# From here on the coarse mask alone makes a pixel object: a spot of the backdrop's colour does not make a hole.
_INSIDE = 0.85
_REDUCTION = 4
_FOLD = 1024
# Alpha below the foot is 0, above the head 1: the noise of the codec does not make an edge.
_FOOT, _HEAD = 0.06, 0.94
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_WEIGHTS = np.stack(
    [
        _LUMA,
        (np.array([1, 0, 0], dtype=np.float32) - _LUMA) * _CHROMA_WEIGHT,
        (np.array([0, 0, 1], dtype=np.float32) - _LUMA) * _CHROMA_WEIGHT,
    ]
)


@dataclass(frozen=True, slots=True)
class Matte:
    """Alpha of a window, and the backdrop behind its half-covered pixels."""

    alpha: Floats
    rows: Places
    # Where alpha lies strictly between 0 and 1.
    columns: Places
    # Backdrop colour there, in 8-bit sRGB units (n x 3).
    behind: Floats


def soft_edge(window: Bytes, coarse: Floats, reach: int) -> Matte:
    """Matte of a window. `coarse` is the enlarged mask, 0 … 1; the band is `reach` pixels to each side."""
    near = floats(
        cv2.blur(floats(coarse > 0.5), (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_REPLICATE)
    )
    certain_in, certain_out = octets(near > 0.985), octets(near < 0.015)
    rows, columns = np.nonzero((certain_in == 0) & (certain_out == 0))
    alpha = floats(certain_in)
    if not rows.size:
        return Matte(alpha, rows, columns, np.zeros((0, 3), dtype=np.float32))
    back = _carried(window, certain_out, reach, rows, columns)
    front = _carried(window, certain_in, reach, rows, columns)
    pixel = floats(window[rows, columns])
    lead = floats(
        np.maximum(np.sum(pixel * _LUMA, axis=1) - _brightest(window, certain_out, reach, rows, columns), 0)
    )
    share = _share(_weighted(front - back), _weighted(pixel - back), lead, coarse[rows, columns])
    certain = (coarse[rows, columns] - _INSIDE) / (1 - _INSIDE)
    alpha[rows, columns] = np.clip(np.maximum((share - _FOOT) / (_HEAD - _FOOT), certain), 0, 1)
    covered = _without_specks(alpha)[rows, columns]
    alpha[rows, columns] = covered
    mixed = (covered > 0) & (covered < 1)
    behind = _behind(pixel, front, back, covered)
    return Matte(alpha, rows[mixed], columns[mixed], behind[mixed])


def _without_specks(alpha: Floats) -> Floats:
    """Take the median of 3 x 3 pixels: grain of the codec leaves single pixels on either side of the edge."""
    steps = octets(np.rint(alpha * np.float32(255)))
    return floats(cv2.medianBlur(steps, 3)) * np.float32(1 / 255)


def _share(line: Floats, offset: Floats, lead: Floats, coarse: Floats) -> Floats:
    """Place of each pixel between backdrop (0) and object (1).

    An object may be lighter than its backdrop in one place and darker in the next, so an offset of either sign
    counts, as soon as it cannot be a shadow or the end of one: it has chroma, or is lighter than all backdrop
    nearby (by `lead`), or lies inside the coarse mask. Shadow-like pixels are judged by their chroma.
    """
    ridge = np.float32(_RIDGE**2)
    doubtful = coarse < 0.5
    shadow = doubtful & (offset[:, 0] < 0)
    trusted = np.where(shadow, np.float32(_SHADOW_WEIGHT), np.float32(1))
    line, offset = line.copy(), offset.copy()
    line[:, 0] *= trusted
    offset[:, 0] *= trusted
    projected = np.sum(line * offset, axis=1)
    squared = np.sum(line * line, axis=1)
    offset[doubtful, 0] = lead[doubtful]
    length = np.maximum(np.sqrt(np.sum(offset * offset, axis=1)) - np.float32(_NOISE), 0)
    aside = length * np.maximum(length, np.sqrt(squared))
    contrast = np.maximum(squared, length * length)
    return floats((np.maximum(projected, aside) + ridge * coarse) / (contrast + ridge))


def _behind(pixel: Floats, front: Floats, back: Floats, covered: Floats) -> Floats:
    """Backdrop colour behind each pixel: the carried one, or, in a shadow's foot, what the pixel itself shows.

    A carried colour is too smooth for a shadow; but unmixing a nearly covered pixel only amplifies noise, and unmixing
    one that is lighter than its backdrop would keep a fringe of the old object.
    """
    alpha = covered[:, None]
    unmixed = (pixel - alpha * front) / np.maximum(1 - alpha, np.float32(0.25))
    darker = np.sum((pixel - back) * _LUMA, axis=1, keepdims=True) < 0
    shown = np.where(darker, np.clip(1.5 - 2 * alpha, 0, 1), 0)
    return floats(np.clip(shown * unmixed + (1 - shown) * back, 0, 255))


def _weighted(differences: Floats) -> Floats:
    """Turn sRGB differences (n x 3) to luma, weighted red difference, weighted blue difference."""
    return floats(cv2.transform(differences.reshape(-1, 1, 3), _WEIGHTS)).reshape(-1, 3)


def _carried(window: Bytes, known: Bytes, reach: int, rows: Places, columns: Places) -> Floats:
    """Carry the known colours to these pixels by normalised averaging at a quarter of the size."""
    height, width = known.shape
    size = (max(1, width // _REDUCTION), max(1, height // _REDUCTION))
    weight = floats(cv2.resize(floats(known), size, interpolation=cv2.INTER_AREA))
    masked = cv2.bitwise_and(window, window, mask=known)
    colour = floats(cv2.resize(masked, size, interpolation=cv2.INTER_AREA))
    near = max(1, round(reach / _REDUCTION))
    total, mass = colour * np.float32(1e-3), weight * np.float32(1e-3)
    for radius, share in ((near, 1.0), (3 * near, 0.03), (9 * near, 0.001)):
        kernel = (2 * radius + 1, 2 * radius + 1)
        total += floats(cv2.blur(colour, kernel)) * np.float32(share)
        mass += floats(cv2.blur(weight, kernel)) * np.float32(share)
    plane = floats(total / np.maximum(mass, np.float32(1e-9))[..., None])
    return _sampled(plane, known.shape, rows, columns)


def _brightest(window: Bytes, known: Bytes, reach: int, rows: Places, columns: Places) -> Floats:
    """Luma of the brightest known backdrop near each of these pixels; 0 where none is near."""
    height, width = known.shape
    size = (max(1, width // _REDUCTION), max(1, height // _REDUCTION))
    luma = cv2.bitwise_and(octets(cv2.transform(window, _LUMA[None, :])), known * np.uint8(255))
    small = octets(cv2.resize(luma, size, interpolation=cv2.INTER_NEAREST))
    side = 2 * max(1, round(2 * reach / _REDUCTION)) + 1
    plane = floats(cv2.dilate(small, np.ones((side, side), dtype=np.uint8)))
    return _sampled(plane, known.shape, rows, columns).ravel()


def _sampled(plane: Floats, shape: tuple[int, ...], rows: Places, columns: Places) -> Floats:
    """Read a reduced plane at pixels of the full window, bilinearly."""
    x = _folded(floats((columns + 0.5) * (plane.shape[1] / shape[1]) - 0.5))
    y = _folded(floats((rows + 0.5) * (plane.shape[0] / shape[0]) - 0.5))
    read = floats(cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return read.reshape(x.size, -1)[: rows.size]


def _folded(values: Floats) -> Floats:
    """Fold a long row into a rectangle: cv2.remap takes at most 32,767 pixels a side."""
    return np.pad(values, (0, -values.size % _FOLD)).reshape(-1, _FOLD)
