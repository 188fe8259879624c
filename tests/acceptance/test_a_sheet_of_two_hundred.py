"""A catalogue manager's own table, from the file to the images in one command: in each format that such a table has."""

import csv
import io
import json
import shutil
import subprocess

import pytest
from openpyxl import Workbook
from PIL import Image

HEADER = ("SKU", "Image 1", "Image 2", "Prompt", "Preis", "Bezeichnung")
ROWS, BAD = 200, {"000007": "no such image", "000050": "no prompt", "000123": "no texture"}
PRODUCTS, TEXTURES = 5, 4


def line(number):
    sku = f"{number:06d}"
    product, texture = f"bilder/möbel {number % PRODUCTS}.jpg", f"stoffe/{number % TEXTURES}.png"
    return [
        sku,
        "bilder/fehlt.jpg" if sku == "000007" else product,
        "" if sku == "000123" else texture,
        "" if sku == "000050" else f"Beziehe das Möbel mit „Leinen“, grün; Größe {number % 7}",
        f"{number},90",
        f"Möbelstück Nr. {number}",
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    for name, count, suffix in (("bilder/möbel ", PRODUCTS, "jpg"), ("stoffe/", TEXTURES, "png")):
        for number in range(count):
            path = folder / f"{name}{number}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (32, 32), (50 * number, 120, 200 - 40 * number)).save(path)
    return folder


def workbook(path):
    """Write the table as the second sheet, below two lines of title."""
    book = Workbook()
    book.active.title = "Hinweise"
    book.active.append(["Bitte nur das zweite Blatt ausfüllen", "Image 1 ist das Produkt"])
    sheet = book.create_sheet("Artikel")
    sheet.append(["Herbstkollektion 2026"])
    sheet.merge_cells("A1:F1")
    sheet.append([])
    sheet.append(HEADER)
    for number in range(1, ROWS + 1):
        sku, *others = line(number)
        sheet.append([int(sku), *others])
        sheet.cell(sheet.max_row, 1).number_format = "000000"
    book.save(path)


def written(folder, kind):
    """Write the table into a folder as this kind of file; return its path."""
    path = folder / f"artikel.{kind.partition('.')[2]}"
    if kind == "workbook.xlsx":
        workbook(path)
    elif kind == "calc.ods":
        if shutil.which("soffice") is None:
            pytest.skip("needs LibreOffice")
        workbook(folder / "artikel.xlsx")
        convert = [
            "soffice",
            f"-env:UserInstallation=file://{folder}/profile",
            "--headless",
            "--convert-to",
            "ods",
            "artikel.xlsx",
        ]
        subprocess.run(convert, cwd=folder, check=True, capture_output=True, timeout=120)
    else:
        text = io.StringIO()
        separator = ";" if kind.startswith("utf-16") else ","
        csv.writer(text, delimiter=separator).writerows(
            [HEADER, *(line(number) for number in range(1, ROWS + 1))]
        )
        path.write_bytes(text.getvalue().encode("utf-16" if kind.startswith("utf-16") else "utf-8"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["workbook.xlsx", "calc.ods", "utf-16 with semicolons.csv", "google sheets.csv"]
)
def test_one_command_makes_every_good_row(shop, tmp_path, command, kind):
    path, out = written(shop, kind), tmp_path / "out"
    code, told, said = command(
        "run", path, "--local", "--column", "id=SKU", "--invalid", "skip", "--out", out, "--progress", "none"
    )
    assert code == 1, said
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["rows"], summary["saved"], summary["failed"]) == (ROWS, ROWS - len(BAD), len(BAD)), told
    with (out / "report.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["SKU"] for row in table] == [f"{number:06d}" for number in range(1, ROWS + 1)]
    assert list(table[0])[:6] == list(HEADER)
    failed = {row["SKU"]: row for row in table if row["status"] == "failed"}
    assert set(failed) == set(BAD)
    assert {(row["error_class"], row["attempts"], float(row["cost"])) for row in failed.values()} == {
        ("invalid", "0", 0.0)
    }
    assert all(f"artikel.{kind.rpartition('.')[2]}" in row["error"] for row in failed.values())
    assert table[0]["Bezeichnung"] == "Möbelstück Nr. 1"
    assert {path.name for path in (out / "images").glob("*.webp")} == {
        f"{row['SKU']}.webp" for row in table if row["status"] == "saved"
    }
    again = command("run", path, "--local", "--invalid", "skip", "--out", out, "--progress", "none")
    assert again[0] == 1  # the folder knows which heading is which
    assert json.loads((out / "summary.json").read_text())["spent_usd"] == summary["spent_usd"]
