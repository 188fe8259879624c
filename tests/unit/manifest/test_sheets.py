"""Which sheet of a workbook is read, where its table begins, and what becomes of the rows that it hides."""

from __future__ import annotations

import re

import pytest
from manifest_reading import edit_part, read
from openpyxl import Workbook
from openpyxl.chart import BarChart

from batch.core.config import Reading
from batch.core.errors import UsageError
from batch.manifest.manifest import check_reading, open_manifest

HEAD = ["image_1", "image_2", "prompt", "note"]
ROW = ["products/chair.jpg", "textures/oak.jpg", "Wrap"]


@pytest.fixture
def book():
    """A workbook without a sheet."""
    made = Workbook()
    made.remove(made.active)
    return made


@pytest.fixture
def read_book(shop, book):
    """Save the workbook and read it."""

    def reader(name="pairs.xlsx", **reading):
        book.save(shop / name)
        return read(shop / name, reading=Reading(**reading))

    return reader


def add(book, title, *rows, state="visible"):
    """Add a sheet with these rows."""
    sheet = book.create_sheet(title)
    sheet.sheet_state = state
    for row in rows:
        sheet.append(row)
    return sheet


def table(note):
    return HEAD, [*ROW, note]


def notes(reading) -> list[str]:
    assert reading.errors == []
    return [payload.cells["note"] for payload in reading.payloads]


# -- which sheet ------------------------------------------------------------------------------------------------------


def test_the_only_visible_sheet_with_the_columns_is_read(read_book, book):
    add(book, "Notes", ["How to use this"], ["prompt", "what to say"])
    add(book, "Pairs", *table("n"))
    add(book, "Last year", *table("old"), state="hidden")
    reading = read_book()
    assert (notes(reading), reading.problems) == (["n"], [])


def test_several_sheets_with_the_columns_are_listed_with_the_line_to_paste(read_book, book):
    add(book, "Notes", ["How to use this"])
    add(book, "Preise 2025", ["Preise"], *table("a"))
    add(book, "Preise 2026", [*HEAD, "Preis"], [*ROW, "b", 9])
    (error,) = read_book().errors
    assert error == (
        "pairs.xlsx: several sheets have the columns image_1, image_2, prompt: "
        "'Preise 2025' (row 2: image_1, image_2, prompt, note), "
        "'Preise 2026' (row 1: image_1, image_2, prompt, note, Preis). "
        'Name the one that holds the rows: --sheet "Preise 2026"'
    )


def test_a_prompt_for_all_rows_need_not_be_a_column(read_book, book):
    add(book, "A", ["image_1", "image_2"], ROW[:2])
    add(book, "B", ["image_1", "prompt"])
    (payload,) = read_book(parameters={"prompt": "Wrap"}).payloads
    assert payload.number == 2


def test_where_no_sheet_has_the_columns_the_likeliest_is_looked_at(read_book, book):
    add(book, "Notes", ["How to use this"])
    add(book, "Pairs", ["image_1", "image_2", "promt"], ROW)
    assert read_book().errors[1:-1] == [
        "pairs.xlsx:1: these columns may be meant: 'promt' as prompt. Add: --column prompt=promt"
    ]


def test_where_no_sheet_has_a_known_heading_all_are_listed(read_book, book):
    add(book, "Hinweise", ["Stand", "heute"])
    add(book, "Leer")
    add(book, 'Ware "A"', ["Nummer", "Teil 1", "Teil 2", "x" * 50, *"123456"])
    (error,) = read_book().errors
    assert error == (
        "pairs.xlsx: no sheet has the columns image_1, image_2, prompt: 'Hinweise' (row 1: Stand, heute), 'Leer' (empty), "
        f"'Ware \"A\"' (row 1: Nummer, Teil 1, Teil 2, {'x' * 40}…, 1, 2, 3, 4, …). "
        "Name the one that holds the rows: --sheet 'Ware \"A\"'"
    )


def test_the_sheet_with_likely_headings_is_the_one_whose_columns_are_proposed(read_book, book):
    add(book, "Hinweise", ["Stand", "heute"])
    add(book, "Ware", ["SKU", "Produktbild", "Stoffbild", "Text für die KI"], ["1", *ROW])
    assert (
        read_book()
        .errors[-1]
        .endswith(
            'Add: --column id=SKU --column image_1=Produktbild --column image_2=Stoffbild --column prompt="Text für die KI"'
        )
    )


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("wanted", "read_is"),
    [("Pairs", "n"), ("pairs ", "n"), ("3", "old"), ("Last year", "old"), ("2", "n"), ("2026", "by title")],
)
def test_a_sheet_is_named_by_title_or_position_hidden_or_not(read_book, book, wanted, read_is):
    """Its title is looked for first; positions count the hidden sheets."""
    add(book, "Notes", ["How to use this"])
    add(book, "Pairs", *table("n"))
    add(book, "Last year", *table("old"), state="veryHidden")
    add(book, "2026", *table("by title"))
    assert notes(read_book(sheet=wanted)) == [read_is]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [("Pars", "Did you mean Pairs?"), ("0", "Give the title or the number of one."), ("9", "Give")],
)
def test_an_unknown_sheet_is_answered_with_all_of_them(read_book, book, wanted, remedy):
    add(book, "Notes", ["x"])
    add(book, "Pairs", *table("n"), state="hidden")
    (error,) = read_book(sheet=wanted).errors
    assert error.startswith(
        f"pairs.xlsx: there is no sheet {wanted!r}; the sheets are 1 'Notes', 2 'Pairs'. {remedy}"
    )


def test_a_workbook_without_a_visible_table_is_named(read_book, book):
    book.create_chartsheet("Chart").add_chart(BarChart())
    add(book, "Pairs", *table("n"), state="hidden")
    (error,) = read_book().errors
    assert error == (
        "pairs.xlsx: no sheet is visible. Unhide the one that holds the rows, or name it with --sheet."
    )


@pytest.mark.parametrize(
    ("name", "reading", "reason"),
    [
        ("pairs.csv", Reading(sheet="Pairs"), "--sheet Pairs: a .csv file has no sheets. Leave --sheet out."),
        ("pairs.yaml", Reading(skip_hidden=True), "--skip-hidden: a .yaml file hides no rows. Leave"),
    ],
)
def test_a_format_without_sheets_takes_none(tmp_path, name, reading, reason):
    with pytest.raises(UsageError) as caught:
        check_reading(tmp_path / name, reading)
    assert reason in str(caught.value)


# -- where the table begins -------------------------------------------------------------------------------------------


def test_the_header_is_found_below_titles_and_merged_cells(read_book, book, shop):
    sheet = add(book, "Pairs", ["Catalog 2026"], ["as of", 2026], [], ["", "Images"], *table("n"))
    sheet.merge_cells("A1:D1")
    sheet.merge_cells("B4:C4")
    reading = read_book()
    assert (notes(reading), reading.only.number) == (["n"], 6)
    assert open_manifest(shop / "pairs.xlsx").header_line == 5


def test_headings_in_other_spellings_and_mapped_ones_make_a_header(read_book, book, shop):
    add(book, "Pairs", ["Catalog"], ["Stand", "heute", "x", "y"], ["Bild 1", "Bild 2", "Text"], ROW)
    read_book()
    found = open_manifest(shop / "pairs.xlsx", Reading(columns={"image_1": "bild 1"}))
    assert (found.header_line, found.columns) == (3, ("image_1", "Bild 2", "Text"))


def test_a_row_of_data_is_no_header(read_book, book):
    """Even where its cells are words that are parameters' names."""
    add(book, "Pairs", [*HEAD, "kind"], [*ROW, "seed", "quality"])
    assert notes(read_book()) == ["seed"]


def test_without_a_known_heading_the_widest_row_below_a_title_is_the_header(read_book, book, shop):
    add(book, "Pairs", ["Katalog"], ["SKU", "Bild 1", "Bild 2"], ["a", "b", "c"])
    assert all(error.startswith("pairs.xlsx:2:") for error in read_book().errors)


def test_a_table_far_below_is_found_by_its_first_row(read_book, book, shop):
    sheet = add(book, "Pairs")
    sheet._current_row = 1199
    for row in table("n"):
        sheet.append(row)
    assert notes(read_book()) == ["n"]


# -- hidden rows ------------------------------------------------------------------------------------------------------


def test_hidden_rows_are_read_and_counted(read_book, book):
    """A filter hides rows; a person may believe that they are not sent. Empty rows do not count, and no title."""
    sheet = add(book, "Pairs", ["Catalog"], HEAD, *([*ROW, note] for note in "abc"), [], ["", None])
    for row in (1, 4, 5, 6, 7):
        sheet.row_dimensions[row].hidden = True
    reading = read_book()
    assert notes(reading) == ["a", "b", "c"]
    (warning,) = reading.warnings
    assert warning == (
        "pairs.xlsx: warning: 2 hidden rows of the sheet are read as well. A filter hides rows and does not leave them out: "
        "--skip-hidden does, or delete what is not meant."
    )


def test_hidden_rows_are_left_out_on_request_and_counted(read_book, book):
    sheet = add(book, "Pairs", HEAD, *([*ROW, note] for note in "abc"))
    sheet.row_dimensions[3].hidden = True
    sheet.column_dimensions["D"].hidden = True  # its cells are read
    reading = read_book(skip_hidden=True)
    assert notes(reading) == ["a", "c"]
    assert [payload.number for payload in reading.payloads] == [2, 4]
    (warning,) = reading.warnings
    assert warning.startswith("pairs.xlsx: warning: 1 hidden row of the sheet is left out.")


# -- other workbooks --------------------------------------------------------------------------------------------------


def test_a_workbook_with_macros_is_read(read_book, book):
    add(book, "Pairs", *table("n"))
    assert notes(read_book("pairs.xlsm")) == ["n"]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.xls", "is a workbook of Excel 97 to 2003, which is not read."),
        ("a.numbers", "is a document of Numbers, which is not read."),
        ("a.gsheet", "is a shortcut to a document of Google Drive and holds no rows."),
    ],
)
def test_other_spreadsheets_are_called_by_their_names(tmp_path, name, start):
    (tmp_path / name).write_bytes(b"x")
    assert read(tmp_path / name).errors[0].startswith(f"{name}: {start}")


def test_a_strict_workbook_is_named(read_book, book, shop):
    add(book, "Pairs", *table("n"))
    read_book()
    edit_part(
        shop / "pairs.xlsx",
        lambda xml: xml.replace(
            "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
            "http://purl.oclc.org/ooxml/spreadsheetml/main",
        ),
        "xl/workbook.xml",
    )
    (error,) = read(shop / "pairs.xlsx").errors
    assert error.startswith("pairs.xlsx: is a Strict Open XML workbook, which is not read. Save it again as")


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("text", "link", "image"),
    [
        ("Show image", "https://h/a.jpg?x=1&y=2", "https://h/a.jpg?x=1&y=2"),
        ("Show image", "products/ch%61ir.jpg", "products/chair.jpg"),
        (4711, "products/chair.jpg", "products/chair.jpg"),
        ("products/mug.png", "https://h/a.jpg", "products/mug.png"),
        ("https://h/b", "https://h/a.jpg", "https://h/b"),
        ("plain", "https://h/a.jpg", "plain"),
        ("Show image", "mailto:a@h", "Show image"),
    ],
)
def test_a_hyperlinked_cell_means_its_link_where_its_text_is_no_path(
    read_book, book, shop, text, link, image
):
    """`plain` is an image without a suffix. In other columns the text stays."""
    (shop / "plain").write_bytes((shop / "products/chair.jpg").read_bytes())
    sheet = add(book, "Pairs", HEAD, [text, *ROW[1:], "note"])
    sheet["A2"].hyperlink = link
    sheet["A2"].value = text
    sheet["D2"].hyperlink = "https://h/d.jpg"
    sheet["D2"].value = "note"
    read_book()
    (row,) = open_manifest(shop / "pairs.xlsx").rows()
    assert (row.cells["image_1"], row.cells["note"]) == (image, "note")
    assert row.formerly == ({"image_1": str(text)} if image != text else {})


def test_a_link_of_several_cells_and_one_made_by_a_formula(read_book, book, shop):
    sheet = add(book, "Pairs", HEAD, *(["Show", *ROW[1:], "n"] for _ in range(3)))
    sheet["A2"].hyperlink = "https://h/a.jpg"
    sheet["A2"].hyperlink.ref = "A2:A3"
    sheet["A2"].value = "Show"
    read_book()
    formula = '<c r="A4" t="str"><f>HYPERLINK("https://h/c.jpg?x=1&amp;y=2",B4)</f><v>Show</v></c>'
    edit_part(shop / "pairs.xlsx", lambda xml: re.sub(r'<c r="A4".*?</c>', formula, xml))
    rows = list(open_manifest(shop / "pairs.xlsx").rows())
    assert [row.cells["image_1"] for row in rows] == [
        "https://h/a.jpg",
        "https://h/a.jpg",
        "https://h/c.jpg?x=1&y=2",
    ]
