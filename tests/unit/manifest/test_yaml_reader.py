"""YAML manifests: values stay what was written, structure is judged with its lines."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiers import examples

from batch.core.parameters import MAX_SEED
from batch.manifest.columns import report_names
from batch.manifest.manifest import open_manifest
from batch.manifest.readers import yaml_reader

PAIR = "image_1: products/chair.jpg, image_2: textures/oak.jpg, prompt: Wrap"


@pytest.mark.parametrize(
    "written",
    ["0123", "4:5", "1e5", "0x1F", "0o17", "1_000", "1.50", "2024-01-31", "12:30:45", "yes", "no", "on", "Off", "TRUE",
     "NaN", ".inf", "0b11", "=", "007"],
)  # fmt: skip
def test_a_plain_value_is_the_text_that_was_written(read_yaml, written):
    payload = read_yaml(
        f"rows:\n  - {{{PAIR}, id: {written}, sku: {written}}}\n", name_template="x.{ext}"
    ).only
    assert (written, written) == (payload.id, payload.cells["sku"])


def test_ratios_need_no_quotes(read_yaml):
    payload = read_yaml(f"rows:\n  - {{{PAIR}, aspect_ratio: 4:5, seed: 0012, base64: yes}}\n").only
    assert tuple(payload.parameters[name] for name in ("aspect_ratio", "seed", "base64")) == ("4:5", 12, True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(60))
@given(st.integers(-1, MAX_SEED))
def test_every_seed_comes_back(read_yaml, seed):
    assert seed == read_yaml(f"rows:\n  - {{{PAIR}, seed: {seed}}}\n").only.parameters["seed"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(60))
@given(st.integers() | st.floats() | st.dates())
def test_a_plain_scalar_is_never_rewritten(read_yaml, value):
    assert str(value) == read_yaml(f"rows:\n  - {{{PAIR}, note: {value}}}\n").only.cells["note"]


@pytest.mark.parametrize("null", ["", "~", "null", '""'])
def test_null_and_empty_are_not_given(read_yaml, null):
    payload = read_yaml(
        f"defaults: {{seed: 7, sku: A}}\nrows:\n  - {{{PAIR}, seed: {null}, sku: {null}}}\n"
    ).only
    assert (payload.parameters["seed"], payload.cells["sku"]) == (7, "A")


def test_quoted_null_is_text(read_yaml):
    assert read_yaml(f'rows:\n  - {{{PAIR}, sku: "null"}}\n').only.cells["sku"] == "null"


def test_defaults_stand_below_overrides_and_rows(read_yaml):
    text = f"defaults: {{seed: 1, quality: 50, lora_2_url: 'https://h/l'}}\nrows:\n  - {{{PAIR}, seed: 3}}\n"
    parameters = read_yaml(text, overrides={"seed": "2", "quality": "60"}).only.parameters
    assert tuple(parameters[name] for name in ("seed", "quality", "lora_2_url", "image_format")) == (
        3,
        60,
        "https://h/l",
        "webp",
    )


def test_columns_are_the_union_in_first_seen_order(shop):
    path = shop / "a.yml"
    path.write_text(
        "defaults: {brand: B, seed: 7}\nrows:\n  - {sku: 1, image_1: a}\n  - {image_2: b, status: new, sku: 2}\n"
        "matrix: {texture: [oak]}\n"
    )
    manifest = open_manifest(path)
    assert manifest.columns == ("sku", "image_1", "image_2", "status", "texture", "brand")
    assert tuple(report_names(manifest.columns).values()) == ("sku", "manifest_status", "texture", "brand")


def test_anchors_and_merges(read_yaml):
    text = (
        "defaults: {seed: 7}\n"
        "rows:\n"
        "  - &first {image_1: products/chair.jpg, image_2: textures/oak.jpg, prompt: Wrap, sku: A}\n"
        "  - <<: *first\n    sku: B\n"
        "  - *first\n"
    )
    assert [payload.cells["sku"] for payload in read_yaml(text).payloads] == ["A", "B", "A"]


def test_billion_laughs_is_no_joke_and_no_harm(read_yaml):
    lines = ["rows:", '  - &a0 {sku: "ha"}', "defaults:"]
    lines += [f"  k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 19)]
    (first, *_) = read_yaml("\n".join(lines)).errors
    assert (
        first
        == "catalog.yaml:4:defaults.k1: is not a single value. Give one value; lists belong into `matrix:`."
    )


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        pytest.param("", ["catalog.yaml:1: the file is empty. Give `rows:` or `matrix:`."], id="empty"),
        pytest.param("# only words\n", ["catalog.yaml:1: the file is empty."], id="comment"),
        pytest.param("- a: b\n", ["catalog.yaml:1: the file is a list or a text. Put the rows under a key `rows:`."], id="list"),
        pytest.param("defaults: {seed: 7}\n", ["catalog.yaml:1: there are no rows. Give `rows:` or `matrix:`."], id="no rows"),
        pytest.param(
            "rows: []\nrow: []\nmatrx: {}\nfoo: 1\n",
            ["catalog.yaml:2:row: is not a key of a manifest. Did you mean rows?",
             "catalog.yaml:3:matrx: is not a key of a manifest. Did you mean matrix?",
             "catalog.yaml:4:foo: is not a key of a manifest. Known are columns, defaults, rows, matrix."],
            id="unknown keys",
        ),
        pytest.param("rows: {a: b}\n", ["catalog.yaml:1:rows: is not a list. Start each row with a dash"], id="rows a mapping"),
        pytest.param("rows:\n  - word\n", ["catalog.yaml:2:row 1: is not a mapping. Write column: value pairs."], id="row a text"),
        pytest.param("rows: []\ndefaults: 7\n", ["catalog.yaml:2:defaults: is not a mapping."], id="defaults a text"),
        pytest.param("rows: []\nmatrix: [a]\n", ["catalog.yaml:2:matrix: is not a mapping. Write one axis a line"], id="matrix a list"),
        pytest.param(
            "rows:\n  - {prompt: {texture}}\n",
            ["catalog.yaml:2:row 1.prompt: is not a single value. Put it in quotes: text that starts with { is a mapping"],
            id="a template without quotes",
        ),
        pytest.param(
            "rows:\n  - {seed: [1, 2]}\n", ["catalog.yaml:2:row 1.seed: is not a single value. Give one value; lists belong into"],
            id="a list in a row",
        ),
        pytest.param(
            "rows:\n  - seed: 1\n    seed: 2\nrows: []\n",
            ["catalog.yaml:3: the key seed is given twice (first on line 2). Remove one",
             "catalog.yaml:4: the key rows is given twice (first on line 1). Remove one"],
            id="keys given twice",
        ),
        pytest.param(
            "rows:\n  - {promt: x}\n  - {prompt: x, prompts: y}\n",
            ["catalog.yaml:2:row 1.promt: is not a parameter and looks like prompt. Did you mean prompt? Then rename it"],
            id="misspelt column",
        ),
        pytest.param("rows:\n  - {id: !!python/name:os.system x}\n",
                     ["catalog.yaml:2: the tag tag:yaml.org,2002:python/name:os.system is not understood. Remove it"], id="tag"),
        pytest.param("rows:\n  - *row\n", ["catalog.yaml:2: *row refers to nothing above. Define &row first.",
                                          "catalog.yaml:2:row 1: is not a mapping."], id="alias without anchor"),
        pytest.param("rows: &r [*r]\n", ["catalog.yaml:1: *r refers to nothing above.", "catalog.yaml:1:row 1"], id="alias in itself"),
        pytest.param("rows:\n  - {<<: 5}\n", ["catalog.yaml:2: << does not merge a mapping. Refer to a mapping"], id="merge of a text"),
        pytest.param("rows: []\n---\nrows: []\n", ["catalog.yaml:2: a second document starts here. Keep one"], id="two documents"),
        pytest.param("rows: " + "[" * 100_000, ["catalog.yaml:1: is nested deeper than 20 levels."], id="deep nesting"),
        pytest.param("rows:\n  - {prompt: a}\n  bad: [\n", ["catalog.yaml:3: does not fit here: a bracket is open"], id="no YAML"),
        pytest.param("rows:\n  - prompt: one: two\n",
                     ['catalog.yaml:2: has a second ": " in one value. Put text that holds ": "'],
                     id="a colon in text"),
        pytest.param("rows:\n\t- a\n", ["catalog.yaml:2: has a character that cannot start a value. Put text"],
                     id="tab"),
        pytest.param("rows:\n  - {prompt: 'a}\n", ["catalog.yaml:2: has a quote or a bracket that is not closed. Close it."], id="open quote"),
        pytest.param("rows:\n  - {prompt: a\x01b}\n", ["catalog.yaml:2: has the control character #x01. Remove it"], id="control"),
        pytest.param("rows: []\n? [a, b]\n: c\n", ["catalog.yaml:2: a key is empty or not text."], id="a list as key"),
        pytest.param("rows: []\nmanifest: a.csv\n", ["catalog.yaml:2:manifest: is not a key of a manifest. A job names a manifest"], id="job and rows"),
        pytest.param("rows:\n  - {status: a, manifest_status: b}\n", ["catalog.yaml:status: goes to the report as manifest_status"], id="clash"),
    ],
)  # fmt: skip
def test_structure_is_judged_with_line_and_remedy(read_yaml, text, starts):
    errors = read_yaml(text).errors
    for start, error in zip(starts, errors, strict=True):
        assert error.startswith(start)


def test_rows_are_read_whole_up_to_a_number(read_yaml, monkeypatch):
    monkeypatch.setattr(yaml_reader, "MAX_ROWS", 5)
    assert not any("rows: there are" in error for error in read_yaml("rows:" + "\n  - {a: b}" * 5).errors)
    (error,) = read_yaml("rows:" + "\n  - {a: b}" * 6).errors
    assert error.startswith("catalog.yaml:2:rows: there are 6 rows; YAML is read whole, up to 5. Use CSV")


def test_an_empty_list_of_rows_is_an_empty_manifest(read_yaml):
    reading = read_yaml("rows: []\n")
    assert (reading.payloads, reading.problems) == ([], [])


def test_a_spare_column_like_a_parameter_is_a_warning(read_yaml):
    reading = read_yaml(f"rows:\n  - {{{PAIR}, prompts: y}}\n")
    (warning,) = reading.warnings
    assert warning.startswith(
        "catalog.yaml:2:row 1.prompts: warning: is not a parameter and looks like prompt."
    )
    assert len(reading.payloads) == 1


def test_a_row_is_found_by_number_and_line(read_yaml):
    (error,) = read_yaml(f"rows:\n  - {{{PAIR}}}\n\n  - {{{PAIR}, seed: x}}\n").errors
    assert (
        error
        == "catalog.yaml:2:seed: (line 4) 'x' is not a whole number. Give a whole number from -1 to 2147483647."
    )


def test_what_is_wrong_with_a_default_is_told_once(read_yaml):
    row = "  - {image_1: products/chair.jpg, image_2: textures/oak.jpg, texture: oak}\n"
    errors = read_yaml("defaults: {seed: x, prompt: 'A {textur}', id: '{n'}\nrows:\n" + row * 3).errors
    starts = [
        "catalog.yaml:defaults.seed: 'x' is not a whole number. Give a whole number from -1 to 2147483647.",
        "catalog.yaml:defaults.prompt: {textur} is not a column. Did you mean {texture}?",
        "catalog.yaml:defaults.id: a { at character 1 has no partner.",
    ]
    assert [error[: len(start)] for error, start in zip(errors, starts, strict=True)] == starts


def test_a_file_above_the_limit_is_not_read(read_yaml, monkeypatch):
    monkeypatch.setattr("batch.manifest.readers.yaml_document.MAX_BYTES", 1 << 20)
    (error,) = read_yaml("rows: []\n" + "#" * (1 << 20)).errors
    assert error == "catalog.yaml: is larger than 1 MiB. Use CSV: it is read as a stream."
