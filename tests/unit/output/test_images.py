"""Images on disk: whole or not at all, never over something else, never outside the folder."""

import base64
import contextlib
import hashlib
import io
import os
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batch.core.errors import FolderError
from batch.core.models import StoredImage, Target, Task
from batch.ledger.states import State
from batch.manifest.input_images import identify, load_data_url
from batch.output import images
from batch.output.files import LocalImageStore, atomic_write, read_verified
from batch.output.images import UnusableImage, decode_image, from_base64
from batch.output.previous import PreviousVersions
from batch.output.thumbnails import shrink

FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def encoded(image_format="png", colour="red", size=(6, 4)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, FORMATS.get(image_format, image_format))
    return buffer.getvalue()


def encoded_with(image_format, size=(6, 4), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, image_format, **options)
    return buffer.getvalue()


NOISE = io.BytesIO()
Image.frombytes("RGB", (24, 24), random.Random(1).randbytes(24 * 24 * 3)).save(NOISE, "WEBP")
WHOLE = {image_format: encoded(image_format, size=(24, 24)) for image_format in FORMATS} | {
    "webp": NOISE.getvalue()
}


def image(colour="red"):
    data = encoded(colour=colour)
    return StoredImage(data, 6, 4, hashlib.sha256(data).hexdigest())


def write(folder, target, image):
    targets = () if target is None else (target,)
    task = Task(
        1,
        "tb1-x",
        "a",
        State.COMPLETED,
        targets,
        (),
        {"image_format": "png"},
        {},
        None,
        None,
        None,
        None,
        None,
    )
    images.write_image(PreviousVersions(LocalImageStore(folder / "images")), task, image)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# -- is it the image that was asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_image_of_the_asked_format_is_taken(image_format):
    data = encoded(image_format)
    assert StoredImage(data, 6, 4, hashlib.sha256(data).hexdigest()) == decode_image(data, image_format)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "the image is empty", id="empty"),
        pytest.param(b"<!doctype html><p>Not found", "it starts with '<!doctype html><'", id="HTML"),
        pytest.param(b'{"error": "x"}', "does not decode as an image", id="JSON"),
        pytest.param(WHOLE["webp"][: len(WHOLE["webp"]) // 2], "does not decode", id="truncated"),
        pytest.param(WHOLE["webp"][:12], "does not decode", id="a head alone"),
    ],
)
def test_what_is_not_the_asked_image_is_unusable_and_says_why(data, reason):
    with pytest.raises(UnusableImage, match=reason) as why:
        decode_image(data, "webp")
    assert "BytesIO" not in str(why.value)


@pytest.mark.parametrize("asked", FORMATS)
@pytest.mark.parametrize("came", FORMATS)
def test_an_image_in_another_format_than_asked_is_good_and_says_which(asked, came):
    assert decode_image(encoded(came), asked).came_as == (None if came == asked else came)


def test_a_jpeg_of_several_images_is_a_jpeg():
    data = encoded_with("MPO", save_all=True, append_images=[Image.new("RGB", (6, 4))])
    assert decode_image(data, "jpeg").came_as is None


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_is_looked_at_in_its_first_image(image_format):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("blue", "green")]
    data = encoded_with(image_format, save_all=True, append_images=frames, duration=100)
    assert (decode_image(data, "webp").width, decode_image(data, "webp").data) == (6, data)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POSTSCRIPT, id="PostScript"),
        pytest.param(b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + b"\0" * 22 + POSTSCRIPT, id="DOS EPS"),
        pytest.param(b"%PDF-1.7\n", id="PDF"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", id="SVG"),
        *(pytest.param(encoded(name), id=name) for name in ("GIF", "TIFF", "PPM", "ICO", "BMP", "PCX", "JPEG2000")),
    ],
)  # fmt: skip
def test_nothing_but_the_three_formats_is_ever_opened(data, monkeypatch, tmp_path):
    ran = tmp_path / "ran"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {ran}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", str(ghostscript))
    for opens in (
        lambda: decode_image(data, "webp"),
        lambda: decode_image(from_base64(base64.b64encode(data).decode()), "png"),
    ):
        with pytest.raises(UnusableImage, match="of no known format"):
            opens()
    with contextlib.suppress(Exception):
        shrink(data)
    assert not ran.exists()


def test_a_jpeg_that_asks_for_hours_is_unusable():
    """A scan of a progressive JPEG passes over all its pixels and may be a few bytes long."""
    whole = encoded_with("JPEG", size=(2000, 2000), progressive=True)
    assert decode_image(whole, "jpeg").width == 2000
    start = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)
    scan = whole[start : whole.index(b"\xff", start + 14)]
    with pytest.raises(UnusableImage, match=r"a JPEG of 10\d\d scans: it would take hours"):
        decode_image(whole[:start] + scan * 1000 + whole[start:], "jpeg")


# What is around the pixels says nothing about them.


def chunk(name, body, crc=None):
    check = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


LONG = zlib.compress(b"x" * 1_400_000)
LONGEST = zlib.compress(b"x" * 20_000_000, 1)
ODD_CHUNKS = {
    "a text of 1.4 MB": chunk(b"zTXt", b"k\0\0" + LONG),
    "a text of 20 MB": chunk(b"zTXt", b"k\0\0" + LONGEST),
    "many texts": chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 1_000_000)) * 80,
    "an international text": chunk(b"iTXt", b"k\0\1\0\0\0" + LONG),
    "a colour profile": chunk(b"iCCP", b"k\0\0" + LONG),
    "a wrong checksum": chunk(b"tEXt", b"k\0v", crc=1),
    "EXIF that is none": chunk(b"eXIf", b"garbage"),
    "too short a gamma": chunk(b"gAMA", b"g"),
    "too short a transparency": chunk(b"tRNS", b"t"),
    "a wrong animation": chunk(b"acTL", b"x"),
}
ODD_SEGMENTS = {
    "EXIF that is none": segment(0xE1, b"Exif\0\0garbage"),
    "13 MB of profile": segment(0xE2, b"ICC_PROFILE\0\x01\xc8" + b"x" * 65_000) * 200,
    "a wrong index of images": segment(0xE2, b"MPF\0garbage"),
    "long comments": segment(0xFE, b"x" * 65_000) * 20,
}


def in_a_png(odd, *, behind):
    data = encoded("png")
    at = len(data) - 12 if behind else 8 + 25  # before IEND, or after IHDR
    return data[:at] + odd + data[at:]


ODD = {
    **{f"PNG, {name}": in_a_png(odd, behind=False) for name, odd in ODD_CHUNKS.items()},
    **{f"PNG, {name} behind": in_a_png(odd, behind=True) for name, odd in ODD_CHUNKS.items()},
    "PNG, cut behind its pixels": encoded("png")[:-12] + ODD_CHUNKS["a text of 1.4 MB"][:-20],
    "PNG, more behind its end": encoded("png") + b"more",
    **{f"JPEG, {name}": encoded("jpeg")[:2] + odd + encoded("jpeg")[2:] for name, odd in ODD_SEGMENTS.items()},
    "JPEG, more behind its end": encoded("jpeg") + b"more" * 10_000,
    "WebP, more behind its end": encoded("webp") + b"more",
}  # fmt: skip


@pytest.mark.quick(1)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as batch.core.imaging sets it, once for a process
@pytest.mark.parametrize("odd", ODD)
def test_what_is_around_the_pixels_says_nothing_about_them(odd, tmp_path):
    """As a paid result, as an input in a plan, and as the input that is sent."""
    data = ODD[odd]
    assert (decode_image(data, "webp").width, decode_image(data, "webp").data) == (6, data)
    path = tmp_path / "input"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert identify(file, path).size == (6, 4)
    assert load_data_url(path, hashlib.sha256(data).hexdigest()).endswith(base64.b64encode(data).decode())
    if "transparency" not in odd:
        assert shrink(data)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 1 << 20])
def test_a_png_that_names_a_length_it_has_not_is_read_as_far_as_it_goes(size):
    data = encoded("png")
    with pytest.raises(UnusableImage):
        decode_image(data[:33] + struct.pack(">I", size) + b"tEXt" + data[33:], "png")


def test_an_image_beyond_the_byte_limit_is_unusable(monkeypatch):
    monkeypatch.setattr(images, "IMAGE_LIMIT", 1 << 20)
    with pytest.raises(UnusableImage, match=r"over 1 MiB"):
        decode_image(b"x" * ((1 << 20) + 1), "webp")


def test_an_image_of_too_many_pixels_is_unusable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(UnusableImage, match=r"exceeds limit"):
        decode_image(encoded(), "png")


def test_a_machine_without_memory_says_nothing_about_a_paid_image(monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(MemoryError):
        decode_image(encoded(), "png")


@settings(deadline=None)  # other tests may have the machine
@given(st.sampled_from(sorted(FORMATS)), st.integers(0), st.binary(min_size=1, max_size=8), st.integers(0))
def test_damaged_bytes_raise_nothing_but_unusable_image(image_format, at, damage, cut):
    data = bytearray(WHOLE[image_format])
    start = at % len(data)
    data[start : start + len(damage)] = damage
    with contextlib.suppress(UnusableImage):
        decode_image(bytes(data[: len(data) - cut % 3 * (cut % len(data))]), image_format)


BYTES = bytes(range(256)) * 3 + b"?"
TEXT = base64.b64encode(BYTES).decode()
LINES = [TEXT[at : at + 76] for at in range(0, len(TEXT), 76)]


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:image/png;base64,", "\n "], ids=repr)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="as it is"),
        pytest.param("\n".join(LINES), id="lines"),
        pytest.param("\r\n".join(LINES) + "\r\n", id="lines of CR LF"),
        pytest.param(" \t".join(LINES), id="blanks"),
        pytest.param(TEXT.rstrip("="), id="no padding"),
        pytest.param(base64.urlsafe_b64encode(BYTES).decode(), id="URL-safe"),
        pytest.param(base64.urlsafe_b64encode(BYTES).decode().rstrip("="), id="URL-safe, no padding"),
    ],
)
def test_a_base64_result_is_read(head, text):
    assert from_base64(head + text) == BYTES


@pytest.mark.parametrize(
    "text", ["%%%", "QUJ", "Q", "QUJD\u00e9", "data:image/png;base64", "QUJD*", "", "null"], ids=str
)
def test_a_base64_result_that_is_none_is_unusable(text):
    with pytest.raises(UnusableImage):
        decode_image(from_base64(text), "png")


# -- on disk -----------------------------------------------------------------------------------------------------------


def test_an_image_is_written_where_its_row_wants_it(tmp_path):
    write(tmp_path, Target("a", "sub/folder/a.png", None), image())
    assert files(tmp_path) == ["images/sub/folder/a.png"]
    assert (tmp_path / "images/sub/folder/a.png").read_bytes() == image().data


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_an_image_is_what_the_umask_says(tmp_path, mask, mode):
    """As with any program's file; what holds prompts is its user's alone whatever it says."""
    before = os.umask(mask)
    try:
        write(tmp_path, Target("a", "a.png", None), image())
        atomic_write(tmp_path / "private", b"x", 0o600)
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("images/a.png", "private")]
    assert modes == [mode, 0o600]


def test_the_same_image_again_changes_nothing(tmp_path):
    target = Target("a", "a.png", "a.png")
    write(tmp_path, target, image())
    before = (tmp_path / "images/a.png").stat().st_ino
    write(tmp_path, target, image())
    assert before == (tmp_path / "images/a.png").stat().st_ino
    assert files(tmp_path) == ["images/a.png"]


def test_what_stood_there_before_is_kept_each_time(tmp_path):
    target = Target("a", "sub/a.png", "sub/a.png")
    for colour in ("red", "green", "blue"):
        write(tmp_path, target, image(colour))
        os.utime(tmp_path / "images/sub/a.png", (1_800_000_000, 1_800_000_000))
    assert files(tmp_path / "images") == [
        ".previous/sub/a.20270115T080000Z-1.png",
        ".previous/sub/a.20270115T080000Z.png",
        "sub/a.png",
    ]
    assert (tmp_path / "images/.previous/sub/a.20270115T080000Z.png").read_bytes() == image("red").data
    assert (tmp_path / "images/.previous/sub/a.20270115T080000Z-1.png").read_bytes() == image("green").data


def test_a_renamed_rows_old_image_is_set_aside(tmp_path):
    write(tmp_path, Target("a", "old.png", None), image("red"))
    write(tmp_path, Target("a", "new.png", "old.png", image("red").sha256), image("red"))
    assert [name.split(".")[0] for name in files(tmp_path / "images")] == ["", "new"]
    assert files(tmp_path / "images")[0].startswith(".previous/old.")


def test_a_renamed_rows_old_name_is_left_to_whom_it_belongs_now(tmp_path):
    """Two rows swapped their names, and the other one was quicker."""
    write(tmp_path, Target("b", "old.png", None), image("blue"))
    write(tmp_path, Target("a", "new.png", "old.png", image("red").sha256), image("red"))
    assert files(tmp_path / "images") == ["new.png", "old.png"]


def test_a_write_that_fails_loses_no_old_image_and_leaves_no_half_one(tmp_path, monkeypatch):
    target = Target("a", "a.png", "a.png")
    write(tmp_path, target, image("red"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match=r"a.png: cannot be written \(No space left on device\). Make room"):
        write(tmp_path, target, image("blue"))
    (left,) = files(tmp_path)
    assert left.startswith("images/.previous/a.")
    assert (tmp_path / left).read_bytes() == image("red").data


def test_the_file_is_on_disk_under_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    seen = []
    fsync = os.fsync

    def watched(descriptor):
        seen.append([path.suffix for path in tmp_path.iterdir()])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    atomic_write(tmp_path / "a.png", b"x" * 100_000)
    assert seen == [[".part"], [".png"]]  # the file before its rename, the folder after it


@pytest.mark.parametrize("link", ["images/out", "images"], ids=["a folder inside", "the way there"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, link):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (outside / "deep").mkdir(parents=True)
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "out").symlink_to(outside)
    target = "out/a.png" if link == "images/out" else "out/deep/a.png"
    with pytest.raises(FolderError, match=r"a link leads out of the output folder. Remove the link"):
        write(folder, Target("a", target, None), image())
    assert files(outside) == []


def test_a_link_in_the_place_of_an_image_is_moved_and_what_it_points_to_is_left(tmp_path):
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"precious")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").symlink_to(precious)
    write(tmp_path, Target("a", "a.png", None), image())
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "images/a.png").is_symlink()


def test_a_disk_that_refuses_is_a_folder_error_with_a_remedy(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/sub").write_text("a file where a folder should be")
    with pytest.raises(FolderError, match=r"Make room or fix it, then run again"):
        write(tmp_path, Target("a", "sub/a.png", None), image())


def test_a_paid_image_that_no_row_wants_is_kept_aside(tmp_path):
    for _ in range(2):
        write(tmp_path, None, image())
    assert files(tmp_path) == ["images/.previous/tb1-x.png"]


def test_a_saved_image_is_read_back_only_while_it_is_the_one_that_was_saved(tmp_path):
    write(tmp_path, Target("a", "a.png", None), image())
    assert read_verified(tmp_path / "images" / "a.png", image().sha256) == image().data
    assert read_verified(tmp_path / "images" / "a.png", image("blue").sha256) is None
    assert read_verified(tmp_path / "images" / "a.png", None) is None
    assert read_verified(tmp_path / "images" / "gone.png", image().sha256) is None
