"""One GrabCut iteration inside the object's box, seeded by eroding and dilating the flooded mask.

Rule: the answer is kept only while its area stays plausible; otherwise the seed mask is returned unchanged.
GrabCut draws random numbers for its colour models: the generator (one a thread in OpenCV) is seeded first.

Source: Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004.
"""

from __future__ import annotations

import cv2
import numpy as np

from .colour import Bytes, octets

_RANDOM_SEED = 20040811
_MARGIN = 0.06
_NO_RECTANGLE = (0, 0, 1, 1)
_SHRINK, _GROW = 0.75, 1.25
"""Area after ÷ before, within which the cut is believed."""


def refine(features: Bytes, mask: Bytes) -> Bytes:
    """Return the mask with its outline moved to the best cut through three 8-bit feature planes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return mask
    pad = 4 + round(_MARGIN * max(mask.shape))
    top, bottom = max(0, int(rows[0]) - pad), int(rows[-1]) + pad + 1
    left, right = max(0, int(columns[0]) - pad), int(columns[-1]) + pad + 1
    window = (slice(top, bottom), slice(left, right))
    seed = _seed(mask[window])
    if not (np.any(seed == cv2.GC_FGD) and np.any(seed == cv2.GC_BGD)):
        return mask
    cv2.setRNGSeed(_RANDOM_SEED)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    picture = np.ascontiguousarray(features[window])
    cv2.grabCut(picture, seed, _NO_RECTANGLE, *models, 1, cv2.GC_INIT_WITH_MASK)
    cut = octets((seed == cv2.GC_FGD) | (seed == cv2.GC_PR_FGD))
    before, after = int(mask[window].sum()), int(cut.sum())
    if not _SHRINK * before <= after <= _GROW * before:
        return mask
    refined = mask.copy()
    refined[window] = cut
    return refined


def _seed(mask: Bytes) -> Bytes:
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    inner = cv2.erode(mask, disk, borderType=cv2.BORDER_REPLICATE)
    outer = cv2.dilate(mask, disk)
    seed = np.where(mask == 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    seed[outer == 0] = cv2.GC_BGD
    seed[inner == 1] = cv2.GC_FGD
    return octets(seed)
