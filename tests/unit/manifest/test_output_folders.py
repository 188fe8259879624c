"""What texbatch made is nobody's product: no glob yields it, and a row that names it is told."""

from __future__ import annotations

import os

import pytest
from manifest_reading import read
from PIL import Image

from batch.ledger import connection
from batch.manifest.manifest import open_manifest

MATRIX = 'defaults: {prompt: Wrap, image_2: textures/oak.jpg}\nmatrix: {product: "%s"}\n'


@pytest.fixture
def out(shop):
    """An output folder among the products, with three pictures of last night, thumbnails and an older version."""
    folder = shop / "products" / "out"
    for name in (
        "images/chair-oak.jpg",
        "images/sub/mug-oak.jpg",
        "images/.previous/chair-oak.jpg",
        "thumbs/1.jpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (1, 2, len(name))).save(folder / name)
    connection.for_writing(folder / "ledger.sqlite").close()
    return folder


@pytest.fixture
def names(shop):
    def of(pattern: str, **options) -> list[str]:
        (shop / "catalog.yaml").write_text(MATRIX % pattern)
        reading = read(shop / "catalog.yaml", **options)
        assert reading.errors == []
        return [payload.cells["product"] for payload in reading.payloads]

    return of


@pytest.mark.parametrize(
    "pattern",
    ["products/**/*.jpg", "**/chair*.jpg", "products/out/../**/*.jpg", "./products/**/c*.*"],
)
def test_a_glob_yields_no_picture_of_an_output_folder(names, out, pattern):
    assert names(pattern) == ["chair"]


def test_it_is_said_once_with_the_folder_and_how_many(shop, out):
    (shop / "catalog.yaml").write_text(
        'defaults: {prompt: Wrap}\nmatrix: {product: "products/**/*.jpg", texture: ["**/oak.jpg", "products/**/*.jpg"]}\n'
    )
    (warning,) = read(shop / "catalog.yaml").warnings
    assert warning.startswith(
        "catalog.yaml:2:matrix: warning: 3 files of the output folder products/out match a glob and are left out."
    )


def test_another_jobs_folder_is_one_too_and_by_links_as_well(shop, names, out):
    outside = shop.parent / "elsewhere"
    (out).rename(outside)
    (shop / "products" / "link").symlink_to(outside)
    (shop / "products" / "one.jpg").symlink_to(outside / "images" / "chair-oak.jpg")
    (shop / "products" / "deep").symlink_to(outside / "images" / "sub")
    assert names("products/**/*.jpg") == ["chair"]


def test_images_that_are_a_link_to_another_disk_are_left_out(shop, names, out):
    (out / "images").rename(shop / "disk")
    (out / "images").symlink_to(shop / "disk")
    assert names("products/**/*.jpg") == ["chair"]


@pytest.mark.parametrize(
    "ledger", [b"", b"SQLite format 3\0" + b"\0" * 84, b"\xff" * 4096], ids=["new", "young", "damaged"]
)
def test_a_ledger_marks_its_folder_when_it_is_new_or_damaged(shop, names, out, ledger):
    for file in out.glob("ledger.sqlite*"):
        file.unlink()
    (out / "ledger.sqlite").write_bytes(ledger)
    assert names("products/**/*.jpg") == ["chair"]


def test_the_folder_of_this_run_needs_no_ledger(shop, out):
    (out / "ledger.sqlite").unlink()
    (shop / "catalog.yaml").write_text(MATRIX % "products/**/*.jpg")
    rows = [row for row in open_manifest(shop / "catalog.yaml", out=out).rows() if hasattr(row, "cells")]
    assert [row.cells["product"] for row in rows] == ["chair"]


def test_what_is_no_output_folder_is_read(shop, names, out):
    """Another program's ledger; a folder called images; a file of the user's own beside the ledger."""
    (out / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + b"\0" * 52 + b"bank" + b"\0" * 30)
    assert names("products/**/*.jpg") == ["chair", "chair-oak", "mug-oak", "1"]
    connection.for_writing(shop / "ledger.sqlite").close()
    assert names("products/*.jpg") == ["chair"]


def test_a_glob_of_nothing_but_results_is_a_problem(shop, out):
    (shop / "catalog.yaml").write_text(MATRIX % "products/out/images/*.jpg")
    (error,) = [error for error in read(shop / "catalog.yaml").errors if "glob" not in error]
    assert '"products/out/images/*.jpg" matches only files of the output folder products/out.' in error


@pytest.mark.parametrize("written", ["products/out/images/{}", "products/./out/../out/images/{}"])
def test_a_row_that_names_a_result_is_told_once(shop, out, written):
    lines = [f"{written.format(name)},textures/oak.jpg,Wrap" for name in ("chair-oak.jpg", "sub/mug-oak.jpg")]
    (shop / "pairs.csv").write_text("image_1,image_2,prompt\n" + "\n".join(lines) + "\n")
    reading = read(shop / "pairs.csv")
    assert (len(reading.payloads), reading.errors) == (2, [])
    (warning,) = reading.warnings
    assert warning.startswith("pairs.csv:2:image_1: warning: ")
    assert "is an image that texbatch made, in the output folder products/out." in warning


def test_a_row_that_names_a_result_by_a_link_is_told(shop, out):
    (shop / "mine.jpg").symlink_to(os.path.relpath(out / "images" / "chair-oak.jpg", shop))
    (shop / "pairs.csv").write_text("image_1,image_2,prompt\nmine.jpg,textures/oak.jpg,Wrap\n")
    assert "mine.jpg is an image that texbatch made" in read(shop / "pairs.csv").warnings[0]
