"""A broken CSV is named with its line and the remedy; the csv module's own errors never come through."""

from __future__ import annotations

import pytest
from manifest_reading import read

from batch.manifest.readers.csv_reader import MAX_RECORD

HEAD = "image_1,image_2,prompt,note\n"
ROW = "products/chair.jpg,textures/oak.jpg,Wrap it,{}\n"
PLAIN = HEAD + ROW.format("first") + ROW.format("second")
SAVE = 'Save it as "CSV UTF-8", or name its encoding with --encoding'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", ["pairs.csv:1: the file is empty. The first line names the columns"], id="empty"),
        pytest.param(b"\n \r\n", ["pairs.csv:1: the file is empty."], id="blank lines only"),
        pytest.param(b"sep=;\n", ["pairs.csv:1: the file is empty."], id="sep line only"),
        pytest.param(b"sep=|\nprompt|x\n", ["pairs.csv:1: the separator '|' is not known. Use comma"], id="sep=|"),
        pytest.param(b"a|prompt\n", ["pairs.csv:1: the columns are separated by |. Use comma"], id="pipes"),
        pytest.param(
            PLAIN.encode("utf-16-le"), ["pairs.csv:1: there are NUL bytes: the file is UTF-16 or not text at all."],
            id="UTF-16 without BOM",
        ),
        pytest.param(b"PK\x03\x04\0\0", ["pairs.csv: is a ZIP archive, perhaps an Excel workbook"], id="a workbook"),
        pytest.param(
            (HEAD + ROW.format("a") + ROW.format("größe")).encode("cp1252"),
            [f"pairs.csv:3: there are bytes that are not UTF-8. {SAVE}"], id="cp1252",
        ),
        pytest.param(
            "image_1,image_2,prompt,größe\n".encode("cp1252"), [f"pairs.csv:1: there are bytes that are not UTF-8. {SAVE}"],
            id="cp1252 in the header",
        ),
        pytest.param(
            b"\n\n" + PLAIN.encode() + b"ab\xc3", [f"pairs.csv:6: there are bytes that are not UTF-8. {SAVE}"],
            id="cut within a letter",
        ),
        pytest.param(
            (HEAD + "a" * 600 + "\n" + ROW.format("x\0y")).encode(),
            ["pairs.csv:2: has 1 cells, the header has 4.", "pairs.csv:3: there is a NUL byte"], id="NUL",
        ),
        pytest.param(
            (HEAD + "a,b,c\n" + "a,b,c,d,e\n").encode(),
            ["pairs.csv:2: has 3 cells, the header has 4. Add the missing cells",
             'pairs.csv:3: has 5 cells, the header has 4. Put text that holds a comma in double quotes ("…")'],
            id="ragged",
        ),
        pytest.param(
            (HEAD + "a,b\n" + 'x,y,"never closed,z\n' + ROW.format(1) * 3).encode(),
            ["pairs.csv:2: has 2 cells", ("pairs.csv:3: a double quote opens a cell here and is never closed; "
             "what follows was not read. Close it, or write a quote inside quoted text twice")],
            id="unclosed quote",
        ),
        pytest.param(
            (HEAD + 'x,y,"' + ("long, line\n" * (MAX_RECORD // 10))).encode(),
            ["pairs.csv:2: a double quote opens a cell here and is never closed"], id="unclosed quote before a long rest",
        ),
        pytest.param(b'image_1,"image_2\n', ["pairs.csv:1: a double quote in the header is never closed."],
                     id="unclosed quote in the header"),
        pytest.param(
            b"image_1,image_2,prompt,note,,note\n",
            ["pairs.csv:1: column 5 has no name. Name it", "pairs.csv:1:note: is there twice. Rename or remove one"],
            id="duplicate and empty names",
        ),
        pytest.param(
            b"image_1,image_2,prompt,status,manifest_status\n",
            ["pairs.csv:1:status: goes to the report as manifest_status, which is there too. Rename"], id="clash",
        ),
        pytest.param(
            b"sku,size\n1,2\n",
            ["pairs.csv:1:prompt: there is no such column. Add a column prompt, or give --prompt for all rows.",
             "pairs.csv:1:image_1: there is no such column.", "pairs.csv:1:image_2: there is no such column."],
            id="no known column",
        ),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_line_and_remedy(read_csv, content, expected):
    errors = read_csv(content).errors
    for start, error in zip(expected, errors, strict=True):
        assert error.startswith(start)


@pytest.mark.parametrize(
    ("header", "column", "meant", "warning"),
    [
        pytest.param("image_1,image_2,promt", "promt", "prompt", False, id="one letter missing"),
        pytest.param("image_1,image_2,prompt,sede", "sede", "seed", False, id="two letters swapped"),
        pytest.param("Image,image_2,prompt", "Image", "image_1", False, id="no number"),
        pytest.param(
            "image_1,image_2,prompt,As-pect rato",
            "As-pect rato",
            "aspect_ratio",
            False,
            id="beside what folds",
        ),
        pytest.param("image_1,image_2,prompt,seed,seeds", "seeds", "seed", True, id="both are there"),
        pytest.param("image_1,image_2,image_3,prompt,Images", "Images", "image_1", True, id="all are there"),
    ],
)
def test_a_column_that_looks_like_a_parameter(read_csv, header, column, meant, warning):
    reading = read_csv(header + "\n")
    start = (
        f"pairs.csv:1:{column}: {'warning: ' if warning else ''}is not a parameter and looks like {meant}."
    )
    *_, message = (
        reading.warnings if warning else reading.errors
    )  # after the proposal, where the column is missing
    assert message.startswith(start + f" Did you mean {meant}?")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        (
            "pairs.csx",
            "pairs.csx: .csx is not a manifest format. Known are .csv .tsv .yaml .yml .jsonl .xlsx .xlsm .ods .parquet.",
        ),
        ("pairs", "pairs: the file has no suffix that shows its format. Known are"),
        ("pairs.xlsx", "pairs.xlsx: does not exist. Did you mean pairs.csv?"),
        ("PAIRS.CSV", "PAIRS.CSV: does not exist. Did you mean pairs.csv?"),
        ("no/pairs.csv", "pairs.csv: does not exist. There is no folder no either"),
        ("folder.csv", "folder.csv: is a folder. Name the manifest file inside it."),
    ],
)
def test_a_file_that_is_no_manifest(shop, name, start):
    (shop / "pairs.csv").write_text(PLAIN)
    (shop / "folder.csv").mkdir()
    message = str(read(shop / name).problems[0]).replace(f"{shop}/", "")
    assert message.startswith(start)


def test_an_unknown_encoding_is_refused(read_csv):
    (error,) = read_csv(PLAIN, encoding="utf-9").errors
    assert error == "pairs.csv: the encoding 'utf-9' is not known. Try utf-8, utf-16 or cp1252."
    (error,) = read_csv(PLAIN, encoding="base64").errors
    assert "is not known" in error
