"""Find the object on a small image (256 px): a flood from the border through everything backdrop-like.

Rule 1: a shadow multiplies linear light, so it scales L, a and b of Oklab alike. Chroma is therefore compared after
the backdrop is scaled to the pixel's lightness; a darker pixel of the backdrop's chroma is backdrop while the
darkening is smooth.
Rule 2: the flood starts at the border. Enclosed backdrop (handles, gaps between legs) counts only when it is large
and without shading of its own; smaller enclosed spots (logos, highlights) belong to the object.
Rule 3: this file decides 0 or 1 for each pixel; `edge.py` makes the soft edge.
Rule 4: one GrabCut iteration inside the object's box moves the outline of the flooded mask to the best cut. Its answer is
kept only while its area stays plausible.

Source of the cut: Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batch.vision.backdrop import Backdrop, fit_backdrop, settle
from batch.vision.planes import Box, Bytes, Floats, disk, floats, octets, outline, slopes

_SMALLEST_HOLE = 0.0012
_SMALLEST_PART = 0.002
_SMALLEST_OBJECT = 0.005
_LARGEST_OBJECT = 0.75
_BORDER_CONTACT = 0.25
# Area of a mask ÷ its convex hull: under this a mask is shreds of an object that was not found.
_LEAST_SOLID = 0.42
# A mask that the border cuts is believed only when it is fairly solid.
_BORDER_TOUCH, _LEAST_SOLID_CUT = 0.05, 0.7
# An object leaves the image in few places; a mask that does in more is shreds of a patterned floor.
_MOST_CUTS = 4
# Slope (Oklab a pixel) under which an outline shows nothing, and the share of it that may: where an object has
# the backdrop's own lightness, or where shadow was taken for object, the outline runs through nothing.
_WEAK, _MOST_WEAK = 0.01, 0.1
# Chroma difference that may make an object: on a much reduced image, and where the codec's blocks still show.
_LEAST_CHROMA, _LEAST_CODED = 0.0036, 0.008
_SHARP_RIM = 0.012
# Least slope of lightness within so many pixels of a real outline; the codec's chroma reaches beyond it.
_SOFTEST, _NEAR_OUTLINE = 0.008, 7
_BLEEDING = 0.35
_BLEEDING_LIMIT = 0.024
# GrabCut draws random numbers for its colour models: the generator (one a thread in OpenCV) is seeded first.
_CUT_SEED = 20040811
_CUT_MARGIN = 0.06
_NO_RECTANGLE = (0, 0, 1, 1)
# Area after the cut ÷ before, within which it is believed.
_SHRINK, _GROW = 0.75, 1.25
_DISK3, _DISK5 = disk(3), disk(5)
_SQUARE5 = np.ones((5, 5), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class FoundObject:
    """The object on the small image."""

    mask: Bytes
    backdrop: Backdrop
    # False when the mask is tiny, nearly everything, or leans on the border: then it should not be used.
    trusted: bool
    # Whether the outline also shows in the image; otherwise the mask is used, but likely wrong in places.
    sure: bool


@dataclass(frozen=True, slots=True)
class _Cues:
    """How far a pixel differs from the backdrop; Oklab units."""

    chroma: Floats
    lighter: Floats
    darker: Floats
    slope: Floats


def find_object(lab: Floats, coded: float = 0.0) -> FoundObject:
    """Find the object on a small Oklab image; deterministic.

    `coded` (0 … 1) says how much of a codec's coarse chroma is left: 0 on an image reduced to a quarter.
    """
    least = _LEAST_CHROMA + coded * (_LEAST_CODED - _LEAST_CHROMA)
    backdrop = fit_backdrop(lab)
    backdrop = settle(lab, backdrop, _outlined(lab, backdrop, least))
    mask = _best_cut(_features(lab, backdrop), _outlined(lab, backdrop, least))
    mask = _solid_parts(mask, _cues(lab, backdrop).slope, backdrop)
    trusted = _plausible(mask, backdrop)
    return FoundObject(mask=mask, backdrop=backdrop, trusted=trusted, sure=trusted and _shows(mask, lab))


def _outlined(lab: Floats, backdrop: Backdrop, least: float) -> Bytes:
    """Mask by flooding the backdrop-like pixels from the border; `least` is the chroma that makes an object."""
    cues = _cues(lab, backdrop)
    light_limit = min(0.06, max(0.014, 3.5 * backdrop.noise))
    coloured = octets(cues.chroma > _chroma_limits(cues, backdrop, light_limit, least))
    like_backdrop = octets(
        (coloured == 0)
        & (cues.lighter < light_limit)
        & ((cues.darker < light_limit) | (cues.slope < max(0.012, 2 * backdrop.noise)))
    )
    mask = _complement(_flood(like_backdrop), cues, light_limit)
    mask = _without_contact_shadow(mask, coloured, cues)
    return _solid_parts(mask, cues.slope, backdrop)


def _cues(lab: Floats, backdrop: Backdrop) -> _Cues:
    lightness, empty = lab[..., 0], np.maximum(backdrop.lab[..., 0], 0.02)
    scaled = backdrop.lab[..., 1:] * (lightness / empty)[..., None]
    chroma = np.linalg.norm(lab[..., 1:] - scaled, axis=2)
    difference = lightness - empty
    across, down = slopes(lightness)
    _, horizon = slopes(backdrop.lab[..., 0])
    return _Cues(
        chroma=floats(chroma),
        lighter=floats(np.maximum(difference, 0)),
        darker=floats(np.maximum(-difference, 0)),
        slope=floats(cv2.magnitude(across, down - horizon)),
    )


def _chroma_limits(cues: _Cues, backdrop: Backdrop, light_limit: float, least: float) -> Floats:
    """Chroma difference that makes an object, for each pixel.

    A coloured object bleeds into its own shadow, so a darker pixel must show a fair share of the object's chroma.
    """
    plain = min(0.02, max(least, 3.5 * backdrop.chroma_noise))
    object_like = cues.chroma[cues.chroma > 2 * plain]
    typical = float(np.median(object_like)) if object_like.size > _SMALLEST_OBJECT * cues.chroma.size else 0.0
    shadowed = min(_BLEEDING_LIMIT, max(plain, _BLEEDING * typical))
    return floats(np.where(cues.darker > 0.5 * light_limit, shadowed, plain))


def _features(lab: Floats, backdrop: Backdrop) -> Bytes:
    """Three 8-bit planes for the cut: lightness ratio, and chroma freed of shadow, amplified."""
    ratio = lab[..., :1] / np.maximum(backdrop.lab[..., :1], 0.02)
    chroma = lab[..., 1:] - backdrop.lab[..., 1:] * ratio
    planes = np.concatenate([ratio * 170, 128 + chroma * 1500], axis=2)
    return octets(np.clip(np.rint(planes), 0, 255))


def _best_cut(features: Bytes, mask: Bytes) -> Bytes:
    """Return the mask with its outline moved to the best cut through three 8-bit feature planes."""
    if not mask.any():
        return mask
    height, width = mask.shape
    window = Box.around(mask).grown(4 + round(_CUT_MARGIN * max(mask.shape)), width, height).slices
    seed = _cut_seed(mask[window])
    if not (np.any(seed == cv2.GC_FGD) and np.any(seed == cv2.GC_BGD)):
        return mask
    cv2.setRNGSeed(_CUT_SEED)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    image = np.ascontiguousarray(features[window])
    cv2.grabCut(image, seed, _NO_RECTANGLE, *models, 1, cv2.GC_INIT_WITH_MASK)
    cut = octets((seed == cv2.GC_FGD) | (seed == cv2.GC_PR_FGD))
    before, after = int(mask[window].sum()), int(cut.sum())
    if not _SHRINK * before <= after <= _GROW * before:
        return mask
    refined = mask.copy()
    refined[window] = cut
    return refined


def _cut_seed(mask: Bytes) -> Bytes:
    """Return what the cut starts from: certain inside and outside, probable along the outline."""
    inner = cv2.erode(mask, _DISK5, borderType=cv2.BORDER_REPLICATE)
    outer = cv2.dilate(mask, _DISK5)
    seed = np.where(mask == 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    seed[outer == 0] = cv2.GC_BGD
    seed[inner == 1] = cv2.GC_FGD
    return octets(seed)


def _flood(like_backdrop: Bytes) -> Bytes:
    """Backdrop-like pixels connected with the border by a way as wide as the disk: no leak through a thin gap."""
    framed = octets(cv2.copyMakeBorder(like_backdrop, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(1,)))
    wide = octets(cv2.erode(framed, _DISK3, borderType=cv2.BORDER_CONSTANT, borderValue=(1.0,)))
    _, labels = cv2.connectedComponents(wide, connectivity=4)
    flooded = octets(labels == labels[0, 0])
    return octets(cv2.bitwise_and(cv2.dilate(flooded, _DISK3), framed))[2:-2, 2:-2]


def _complement(flooded: Bytes, cues: _Cues, light_limit: float) -> Bytes:
    """Return what the flood did not reach, less large enclosed pieces of plain backdrop."""
    mask = octets(1 - flooded)
    plain = octets((mask == 1) & (cues.chroma < _LEAST_CHROMA) & (cues.darker + cues.lighter < light_limit))
    plain = octets(cv2.morphologyEx(plain, cv2.MORPH_OPEN, _DISK3))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(plain, connectivity=4)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] > _SMALLEST_HOLE * mask.size:
            hole = octets(labels == label)
            rim = cv2.dilate(hole, _DISK5) - hole
            if float(np.median(cues.slope[rim > 0])) > _SHARP_RIM:
                mask[hole == 1] = 0
    return mask


def _without_contact_shadow(mask: Bytes, coloured: Bytes, cues: _Cues) -> Bytes:
    """Drop thin, darker, colourless rims of an object that is otherwise coloured."""
    core = octets(cv2.morphologyEx(coloured & mask, cv2.MORPH_OPEN, _DISK3))
    if int(core.sum()) < 0.5 * int(mask.sum()):
        return mask
    rest = octets((mask == 1) & (cv2.morphologyEx(core, cv2.MORPH_CLOSE, _DISK5) == 0) & (coloured == 0))
    rest &= octets((cues.darker > 0) & (cues.darker < 0.45))
    outside = octets(cv2.dilate(octets(1 - mask), _DISK3))
    count, labels = cv2.connectedComponents(rest, connectivity=4)
    touching = np.zeros(count, dtype=np.bool_)
    touching[np.unique(labels[(outside == 1) & (rest == 1)])] = True
    touching[0] = False
    return octets(np.where(touching[labels], 0, mask))


def _solid_parts(mask: Bytes, slope: Floats, backdrop: Backdrop) -> Bytes:
    """Drop specks and parts with a soft outline (floating shadows); fill small holes."""
    kept = np.zeros_like(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask
    largest = int(stats[1:, cv2.CC_STAT_AREA].max())
    steepest = floats(cv2.dilate(slope, np.ones((_NEAR_OUTLINE, _NEAR_OUTLINE), dtype=np.uint8)))
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < max(_SMALLEST_PART * mask.size, 0.01 * largest):
            continue
        part = octets(labels == label)
        if float(np.median(steepest[outline(part)])) > max(_SOFTEST, backdrop.noise):
            kept |= part
    return _filled(kept)


def _filled(mask: Bytes) -> Bytes:
    holes = octets(1 - mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=4)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < _SMALLEST_HOLE * mask.size:
            mask[labels == label] = 1
    return mask


def _plausible(mask: Bytes, backdrop: Backdrop) -> bool:
    share = float(mask.mean())
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return (
        _SMALLEST_OBJECT <= share <= _LARGEST_OBJECT
        and float(border.mean()) <= _BORDER_CONTACT
        and _solidity(mask) >= (_LEAST_SOLID_CUT if float(border.mean()) > _BORDER_TOUCH else _LEAST_SOLID)
        and backdrop.agreement >= 0.6
    )


def _shows(mask: Bytes, lab: Floats) -> bool:
    """Return whether the outline is visible nearly everywhere, and the border cuts the object in few places."""
    around = np.concatenate([mask[0], mask[1:-1, -1], mask[-1, ::-1], mask[1:-1, 0][::-1]])
    cuts = int(np.count_nonzero(np.diff(around.astype(np.int8), append=around[:1]) == 1))
    slope = np.zeros_like(lab[..., 0])
    for plane, weight in ((0, 1.0), (1, 1.5), (2, 1.5)):
        across, down = slopes(np.ascontiguousarray(lab[..., plane]))
        slope = np.maximum(slope, np.float32(weight) * floats(cv2.magnitude(across, down)))
    inner = np.s_[2:-2, 2:-2]
    border = outline(mask)[inner]
    steepest = floats(cv2.dilate(slope, _SQUARE5))[inner]
    weak = float(np.mean(steepest[border] < _WEAK)) if border.any() else 0.0
    return cuts <= _MOST_CUTS and weak <= _MOST_WEAK


def _solidity(mask: Bytes) -> float:
    rows, columns = np.nonzero(mask)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))
    return float(mask.sum()) / max(1.0, float(cv2.contourArea(hull)))
