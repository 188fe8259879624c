"""Pictures on disk: whole or not at all, never over something else, never outside the folder."""

import base64
import contextlib
import hashlib
import io
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batch.errors import FolderError
from batch.model import Picture, Target
from batch.results import keep
from batch.results.aside import Aside
from batch.results.keep import UnusablePicture, from_base64, keep_aside, look_at, read, write_whole

FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def encoded(image_format="png", colour="red", size=(6, 4)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, FORMATS.get(image_format, image_format))
    return buffer.getvalue()


NOISE = io.BytesIO()
Image.frombytes("RGB", (24, 24), random.Random(1).randbytes(24 * 24 * 3)).save(NOISE, "WEBP")
WHOLE = {image_format: encoded(image_format, size=(24, 24)) for image_format in FORMATS} | {
    "webp": NOISE.getvalue()
}


def picture(colour="red"):
    data = encoded(colour=colour)
    return Picture(data, 6, 4, hashlib.sha256(data).hexdigest())


def write(folder, target, picture):
    keep.write(folder, target, picture, Aside(folder))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# -- is it the picture that was asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_picture_of_the_asked_format_is_taken(image_format):
    data = encoded(image_format)
    assert Picture(data, 6, 4, hashlib.sha256(data).hexdigest()) == look_at(data, image_format)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "the picture is empty", id="empty"),
        pytest.param(b"<!doctype html><p>Not found", "it starts with '<!doctype html><'", id="HTML"),
        pytest.param(b'{"error": "x"}', "does not decode as a picture", id="JSON"),
        pytest.param(encoded("GIF"), "asked for webp, got GIF", id="another format"),
        pytest.param(encoded("png"), "asked for webp, got PNG", id="another format of ours"),
        pytest.param(WHOLE["webp"][: len(WHOLE["webp"]) // 2], "does not decode", id="truncated"),
        pytest.param(WHOLE["webp"][:12], "does not decode", id="a head alone"),
    ],
)
def test_what_is_not_the_asked_picture_is_unusable_and_says_why(data, told):
    with pytest.raises(UnusablePicture, match=told) as why:
        look_at(data, "webp")
    assert "BytesIO" not in str(why.value)


def test_a_picture_beyond_the_byte_limit_is_unusable(monkeypatch):
    monkeypatch.setattr(keep, "PICTURE_LIMIT", 1 << 20)
    with pytest.raises(UnusablePicture, match=r"over 1 MiB"):
        look_at(b"x" * ((1 << 20) + 1), "webp")


def test_a_picture_of_too_many_pixels_is_unusable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(UnusablePicture, match=r"exceeds limit"):
        look_at(encoded(), "png")


def test_a_machine_without_memory_says_nothing_about_a_paid_picture(monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(MemoryError):
        look_at(encoded(), "png")


@given(st.sampled_from(sorted(FORMATS)), st.integers(0), st.binary(min_size=1, max_size=8), st.integers(0))
def test_damaged_bytes_raise_nothing_but_unusable_picture(image_format, at, damage, cut):
    data = bytearray(WHOLE[image_format])
    start = at % len(data)
    data[start : start + len(damage)] = damage
    with contextlib.suppress(UnusablePicture):
        look_at(bytes(data[: len(data) - cut % 3 * (cut % len(data))]), image_format)


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"], ids=["bare", "data URL"])
def test_a_base64_result_is_read(head):
    assert from_base64(head + base64.b64encode(b"bytes").decode()) == b"bytes"


@pytest.mark.parametrize("text", ["%%%", "QUJ", "QUJD\u00e9", "data:image/png;base64"], ids=str)
def test_a_base64_result_that_is_none_is_unusable(text):
    with pytest.raises(UnusablePicture):
        look_at(from_base64(text), "png")


# -- on disk -----------------------------------------------------------------------------------------------------------


def test_a_picture_is_written_where_its_row_wants_it(tmp_path):
    write(tmp_path, Target("a", "sub/folder/a.png", None), picture())
    assert files(tmp_path) == ["images/sub/folder/a.png"]
    assert (tmp_path / "images/sub/folder/a.png").read_bytes() == picture().data


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_a_picture_is_what_the_umask_says(tmp_path, mask, mode):
    """As with any program's file; what holds prompts is its user's alone whatever it says."""
    before = os.umask(mask)
    try:
        write(tmp_path, Target("a", "a.png", None), picture())
        write_whole(tmp_path / "private", b"x", 0o600)
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("images/a.png", "private")]
    assert modes == [mode, 0o600]


def test_the_same_picture_again_changes_nothing(tmp_path):
    target = Target("a", "a.png", "a.png")
    write(tmp_path, target, picture())
    before = (tmp_path / "images/a.png").stat().st_ino
    write(tmp_path, target, picture())
    assert before == (tmp_path / "images/a.png").stat().st_ino
    assert files(tmp_path) == ["images/a.png"]


def test_what_stood_there_before_is_kept_each_time(tmp_path):
    target = Target("a", "sub/a.png", "sub/a.png")
    for colour in ("red", "green", "blue"):
        write(tmp_path, target, picture(colour))
        os.utime(tmp_path / "images/sub/a.png", (1_800_000_000, 1_800_000_000))
    assert files(tmp_path / "images") == [
        ".previous/sub/a.20270115T080000Z-1.png",
        ".previous/sub/a.20270115T080000Z.png",
        "sub/a.png",
    ]
    assert (tmp_path / "images/.previous/sub/a.20270115T080000Z.png").read_bytes() == picture("red").data
    assert (tmp_path / "images/.previous/sub/a.20270115T080000Z-1.png").read_bytes() == picture("green").data


def test_a_renamed_rows_old_picture_is_set_aside(tmp_path):
    write(tmp_path, Target("a", "old.png", None), picture("red"))
    write(tmp_path, Target("a", "new.png", "old.png", picture("red").sha256), picture("red"))
    assert [name.split(".")[0] for name in files(tmp_path / "images")] == ["", "new"]
    assert files(tmp_path / "images")[0].startswith(".previous/old.")


def test_a_renamed_rows_old_name_is_left_to_whom_it_belongs_now(tmp_path):
    """Two rows swapped their names, and the other one was quicker."""
    write(tmp_path, Target("b", "old.png", None), picture("blue"))
    write(tmp_path, Target("a", "new.png", "old.png", picture("red").sha256), picture("red"))
    assert files(tmp_path / "images") == ["new.png", "old.png"]


def test_a_write_that_fails_loses_no_old_picture_and_leaves_no_half_one(tmp_path, monkeypatch):
    target = Target("a", "a.png", "a.png")
    write(tmp_path, target, picture("red"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keep.os, "fsync", full)
    with pytest.raises(FolderError, match=r"a.png: cannot be written \(No space left on device\). Make room"):
        write(tmp_path, target, picture("blue"))
    (left,) = files(tmp_path)
    assert left.startswith("images/.previous/a.")
    assert (tmp_path / left).read_bytes() == picture("red").data


def test_the_file_is_on_disk_under_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    seen = []
    fsync = os.fsync

    def watched(descriptor):
        seen.append([path.suffix for path in tmp_path.iterdir()])
        fsync(descriptor)

    monkeypatch.setattr(keep.os, "fsync", watched)
    write_whole(tmp_path / "a.png", b"x" * 100_000)
    assert seen == [[".part"], [".png"]]  # the file before its rename, the folder after it


@pytest.mark.parametrize("link", ["images/out", "images"], ids=["a folder inside", "the way there"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, link):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (outside / "deep").mkdir(parents=True)
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "out").symlink_to(outside)
    target = "out/a.png" if link == "images/out" else "out/deep/a.png"
    with pytest.raises(FolderError, match=r"a link leads out of the output folder. Remove the link"):
        write(folder, Target("a", target, None), picture())
    assert files(outside) == []


def test_a_link_in_the_place_of_a_picture_is_moved_and_what_it_points_to_is_left(tmp_path):
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"precious")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").symlink_to(precious)
    write(tmp_path, Target("a", "a.png", None), picture())
    assert precious.read_bytes() == b"precious"
    assert not (tmp_path / "images/a.png").is_symlink()


def test_a_disk_that_refuses_is_a_folder_error_with_a_remedy(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/sub").write_text("a file where a folder should be")
    with pytest.raises(FolderError, match=r"Make room or mend it, then run again"):
        write(tmp_path, Target("a", "sub/a.png", None), picture())


def test_a_paid_picture_that_no_row_wants_is_kept_aside(tmp_path):
    keep_aside(tmp_path, "tb1-x.png", picture())
    keep_aside(tmp_path, "tb1-x.png", picture())
    assert files(tmp_path) == ["images/.previous/tb1-x.png"]


def test_a_saved_picture_is_read_back_only_while_it_is_the_one_that_was_saved(tmp_path):
    write(tmp_path, Target("a", "a.png", None), picture())
    assert read(tmp_path, "a.png", picture().sha256) == picture().data
    assert read(tmp_path, "a.png", picture("blue").sha256) is None
    assert read(tmp_path, "a.png", None) is None
    assert read(tmp_path, "gone.png", picture().sha256) is None
