"""Find the object on a small picture (256 px): a flood from the border through everything backdrop-like.

Rule 1: a shadow multiplies linear light, so it scales L, a and b of Oklab alike. Chroma is therefore compared after
the backdrop is scaled to the pixel's lightness; a darker pixel of the backdrop's chroma is backdrop while the
darkening is smooth.
Rule 2: the flood starts at the border. Enclosed backdrop (handles, gaps between legs) counts only when it is large
and without shading of its own; smaller enclosed spots (logos, highlights) belong to the object.
Rule 3: this file answers 0 or 1 a pixel; the soft edge is the business of `edge.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .background import Backdrop, fit_backdrop, settle
from .colour import Bytes, Floats, floats, octets
from .cut import refine

_SMALLEST_HOLE = 0.0012
_SMALLEST_PART = 0.002
_SMALLEST_OBJECT = 0.005
_LARGEST_OBJECT = 0.75
_BORDER_CONTACT = 0.25
_LEAST_SOLID = 0.42
"""Area of a mask ÷ its convex hull: under this a mask is shreds of an object that was not found."""
_BORDER_TOUCH, _LEAST_SOLID_CUT = 0.05, 0.7
"""A mask that the border cuts is believed only when it is fairly solid."""
_MOST_CUTS = 4
"""An object leaves the picture in few places; a mask that does in more is shreds of a patterned floor."""
_WEAK, _MOST_WEAK = 0.01, 0.1
"""Slope (Oklab a pixel) under which an outline shows nothing, and the share of it that may: where an object has
the backdrop's own lightness, or where shadow was taken for object, the outline runs through nothing."""
_LEAST_CHROMA, _LEAST_CODED = 0.0036, 0.008
"""Chroma difference that may make an object: on a much reduced picture, and where the codec's blocks still show."""
_SHARP_RIM = 0.012
_SOFTEST, _NEAR_OUTLINE = 0.008, 7
"""Least slope of lightness within so many pixels of a real outline; the codec's chroma reaches beyond it."""
_BLEEDING = 0.35
_BLEEDING_LIMIT = 0.024
_DISK3 = octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
_SQUARE5 = np.ones((5, 5), dtype=np.uint8)
_DISK5 = octets(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))


@dataclass(frozen=True, slots=True)
class Finding:
    """The object on the small picture."""

    mask: Bytes
    backdrop: Backdrop
    trusted: bool
    """False when the mask is tiny, nearly everything, or leans on the border: then it should not be used."""
    sure: bool
    """Whether the outline also shows in the picture; otherwise the mask is used, but likely wrong in places."""


@dataclass(frozen=True, slots=True)
class _Cues:
    """What tells a pixel from the backdrop; Oklab units."""

    chroma: Floats
    lighter: Floats
    darker: Floats
    slope: Floats


def find_object(lab: Floats, coded: float = 0.0) -> Finding:
    """Find the object on a small Oklab picture; deterministic.

    `coded` (0 … 1) says how much of a codec's coarse chroma is left: 0 on a picture reduced to a quarter.
    """
    least = _LEAST_CHROMA + coded * (_LEAST_CODED - _LEAST_CHROMA)
    backdrop = fit_backdrop(lab)
    backdrop = settle(lab, backdrop, _outlined(lab, backdrop, least))
    mask = refine(_features(lab, backdrop), _outlined(lab, backdrop, least))
    mask = _solid_parts(mask, _cues(lab, backdrop).slope, backdrop)
    trusted = _plausible(mask, backdrop)
    return Finding(mask=mask, backdrop=backdrop, trusted=trusted, sure=trusted and _shows(mask, lab))


def _outlined(lab: Floats, backdrop: Backdrop, least: float) -> Bytes:
    """Mask by flooding the backdrop-like pixels from the border; `least` is the chroma that makes an object."""
    cues = _cues(lab, backdrop)
    light_limit = min(0.06, max(0.014, 3.5 * backdrop.noise))
    coloured = octets(cues.chroma > _chroma_limits(cues, backdrop, light_limit, least))
    like_backdrop = octets(
        (coloured == 0)
        & (cues.lighter < light_limit)
        & ((cues.darker < light_limit) | (cues.slope < max(0.012, 2 * backdrop.noise))),
    )
    mask = _complement(_flood(like_backdrop), cues, light_limit)
    mask = _without_contact_shadow(mask, coloured, cues)
    return _solid_parts(mask, cues.slope, backdrop)


def _cues(lab: Floats, backdrop: Backdrop) -> _Cues:
    lightness, empty = lab[..., 0], np.maximum(backdrop.lab[..., 0], 0.02)
    scaled = backdrop.lab[..., 1:] * (lightness / empty)[..., None]
    chroma = np.linalg.norm(lab[..., 1:] - scaled, axis=2)
    difference = lightness - empty
    horizon = floats(cv2.Sobel(backdrop.lab[..., 0], cv2.CV_32F, 0, 1, scale=0.125))
    across = floats(cv2.Sobel(lightness, cv2.CV_32F, 1, 0, scale=0.125))
    down = floats(cv2.Sobel(lightness, cv2.CV_32F, 0, 1, scale=0.125)) - horizon
    return _Cues(
        chroma=floats(chroma),
        lighter=floats(np.maximum(difference, 0)),
        darker=floats(np.maximum(-difference, 0)),
        slope=floats(cv2.magnitude(across, down)),
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
        outline = cv2.dilate(part, _DISK3) - cv2.erode(part, _DISK3)
        if float(np.median(steepest[outline > 0])) > max(_SOFTEST, backdrop.noise):
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
    """Tell whether the outline is visible nearly everywhere, and the border cuts the object in few places."""
    around = np.concatenate([mask[0], mask[1:-1, -1], mask[-1, ::-1], mask[1:-1, 0][::-1]])
    cuts = int(np.count_nonzero(np.diff(around.astype(np.int8), append=around[:1]) == 1))
    slope = np.zeros_like(lab[..., 0])
    for plane, weight in ((0, 1.0), (1, 1.5), (2, 1.5)):
        channel = np.ascontiguousarray(lab[..., plane])
        across, down = (cv2.Sobel(channel, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1)))
        slope = np.maximum(slope, np.float32(weight) * floats(cv2.magnitude(across, down)))
    inner = np.s_[2:-2, 2:-2]
    outline = (cv2.dilate(mask, _DISK3) - cv2.erode(mask, _DISK3))[inner] > 0
    steepest = floats(cv2.dilate(slope, _SQUARE5))[inner]
    weak = float(np.mean(steepest[outline] < _WEAK)) if outline.any() else 0.0
    return cuts <= _MOST_CUTS and weak <= _MOST_WEAK


def _solidity(mask: Bytes) -> float:
    rows, columns = np.nonzero(mask)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))
    return float(mask.sum()) / max(1.0, float(cv2.contourArea(hull)))
