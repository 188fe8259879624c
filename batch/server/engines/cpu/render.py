"""The steps of one image: decode, find, soften, measure the light, drape, shade, composite, frame, encode.

Rule 1: `render` depends on its request only. OpenCV runs on one thread, random numbers are seeded where they are
drawn, so that the same request gives the same bytes from any thread or process.
Rule 2: only the window round the object is worked on; the rest of the image is copied.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from batch.server.engines.base import RenderError, RenderRequest
from batch.server.engines.cpu.drape import Shape, drape
from batch.server.engines.cpu.encode import encode
from batch.server.engines.cpu.finish import composite, shade
from batch.server.engines.cpu.frame import Canvas, reframe
from batch.server.engines.cpu.hints import Hints, read_hints
from batch.server.engines.cpu.light import measure_light
from batch.vision.colour import to_linear, to_oklab
from batch.vision.decode import DecodedImage, DecodeError, decode
from batch.vision.edge import Matte, soft_edge
from batch.vision.object_mask import find_object
from batch.vision.planes import Box, Bytes, Floats, disk, floats, octets, scaled

LONGEST_SIDE = 2048
_LONGEST_TEXTURE = 1536
_SEARCH_SIDE = 256
# From this size on the reduced image shows no trace of the codec's coarse chroma.
_CLEAN_SIDE = 900
_SOLID = 128
# Codecs store colour at half the size: the search uses no more than that, except on thumbnails.
_CHROMA_SCALE, _SMALL = 0.5, 96

cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True)
class _Subject:
    """The object in the image: its window, its matte there, whether the mask is used, and whether it is sure."""

    window: Box
    box: Box
    matte: Matte
    trusted: bool
    sure: bool
    plain_backdrop: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """The encoded result and what the renderer thinks of its own mask."""

    data: bytes
    width: int
    height: int
    # "high", or "low": the outline is in doubt, or no object was found and the whole image was textured.
    confidence: str
    # Share of the product image that was textured, 0 … 1.
    mask_share: float


def render_bytes(request: RenderRequest) -> bytes:
    """Return the encoded image alone, as the engine's workers need it."""
    return render(request).data


def render(request: RenderRequest) -> Rendered:
    """Lay the texture of image 2 over the object of image 1. Raises RenderError for an unusable image."""
    try:
        product = decode(request.product, "product image", LONGEST_SIDE)
        texture = decode(request.texture, "texture image", _LONGEST_TEXTURE)
    except DecodeError as exc:
        raise RenderError(str(exc)) from exc
    subject = _subject(product)
    retextured = _retexture(product, subject, _opaque(texture), read_hints(request.prompt), request.seed)
    canvas = Canvas(retextured, subject.box, subject.plain_backdrop)
    framed = reframe(canvas, request.aspect_ratio, LONGEST_SIDE)
    return Rendered(
        data=encode(framed, request.image_format, request.quality),
        width=framed.rgb.shape[1],
        height=framed.rgb.shape[0],
        confidence="high" if subject.sure else "low",
        mask_share=min(1.0, float(subject.matte.alpha.sum()) / (product.rgb.shape[0] * product.rgb.shape[1])),
    )


def _subject(product: DecodedImage) -> _Subject:
    if product.alpha is not None:
        return _cut_out(product, product.alpha)
    height, width = product.rgb.shape[:2]
    longest = max(height, width)
    scale = min(_CHROMA_SCALE, _SEARCH_SIDE / longest) if longest >= _SMALL else 1.0
    coded = (scale - _SEARCH_SIDE / _CLEAN_SIDE) / (_CHROMA_SCALE - _SEARCH_SIDE / _CLEAN_SIDE)
    finding = find_object(to_oklab(to_linear(scaled(product.rgb, scale))), min(1.0, max(0.0, coded)))
    if not finding.trusted:
        return _everything(product)
    rounded = cv2.GaussianBlur(floats(finding.mask), (0, 0), 0.8)
    coarse = floats(cv2.resize(rounded, (width, height), interpolation=cv2.INTER_CUBIC))
    reach = max(3, round(1.6 / scale))
    box = Box.around(coarse > 0.5)
    window = box.grown(4 * reach, width, height)
    matte = soft_edge(np.ascontiguousarray(product.rgb[window.slices]), coarse[window.slices], reach)
    plain = finding.backdrop.agreement > 0.85
    return _Subject(window, box, matte, trusted=True, sure=finding.sure, plain_backdrop=plain)


def _cut_out(product: DecodedImage, transparency: Bytes) -> _Subject:
    """Take the alpha channel as the mask; soft shadows away from the solid part keep their own colour."""
    solid = octets(transparency >= _SOLID)
    if not solid.any():
        return _everything(product)
    height, width = solid.shape
    alpha = floats(octets(cv2.dilate(solid, disk(5))) * octets(transparency > 0))
    box = Box.around(solid == 1)
    window = box.grown(8, width, height)
    return _Subject(window, box, _hard(alpha[window.slices]), trusted=True, sure=True, plain_backdrop=True)


def _everything(product: DecodedImage) -> _Subject:
    height, width = product.rgb.shape[:2]
    whole = Box(0, 0, width, height)
    matte = _hard(np.ones((height, width), dtype=np.float32))
    return _Subject(whole, whole, matte, trusted=False, sure=False, plain_backdrop=False)


def _hard(alpha: Floats) -> Matte:
    """Make a matte without soft pixels."""
    nowhere = np.zeros(0, dtype=np.intp)
    return Matte(np.ascontiguousarray(alpha), nowhere, nowhere, np.zeros((0, 3), dtype=np.float32))


def _retexture(
    product: DecodedImage, subject: _Subject, texture: Bytes, hints: Hints, seed: int
) -> DecodedImage:
    window = np.ascontiguousarray(product.rgb[subject.window.slices])
    light = measure_light(window, subject.matte.alpha)
    shape = Shape(subject.matte.alpha, light.low, float(subject.box.longer_side), domed=subject.trusted)
    textured = shade(drape(texture, shape, hints, seed), light, hints)
    rgb = product.rgb.copy()
    rgb[subject.window.slices] = composite(window, subject.matte, textured)
    return DecodedImage(rgb=rgb, alpha=product.alpha)


def _opaque(texture: DecodedImage) -> Bytes:
    """Fill the holes of a swatch with its mean colour."""
    if texture.alpha is None or not texture.alpha.any():
        return texture.rgb
    share = floats(texture.alpha[..., None]) / np.float32(255)
    mean = (texture.rgb * share).sum(axis=(0, 1)) / share.sum()
    return octets(np.rint(texture.rgb * share + mean * (1 - share)))
