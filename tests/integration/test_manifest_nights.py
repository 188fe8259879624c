"""The same manifest night after night: what texbatch made the night before never becomes work."""

from __future__ import annotations

import shutil

import pytest
import support
from support import submits

MATRIX = (
    "defaults: {prompt: Wrap, image_2: https://h.example/oak.jpg, image_format: jpeg}\n"
    'matrix: {product: "p/**/*.jpg"}\n'
)


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    support.picture(tmp_path / "p" / "chair.jpg")
    (tmp_path / "catalog.yaml").write_text(MATRIX)
    return tmp_path / "catalog.yaml"


@pytest.mark.quick(1)
@pytest.mark.parametrize("out", ["p/out", "p/deep/er/out", "./p/../p/out"])
def test_last_nights_images_are_not_tonights_products(hosted, command, catalog, out):
    """Three nights, and a fourth by another job that has a folder of its own beside."""
    for _ in range(3):
        code, _, told = command("run", catalog, "--out", out, "--yes")
        assert (code, submits(hosted)) == (0, 1)
    assert "1 files of the output folder" in told
    assert command("run", catalog, "--out", "p/other", "--yes")[0] == 0
    assert command("run", catalog, "--out", out, "--yes")[0] == 0
    assert submits(hosted) == 2
    assert [row["product"] for row in support.report(catalog.parent / out)] == ["chair"]


@pytest.mark.slow
def test_images_without_their_ledger_are_no_products(hosted, command, catalog):
    assert command("run", catalog, "--out", "p/out")[0] == 0
    (catalog.parent / "p/out/ledger.sqlite").unlink()
    code, _, told = command("plan", catalog, "--out", "p/out", "--name", "x-{id}.{ext}")
    assert (code, "ledger" in told) == (2, True)


def test_a_link_to_an_output_folder_leads_to_no_products(hosted, command, catalog):
    assert command("run", catalog, "--out", "elsewhere/out")[0] == 0
    (catalog.parent / "p" / "shop").symlink_to(catalog.parent / "elsewhere" / "out" / "images")
    shutil.copy(catalog.parent / "p" / "chair.jpg", catalog.parent / "p" / "mug.jpg")
    assert command("run", catalog, "--out", "elsewhere/out")[0] == 0
    assert submits(hosted) == 1  # mug.jpg has the very content of chair.jpg
    assert support.ids(support.report(catalog.parent / "elsewhere/out"))
    assert {row["product"] for row in support.report(catalog.parent / "elsewhere/out")} == {"chair", "mug"}


def test_columns_named_like_formulas_survive_retries_and_redos(hosted, command, tmp_path, monkeypatch):
    """Neutralised once in each report, whatever the way back leads through."""
    monkeypatch.chdir(tmp_path)
    names = {"=cmd|x": "=1", "'=y": "'=2", "-z": "-3"}
    manifest = support.write_csv(tmp_path / "pairs.csv", [line | names for line in support.rows(2)])
    assert command("run", manifest, "--out", "out")[0] == 0
    for args in (
        ["--only", "row-0", "--seed", "random"],
        ["--status", "saved", "--seed", "+1"],
        ["out/report.csv"],
    ):
        assert command("retry", "out", *args, "--yes")[0] == 0, args
        lines = support.report(tmp_path / "out")
        assert [line["'=cmd|x"] for line in lines] == ["'=1"] * 2
        assert [line["''=y"] for line in lines] == ["''=2"] * 2
        assert [line["'-z"] for line in lines] == ["-3"] * 2
