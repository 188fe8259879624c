"""Make one swatch repeat without a visible seam.

An axis whose wrap seam is at most as strong as the texture's own gradients repeats as it is. Otherwise the swatch is cut
where its end looks most like its beginning (a plaid is cut at a whole number of checks), and the two are cross-faded
over an overlap. The cross-fade keeps the contrast: unlike a plain mean it divides by the deviation that is left.
Mirroring is deliberately not used: it doubles the bars of a plaid and folds gravel and veins into butterflies.

Source of the cross-fade: Heitz, Neyret, "High-performance by-example noise using a histogram-preserving blending
operator", HPG 2018; here with the measured correlation of the two sides, so that matching sides pass unchanged.
"""

import cv2
import numpy as np

from batch.vision.planes import Bytes, Floats, Places, floats, octets, scaled

_SEAM_RATIO = 1.7
_OVERLAP = 0.12
# A cut may drop at most this share of the swatch.
_SHORTEST = 0.5
_SMALLEST_SIDE = 24
_NARROW = 96


def make_tile(texture: Bytes, longer_side: float) -> Bytes:
    """Scale a swatch so that its longer side has this many pixels, and make it wrap round on both axes."""
    factor = longer_side / max(texture.shape[:2])
    sized = scaled(texture, factor, cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    turned = _closed(np.ascontiguousarray(sized.swapaxes(0, 1)))
    return _closed(np.ascontiguousarray(turned.swapaxes(0, 1)))


def spread(tile: Bytes, width: int, height: int, phase: tuple[float, float]) -> Bytes:
    """Repeat a tile over an area, starting at a phase (across, down) of 0 … 1 tile."""
    rows = _positions(tile.shape[0], height, phase[1])
    columns = _positions(tile.shape[1], width, phase[0])
    return np.ascontiguousarray(tile.take(columns, axis=1).take(rows, axis=0))


def _positions(period: int, length: int, phase: float) -> Places:
    return (np.arange(length) + int(phase * period)) % period


def _closed(tile: Bytes) -> Bytes:
    """Make the rows wrap round."""
    length = len(tile)
    if length < _SMALLEST_SIDE or not _seam_shows(tile):
        return tile
    overlap = max(4, round(_OVERLAP * length))
    period, likeness = _best_period(tile, overlap)
    return _cross_faded(tile, period, overlap, max(0.0, likeness))


def _seam_shows(tile: Bytes) -> bool:
    rows = floats(tile)
    seam = float(np.abs(rows[0] - rows[-1]).mean())
    own = float(np.median(np.abs(np.diff(rows, axis=0)).mean(axis=(1, 2))))
    return seam > _SEAM_RATIO * own + 1.0


def _best_period(tile: Bytes, overlap: int) -> tuple[int, float]:
    """Where rows look most like the first rows: the period, and the correlation there (of a narrowed copy)."""
    width = min(tile.shape[1], _NARROW)
    rows = octets(cv2.resize(tile, (width, len(tile)), interpolation=cv2.INTER_AREA))
    first = round(_SHORTEST * len(tile))
    scores = floats(cv2.matchTemplate(rows[first:], rows[:overlap], cv2.TM_CCOEFF_NORMED)).ravel()
    best = int(np.argmax(scores))
    return first + best, float(scores[best])


def _cross_faded(tile: Bytes, period: int, overlap: int, likeness: float) -> Bytes:
    """Cut after one period; the rows behind the cut fade into the first rows."""
    begin, after = floats(tile[:overlap]), floats(tile[period : period + overlap])
    rise = ((np.arange(overlap, dtype=np.float32) + 0.5) / overlap).reshape(-1, 1, 1)
    mean = (begin.mean(axis=(0, 1)) + after.mean(axis=(0, 1))) / 2
    kept: Floats = np.sqrt(rise**2 + (1 - rise) ** 2 + 2 * np.float32(likeness) * rise * (1 - rise))
    mixed = mean + ((begin - mean) * rise + (after - mean) * (1 - rise)) / kept
    out = tile[:period].copy()
    out[:overlap] = octets(np.clip(np.rint(mixed), 0, 255))
    return out
