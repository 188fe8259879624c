"""Which heading is which parameter: spelling, mapping, memory, in every format; messages name the user's heading."""

from __future__ import annotations

import json

import pytest

from batch.core import config
from batch.core.errors import ManifestError
from batch.core.models import Problem
from batch.manifest.expand import Expander
from batch.manifest.headings import FolderHeadings, column_option, find_headings, misspelt, report_headings
from batch.manifest.manifest import open_manifest

IMAGES = ["https://shop.example/1.jpg", "https://shop.example/2.jpg"]
MEMORY = FolderHeadings({"Bild 1": "image_1", "SKU": "id", "Quality": ""})
EARLIER = FolderHeadings({"ID": "", "Aspect - Ratio": "", "prompts": ""}, exact=True)


@pytest.mark.parametrize(
    ("written", "mapping", "known", "names"),
    [
        pytest.param("Prompt|IMAGE 1|image-2|Id", {}, {}, "prompt|image_1|image_2|id", id="spelling"),
        pytest.param("aspect\u00a0Ratio|lora2url|Base 64", {}, {}, "aspect_ratio|lora_2_url|base64", id="blanks"),
        pytest.param("id\u200b|\u2060Prompt", {}, {}, "id|prompt", id="what is invisible"),
        pytest.param("Logo|Preis|Image 4", {}, {}, "Logo|Preis|Image 4", id="own columns"),
        pytest.param("Bild 1|SKU", {"image_1": "Bild 1", "id": "sku"}, {}, "image_1|id", id="mapping"),
        pytest.param("Quality|seed", {"quality": "", "seed": ""}, {}, "Quality|manifest_seed", id="no column"),
        pytest.param("Bild 1|SKU|Quality", {}, MEMORY, "image_1|id|Quality", id="memory"),
        pytest.param("bild_1|SKU|Id", {}, MEMORY, "image_1|SKU|id", id="memory is last"),
        pytest.param("Foto|Bild 1", {"image_1": "Foto"}, MEMORY, "image_1|Bild 1", id="mapping before memory"),
        pytest.param("Quality|seed", {"quality": "Quality"}, MEMORY, "quality|seed", id="mapped at last"),
        pytest.param("ID|Aspect - Ratio|Seed", {}, EARLIER, "ID|Aspect - Ratio|seed", id="an earlier version"),
        pytest.param("ID|id|Prompt", {}, EARLIER, "ID|id|prompt", id="an earlier version, both"),
    ],
)  # fmt: skip
def test_a_heading_is_a_parameter_by_mapping_spelling_or_memory(written, mapping, known, names):
    found = find_headings(written.split("|"), mapping, known or FolderHeadings())
    assert "|".join(found.names) == names
    assert [issue for _, issue, warning in found.issues if not warning] == []
    assert [found.heading(name) for name in found.names] == written.split("|")


@pytest.mark.parametrize(
    ("written", "mapping", "reason", "remedy"),
    [
        pytest.param("Prompt|prompt", {}, "'Prompt' and 'prompt' would both be prompt.", "Rename one of them", id="two spellings"),
        pytest.param("Bild|Image 1", {"image_1": "Bild"}, "'Bild' and 'Image 1' would both be image_1.",
                     "Rename 'Image 1' in the file, or leave out --column image_1=Bild.", id="mapped and spelt"),
        pytest.param("Bild", {"image_1": "Bidl"}, "--column image_1=Bidl: there is no such column.",
                     "Did you mean Bild? The columns are Bild.", id="no such heading"),
        pytest.param("Bild", {"image_1": "Bild", "image_2": "Bild"}, "--column image_2=Bild: with --column this column is image_1 already.",
                     "Each column is one parameter", id="one heading for two"),
        pytest.param("Image 2", {"image_1": "Image 2"}, '--column image_1="Image 2": by its name the column \'Image 2\' is image_2.',
                     "Rename that column", id="another parameter's name"),
        pytest.param("Bild", {"image_9": "Bild"}, "--column image_9=Bild: 'image_9' is not a parameter.", "Did you mean image_", id="no parameter"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused_with_the_way_out(written, mapping, reason, remedy):
    ((_, issue, warning),) = find_headings(written.split("|"), mapping).issues
    assert (issue.reason, issue.remedy[: len(remedy)], warning) == (reason, remedy, False)


def test_an_earlier_versions_own_column_is_named_once_with_what_makes_it_the_parameter():
    ((heading, issue, warning),) = find_headings(["ID"], {}, EARLIER).issues
    assert (heading, warning) == ("ID", True)
    assert issue.remedy == "If id is meant, add: --column id=ID"


def test_what_a_person_said_is_no_misspelling_is_not_asked_again():
    said = find_headings(["image_1", "Promt"], {"prompt": ""})
    remembered = find_headings(["image_1", "Promt"], {}, FolderHeadings({"image_1": "image_1", "Promt": ""}))
    assert [list(misspelt(found.names, found)) for found in (said, remembered)] == [[], []]
    assert len(list(misspelt(said.names, find_headings(["image_1", "Promt"], {})))) == 1


@pytest.mark.parametrize(
    ("heading", "option"),
    [("SKU", "SKU"), ("Bild 1", '"Bild 1"'), ("a$b", "'a$b'"), ("l'image", '"l\'image"'), ("", "")],
)
def test_an_option_to_paste_is_one_that_a_shell_takes(heading, option):
    assert column_option("image_1", heading) == f"--column image_1={option}"


def test_what_a_folder_remembers_are_the_headings_of_its_report():
    found = find_headings(["SKU", "error", "status", "seed"], {"id": "SKU", "prompt": "error", "seed": ""})
    assert report_headings(found.names, found.heading) == [
        ("SKU", "id"),
        ("manifest_error", "prompt"),
        ("manifest_status", ""),
        ("manifest_seed", ""),
    ]


# -- the formats ------------------------------------------------------------------------------------------------------

CELLS = {"SKU": "007", "Bild 1": IMAGES[0], "Image 2": IMAGES[1], "Prompt": "{Bild 1} of {SKU} in {Farbe}, {id}", "Farbe": "rot"}  # fmt: skip


def as_csv(folder):
    text = "\n".join(";".join(part) for part in (CELLS, CELLS.values()))
    (folder / "m.csv").write_text(text)
    return folder / "m.csv"


def as_jsonl(folder):
    (folder / "m.jsonl").write_text(json.dumps(CELLS))
    return folder / "m.jsonl"


def as_xlsx(folder):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(list(CELLS))
    book.active.append(list(CELLS.values()))
    book.save(folder / "m.xlsx")
    return folder / "m.xlsx"


def as_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet  # noqa: PLC0415

    parquet.write_table(pyarrow.table({name: [cell] for name, cell in CELLS.items()}), folder / "m.parquet")
    return folder / "m.parquet"


def as_yaml(folder):
    (folder / "m.yaml").write_text(f"rows:\n  - {json.dumps(CELLS)}\n")
    return folder / "m.yaml"


FORMATS = [as_csv, as_jsonl, as_xlsx, as_parquet, as_yaml]
COLUMNS = {"id": "SKU", "image_1": "Bild 1"}


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_reads_headings_as_people_write_them(tmp_path, write):
    manifest = open_manifest(write(tmp_path), config.Reading(columns=COLUMNS))
    (payload,) = Expander(manifest, overrides={})
    assert payload.id == "007"
    assert [payload.parameters[name] for name in ("image_1", "image_2")] == IMAGES
    assert payload.parameters["prompt"] == f"{IMAGES[0]} of 007 in rot, 007"
    assert payload.cells == {"id": "007", "Farbe": "rot"}
    assert [manifest.heading(name) for name in manifest.columns] == list(CELLS)


@pytest.mark.parametrize("write", FORMATS)
def test_a_message_names_the_users_heading(tmp_path, write, monkeypatch):
    monkeypatch.setitem(CELLS, "Bild 1", "gone.jpg")
    monkeypatch.setitem(CELLS, "Prompt", "")
    manifest = open_manifest(write(tmp_path), config.Reading(columns=COLUMNS))
    *_, invalid = Expander(manifest, overrides={})
    problems = invalid.problems
    assert {problem.column for problem in problems} == {"Bild 1", "Prompt"}


def test_an_id_that_is_derived_does_not_depend_on_headings(tmp_path):
    (tmp_path / "a.csv").write_text(f"image_1,image_2,prompt,size\n{IMAGES[0]},{IMAGES[1]},oak,2\n")
    (tmp_path / "b.csv").write_text(f"size,Bild 1,Textur,PROMPT\n2,{IMAGES[0]},{IMAGES[1]},oak\n")
    columns = {"image_1": "Bild 1", "image_2": "Textur"}
    (one,) = Expander(open_manifest(tmp_path / "a.csv"), overrides={})
    (two,) = Expander(open_manifest(tmp_path / "b.csv", config.Reading(columns=columns)), overrides={})
    assert one == two


def test_yaml_says_at_its_top_which_key_is_which_parameter(tmp_path):
    text = "columns: {image_1: Bild, quality: }\ndefaults: {Prompt: oak, Quality: fine}\nmatrix:\n  Bild: ["
    (tmp_path / "m.yaml").write_text(
        f"{text}{IMAGES[0]}]\n  Image 2: [{IMAGES[1]}]\n  exclude: [{{Bild: no}}]\n"
    )
    manifest = open_manifest(tmp_path / "m.yaml")
    payload = next(item for item in Expander(manifest, overrides={}) if not isinstance(item, Problem))
    assert [payload.parameters[name] for name in ("image_1", "image_2")] == IMAGES
    assert (payload.parameters["prompt"], payload.parameters["quality"]) == ("oak", 95)
    assert payload.cells == {"Quality": "fine"}


@pytest.mark.parametrize("text", ["Prompt,prompt\n", "a\n"])
def test_what_is_wrong_with_headings_is_reported_with_the_line(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ManifestError) as caught:
        open_manifest(tmp_path / "m.csv", config.Reading(columns={} if "P" in text else {"seed": "b"}))
    (problem,) = caught.value.problems
    assert (problem.row, problem.column) == ((1, "Prompt") if "P" in text else (None, None))
