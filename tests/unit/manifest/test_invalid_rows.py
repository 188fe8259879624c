"""What is known of a row that cannot be sent: its id, its cells and its texts, as a person finds them in failures.csv."""

from __future__ import annotations

import pytest

from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest

HEAD = "id,image_1,image_2,prompt,seed,sku"
GOOD = "products/chair.jpg,textures/oak.jpg"


def only(reading):
    (row,) = reading.invalid
    assert reading.payloads == []
    return row


def test_an_invalid_row_keeps_its_id_its_cells_and_its_texts(read_csv, shop):
    row = only(read_csv(f"{HEAD}\na,products/none.jpg,textures/oak.jpg,Wrap {{sku}},soon,0007\n"))
    assert (row.number, row.id, row.derived_id, row.cells) == (2, "a", False, {"sku": "0007"})
    assert {name: row.texts[name] for name in ("image_1", "prompt", "seed", "quality")} == {
        "image_1": str(shop / "products/none.jpg"), "prompt": "Wrap 0007", "seed": "soon", "quality": "95",
    }  # fmt: skip
    assert [problem.column for problem in row.problems] == ["seed", "image_1"]
    assert row.reasons.startswith(str(shop / "pairs.csv:2:seed: 'soon' is not a whole number."))


def test_braces_are_doubled_where_a_template_was_expanded_and_only_there(read_csv):
    row = only(read_csv(f"{HEAD}\na,{GOOD},{{{{x}}}} {{sku}},soon,7\n"))
    assert row.texts["prompt"] == "{{x}} 7"
    row = only(read_csv(f"{HEAD}\na,{GOOD},{{skew}},7,7\n"))
    assert row.texts["prompt"] == "{skew}"


@pytest.mark.parametrize(
    ("line", "row_id", "sku"),
    [
        pytest.param("a,only,three", "a", "", id="cells are missing"),
        pytest.param(f",{GOOD},oak,soon,7", "chair-oak-", "7", id="no id"),
        pytest.param(",only,three", "row 2", "", id="nothing to make an id of"),
        pytest.param(f"{'a' * 300},{GOOD},oak,1,7", "row 2", "7", id="the id is the fault"),
    ],
)
def test_the_id_is_the_rows_own_where_there_is_one(read_csv, line, row_id, sku):
    row = only(read_csv(f"{HEAD}\n{line}\n"))
    assert (row.id.removesuffix(row.id[len(row_id) :]), row.cells["sku"]) == (row_id, sku)


def test_what_could_not_be_read_is_no_value_that_could_be_sent(read_csv, shop):
    """Whoever sends failures.csv as it is must not pay for other words than the sheet's."""
    (shop / "pairs.csv").write_text(f'{HEAD}\na,{GOOD},"the "rough" look","7"x,"A"7\n')
    (uncertain,) = Expander(open_manifest(shop / "pairs.csv"), overrides={})
    row = uncertain.now
    assert (row.texts["prompt"], row.texts["seed"], row.cells["sku"]) == ("", "?", "")
    assert [problem.column for problem in row.problems][-3:] == ["prompt", "seed", "sku"]
    row = only(read_csv(f"{HEAD}\na,{GOOD},oak, in linen,7,1\n", overrides={"prompt": "oak"}))
    assert (row.texts["prompt"], row.texts["image_1"]) == ("", "")


def test_what_else_is_wrong_with_a_cell_that_could_not_be_read_is_reported_too(read_csv):
    reading = read_csv(
        '{"image_1": "products/none.jpg", "image_2": "textures/oak.jpg", "prompt": ["oak"], "seed": 1e9}\n'
        "no JSON\n",
        name="pairs.jsonl",
    )
    first, second = reading.invalid
    assert [problem.column for problem in first.problems] == ["prompt", "image_1"]
    assert (second.id, set(second.cells.values())) == ("row 2", set())
