"""Lay the texture over the object: tile it, bend it along the form, one remap.

The longer side of a tile is 0.42 of the longer side of the object's box. The seed chooses the phase and a slight
jitter of angle and size. Coordinates are shifted by the gradient of the light (folds, at most 1.4 % of the box) and by
the slope of a dome over the mask (foreshortening towards the silhouette).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batch.server.engines.cpu.hints import Hints
from batch.server.engines.cpu.tile import make_tile, spread
from batch.vision.planes import Bytes, Floats, floats, octets, scaled, slopes

_TILE_SHARE = 0.42
_SMALLEST_TILE = 8.0
_FOLD_SHARE = 0.014
# Light gradient (natural logarithms a small pixel) times this is the share of the largest shift.
_FOLD_STEEPNESS = 14.0
_DOME_SHARE = 0.07
_DOME_REACH = 0.06
_SMALL_SIDE = 256
_SMOOTH, _SETTLE = 3.2, 2.0
_JITTER_DEGREES = 1.2
_JITTER_SCALE = 0.04


@dataclass(frozen=True, slots=True)
class Shape:
    """What the texture is bent by, over one window."""

    # Alpha of the object, 0 … 1.
    mask: Floats
    low_light: Floats
    # Longer side of the object's box, in pixels.
    box_side: float
    # False for a full-frame image, which has no silhouette.
    domed: bool


def drape(texture: Bytes, shape: Shape, hints: Hints, seed: int) -> Bytes:
    """Texture of the window as 8-bit sRGB, before any light."""
    random = np.random.default_rng(seed)
    jitter = 1 + _JITTER_SCALE * float(random.uniform(-1, 1))
    angle = float(np.deg2rad(hints.degrees + _JITTER_DEGREES * float(random.uniform(-1, 1))))
    phase = float(random.uniform()), float(random.uniform())
    side = max(_SMALLEST_TILE, _TILE_SHARE * shape.box_side * hints.pattern_scale * jitter)
    map_x, map_y = _coordinates(shape, angle)
    low_x, low_y = float(map_x.min()) - 1, float(map_y.min()) - 1
    width, height = int(float(map_x.max()) - low_x) + 3, int(float(map_y.max()) - low_y) + 3
    cloth = spread(make_tile(texture, side), width, height, phase)
    bent = cv2.remap(cloth, map_x - np.float32(low_x), map_y - np.float32(low_y), cv2.INTER_LINEAR)
    return octets(bent)


def _coordinates(shape: Shape, angle: float) -> tuple[Floats, Floats]:
    """Return the place on the flat cloth, in pixels, of each pixel of the window."""
    height, width = shape.mask.shape
    shift_x, shift_y = _shifts(shape)
    x = shift_x + (np.arange(width, dtype=np.float32)[None, :] - np.float32(width / 2))
    y = shift_y + (np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return floats(cos * x + sin * y), floats(cos * y - sin * x)


def _shifts(shape: Shape) -> tuple[Floats, Floats]:
    """Displacement of the texture coordinates in pixels, measured on a small copy."""
    height, width = shape.mask.shape
    scale = min(1.0, _SMALL_SIDE / max(height, width))
    light = floats(cv2.GaussianBlur(scaled(shape.low_light, scale), (0, 0), _SMOOTH))
    limit = np.float32(shape.box_side * _FOLD_SHARE)
    x, y = (limit * np.tanh(slope * np.float32(_FOLD_STEEPNESS)) for slope in slopes(light))
    x, y = (cv2.GaussianBlur(floats(plane), (0, 0), _SETTLE) for plane in (x, y))
    if shape.domed:
        reach = max(1.0, _DOME_REACH * shape.box_side * scale)
        dome_x, dome_y = slopes(floats(cv2.GaussianBlur(scaled(shape.mask, scale), (0, 0), reach)))
        depth = np.float32(reach * 2.2 * _DOME_SHARE * shape.box_side)
        x, y = x - dome_x * depth, y - dome_y * depth
    x, y = (cv2.resize(floats(plane), (width, height), interpolation=cv2.INTER_LINEAR) for plane in (x, y))
    return floats(x), floats(y)
