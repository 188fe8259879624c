"""Colour spaces: 8-bit sRGB, linear light, Oklab.

Rule 1: images are stored as 8-bit sRGB; light is multiplied in linear light; colours are compared in Oklab.
Rule 2: sRGB goes through tables in both directions, so that a sample costs one look-up.

Sources: IEC 61966-2-1 (sRGB); B. Ottosson, "A perceptual color space for image processing", 2020 (Oklab).
"""

import cv2
import numpy as np

from batch.vision.planes import Bytes, Floats, floats

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=np.float32,
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=np.float32,
)
_LUMINANCE = np.array([[0.2126, 0.7152, 0.0722]], dtype=np.float32)
# Entries of the encoding table; it is indexed by the square root, which spends them where sRGB is steep.
_STEPS = 8192
_BRIGHTEST = 8.0
_SHOULDER = 0.72


def _decoding_table() -> Floats:
    value = np.arange(256, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def _encoding_table() -> Bytes:
    linear = _BRIGHTEST * (np.arange(_STEPS, dtype=np.float64) / (_STEPS - 1)) ** 2
    head, above = 1 - _SHOULDER, np.maximum(linear - _SHOULDER, 0)
    linear = np.minimum(linear, _SHOULDER) + head * above / (above + head)
    value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(value * 255).astype(np.uint8)


_DECODE = _decoding_table()
_ENCODE = _encoding_table()


def to_linear(srgb: Bytes) -> Floats:
    """Decode 8-bit sRGB to linear light, 0 … 1."""
    return floats(cv2.LUT(srgb, _DECODE))


def to_srgb(linear: Floats) -> Bytes:
    """Encode linear light (0 … 8) to 8-bit sRGB, with a soft shoulder: light above 0.72 nears white slowly."""
    places = floats(cv2.sqrt(linear)) * np.float32((_STEPS - 1) / _BRIGHTEST**0.5) + np.float32(0.5)
    return np.take(_ENCODE, places.astype(np.uint16), mode="clip")


def luminance(linear: Floats) -> Floats:
    """Relative luminance of linear light (Rec. 709 weights), one plane."""
    return floats(cv2.transform(linear, _LUMINANCE))


def to_oklab(linear: Floats) -> Floats:
    """Oklab of linear light. A factor k on the light is a factor k^(1/3) on L, a and b alike."""
    cones = np.cbrt(floats(cv2.transform(linear, _TO_LMS)))
    return floats(cv2.transform(cones, _TO_OKLAB))
