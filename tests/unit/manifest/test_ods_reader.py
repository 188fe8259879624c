"""OpenDocument spreadsheets: one that LibreOffice wrote, and written-out ones for what other programs do."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from manifest_reading import read

from batch.core.config import Reading
from batch.manifest.manifest import open_manifest
from batch.manifest.readers import ods_reader, sheet_reader

CATALOGUE = Path(__file__).parents[2] / "fixtures/catalogue.ods"
SPACES = "".join(
    f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("table", "text", "office", "style", "drawing")
) + ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'  # fmt: skip


def cell(text, attributes='office:value-type="string"'):
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


def row(*cells, attributes=""):
    return f"<table:table-row {attributes}>{''.join(item if item.startswith('<') else cell(item) for item in cells)}</table:table-row>"


HEAD = row("image_1", "image_2", "prompt", "note")
PAIR = ("products/chair.jpg", "textures/oak.jpg", "Wrap")


@pytest.fixture
def read_ods(shop):
    """Write the rows into the only table of a document, or `body` as its tables, and read it."""

    def reader(*rows, body=None, styles="", start="", reading=None):
        body = body or f'<table:table table:name="Pairs">{"".join(rows)}</table:table>'
        content = (
            f"<?xml version='1.0'?>{start}<office:document-content{SPACES}><office:automatic-styles>{styles}"
            f"</office:automatic-styles><office:body><office:spreadsheet>{body}</office:spreadsheet></office:body>"
            "</office:document-content>"
        )
        with zipfile.ZipFile(shop / "pairs.ods", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            archive.writestr("content.xml", content)
        return read(shop / "pairs.ods", reading=reading)

    return reader


def notes(reading) -> list[str]:
    assert reading.errors == []
    return [payload.cells["note"] for payload in reading.payloads]


def test_a_catalogue_that_libreoffice_wrote(shop):
    """Of three sheets, one hidden: a merged title, links, formulas, an error, formats, a hidden row."""
    shutil.copy(CATALOGUE, shop / "catalogue.ods")
    manifest = open_manifest(shop / "catalogue.ods")
    rows = [entry for entry in manifest.rows() if hasattr(entry, "cells") and not entry.problems]
    assert (manifest.header_line, [entry.number for entry in rows]) == (3, [4, 5, 6, 8])
    assert rows[0].cells == {
        "id": "001", "image_1": "products/chair.jpg", "image_2": "textures/oak.jpg", "prompt": "Größe  1\nzwei Zeilen",
        "Preis": "19.90 €", "EAN": "4006381333931", "Anteil": "20%", "Datum": "2026-03-01", "Zeit": "04:05:00",
        "Wahr": "TRUE", "Formel": "2", "seed": "1234",
    }  # fmt: skip
    assert [entry.cells["image_1"] for entry in rows[1:3]] == [
        "products/chair.jpg",
        "https://h.example/b.jpg",
    ]
    assert rows[1].cells["image_2"] == "https://h.example/a.jpg?x=1&y=2"
    assert all(entry.formerly == {} for entry in rows)
    reading = read(shop / "catalogue.ods", reading=Reading(skip_hidden=True))
    assert reading.errors == [
        "catalogue.ods:7:Formel: (cell K7) is the error #N/A. Fix its formula, or empty the cell."
    ]
    assert reading.warnings[0].startswith("catalogue.ods: warning: 1 hidden row of the sheet is left out.")
    assert [payload.id for payload in reading.payloads] == ["001", "002", "003"]


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("written", "shown"),
    [
        pytest.param(cell("a<text:s text:c='2'/>b<text:tab/>c<text:line-break/>d"), "a  b\tc\nd", id="blanks"),
        pytest.param(cell("a</text:p><text:p>b"), "a\nb", id="two lines"),
        pytest.param(cell("a <text:span>bold</text:span> b"), "a bold b", id="in parts"),
        pytest.param(cell("00123", 'office:value-type="float" office:value="123"'), "00123", id="zeros by format"),
        pytest.param("<table:table-cell office:value-type='float' office:value='7'/>", "7", id="only stored"),
        pytest.param(cell("WAHR", 'office:value-type="boolean" office:boolean-value="true"'), "true", id="TRUE"),
        pytest.param(cell("1.3.26", 'office:value-type="date" office:date-value="2026-03-01"'), "2026-03-01", id="date"),
        pytest.param(
            cell("x", 'office:value-type="date" office:date-value="2026-03-01T14:05:09"'), "2026-03-01T14:05:09", id="date, time"
        ),
        pytest.param(cell("30:05", 'office:value-type="time" office:time-value="PT30H05M01.5S"'), "30:05:01.5", id="span"),
        pytest.param(cell("before", 'office:value-type="date" office:date-value="-0044-03-15"'), "before", id="no date of ours"),
        pytest.param(cell("made", 'table:formula="of:=A1" office:value-type="string"'), "made", id="formula"),
        pytest.param(
            "<table:table-cell office:value-type='string'><office:annotation><text:p>hint</text:p></office:annotation>"
            "<text:p>n</text:p></table:table-cell>", "n", id="comment",
        ),
    ],
)  # fmt: skip
def test_a_cell_means_what_the_sheet_shows(read_ods, written, shown):
    assert notes(read_ods(HEAD, row(*PAIR, written))) == [shown]


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("cells", "error"),
    [
        pytest.param((*PAIR, "<table:table-cell table:formula='of:=A1'/>"), "2:note: (cell D2) the formula has no stored value.", id="valueless"),
        pytest.param(
            (*PAIR[:2], cell("04:05", 'office:value-type="time" office:time-value="PT04H05M00S"')),
            "2:prompt: (cell C2) the spreadsheet took what was typed for a date or time (04:05:00). Format", id="ratio",
        ),
        pytest.param((*PAIR, cell("a", "table:number-rows-spanned='2'")), "2: the cells D2:D3 are merged: only", id="merged"),
        pytest.param((*PAIR, "n", cell("x")), "2: (cell E2) is in a column without a name.", id="no name"),
    ],
)  # fmt: skip
def test_what_has_no_value_is_a_problem_with_its_cell(read_ods, cells, error):
    assert read_ods(HEAD, row(*cells)).errors[0].startswith(f"pairs.ods:{error}")


def test_repeated_rows_and_cells_are_made(read_ods):
    """As LibreOffice writes equal neighbours and everything empty."""
    empty = row(
        "<table:table-cell table:number-columns-repeated='16384'/>",
        attributes="table:number-rows-repeated='3'",
    )
    pair = row(*PAIR, cell("n"), attributes="table:number-rows-repeated='2' table:visibility='filter'")
    far = row("<table:table-cell/>", attributes="table:number-rows-repeated='1048000'")
    reading = read_ods(empty, HEAD, pair, far)
    assert notes(reading) == ["n", "n"]
    assert [payload.number for payload in reading.payloads] == [5, 6]
    assert "2 hidden rows" in reading.warnings[0]
    (error,) = read_ods(row(cell("image_1", "table:number-columns-repeated='2'"), "image_2", "prompt")).errors
    assert error.startswith("pairs.ods:1:image_1: is there twice.")


def test_hidden_sheets_are_known_by_their_style(read_ods):
    style = '<style:style style:name="ta1" style:family="table"><style:table-properties table:display="false"/></style:style>'
    tables = "".join(
        f'<table:table table:name="{title}" table:style-name="{style}">{HEAD}{row(*PAIR, title)}</table:table>'
        for title, style in (("A", "ta1"), ("B", "ta2"))
    )
    assert notes(read_ods(body=tables, styles=style)) == ["B"]
    assert notes(read_ods(body=tables, styles=style, reading=Reading(sheet="1"))) == ["A"]


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("rows", "error"),
    [
        pytest.param(
            [row(cell("x", "table:number-columns-repeated='99999999'"), "y")], "has more than 16,384 columns", id="columns"
        ),
        pytest.param(
            [row(*PAIR, "n", attributes="table:number-rows-repeated='60000'")], "there are more than 50000 rows", id="rows"
        ),
        pytest.param(
            [row(cell("<text:s text:c='900000'/>" * 9 + "x"))], "a row of more than 4 MiB", id="blanks"
        ),
        pytest.param(
            [row(cell("x", "table:number-columns-repeated='16384'"), attributes="table:number-rows-repeated='1048000'")],
            "has more than 1,048,576 rows, or 5,000,000 cells", id="cells",
        ),
        pytest.param([row(cell("y" * (5 << 20)))], "a row of more than 4 MiB", id="text"),
    ],
)  # fmt: skip
def test_what_unfolds_to_much_is_refused(read_ods, rows, error):
    assert any(error in found for found in read_ods(HEAD, *rows).errors)


def test_cells_in_all_have_a_limit(read_ods, monkeypatch):
    monkeypatch.setattr(ods_reader, "MAX_UNFOLDED", 1000)
    (error,) = read_ods(HEAD, row(*PAIR, "n", attributes="table:number-rows-repeated='1000'")).errors
    assert error.startswith(
        "pairs.ods: the sheet 'Pairs' has more than 1,048,576 rows, or 1,000 cells. Use CSV"
    )


def test_a_document_type_is_refused(read_ods):
    """Entities unfold too."""
    (error,) = read_ods(HEAD, row(*PAIR, "n"), start='<!DOCTYPE x [<!ENTITY a "b">]>').errors
    assert error.startswith(
        "pairs.ods: cannot be read as a spreadsheet (ValueError: it declares a document type)."
    )


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        pytest.param({}, "is not an .ods spreadsheet.", id="no content"),
        pytest.param({"content.xml": "<a"}, "cannot be read as a spreadsheet (ExpatError", id="cut"),
        pytest.param(
            {"content.xml": "?", "META-INF/manifest.xml": "<manifest:encryption-data/>"},
            "has a password.",
            id="password",
        ),
        pytest.param(None, "is not an .ods spreadsheet.", id="no archive"),
    ],
)
def test_a_file_that_is_no_spreadsheet_is_named(shop, parts, error):
    (shop / "a.ods").write_bytes(b"x")
    if parts is not None:
        with zipfile.ZipFile(shop / "a.ods", "w") as archive:
            archive.writestr("mimetype", "x")
            for name, data in parts.items():
                archive.writestr(name, data)
    assert read(shop / "a.ods").errors[0].startswith(f"a.ods: {error}")


@pytest.mark.parametrize(
    ("link", "image"),
    [
        ("https://h/a%20b.jpg?x=1#y", "https://h/a%20b.jpg?x=1#y"),
        ("products/gr%C3%BCn%20%231.jpg", "products/grün #1.jpg"),
        ("..\\products\\a.jpg", "../products/a.jpg"),
        ("file:///data/a%20b.jpg", "/data/a b.jpg"),
        ("file://server/share/a.jpg", "//server/share/a.jpg"),
        ("mailto:x@h.example", None),
        ("#Sheet2.A1", None),
    ],
)
def test_what_a_link_means(link, image):
    assert sheet_reader.link_target(link) == image
