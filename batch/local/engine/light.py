"""The light on the object, freed of the object's own colours: folds, shading and fine relief.

Light is log luminance against a reference. An object of several colours is first split into chroma clusters
(k-means), each with its own median as reference, so that a print does not become a shadow. Along the borders between
clusters, and on thin prints, the light is carried over from the surroundings instead of measured.

The unit is the natural logarithm of a factor on linear light: 0 leaves the texture as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .colour import Bytes, Flags, Floats, floats, luminance, octets, to_linear, to_oklab

_SMALL_SIDE = 256
_LOW_PASS = 1 / 110
_CLUSTERS = 3
_SAME_CHROMA = 0.055
_TINGED = 0.022
"""Chroma distance from the main cluster at which a pixel near a print may be a mixture with it."""
_FEWEST = 16
_OTSU_STEPS = 64
_EVENED = 0.6
"""How far the darker of two materials is brought to the lighter: seen, but no longer as another colour."""
_LEAST_SHARE, _TWO_LEVELS, _LEVEL_GAP, _SHARP = 0.15, 0.79, 0.6, 0.15
"""Two materials of one hue: share of the smaller, variance explained, their distance, slope of the border."""
_WIDE = 4.0
_KMEANS_SEED = 19670101
_DEEPEST, _HIGHEST = -0.40, 0.22
_DARKEST, _BRIGHTEST = -1.9, 0.75
_TAILS = 3.2
"""Ratio of the 2-98 % range to half the 10-90 % range of a normal distribution: deep corners count too."""
_FAINT, _HARD = 0.36, 0.38
"""Half the spread of the light below which folds are amplified, and above which contrasts are softened."""
_LEAST_GAIN, _MOST_GAIN = 0.66, 1.8


@dataclass(frozen=True, slots=True)
class Light:
    """Light of a window, as natural logarithms of a factor."""

    low: Floats
    """Shading and folds."""
    relief: Floats
    """Fine structure finer than about 1/110 of the window."""


def measure_light(window: Bytes, alpha: Floats) -> Light:
    """Measure the light where alpha is high; elsewhere it is carried over from the nearest object pixels."""
    height, width = alpha.shape
    linear = to_linear(window)
    bright = luminance(linear)
    scale = min(1.0, _SMALL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = floats(cv2.resize(linear, size, interpolation=cv2.INTER_AREA))
    weight = floats(cv2.resize(floats(alpha > 0.9), size, interpolation=cv2.INTER_AREA))
    log_small, floor = _log(luminance(small), weight)
    reference, trust = _references(small, log_small, weight)
    flat = log_small - reference
    sigma = max(0.6, _LOW_PASS * max(size))
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


def _references(small: Floats, log_bright: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the reference of each small pixel, and how far its light can be trusted (0 or 1)."""
    inside = weight > 0.5
    reference, trust = np.zeros_like(log_bright), np.ones_like(log_bright)
    if int(inside.sum()) < _FEWEST:
        return reference, trust
    lab = to_oklab(small)
    chroma = floats(lab[..., 1:] / (lab[..., :1] + np.float32(0.15)))
    centres = _chroma_centres(np.ascontiguousarray(chroma[inside]))
    distance = np.stack([np.linalg.norm(chroma - centre, axis=2) for centre in centres])
    labels = distance.argmin(axis=0)
    for label in range(len(centres)):
        members = inside & (labels == label)
        if members.any():
            reference[labels == label] = float(np.median(log_bright[members]))
        if label == 0:
            darker = _darker_material(log_bright, members)
            if darker is not None:
                dark, pale = (
                    float(np.median(log_bright[part])) for part in (darker == 1, members & (darker == 0))
                )
                reference[members] = pale
                reference[darker == 1] = pale + _EVENED * (dark - pale)
        else:
            trust = np.minimum(trust, _trust_round(octets(members), octets(distance[0] > _TINGED)))
    return reference, trust


def _darker_material(log_bright: Floats, members: Flags) -> Bytes | None:
    """Find the darker of two materials of one hue; None when the darker part is shading.

    Two materials make two narrow levels with a sharp border; shading makes one broad level (Otsu's criterion).
    """
    values = log_bright[members]
    low, high = np.quantile(values, (0.03, 0.97))
    places = np.linspace(low, high, _OTSU_STEPS)[1:-1]
    order = np.sort(values.astype(np.float64))
    below = np.searchsorted(order, places) / order.size
    sums = np.concatenate([[0.0], np.cumsum(order)])[np.searchsorted(order, places)] / order.size
    usable = (below > _LEAST_SHARE) & (below < 1 - _LEAST_SHARE)
    if not usable.any():
        return None
    gap = (order.mean() - sums) / np.maximum(1 - below, 1e-9) - sums / np.maximum(below, 1e-9)
    explained = np.where(usable, below * (1 - below) * gap**2 / max(1e-9, float(order.var())), 0)
    best = int(explained.argmax())
    darker = octets(members & (log_bright < places[best]))
    border = (_outline(darker) > 0) & (_eroded(floats(members), 3) > 0)
    if explained[best] < _TWO_LEVELS or gap[best] < _LEVEL_GAP or not border.any():
        return None
    across, down = (cv2.Sobel(log_bright, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1)))
    return darker if float(np.median(floats(cv2.magnitude(across, down))[border])) > _SHARP else None


def _outline(members: Bytes) -> Floats:
    disk = octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return floats(cv2.dilate(members, disk) - cv2.erode(members, disk))


def _trust_round(members: Bytes, tinged: Bytes) -> Floats:
    """0 on a print's outline, on its thin parts and on the mixed pixels round them; 1 elsewhere."""
    disk = octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    wide = octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    near = octets(cv2.dilate(members, octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11)))))
    foreign = octets(members | (near & tinged))
    body = octets(cv2.morphologyEx(members, cv2.MORPH_OPEN, wide))
    doubtful = octets(cv2.dilate(foreign, disk)) & (1 - octets(cv2.erode(body, disk)))
    return floats(1 - doubtful)


def _chroma_centres(samples: Floats) -> list[Floats]:
    """Chroma clusters of the object, the largest first; clusters of nearly the same chroma are one."""
    cv2.setRNGSeed(_KMEANS_SEED)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1e-4)
    start = np.zeros((len(samples), 1), dtype=np.int32)
    _, found, centres = cv2.kmeans(samples, _CLUSTERS, start, criteria, 1, cv2.KMEANS_PP_CENTERS)
    sizes = np.bincount(np.asarray(found).ravel(), minlength=_CLUSTERS)
    kept: list[Floats] = []
    for centre in floats(centres)[np.argsort(-sizes, kind="stable")]:
        if all(float(np.linalg.norm(centre - other)) > _SAME_CHROMA for other in kept):
            kept.append(centre)
    return kept


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
