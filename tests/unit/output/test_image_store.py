"""What every image store does, whatever it keeps its images in, and what the local one does beyond that.

A new store adds its factory to STORES and passes the first part unchanged.
"""

import os
import time
from pathlib import Path

import pytest

from batch.core.errors import FolderError
from batch.output import files
from batch.output.files import PREVIOUS, ImageListing, LocalImageStore, StoreEntry

STORES = {"local": lambda tmp_path: LocalImageStore(tmp_path / "images")}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    return STORES[request.param](tmp_path)


def names(entries):
    return sorted(entry.name for entry in entries if entry.is_file)


# -- every store ---------------------------------------------------------------------------------------------------------


def test_an_empty_store_has_nothing(store):
    assert store.exists("a.png") is None
    assert store.read("a.png") is None
    assert store.archive("a.png") is None
    assert list(store.list()) == []
    store.delete("a.png")


@pytest.mark.parametrize("name", ["a.png", "sub/folder/a.png", "ümläut ✓ [x]*?.png", ".previous/a.png"])
def test_what_is_written_is_read_and_listed(store, name):
    store.write(name, b"red")
    assert (store.read(name), names(store.list())) == (b"red", [name])


def test_existence_is_the_size_and_a_time_in_nanoseconds(store):
    store.write("a.png", b"red")
    size, mtime_ns = store.exists("a.png")
    assert size == 3
    assert abs(time.time_ns() - mtime_ns) < 60e9


def test_writing_again_replaces(store):
    store.write("a.png", b"red")
    store.write("a.png", b"blue")
    assert (store.read("a.png"), names(store.list())) == (b"blue", ["a.png"])


def test_a_name_below_a_file_cannot_be_written(store):
    store.write("a", b"red")
    with pytest.raises(FolderError, match=r"a/b.png: cannot be written .*, then run again"):
        store.write("a/b.png", b"blue")
    assert (store.read("a"), store.read("a/b.png"), store.exists("a/b.png")) == (b"red", None, None)


def test_an_archived_image_has_a_name_of_its_own_each_time(store):
    archived = []
    for data in (b"red", b"green", b"blue"):
        store.write("sub/a.png", data)
        archived.append(store.archive("sub/a.png"))
    assert store.exists("sub/a.png") is None
    assert [store.read(name) for name in archived] == [b"red", b"green", b"blue"]
    assert names(store.list()) == sorted(archived)
    for name in archived:
        stem, stamp, suffix = name.removeprefix(f"{PREVIOUS}/sub/").split(".")
        assert (stem, suffix) == ("a", "png")
        time.strptime(stamp.partition("-")[0], "%Y%m%dT%H%M%SZ")


def test_a_listing_is_of_a_prefix_and_may_skip_a_folder(store):
    for name in (
        "a.png",
        "sub/a.png",
        "sub/ab.png",
        "sub/deep/a.png",
        ".previous/a.x.png",
        ".previous/sub/a.y.png",
    ):
        store.write(name, b"x")
    assert names(store.list("sub/")) == ["sub/a.png", "sub/ab.png", "sub/deep/a.png"]
    assert names(store.list("sub/a")) == ["sub/a.png", "sub/ab.png"]
    assert names(store.list(f"{PREVIOUS}/sub/a.")) == [".previous/sub/a.y.png"]
    assert names(store.list("none/a.")) == []
    assert names(store.list(skip=PREVIOUS)) == ["a.png", "sub/a.png", "sub/ab.png", "sub/deep/a.png"]


def test_deleting_removes_one_name(store):
    for name in ("a.png", "b.png"):
        store.write(name, b"x")
    store.delete("a.png")
    store.delete("a.png")
    assert names(store.list()) == ["b.png"]


def test_a_file_larger_than_any_image_is_not_read(store, monkeypatch):
    store.write("a.png", b"red")
    monkeypatch.setattr(files, "IMAGE_LIMIT", 2)
    assert store.read("a.png") is None
    assert store.exists("a.png")[0] == 3


def test_pages_hold_every_name_once(store, monkeypatch):
    monkeypatch.setattr(files, "FILES_A_PAGE", 2)
    for number in range(5):
        store.write(f"{number}.png", b"x")
    store.write(".texbatch-0123456789abcdef.part", b"half")
    checks = []
    listing = ImageListing(store.list(), lambda: checks.append(1))
    pages = list(listing.pages())
    assert sorted(name for files, _ in pages for name in files) == [f"{number}.png" for number in range(5)]
    assert [len(files) for files, _ in pages] == [2, 2, 1]
    assert (len(checks), listing.has_symlinks) == (2, False)
    assert listing.partial_files == [".texbatch-0123456789abcdef.part"]


# -- the local one -------------------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path):
    (tmp_path / "images").mkdir()
    return LocalImageStore(tmp_path / "images")


def test_links_are_listed_and_not_followed(local, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").write_bytes(b"x")
    (local.folder / "folder").symlink_to(tmp_path / "elsewhere")
    (local.folder / "file.png").symlink_to(tmp_path / "elsewhere/a.png")
    listing = ImageListing(local.list())
    [(files, others)] = listing.pages()
    assert (files, sorted(others), listing.has_symlinks) == ([], ["file.png", "folder"], True)


def test_a_link_that_leads_nowhere_takes_its_name(local):
    (local.folder / "a.png").symlink_to("nowhere.png")
    assert local.exists("a.png") is not None
    assert (local.folder / local.archive("a.png")).is_symlink()


def test_nothing_is_archived_from_behind_a_link_that_leads_out(local, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.png").write_bytes(b"precious")
    (local.folder / "out").symlink_to(tmp_path / "outside")
    assert local.archive("out/a.png") is None
    assert (tmp_path / "outside/a.png").read_bytes() == b"precious"


def test_a_name_that_is_not_unicode_is_left_out(local):
    (local.folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    local.write("a.png", b"x")
    assert list(local.list()) == [StoreEntry("a.png", is_file=True)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(local):
    (local.folder / "sub").mkdir(mode=0)
    with pytest.raises(FolderError, match=r"sub.*: cannot be read \(Permission denied\)\. Make it readable"):
        list(local.list())


def test_a_file_that_cannot_be_moved_is_named(local, monkeypatch):
    local.write("a.png", b"x")

    def refuse(path, target):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(
        FolderError, match=r"a.png: cannot be moved \(Read-only file system\)\. Make it writable"
    ):
        local.archive("a.png")
