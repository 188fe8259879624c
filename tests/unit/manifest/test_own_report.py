"""texbatch's own reports as manifests: rows go in as they came, submitted ones do not go in again."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest_reading import read
from tiers import examples

from batch.core.csv_format import OUTCOME_COLUMNS, double_braces, escape_formula
from batch.core.parameters import PARAMETERS
from batch.manifest.columns import report_names
from batch.manifest.manifest import open_manifest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [parameter.name for parameter in PARAMETERS]


def report(path: Path, *, note: str = "", prompt: str = "Wrap", **outcomes: str) -> Path:
    """Write one row as our reports do."""
    parameters = {
        p.name: str(p.default).lower() if isinstance(p.default, bool) else str(p.default) for p in PARAMETERS
    }
    parameters |= {
        "prompt": double_braces(prompt),
        "image_1": "https://h/1.jpg",
        "image_2": "products/chair.jpg",
    }
    cells = {"id": "a", "note": note} | parameters | dict.fromkeys(OUTCOME_COLUMNS, "") | outcomes
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(cells)
        writer.writerow([escape_formula(cell) for cell in cells.values()])
    return path


def test_outcomes_are_dropped(shop):
    path = report(shop / "report.csv", status="failed", cost="0.03", error="=boom")
    manifest = open_manifest(path)
    assert manifest.texbatch_own
    assert ("id", "note", *NAMES) == manifest.columns
    assert tuple(report_names(manifest.columns).values()) == ("id", "note")
    payload = read(path).only
    assert payload.cells == {"id": "a", "note": ""}
    assert payload.parameters["seed"] == 87568756


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("id,status,payload_key,run_id,output_state", ["id"]),
        ("id,output_state,status,payload_key,run_id,texbatch_output_state", ["id", "output_state"]),
        ("id,output_state,status,payload_key,run_id", ["id", "output_state"]),
        ("id,status,payload_key,run_id,texbatch_output_state,output_state", ["id", "output_state"]),
        (
            "id,decided_by,status,payload_key,run_id,decision,decision_reason,decision_note,texbatch_decided_by,decided_at",
            ["id", "decided_by"],
        ),
    ],
    ids=["ours", "theirs beside ours", "theirs, before there was ours", "in another order", "decisions"],
)
def test_an_own_column_that_bears_the_name_of_a_later_outcome_is_kept(shop, header, kept):
    path = shop / "report.csv"
    path.write_text(f"{header}\n{header}\n")
    manifest = open_manifest(path)
    assert list(manifest.columns) == kept
    assert [list(entry.cells) for entry in manifest.rows()] == [kept]


def test_a_manifest_may_have_a_column_of_that_name(shop):
    path = shop / "pairs.csv"
    path.write_text(
        "id,image_1,image_2,prompt,output_state,texbatch_output_state\na,https://h/1.jpg,https://h/2.jpg,x,mine,y\n"
    )
    assert tuple(report_names(open_manifest(path).columns).values()) == (
        "id",
        "output_state",
        "manifest_texbatch_output_state",
    )


TEXT = st.text(alphabet=st.sampled_from("'=+-@\t\r\n{}\",;a1 "), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(100))
@given(note=TEXT, prompt=TEXT)
def test_cells_and_prompts_come_back_as_they_were(shop, note, prompt):
    payload = read(report(shop / "failures.csv", note=note, prompt=f"x{prompt}x")).only
    assert (note, f"x{prompt}x") == (payload.cells["note"], payload.parameters["prompt"])


def test_a_prompt_that_starts_like_a_formula_comes_back(shop):
    assert read(report(shop / "failures.csv", prompt="=cmd")).only.parameters["prompt"] == "=cmd"


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        pytest.param(
            {"status": "unknown"}, "a may have been submitted already (status unknown).", id="unknown"
        ),
        pytest.param(
            {"status": "pending", "request_id": "-r1"}, "a is already submitted (request -r1).", id="pending"
        ),
    ],
)
def test_a_submitted_row_is_refused(shop, outcomes, reason):
    reading = read(report(shop / "report.csv", **outcomes))
    assert reading.payloads == []
    assert [
        (
            f"report.csv:2:status: {reason} Remove the row here; `texbatch run` or `texbatch resolve` on its output "
            "folder settles it."
        )
    ] == reading.errors


@pytest.mark.parametrize(
    "outcomes",
    [
        {"status": "pending"},
        {"status": "saved", "request_id": "r"},
        {"status": "failed"},
        {"status": "expired"},
    ],
)
def test_other_rows_go_in(shop, outcomes):
    assert read(report(shop / "report.csv", **outcomes)).only.id == "a"


def test_a_file_with_one_of_the_two_marks_is_an_ordinary_one(read_csv):
    payload = read_csv("image_1,image_2,prompt,run_id\nhttps://h/1,https://h/2,x,'=7\n").only
    assert payload.cells == {"manifest_run_id": "'=7"}
