"""Known limits of finding the object, built from the shipped samples: what is true today, with the reason.

Each asserts how wrong the mask is. When one of these fails because the mask got better, that is an improvement: raise
the figure, or move the picture to the good ones.
"""

# ruff: noqa: T201 - figures are printed for who runs it with -s
from __future__ import annotations

import io

import cv2
import engine_figures as figures
import numpy as np
import pytest
from PIL import Image
from test_engine import _mask, _pixels, _read

from batch.server.engines.base import RenderRequest
from batch.server.engines.cpu.render import render

pytestmark = pytest.mark.slow

WALL = (205, 208, 212)
HORIZON = 0.62


def jpeg(pixels, quality=92):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def retextured(data, mask):
    """Lay red over what the engine takes for the object; give its result, and its overlap with the true mask."""
    red = jpeg(np.full((64, 64, 3), (255, 0, 0), np.uint8))
    result = render(RenderRequest(data, red, "red", 7, "match_input_image", "png", 95))
    changed = np.abs(_pixels(data).astype(int) - _pixels(result.data)).max(axis=2) > 40
    found = figures.overlap(changed, mask)
    print(
        f"\nconfidence {result.confidence}, share {result.mask_share:.3f} of {mask.mean():.3f}, overlap {found:.3f}"
    )
    return result, found


def in_a_room(name, floor):
    """The product cut out and put in front of a plain wall, on a floor of one of the textures."""
    product, mask, tile = _pixels(_read("products", name)), _mask(name), _pixels(_read("textures", floor))
    height, width = mask.shape
    scene = np.full_like(product, WALL)
    top = int(height * HORIZON)
    rows, columns = -(-(height - top) // tile.shape[0]), -(-width // tile.shape[1])
    scene[top:] = np.tile(tile, (rows, columns, 1))[: height - top, :width]
    return jpeg(np.where(mask[..., None], product, scene).astype(np.uint8)), mask


@pytest.mark.parametrize("name", ["armchair", "handbag", "tshirt"])
def test_a_grained_floor_is_partly_taken_for_the_object(name):
    """The backdrop is a surface of one colour a row; planks are neither, and run into the object's legs.

    The engine says so: the border cuts the mask in many places, and much of its outline shows no edge.
    """
    result, found = retextured(*in_a_room(name, "oak"))
    assert result.confidence == "low"
    assert 0.4 < found < 0.85


def test_an_object_cut_at_both_sides_is_not_found():
    """Both side borders show the object, so the backdrop is fitted to it; everything is textured instead."""
    product, mask = _pixels(_read("products", "sofa")), _mask("sofa")
    columns = np.flatnonzero(mask.any(axis=0))
    cut = np.ptp(columns) // 5
    inner = np.s_[:, columns[0] + cut : columns[-1] - cut]
    result, found = retextured(jpeg(np.ascontiguousarray(product[inner])), mask[inner])
    assert (result.confidence, result.mask_share) == ("low", 1.0)
    assert found < 0.6


@pytest.mark.parametrize("name", ["armchair", "handbag"])
def test_a_grey_object_whose_shading_crosses_the_backdrop_is_eaten(name):
    """Where a fold has exactly the backdrop's lightness there is nothing to see, and the flood comes in.

    The engine says so: there the outline it found runs through nothing.
    """
    grey, mask = cv2.cvtColor(_pixels(_read("products", name)), cv2.COLOR_RGB2GRAY), _mask(name)
    scene = np.where(mask, grey, np.uint8(np.median(grey[mask])))
    result, found = retextured(jpeg(np.dstack([scene] * 3)), mask)
    assert result.confidence == "low"
    assert 0.4 < found < 0.85


@pytest.mark.parametrize(("side", "least"), [(128, 0.85), (192, 0.9), (320, 0.93)])
def test_small_jpegs_are_found_about_as_large_as_they_are(side, least):
    """The codec's coarse chroma bleeds round the object; it was taken for object up to a fifth too much."""
    overlaps, excess = [], []
    for name in ("armchair", "chesterfield", "cushion", "handbag", "sofa", "tshirt"):
        small = Image.fromarray(_pixels(_read("products", name))).resize(
            (side, side), Image.Resampling.LANCZOS
        )
        true = cv2.resize(_mask(name).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        result, found = retextured(jpeg(np.asarray(small), 75), true > 0.5)
        overlaps.append(found)
        excess.append(result.mask_share / float(true.mean()) - 1)
    assert min(overlaps) >= least, overlaps
    assert max(map(abs, excess)) < 0.1, excess
