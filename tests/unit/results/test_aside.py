"""Pictures that were in another's way: moved, never lost, and found by what they are."""

import hashlib
import threading

import pytest

from batch.results import aside as module
from batch.results.aside import Aside

RED, BLUE = b"red", b"blue"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def images(tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    return place


@pytest.fixture
def aside(tmp_path, images):
    return Aside(tmp_path)


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_earlier_versions_are_found_by_name_newest_first(tmp_path, images, aside):
    for name in (
        "a.20260301T000000Z.png",
        "a.20260302T000000Z-1.png",
        "a.20260302T000000Z.webp",
        "ab.20260301T000000Z.png",
    ):
        for folder in ("", "sub/[x]/"):
            put(images / ".previous" / folder / name, b"x")
    assert aside.named(["a.png"]) == [
        ".previous/a.20260302T000000Z-1.png",
        ".previous/a.20260301T000000Z.png",
    ]
    assert aside.named(["sub/[x]/a.webp", "none.png"]) == [".previous/sub/[x]/a.20260302T000000Z.webp"]
    assert Aside(tmp_path / "new").named(["a.png"]) == []


def test_a_version_that_came_back_is_forgotten_and_found_where_it_lies_now(images, aside):
    name = ".previous/a.20260301T000000Z.png"
    put(images / name, RED)
    aside.search([])
    put(images / "b.png", RED)
    for _ in range(2):
        aside.forget(name, sha256(RED), lies_at="b.png")
    assert (aside.named(["a.png"]), aside.find(sha256(RED))) == ([], ("b.png", RED))


def test_a_place_is_cleared_but_of_the_picture_it_is_for(images, aside):
    path = put(images / "a.png", RED)
    assert not aside.clear(path, unless=sha256(RED))
    assert path.read_bytes() == RED
    assert aside.clear(path, unless=sha256(BLUE))
    (name,) = aside.named(["a.png"])
    assert (path.exists(), (images / name).read_bytes()) == (False, RED)
    assert aside.clear(path, unless=sha256(RED))  # nothing lies there any more
    assert len(aside.named(["a.png"])) == 1


def test_a_row_takes_away_its_own_picture_only(images, aside):
    path = put(images / "a.png", RED)
    aside.retire(path, sha256(BLUE))
    aside.retire(path, None)
    aside.retire(images / "none.png", None)
    assert path.read_bytes() == RED
    aside.retire(path, sha256(RED))
    assert not path.exists()


def test_a_picture_is_found_by_what_it_is(images, aside):
    """Set aside by an earlier run under another row's name, in a folder of its own, or nobody's in images/ itself."""
    put(images / ".previous/sub/other.20260301T000000Z.png", RED)
    put(images / "stranger.png", BLUE)
    (images / "folder").mkdir()
    aside.search(["stranger.png", "folder", "gone.png"])
    assert aside.find(sha256(RED)) == (".previous/sub/other.20260301T000000Z.png", RED)
    assert aside.find(sha256(BLUE)) == ("stranger.png", BLUE)
    assert aside.find(sha256(b"green")) is None


def test_what_is_moved_after_the_search_is_found_without_another(images, aside, monkeypatch):
    aside.search([])
    aside.clear(put(images / "a.png", RED), unless=sha256(BLUE))
    aside.retire(put(images / "b.png", BLUE), sha256(BLUE))
    monkeypatch.setattr(module, "_sha256", None)  # nothing is read again
    assert [aside.find(sha256(data))[1] for data in (RED, BLUE)] == [RED, BLUE]


def test_what_is_moved_during_the_search_is_found(images, aside):
    """The search is past its folder already, or has not come to it."""
    put(images / ".previous/x.png", b"x")
    put(images / ".previous/y.png", b"y")
    aside.search([], check=lambda: aside.clear(put(images / "a.png", RED), unless=sha256(BLUE)))
    assert aside.find(sha256(RED))[1] == RED


def test_a_search_that_is_ended_early_does_not_count(images, aside):
    put(images / ".previous/x.png", RED)

    def end():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        aside.search([], check=end)
    assert not aside.searched
    aside.search([])
    assert (aside.searched, aside.find(sha256(RED))) == (True, (".previous/x.png", RED))


def test_a_picture_that_is_gone_or_another_by_now_is_not_found(images, aside):
    path = put(images / ".previous/x.png", RED)
    aside.search([])
    path.write_bytes(BLUE)
    assert aside.find(sha256(RED)) is None
    path.unlink()
    assert aside.find(sha256(RED)) is None


def test_a_file_larger_than_any_picture_is_not_read(images, aside, monkeypatch):
    monkeypatch.setattr(module, "PICTURE_LIMIT", 2)
    put(images / ".previous/x.png", RED)
    aside.search([])
    assert aside.find(sha256(RED)) is None


def test_nobody_asks_for_a_picture_while_it_is_moved(images, aside, monkeypatch):
    """The mover is held between its rename and its note: who asks then waits, and finds it."""
    aside.search([])
    moved, go_on, found = threading.Event(), threading.Event(), []
    rename = module.Path.rename

    def slow(path, target):
        rename(path, target)
        moved.set()
        assert go_on.wait(10)

    monkeypatch.setattr(module.Path, "rename", slow)
    path = put(images / "a.png", RED)
    mover = threading.Thread(target=lambda: aside.clear(path, unless=sha256(BLUE)))
    asker = threading.Thread(target=lambda: found.append(aside.find(sha256(RED))))
    mover.start()
    assert moved.wait(10)
    asker.start()
    asker.join(0.05)
    assert found == []
    go_on.set()
    mover.join()
    asker.join()
    assert found[0][1] == RED
