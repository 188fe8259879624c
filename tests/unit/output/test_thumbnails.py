"""Thumbnails: made once, private, and what cannot be shown says why."""

import hashlib
import os
import stat

from PIL import Image

from batch.output import thumbnails


def test_a_file_name_cannot_become_a_url_with_a_scheme(folder):
    thumbs = thumbnails.Thumbnails(folder)
    thumbs.add(folder.path / "javascript:alert(1)?#&.png", "ab")
    assert thumbs.shown[0].href == "javascript%3Aalert%281%29%3F%23%26.png"


def test_thumbnails_are_made_once_a_content(book, folder, made, save, local):
    book.adopt(*(local(f"r{n}", prompt=str(n)) for n in range(3)))
    for n in range(3):
        save(f"r{n}")  # the same bytes under three names
    made()
    before = {path.name: path.stat().st_mtime_ns for path in folder.thumbs.iterdir()}
    assert len(before) == 3
    page = made()
    assert {path.name: path.stat().st_mtime_ns for path in folder.thumbs.iterdir()} == before
    assert {page.thumb(row, 2) for row in range(3)} <= set(before)
    with Image.open(folder.thumbs / page.thumb(0, 2)) as small:
        assert (small.format, max(small.size)) == ("WEBP", thumbnails.SIZE)


def test_an_empty_thumbnail_is_made_again(book, folder, made, local):
    """What a power cut leaves."""
    book.adopt(local("a"))
    name = made().thumb(0, 0)
    (folder.thumbs / name).write_bytes(b"")
    made()
    assert (folder.thumbs / name).stat().st_size


def test_images_that_cannot_be_shown_say_why(book, payload, image, tmp_path, made, save):
    gone, gone_content = image("gone.png", "red")
    changed, changed_content = image("changed.png", "pink")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    broken_content = "sha256:" + hashlib.sha256(b"no image").hexdigest()
    book.adopt(
        payload("a", image_1=gone_content, image_2=changed_content, files={gone_content: gone, changed_content: changed}),
        payload("b", image_1=broken_content, files={broken_content: broken}),
    )  # fmt: skip
    gone.unlink()
    Image.new("RGB", (9, 9)).save(changed)
    page = made()
    assert (page.note(0, 0), page.note(0, 1)) == (thumbnails.GONE, thumbnails.FILE_CHANGED)
    assert page.note(1, 0) == "the file does not decode as an image"
    assert page.thumb(1, 0) is None


def test_without_time_the_images_themselves_are_shown(book, made, local):
    """The end of an interrupted run does not wait for thumbnails; the next sheet makes them."""
    book.adopt(local("a"))
    page = made(within_s=0.0)
    assert (page.thumb(0, 0), page.note(0, 0), page.href(0, 0)) == (None, None, "products/my%20chair.png")
    assert made().thumb(0, 0) is not None


def test_thumbnails_stand_upright_and_keep_what_is_clear(tmp_path, save):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 20), "red").save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    for name, size, mode in (("turned.jpg", (20, 40), "RGB"), ("clear.png", (40, 20), "RGBA")):
        (tmp_path / "small.webp").write_bytes(thumbnails.shrink((tmp_path / name).read_bytes()))
        with Image.open(tmp_path / "small.webp") as small:
            assert (small.size, small.mode) == (size, mode)


def test_sheet_and_thumbnails_are_private(book, folder, made, local):
    book.adopt(local("a"))
    before = os.umask(0)
    try:
        made()
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (folder.sheet, folder.thumbs, *folder.thumbs.iterdir())
    ]
    assert modes == [0o600, 0o700, 0o600, 0o600]


def test_an_image_paid_twice_for_two_names_is_one(book, payload, image, made, save):
    """Two rows that want the same work share one job; each has its own file, both one thumbnail."""
    book.adopt(payload("a"), payload("b"))
    save("a")
    image("images/b.webp", "blue")
    book.keep("b")
    page = made()
    assert page.thumb(0, 2) == page.thumb(1, 2)
    assert page.href(0, 2) != page.href(1, 2)
