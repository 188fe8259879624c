"""Images that were in another's way: moved, never lost, and found by what they are."""

import hashlib
import threading
from pathlib import Path

import pytest

from batch.output import files
from batch.output.files import LocalImageStore
from batch.output.previous import PreviousVersions

RED, BLUE = b"red", b"blue"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def images(tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    return place


@pytest.fixture
def previous(tmp_path, images):
    return PreviousVersions(LocalImageStore(images))


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_earlier_versions_are_found_by_name_newest_first(tmp_path, images, previous):
    for name in (
        "a.20260301T000000Z.png",
        "a.20260302T000000Z-1.png",
        "a.20260302T000000Z.webp",
        "ab.20260301T000000Z.png",
    ):
        for folder in ("", "sub/[x]/"):
            put(images / ".previous" / folder / name, b"x")
    assert previous.versions_of(["a.png"]) == [
        ".previous/a.20260302T000000Z-1.png",
        ".previous/a.20260301T000000Z.png",
    ]
    assert previous.versions_of(["sub/[x]/a.webp", "none.png"]) == [
        ".previous/sub/[x]/a.20260302T000000Z.webp"
    ]
    assert PreviousVersions(LocalImageStore(tmp_path / "new")).versions_of(["a.png"]) == []


def test_a_version_that_came_back_is_forgotten_and_found_where_it_lies_now(images, previous):
    name = ".previous/a.20260301T000000Z.png"
    put(images / name, RED)
    previous.index([])
    put(images / "b.png", RED)
    for _ in range(2):
        previous.forget(name, sha256(RED), lies_at="b.png")
    assert (previous.versions_of(["a.png"]), previous.find_by_hash(sha256(RED))) == ([], ("b.png", RED))


def test_a_place_is_cleared_but_of_the_image_it_is_for(images, previous):
    path = put(images / "a.png", RED)
    assert not previous.archive_if_different(path.name, sha256(RED))
    assert path.read_bytes() == RED
    assert previous.archive_if_different(path.name, sha256(BLUE))
    (name,) = previous.versions_of(["a.png"])
    assert (path.exists(), (images / name).read_bytes()) == (False, RED)
    assert previous.archive_if_different(path.name, sha256(RED))  # nothing lies there any more
    assert len(previous.versions_of(["a.png"])) == 1


def test_a_row_takes_away_its_own_image_only(images, previous):
    path = put(images / "a.png", RED)
    previous.archive(path.name, sha256(BLUE))
    previous.archive(path.name, None)
    previous.archive("none.png", None)
    assert path.read_bytes() == RED
    previous.archive(path.name, sha256(RED))
    assert not path.exists()


def test_an_image_is_found_by_what_it_is(images, previous):
    """Set aside by an earlier run under another row's name, in a folder of its own, or nobody's in images/ itself."""
    put(images / ".previous/sub/other.20260301T000000Z.png", RED)
    put(images / "stranger.png", BLUE)
    (images / "folder").mkdir()
    previous.index(["stranger.png", "folder", "gone.png"])
    assert previous.find_by_hash(sha256(RED)) == (".previous/sub/other.20260301T000000Z.png", RED)
    assert previous.find_by_hash(sha256(BLUE)) == ("stranger.png", BLUE)
    assert previous.find_by_hash(sha256(b"green")) is None


def test_what_is_moved_after_the_search_is_found_without_another(images, previous, monkeypatch):
    previous.index([])
    previous.archive_if_different(put(images / "a.png", RED).name, sha256(BLUE))
    previous.archive(put(images / "b.png", BLUE).name, sha256(BLUE))
    monkeypatch.setattr(PreviousVersions, "_sha256_at", None)  # nothing is read again
    assert [previous.find_by_hash(sha256(data))[1] for data in (RED, BLUE)] == [RED, BLUE]


def test_what_is_moved_during_the_search_is_found(images, previous):
    """The search is past its folder already, or has not come to it."""
    put(images / ".previous/x.png", b"x")
    put(images / ".previous/y.png", b"y")
    previous.index(
        [], check=lambda: previous.archive_if_different(put(images / "a.png", RED).name, sha256(BLUE))
    )
    assert previous.find_by_hash(sha256(RED))[1] == RED


def test_a_search_that_is_ended_early_does_not_count(images, previous):
    put(images / ".previous/x.png", RED)

    def end():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        previous.index([], check=end)
    assert not previous.indexed
    previous.index([])
    assert (previous.indexed, previous.find_by_hash(sha256(RED))) == (True, (".previous/x.png", RED))


def test_an_image_that_is_gone_or_another_by_now_is_not_found(images, previous):
    path = put(images / ".previous/x.png", RED)
    previous.index([])
    path.write_bytes(BLUE)
    assert previous.find_by_hash(sha256(RED)) is None
    path.unlink()
    assert previous.find_by_hash(sha256(RED)) is None


def test_a_file_larger_than_any_image_is_not_read(images, previous, monkeypatch):
    monkeypatch.setattr(files, "IMAGE_LIMIT", 2)
    put(images / ".previous/x.png", RED)
    previous.index([])
    assert previous.find_by_hash(sha256(RED)) is None


def test_nobody_asks_for_an_image_while_it_is_moved(images, previous, monkeypatch):
    """The mover is held between its rename and its note: who asks then waits, and finds it."""
    previous.index([])
    moved, go_on, found = threading.Event(), threading.Event(), []
    rename = Path.rename

    def slow(path, target):
        rename(path, target)
        moved.set()
        assert go_on.wait(10)

    monkeypatch.setattr(Path, "rename", slow)
    path = put(images / "a.png", RED)
    mover = threading.Thread(target=lambda: previous.archive_if_different(path.name, sha256(BLUE)))
    asker = threading.Thread(target=lambda: found.append(previous.find_by_hash(sha256(RED))))
    mover.start()
    assert moved.wait(10)
    asker.start()
    asker.join(0.05)
    assert found == []
    go_on.set()
    mover.join()
    asker.join()
    assert found[0][1] == RED
