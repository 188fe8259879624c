"""One of a row's images is chosen by its seed: it lies under the row's name from then on, and nothing is lost or paid."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing

import pytest
import support
from support import by_id, report, rows, submits

from batch import RunHooks
from batch.ledger.ledger import Ledger
from batch.maintenance.choose import choose
from batch.output import chosen
from batch.output.folder import OutputFolder

pytestmark = pytest.mark.usefixtures("quick_polls")


def image(out, name="row-1.webp"):
    return (out / "images" / name).read_bytes()


def aside(out, row_id="row-1"):
    """Return a row's images in images/.previous/, by seed."""
    found = (out / "images" / ".previous").glob(f"{row_id}.seed-*.webp")
    return {int(path.stem.rpartition("-")[2]): path.read_bytes() for path in found}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def made(hosted, command, pairs, out):
    """A folder of two rows with three images each; gives the manifest and the candidates of row-1, by seed."""
    manifest = pairs(2)
    assert command("run", manifest, "--out", out, "--candidates", 3, "--yes")[0] == 0
    return manifest, aside(out)


def test_the_chosen_image_takes_the_rows_name_and_the_other_one_goes_aside(hosted, command, made, out):
    _, others = made
    first, (seed, other) = image(out), min(others.items())
    code, told, errors = command("mark", out, "--choose", f"row-1={seed}", "--as", "anna")
    assert (code, told) == (0, "1 chosen\n"), errors
    assert image(out) == other
    kept = {each: data for each, data in others.items() if each != seed}
    assert aside(out) == kept | {1: first}
    row = by_id(out)["row-1"]
    assert (row["seed"], row["manifest_seed"], row["output_sha256"]) == (str(seed), "1", sha256(other))
    assert row["output_path"] == "images/row-1.webp"
    assert (submits(hosted), support.summary(out)["candidates"]) == (6, {"made": 4, "failed": 0})
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT by FROM choices").fetchall() == [("anna",)]
    support.assert_ledger_sound(out)


def test_it_can_be_chosen_back(hosted, command, made, out):
    _, others = made
    first, seed = image(out), min(others)
    for wanted in (seed, max(others), 1):
        assert command("mark", out, "--choose", f"row-1={wanted}")[0] == 0
    assert (image(out), aside(out)) == (first, others)
    assert by_id(out)["row-1"]["seed"] == "1"
    code, told, _ = command("mark", out, "--choose", "row-1=1")
    assert (code, told) == (0, "0 chosen, 1 unchanged\n")
    assert submits(hosted) == 6


def test_a_choice_survives_the_run_of_its_manifest(hosted, command, made, out):
    manifest, others = made
    seed, other = min(others.items())
    assert command("mark", out, "--choose", f"row-1={seed}")[0] == 0
    for words in ((), ("--candidates", 3, "--yes"), ("--name", "{id}.{ext}")):
        assert command("run", manifest, "--out", out, *words)[0] == 0
        assert (image(out), by_id(out)["row-1"]["seed"]) == (other, str(seed))
    assert submits(hosted) == 6


def test_an_edit_of_the_row_ends_it(hosted, command, pairs, made, out):
    _, others = made
    seed = min(others)
    assert command("mark", out, "--choose", f"row-1={seed}")[0] == 0
    edited = pairs([rows(2)[0], rows(2)[1] | {"prompt": "ash"}])
    assert command("run", edited, "--out", out, "--yes")[0] == 0
    assert (by_id(out)["row-1"]["prompt"], submits(hosted)) == ("ash", 7)


@pytest.mark.slow
def test_earlier_work_of_a_row_can_be_chosen_too(hosted, command, pairs, out):
    """Rows that were redone keep what they had before, also without any candidates."""
    assert command("run", pairs(2), "--out", out)[0] == 0
    first = image(out)
    assert command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    assert image(out) != first
    assert command("mark", out, "--choose", "row-1=1")[0] == 0
    assert (image(out), by_id(out)["row-1"]["seed"], submits(hosted)) == (first, "1", 3)


def test_everything_wrong_is_told_at_once_and_nothing_is_written(command, made, out):
    _, others = made
    before = report(out)
    words = [f"row-1={min(others)}", "row-1=99", "nobody=1", "row-0=98"]
    code, _, told = command("mark", out, *(word for each in words for word in ("--choose", each)))
    assert code == 2
    assert f"--choose:row-1: is given the seeds {min(others)} and 99. Choose one." in told
    assert "--choose:nobody: this folder's manifest has no such row." in told
    assert "--choose:row-0: it has no image of seed 98. Its seeds are 0, " in told
    assert report(out) == before


@pytest.mark.parametrize("text", ["row-1", "row-1=", "=7", "row-1=seven"])
def test_a_choice_is_written_as_id_and_seed(command, out, text):
    code, _, told = command("mark", out, "--choose", text)
    assert (code, out.exists()) == (2, False)
    assert "ID=SEED" in told


@pytest.mark.slow
def test_other_images_of_the_same_seed_are_named_with_the_way_to_them(hosted, command, pairs, out):
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    first = image(out)
    for words in ("walnut", "ash"):
        lines[1]["prompt"] = words
        assert command("run", pairs(lines), "--out", out, "--yes")[0] == 0
    code, told, noted = command("mark", out, "--choose", "row-1=1", "--choose", "row-0=0")
    assert (code, told) == (0, "0 chosen, 2 unchanged\n")
    assert noted == (
        "row-1: has this image of seed 1 already; 2 earlier images of it have the same seed. To have one of them, edit "
        "the row of the manifest back to what it asked for then: that costs nothing.\n"
    )
    assert command("run", pairs(rows(2)), "--out", out)[0] == 0
    assert (image(out), submits(hosted)) == (first, 4)


@pytest.mark.slow
def test_the_report_speaks_of_the_image_that_the_row_had_before(command, made, out):
    _, others = made
    second, third = sorted(others)
    for step in (
        ("--accept", "row-1"),
        ("--choose", f"row-1={second}"),
        ("--reject", "row-1"),
        ("--choose", "row-1=1"),
        ("--choose", f"row-1={third}"),
    ):
        assert command("mark", out, *step, "--as", "anna")[0] == 0
    row = by_id(out)["row-1"]
    note = "another image than the one that was accepted by anna"
    assert (row["decision"], row["decision_note"]) == ("cleared", note)


@pytest.mark.slow
def test_an_id_with_a_comma_is_chosen_with_quotes_and_without(hosted, command, pairs, out):
    lines = rows(1)
    lines[0]["id"] = "Chair, oak"
    assert command("run", pairs(lines), "--out", out)[0] == 0
    for text in ('"Chair, oak"=0', "Chair, oak=0", ' "Chair, oak" = 0'):
        assert command("mark", out, "--choose", text) == (0, "0 chosen, 1 unchanged\n", "")
    told = command("mark", out, "--choose", '"Chair=0')[2]
    assert """--choose:"Chair: this folder's manifest has no such row. Check the spelling.""" in told


def test_an_image_that_is_gone_cannot_be_chosen(command, made, out):
    _, others = made
    seed = min(others)
    (out / "images" / ".previous" / f"row-1.seed-{seed}.webp").unlink()
    code, _, told = command("mark", out, "--choose", f"row-1={seed}")
    assert code == 2
    assert f"its image of seed {seed} is in no file of {out / 'images'} any more. Put the file back" in told
    assert "texbatch restore brings back only images that rows have now" in told


@pytest.mark.slow
def test_under_another_name_it_is_found(command, made, out):
    _, others = made
    seed, other = min(others.items())
    lies = out / "images" / ".previous" / f"row-1.seed-{seed}.webp"
    lies.rename(lies.with_name("mine.webp"))
    assert command("mark", out, "--choose", f"row-1={seed}")[0] == 0
    assert image(out) == other


@pytest.mark.slow
def test_a_choice_of_another_format_has_its_own_suffix(hosted, pairs, command, out):
    lines = rows(1)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    first = image(out, "row-0.webp")
    jpeg = pairs([lines[0] | {"image_format": "jpeg", "seed": 5}])
    assert command("run", jpeg, "--out", out, "--yes")[0] == 0
    assert [path.name for path in (out / "images").glob("row*")] == ["row-0.jpg"]
    assert command("mark", out, "--choose", f"row-0={lines[0]['seed']}")[0] == 0
    for _ in range(2):
        assert [path.name for path in (out / "images").glob("row*")] == ["row-0.webp"]
        assert (image(out, "row-0.webp"), by_id(out)["row-0"]["output_path"]) == (first, "images/row-0.webp")
        assert command("run", jpeg, "--out", out)[0] == 0
    assert submits(hosted) == 2


@pytest.fixture
def impatient(monkeypatch):
    """Wait for no other command."""
    monkeypatch.setattr("batch.maintenance.choose.FREE_WITHIN_S", 0.0)


def test_while_a_run_holds_the_folder_it_waits_for_the_end(hosted, command, made, out, impatient):
    manifest, others = made
    first, (seed, other) = image(out), min(others.items())
    folder = OutputFolder(out)
    with folder.hold():
        code, told, errors = command("mark", out, "--choose", f"row-1={seed}")
        assert (code, told) == (0, "1 chosen\n")
        assert "A run holds this folder: it takes the choice over when it ends." in errors
        assert (image(out), by_id(out)["row-1"]["seed"]) == (first, "1")
    assert command("run", manifest, "--out", out)[0] == 0
    assert (image(out), by_id(out)["row-1"]["seed"], submits(hosted)) == (other, str(seed), 6)


def test_a_choice_is_void_when_the_row_has_other_work_by_then(hosted, pairs, command, made, out, impatient):
    """Somebody chooses while a run that has an edited row is about to adopt it."""
    _, others = made
    seed = min(others)
    edited = pairs([rows(2)[0], rows(2)[1] | {"prompt": "ash"}])

    def confirm(plan):
        """The run has the folder, and asks."""
        assert choose(out, [("row-1", seed)], "anna").applied is False
        return bool(plan.changed)

    told = []
    listener = RunHooks(confirm=confirm, warn=told.append)
    assert support.go(hosted, edited, out, listener=listener).exit_code == 0
    assert by_id(out)["row-1"]["prompt"] == "ash"
    assert any("the choice for row-1. Choose again." in line for line in told)


@pytest.mark.quick(1)
@pytest.mark.parametrize("step", ["find_existing", "write_image", "decode_image"])
def test_killed_in_between_the_next_command_goes_on(hosted, command, made, out, monkeypatch, step):
    manifest, others = made
    first, (seed, other) = image(out), min(others.items())

    class Killed(BaseException):
        pass

    def die(*_arguments, **_names):
        raise Killed

    with monkeypatch.context() as patches:
        patches.setattr(chosen.images, step, die)
        if step == "find_existing":  # the check before is another call of it
            patches.setattr("batch.maintenance.choose._is_there", lambda *_: True)
        with pytest.raises(Killed):
            choose(out, [("row-1", seed)], "anna")
    assert command("run", manifest, "--out", out)[0] == 0
    assert (image(out), by_id(out)["row-1"]["seed"], submits(hosted)) == (other, str(seed), 6)
    assert aside(out)[1] == first
    with Ledger.read(out / "ledger.sqlite") as ledger:
        assert chosen.choices.unplaced(ledger) == []


@pytest.mark.slow
def test_a_row_that_asks_for_any_seed_has_what_it_asked_for(hosted, command, pairs, out):
    manifest = pairs([line | {"seed": -1} for line in rows(2)])
    assert command("run", manifest, "--out", out, "--candidates", 2, "--yes")[0] == 0
    ((seed, other),) = aside(out).items()
    assert command("mark", out, "--choose", f"row-1={seed}")[0] == 0
    assert command("run", manifest, "--out", out)[0] == 0
    assert (image(out), submits(hosted)) == (other, 4)


@pytest.mark.slow
def test_a_chosen_image_that_was_moved_away_is_brought_back(hosted, command, made, out):
    _, others = made
    seed, other = min(others.items())
    assert command("mark", out, "--choose", f"row-1={seed}")[0] == 0
    (out / "images" / "row-1.webp").unlink()
    code, told, _ = command("restore", out)
    assert (code, image(out), submits(hosted)) == (0, other, 6), told
