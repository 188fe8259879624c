"""Pictures: looked at once, refused with what to do; read and decoded whole before an upload."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batch.manifest import input_images
from batch.manifest.input_images import ImageError, load_data_url

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "image_1,image_2,prompt\n"


class Memory:
    """An InputImageCache that counts."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int, int], str] = {}
        self.asked = 0

    def hash_of(self, path, status):
        self.asked += 1
        return self.known.get((path, status.st_size, status.st_mtime_ns))

    def remember_hash(self, path, status, sha256):
        self.known[path, status.st_size, status.st_mtime_ns] = sha256


@pytest.mark.parametrize("suffix", ["jpg", "jfif", "png", "webp", "gif", "bmp", "tiff"])
def test_every_usual_format_is_taken(read_csv, shop, suffix):
    Image.new("RGB", (3, 2)).save(shop / f"p.{suffix}")
    payload = read_csv(HEAD + f"p.{suffix},textures/oak.jpg,x\n").only
    digest = hashlib.sha256((shop / f"p.{suffix}").read_bytes()).hexdigest()
    assert f"sha256:{digest}" == payload.parameters["image_1"]
    head, _, data = load_data_url(shop / f"p.{suffix}", digest).partition(",")
    kind = {"jpg": "jpeg", "jfif": "jpeg"}.get(suffix, suffix)
    assert head == f"data:image/{kind};base64"
    assert base64.b64decode(data) == (shop / f"p.{suffix}").read_bytes()


def test_a_multi_picture_jpeg_is_a_jpeg(shop):
    frame = Image.new("RGB", (4, 4))
    frame.save(shop / "p.jpg", "MPO", save_all=True, append_images=[frame])
    digest = hashlib.sha256((shop / "p.jpg").read_bytes()).hexdigest()
    assert load_data_url(shop / "p.jpg", digest).startswith("data:image/jpeg;base64,")


def test_absolute_paths_and_links_work_and_keep_their_names(read_csv, shop):
    (shop / "stool.jpg").symlink_to(shop / "products/chair.jpg")
    payload = read_csv(HEAD + f"{shop}/stool.jpg,textures/../textures/oak.jpg,x\n").only
    assert [shop / "stool.jpg", shop / "textures/oak.jpg"] == list(payload.files.values())


def test_a_file_that_differs_in_its_unicode_form_alone_is_not_suggested_as_itself(read_csv, shop):
    """As files from a Mac do; the names look the same."""
    (shop / "products/chair.jpg").rename(shop / "products/caf\u0065\u0301.jpg")
    (error,) = read_csv(HEAD + "products/caf\u00e9.jpg,textures/oak.jpg,x\n").errors
    assert "its accents written in another Unicode form: rename it, or copy its name" in error


ZERO = "ZERO WIDTH SPACE, U+200B"
START = "it starts at the manifest's folder."


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("products/chiar.jpg", "products/chiar.jpg does not exist. Did you mean chair.jpg?"),
        ("products/Chair.JPG", "products/Chair.JPG does not exist. Did you mean chair.jpg?"),
        ("products/xyz", f"products/xyz does not exist. Check the path; {START}"),
        ("product/chair.jpg", "product/chair.jpg does not exist. There is no folder product; paths start at"),
        (
            "products\\chair.jpg",
            "products\\chair.jpg does not exist. Write folders with a forward slash (/).",
        ),
        ("~/chair.jpg", "~/chair.jpg does not exist. ~ is not expanded: write the path out."),
        ("products", "products is a folder. Name the file inside it."),
        ("products/chair.jpg/x", "products/chair.jpg/x cannot be read (Not a directory). Check the path"),
        ("x" * 300, f"{'x' * 300} cannot be read (File name too long). Check the path"),
        ("empty.jpg", "empty.jpg is an empty file. Save the image again."),
        (
            "words.jpg",
            "words.jpg is not an image that can be read. Save it as one of JPEG, PNG, WEBP, GIF, BMP, TIFF.",
        ),
        ("picture.ico", "picture.ico is an icon (ICO). Save it as JPEG or PNG."),
        ("cut.png", "cut.png is not an image that can be read."),
        ("pipe.jpg", "pipe.jpg is not a regular file. Copy the image into a file."),
        ("file:///a.jpg", "file:// addresses cannot be used. Give an http(s) URL, or the path of a file."),
        ("s3://bucket/a.jpg", "s3:// addresses cannot be used."),
        ("data:image/png;base64,AAAA", "data: addresses cannot be used."),
        ("https:///a.jpg", "the URL has no host or holds a blank."),
        ("http:a.jpg", "the URL has no host or holds a blank."),
        ("https://h/a b.jpg", "the URL has no host or holds a blank."),
        ("https://h:99999/a.jpg", "https://h:99999/a.jpg is not a valid URL."),
        ("https://[h/a.jpg", "https://[h/a.jpg is not a valid URL."),
        ("https://h.com/a.jpg, https://h.com/b.jpg", "several URLs in one cell. Keep one;"),
        ("https://h.com/a.jpg|https://h.com/b.jpg", "several URLs in one cell."),
        ("https://h.com/a.jpg\nhttps://h.com/b.jpg", "several URLs in one cell."),
        (
            "https://h.com/a.jpg\u200b",
            f"the URL holds an invisible character ({ZERO} at its end). Remove it.",
        ),
        (
            "products/chair.jpg\u200b",
            f"does not exist. The path holds an invisible character ({ZERO} at its end)",
        ),
        (
            "products/chair\u00a01.jpg",
            "does not exist. The path holds an invisible character (NO-BREAK SPACE, U+00A0)",
        ),
        (
            "//cdn.shop.com/a.jpg",
            "does not exist. If it is a URL, write https: before it: https://cdn.shop.com/a.jpg",
        ),
        (
            "www.shop.eu/a.jpg",
            "does not exist. If it is a URL, https:// is missing: write https://www.shop.eu/a.jpg",
        ),
        (
            "shop.com/a.jpg",
            "does not exist. If it is a URL, https:// is missing: write https://shop.com/a.jpg",
        ),
        (
            "C:\\Users\\me\\a.jpg",
            "does not exist. It is a Windows path: write where the file is on this machine",
        ),
        ("\\\\nas\\a.jpg", "does not exist. It is the path of a Windows share"),
        ("products/gone.jpg", f"does not exist. Check the path; {START}"),
    ],
)
def test_a_picture_that_cannot_be_used(read_csv, shop, written, message):
    (shop / "empty.jpg").touch()
    (shop / "words.jpg").write_text("no picture")
    Image.new("RGB", (16, 16)).save(shop / "picture.ico")
    (shop / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    os.mkfifo(shop / "pipe.jpg")
    (error,) = read_csv(HEAD + f'"{written}",textures/oak.jpg,x\n').errors
    if message.startswith("does not exist."):
        message = f"{written} {message}"
    assert error.startswith(f"pairs.csv:2:image_1: {message}")


def test_urls_that_hold_another_url_are_one(read_csv):
    for url in (
        "https://h.com/fetch/w_2,h_3/https://g.com/a.jpg",
        "https://h.com/?of=https://g.com/a,https://g.com/b",
    ):
        assert read_csv(HEAD + f'"{url}",textures/oak.jpg,x\n').only.parameters["image_1"] == url


def test_a_windows_path_whose_file_is_on_this_machine_is_shown_there(read_csv, monkeypatch):
    real = input_images.Path.exists
    monkeypatch.setattr(
        input_images.Path, "exists", lambda path: str(path).startswith("/mnt/c") or real(path)
    )
    (error,) = read_csv(HEAD + "C:\\shop\\a.jpg,textures/oak.jpg,x\n").errors
    assert error.endswith("It is a Windows path: on this machine it is /mnt/c/shop/a.jpg.")


def test_limits_of_pixels_and_bytes(read_csv, shop, monkeypatch):
    Image.new("L", (3000, 1000)).save(shop / "wide.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000_000)
    (error,) = read_csv(HEAD + "wide.png,textures/oak.jpg,x\n").errors
    assert error == "pairs.csv:2:image_1: wide.png has more than 2 million pixels. Scale it down."
    digest = hashlib.sha256((shop / "wide.png").read_bytes()).hexdigest()
    with pytest.raises(ImageError, match=r"more than 2 million pixels\. Scale it down"):
        load_data_url(shop / "wide.png", digest)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # three times the limit: Pillow's own error
    (error,) = read_csv(HEAD + "wide.png,textures/oak.jpg,x\n").errors
    assert "has more than 1 million pixels" in error


def test_a_file_above_64_mib_is_refused_without_being_read(read_csv, shop):
    with (shop / "huge.jpg").open("wb") as file:
        file.truncate(input_images.MAX_IMAGE_BYTES + 1)
    (error,) = read_csv(HEAD + "huge.jpg,textures/oak.jpg,x\n").errors
    assert error == "pairs.csv:2:image_1: huge.jpg is larger than 64 MiB. Save it smaller or as JPEG."
    with pytest.raises(ImageError, match="larger than 64 MiB"):
        load_data_url(shop / "huge.jpg", "")


def test_an_unreadable_file_says_so(read_csv, shop, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(input_images.Path, "open", refuse)
    found = input_images.InputImages(shop, None).find("products/chair.jpg")
    assert found.reason == "products/chair.jpg cannot be read (Permission denied)."
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\). Check its permissions"):
        load_data_url(shop / "products/chair.jpg", "")


def test_a_password_in_a_url_is_warned_of_once_a_host_and_not_repeated(read_csv):
    row = "https://me:secret@h/a.jpg,https://h/b.jpg,x\n"
    reading = read_csv(HEAD + row + row + row.replace("@h", "@other"))
    assert len(reading.payloads) == 3
    assert [warning.split("a URL on ")[1].split()[0] for warning in reading.warnings] == ["h", "other"]
    assert (
        "pairs.csv:2:image_1: warning: a URL on h carries a user name or password. The service"
        in reading.warnings[0]
    )
    assert not any("secret" in warning for warning in reading.warnings)


def test_a_missing_picture_is_looked_for_once(read_csv, monkeypatch):
    searched = []
    monkeypatch.setattr(input_images, "closest", lambda word, _known: searched.append(word))
    reading = read_csv(HEAD + "gone.jpg,textures/oak.jpg,x\n" * 500)
    assert (len(reading.errors), searched) == (500, ["gone.jpg"])


def test_suggestions_end_after_the_first_few_missing_pictures(read_csv):
    errors = read_csv(HEAD + "".join(f"products/chair{n}.jpg,textures/oak.jpg,x\n" for n in range(50))).errors
    assert sum("Did you mean chair.jpg?" in error for error in errors) == 20
    assert errors[-1].endswith(f"products/chair49.jpg does not exist. Check the path; {START}")


def test_file_facts_are_remembered_and_forgotten_when_the_file_changes(read_csv, shop):
    memory = Memory()
    text = HEAD + "products/chair.jpg,textures/oak.jpg,x\n" * 3
    first = read_csv(text, seen=memory).payloads[0]
    assert (len(memory.known), memory.asked) == (2, 2)
    chair = os.path.realpath(shop / "products/chair.jpg")
    status = (shop / "products/chair.jpg").stat()
    assert first.parameters["image_1"] == "sha256:" + memory.known[chair, status.st_size, status.st_mtime_ns]
    memory.known = dict.fromkeys(memory.known, "f" * 64)
    assert read_csv(text, seen=memory).payloads[0].parameters["image_1"] == "sha256:" + "f" * 64
    os.utime(chair, ns=(1, 1))
    assert first.parameters["image_1"] == read_csv(text, seen=memory).payloads[0].parameters["image_1"]


def test_what_is_no_picture_is_never_remembered(read_csv, shop):
    (shop / "words.jpg").write_text("no picture")
    memory = Memory()
    read_csv(HEAD + "words.jpg,textures/oak.jpg,x\n", seen=memory)
    assert [path.rpartition("/")[2] for path, _, _ in memory.known] == ["oak.jpg"]


def damaged(path: Path) -> str:
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.webp", "cut.tiff", "cut.bmp"])
def test_a_truncated_picture_does_not_load(shop, name):
    digest = damaged(shop / name)
    with pytest.raises(ImageError, match=r"(does not decode|not an image that can be read).*Save"):
        load_data_url(shop / name, digest)


def test_a_picture_that_changed_or_vanished_does_not_load(shop):
    path = shop / "products/chair.jpg"
    with pytest.raises(ImageError, match=r"has changed since it was planned. Restore it, or run again"):
        load_data_url(path, "0" * 64)
    path.unlink()
    with pytest.raises(ImageError, match=r"is gone since it was planned. Restore it, or run again"):
        load_data_url(path, "0" * 64)
