"""Images in and out: every input mode, every output format and ratio, and what is refused."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from engine_scenes import decoded, encoded, object_mask, product, request, swatch
from PIL import Image, ImageCms

from batch.server.engines.base import RenderError
from batch.server.engines.cpu.render import render


def _close(one, two, within):
    return float(np.abs(one.astype(int) - two.astype(int)).mean()) < within


@pytest.mark.parametrize(
    ("image_format", "magic"),
    [
        pytest.param("jpeg", b"\xff\xd8\xff", id="jpeg"),
        pytest.param("png", b"\x89PNG", id="png"),
        pytest.param("webp", b"RIFF", id="webp"),
    ],
)
def test_output_has_the_asked_format_and_the_input_size(image_format, magic):
    """The three formats the service knows."""
    result = render(request(image_format=image_format))
    assert result.data.startswith(magic)
    assert (result.width, result.height) == (160, 160) == decoded(result.data).shape[1::-1]


@pytest.mark.quick(1)
@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_higher_quality_gives_a_larger_and_truer_file(image_format):
    """Quality reaches the codec."""
    exact = decoded(render(request()).data)
    low, high = (render(request(image_format=image_format, quality=quality)).data for quality in (20, 98))
    assert len(low) < len(high)
    assert _close(decoded(high), exact, float(np.abs(decoded(low).astype(int) - exact).mean()))


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1", (160, 160)),  # 160 x 120: 40 rows more
        ("2:3", (160, 240)),  # 160 * 3/2
        ("3:2", (180, 120)),  # 120 * 3/2
        ("3:4", (160, 213)),  # 160 * 4/3 = 213.3
        ("4:3", (160, 120)),
        ("4:5", (160, 200)),
        ("5:4", (160, 128)),
        ("9:16", (160, 284)),  # 284.4
        ("16:9", (213, 120)),  # 213.3
        ("21:9", (280, 120)),
    ],
)
def test_plain_backdrop_is_extended_to_the_ratio(ratio, size):
    """The whole object stays; the backdrop goes on."""
    result = render(request(product=encoded(product(160, 120)), aspect_ratio=ratio))
    assert (result.width, result.height) == size


def test_extended_backdrop_continues_the_old_one():
    """The old image stands in the middle, unchanged, and the new columns look like its border."""
    plain = decoded(render(request()).data)
    wide = decoded(render(request(aspect_ratio="16:9")).data)
    left = (284 - 160) // 2
    assert np.array_equal(wide[:, left : left + 160], plain)
    assert _close(wide[:, :left], np.broadcast_to(plain[:, :1], (160, left, 3)), 1.5)


def test_busy_image_is_cropped_to_the_ratio():
    """Where nothing plain can be extended, the middle is kept."""
    cloth = np.random.default_rng(1).integers(60, 200, (90, 160, 3), dtype=np.uint8)
    result = render(request(product=encoded(cloth), aspect_ratio="1:1"))
    assert (result.width, result.height) == (90, 90)


def test_large_images_come_back_with_2048_pixels_on_the_longer_side():
    """The ratio is kept."""
    large = np.full((1500, 3000, 3), 200, np.uint8)
    large[500:1000, 1000:2000] = (150, 60, 50)
    result = render(request(product=encoded(large, "jpeg")))
    assert (result.width, result.height) == (2048, 1024)


def test_exif_orientation_is_applied():
    """A camera held upright stores a lying image and a note."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored image must be turned a quarter to the right
    lying = np.rot90(product(120, 160), 1)
    result = render(request(product=encoded(np.ascontiguousarray(lying), exif=exif)))
    upright = render(request(product=encoded(product(120, 160))))
    assert (result.width, result.height) == (120, 160)
    assert np.array_equal(decoded(result.data), decoded(upright.data))


def _deep_grey():
    return Image.fromarray(product().mean(axis=2).astype(np.uint16) * 257)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("data", "share"),
    [
        pytest.param(
            lambda: encoded(Image.fromarray(product()).convert("CMYK"), "jpeg"), 0.195, id="cmyk-jpeg"
        ),
        pytest.param(lambda: encoded(product(320, 320), "jpeg", quality=50), 0.195, id="coarse-jpeg"),
        pytest.param(lambda: encoded(product(320, 320), "webp", quality=80), 0.195, id="webp"),
        pytest.param(lambda: encoded(Image.fromarray(product()).quantize(64)), 0.195, id="palette"),
        pytest.param(lambda: encoded(_deep_grey()), 0.195, id="16-bit-grey"),
        pytest.param(lambda: encoded(Image.fromarray(product()).convert("L")), 0.195, id="grey"),
        pytest.param(lambda: encoded(product(), "gif"), 0.195, id="gif"),
        pytest.param(lambda: encoded(product(), "tiff"), 0.195, id="tiff"),
        pytest.param(lambda: encoded(product(), "bmp"), 0.195, id="bmp"),
    ],
)
def test_every_input_mode_finds_the_same_object(data, share):
    """The ellipse covers pi/16 of the image."""
    result = render(request(product=data()))
    assert result.confidence == "high"
    assert result.mask_share == pytest.approx(share, rel=0.12)


def test_one_bit_image_is_rendered():
    """Black and white line art is an image too."""
    assert render(request(product=encoded(Image.fromarray(product()).convert("1")))).width == 160


def test_embedded_profile_is_converted_to_srgb():
    """A Lab-profiled input would be wrong by far if the profile were dropped; sRGB's own profile changes nothing."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = decoded(render(request(product=encoded(product(), icc_profile=profile))).data)
    assert _close(tagged, decoded(render(request()).data), 1.0)


def test_profile_that_does_not_fit_is_ignored():
    """A broken profile is no reason to fail an image."""
    result = render(request(product=encoded(product(), icc_profile=b"no profile at all")))
    assert result.data == render(request()).data


def _cut_out():
    alpha = np.where(object_mask(), 255, 0).astype(np.uint8)
    return np.dstack([product(), alpha])


def test_alpha_channel_is_the_mask_and_is_kept():
    """Transparency comes back as it was, in formats that know it."""
    result = render(request(product=encoded(_cut_out())))
    assert result.mask_share == pytest.approx(object_mask().mean(), abs=1e-6)
    assert np.array_equal(decoded(result.data)[..., 3], _cut_out()[..., 3])
    assert result.confidence == "high"


def test_transparent_image_is_laid_on_white_in_jpeg():
    """JPEG knows no transparency."""
    result = decoded(render(request(product=encoded(_cut_out()), image_format="jpeg")).data)
    assert result.shape == (160, 160, 3)
    assert result[:20].min() > 245


def test_soft_shadow_in_the_alpha_channel_keeps_its_colour():
    """Cut-outs often carry a half-transparent black shadow; it is not cloth."""
    image = _cut_out()
    image[140:150, 40:120] = (0, 0, 0, 60)
    result = decoded(render(request(product=encoded(image))).data)
    assert np.array_equal(result[140:150, 40:120], image[140:150, 40:120])


def test_opaque_alpha_channel_is_no_mask():
    """An alpha channel that is full everywhere says nothing."""
    opaque = np.dstack([product(), np.full((160, 160), 255, np.uint8)])
    assert render(request(product=encoded(opaque))).data == render(request()).data


def test_holes_of_a_swatch_are_filled():
    """A transparent swatch corner must not print black or white."""
    holed = np.dstack([np.full((48, 48, 3), (40, 120, 60)), np.full((48, 48), 255)]).astype(np.uint8)
    holed[:20, :20] = (255, 0, 255, 0)
    result = decoded(render(request(texture=encoded(holed))).data)[object_mask()]
    assert (result[..., 1].astype(int) > result[..., 0]).mean() > 0.98


def _png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + bytes(8)


@pytest.mark.parametrize(
    ("field", "name"),
    [("product", "product image"), ("texture", "texture image")],
    ids=["product", "texture"],
)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(lambda: b"", "cannot be decoded", id="empty"),
        pytest.param(lambda: b"<html>502</html>", "cannot be decoded", id="html"),
        pytest.param(lambda: encoded(swatch())[:60], "cannot be decoded", id="truncated-png"),
        pytest.param(lambda: encoded(product(), "jpeg")[:700], "cannot be decoded", id="truncated-jpeg"),
        pytest.param(lambda: _png_header(40_000, 40_000), "too large", id="bomb"),
        pytest.param(lambda: _png_header(9_000, 10_000), "too large", id="over-the-limit"),
    ],
)
def test_unusable_images_are_refused_by_name(field, name, data, reason):
    """The message says which image and why."""
    with pytest.raises(RenderError, match=f"^{name}: {reason}") as why:
        render(request(**{field: data()}))
    assert "BytesIO" not in str(why.value)


def _chunk(name, body, crc=None):
    check = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 1_400_000)), id="long text"),
        pytest.param(_chunk(b"iCCP", b"k\0\0" + zlib.compress(b"x" * 1_400_000)), id="long profile"),
        pytest.param(_chunk(b"tEXt", b"k\0v", crc=1), id="wrong checksum"),
        pytest.param(_chunk(b"iCCP", b"k\0\0" + zlib.compress(b"x"), crc=1), id="profile's wrong checksum"),
        pytest.param(_chunk(b"eXIf", b"garbage"), id="EXIF that is none"),
    ],
)
def test_what_is_around_the_pixels_of_a_png_says_nothing_about_them(chunk):
    data = encoded(product())
    odd = data[:33] + chunk + data[33:]
    assert render(request(product=odd)).data == render(request()).data


@pytest.mark.parametrize("image_format", ["ppm", "ico", "eps", "pcx"])
def test_formats_that_are_not_documented_are_never_opened(image_format, monkeypatch):
    data = encoded(swatch(), image_format)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was run"))
    with pytest.raises(RenderError, match="not an image of a known format"):
        render(request(product=data))


@pytest.mark.quick(2)
@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp", "gif", "tiff", "bmp"])
def test_damaged_files_raise_nothing_but_image_errors(image_format):
    """Flipped bytes either still decode or are refused, without a warning (which would be an error here)."""
    random = np.random.default_rng(5)
    whole = np.frombuffer(encoded(swatch(), image_format), np.uint8)
    for _ in range(25):
        damaged = whole.copy()
        damaged[random.integers(0, len(whole), 6)] = random.integers(0, 256, 6)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(io.BytesIO(damaged.tobytes())).load()
        except Exception:  # noqa: BLE001 - whatever Pillow raises, the engine must name it
            with pytest.raises(RenderError):
                render(request(texture=damaged.tobytes()))
        else:
            with contextlib.suppress(RenderError):  # the engine looks at more of the file, like its profile
                render(request(texture=damaged.tobytes()))


def test_odd_metadata_neither_fails_an_image_nor_says_a_word(capfd):
    """A cut EXIF block, and a palette whose transparency is a table: Pillow warns of such things."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01"
    assert render(request(texture=encoded(swatch(), "jpeg", exif=exif))).width == 160
    table = Image.fromarray(swatch()).quantize(8)
    assert render(request(texture=encoded(table, transparency=bytes([0, 255, 255])))).width == 160
    assert capfd.readouterr().err == ""
