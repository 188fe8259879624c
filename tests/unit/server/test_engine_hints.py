"""Plain wishes in the prompt: how they are read, and what they do."""

from __future__ import annotations

import numpy as np
import pytest
from engine_scenes import decoded, encoded, object_mask, product, request, swatch

from batch.server.engines.cpu.hints import Hints, read_hints
from batch.server.engines.cpu.render import render


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param("", Hints(), id="nothing"),
        pytest.param("A beautiful photo of a large sofa", Hints(), id="a large sofa is no large pattern"),
        pytest.param("oak on a small chair", Hints(), id="a small chair is no small pattern"),
        pytest.param("linen, small pattern", Hints(pattern_scale=0.5), id="small pattern"),
        pytest.param("a finer woven texture scale", Hints(pattern_scale=0.5), id="finer scale"),
        pytest.param("Large tiles of marble", Hints(pattern_scale=1.8), id="large tiles"),
        pytest.param("BIG   checkered\nprint", Hints(pattern_scale=1.8), id="case and space"),
        pytest.param("not large tiles", Hints(), id="negated"),
        pytest.param("rotate 45 degrees", Hints(degrees=45), id="rotate"),
        pytest.param("rotated by 30° counterclockwise", Hints(degrees=330), id="backwards"),
        pytest.param("rotate the pattern by -90 deg", Hints(degrees=270), id="negative"),
        pytest.param("diagonal stripes", Hints(degrees=45), id="diagonal"),
        pytest.param("glossy leather", Hints(gloss=1), id="glossy"),
        pytest.param("matte finish", Hints(gloss=-1), id="matte"),
        pytest.param("mat, not glossy", Hints(gloss=-1), id="not glossy"),
        pytest.param("non-glossy", Hints(), id="non-glossy"),
        pytest.param(
            "small pattern, rotate 90 degrees, glossy",
            Hints(pattern_scale=0.5, degrees=90, gloss=1),
            id="three at once",
        ),
    ],
)
def test_wishes_are_read(prompt, expected):
    """The table is the grammar."""
    assert read_hints(prompt) == expected


def _inside(prompt):
    image = decoded(render(request(prompt=prompt, texture=encoded(swatch(stripe=12)))).data).astype(float)
    return image[52:108, 52:108].mean(axis=2)


def _changes(image, axis):
    return float(np.abs(np.diff(image, axis=axis)).mean())


def test_small_pattern_has_more_stripes_and_large_fewer():
    """Mean change from pixel to pixel counts the stripes."""
    small, plain, large = (_changes(_inside(p), 1) for p in ("small pattern", "", "large pattern"))
    assert small > 1.3 * plain > 1.3 * 1.3 * large


def test_rotation_turns_the_stripes():
    """Upright stripes change across; turned by 90 degrees they change downwards."""
    upright, turned = _inside(""), _inside("rotate 90 degrees")
    assert _changes(upright, 1) > 2 * _changes(upright, 0)
    assert _changes(turned, 0) > 2 * _changes(turned, 1)


def test_glossy_is_brighter_in_the_light_and_matte_duller():
    """Highlights sit on the lit side; both finishes leave the backdrop alone."""
    lit = object_mask().copy()
    lit[:, 60:] = False
    means = [
        decoded(render(request(product=encoded(product()), prompt=prompt)).data)[lit].mean()
        for prompt in ("matte", "", "glossy")
    ]
    assert means == sorted(means)
    assert means[2] - means[0] > 5
