"""CSV and TSV: cells come back unchanged, whatever wrote the file; what is wrong is said with line and remedy."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiers import examples

from batch.core.config import Reading
from batch.core.models import Problem, Row
from batch.manifest.columns import report_names
from batch.manifest.manifest import open_manifest

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "image_1,image_2,prompt,note\n"
ROW = "products/chair.jpg,textures/oak.jpg,Wrap it,{}\n"
PLAIN = HEAD + ROW.format("first") + ROW.format("second")


def rows(path: Path, encoding: str | None = None) -> list[Row]:
    entries = list(open_manifest(path, Reading(encoding=encoding)).rows())
    assert [entry for entry in entries if isinstance(entry, Problem)] == []
    return [entry for entry in entries if isinstance(entry, Row)]


def lines_of(text: str) -> int:
    return len(io.StringIO(text, newline="").readlines())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PLAIN.encode(), id="plain"),
        pytest.param(PLAIN.rstrip("\n").encode(), id="no line break at the end"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN.encode(), id="BOM"),
        pytest.param(PLAIN.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(PLAIN.replace("\n", "\r").encode(), id="CR, old Mac"),
        pytest.param(PLAIN.replace(",", ";").encode(), id="semicolon"),
        pytest.param(PLAIN.replace(",", "\t").encode(), id="tab"),
        pytest.param(
            b"sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n").encode(), id="Excel's sep line"
        ),
        pytest.param(
            b'\xef\xbb\xbf"sep=;"\r\n' + PLAIN.replace(",", ";").encode(),
            id="Excel's sep line, quoted, after a BOM",
        ),
        pytest.param(
            b"\xef\xbb\xbf" + PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
            id="Excel, CSV UTF-8, Germany",
        ),
        pytest.param(("\n  \n" + PLAIN.replace("\n", "\n\n,,,\n\n")).encode(), id="blank and empty lines"),
        pytest.param(
            PLAIN.replace("image_1,", '" image_1 ", ', 1).replace("prompt", " prompt ", 1).encode(),
            id="blanks around header names",
        ),
    ],
)
def test_every_usual_file_reads_the_same(read_csv, content):
    reading = read_csv(content)
    assert reading.problems == []
    assert [payload.cells["note"] for payload in reading.payloads] == ["first", "second"]
    assert [{"chair.jpg", "oak.jpg"}] * 2 == [
        {file.name for file in p.files.values()} for p in reading.payloads
    ]


TEXTS = ["00123", "1E5", "NA", "TRUE", "null", "#N/A", "-0", "1.50", "", "  kept  ", "3,5", 'say "x"', "two\nlines",
         "two\r\nlines", "'", "=1+1", "ä€椅🪑", '5" screen', "a;b", "a\tb", "#no comment", "\\", "\u2028", "nan"]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_cell_comes_back_unchanged(read_csv, text, separator):
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter=separator)
    writer.writerow(["image_1", "image_2", "prompt", "note"])
    writer.writerow(["products/chair.jpg", "textures/oak.jpg", "Wrap", text])
    assert text == read_csv(target.getvalue()).only.cells["note"]


CELLS = st.text(alphabet=st.sampled_from(",;\t\"'\n\r a1é{}="), max_size=6) | st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=10
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(150))
@given(
    table=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6),
    separator=st.sampled_from(",;\t"),
    dialect=st.sampled_from(
        [
            (
                csv.QUOTE_MINIMAL,
                "\r\n",
            ),  # with another line end Python before 3.13 leaves a lone CR or LF unquoted
            *(
                (quoting, end)
                for quoting in (csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)
                for end in ("\n", "\r\n", "\r")
            ),
        ]
    ),
    bom=st.booleans(),
)
def test_what_csv_writes_comes_back(tmp_path, table, separator, dialect, bom):
    """Rows of blanks only count as blank lines, and their numbers are the lines on which records start."""
    quoting, end = dialect
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter=separator, quoting=quoting, lineterminator=end)
    header = ["prompt", "image_1", "note"]
    writer.writerow(header)
    expected = []
    for cells in table:
        start = lines_of(target.getvalue()) + 1
        before = target.tell()
        writer.writerow(cells)
        if target.getvalue()[before:].strip(separator + " \t\r\n"):
            expected.append((start, cells))
    path = tmp_path / "round.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + target.getvalue().encode())
    assert expected == [(row.number, list(row.cells.values())) for row in rows(path)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(300))
@given(st.text(alphabet=st.sampled_from('",\n\ra '), max_size=40))
def test_any_text_yields_rows_and_problems_but_no_foreign_error(tmp_path, text):
    path = tmp_path / "any.csv"
    path.write_bytes(b"prompt,note\n" + text.encode())
    lines = lines_of("prompt,note\n" + text)
    for entry in open_manifest(path).rows():
        number = entry.row if isinstance(entry, Problem) else entry.number
        assert 2 <= number <= lines
        if isinstance(entry, Row) and not entry.problems:
            assert {"prompt", "note"} == entry.cells.keys()


def test_numbers_are_lines_as_an_editor_counts(read_csv):
    reading = read_csv(
        "image_1,image_2,prompt\n"
        'nope1.jpg,textures/oak.jpg,"two\nlines"\n'  # lines 2 and 3
        "\n"
        'nope2.jpg,textures/oak.jpg,"three\r\nlines\n"\n'  # lines 5 to 7
        "nope3.jpg,textures/oak.jpg,one\n"
    )
    assert [problem.row for problem in reading.problems] == [2, 5, 8]


def test_line_numbers_hold_over_many_blocks(shop):
    path = shop / "long.csv"
    path.write_text("prompt,note,n\n" + "".join(f'h,"a\nb",{2 + 3 * number}\n\n' for number in range(5000)))
    assert all(row.number == int(row.cells["n"]) for row in rows(path))


def test_own_columns_are_untouched_and_parameters_stripped(read_csv):
    payload = read_csv(HEAD + " products/chair.jpg , textures/oak.jpg ,  Wrap it ,  n \n").only
    assert (payload.parameters["prompt"], payload.cells["note"]) == ("Wrap it", "  n ")


def test_a_header_alone_is_an_empty_manifest(read_csv):
    reading = read_csv(HEAD)
    assert (reading.payloads, reading.problems) == ([], [])


def test_encoding_is_taken_when_it_is_named(read_csv):
    content = HEAD + ROW.format("größe")
    assert read_csv(content.encode("cp1252"), encoding="cp1252").only.cells["note"] == "größe"
    assert read_csv(content.encode("utf-16-le"), encoding="utf-16-le").only.cells["note"] == "größe"
    assert read_csv(("\ufeff" + content).encode(), encoding="UTF-8").only.cells["note"] == "größe"


@pytest.mark.parametrize(("mark", "codec"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
@pytest.mark.quick(1)
def test_utf16_with_its_mark_is_read(read_csv, mark, codec):
    """As Excel writes "Unicode Text", which it calls .txt, and Numbers and shop systems write .csv."""
    content = (HEAD + ROW.format("größe")).replace(",", "\t")
    assert read_csv(mark + content.encode(codec), name="pairs.tsv").only.cells["note"] == "größe"


def test_titles_above_the_header_are_no_rows(read_csv):
    """Of a spreadsheet saved as CSV, with its empty cells, its blank lines and a date."""
    titles = 'Catalog 2026;;;\n\n"as of; today";27.11.2026;;\n;;;\n'
    reading = read_csv(titles + (HEAD + ROW.format("n")).replace(",", ";"))
    assert (reading.only.number, reading.only.cells) == (6, {"note": "n"})


def test_where_no_line_is_a_header_the_widest_below_a_title_is_shown(read_csv):
    errors = read_csv("Catalog 2026\nBild 1;Bild 2;Text\na.jpg;b.jpg;x\n").errors
    assert all(error.startswith("pairs.csv:2:") for error in errors)


def test_columns_named_like_outcomes_are_kept_under_another_name(read_csv):
    payload = read_csv(
        "image_1,image_2,prompt,status,id,cost\nproducts/chair.jpg,textures/oak.jpg,A {status} one,new,7,9.99\n"
    ).only
    assert payload.cells == {"manifest_status": "new", "id": "7", "manifest_cost": "9.99"}
    assert payload.parameters["prompt"] == "A new one"


def test_columns_in_order(shop):
    path = shop / "a.tsv"
    path.write_text("sku\tprompt\tstatus\timage_2\tid\timage_1\n")
    manifest = open_manifest(path)
    assert manifest.columns == ("sku", "prompt", "status", "image_2", "id", "image_1")
    assert tuple(report_names(manifest.columns).values()) == ("sku", "manifest_status", "id")
    assert not manifest.texbatch_own
