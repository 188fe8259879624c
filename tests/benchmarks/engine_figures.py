"""Figures that judge a re-textured picture against the product, its true mask and the swatch.

No figure alone proves anything: an unchanged picture has perfect shading, a flat paste has perfect texture. They are
asserted together in `test_engine.py`. Everything is measured on 8-bit sRGB arrays of one size.
"""

from __future__ import annotations

import cv2
import numpy as np

_CHROMA_BIN = 0.02
"""Also the deviation the histograms are smoothed by: about one just noticeable difference in Oklab."""
_CHROMA_REACH = 0.4
_ORIENTATIONS = 18
_EDGE_PIXELS = 5

_TO_LMS = np.array(
    [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]], dtype=np.float32
)
_TO_LAB = np.array(
    [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]],
    dtype=np.float32,
)


def overlap(found, true):
    """Intersection over union of two masks."""
    return float((found & true).sum() / (found | true).sum())


def background_change(product, result, mask):
    """Mean absolute difference (0-255) clear of the object's edge."""
    outside = cv2.dilate(mask.astype(np.uint8), np.ones((_EDGE_PIXELS, _EDGE_PIXELS), np.uint8)) == 0
    return float(cv2.absdiff(product, result)[outside].mean())


def shading_correlation(product, results, mask):
    """Correlation of the low-passed log luma (size/40) inside the object; of several results the mean.

    Results of several seeds differ in the place of the pattern and share the light: their mean frees the light from a
    pattern whose own light and dark are as large as the folds. A paste without light shares nothing.
    """
    inside = _inside(mask)
    before, *after = (
        _masked_low_pass(np.log(_luma(picture) + 4), inside, max(mask.shape) / 40)
        for picture in (product, *results)
    )
    return float(np.corrcoef(before[inside], np.mean(after, axis=0)[inside])[0, 1])


def chroma_distance(result, mask, swatch):
    """Hellinger distance of the Oklab chroma histograms."""
    one = _chroma_histogram(result[_inside(mask)])
    two = _chroma_histogram(swatch.reshape(-1, 3))
    return float(np.sqrt(max(0.0, 1 - np.sqrt(one * two).sum())))


def orientation_likeness(picture, mask, swatch):
    """Intersection of the gradient-orientation histograms, 0 … 1."""
    one = _orientation_histogram(picture, _inside(mask))
    two = _orientation_histogram(swatch, np.ones(swatch.shape[:2], dtype=bool))
    return float(np.minimum(one, two).sum())


def fine_detail(result, mask, swatch):
    """Standard deviation of the high-pass, result divided by swatch."""
    return float(_high_pass(result)[_inside(mask)].std() / max(0.3, _high_pass(swatch).std()))


def _inside(mask):
    return cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) == 1


def _luma(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _masked_low_pass(plane, inside, sigma):
    weight = inside.astype(np.float32)
    return cv2.GaussianBlur(plane * weight, (0, 0), sigma) / (cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-6)


def _chroma_histogram(pixels):
    srgb = pixels.reshape(-1, 1, 3).astype(np.float32) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)
    lab = cv2.transform(np.cbrt(cv2.transform(linear, _TO_LMS)), _TO_LAB)[:, 0]
    edges = np.arange(-_CHROMA_REACH, _CHROMA_REACH + _CHROMA_BIN, _CHROMA_BIN)
    counts = np.histogram2d(lab[:, 1], lab[:, 2], bins=(edges, edges))[0].astype(np.float32)
    smooth = cv2.GaussianBlur(counts, (0, 0), 1.0)
    return smooth / smooth.sum()


def _orientation_histogram(picture, inside):
    luma = cv2.GaussianBlur(_luma(picture), (0, 0), 1.0)
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    angle = np.mod(np.arctan2(down, across), np.pi)[inside]
    counts = np.histogram(angle, _ORIENTATIONS, (0, np.pi), weights=np.hypot(across, down)[inside])[0]
    return counts / max(1e-9, counts.sum())


def _high_pass(rgb):
    luma = _luma(rgb)
    return luma - cv2.GaussianBlur(luma, (0, 0), 2.0)
