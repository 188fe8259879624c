"""Bring light, texture and image together.

The texture is multiplied by the light in linear light, with a soft shoulder at the top, and composited over the
backdrop that was estimated behind the edge, so that no fringe of the old colour is left. A pixel whose alpha is 0 is
not touched: it is the input's, bit for bit.
"""

import cv2
import numpy as np

from batch.server.engines.cpu.hints import Hints
from batch.server.engines.cpu.light import Light
from batch.vision.colour import to_linear, to_srgb
from batch.vision.edge import Matte
from batch.vision.planes import Bytes, Floats, floats, octets

_RELIEF_SHARE = 0.85
_SHEEN = 0.03
# Mean linear light of a texture below which multiplied light cannot be seen: form then shows by reflection.
_DARK = 0.04


def shade(cloth: Bytes, light: Light, hints: Hints) -> Bytes:
    """Light the draped texture; 8-bit sRGB."""
    low, relief = light.low, light.relief * np.float32(_RELIEF_SHARE)
    if hints.gloss < 0:
        low = low * np.where(low > 0, np.float32(0.45), np.float32(0.9))
        relief = relief * np.float32(0.6)
    factor = floats(cv2.exp(floats(low + relief)))
    own = to_linear(cloth)
    lit = own * factor[..., None]
    sheen = _SHEEN * max(0.0, 1 - float(own.mean()) / _DARK)
    if sheen > 0:
        lit += _reflection(low, sheen)[..., None]
    if hints.gloss > 0:
        lit += _highlights(light)[..., None]
    return to_srgb(lit)


def composite(window: Bytes, matte: Matte, textured: Bytes) -> Bytes:
    """Lay the textured object into its window."""
    out = window.copy()
    cv2.copyTo(textured, octets(matte.alpha >= 1), out)
    alpha = matte.alpha[matte.rows, matte.columns][:, None]
    mixed = alpha * textured[matte.rows, matte.columns] + (1 - alpha) * matte.behind
    out[matte.rows, matte.columns] = octets(np.clip(np.rint(mixed), 0, 255))
    return out


def _reflection(low: Floats, strength: float) -> Floats:
    """Faint white light on the lit sides of dark material."""
    return floats(
        np.maximum(cv2.exp(floats(low * np.float32(1.8))) - np.float32(0.35), 0) * np.float32(strength)
    )


def _highlights(light: Light) -> Floats:
    """White reflections where the light is well above the middle."""
    excess = np.maximum(light.low - np.float32(0.12), 0)
    return floats(np.minimum(0.35, 1.1 * excess))
