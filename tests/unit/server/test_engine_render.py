"""What `render` promises whatever the image: determinism, an untouched backdrop, a textured object."""

from __future__ import annotations

import ast
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from engine_scenes import BACKDROP, backdrop, decoded, encoded, object_mask, product, request, swatch

import batch.server.engines.cpu as engine
from batch import vision
from batch.server.engines.cpu.render import render

_GREEN_LEAD = 15


def _looks_green(pixels):
    """True where green leads red clearly: only the swatch's dark stripes do."""
    return pixels[..., 1].astype(int) - pixels[..., 0] > _GREEN_LEAD


def _clear_of_the_edge():
    return cv2.dilate(object_mask().astype(np.uint8), np.ones((13, 13), np.uint8)) == 0


def test_same_request_gives_the_same_bytes():
    """The ledger's hash of an output can be compared between runs."""
    assert render(request()).data == render(request()).data


def test_same_bytes_from_several_threads_at_once():
    """OpenCV's random numbers are seeded a thread, so threads do not disturb each other."""
    requests = [request(seed=seed) for seed in (1, 2, 3)] * 3
    alone = [render(each).data for each in requests]
    with ThreadPoolExecutor(4) as pool:
        assert [result.data for result in pool.map(render, requests)] == alone


def test_another_seed_gives_another_image():
    """The seed moves the phase of the pattern."""
    assert render(request(seed=1)).data != render(request(seed=2)).data


def test_request_and_result_survive_a_process_pool():
    """Both ends travel by pickle."""
    assert pickle.loads(pickle.dumps(render))(pickle.loads(pickle.dumps(request()))) == render(request())


def test_backdrop_is_untouched_bit_for_bit():
    """Outside the soft edge no pixel changes."""
    result = decoded(render(request()).data)
    clear = _clear_of_the_edge()
    assert np.array_equal(result[clear], product()[clear])


def test_object_takes_the_texture_and_loses_its_colour():
    """About half of the object shows the green stripes; none of the old red is left."""
    result = decoded(render(request()).data)[object_mask()]
    assert 0.3 < _looks_green(result).mean() < 0.7
    assert (result[..., 0].astype(int) - result[..., 1] > 60).mean() < 0.01


def test_object_keeps_its_light():
    """The product is lit from the left; so is the result."""
    result = decoded(render(request()).data).astype(float).mean(axis=2)
    inside = cv2.erode(object_mask().astype(np.uint8), np.ones((9, 9), np.uint8)) == 1
    left, right = inside.copy(), inside.copy()
    left[:, 80:], right[:, :80] = False, False
    assert result[left].mean() > 1.1 * result[right].mean()


def test_found_object_is_trusted_and_measured():
    """The share is the ellipse's own area."""
    result = render(request())
    assert result.confidence == "high"
    assert result.mask_share == pytest.approx(object_mask().mean(), rel=0.05)


def test_soft_shadow_is_not_textured():
    """A shadow scales light without a sharp outline: it belongs to the backdrop."""
    shadow = np.zeros((160, 160), np.float32)
    cv2.ellipse(shadow, (80, 138), (40, 5), 0, 0, 360, 0.35, -1)
    dimmed = backdrop() * (1 - cv2.GaussianBlur(shadow, (0, 0), 5))[..., None]
    scene = np.where(object_mask()[..., None], product(), np.rint(dimmed)).astype(np.uint8)
    result = decoded(render(request(product=encoded(scene))).data)
    clear = _clear_of_the_edge()
    assert np.array_equal(result[clear], scene[clear])


def test_white_object_on_a_light_backdrop_is_found():
    """A lighter object differs by its lightness alone."""
    result = render(request(product=encoded(product(colour=(203, 203, 203)))))
    assert result.confidence == "high"
    assert result.mask_share == pytest.approx(object_mask().mean(), rel=0.12)


def test_full_frame_image_is_textured_everywhere_with_low_confidence():
    """A photograph of cloth alone has no outline: all of it is the object."""
    cloth = np.random.default_rng(1).integers(60, 200, (120, 120, 3), dtype=np.uint8)
    result = render(request(product=encoded(cloth)))
    assert (result.confidence, result.mask_share) == ("low", 1.0)
    assert _looks_green(decoded(result.data)).mean() > 0.25


def test_empty_image_is_textured_everywhere_with_low_confidence():
    """Nothing but backdrop: no object of half a percent is found."""
    result = render(request(product=encoded(backdrop())))
    assert (result.confidence, result.mask_share) == ("low", 1.0)


@pytest.mark.parametrize("side", [1, 2, 3, 9])
def test_tiny_images_are_rendered(side):
    """No step needs a smallest size."""
    result = render(
        request(product=encoded(product()[:side, :side]), texture=encoded(swatch()[:side, :side]))
    )
    assert (result.width, result.height) == (side, side)


def test_long_narrow_images_are_rendered():
    """A strip keeps its size."""
    strip = np.full((4, 900, 3), 128, np.uint8)
    result = render(request(product=encoded(strip), texture=encoded(strip)))
    assert (result.width, result.height) == (900, 4)


@pytest.mark.parametrize(
    ("package", "allowed"), [(engine, {"batch.server.engines.base", "batch.vision"}), (vision, set())]
)
def test_the_renderer_and_what_it_sees_with_can_be_lifted_out(package, allowed):
    """Beyond the allowed parts of the project and their own folder they import three libraries and Python's own."""
    found = set()
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name for name in names if path.name != "engine.py"}
    own = (package.__name__, *allowed)
    foreign = {name for name in found if not name.startswith(own)}
    assert {name.split(".")[0] for name in foreign} - sys.stdlib_module_names <= {"PIL", "cv2", "numpy"}


def test_object_that_fades_into_the_backdrop_is_low_confidence():
    """Known limit: grey on grey whose shading crosses the backdrop's lightness has no outline there."""
    scene = cv2.cvtColor(product(320, 320, (190, 190, 190)), cv2.COLOR_RGB2GRAY)
    assert render(request(product=encoded(scene))).confidence == "low"


def test_enclosed_backdrop_is_left_alone():
    """The space inside a handle is backdrop, not object."""
    scene = product(320, 320)
    hole = np.zeros((320, 320), np.uint8)
    cv2.circle(hole, (160, 160), 30, 1, -1)
    scene[hole == 1] = backdrop(320, 320)[hole == 1]
    result = decoded(render(request(product=encoded(scene))).data)
    core = cv2.erode(hole, np.ones((25, 25), np.uint8)) == 1
    assert np.array_equal(result[core], scene[core])


def test_object_cut_by_three_borders_is_low_confidence():
    """Too much of the border is object to know the backdrop."""
    scene = np.full((160, 160, 3), BACKDROP, np.uint8)
    scene[50:] = (150, 60, 50)
    scene[70:, 60:100] = (60, 90, 150)
    assert render(request(product=encoded(scene))).confidence == "low"
