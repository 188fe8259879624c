"""`texbatch new`: two folders of images in, a manifest out that validates and has every pair once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from openpyxl import load_workbook
from PIL import Image

from batch.core.config import Reading
from batch.core.errors import UsageError
from batch.maintenance.new_manifest import NEW_COLUMNS, write_new
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest
from batch.planning.validate import validate

PRODUCTS = (
    "a chair.jpg", "Größe #1.PNG", "=sum.jpg", "-x.jpg", "{b}.webp", "a:b.jpg", "two_x0041_.jpg", " blank.jpg",
    "more/chair.jpg", "more/Chair.png", "more/chair-2.jpg",
)  # fmt: skip
TEXTURES = ("oak.jpg", "2.jpg", "10.jpg", "%20 of.jpg", "'q'.jpg")


def picture(path: Path, shade: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade * 12, 9, 9)).save(path)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Two folders of images with names as people give them; the current folder is theirs."""
    for shade, name in enumerate(PRODUCTS):
        picture(tmp_path / "products" / name, shade)
    for shade, name in enumerate(TEXTURES, start=11):
        picture(tmp_path / "textures" / name, shade)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(path: Path):
    """Return what the manifest's rows are: ids, contents of the images, prompts."""
    found = [getattr(entry, "now", entry) for entry in Expander(open_manifest(path), overrides={})]
    assert [str(entry) for entry in found if not hasattr(entry, "parameters")] == []
    return [
        (
            entry.id,
            entry.parameters["image_1"],
            entry.parameters["image_2"],
            entry.parameters["prompt"],
            entry.output,
        )
        for entry in found
    ]


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["pairs.xlsx", "pairs.csv", "pairs.yaml"])
def test_what_is_written_validates_and_has_every_pair_once(shop, name):
    made = write_new(Path("products"), Path("textures"), Path(name))
    found = validate(Path(name), Reading())
    assert [str(problem) for problem in found.problems] == []
    assert (made.products, made.textures, made.rows, made.left_out) == (11, 5, 55, ())
    assert found.rows == 55
    rows = rows_of(shop / name)
    assert len({row[1:3] for row in rows}) == len({row[0].casefold() for row in rows}) == 55


def test_the_formats_have_the_same_rows(shop):
    names = ("a.xlsx", "a.csv", "a.yml")
    for name in names:
        write_new(Path("products"), Path("textures"), Path(name), "Wrap the {product} in {texture}")
    first, *others = (rows_of(shop / name) for name in names)
    assert others == [first, first]
    assert [row[0] for row in first][:5] == [
        f"blank-{texture}" for texture in ("2", "10", "%20 of", "q", "oak")
    ]
    assert {row[0].rpartition("-")[0] for row in first} == {
        "a chair", "Größe #1", "sum", "x", "b", "a-b", "two_x0041_", "blank", "chair", "chair-2", "Chair-3",
    }  # fmt: skip
    assert first[-1][3] == "Wrap the b in oak"


@pytest.mark.slow
def test_paths_start_at_the_manifests_folder(shop):
    (shop / "lists").mkdir()
    write_new(Path("products"), shop / "textures", Path("lists/pairs.csv"))
    assert validate(Path("lists/pairs.csv"), Reading()).errors == []
    assert "../products/a chair.jpg" in (shop / "lists/pairs.csv").read_text(encoding="utf-8")


def test_the_workbook_is_text_with_its_header_in_sight(shop):
    write_new(Path("products"), Path("textures"), Path("pairs.xlsx"), "=Wrap")
    sheet = load_workbook(shop / "pairs.xlsx").active
    assert tuple(cell.value for cell in sheet[1]) == NEW_COLUMNS
    assert sheet.freeze_panes == "A2"
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} == {"s"}


def test_two_pairs_never_have_one_id(tmp_path):
    for name in ("p/a.jpg", "p/a-b.jpg", "t/c.jpg", "t/b-c.jpg"):
        picture(tmp_path / name)
    write_new(tmp_path / "p", tmp_path / "t", tmp_path / "pairs.yaml")
    assert [row[0] for row in rows_of(tmp_path / "pairs.yaml")] == ["a-b--b-c", "a-b--c", "a--b-c", "a--c"]


def test_a_folder_within_the_other_is_apart(tmp_path, monkeypatch):
    """`texbatch new . textures`; hidden files, and what texbatch made, are no products either."""
    for name in ("a.jpg", "textures/oak.jpg", ".trash/b.jpg", ".c.jpg", "out/images/d.jpg"):
        picture(tmp_path / name)
    (tmp_path / "out/ledger.sqlite").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    write_new(Path(), Path("textures"), Path("pairs.csv"))
    assert [row[0] for row in rows_of(tmp_path / "pairs.csv")] == ["a-oak"]


def test_what_cannot_be_used_is_named_with_its_reason(shop):
    (shop / "products/logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (shop / "products/cut.jpg").write_bytes(b"")
    (shop / "products/readme.txt").write_text("x")
    Path(os.fsdecode(b"products/\xff.jpg")).write_bytes(b"x")
    made = write_new(Path("products"), Path("textures"), Path("pairs.csv"))
    assert made.products == 11
    empty, drawing, unreadable = map(str, made.left_out)
    assert empty == "products: warning: products/cut.jpg is an empty file. Save the image again."
    assert drawing.startswith("products: warning: products/logo.svg is an SVG drawing.")
    assert unreadable.startswith("products: warning: 'products/\\\\xff.jpg': ")


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("products", "textures", "pairs.csv"), "--out pairs.csv: is there already, and is not written over."),
        (("products", "textures", "pairs.txt"), "--out pairs.txt: the suffix is none of .xlsx .csv .yaml .yml."),
        (("products", "textures", "no/a.csv"), "--out no/a.csv: there is no folder no."),
        (("products", "no", "a.csv"), "no: does not exist."),
        (("products", "pairs.csv", "a.csv"), "pairs.csv: is not a folder."),
        (("products", "products", "a.csv"), "products: is given for both products and textures."),
        (("products", "empty", "a.csv"), "empty: holds no image that can be used. Name the folder"),
        (("products", "drawings", "a.csv"), "drawings: holds no image that can be used. drawings/a.svg is an SVG drawing."),
        (("made", "textures", "a.csv"), "made: is an output folder of texbatch."),
        (("products", "textures", "a.csv", "the {colour}"), "--prompt: there is no column colour."),
        (("products", "textures", "a.csv", "the {"), "--prompt: "),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_anything_is(shop, arguments, reason):
    (shop / "pairs.csv").write_text("mine")
    for folder in ("empty", "drawings", "made"):
        (shop / folder).mkdir()
    (shop / "drawings/a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (shop / "made/ledger.sqlite").write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        write_new(*map(Path, arguments[:3]), *arguments[3:])
    assert str(caught.value).startswith(reason)
    assert (shop / "pairs.csv").read_text() == "mine"
    assert not (shop / "a.csv").exists()


@pytest.mark.slow
def test_more_pairs_than_a_workbook_is_read_with_are_refused(shop, monkeypatch):
    monkeypatch.setattr("batch.maintenance.new_manifest.MAX_ROWS", 54)
    with pytest.raises(UsageError, match=r"there would be 55 rows, 54 at most. Write a .csv"):
        write_new(Path("products"), Path("textures"), Path("pairs.xlsx"))
    assert write_new(Path("products"), Path("textures"), Path("pairs.csv")).rows == 55


def test_the_command_says_what_it_wrote_and_what_comes_next(shop, command):
    code, out, err = command("new", "products", "textures", "--out", "pairs.xlsx")
    assert (code, err) == (0, "")
    assert out == (
        "pairs.xlsx: 11 products with 5 textures, 55 rows.\n"
        "Check it:   texbatch validate pairs.xlsx\n"
        "Try it:     texbatch run pairs.xlsx --local --out out\n"
    )
