"""Rows to payloads: precedence, types, templates, ids and names; all problems of a row at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from batch.core.parameters import BY_NAME, PARAMETERS

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "image_1,image_2,prompt"
PAIR = "products/chair.jpg,textures/oak.jpg,Wrap"
URLS = "https://h/chair.jpg,https://h/oak.jpg,Wrap"


def one(column: str, value: str, pair: str = PAIR) -> str:
    quoted = value.replace('"', '""')
    return f'{HEAD},{column}\n{pair},"{quoted}"\n'


def sha(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_payload_has_every_parameter_and_its_files(read_csv, shop):
    payload = read_csv(f"{HEAD},sku,id\n{PAIR},A7,chair-oak\n").only
    chair, oak = shop / "products/chair.jpg", shop / "textures/oak.jpg"
    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    assert defaults | {"prompt": "Wrap", "image_1": sha(chair), "image_2": sha(oak)} == payload.parameters
    assert list(BY_NAME) == list(payload.parameters)
    assert {sha(chair): chair, sha(oak): oak} == payload.files
    assert payload.cells == {"sku": "A7", "id": "chair-oak"}
    assert (
        payload.number, payload.id, payload.derived_id, payload.output
    ) == (2, "chair-oak", False, "chair-oak.webp")  # fmt: skip


def test_urls_pass_as_they_are(read_csv):
    payload = read_csv(f"{HEAD},image_3\n{URLS},http://h:8080/x?y=%20&z#f\n").only
    assert payload.files == {}
    assert (
        payload.parameters["image_1"], payload.parameters["image_3"]
    ) == ("https://h/chair.jpg", "http://h:8080/x?y=%20&z#f")  # fmt: skip


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("seed", "7", 7), ("seed", "7.0", 7), ("seed", "-1.00", -1), ("quality", "80.0", 80), ("base64", "1.0", True), ("base64", "0.0", False), ("seed", " -1 ", -1), ("seed", "2147483647", 2147483647), ("seed", "007", 7), ("seed", "", 87568756),
        ("quality", "1", 1), ("quality", "+100", 100), ("base64", "true", True), ("base64", "NO", False), ("base64", "1", True),
        ("base64", "0", False), ("base64", "Yes", True), ("aspect_ratio", "4:5", "4:5"), ("image_format", "png", "png"),
        ("image_format", "jpg", "jpeg"), ("image_format", "JPG", "jpeg"), ("image_format", "WebP", "webp"),
        ("lora", "texture_apply", "texture_apply"), ("lora_2_url", "https://h/l.safetensors", "https://h/l.safetensors"),
        ("lora_3_url", " ", ""),
    ],
)  # fmt: skip
def test_text_becomes_the_parameters_type(read_csv, column, text, value):
    got = read_csv(one(column, text)).only.parameters[column]
    assert (value, type(value)) == (got, type(got))


WHOLE = "Give a whole number from"


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("seed", "7.5", f"'7.5' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "abc", f"'abc' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "1e3", f"'1e3' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "7.01", f"'7.01' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "7.", f"'7.' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("quality", "101.0", f"'101.0' is out of range. {WHOLE} 1 to 100."),
        ("seed", "1_0", f"'1_0' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "٣", f"'٣' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "true", f"'true' is not a whole number. {WHOLE} -1 to 2147483647."),
        ("seed", "-2", f"'-2' is out of range. {WHOLE} -1 to 2147483647."),
        ("seed", "2147483648", f"'2147483648' is out of range. {WHOLE} -1 to 2147483647."),
        ("seed", "9" * 30, f"'{'9' * 30}' is out of range. {WHOLE} -1 to 2147483647."),
        ("quality", "0", f"'0' is out of range. {WHOLE} 1 to 100."),
        ("base64", "maybe", "'maybe' is neither true nor false. Write true or false."),
        ("base64", "2", "'2' is neither true nor false. Write true or false."),
        ("image_format", "jepg", "'jepg' is not known. Did you mean jpeg? Known are jpeg, png, webp."),
        ("aspect_ratio", "16x9", "'16x9' is not known. Did you mean 16:9? Known are 1:1, 2:3"),
        ("lora", "other", "'other' is not known. Known are texture_apply."),
        ("lora_2_url", "lora.safetensors", "'lora.safetensors' is not an http(s) URL. Give a URL that starts with https://"),
        ("lora_2_url", "https://", "'https://' is not an http(s) URL."),
        ("lora_2_url", "https://h/a b", "'https://h/a b' is not an http(s) URL."),
        ("lora_3_url", "x" * 99, f"'{'x' * 60}…' is not an http(s) URL."),
    ],
)  # fmt: skip
def test_a_value_that_is_none_is_refused(read_csv, column, text, message):
    (error,) = read_csv(one(column, text)).errors
    assert error.startswith(f"pairs.csv:2:{column}: {message}")


def test_all_problems_of_a_row_are_told_at_once_and_none_hides_the_next_row(read_csv):
    reading = read_csv(f'{HEAD},seed,quality,id\nnope.jpg,,,x,0,"a\nb"\n{PAIR},1,2,ok\n')
    assert reading.errors == [
        "pairs.csv:2:seed: 'x' is not a whole number. Give a whole number from -1 to 2147483647.",
        "pairs.csv:2:quality: '0' is out of range. Give a whole number from 1 to 100.",
        "pairs.csv:2:prompt: empty. Give a prompt, or give --prompt for all rows without one.",
        "pairs.csv:2:image_2: empty. Give a file or an http(s) URL, or give --image-2 for all rows without one.",
        "pairs.csv:2:image_1: nope.jpg does not exist. Check the path; it starts at the manifest's folder.",
        "pairs.csv:2:id: holds a line break or another control character. Give a shorter id in one line, at most 200 bytes.",
    ]
    assert [payload.id for payload in reading.payloads] == ["ok"]


@pytest.mark.parametrize("blank", ["", "   ", '"\n"'])
def test_an_empty_prompt_is_a_problem(read_csv, blank):
    (error,) = read_csv(f"{HEAD}\nproducts/chair.jpg,textures/oak.jpg,{blank}\n").errors
    assert error == "pairs.csv:2:prompt: empty. Give a prompt, or give --prompt for all rows without one."


def test_a_missing_column_is_told_once(read_csv):
    errors = read_csv("image_1,note\n" + "products/chair.jpg,x\n" * 3).errors
    assert errors == [
        "pairs.csv:1:prompt: there is no such column. Add a column prompt, or give --prompt for all rows.",
        "pairs.csv:1:image_2: there is no such column. Add a column image_2, or give --image-2 for all rows.",
    ]


def test_overrides_fill_columns_and_cells_that_are_not_there(read_csv):
    overrides = {
        "prompt": "Default for {sku}",
        "image_2": "textures/{texture}.jpg",
        "seed": "5",
        "quality": "",
    }
    reading = read_csv(
        "image_1,prompt,sku,texture,seed\n" + "products/chair.jpg,,A7,oak,\n", overrides=overrides
    )
    assert tuple(reading.only.parameters[name] for name in ("prompt", "seed", "quality")) == (
        "Default for A7",
        5,
        95,
    )


def test_a_wrong_override_is_told_once_and_spares_rows_that_do_not_need_it(read_csv):
    reading = read_csv(
        f"{HEAD},seed\n{PAIR},\n{PAIR},\n{PAIR},3\n", overrides={"seed": "many", "prompt": "{"}
    )
    assert reading.errors == [
        "pairs.csv:seed: (given for all rows) 'many' is not a whole number. Give a whole number from -1 to 2147483647.",
        (
            "pairs.csv:prompt: (given for all rows) a { at character 1 has no partner. "
            "Write {column} for a value, {{ for the brace itself."
        ),
    ]
    assert [payload.number for payload in reading.payloads] == [4]


def test_an_override_of_no_parameter_is_our_own_mistake(read_csv):
    with pytest.raises(KeyError):
        read_csv(f"{HEAD}\n", overrides={"sead": "7"})


def test_templates_take_columns_parameters_and_the_id(read_csv):
    payload = read_csv(
        "id,image_1,image_2,prompt,lora_2_url,product,seed\n"
        "{product}-{seed},products/{product}.jpg,https://h/{id}/oak.jpg,"
        '"{{raw}} {product} {id} {seed} {quality} {image_format} {image_3}",https://h/{product},chair,7\n'
    ).only
    assert payload.id == "chair-7"
    assert payload.parameters["prompt"] == "{raw} chair chair-7 7 95 webp"
    assert payload.parameters["image_2"] == "https://h/chair-7/oak.jpg"
    assert payload.parameters["lora_2_url"] == "https://h/chair"
    assert next(iter(payload.files.values())).name == "chair.jpg"


def test_values_are_not_expanded_again(read_csv):
    payload = read_csv(f"{HEAD},sku,note\n{URLS[:-4]}A {{note}},7,{{sku}}\n").only
    assert payload.parameters["prompt"] == "A {sku}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("a,https://h/1,https://h/2,A {prduct},chair",
                     "pairs.csv:2:prompt: {prduct} is not a column. Did you mean {product}?", id="unknown"),
        pytest.param("a,https://h/1,https://h/2,A {prompt},chair", "pairs.csv:2:prompt: {prompt} is not a column.", id="itself"),
        pytest.param("{id},https://h/1,https://h/2,A,chair", "pairs.csv:2:id: {id} is not a column.", id="id in id"),
        pytest.param("a,https://h/{,https://h/2,A,chair", "pairs.csv:2:image_1: a { at character 11 has no partner.", id="brace"),
        pytest.param(",https://h/{id},https://h/2,A,chair", "pairs.csv:2:image_1: {id} is not a column.", id="derived id in a picture"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_expanded(read_csv, row, message):
    (error,) = read_csv(f"id,image_1,image_2,prompt,product\n{row}\n").errors
    assert error.startswith(message)


def test_a_gap_in_a_template_is_a_warning(read_csv):
    reading = read_csv(f"{HEAD},texture\n{PAIR[:-4]}Wrap in {{texture}} cloth,\n")
    assert reading.only.parameters["prompt"] == "Wrap in  cloth"
    assert reading.warnings == [
        "pairs.csv:2:prompt: warning: {texture} is empty in this row. Give texture, if a gap in the text is not meant."
    ]
