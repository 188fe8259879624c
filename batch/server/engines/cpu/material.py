"""The object's own colours: the level of brightness that each of its materials has without any light on it.

An object of several colours is split into chroma clusters (k-means, seeded), each with its own median level, so that a
print does not become a shadow. Two materials of one hue (a pale flap on a darker bag) are distinguished from shading by their
narrow levels and sharp border, and brought nearer to each other.
"""

import cv2
import numpy as np

from batch.vision.colour import to_oklab
from batch.vision.planes import Bytes, Flags, Floats, disk, floats, octets, outline, slopes

_CLUSTERS = 3
_SAME_CHROMA = 0.055
# Chroma distance from the main cluster at which a pixel near a print may be a mixture with it.
_TINGED = 0.022
_FEWEST = 16
_OTSU_STEPS = 64
# How far the darker of two materials is brought to the lighter: seen, but no longer as another colour.
_EVENED = 0.6
# Two materials of one hue: share of the smaller, variance explained, their distance, slope of the border.
_LEAST_SHARE, _TWO_LEVELS, _LEVEL_GAP, _SHARP = 0.15, 0.79, 0.6, 0.15
_KMEANS_SEED = 19670101
_DISK3, _DISK5, _DISK9, _DISK11 = (disk(side) for side in (3, 5, 9, 11))


def reference_levels(small: Floats, log_bright: Floats, inside: Flags) -> tuple[Floats, Floats]:
    """Return the level of each pixel's material, and how far the pixel's light can be trusted (0 or 1).

    `small` is a reduced image in linear light, `log_bright` its log luminance, `inside` the object.
    """
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
    border = outline(darker) & (cv2.erode(octets(members), _DISK5) > 0)
    if explained[best] < _TWO_LEVELS or gap[best] < _LEVEL_GAP or not border.any():
        return None
    steepness = floats(cv2.magnitude(*slopes(log_bright)))
    return darker if float(np.median(steepness[border])) > _SHARP else None


def _trust_round(members: Bytes, tinged: Bytes) -> Floats:
    """0 on a print's outline, on its thin parts and on the mixed pixels round them; 1 elsewhere."""
    near = octets(cv2.dilate(members, _DISK11))
    foreign = octets(members | (near & tinged))
    body = octets(cv2.morphologyEx(members, cv2.MORPH_OPEN, _DISK9))
    doubtful = octets(cv2.dilate(foreign, _DISK3)) & (1 - octets(cv2.erode(body, _DISK3)))
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
