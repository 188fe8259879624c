"""A name that passes can be written everywhere; the rest is refused with the reason."""

from __future__ import annotations

from pathlib import PurePosixPath
from unicodedata import normalize

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batch.manifest.naming import (
    MAX_NAME_BYTES,
    fold_name,
    image_stem,
    name_fault,
    normal_name,
    portable_stem,
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("a.png", "does not end in .webp", id="wrong suffix"),
        pytest.param("a", "does not end in .webp", id="no suffix"),
        pytest.param("a.WEBP", "does not end in .webp", id="suffix in capitals"),
        pytest.param("/a.webp", "is an absolute path", id="absolute"),
        pytest.param("../a.webp", "leads out of its folder", id="parent"),
        pytest.param("x/../../a.webp", "leads out of its folder", id="parent inside"),
        pytest.param("x//a.webp", "has an empty folder name", id="empty segment"),
        pytest.param("./a.webp", "has a part that starts with a dot ('.')", id="here"),
        pytest.param(".previous/a.webp", "has a part that starts with a dot ('.previous')", id="previous"),
        pytest.param("x/.a.webp", "has a part that starts with a dot ('.a.webp')", id="hidden"),
        pytest.param(".webp", "has a part that starts with a dot ('.webp')", id="suffix only"),
        pytest.param("C:/a.webp", "has a ':'", id="drive"),
        pytest.param("\\\\host\\a.webp", "has a '\\\\'", id="UNC"),
        pytest.param("a\\b.webp", "has a '\\\\'", id="backslash"),
        pytest.param("a?.webp", "has a '?'", id="question mark"),
        pytest.param('a".webp', "has a '\"'", id="quote"),
        pytest.param("a\nb.webp", "has a '\\n'", id="line break"),
        pytest.param("a\x00.webp", "has a '\\x00'", id="NUL"),
        pytest.param("CON.webp", "has a part that Windows reserves ('CON.webp')", id="device"),
        pytest.param(
            "nul.tar.webp", "has a part that Windows reserves ('nul.tar.webp')", id="device, two dots"
        ),
        pytest.param("x/com1/a.webp", "has a part that Windows reserves ('com1')", id="device as folder"),
        pytest.param(
            "LPT².webp", "has a part that Windows reserves ('LPT².webp')", id="device with superscript"
        ),
        pytest.param("x./a.webp", "has a part that ends in a dot or a blank ('x.')", id="dot at the end"),
        pytest.param("x /a.webp", "has a part that ends in a dot or a blank ('x ')", id="blank at the end"),
        pytest.param("a" * 196 + ".webp", "has a part longer than 200 bytes", id="201 bytes"),
        pytest.param("ä" * 98 + ".webp", "has a part longer than 200 bytes", id="201 bytes of UTF-8"),
        pytest.param("/".join(["a" * 199] * 5) + ".webp", "is longer than 800 bytes", id="long path"),
    ],
)
def test_refused(name, reason):
    assert reason == name_fault(name, "webp")


@pytest.mark.parametrize(
    "name",
    [
        "a.webp", "a" * 195 + ".webp", "shop/chair-oak.webp", "CONSOLE.webp", "COM10.webp", "stuhl über.webp",
        "a.b.c.webp", "椅子.webp", "x.previous.webp", "a b/c d.webp", "{a}.webp", "~a.webp", "-a.webp",
    ],
)  # fmt: skip
def test_accepted(name):
    assert name_fault(name, "webp") is None


@given(st.text(alphabet=st.sampled_from("aA.:/\\ \0~-_é\u0301ßCONcom1"), max_size=12) | st.text(max_size=30))
def test_what_passes_is_portable(text):
    name = normal_name(text + ".png")
    assume(name_fault(name, "png") is None)
    path = PurePosixPath(name)
    assert not path.is_absolute()
    assert str(path) == name
    assert name == normalize("NFC", name)
    for part in path.parts:
        assert not part.startswith(".")
        assert not part.endswith((".", " "))
        assert len(part.encode()) <= MAX_NAME_BYTES
        assert not set(part) & set('<>:"|?*\\')
        assert part.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1"}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param("Chair.webp", "chair.webp", id="case"),
        pytest.param("e\u0301.png", "\u00e9.png", id="combining accent"),
        pytest.param("STRASSE.png", "straße.png", id="sharp s"),
    ],
)
def test_names_that_a_file_system_may_take_for_one_fold_alike(left, right):
    assert fold_name(left) == fold_name(right)


@given(st.text())
def test_folding_is_idempotent(text):
    assert fold_name(text) == fold_name(fold_name(text))


@given(st.text())
def test_a_portable_stem_makes_a_good_name(text):
    stem = portable_stem(text)
    assert name_fault(normal_name(f"x-{stem}.png"), "png") is None
    assert len(stem.encode()) <= 60


@pytest.mark.parametrize(
    ("picture", "stem"),
    [
        ("products/chair.jpg", "chair"),
        ("chair", "chair"),
        ("a/b.c/oak.dark.png", "oak.dark"),
        ("https://h/a/oak%20dark.jpg?w=5#x", "oak dark"),
        ("https://h/", "h"),
    ],
)
def test_the_stem_of_a_picture(picture, stem):
    assert stem == image_stem(picture)
