"""The local engine: lays a texture over the object of a product picture, on the CPU, without any model weights.

The modules, in the order a picture travels:

    render      the story: read this first
    contract    what goes in and what comes out
    decode      bytes to an upright 8-bit sRGB picture
    background  the empty backdrop, a surface              mask, cut   the object on a 256-pixel copy
    edge        the soft edge at full size                 material    the object's own colours
    light       folds and shading, free of prints          hints       plain wishes in the prompt
    tile        a swatch that repeats without a seam       drape       bent along the form
    finish      shaded in linear light, composited         frame       the asked-for aspect ratio
    encode      picture to bytes                           colour      sRGB, linear light, Oklab

Rule: the engine imports nothing of the rest of the project, keeps no state, reads no file and no clock.
"""

from .contract import ASPECT_RATIOS, IMAGE_FORMATS, PictureError, Rendered, RenderRequest
from .render import LONGEST_SIDE, render

__all__ = [
    "ASPECT_RATIOS",
    "IMAGE_FORMATS",
    "LONGEST_SIDE",
    "PictureError",
    "RenderRequest",
    "Rendered",
    "render",
]
