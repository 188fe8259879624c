"""Workbooks, written by openpyxl as Excel stores them: a cell means what Excel shows; what is lost is a problem."""

from __future__ import annotations

import datetime as dt
import re
import zipfile

import pytest
from manifest_reading import edit_part, read
from openpyxl import Workbook
from openpyxl.styles import Alignment

from batch.core.csv_format import OUTCOME_COLUMNS
from batch.manifest.columns import report_names
from batch.manifest.manifest import open_manifest
from batch.manifest.readers import sheet_reader, xlsx_scan

DAY = dt.datetime.fromisoformat("2026-03-01")
HEAD = ["image_1", "image_2", "prompt", "note"]
ROW = ["products/chair.jpg", "textures/oak.jpg", "Wrap"]


@pytest.fixture
def book():
    """A workbook with one sheet."""
    return Workbook()


@pytest.fixture
def read_xlsx(shop, book):
    """Save the workbook and read it; `rows` are appended to its first sheet before."""

    def reader(*rows, edit=None):
        for row in rows:
            book.worksheets[0].append(row)
        book.save(shop / "pairs.xlsx")
        if edit:
            edit_part(shop / "pairs.xlsx", edit)
        return read(shop / "pairs.xlsx")

    return reader


def note(reading) -> str:
    return reading.only.cells["note"]


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        pytest.param("00123", "General", "00123", id="number stored as text"),
        pytest.param("7.0", "General", "7.0", id="text that looks like a number"),
        pytest.param(7, "General", "7", id="int"),
        pytest.param(7.0, "General", "7", id="integral"),
        pytest.param(0.1 + 0.2, "General", "0.3", id="Excel has 15 digits"),
        pytest.param(0.1 * 3 * 10, "General", "3", id="integral but for the rounding"),
        pytest.param(1e-7, "General", "1e-07", id="small"),
        pytest.param(1e20, "General", "100000000000000000000", id="large"),
        pytest.param(123, "00000", "00123", id="zeros by format"),
        pytest.param(True, "General", "true", id="TRUE"),
        pytest.param(False, "General", "false", id="FALSE"),
        pytest.param(None, "General", "", id="empty"),
        pytest.param("  kept ", "General", "  kept ", id="blanks"),
        pytest.param("two\nlines", "General", "two\nlines", id="two lines"),
        pytest.param("two_x000D_\nlines", "General", "two\r\nlines", id="a CR as Excel writes it"),
        pytest.param("'=1+1", "General", "'=1+1", id="an apostrophe that is text"),
        pytest.param(dt.date(2026, 3, 1), "yyyy-mm-dd", "2026-03-01", id="date"),
        pytest.param(DAY, "d.m.yy", "2026-03-01", id="a date in any format"),
        pytest.param(
            DAY.replace(hour=14, minute=5, second=9), "General", "2026-03-01T14:05:09", id="date and time"
        ),
        pytest.param(dt.time(4, 5), "h:mm", "04:05:00", id="time"),
        pytest.param(dt.timedelta(hours=30, minutes=5, seconds=1.5), "[h]:mm:ss", "30:05:01.5", id="span"),
    ],
)
def test_a_cell_means_what_excel_shows(read_xlsx, book, value, form, shown):
    sheet = book.active
    sheet.append(HEAD)
    sheet.append([*ROW, value])
    if form != "General":
        sheet["D2"].number_format = form
    assert note(read_xlsx()) == shown


def test_text_that_looks_like_an_error_is_text(read_xlsx, book):
    book.active.append(HEAD)
    book.active.append([*ROW, "#N/A"])
    book.active["D2"].data_type = "s"  # openpyxl would write an error
    assert note(read_xlsx()) == "#N/A"


def test_a_typed_apostrophe_is_excels_mark_for_text(read_xlsx, book):
    """Excel keeps it as a style of the cell, not in its value."""
    book.active.append(HEAD)
    book.active.append([*ROW, "007"])
    book.active["D2"].style = "Normal"
    book.active["D2"].alignment = Alignment(horizontal="left")
    book.active["D2"].quotePrefix = True
    assert note(read_xlsx()) == "007"


def test_parameters_take_excels_types(read_xlsx):
    payload = read_xlsx([*HEAD, "seed", "quality", "base64"], [*ROW, None, 7.0, 80, True]).only
    assert (payload.parameters["seed"], payload.parameters["quality"], payload.parameters["base64"]) == (
        7,
        80,
        True,
    )


def test_row_numbers_are_excels_and_messages_name_the_cell(read_xlsx):
    reading = read_xlsx([*HEAD, "seed"], [*ROW, "", 7], [], ["", " ", None], [*ROW, "", 7.5])
    assert reading.errors == [
        "pairs.xlsx:5:seed: (cell E5) '7.5' is not a whole number. Give a whole number from -1 to 2147483647."
    ]


def test_the_table_may_start_anywhere(read_xlsx, book):
    """Empty rows above, empty columns on the left and in between."""
    sheet = book.active
    for column, (name, value) in zip((3, 4, 6, 7), zip(HEAD, [*ROW, "n"], strict=True), strict=True):
        sheet.cell(4, column, f" {name} ")
        sheet.cell(7, column, value)
    reading = read_xlsx()
    assert (reading.only.number, note(reading)) == (7, "n")


def test_wrong_dimensions_hide_nothing(read_xlsx):
    """Many programs write them wrong; openpyxl alone would stop there."""
    reading = read_xlsx(
        HEAD, [*ROW, "n"], edit=lambda xml: re.sub(r'<dimension ref="[^"]*"', '<dimension ref="A1"', xml)
    )
    assert note(reading) == "n"


def test_cells_and_rows_without_places_are_counted(read_xlsx):
    """Some programs leave out what can be counted."""
    reading = read_xlsx(HEAD, [*ROW, "n"], edit=lambda xml: re.sub(r'<(c|row) r="[^"]*"', r"<\1", xml))
    assert (reading.only.number, note(reading)) == (2, "n")


def test_columns_in_order(shop, book):
    book.active.append(["sku", "prompt", "status", "image_2", 7, "image_1"])
    book.save(shop / "a.xlsx")
    manifest = open_manifest(shop / "a.xlsx")
    assert manifest.columns == ("sku", "prompt", "status", "image_2", "7", "image_1")
    assert tuple(report_names(manifest.columns).values()) == ("sku", "manifest_status", "7")
    assert (manifest.header_line, manifest.texbatch_own, list(manifest.rows())) == (1, False, [])


# -- formulas and errors ----------------------------------------------------------------------------------------------


def with_formula(value: str, kind: str = "") -> str:
    """Return an edit that makes D2 a formula with a stored value."""
    return lambda xml: re.sub(
        r'<c r="D2"[^>]*>.*?</c>', f'<c r="D2"{kind}><f>A2&amp;"x"</f>{value}</c>', xml, flags=re.DOTALL
    )


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        pytest.param("<v>8</v>", "", "8", id="number"),
        pytest.param("<v>made</v>", ' t="str"', "made", id="text"),
        pytest.param("<v></v>", ' t="str"', "", id="empty text"),
        pytest.param("<v/>", ' t="str"', "", id="empty text, short"),
        pytest.param("<v>1</v>", ' t="b"', "true", id="truth"),
    ],
)
def test_a_formula_is_its_stored_value(read_xlsx, value, kind, shown):
    assert note(read_xlsx(HEAD, [*ROW, "x"], edit=with_formula(value, kind))) == shown


@pytest.mark.parametrize("value", ["", "<v/>", "<v></v>", " <v></v> "])
def test_a_formula_without_a_stored_value_is_a_problem(read_xlsx, value):
    assert read_xlsx(HEAD, [*ROW, "x"], edit=with_formula(value)).errors == [
        "pairs.xlsx:2:note: (cell D2) the formula has no stored value. Save the workbook in Excel, or write the value."
    ]


def test_formulas_as_openpyxl_writes_them_have_no_value(read_xlsx):
    rows = [[*ROW, f"=A{n}"] for n in range(2, 4000)]
    errors = read_xlsx(HEAD, *rows).errors
    assert len(errors) == len(rows)
    assert errors[-1].startswith(
        f"pairs.xlsx:{len(rows) + 1}:note: (cell D{len(rows) + 1}) the formula has no stored"
    )


def test_a_formula_without_value_or_place_is_a_problem_of_the_file(read_xlsx):
    def edit(xml):
        return re.sub(r'<(c|row) r="[^"]*"', r"<\1", with_formula("")(xml))

    (error,) = read_xlsx(HEAD, [*ROW, "x"], edit=edit).errors
    assert error == "pairs.xlsx: a formula has no stored value. Open and save the workbook in Excel."


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!", "#NAME?"])
def test_an_error_is_a_problem_and_no_text(read_xlsx, error):
    reading = read_xlsx(HEAD, [*ROW, "x"], edit=with_formula(f"<v>{error}</v>", ' t="e"'))
    assert reading.errors == [
        f"pairs.xlsx:2:note: (cell D2) is Excel's error {error}. Fix its formula, or empty the cell."
    ]


def test_a_date_beyond_all_dates_is_an_error(read_xlsx, book):
    book.active.append(HEAD)
    book.active.append([*ROW, 99_999_999_999])
    book.active["D2"].number_format = "yyyy-mm-dd"
    (error,) = read_xlsx().errors
    assert "(cell D2) is Excel's error #VALUE!" in error


# -- what Excel made of what was typed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        pytest.param("aspect_ratio", dt.time(4, 5), "04:05:00", id="4:5"),
        pytest.param("aspect_ratio", dt.time(16, 9), "16:09:00", id="16:9"),
        pytest.param("prompt", dt.date(2026, 3, 1), "2026-03-01", id="a date as prompt"),
    ],
)
def test_a_ratio_that_excel_took_for_a_time_is_a_problem(read_xlsx, column, value, shown):
    cells = dict(zip(HEAD, [*ROW, ""], strict=True)) | {column: value}
    (error,) = read_xlsx(list(cells), list(cells.values())).errors
    letter = "ABCDE"[list(cells).index(column)]
    assert error == (
        f"pairs.xlsx:2:{column}: (cell {letter}2) Excel took what was typed for a date or time ({shown}). "
        "Format the column as Text, then write it again."
    )


def test_an_id_that_excel_took_for_a_date_is_a_warning_once(read_xlsx):
    reading = read_xlsx([*HEAD, "id"], *([*ROW, n, dt.date(2026, 3, n)] for n in (4, 5)))
    assert [payload.id for payload in reading.payloads] == ["2026-03-04", "2026-03-05"]
    assert reading.warnings == [
        (
            "pairs.xlsx:2:id: warning: (cell E2) Excel holds a date or time here (2026-03-04). "
            "If something else was typed: Format the column as Text, then write it again."
        )
    ]


def test_a_number_longer_than_excels_digits_is_a_warning_once(read_xlsx):
    reading = read_xlsx(HEAD, [*ROW, 4006381333931000], [*ROW, 4006381333932000])
    assert [payload.cells["note"] for payload in reading.payloads] == ["4006381333931000", "4006381333932000"]
    (warning,) = reading.warnings
    assert warning.startswith("pairs.xlsx:2:note: warning: (cell D2) Excel keeps only 15 digits of a number.")


# -- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("value", "form", "shown", "formerly"),
    [
        pytest.param(123, '"SKU-"00000', "SKU-00123", "123", id="text before the digits"),
        pytest.param(0.2, "0%", "20%", "0.2", id="percent"),
        pytest.param(-7.0, "0.00", "-7.00", "-7", id="decimals"),
        pytest.param(123.5, "00000", "00124", "123.5", id="rounded as the format shows it"),
        pytest.param(0.125, "0.0%", "12.5%", "0.125", id="percent with decimals"),
        pytest.param(1234567, "#,##0", "1,234,567", "1234567", id="thousands"),
        pytest.param(19.9, '#,##0.00 "€"', "19.90 €", "19.9", id="currency"),
        pytest.param(1.5, "# ?/?", "1 1/2", "1.5", id="fraction"),
        pytest.param("A7", '"SKU-"@', "SKU-A7", "A7", id="text"),
        pytest.param("oak_x0009_wood", "General", "oak\twood", "oak_x0009_wood", id="an escaped character"),
        pytest.param(
            "a_x005F_x0041_b", "General", "a_x0041_b", "a_x005F_x0041_b", id="an escaped underscore"
        ),
    ],
)
def test_a_formatted_cell_is_what_the_sheet_shows_and_what_it_was_before(
    read_xlsx, book, shop, value, form, shown, formerly
):
    """The second is what a paid row stays: the commit before read it so."""
    book.active.append(HEAD)
    book.active.append([*ROW, value])
    book.active["D2"].number_format = form
    read_xlsx()
    (row,) = open_manifest(shop / "pairs.xlsx").rows()
    assert (row.cells["note"], dict(row.formerly), row.unless_paid) == (shown, {"note": formerly}, ())


@pytest.mark.parametrize("form", ["General", "00000", "@", "yyyy-mm-dd"])
def test_a_cell_that_was_always_read_so_has_no_other_reading(read_xlsx, book, shop, form):
    book.active.append(HEAD)
    book.active.append([*ROW, 123])
    book.active["D2"].number_format = form
    read_xlsx()
    (row,) = open_manifest(shop / "pairs.xlsx").rows()
    assert row.formerly == {}


def test_a_format_counts_in_the_prompt_and_the_id(read_xlsx, book, shop):
    book.active.append([*HEAD[:2], "prompt", "id"])
    book.active.append([*ROW[:2], 7, 12])
    book.active["C2"].number_format = '"Swatch #"0'
    book.active["D2"].number_format = '"SKU-"000'
    read_xlsx()
    (row,) = open_manifest(shop / "pairs.xlsx").rows()
    assert (row.cells["id"], row.cells["prompt"]) == ("SKU-012", "Swatch #7")
    assert row.formerly == {"prompt": "7", "id": "12"}


def test_a_parameter_that_is_a_number_is_the_number(read_xlsx, book, shop):
    """Shown as 1,234, as 80.00 or as 1.00 for true."""
    book.active.append([*HEAD[:3], "seed", "quality", "base64"])
    book.active.append([*ROW, 1234, 80, 1])
    for cell, form in (("D2", "#,##0"), ("E2", "0.00"), ("F2", "0.00")):
        book.active[cell].number_format = form
    payload = read_xlsx().only
    assert [payload.parameters[name] for name in ("seed", "quality", "base64")] == [1234, 80, True]
    (row,) = open_manifest(shop / "pairs.xlsx").rows()
    assert row.formerly == {}


@pytest.mark.parametrize("form", ["[DBNum1]0", ";;;", "##0.0E+0"])
def test_a_format_that_is_not_understood_is_a_warning_with_the_cell_once(read_xlsx, book, shop, form):
    book.active.append(HEAD)
    for row in (2, 3):
        book.active.append([*ROW, 7])
        book.active[f"D{row}"].number_format = form
    reading = read_xlsx()
    assert [payload.cells["note"] for payload in reading.payloads] == ["7", "7"]
    (warning,) = reading.warnings
    assert warning.startswith(
        f"pairs.xlsx:2:note: warning: (cell D2) what the number format {form!r} shows is not known"
    )
    rows = [row for row in open_manifest(shop / "pairs.xlsx").rows() if hasattr(row, "formerly")]
    assert [row.formerly for row in rows] == [{}, {}]


def test_a_report_saved_in_a_spreadsheet_keeps_both_readings(read_xlsx, book, shop):
    """Of its own columns; outcomes are dropped from both."""
    book.active.append(["id", *HEAD, "payload_key", "run_id", "cost"])
    book.active.append(["a", *ROW, 0.2, "k", "r", 0.03])
    book.active["E2"].number_format = "0%"
    book.active["H2"].number_format = '"$"0.00'
    read_xlsx()
    (row,) = open_manifest(shop / "pairs.xlsx").rows()
    assert (row.cells["note"], row.formerly, "cost" in row.cells) == ("20%", {"note": "0.2"}, False)


# -- shape ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        pytest.param(["A1:D1"], ["pairs.xlsx:1: the header is merged (A1:D1), so not every column has a name"], id="header"),
        pytest.param(["A1:A2"], ["pairs.xlsx:1: the header is merged (A1:A2)"], id="two rows of header"),
        pytest.param(
            ["D2:D3"],
            [f"pairs.xlsx:{n}: the cells D2:D3 are merged: only the first of them has the value. Unmerge" for n in (2, 3)],
            id="rows",
        ),
        pytest.param(
            [f"D{n}:D{n + 1}" for n in range(4, 20, 4)],
            [f"pairs.xlsx:{n + down}: the cells D{n}" for n in range(4, 20, 4) for down in (0, 1)],
            id="each row that is covered, and no other",
        ),
        pytest.param(
            [f"{letter}1:{letter}2" for letter in "EFGHIJKLMNOPQRSTUVWXYZ"],
            [*(f"pairs.xlsx:1: the header is merged ({letter}1" for letter in "EFGHIJKLMNOPQRSTUVWX"),
             "pairs.xlsx:1: 2 more ranges of the header are merged."],
            id="a whole header",
        ),
    ],
)  # fmt: skip
def test_merged_cells_are_refused_with_the_reason(read_xlsx, book, ranges, expected):
    book.active.append(HEAD)
    for _ in range(44):
        book.active.append([*ROW, "x"])
    for merged in ranges:
        book.active.merge_cells(merged)
    errors = [error for error in read_xlsx().errors if "merged" in error]
    for start, error in zip(expected, errors, strict=True):
        assert error.startswith(start)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], ["pairs.xlsx: the sheet 'Sheet' is empty. Its first row names the columns"], id="empty"),
        pytest.param(
            [[*HEAD, "note"], [*ROW, "a", "b"]], ["pairs.xlsx:1:note: is there twice. Rename or remove one"], id="twice"
        ),
        pytest.param(
            [HEAD, [*ROW, "a"], [*ROW, "a", None, 5], [*ROW, "a", None, 6]],
            ["pairs.xlsx:3: (cell F3) is in a column without a name. Name the column in row 1, or empty it."],
            id="no name",
        ),
        pytest.param(
            [["image_1", "image_2", "promt"], ROW],
            ["pairs.xlsx:1:prompt: there is no such column. Add a column prompt",
             "pairs.xlsx:1: these columns may be meant: 'promt' as prompt. Add: --column prompt=promt",
             "pairs.xlsx:1:promt: is not a parameter and looks like prompt. Did you mean prompt?"], id="misspelt",
        ),
        pytest.param(
            [["image_1", "prompt"], ["products/chair.jpg", "x"]],
            ["pairs.xlsx:1:image_2: there is no such column. Add a column image_2"], id="missing",
        ),
    ],
)  # fmt: skip
def test_a_sheet_of_the_wrong_shape_is_named(read_xlsx, rows, expected):
    for start, error in zip(expected, read_xlsx(*rows).errors, strict=True):
        assert error.startswith(start)


def test_more_rows_than_are_read_whole_are_refused(read_xlsx, monkeypatch):
    monkeypatch.setattr(sheet_reader, "MAX_ROWS", 2)
    assert len(read_xlsx(HEAD, [*ROW, "a"], [*ROW, "b"], [" "]).payloads) == 2
    (error,) = read_xlsx([*ROW, "c"]).errors
    assert (
        error
        == "pairs.xlsx:5: there are more than 2 rows; a workbook is read whole. Use CSV: it has no limit."
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"image_1,image_2\n", "pairs.xlsx: is not an .xlsx workbook. Save it again", id="CSV"),
        pytest.param(b"", "pairs.xlsx: is not an .xlsx workbook.", id="empty"),
        pytest.param(
            b"\xd0\xcf\x11\xe0" + b"\0" * 600, "pairs.xlsx: has a password, or is an old .xls.", id="password"
        ),
    ],
)
def test_a_file_that_is_no_workbook_is_named(shop, content, expected):
    (shop / "pairs.xlsx").write_bytes(content)
    assert read(shop / "pairs.xlsx").errors[0].startswith(expected)


def test_an_archive_that_is_no_workbook_is_named(shop):
    with zipfile.ZipFile(shop / "pairs.xlsx", "w") as archive:
        archive.writestr("readme.txt", "no workbook")
    (error,) = read(shop / "pairs.xlsx").errors
    assert error.startswith("pairs.xlsx: cannot be read as a workbook (KeyError")


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(shop, monkeypatch):
    monkeypatch.setattr(xlsx_scan, "MAX_UNPACKED", 1 << 20)
    with zipfile.ZipFile(shop / "pairs.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"<" * (2 << 20))
    (error,) = read(shop / "pairs.xlsx").errors
    assert error.startswith("pairs.xlsx: unpacks to more than 1 MiB; a workbook is read whole. Use CSV")


def test_texbatchs_own_report_saved_in_excel_is_still_its_own(read_xlsx, shop):
    outcomes = dict.fromkeys(OUTCOME_COLUMNS, None) | {
        "status": "failed",
        "cost": 0.03,
        "attempts": 1,
        "run_id": "r",
    }
    cells = (
        {"id": "a", "note": "'=1+1", "seed": 7.0, "base64": False}
        | dict(zip(HEAD, ROW, strict=False))
        | outcomes
    )
    payload = read_xlsx(list(cells), list(cells.values())).only
    assert payload.cells == {"id": "a", "note": "=1+1"}
    assert (payload.parameters["seed"], open_manifest(shop / "pairs.xlsx").texbatch_own) == (7, True)
    reading = read_xlsx(list((cells | {"status": "unknown"}).values()))
    assert reading.errors[0].startswith("pairs.xlsx:3:status: a may have been submitted already")
