"""Seeing an object: on scenes whose answer is known, and the small steps that the modules share."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from batch.vision.colour import to_linear, to_oklab, to_srgb
from batch.vision.decode import DecodeError, decode
from batch.vision.edge import soft_edge
from batch.vision.object_mask import find_object
from batch.vision.planes import Box, disk, outline, scaled, slopes


def encoded(pixels, image_format="png"):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, image_format)
    return out.getvalue()


@pytest.fixture
def truth():
    mask = np.zeros((200, 256), np.uint8)
    cv2.ellipse(mask, (128, 100), (60, 50), 0, 0, 360, 1, -1)
    return mask


@pytest.fixture
def scene(truth):
    """A red ellipse before a grey wall that darkens towards the floor."""
    fall = np.linspace(1.0, 0.95, 200)[:, None, None]
    wall = np.full((200, 256, 3), (196, 204, 212)) * fall
    return np.where(truth[..., None] == 1, (150, 60, 50), wall).astype(np.uint8)


def test_an_object_is_found_where_it_is(scene, truth):
    finding = find_object(to_oklab(to_linear(scene)))
    assert finding.trusted
    assert finding.sure
    assert np.mean(finding.mask != truth) < 0.005
    assert finding.backdrop.agreement > 0.95


def test_an_even_image_has_no_object():
    assert not find_object(to_oklab(to_linear(np.full((200, 256, 3), 190, np.uint8)))).trusted


def test_the_soft_edge_is_hard_away_from_the_outline(scene, truth):
    matte = soft_edge(scene, truth.astype(np.float32), reach=3)
    assert np.all(matte.alpha[cv2.erode(truth, disk(11)) == 1] == 1)
    assert np.all(matte.alpha[cv2.dilate(truth, disk(11)) == 0] == 0)
    assert np.all((matte.alpha[matte.rows, matte.columns] > 0) & (matte.alpha[matte.rows, matte.columns] < 1))


def test_an_image_is_decoded_as_it_is_and_no_larger_than_asked(scene):
    assert np.array_equal(decode(encoded(scene), "input", 256).rgb, scene)
    small = decode(encoded(scene), "input", 100)
    assert (small.rgb.shape, small.alpha) == ((78, 100, 3), None)


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_decoded_is_named(data):
    with pytest.raises(DecodeError, match=r"^input: cannot be decoded"):
        decode(data, "input", 256)


def test_srgb_survives_linear_light_below_the_shoulder():
    """Above 0.72 of linear light, which is 219 in sRGB, highlights are compressed."""
    levels = np.arange(219, dtype=np.uint8).reshape(1, -1)
    assert np.array_equal(to_srgb(to_linear(levels)), levels)


def test_a_box_holds_what_is_set_and_grows_within_its_image(truth):
    box = Box.around(truth)
    assert (box.left, box.top, box.right, box.bottom) == (68, 50, 189, 151)
    assert truth[box.slices].sum() == truth.sum()
    assert box.longer_side == 121
    assert box.grown(100, 256, 200) == Box(0, 0, 256, 200)


def test_an_outline_is_two_pixels_wide_and_a_slope_is_a_rise_in_a_pixel():
    mask = np.zeros((9, 9), np.uint8)
    mask[:, 5:] = 1
    assert np.flatnonzero(outline(mask)[4]).tolist() == [4, 5]
    across, down = slopes(np.tile(np.arange(9, dtype=np.float32) * 3, (9, 1)))
    assert (across[4, 4], down[4, 4]) == (3, 0)


def test_scaling_keeps_the_kind_of_array_and_a_pixel_at_least():
    assert scaled(np.zeros((10, 400), np.float32), 0.01).shape == (1, 4)
    assert scaled(np.zeros((10, 40, 3), np.uint8), 0.5).dtype == np.uint8
