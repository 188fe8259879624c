"""Images people have: HEIC and AVIF are read where Pillow can, and every other file is called by its name."""

from __future__ import annotations

import base64
import hashlib
import io

import pytest
from PIL import Image, TiffImagePlugin

from batch.core import imaging
from batch.manifest.input_images import ImageError, load_data_url
from batch.output.thumbnails import shrink

HEAD = "image_1,image_2,prompt\n"
ORIENTATION = 274
PROFILE = b"a profile"


def box(brand: bytes, *others: bytes) -> bytes:
    inside = brand + b"\0\0\0\0" + b"".join(others)
    return (len(inside) + 8).to_bytes(4, "big") + b"ftyp" + inside + b"\0" * 64


def raw_file(path, **tags) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag.removeprefix("t"))] = value
    Image.new("RGB", (160, 120)).save(path, "TIFF", tiffinfo=info)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (box(b"heic", b"mif1", b"heic"), "a HEIC photo, as iPhones take them. Install the extra 'texbatch[heic]', or"),
        (box(b"mif1", b"heix"), "a HEIC photo"),
        (box(b"avif", b"mif1"), "an AVIF image. Install Pillow 11.3 or later, or save it as JPEG or PNG."),
        (box(b"mif1", b"avif"), "an AVIF image."),
        (box(b"crx "), "a camera's raw file. Develop it, and save it as JPEG."),
        (box(b"qt  "), "a video."),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing. Export it as PNG."),
        (b"\xef\xbb\xbf<svg></svg>", "an SVG drawing."),
        (b"\n<!DOCTYPE html><html><svg></svg></html>", "an HTML page, not an image. Download the image itself"),
        (b"<note></note>", "an XML document, not an image."),
        (b"%PDF-1.7\n", "a PDF document. Export the page as PNG."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "an EPS or Illustrator drawing."),
        (b"8BPS\0\1", "a Photoshop document."),
        (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 10, "a camera's raw file."),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image."),
        (b"RIFF\0\0\0\0AVI LIST", "a video."),
        (b"PK\3\4", "a ZIP archive or an Office document."),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the image."),
        (b"\0\5\x16\7\0\2\0\0", "not an image but what macOS notes about one. Name the file without ._."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_called_by_its_name(read_csv, shop, monkeypatch, content, message):
    monkeypatch.setattr(imaging, "_can_read", lambda _plugin: False)
    (shop / "p.jpg").write_bytes(content)
    (error,) = read_csv(HEAD + "p.jpg,textures/oak.jpg,x\n").errors
    assert error.startswith(f"pairs.csv:2:image_1: p.jpg is {message}")


def test_a_raw_file_is_not_taken_for_its_preview(read_csv, shop):
    raw_file(shop / "p.dng", t50706=b"\1\4\0\0")
    raw_file(shop / "p.nef", t254=1, t330=8)
    raw_file(shop / "p.tif", t254=1)
    reading = read_csv(HEAD + "p.dng,p.nef,x\np.tif,textures/oak.jpg,y\n")
    assert [error.split(": ")[1].split(". ")[0] for error in reading.errors] == [
        "p.dng is a camera's raw file", "p.nef is a camera's raw file",
    ]  # fmt: skip
    assert len(reading.payloads) == 1


def sent(path) -> Image.Image:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    first, again = load_data_url(path, digest), load_data_url(path, digest)
    assert first == again
    head, _, data = first.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == f"data:image/{image.format.lower()};base64"
    return image


def save(image: Image.Image, path, **options) -> None:
    if not imaging._can_read({".heic": "HEIF", ".avif": "AVIF"}[path.suffix]):
        pytest.skip("this machine cannot read it")
    image.save(path, **options)


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_phone_photo_is_sent_upright_as_jpeg_with_its_colours_and_without_its_place(read_csv, shop, suffix):
    photo = Image.new("RGB", (64, 32), "white")
    photo.paste("red", (0, 0, 16, 32))  # at the left: on top when turned by a quarter
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(0x8825)[1] = "N"
    save(photo, shop / f"p.{suffix}", quality=95, exif=exif.tobytes(), icc_profile=PROFILE)
    payload = read_csv(HEAD + f"p.{suffix},textures/oak.jpg,x\n").only
    digest = hashlib.sha256((shop / f"p.{suffix}").read_bytes()).hexdigest()
    assert payload.parameters["image_1"] == f"sha256:{digest}"
    image = sent(shop / f"p.{suffix}")
    assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (32, 64), {})
    assert image.info["icc_profile"] == PROFILE
    assert image.getpixel((16, 4))[1] < 60 < 200 < image.getpixel((16, 60))[1]
    small = Image.open(io.BytesIO(shrink((shop / f"p.{suffix}").read_bytes())))
    assert small.size == (32, 64)


@pytest.mark.parametrize("suffix", ["heic", "avif"])
@pytest.mark.parametrize(("alpha", "sent_as"), [(120, "PNG"), (255, "JPEG")])
def test_what_is_transparent_stays_so(shop, suffix, alpha, sent_as):
    save(Image.new("RGBA", (64, 64), (200, 30, 30, alpha)), shop / f"p.{suffix}")
    image = sent(shop / f"p.{suffix}")
    assert image.format == sent_as
    if alpha < 255:
        assert abs(image.getpixel((9, 9))[3] - alpha) < 4


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_damaged_photo_is_refused(shop, suffix):
    path = shop / f"p.{suffix}"
    save(Image.effect_noise((64, 64), 90).convert("RGB"), path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ImageError, match=r"truncated or damaged|cannot be read|not an image"):
        load_data_url(path, hashlib.sha256(path.read_bytes()).hexdigest())
