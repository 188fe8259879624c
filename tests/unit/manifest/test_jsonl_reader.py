"""JSONL: one object a line; types mean what they mean in JSON; what is wrong is said with line, key and remedy."""

from __future__ import annotations

import json

import pytest
from manifest_reading import read

from batch.manifest.columns import report_names
from batch.manifest.manifest import open_manifest
from batch.manifest.readers import base, jsonl_reader

BASE = {"image_1": "products/chair.jpg", "image_2": "textures/oak.jpg", "prompt": "Wrap"}


@pytest.fixture
def read_jsonl(shop):
    """Read a JSONL manifest given as text, bytes or objects."""

    def reader(*content, **options):
        text = "".join(part if isinstance(part, str) else json.dumps(part) + "\n" for part in content)
        (shop / "pairs.jsonl").write_bytes(text.encode())
        return read(shop / "pairs.jsonl", **options)

    return reader


def line(**more) -> str:
    return json.dumps(BASE | more) + "\n"


def raw(text: str) -> str:
    """Return a line with a value of `note` as JSON text."""
    return json.dumps(BASE)[:-1] + f', "note": {text}}}\n'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param('"00123"', "00123", id="text stays text"),
        pytest.param("7", "7", id="int"),
        pytest.param("7.0", "7", id="integral float"),
        pytest.param("-0.0", "0", id="minus nothing"),
        pytest.param("1e5", "100000", id="exponent"),
        pytest.param("7.50", "7.5", id="a trailing zero is no part of a number"),
        pytest.param("0.12345678901234567890", "0.12345678901234567890", id="more digits than a float has"),
        pytest.param("0.1", "0.1", id="decimal"),
        pytest.param("1e-7", "1e-07", id="small"),
        pytest.param("1e1000000", "1E+1000000", id="beyond all bounds"),
        pytest.param("12345678901234567890123", "12345678901234567890123", id="long"),
        pytest.param("true", "true", id="true"),
        pytest.param("false", "false", id="false"),
        pytest.param("null", "", id="null"),
        pytest.param('"  kept\\n "', "  kept\n ", id="blanks"),
        pytest.param('"\\ud83e\\ude91"', "🪑", id="a pair of escapes"),
        pytest.param('"a\\u2028b"', "a\u2028b", id="a line separator is no line end"),
        pytest.param('"=1+1"', "=1+1", id="formula"),
    ],
)
def test_a_value_is_the_text_a_csv_would_hold(read_jsonl, value, text):
    assert read_jsonl(raw(value)).only.cells == {"note": text}


def test_parameters_take_json_types(read_jsonl):
    payload = read_jsonl(line(seed=7.0, quality=80, base64=True, aspect_ratio="4:5", image_3=None)).only
    taken = {
        name: payload.parameters[name] for name in ("seed", "quality", "base64", "aspect_ratio", "image_3")
    }
    assert taken == {"seed": 7, "quality": 80, "base64": True, "aspect_ratio": "4:5", "image_3": ""}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n  \n"])
def test_blank_lines_line_ends_and_a_bom_are_no_matter(read_jsonl, start, end):
    reading = read_jsonl(start + (line(id="a") + "\n" + line(id="b").rstrip()).replace("\n", end))
    assert reading.problems == []
    assert [payload.id for payload in reading.payloads] == ["a", "b"]


def test_numbers_are_lines(read_jsonl):
    reading = read_jsonl("\n", line(image_1="no.jpg"), "\n", line(seed=7.5), "\n")
    assert [(problem.row, problem.column) for problem in reading.problems] == [(2, "image_1"), (4, "seed")]
    assert reading.errors[1].startswith("pairs.jsonl:4:seed: '7.5' is not a whole number.")


def test_columns_are_the_union_of_all_keys_in_the_order_first_seen(shop):
    path = shop / "pairs.jsonl"
    objects = [{"b": 1, "prompt": "x"}, *[{"b": 1}] * 5000, {"status": "new", " a ": 2, "b": 3}]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in objects))
    manifest = open_manifest(path)
    assert manifest.columns == ("b", "prompt", "status", "a")
    assert tuple(report_names(manifest.columns).values()) == ("b", "manifest_status", "a")
    assert list(manifest.rows())[-1].cells == {"status": "new", "a": "2", "b": "3"}


def test_rows_without_a_key_have_an_empty_cell(read_jsonl):
    reading = read_jsonl(line(id="a"), line(id="b", note="n"))
    assert [payload.cells for payload in reading.payloads] == [
        {"id": "a", "note": ""},
        {"id": "b", "note": "n"},
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            line() + raw("[1, 2]") + raw('{"a": 1}'),
            ["pairs.jsonl:2:note: is a list or an object. Give one value.", "pairs.jsonl:3:note: is a list"],
            id="nested",
        ),
        pytest.param(
            '{"prompt": "a", "prompt": "b", "note": []}\n',
            ["pairs.jsonl:1:prompt: is given twice. Remove one of the two.", "pairs.jsonl:1:note: is a list"],
            id="a key twice, and all problems of a row",
        ),
        pytest.param(
            '{"seed": 1, " seed": 2}\n', ["pairs.jsonl:1:seed: is given twice."], id="twice but for blanks"
        ),
        pytest.param(
            '{"": 1, "prompt": "x"}\n', ["pairs.jsonl:1: a key is empty. Name the column."], id="no key"
        ),
        pytest.param(
            "[1]\n", ["pairs.jsonl:1: is not an object. Write one object a line"], id="a list on a line"
        ),
        pytest.param(
            '"text"\n7\n',
            ["pairs.jsonl:1: is not an object.", "pairs.jsonl:2: is not an object."],
            id="scalars",
        ),
        pytest.param(
            '[\n{"a": 1},\n{"a": 2}\n]\n',
            [
                "pairs.jsonl:1: starts a JSON list; what follows was not read. Write one object a line, without"
            ],
            id="a JSON list",
        ),
        pytest.param(
            json.dumps([BASE], indent=1)[2:],
            ["pairs.jsonl:1: the object does not end on its line; what follows was not read."],
            id="pretty printed",
        ),
        pytest.param(
            line() + "{'a': 1}\n" + '{"a": 1} {"a": 2}\n',
            [
                "pairs.jsonl:2: is not valid JSON: Expecting property name",
                "pairs.jsonl:3: is not valid JSON: Extra data",
            ],
            id="no JSON",
        ),
        pytest.param(
            raw("NaN"),
            ["pairs.jsonl:1: is not valid JSON: NaN is not JSON; write null for nothing."],
            id="NaN",
        ),
        pytest.param(
            raw("9" * 5000), ["pairs.jsonl:1: is not valid JSON: Exceeds the limit"], id="5000 digits"
        ),
        pytest.param(raw("[" * 100_000), ["pairs.jsonl:1: is nested too deeply."], id="deep"),
        pytest.param(raw('"a\\u0000b"'), ["pairs.jsonl:1:note: there is a NUL character in it."], id="NUL"),
        pytest.param(
            raw('"\\ud800"'), ["pairs.jsonl:1:note: there is half a character in it"], id="surrogate"
        ),
    ],
)
def test_a_broken_line_is_named_with_its_remedy(read_jsonl, content, expected):
    """Only problems of reading are looked at: a row without pictures has others."""
    errors = [error for error in read_jsonl(content).errors if "there is no such column" not in error]
    for start, error in zip(expected, errors, strict=True):
        assert error.startswith(start)


def test_a_line_without_end_is_cut(shop, monkeypatch):
    for module in (base, jsonl_reader):
        monkeypatch.setattr(module, "MAX_RECORD", 400)
    (shop / "pairs.jsonl").write_text(line(id="a") + line(note="x" * 1000) + line(id="b"))
    reading = read(shop / "pairs.jsonl")
    assert [payload.id for payload in reading.payloads] == ["a"]
    assert reading.errors == [
        f"pairs.jsonl:2: is longer than 400 characters; what follows was not read. {jsonl_reader.ONE_A_LINE}"
    ]


def test_keys_that_are_data_are_refused(read_jsonl):
    (error,) = read_jsonl(line(), {f"k{n}": n for n in range(1001)}).errors
    assert error.startswith("pairs.jsonl:2: there are more than 1000 different keys.")


def test_a_misspelt_key_is_named_with_the_line_it_is_first_on(read_jsonl):
    (error,) = read_jsonl(line(), line(sede=7), line(sede=8)).errors
    assert error.startswith("pairs.jsonl:2:sede: is not a parameter and looks like seed. Did you mean seed?")


def test_a_required_key_that_no_row_has_is_told_once(read_jsonl):
    (error,) = read_jsonl({"image_1": "products/chair.jpg", "prompt": "x", "texture": "oak"}, line()).errors
    assert error.startswith("pairs.jsonl:1:image_2: not given. Give a file or an http(s) URL")
    (error,) = read_jsonl({"image_1": "products/chair.jpg", "prompt": "x"}).errors
    assert error.startswith("pairs.jsonl:image_2: there is no such column. Add a column image_2")


@pytest.mark.parametrize("content", ["", "\n\n", "{}\n", '{"note": null}\n'])
def test_a_file_without_rows_is_an_empty_manifest(read_jsonl, content):
    reading = read_jsonl(content)
    assert reading.payloads == []
    assert [error for error in reading.errors if "no such column" not in error] == []


def test_another_encoding_is_named(shop):
    path = shop / "pairs.jsonl"
    path.write_bytes((json.dumps(BASE | {"note": "größe"}, ensure_ascii=False) + "\n").encode("cp1252"))
    assert read(path).errors[0].startswith("pairs.jsonl:1: there are bytes that are not UTF-8.")
    assert read(path, encoding="cp1252").only.cells == {"note": "größe"}
