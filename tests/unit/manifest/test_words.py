"""Words reach the service as they stand in the file, or it is said where they do not: comments, control characters, names."""

from __future__ import annotations

import json
import os
import unicodedata

import pyarrow as pa
import pytest
from manifest_reading import read
from openpyxl import Workbook
from pyarrow import parquet

from batch.manifest.manifest import open_manifest
from batch.manifest.problems import ProblemLog
from batch.manifest.readers.yaml_document import read_document

PAIR = "image_1: products/chair.jpg, image_2: textures/oak.jpg, prompt: Wrap"
CUT = "in YAML a # after a blank begins a comment."


# -- comments in YAML --------------------------------------------------------------------------------------------------


def warnings_of(tmp_path, text: str) -> list[str]:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    found = ProblemLog(tmp_path / "a.yaml")
    read_document(tmp_path / "a.yaml", None, found)
    assert found.problems == []
    return [str(problem).replace(f"{tmp_path}/", "") for problem in found.warnings]


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        pytest.param("prompt: Apply swatch #7 (oak)", "#7 (oak)", id="a number"),
        pytest.param("prompt: Größe é 椅 #7", "#7", id="letters beyond ASCII"),
        pytest.param("prompt: 🪑🪑 swatch #7", "#7", id="letters beyond 16 bits"),
        pytest.param("prompt: #ff0000", "#ff0000", id="a colour, all of the value"),
        pytest.param("image_1: https://h/a.jpg #front", "#front", id="a URL"),
        pytest.param("finish: matt   #3", "#3", id="an own column"),
        pytest.param("prompt: one\n      two #3", "#3", id="over two lines"),
        pytest.param("texture:\n    - oak\n    - pine #2", "#2", id="in a list"),
        pytest.param("prompt: &p swatch #7\n    other: *p", "#7", id="with an anchor, said once"),
    ],
)
@pytest.mark.parametrize("pure", [False, True])
def test_words_that_a_hash_cuts_off_are_a_warning_with_the_line(tmp_path, monkeypatch, line, cut, pure):
    """With libyaml and without it."""
    if pure:
        monkeypatch.delattr("yaml.CSafeLoader")
    (warning,) = warnings_of(tmp_path, f"rows:\n  - id: a\n    {line}\n")
    number = 3 + line.split("\n    o")[0].count("\n") if line.startswith("texture") else 3
    column = line.partition(":")[0]
    assert warning.startswith(
        f"a.yaml:{number}:{column}: warning: ends before {cut!r}: {CUT} Put the value in quotes"
    )


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("begins", ["", "\ufeff", "# 🪑 größe\n"])
def test_line_ends_and_marks_do_not_shift_what_was_cut(tmp_path, begins, end):
    (tmp_path / "a.yaml").write_bytes((begins + "a: one #7 two\nb: c  # d\n").replace("\n", end).encode())
    found = ProblemLog(tmp_path / "a.yaml")
    read_document(tmp_path / "a.yaml", None, found)
    (warning,) = found.warnings
    assert (warning.row, warning.column) == (1 + begins.count("\n"), "a")
    assert warning.reason.startswith("ends before '#7 two':")


@pytest.mark.parametrize(
    "line",
    [
        "prompt: oak  # the good one", "prompt: oak ## note", "prompt: oak #", 'prompt: "swatch #7"', "prompt: 'oak' #7",
        "seed: 7 #lucky", "base64: true #yes", "aspect_ratio: 4:5 #portrait", "prompt: C#7", "image_1: https://h/a.jpg#7",
        "prompt: |\n      swatch #7", "#prompt: oak", "prompt: >-  #7\n      oak",
    ],
)  # fmt: skip
def test_a_comment_is_no_warning(tmp_path, line):
    assert warnings_of(tmp_path, f"rows:  #all of them\n  - id: a\n    {line}\n") == []


def test_a_name_after_an_ampersand_is_a_warning_unless_something_refers_to_it(tmp_path):
    (warning,) = warnings_of(tmp_path, "a: &Sons oak\nb: &x pine\nc: *x\nd: &m {k: v}\n")
    assert warning.startswith("a.yaml:1: warning: &Sons is not sent: in YAML it names the value")


# -- characters --------------------------------------------------------------------------------------------------------


def as_csv(path, prompt):
    path = path.with_suffix(".csv")
    path.write_text(f'image_1,image_2,prompt\nhttps://h/1,https://h/2,"{prompt}"\n', newline="")
    return path


def as_yaml(path, prompt):
    path = path.with_suffix(".yaml")
    path.write_text(
        f"rows:\n  - {{image_1: https://h/1, image_2: https://h/2, prompt: {json.dumps(prompt)}}}\n"
    )
    return path


def as_matrix(path, prompt):
    path = path.with_suffix(".yml")
    path.write_text(
        f"matrix: {{image_1: https://h/1, image_2: https://h/2, prompt: [{json.dumps(prompt)}]}}\n"
    )
    return path


def as_jsonl(path, prompt):
    path = path.with_suffix(".jsonl")
    path.write_text(json.dumps({"image_1": "https://h/1", "image_2": "https://h/2", "prompt": prompt}) + "\n")
    return path


def as_parquet(path, prompt):
    path = path.with_suffix(".parquet")
    parquet.write_table(
        pa.table({"image_1": ["https://h/1"], "image_2": ["https://h/2"], "prompt": [prompt]}), path
    )
    return path


def as_xlsx(path, prompt):
    path = path.with_suffix(".xlsx")
    book = Workbook()
    book.active.append(["image_1", "image_2", "prompt"])
    book.active.append(
        ["https://h/1", "https://h/2", "".join(f"_x{ord(c):04X}_" if c < " " else c for c in prompt)]
    )
    book.save(path)
    return path


FORMATS = [as_csv, as_yaml, as_matrix, as_jsonl, as_parquet, as_xlsx]


@pytest.mark.parametrize("character", ["\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x1f"])
@pytest.mark.parametrize("write", FORMATS)
def test_a_control_character_is_a_problem_unless_the_row_was_paid_for(tmp_path, write, character):
    """A row that an earlier version sent stays what was paid for."""
    entry = list(open_manifest(write(tmp_path / "a", f"a{character}b")).rows())[-1]
    (problem,) = entry.unless_paid
    assert (problem.row, problem.column) == (entry.number, "prompt")
    assert f"there is a control character in it (U+{ord(character):04X})." in problem.reason
    assert entry.cells["prompt"] == f"a{character}b"


@pytest.mark.parametrize("write", FORMATS)
def test_tabs_and_line_ends_are_text(tmp_path, write):
    entry = list(open_manifest(write(tmp_path / "a", "a\tb\nc")).rows())[-1]
    assert (entry.cells["prompt"], entry.unless_paid) == ("a\tb\nc", ())


@pytest.mark.parametrize("write", [as_yaml, as_matrix, as_xlsx])
def test_a_nul_that_was_taken_once_is_a_problem_unless_the_row_was_paid_for(tmp_path, write):
    (entry,) = open_manifest(write(tmp_path / "a", "a\0b")).rows()
    (problem,) = entry.unless_paid
    assert (problem.row, problem.column) == (entry.number, "prompt")
    assert "there is a NUL character in it." in problem.reason


@pytest.mark.parametrize("write", [as_jsonl, as_parquet])
def test_a_nul_that_was_never_taken_is_a_problem(tmp_path, write):
    (entry,) = open_manifest(write(tmp_path / "a", "a\0b")).rows()
    (problem,) = entry.problems
    assert (problem.column, "prompt" in entry.cells) == ("prompt", False)
    assert "NUL" in problem.reason


@pytest.mark.parametrize(
    "text", ['{"a": 1}\n{"\\ud83d": 1}', '{"a": 1}\n{"a": "\\ud83d"}', '{"a": 1}\n{"pro\\udc00mpt": 1}']
)
def test_half_a_character_in_jsonl_is_a_problem_with_its_line(tmp_path, text):
    """In a key and in a value."""
    (tmp_path / "a.jsonl").write_text(text + "\n")
    (error,) = [error for error in read(tmp_path / "a.jsonl").errors if "lone surrogate" in error]
    assert error.startswith("a.jsonl:2:")
    error.encode()


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        'rows: [{"prompt": "a\\ud83db"}]\n',
        'rows: [{"a\\ud83d": b}]\n',
        'rows: [{"a\\0": b}]\n',
        'rows: [{"a\\x01": b}]\n',
    ],
)
def test_a_bad_character_in_yaml_is_a_problem_with_its_line(tmp_path, monkeypatch, text, pure):
    if pure:
        monkeypatch.delattr("yaml.CSafeLoader")
    (tmp_path / "a.yaml").write_text("\n" + text)
    errors = read(tmp_path / "a.yaml").errors
    assert any(error.startswith(("a.yaml:2:", "a.yaml:1:prompt: (line 2) ")) for error in errors)
    "".join(errors).encode()


@pytest.mark.parametrize("encoding", ["utf-7", "raw_unicode_escape"])
@pytest.mark.parametrize("name", ["a.csv", "a.yaml", "a.jsonl"])
def test_an_encoding_that_yields_half_a_character_is_a_problem(tmp_path, encoding, name):
    half = {"utf-7": b"+2D0-", "raw_unicode_escape": b"\\ud83d"}[encoding]
    text = {
        "a.csv": b"a,prompt\n1,%s\n",
        "a.yaml": b"rows: [{prompt: x%s}]\n",
        "a.jsonl": b'{"prompt": "%s"}\n',
    }[name]
    (tmp_path / name).write_bytes(text % half)
    errors = read(tmp_path / name, encoding=encoding).errors
    assert errors
    "".join(errors).encode()


@pytest.mark.parametrize(
    "content",
    ['a,prompt,"x\x01"\n1,2,3\n', "a,prompt,x\x1b[1m\n1,2,3\n"],
)
def test_a_control_character_in_a_columns_name_is_a_problem(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    (error,) = read(tmp_path / "a.csv").errors
    assert error.startswith("a.csv:1: the name of column 3 ('x\\x")


@pytest.mark.parametrize("default", ['prompt: "a\\0b"', 'brand: "a\\x01b"', 'lora_2_url: "https://h/\\x07"'])
def test_a_bad_character_in_a_default_is_told_once(read_yaml, default):
    row = "  - {image_1: products/chair.jpg, image_2: textures/oak.jpg, prompt: x}\n"
    name = default.partition(":")[0]
    errors = [
        error for error in read_yaml(f"defaults: {{{default}}}\nrows:\n{row * 2}").errors if "in it" in error
    ]
    (error,) = errors
    assert error.startswith(f"catalog.yaml:defaults.{name}: there is a")


def test_a_bad_character_in_an_override_is_told_once(read_yaml):
    (error,) = read_yaml(f"rows: [{{{PAIR}}}]\n", overrides={"prompt": "a\0b", "quality": "5"}).errors
    assert error == "catalog.yaml:prompt: (given for all rows) there is a NUL character in it. Remove it."


# -- file names --------------------------------------------------------------------------------------------------------

MATRIX = (
    'defaults: {prompt: "The {product}", image_2: textures/oak.jpg}\nmatrix: {product: "products/*.jpg"}\n'
)


def copied(shop, name: bytes) -> None:
    data = (shop / "products" / "chair.jpg").read_bytes()
    (shop / "products" / os.fsdecode(name)).write_bytes(data)


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xff.jpg", b"a\xc3.jpg"])
def test_a_file_name_that_is_not_utf8_is_a_problem_that_shows_it(read_yaml, shop, name):
    copied(shop, name)
    (error,) = read_yaml(MATRIX).errors
    shown = name.decode(errors="backslashreplace")
    assert f'the name of the file "products/{shown}" is not valid UTF-8. Rename it' in error


@pytest.mark.parametrize("pattern", ["products/*.png?", "products/*.gif"])
def test_a_glob_without_files_names_others_that_can_be_printed(read_yaml, shop, pattern):
    for path in (shop / "products").iterdir():
        path.rename(shop / path.name)
    (shop / "chair.jpg").rename(shop / "products" / os.fsdecode(b"caf\xe9.jpg"))
    (error,) = [
        error for error in read_yaml(MATRIX.replace("products/*.jpg", pattern)).errors if "matches" in error
    ]
    assert "caf\\xe9.jpg" in error


def test_a_row_of_a_latin_1_file_names_what_is_not_there(read_csv, shop):
    """The disk has the name in Latin-1, too; the message can be printed."""
    copied(shop, b"caf\xe9.jpg")
    content = "image_1,image_2,prompt\nproducts/café.jpg,textures/oak.jpg,x\n".encode("latin-1")
    (error,) = read_csv(content, encoding="latin-1").errors
    assert error == "pairs.csv:2:image_1: products/café.jpg does not exist. Did you mean caf\\xe9.jpg?"


def test_a_folder_whose_name_is_not_utf8_is_a_problem_of_the_row(shop):
    folder = shop / os.fsdecode(b"d\xe9")
    folder.mkdir()
    (shop / "products" / "chair.jpg").rename(folder / "chair.jpg")
    (folder / "pairs.csv").write_text("image_1,image_2,prompt\nchair.jpg,https://h/2,x\n")
    (error,) = read(folder / "pairs.csv").errors
    assert "d\\xe9/chair.jpg is not valid UTF-8." in error.replace(str(shop), "")


@pytest.mark.parametrize(
    "stem",
    [
        "-dash",
        "=1+1",
        "n" * 251,
        unicodedata.normalize("NFD", "café"),
        "two\nlines",
        "a b",
        "ä" * 125,
        "'q'",
        "{brace}",
    ],
)
def test_other_names_are_carried(read_yaml, shop, stem):
    copied(shop, f"{stem}.jpg".encode())
    (shop / "products" / "chair.jpg").unlink()
    payload = read_yaml(MATRIX).only
    assert (payload.cells["product"], payload.parameters["prompt"]) == (stem, f"The {stem}")
    assert [path.name for path in payload.files.values()] == [f"{stem}.jpg", "oak.jpg"]
