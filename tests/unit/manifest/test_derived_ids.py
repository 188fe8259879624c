"""Ids and names: derived from content only, written everywhere, the same work under the same key."""

from __future__ import annotations

import pytest
from manifest_reading import read

from batch.core.models import payload_key
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest

HEAD = "image_1,image_2,prompt"
PAIR = "products/chair.jpg,textures/oak.jpg,Wrap"


def ids(read_csv, text: str, **options) -> list[str]:
    reading = read_csv(text, **options)
    assert reading.errors == []
    assert all(payload.derived_id for payload in reading.payloads)
    return [payload.id for payload in reading.payloads]


def test_a_derived_id_depends_on_content_only(read_csv):
    (plain,) = ids(read_csv, f"{HEAD},sku\n{PAIR},7\n")
    assert plain.startswith("chair-oak-")
    assert len(plain.removeprefix("chair-oak-")) == 10
    lines = f"{HEAD},sku\n{PAIR},6\n{PAIR},7\n"
    assert plain == ids(read_csv, lines)[1]
    swapped = "sku;prompt;image_2;empty;image_1;id\n7;Wrap;textures/oak.jpg;;products/chair.jpg;\n"
    assert [plain] == ids(read_csv, swapped)
    assert [plain] == ids(read_csv, f"{HEAD},sku\n{PAIR},7\n", overrides={"seed": "5", "quality": "7"})
    assert [plain] != ids(read_csv, f"{HEAD},sku,seed\n{PAIR},7,5\n")
    assert plain not in ids(read_csv, lines.replace("7", "8"))


def test_a_derived_id_is_there_for_the_prompt_and_in_the_id_column(read_csv):
    payload = read_csv(f"id,{HEAD}\n,products/chair.jpg,https://h/a%20b/%C3%A4%2F.png?x=1,See {{id}}\n").only
    assert payload.id.startswith("chair-")
    assert f"See {payload.id}" == payload.parameters["prompt"]
    assert {"id": payload.id} == payload.cells
    assert f"{payload.id}.webp" == payload.output


@pytest.mark.parametrize(
    ("name", "output"),
    [
        pytest.param("{id}.{ext}", "a-1.jpg", id="default"),
        pytest.param("{sku}/{seed}-{id}.{ext}", "S/7-a-1.jpg", id="sub-folder"),
        pytest.param("{status}.jpg", "new.jpg", id="suffix written out, a column with an outcome's name"),
        pytest.param("e\u0301{id}.{ext}", "éa-1.jpg", id="NFC"),
        pytest.param("{{{id}}}.{ext}", "{a-1}.jpg", id="literal braces"),
    ],
)
def test_names_follow_the_template(read_csv, name, output):
    text = f"id,{HEAD},sku,seed,image_format,status\na-1,{PAIR},S,7,jpeg,new\n"
    assert output == read_csv(text, name_template=name).only.output


CHANGE = "Change the id, or the template given with --name."


@pytest.mark.parametrize(
    ("name", "identity", "message"),
    [
        ("{id}.png", "a", f"pairs.csv:2:id: the output name 'a.png' does not end in .webp. {CHANGE}"),
        ("{id}", "a", f"pairs.csv:2:id: the output name 'a' does not end in .webp. {CHANGE}"),
        (
            "{id}.{ext}",
            "../a",
            f"pairs.csv:2:id: the output name '../a.webp' leads out of its folder. {CHANGE}",
        ),
        (
            "{id}.{ext}",
            "/etc/x",
            f"pairs.csv:2:id: the output name '/etc/x.webp' is an absolute path. {CHANGE}",
        ),
        ("{id}.{ext}", "a:b", f"pairs.csv:2:id: the output name 'a:b.webp' has a ':'. {CHANGE}"),
        (
            ".previous/{id}.{ext}",
            "a",
            "pairs.csv:2:id: the output name '.previous/a.webp' has a part that starts with a dot",
        ),
        ("{id}.{ext}", "ä" * 101, "pairs.csv:2:id: is longer than 200 bytes. Give a shorter id"),
        ("{idd}.{ext}", "a", "pairs.csv:--name: {idd} is not a column. Did you mean {id}?"),
        ("{id}.{ext", "a", "pairs.csv:--name: a { at character 6 has no partner."),
    ],
)
def test_a_name_that_cannot_be_written_everywhere(read_csv, name, identity, message):
    (error,) = read_csv(f"id,{HEAD}\n{identity},{PAIR}\n", name_template=name).errors
    assert error.startswith(message)


def test_the_same_work_has_the_same_key_whatever_the_row(read_csv, shop):
    (shop / "products/copy.jpg").write_bytes((shop / "products/chair.jpg").read_bytes())
    reading = read_csv(
        f"id,{HEAD},seed,base64\na,{PAIR},87568756,yes\nb,{PAIR.replace('chair', 'copy')},,\nc,{PAIR},8,\n"
    )
    first, second, third = (payload_key(payload.parameters) for payload in reading.payloads)
    assert first == second != third


def test_rows_can_be_read_again(shop):
    path = shop / "a.csv"
    path.write_text(f"{HEAD}\n{PAIR}\n")
    manifest = open_manifest(path)
    assert list(Expander(manifest, overrides={})) == list(Expander(manifest, overrides={}))
    assert len(read(path).payloads) == 1
