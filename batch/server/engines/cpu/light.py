"""The light on the object, freed of the object's own colours: folds, shading and fine relief.

Light is log luminance against a reference level, which `material.py` gives for each pixel. Where that level cannot be
trusted (on thin prints, along the borders of colours) the light is carried over from the surroundings. Its low-pass is
shading and folds; the rest, clipped, is relief. Faint folds of flat-lit goods are amplified, hard contrasts softened.

The unit is the natural logarithm of a factor on linear light: 0 leaves the texture as it is.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batch.server.engines.cpu.material import reference_levels
from batch.vision.colour import luminance, to_linear
from batch.vision.planes import Bytes, Floats, floats, scaled

_SMALL_SIDE = 256
_LOW_PASS = 1 / 110
_FEWEST = 16
_WIDE = 4.0
_DEEPEST, _HIGHEST = -0.40, 0.22
_DARKEST, _BRIGHTEST = -1.9, 0.75
# Ratio of the 2-98 % range to half the 10-90 % range of a normal distribution: deep corners count too.
_TAILS = 3.2
# Half the spread of the light below which folds are amplified, and above which contrasts are softened.
_FAINT, _HARD = 0.36, 0.38
_LEAST_GAIN, _MOST_GAIN = 0.66, 1.8


@dataclass(frozen=True, slots=True)
class Light:
    """Light of a window, as natural logarithms of a factor."""

    # Shading and folds.
    low: Floats
    # Fine structure finer than about 1/110 of the window.
    relief: Floats


def measure_light(window: Bytes, alpha: Floats) -> Light:
    """Measure the light where alpha is high; elsewhere it is carried over from the nearest object pixels."""
    height, width = alpha.shape
    linear = to_linear(window)
    bright = luminance(linear)
    scale = min(1.0, _SMALL_SIDE / max(height, width))
    small, weight = scaled(linear, scale), scaled(floats(alpha > 0.9), scale)
    log_small, floor = _log(luminance(small), weight)
    reference, trust = reference_levels(small, log_small, weight > 0.5)
    flat = log_small - reference
    sigma = max(0.6, _LOW_PASS * max(weight.shape))
    low_small = _carried(flat, weight * trust, sigma)
    gain, middle = _tone(low_small, weight)
    low_small = _limited((low_small - middle) * gain)
    low = floats(cv2.resize(low_small, (width, height), interpolation=cv2.INTER_CUBIC))
    log_full = floats(cv2.log(bright + floor))
    radius = max(1, round(1.5 * sigma / scale))
    smooth = floats(cv2.blur(log_full, (2 * radius + 1, 2 * radius + 1)))
    believed = _eroded(trust, 5) * _eroded(weight, 3)
    believed = floats(cv2.resize(believed, (width, height), interpolation=cv2.INTER_LINEAR))
    relief = np.clip((log_full - smooth) * np.float32(min(gain, 1.4)), _DEEPEST, _HIGHEST)
    return Light(low=low, relief=floats(relief * believed))


def _log(bright: Floats, weight: Floats) -> tuple[Floats, float]:
    """Log luminance with a floor that keeps the noise of dark goods from becoming light."""
    inside = bright[weight > 0.5]
    typical = float(np.median(inside)) if inside.size else float(np.median(bright))
    floor = 0.004 + 0.04 * typical
    return floats(np.log(bright + floor)), floor


def _carried(values: Floats, weight: Floats, sigma: float) -> Floats:
    """Low-pass the known values; it reaches further where little is known."""
    total, mass = np.zeros_like(values), np.zeros_like(values)
    known = values * weight
    for factor, share in ((1.0, 1.0), (3.0, 1e-2), (9.0, 1e-4), (27.0, 1e-6)):
        total += _smoothed(known, sigma * factor) * np.float32(share)
        mass += _smoothed(weight, sigma * factor) * np.float32(share)
    return floats(total / (mass + np.float32(1e-9)))


def _smoothed(plane: Floats, sigma: float) -> Floats:
    """Gaussian low-pass; a wide one by three box filters of the same variance, whose cost is constant."""
    if sigma < _WIDE:
        return floats(cv2.GaussianBlur(plane, (0, 0), sigma))
    side = 2 * round(sigma) + 1
    for _ in range(3):
        plane = floats(cv2.blur(plane, (side, side)))
    return plane


def _eroded(weight: Floats, side: int) -> Floats:
    return floats(cv2.erode(weight, np.ones((side, side), dtype=np.uint8), borderValue=(1.0,)))


def _tone(low: Floats, weight: Floats) -> tuple[float, float]:
    """Gain and middle of the light: faint folds of flat-lit goods are amplified, hard contrasts (panels of one hue) softened."""
    inside = low[weight > 0.5]
    if inside.size < _FEWEST:
        return 1.0, 0.0
    least, bottom, middle, top, most = (float(v) for v in np.quantile(inside, (0.02, 0.1, 0.55, 0.9, 0.98)))
    spread = max(1e-3, (top - bottom) / 2, (most - least) / _TAILS)
    typical = min(_HARD, max(_FAINT, spread))
    return min(_MOST_GAIN, max(_LEAST_GAIN, (typical / spread) ** 0.7)), middle


def _limited(light: Floats) -> Floats:
    """Limit both ends smoothly."""
    up = _BRIGHTEST * np.tanh(np.maximum(light, 0) / _BRIGHTEST)
    down = _DARKEST * np.tanh(np.minimum(light, 0) / _DARKEST)
    return floats(up + down)
