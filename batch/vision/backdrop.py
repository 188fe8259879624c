"""The empty backdrop: what the image would show without the object.

The backdrop is a surface, not a colour. Two models are fitted to a ring along the border, in Oklab:
a quadratic in x and y (studio gradients, vignettes), robust against what sticks into the ring; and, where the
left and the right border agree, a row-by-row model (a horizon between wall and floor). The one that explains
the ring better is taken.

Robust fit: iteratively re-weighted least squares with Tukey's bisquare weights.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from batch.vision.planes import Bytes, Flags, Floats, floats

# Width of the border ring, as a share of the shorter side.
RING = 0.045
_CLOSE = 0.02
# An Oklab step of this size within so many rows is a jump.
_JUMP, _JUMP_ROWS = 0.03, 6
_ROUNDS = 6
_TUKEY = 4.685
# One ring pixel in three is sampled.
_EVERY = 3
# Oklab noise below which a border counts as perfectly even (8-bit steps alone make about 0.001).
_FINEST_NOISE = 0.0025


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The modelled backdrop and how well the border ring agrees with it."""

    lab: Floats
    # Robust standard deviation of the ring round the model, in Oklab units.
    noise: float
    # The same for a and b alone, freed of shadow.
    chroma_noise: float
    # Share of the ring within four standard deviations (at least 0.02): 1.0 is a clean studio shot.
    agreement: float


def fit_backdrop(lab: Floats) -> Backdrop:
    """Fit the backdrop to the border ring of a small Oklab image (about 256 px)."""
    ring = _ring(lab.shape[0], lab.shape[1])
    candidates = [_quadratic(lab, ring)]
    rows = _rows(lab)
    if rows is not None:
        candidates.append(rows)
    judged = [_judge(lab, model, ring) for model in candidates]
    return max(judged, key=lambda backdrop: (round(backdrop.agreement, 2), -backdrop.noise))


def settle(lab: Floats, backdrop: Backdrop, mask: Bytes) -> Backdrop:
    """Bend the backdrop to all that lies outside a first mask, not the border alone.

    What is left over outside (vignettes, light pools) is carried smoothly under the object; shadows are left out.
    """
    margin = max(3, 2 * round(0.008 * max(mask.shape)) + 1)
    outside = cv2.dilate(mask, np.ones((margin, margin), dtype=np.uint8)) == 0
    residual = lab - backdrop.lab
    close = outside & (np.linalg.norm(residual, axis=2) < max(_CLOSE, 4 * backdrop.noise))
    if float(close.mean()) < 0.05:
        return backdrop
    weight = floats(close)
    total, mass = np.zeros_like(residual), np.zeros_like(weight)
    for share, part in ((1.0, 0.03), (1e-3, 0.12)):
        radius = 2 * max(1, round(part * max(mask.shape))) + 1
        known = cv2.blur(residual * weight[..., None], (radius, radius))
        total += floats(cv2.blur(known, (radius, radius))) * np.float32(share)
        known = cv2.blur(weight, (radius, radius))
        mass += floats(cv2.blur(known, (radius, radius))) * np.float32(share)
    carried = total / (mass + np.float32(1e-6))[..., None]
    return _judge(lab, floats(backdrop.lab + carried), close, backdrop.agreement)


def _ring(height: int, width: int) -> Flags:
    thickness = max(1, round(RING * min(height, width)))
    ring = np.ones((height, width), dtype=np.bool_)
    ring[thickness:-thickness, thickness:-thickness] = False
    return ring


def _terms(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def _quadratic(lab: Floats, ring: Flags) -> Floats:
    """Robust quadratic surface; sums are spelled out so that no threaded BLAS decides their order."""
    height, width = lab.shape[:2]
    x, y = np.linspace(-1.0, 1.0, width), np.linspace(-1.0, 1.0, height)
    rows, columns = (places[::_EVERY] for places in np.nonzero(ring))
    terms = _terms(x[columns], y[rows])
    samples = lab[rows, columns].astype(np.float64)
    weights: NDArray[Any] = np.ones(len(samples))
    solution: NDArray[Any] = np.zeros((terms.shape[1], 3))
    for _ in range(_ROUNDS):
        weighted = terms * weights[:, None]
        normal = np.einsum("ni,nj->ij", weighted, terms) + 1e-6 * np.eye(terms.shape[1])
        solution = np.linalg.solve(normal, np.einsum("ni,nc->ic", weighted, samples))
        residual = np.linalg.norm(samples - np.einsum("ni,ic->nc", terms, solution), axis=1)
        scale = max(_FINEST_NOISE, 1.4826 * float(np.median(residual)))
        weights = np.square(np.clip(1 - np.square(residual / (_TUKEY * scale)), 0, None))
    one, by_x, by_y, by_xx, by_xy, by_yy = solution
    across, down = x[None, :, None], y[:, None, None]
    return floats(one + by_y * down + by_yy * down**2 + across * (by_x + by_xy * down) + by_xx * across**2)


def _rows(lab: Floats) -> Floats | None:
    """One colour a row, blended from the left border to the right; None when the borders disagree."""
    width = lab.shape[1]
    thickness = max(1, round(RING * min(lab.shape[:2])))
    left = np.median(lab[:, :thickness], axis=1)
    right = np.median(lab[:, -thickness:], axis=1)
    distance = np.linalg.norm(left - right, axis=1)
    if float(np.median(distance)) > 0.03 or float(np.quantile(distance, 0.9)) > 0.06:
        return None
    if _jumps((left + right) / 2) > 1:
        return None
    share = np.linspace(0.0, 1.0, width)[None, :, None]
    return floats(left[:, None] * (1 - share) + right[:, None] * share)


def _jumps(profile: NDArray[Any]) -> int:
    """Count the abrupt changes down a column: one is a horizon, two are an object that spans the image."""
    abrupt = np.linalg.norm(profile[_JUMP_ROWS:] - profile[:-_JUMP_ROWS], axis=1) > _JUMP
    return int(np.count_nonzero(np.diff(abrupt.astype(np.int8), prepend=0) == 1))


def _judge(lab: Floats, model: Floats, known: Flags, agreement: float | None = None) -> Backdrop:
    """Compare a model with the pixels known to be backdrop."""
    seen, expected = lab[known], model[known]
    residual = np.linalg.norm(seen - expected, axis=1)
    noise = max(_FINEST_NOISE, 1.4826 * float(np.median(residual)))
    if agreement is None:
        agreement = float(np.mean(residual < max(0.02, 4 * noise)))
    tint = expected[:, 1:] * (seen[:, :1] / np.maximum(expected[:, :1], 0.02))
    drift = np.linalg.norm(seen[:, 1:] - tint, axis=1)
    chroma_noise = 1.4826 * float(np.median(drift))
    return Backdrop(lab=model, noise=noise, chroma_noise=chroma_noise, agreement=agreement)
