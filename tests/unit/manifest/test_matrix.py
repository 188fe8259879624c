"""The matrix: every combination in written order, pictures filled in as people expect."""

from __future__ import annotations

import pytest
from PIL import Image

from batch.manifest.manifest import open_manifest

BASE = "defaults: {prompt: 'The {texture} {product}', image_1: products/chair.jpg, image_2: textures/oak.jpg, product: p, texture: t}\n"


def files(reading) -> list[tuple[str, ...]]:
    return [tuple(path.name for path in payload.files.values()) for payload in reading.payloads]


def test_globs_fill_their_pictures_and_name_the_values(read_yaml):
    reading = read_yaml(
        'defaults: {prompt: "The {texture} {product}"}\n'
        'matrix:\n  product: "products/*"\n  texture: "textures/*"\n  id: "{product}-{texture}-{seed}"\n  seed: [7, 8]\n'
    )
    assert reading.problems == []
    assert [payload.id for payload in reading.payloads] == [
        "chair-denim-7", "chair-denim-8", "chair-oak-7", "chair-oak-8",
        "mug-denim-7", "mug-denim-8", "mug-oak-7", "mug-oak-8",
    ]  # fmt: skip
    assert files(reading)[0] == ("chair.jpg", "denim.webp")
    assert reading.payloads[-1].cells == {"product": "mug", "texture": "oak", "id": "mug-oak-8"}
    assert reading.payloads[-1].parameters["prompt"] == "The oak mug"
    assert [payload.number for payload in reading.payloads] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_columns_stand_in_written_order(shop):
    path = shop / "a.yaml"
    path.write_text(
        "matrix: {product: 'products/*', season: spring, texture: [{texture: a, finish: matt}, b], seed: [1, 2]}\n"
    )
    expected = ("product", "image_1", "season", "texture", "finish", "seed")
    assert open_manifest(path).columns == expected


def test_the_matrix_comes_after_the_rows(read_yaml):
    reading = read_yaml(
        BASE + "matrix: {texture: [b]}\nrows: [{id: first}]\n",
    )
    assert [(payload.number, payload.cells["texture"]) for payload in reading.payloads] == [
        (1, "t"),
        (2, "b"),
    ]


def test_a_choice_may_carry_several_columns(read_yaml):
    reading = read_yaml(
        BASE + "matrix:\n  texture: [oak, {texture: denim, image_2: textures/denim.webp, finish: matt}]\n"
    )
    assert files(reading) == [("chair.jpg", "oak.jpg"), ("chair.jpg", "denim.webp")]
    assert [payload.cells["finish"] for payload in reading.payloads] == ["", "matt"]


def test_a_choice_without_its_value_takes_the_stem_of_its_picture(read_yaml):
    payload = read_yaml(BASE + "matrix: {texture: [{image_2: textures/denim.webp}]}\n").only
    assert payload.cells["texture"] == "denim"


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param('fabric: {glob: "textures/*.webp", as: image_2}', id="a glob says as"),
        pytest.param('image_2: "textures/*.webp"', id="an axis named like the image"),
        pytest.param("image_2: [textures/denim.webp]", id="a path on that axis"),
        pytest.param('texture: "textures/[a-d]*"', id="a set"),
        pytest.param("texture: [denim]\n  image_2: 'textures/{texture}.webp'", id="a template in the matrix"),
        pytest.param(
            "texture: {glob: 'textures/d*', as: image_2, finish: matt}", id="a glob with another column"
        ),
    ],
)
def test_ways_to_name_the_second_picture(read_yaml, axis):
    assert files(read_yaml(BASE + f"matrix:\n  {axis}\n")) == [("chair.jpg", "denim.webp")]


WITHOUT = "defaults: {prompt: Wrap, image_1: products/chair.jpg}\n"


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param("[textures/oak.jpg, textures/denim.webp]", id="paths"),
        pytest.param('["textures/oak*", "textures/den*"]', id="globs in a list"),
    ],
)
def test_paths_on_the_texture_axis_are_its_pictures(read_yaml, axis):
    reading = read_yaml(WITHOUT + f"matrix: {{texture: {axis}}}\n")
    assert files(reading) == [("chair.jpg", "oak.jpg"), ("chair.jpg", "denim.webp")]
    assert [payload.cells["texture"] for payload in reading.payloads] == ["oak", "denim"]


def test_a_plain_value_takes_the_picture_the_rows_pair_it_with(read_yaml):
    reading = read_yaml(
        WITHOUT
        + "rows: [{texture: oak, image_2: textures/oak.jpg}]\nmatrix: {texture: [oak], seed: [1, 2]}\n"
    )
    assert files(reading) == [("chair.jpg", "oak.jpg")] * 3


def test_a_plain_value_that_names_no_picture_says_how_to_give_one(read_yaml):
    errors = read_yaml(
        WITHOUT
        + "rows: [{image_2: textures/oak.jpg, texture: oak}, {image_2: textures/denim.webp, texture: oak}]\n"
        "matrix: {texture: [oak, denim]}\n"
    ).errors
    assert len(errors) == 2
    assert errors[0].startswith(
        "catalog.yaml:3:image_2: (line 3) not given. texture is only the text 'oak': write"
    )
    assert '{texture: …, image_2: file}, or set image_2: "folder/{texture}.jpg"' in errors[0]


def test_files_come_in_natural_order(read_yaml, shop):
    for number in (10, 9, 1, 2):
        Image.new("RGB", (2, 2)).save(shop / f"textures/t{number}.png")
    reading = read_yaml(WITHOUT + 'matrix: {texture: "textures/t*"}\n')
    assert [payload.cells["texture"] for payload in reading.payloads] == ["t1", "t2", "t9", "t10"]


def test_braces_in_a_file_name_are_no_template(read_yaml, shop):
    Image.new("RGB", (2, 2)).save(shop / "textures/x{1}.png")
    payload = read_yaml(WITHOUT + 'matrix: {texture: "textures/x*"}\n').only
    assert (payload.cells["texture"], next(reversed(payload.files.values())).name) == ("x{1}", "x{1}.png")


def test_a_file_whose_name_looks_like_a_glob_is_itself(read_yaml, shop):
    Image.new("RGB", (2, 2)).save(shop / "textures/x[1].png")
    assert read_yaml(WITHOUT + 'matrix: {texture: ["textures/x[1].png"]}\n').only.cells["texture"] == "x[1]"


def test_prompts_are_never_globs(read_yaml):
    reading = read_yaml(BASE + 'matrix: {prompt: ["Is it *oak*?", "[b]"], note: "why?"}\n')
    assert [payload.parameters["prompt"] for payload in reading.payloads] == ["Is it *oak*?", "[b]"]


def test_excluded_combinations_are_left_out(read_yaml):
    reading = read_yaml(
        BASE + "matrix:\n  texture: [oak, denim]\n  seed: [7, 8, 9]\n"
        "  exclude: [{texture: oak, seed: 7}, {texture: denim, seed: [8, 9]}, {seed: 70}]\n"
    )
    assert [(payload.cells["texture"], payload.parameters["seed"]) for payload in reading.payloads] == [
        ("oak", 8),
        ("oak", 9),
        ("denim", 7),
    ]
    assert reading.warnings == [
        "catalog.yaml:5:matrix.exclude: warning: excludes no combination. Check its values, or remove it."
    ]


@pytest.mark.parametrize(
    ("matrix", "start"),
    [
        pytest.param('texture: "txtures/*.jpg"', 'catalog.yaml:3:matrix.texture: no file matches "txtures/*.jpg". There is no folder txtures',
                     id="no such folder"),
        pytest.param('texture: "textures/*.JPG"', 'catalog.yaml:3:matrix.texture: no file matches "textures/*.JPG". textures holds 2 files such as denim.webp; letter case',
                     id="nothing matches"),
        pytest.param('fabric: "textures/*"', "catalog.yaml:3:matrix.fabric: is a glob and does not say which image its files are. Write {glob:",
                     id="a glob for no image"),
        pytest.param("texture: []", "catalog.yaml:3:matrix.texture: is empty, so there is no combination. Give it values", id="empty axis"),
        pytest.param("texture: [[a]]", "catalog.yaml:3:matrix.texture: is a list inside a list.", id="nested"),
        pytest.param("texture: [{finish: matt}]", "catalog.yaml:3:matrix.texture: a choice does not say its texture. Add texture:", id="a choice without value"),
        pytest.param("texture: [{texture: [a]}]", "catalog.yaml:3:matrix.texture.texture: is not a single value.", id="a list in a choice"),
        pytest.param("texture: {glob: 'textures/*', as: picture}", "catalog.yaml:3:matrix.texture: as: picture is not an image parameter. Write as: image_1", id="as what"),
        pytest.param("texture: {glob: '', as: image_2}", "catalog.yaml:3:matrix.texture: has a glob that is empty", id="empty glob"),
        pytest.param("texture: [a, b]\n  exclude: {textur: a}", "catalog.yaml:4:matrix.exclude.textur: is not a column of the matrix. Did you mean texture?",
                     id="exclude misspelt"),
        pytest.param("texture: [a, b]\n  exclude: [a]", "catalog.yaml:4:matrix.exclude: is not a mapping. Write {product: mug", id="exclude a text"),
        pytest.param("sede: [1, 2]", "catalog.yaml:3:matrix.sede: is not a parameter and looks like seed. Did you mean seed?", id="axis misspelt"),
        pytest.param("texture: [{texture: a, seed: 1}]\n  seed: [2, 3]", "catalog.yaml:4:matrix.seed: gives seed, and so does the axis texture. Let one",
                     id="two axes give one column"),
        pytest.param(f"seed: [{', '.join(map(str, range(300)))}]\n  n: [{', '.join(map(str, range(200)))}]",
                     "catalog.yaml:3:matrix: there would be 60000 combinations; YAML is read whole, up to 50000 more rows. Use CSV", id="too many"),
    ],
)  # fmt: skip
def test_a_matrix_that_cannot_be_is_refused(read_yaml, matrix, start):
    (error, *_) = read_yaml(BASE + f"matrix:\n  {matrix}\n").errors
    assert error.startswith(start)


def test_the_example_of_the_design_reads_as_it_stands(read_yaml, shop):
    for name in ("swatches/d1.jpg", "extra/e1.jpg"):
        (shop / name).parent.mkdir()
        Image.new("RGB", (2, 2)).save(shop / name)
    Image.new("RGB", (2, 2), (5, 5, 5)).save(shop / "products/mug.jpg")
    reading = read_yaml("""\
defaults: {prompt: "Apply the {texture} texture to the {product}", seed: 7, image_format: webp}
rows:
  - {id: chair-oak, image_1: products/chair.jpg, image_2: textures/oak.jpg, product: chair, texture: oak}
matrix:
  product: "products/*.jpg"
  texture: [oak, {texture: denim, image_2: swatches/d1.jpg}, {glob: "extra/*.jpg", as: image_2}]
  seed: [7, 8]
  exclude: [{product: mug, texture: denim}]
  id: "{product}-{texture}-{seed}"
""")
    assert reading.problems == []
    assert [payload.id for payload in reading.payloads] == [
        "chair-oak", "chair-oak-7", "chair-oak-8", "chair-denim-7", "chair-denim-8", "chair-e1-7", "chair-e1-8",
        "mug-oak-7", "mug-oak-8", "mug-e1-7", "mug-e1-8",
    ]  # fmt: skip
