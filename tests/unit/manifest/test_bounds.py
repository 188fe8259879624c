"""A manifest of a few bytes that unfolds to much, and one that never ends: refused with its place, and without the memory.

Limits are lowered here where the real ones would take seconds.
"""

from __future__ import annotations

import json
import tracemalloc
import zipfile

import pytest
from manifest_reading import read
from openpyxl import Workbook

from batch.manifest import values
from batch.manifest.readers import (
    base,
    csv_reader,
    jsonl_reader,
    xlsx_reader,
    xlsx_scan,
    yaml_document,
    yaml_matrix,
)

HEAD = "image_1,image_2,prompt\n"
PAIR = "https://h/1,https://h/2,"
ROW = "{image_1: https://h/1, image_2: https://h/2, prompt: "


@pytest.fixture
def memory():
    """The most that was held at once, in MiB."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] >> 20
    tracemalloc.stop()


def errors(path, content) -> list[str]:
    with path.open("w", encoding="utf-8") as file:
        for piece in [content] if isinstance(content, str) else content:
            file.write(piece)
    return read(path).errors


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("name", "begins", "piece", "start"),
    [
        ("a.csv", HEAD + PAIR, "x", "a.csv:2: the record is longer than 1,048,576 characters; what follows was not read."),
        ("a.csv", HEAD + PAIR + '"', "x", "a.csv:2: the record is longer than 1,048,576 characters"),
        ("a.csv", HEAD + PAIR + '"', "x" * 99 + "\n", "a.csv:2: a double quote opens a cell here and is never closed, or after more than"),
        ("a.csv", HEAD + PAIR, ",", "a.csv:2: the record is longer than 1,048,576 characters"),
        ("a.csv", "", "x", "a.csv:1: the header is longer than any table's."),
        ("a.csv", "", "c,", "a.csv:1: the header is longer than any table's."),
        ("a.csv", 'image_1,"', "x" * 99 + "\n", "a.csv:1: the header is longer than any table's."),
        ("a.tsv", "image_1\tprompt\n1\t", "x", "a.tsv:2: the record is longer than 1,048,576 characters"),
        ("a.jsonl", '{"prompt": "', "x", "a.jsonl:1: is longer than 1,048,576 characters; what follows was not read."),
    ],
)  # fmt: skip
def test_a_cell_without_end_is_named_and_not_held(tmp_path, memory, name, begins, piece, start):
    """30 MB, of which a few lines' worth is read."""
    content = [begins, *[piece * (1_000_000 // len(piece))] * 30, '"\n' if '"' in begins else "\n"]
    if begins.startswith('image_1,"'):
        content = [begins, piece * 2_000, '"\n']
    (error, *_) = [error for error in errors(tmp_path / name, content) if "column" not in error]
    assert error.startswith(start)
    assert memory() < 24


def test_what_stands_before_an_endless_record_is_read(tmp_path, monkeypatch):
    for module in (base, csv_reader):
        monkeypatch.setattr(module, "MAX_RECORD", 100)
    (tmp_path / "a.csv").write_text(HEAD + PAIR + "x\n" + PAIR + "y" * 100 + "\n" + PAIR + "z\n")
    reading = read(tmp_path / "a.csv")
    assert [payload.number for payload in reading.payloads] == [2]
    assert [error.split(" is ")[0] for error in reading.errors] == ["a.csv:3: the record"]


def test_a_cell_longer_than_the_csv_module_takes_by_itself_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(HEAD + PAIR + '"' + "x,\n" * 300_000 + '"\n' + PAIR + "y\n")
    assert [(p.number, len(p.parameters["prompt"])) for p in read(tmp_path / "a.csv").payloads] == [
        (2, 899_999),  # without the line break at its end
        (300_003, 1),
    ]


def test_a_blank_record_without_end_ends_the_reading(tmp_path, monkeypatch):
    for module in (base, csv_reader):
        monkeypatch.setattr(module, "MAX_RECORD", 100)
    (tmp_path / "a.csv").write_text(HEAD + "," * 101 + "\n" + PAIR + "x\n")
    (error,) = read(tmp_path / "a.csv").errors
    assert error.startswith("a.csv:2: the record is longer than 100 characters")


@pytest.mark.parametrize("columns", [16_385, 20_000])
def test_more_columns_than_excel_has_are_refused_at_once(tmp_path, columns):
    (error,) = errors(tmp_path / "a.csv", ",".join(f"c{n}" for n in range(columns)) + "\n")
    assert (
        error
        == f"a.csv:1: there are {columns} columns; a table may have 16384. Leave out what texbatch need not read."
    )


@pytest.mark.parametrize("content", ['{"prompt": ' + "[" * 200_000, '{"prompt": ' * 100_000])
def test_jsonl_that_is_nested_deeply_is_named(tmp_path, content):
    assert any("a.jsonl:1:" in error for error in errors(tmp_path / "a.jsonl", content + "\n"))


def test_a_template_that_unfolds_is_a_problem_of_its_row(tmp_path, memory, monkeypatch):
    """A million letters a hundred thousand times are 100 GB."""
    for module in (base, jsonl_reader):
        monkeypatch.setattr(module, "MAX_RECORD", 1 << 22)
    rows = [
        {"image_1": "https://h/1", "image_2": "https://h/2", "prompt": "{x}" * 100_000, "x": "y" * 1_000_000}
    ]
    (error,) = errors(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert error == (
        f"a.jsonl:1:prompt: would become longer than {values.MAX_RENDERED:,} characters. "
        "Take fewer or shorter columns into it."
    )
    assert memory() < 100


# -- YAML --------------------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("{" + ", ".join(f"k{n}: v" for n in range(500)) + "}", "written out, the rows have 2,000,500 cells", id="cells"),
        pytest.param(ROW + "x" * 50_000 + "}", "written out, the rows have 12,003 cells and 200,138,022 characters", id="characters"),
        pytest.param("{" + ", ".join(f"k{n}: [v]" for n in range(500)) + "}", "is not a single value", id="problems"),
    ],
)  # fmt: skip
def test_aliases_share_what_they_refer_to_and_have_a_limit(tmp_path, memory, monkeypatch, row, reason):
    monkeypatch.setattr(yaml_matrix, "MAX_MATRIX_CELLS", 1_000_000)
    monkeypatch.setattr(yaml_matrix, "MAX_CHARACTERS", 100_000_000)
    found = errors(tmp_path / "a.yaml", f"rows:\n  - &r {row}\n" + "  - *r\n" * 4_000)
    assert reason in found[0]
    assert len(found) <= 500
    assert memory() < 20


def test_rows_that_share_an_alias_are_rows_of_their_own(tmp_path):
    (tmp_path / "a.yaml").write_text(f"rows:\n  - &r {ROW}x}}\n  - *r\n  - {ROW}y}}\n")
    assert [(p.number, p.parameters["prompt"]) for p in read(tmp_path / "a.yaml").payloads] == [
        (1, "x"),
        (2, "x"),
        (3, "y"),
    ]


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        pytest.param("  a: [1, 2, 3]\n  b: [1, 2, 3]\n  c: d\n", "matrix", "written out, the rows have 27 cells", id="combinations"),
        pytest.param("  a: [1, 2, 3]\n  exclude: [{a: 1}, {a: 2}]\n", "matrix.exclude", "there are 2 exclusions to try", id="exclusions"),
        pytest.param("  a: [" + "x" * 99 + ", y]\n", "matrix", "written out, the rows have 2 cells and 198 characters", id="texts"),
    ],
)  # fmt: skip
def test_a_matrix_that_unfolds_is_refused_before_it_does(tmp_path, monkeypatch, text, column, reason):
    for name, limit in (("MAX_MATRIX_CELLS", 26), ("MAX_CHARACTERS", 150), ("MAX_CHECKS", 5)):
        monkeypatch.setattr(yaml_matrix, name, limit)
    (error,) = errors(tmp_path / "a.yaml", "matrix:\n" + text)
    assert error.startswith(f"a.yaml:2:{column}: {reason}")


def test_a_text_without_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_document, "MAX_TEXT", 1000)
    (error,) = errors(tmp_path / "a.yaml", f"rows:\n  - {ROW}{'x' * 1000}}}\n  - {ROW}{'y' * 1001}}}\n")
    assert error == "a.yaml:3: a text is longer than 1,000 characters. Write it shorter."


# -- workbooks ---------------------------------------------------------------------------------------------------------


def text_row(row: object, column: str = "A", text: str = "x") -> str:
    return f'<row r="{row}"><c r="{column}{row}" t="inlineStr"><is><t>{text}</t></is></c></row>'


@pytest.fixture
def book_with(tmp_path):
    """Write a workbook of one row, with more in its sheet's XML, or another part; give its problems."""

    def write(rows: str = "", below: str = "", parts: dict[str, bytes] | None = None) -> list[str]:
        book = Workbook()
        book.active.append(["image_1", "image_2", "prompt"])
        book.active.append(["https://h/1", "https://h/2", "x"])
        book.save(tmp_path / "a.xlsx")
        with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
            content = {name: archive.read(name) for name in archive.namelist()} | (parts or {})
        sheet = content["xl/worksheets/sheet1.xml"].decode()
        sheet = sheet.replace("</sheetData>", f"{rows}</sheetData>").replace(
            "</worksheet>", f"{below}</worksheet>"
        )
        content["xl/worksheets/sheet1.xml"] = sheet.encode()
        with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return read(tmp_path / "a.xlsx").errors

    return write


@pytest.mark.quick(1)
@pytest.mark.parametrize("row", [2_000_000_000, 1 << 20 | 1, 10**30])
def test_a_row_below_the_last_one_ends_the_reading(book_with, row):
    """Of 1.5 KB: openpyxl would make up all rows between."""
    assert book_with(text_row(row)) == [
        (
            "a.xlsx: the sheet 'Sheet' has a row below the last one that Excel knows (1,048,576). "
            "Delete the cells far below the table."
        )
    ]


@pytest.mark.slow
def test_the_last_row_that_excel_knows_is_read(book_with):
    found = book_with(text_row(1 << 20))
    assert found[0].startswith("a.xlsx:1048576:")


def test_cells_far_to_the_right_have_a_limit(book_with, monkeypatch):
    monkeypatch.setattr(xlsx_reader, "MAX_CELLS", 40_000)
    rows = "".join(text_row(row, "XFD") for row in range(3, 10))
    assert book_with(rows) == [
        (
            "a.xlsx:5: the sheet 'Sheet' has more than 40,000 cells up to here; a workbook is read whole. "
            "Delete the cells far beside the table, or use CSV."
        )
    ]


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"rows": text_row(3, "C", "y" * (5 << 20))}, "the sheet 'Sheet' has a row of more than 4 MiB", id="one cell"),
        pytest.param({"rows": "<row>" + "<c><v>1</v></c>" * 400_000 + "</row>"}, "has a row of more than 4 MiB", id="cells of a row"),
        pytest.param({"rows": "<c><v>1</v></c>" * 400_000}, "has a row of more than 4 MiB", id="no end of a row"),
        pytest.param(
            {"below": "<mergeCells>" + '<mergeCell ref="A5:B6"/>' * 800_000 + "</mergeCells>"}, "has more than 16 MiB below", id="merges",
        ),
        pytest.param({"parts": {"xl/styles.xml": b"<xf/>" * 2_000_000}}, "has a part xl/styles.xml of more than 8 MiB", id="styles"),
        pytest.param({"parts": {"xl/strings.xml": b"<si/>" * 14_000_000}}, "has a part xl/strings.xml of more than 64 MiB", id="texts"),
    ],
)  # fmt: skip
def test_parts_that_unfold_are_refused(book_with, given, reason):
    (error,) = book_with(**given)
    assert reason in error
    assert error.endswith("Use CSV: it is read as a stream.")


def test_tags_without_end_are_scanned_once(book_with):
    """A pattern that looked from each tag to the end would take hours."""
    (error,) = book_with("<row " * 200_000)
    assert "cannot be read as a workbook" in error


def test_a_long_text_of_a_cell_is_a_problem_with_its_cell(book_with, monkeypatch):
    monkeypatch.setattr(xlsx_reader, "MAX_TEXT", 1000)
    error, *others = book_with(text_row(3, "A", "https://h/" + "y" * 1000))
    assert not any("image_1" in other for other in others)
    assert error == "a.xlsx:3:image_1: (cell A3) is longer than 1,000 characters. Write it shorter."


def test_no_more_merges_are_kept_than_a_sheet_may_have(book_with, monkeypatch):
    monkeypatch.setattr(xlsx_scan, "MOST_MERGED", 30)
    found = book_with(below="<mergeCells>" + '<mergeCell ref="A1:B1"/>' * 1000 + "</mergeCells>")
    assert found[-1].startswith("a.xlsx:1: 10 more ranges of the header are merged.")
