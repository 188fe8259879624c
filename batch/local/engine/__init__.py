"""The local engine: lays a texture over the object of a product picture, on the CPU, without any model weights.

The modules, in the order a picture travels:

    contract    what goes in and what comes out           drape     tile the texture, bend it along the form
    decode      bytes → upright 8-bit sRGB                 finish    shade in linear light, composite
    background  the empty backdrop, a surface              frame     aspect ratios by extending or cropping
    mask, cut   the object on a 256-pixel copy             encode    picture → bytes
    edge        the soft edge at full size                 hints     plain wishes in the prompt
    light       folds and shading, free of prints          colour    sRGB, linear light, Oklab
                                                           render    the story: read this first

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
