"""Rows done once more on purpose: paid exactly once each, the earlier picture kept, and the way back free."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing

import pytest
import support
import yaml
from support import by_id, go, report, rows, statuses, submits, write_csv

from batch import RunSettings, UsageError
from batch.cli import console
from batch.core.config import Redo
from batch.core.parameters import MAX_SEED

pytestmark = pytest.mark.usefixtures("quick_polls")


def picture(out, name="row-1.webp"):
    return (out / "images" / name).read_bytes()


def versions(out):
    """Return the earlier pictures by the row they belonged to."""
    found = {}
    for path in sorted((out / "images" / ".previous").glob("*")):
        found.setdefault(path.name.split(".")[0], []).append(path.read_bytes())
    return found


def seeds(out):
    return {row["id"]: int(row["seed"]) for row in report(out)}


# -- a saved row ------------------------------------------------------------------------------------------------------


def test_a_redone_row_is_paid_once_and_keeps_its_earlier_picture(hosted, command, pairs, out):
    assert command("run", pairs(3), "--out", out)[0] == 0
    before = picture(out)
    code, _, told = command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")
    assert code == 0, told
    assert (submits(hosted), support.accepted_twice(hosted.stats())) == (4, [])
    assert seeds(out) == {"row-0": 0, "row-1": 2, "row-2": 2}
    assert support.ids(report(out)) == ["row-0", "row-1", "row-2"]
    assert statuses(out) == {"saved": 3}
    assert versions(out) == {"row-1": [before]}
    assert picture(out) != before
    assert support.summary(out)["spent_usd"] == pytest.approx(0.12)
    assert "What was made for these rows stays theirs in every later run of their manifest." in told
    support.assert_pictures_belong(out, hosted.stats())
    support.assert_ledger_sound(out)


def test_a_redo_is_confirmed_with_its_price(hosted, command, pairs, out):
    assert command("run", pairs(3), "--out", out)[0] == 0
    before = support.files_in(out), report(out)
    code, _, told = command("retry", out, "--only", "row-1,row-2", "--seed", "random")
    assert (code, submits(hosted)) == (2, 3)
    assert (
        "2 rows were paid for before and would be made again as other work: row-1 (row 3), row-2 (row 4)"
        in told
    )
    assert "for about $0.06. Add --yes" in told
    assert (support.files_in(out), report(out)) == before


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("words", "question"),
    [
        pytest.param(
            (), "1 row would be made again as other work. Pay for them again, about $0.03?", id="redo"
        ),
        pytest.param(
            ("--candidates", 3),
            "2 further images, more seeds a row. Pay for them, about $0.06?",
            id="candidates",
        ),
    ],
)
def test_who_says_no_is_not_told_how_to_say_yes(hosted, command, pairs, out, monkeypatch, words, question):
    asked = []
    monkeypatch.setattr(console, "has_terminal", lambda: True)
    monkeypatch.setattr(console.click, "confirm", lambda text, **_: asked.append(text))
    assert command("run", pairs(2), "--out", out, "--yes")[0] == 0
    code, _, told = command("retry", out, "--only", "row-1", *words)
    assert (code, asked, submits(hosted)) == (2, [question], 2)
    assert ("Nothing was sent." in told, "--yes" in told) == (True, False)


def test_a_dry_run_tells_the_price_and_sends_nothing(hosted, command, pairs, out):
    assert command("run", pairs(3), "--out", out)[0] == 0
    code, told, _ = command("retry", out, "--only", "row-1", "--seed", "+1", "--dry-run")
    assert (code, submits(hosted)) == (0, 3)
    assert "1 job to send, for about $0.03" in told
    assert "  made again " in told


def test_a_random_seed_is_another_one_for_each_row(hosted, command, pairs, out):
    """Two rows that shared one picture get one each."""
    lines = [line | {"seed": 7, "prompt": "oak"} for line in rows(2)]
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert submits(hosted) == 1
    assert command("retry", out, "--status", "saved", "--seed", "random", "--yes")[0] == 0
    assert submits(hosted) == 3
    assert len({7, *seeds(out).values()}) == 3
    support.assert_pictures_belong(out, hosted.stats())


@pytest.mark.quick(1)
@pytest.mark.parametrize(("before", "after"), [(7, 8), (0, 1), (MAX_SEED, 0)])
def test_the_next_seed_begins_anew_after_the_last(hosted, command, pairs, out, before, after):
    assert command("run", pairs([rows(1)[0] | {"seed": before}]), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    assert seeds(out) == {"row-0": after}


@pytest.mark.slow
def test_a_seed_that_nobody_gave_is_counted_up_too(hosted, command, pairs, out):
    """The effective one: the model's default, written down in the report."""
    (line,) = rows(1)
    del line["seed"]
    assert command("run", pairs([line]), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    assert seeds(out) == {"row-0": 87_568_757}


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        pytest.param("glossy", "oak {1} glossy", id="a blank between"),
        pytest.param(", glossy", "oak {1}, glossy", id="a comma closes up"),
        pytest.param("in {sku} {{x}}", "oak {1} in S1 {x}", id="columns and braces"),
        pytest.param("=1+1", "oak {1} =1+1", id="no formula"),
    ],
)
def test_the_prompt_grows(hosted, command, pairs, out, text, prompt):
    lines = [line | {"sku": f"S{n}", "prompt": f"oak {{{{{n}}}}}"} for n, line in enumerate(rows(2))]
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert (
        command("retry", out, "--only", "row-1", "--prompt-append", text, "--seed", "keep", "--yes")[0] == 0
    )
    assert [job["body"]["prompt"] for job in hosted.stats()["jobs"]][-1] == prompt
    assert (submits(hosted), seeds(out)["row-1"]) == (3, 1)


@pytest.mark.slow
def test_a_prompt_and_a_seed_change_together(hosted, command, pairs, out):
    assert command("run", pairs(2), "--out", out)[0] == 0
    assert (
        command("retry", out, "--only", "row-1", "--seed", "+1", "--prompt-append", "glossy", "--yes")[0] == 0
    )
    row = by_id(out)["row-1"]
    assert (row["seed"], row["prompt"], submits(hosted)) == ("2", "oak 1 glossy", 3)


@pytest.mark.slow
def test_a_name_made_of_the_seed_follows_it(hosted, command, pairs, out):
    assert command("run", pairs(1), "--out", out, "--name", "{id}-{seed}.{ext}")[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    assert by_id(out)["row-0"]["output_path"] == "images/row-0-1.webp"
    assert list(versions(out)) == ["row-0-0"]


@pytest.mark.slow
def test_the_picture_files_of_today_are_sent(hosted, command, pairs, tmp_path, out):
    support.picture(tmp_path / "chair.png")
    assert command("run", pairs([rows(1)[0] | {"image_1": "chair.png"}]), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    assert list(hosted.stats(jobs=False)["uploaded"].values()) == [1]
    (tmp_path / "chair.png").unlink()
    code, _, told = command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")
    assert (code, submits(hosted)) == (2, 2)
    assert "report.csv:2:image_1" in told


# -- and the manifest afterwards --------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("words", [["--seed", "+1"], ["--seed", "random"], ["--prompt-append", "glossy"], []])
def test_a_redo_stays_whatever_nights_follow(hosted, command, pairs, out, words):
    """Nothing is asked, sent or moved; each run says so in one line, and the report shows both seeds."""
    manifest = pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    first = picture(out)
    assert command("retry", out, "--only", "row-1", *words, "--yes")[0] == 0
    second, row = picture(out), by_id(out)["row-1"]
    assert row["manifest_seed"] == "1"
    before = hosted.stats(jobs=False)["calls"]
    code, told, said = command("plan", manifest, "--out", out)
    assert (code, "0 jobs to send" in told, "manifest was written: row-1." in said) == (0, True, True)
    for _ in range(3):  # the second one reads the manifest, the third need not
        code, _, told = command("run", manifest, "--out", out)
        assert code == 0
        assert told.count("1 row keeps what was made for it since the manifest was written: row-1.") == 1
    assert hosted.stats(jobs=False)["calls"] == before
    assert (picture(out), versions(out)) == (second, {"row-1": [first]})
    assert by_id(out)["row-1"] == row
    assert by_id(out)["row-0"]["manifest_seed"] == ""
    support.assert_pictures_belong(out, hosted.stats())


@pytest.mark.slow
def test_a_redo_is_said_in_the_log_and_a_quiet_run_stays_quiet(hosted, command, pairs, out):
    manifest = pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    assert command("run", manifest, "--out", out, "--quiet") == (0, "", "")
    _, _, told = command("run", manifest, "--out", out, "--log-format", "json")
    said = [json.loads(line) for line in told.splitlines()]
    assert [(line["level"], line["rows"]) for line in said if line["event"] == "run.kept"] == [("info", 1)]


def test_an_edit_of_its_row_ends_a_redo(hosted, command, pairs, out):
    """It is a changed row like any: asked for with its price, then made; and made again it is not asked for."""
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    edited = [lines[0], lines[1] | {"prompt": "walnut"}]
    code, _, told = command("run", pairs(edited), "--out", out)
    assert (code, submits(hosted)) == (2, 3)
    assert "1 row was paid for before and has changed since: row-1 (row 3)" in told
    assert command("run", pairs(edited), "--out", out, "--yes")[0] == 0
    row = by_id(out)["row-1"]
    assert (row["prompt"], row["seed"], row["manifest_seed"], submits(hosted)) == ("walnut", "1", "", 4)


@pytest.mark.slow
def test_a_row_edited_to_what_was_redone_has_it(hosted, command, pairs, out):
    """At no cost; and from then on later edits count from there: the row before is an edit."""
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    second = picture(out)
    code, _, told = command("run", pairs([lines[0], lines[1] | {"seed": 2}]), "--out", out)
    assert (code, "keeps what was made" in told, by_id(out)["row-1"]["manifest_seed"]) == (0, False, "")
    assert (picture(out), submits(hosted)) == (second, 3)
    code, _, told = command("run", pairs(lines), "--out", out)
    assert code == 0
    assert "As the manifest asks, earlier images are back, at no cost: row-1. Those" in told
    assert (seeds(out)["row-1"], submits(hosted)) == (1, 3)


@pytest.mark.slow
def test_other_columns_of_a_redone_row_change_at_no_cost(hosted, command, pairs, out):
    lines = [line | {"note": "first"} for line in rows(2)]
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    assert command("run", pairs([line | {"note": "second"} for line in lines]), "--out", out)[0] == 0
    row = by_id(out)["row-1"]
    assert (row["note"], row["seed"], submits(hosted)) == ("second", "2", 3)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["{id}.{ext}", "{id}-{seed}.{ext}"])
def test_a_redo_in_another_format_keeps_its_name(hosted, command, pairs, out, name):
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out, "--name", name)[0] == 0
    redo = write_csv(out / "redo.csv", [report(out)[1] | {"seed": 5, "image_format": "png"}])
    assert command("retry", out, redo, "--yes")[0] == 0
    place = by_id(out)["row-1"]["output_path"]
    assert place == f"images/{name.format(id='row-1', seed=5, ext='png')}"
    assert command("run", pairs(lines), "--out", out, "--name", name)[0] == 0
    assert (by_id(out)["row-1"]["output_path"], submits(hosted)) == (place, 3)
    assert command("run", pairs(lines), "--out", out, "--name", "new-{id}.{ext}")[0] == 0
    assert (by_id(out)["row-1"]["output_path"], submits(hosted)) == ("images/new-row-1.png", 3)


@pytest.mark.slow
def test_a_redo_stays_where_its_own_input_file_has_gone(hosted, command, pairs, tmp_path, out):
    support.picture(tmp_path / "chair.png")
    manifest = pairs([rows(1)[0] | {"image_1": "chair.png"}])
    assert command("run", manifest, "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    (tmp_path / "chair.png").unlink()
    code, _, told = command("run", manifest, "--out", out)
    assert (code, seeds(out), submits(hosted)) == (0, {"row-0": 1}, 2)
    assert "images that are gone or cannot be read, in 1 row that need no sending" in told


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("ignored", [(False, True), (True, False)])
def test_a_redo_stays_whether_queries_are_ignored_or_not(hosted, command, pairs, out, ignored):
    manifest = pairs([line | {"image_1": f"{line['image_1']}?v={line['id']}"} for line in rows(2)])
    first, later = (["--ignore-url-query"] if ignore else [] for ignore in ignored)
    assert command("run", manifest, "--out", out, *first)[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    for options in (later, first, later):
        assert command("run", manifest, "--out", out, *options)[0] == 0
        assert (seeds(out), submits(hosted)) == ({"row-0": 1, "row-1": 1}, 3)


@pytest.mark.slow
def test_a_redo_that_failed_is_sent_with_the_link_of_today(hosted, command, pairs, out):
    lines = rows(2)
    link = "https://cdn.example/p.png?X-Amz-Date={0}&X-Amz-Signature=a{0}"
    lines[1]["image_1"] = link.format(1)
    hosted.settings(blocked_words=["oak 1"])
    assert command("run", pairs(lines), "--out", out)[0] == 1
    hosted.settings(blocked_words=["walnut"])
    failures = out / "failures.csv"
    failures.write_text(failures.read_text().replace("oak 1", "walnut"))
    assert command("retry", out)[0] == 1
    hosted.settings(blocked_words=[])
    lines[1]["image_1"] = link.format(2)
    assert command("run", pairs(lines), "--out", out, "--retry-failed")[0] == 0
    sent = hosted.stats()["jobs"][-1]["body"]
    assert (sent["prompt"], sent["image_1"]) == ("walnut", link.format(2))


def test_the_way_back_is_free(hosted, command, pairs, out):
    """There and back and there again, by a file: two pictures, each paid once, none of them lost or copied."""
    assert command("run", pairs(1), "--out", out)[0] == 0
    first, before = picture(out, "row-0.webp"), report(out)
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    second = picture(out, "row-0.webp")
    back = write_csv(out / "back.csv", before)
    there = write_csv(out / "there.csv", report(out))
    for file, now, other in ((back, first, second), (there, second, first), (back, first, second)):
        assert command("retry", out, file)[0] == 0
        assert command("run", pairs(1), "--out", out)[0] == 0
        assert (picture(out, "row-0.webp"), versions(out)) == (now, {"row-0": [other]})
    assert submits(hosted) == 2


def test_each_redo_goes_on_from_the_last(hosted, command, pairs, out):
    assert command("run", pairs(1), "--out", out)[0] == 0
    for seed in (1, 2, 3):
        assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
        assert seeds(out) == {"row-0": seed}
    assert (submits(hosted), len(versions(out)["row-0"])) == (4, 3)


@pytest.mark.slow
def test_a_row_that_asked_for_any_seed_stays_as_it_was_redone(hosted, command, pairs, out):
    """The manifest asks for any seed, and has one."""
    manifest = pairs([line | {"seed": -1} for line in rows(2)])
    assert command("run", manifest, "--out", out)[0] == 0
    before = seeds(out)
    assert command("retry", out, "--only", "row-1", "--seed", "random", "--yes")[0] == 0
    redone = seeds(out)
    assert (redone["row-0"], redone["row-1"] != before["row-1"]) == (before["row-0"], True)
    assert command("run", manifest, "--out", out)[0] == 0
    assert (seeds(out), submits(hosted)) == (redone, 3)


@pytest.mark.slow
def test_a_row_that_asked_for_any_seed_keeps_a_longer_prompt(hosted, command, pairs, out, tmp_path):
    """A yes that was written down pays nothing: nobody edited the manifest. Its own seed is not forgotten."""
    lines = [line | {"seed": -1} for line in rows(2)]
    manifest = pairs(lines)
    (tmp_path / "job.yaml").write_text(f"manifest: {manifest}\nout: {out}\nyes: true\n")
    assert command("run", tmp_path / "job.yaml")[0] == 0
    before = seeds(out)
    assert command("retry", out, "--only", "row-0", "--prompt-append", "glossy", "--yes")[0] == 0
    redone = picture(out, "row-0.webp")
    for _ in range(2):
        assert command("run", tmp_path / "job.yaml")[0] == 0
    row = by_id(out)["row-0"]
    assert (row["prompt"], row["manifest_seed"], picture(out, "row-0.webp")) == ("oak 0 glossy", "-1", redone)
    assert submits(hosted) == 3
    pairs([lines[0] | {"prompt": "pine"}, lines[1]])
    assert command("run", tmp_path / "job.yaml")[0] == 0
    pairs(lines)
    assert command("run", tmp_path / "job.yaml")[0] == 0
    assert (seeds(out), submits(hosted)) == (before, 4)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("words", [["--seed", "random"], ["--prompt-append", "glossy"]])
@pytest.mark.parametrize("ignored", [(False, True), (True, False), (True, True)])
def test_a_redo_of_any_seed_pays_nothing_more_whether_queries_are_ignored_or_not(
    hosted, command, pairs, out, words, ignored
):
    manifest = pairs(
        [line | {"seed": -1, "image_1": f"{line['image_1']}?v={line['id']}"} for line in rows(2)]
    )
    first, later = (["--ignore-url-query"] if ignore else [] for ignore in ignored)
    assert command("run", manifest, "--out", out, *first)[0] == 0
    assert command("run", manifest, "--out", out, *later)[0] == 0
    assert command("retry", out, "--only", "row-0", *words, "--yes")[0] == 0
    for options in (later, first, later):
        assert command("run", manifest, "--out", out, *options)[0] == 0
    assert submits(hosted) == 3


@pytest.mark.slow
def test_a_row_that_asked_for_any_seed_and_is_edited_back_has_the_picture_it_had(hosted, command, pairs, out):
    lines = [line | {"seed": -1} for line in rows(2)]
    assert command("run", pairs(lines), "--out", out)[0] == 0
    before = seeds(out)
    assert command("run", pairs([lines[0] | {"prompt": "pine"}, lines[1]]), "--out", out, "--yes")[0] == 0
    assert command("run", pairs(lines), "--out", out, "--yes")[0] == 0
    assert (seeds(out), submits(hosted)) == (before, 3)


@pytest.mark.slow
def test_a_picture_set_aside_and_deleted_is_moved_away_and_comes_back_with_restore(
    hosted, command, pairs, out
):
    """The redone picture is set aside: it is not the one that the row asks for once it is edited back."""
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    first = picture(out, "row-0.webp")
    back = write_csv(out / "back.csv", report(out))
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    for path in (out / "images" / ".previous").iterdir():
        path.unlink()
    code, _, told = command("retry", out, back)
    assert (code, by_id(out)["row-0"]["output_state"]) == (0, "moved")
    assert "1 saved image is nowhere in the folder" in told
    assert "texbatch restore" in told
    assert command("restore", out)[0] == 0
    assert (picture(out, "row-0.webp"), submits(hosted)) == (first, 2)


def test_a_redo_that_failed_leaves_the_row_what_it_had(hosted, command, pairs, out):
    """That is the redo before it, not what the manifest asks for."""
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    second = picture(out, "row-0.webp")
    hosted.settings(blocked_words=["glossy"])
    code, _, told = command("retry", out, "--only", "row-0", "--prompt-append", "glossy", "--yes")
    assert (code, "stays theirs" in told) == (1, False)
    for _ in range(2):
        assert command("run", manifest, "--out", out)[0] == 0
        row = by_id(out)["row-0"]
        assert (row["status"], row["seed"], row["manifest_seed"], picture(out, "row-0.webp")) == (
            "saved",
            "1",
            "0",
            second,
        )
    assert (submits(hosted), statuses(out)) == (3, {"saved": 1})


@pytest.mark.slow
def test_a_redo_that_fails_in_the_night_leaves_the_row_what_it_had(hosted, command, pairs, out):
    """The night that sees it fail says so; the next one gives the row its image back, and does not take the manifest as read."""
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    first = picture(out, "row-0.webp")
    hosted.settings(blocked_words=["glossy"])
    hosted.faults([{"call": "submit", "action": "status", "status": 402}])
    assert command("retry", out, "--only", "row-0", "--prompt-append", "glossy", "--yes")[0] == 3
    hosted.faults([])
    assert [command("run", manifest, "--out", out)[0] for _ in range(3)] == [1, 0, 0]
    assert (statuses(out), picture(out, "row-0.webp"), submits(hosted)) == ({"saved": 1}, first, 3)


def test_a_fix_in_failures_csv_stays(hosted, command, pairs, out):
    manifest = pairs(2)
    hosted.settings(blocked_words=["oak 1"])
    assert command("run", manifest, "--out", out)[0] == 1
    failures = out / "failures.csv"
    failures.write_text(failures.read_text().replace("oak 1", "walnut"))
    assert command("retry", out)[0] == 0
    before = hosted.stats(jobs=False)["calls"]
    code, _, told = command("run", manifest, "--out", out, "--retry-failed")
    assert (code, by_id(out)["row-1"]["prompt"], statuses(out)) == (0, "walnut", {"saved": 2})
    assert "1 row keeps what was made for it since the manifest was written: row-1." in told
    assert hosted.stats(jobs=False)["calls"] == before


@pytest.mark.slow
def test_a_row_that_is_taken_out_and_comes_back_keeps_its_redo(hosted, command, pairs, out):
    lines = rows(3)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    second = picture(out)
    for present in ([lines[0], lines[2]], lines):
        assert command("run", pairs(present), "--out", out)[0] == 0
    assert (seeds(out)["row-1"], picture(out), submits(hosted)) == (2, second, 4)


def matrix(tmp_path, axis, values, prompt="satin", **more):
    """Write a manifest of every chair with every texture, whose ids are made of the axis' values."""
    for value in values.values():
        support.picture(tmp_path / f"{value}.png", value, (8, 8))
    manifest = {
        "defaults": {"prompt": prompt, "image_1": "https://cdn.example/chair.png", "seed": 7} | more,
        "matrix": {
            axis: [{axis: name, "image_2": f"{value}.png"} for name, value in values.items()],
            "id": f"chair-{{{axis}}}",
        },
    }
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return tmp_path / "pairs.yaml"


@pytest.mark.slow
def test_a_matrix_whose_axis_is_renamed_keeps_redos_and_decisions(hosted, command, tmp_path, out):
    """Its ids are others, what they ask for is the same; a row of other content is new."""
    assert command("run", matrix(tmp_path, "texture", {"oak": "peru", "pine": "tan"}), "--out", out)[0] == 0
    assert command("retry", out, "--only", "chair-oak", "--seed", "+1", "--yes")[0] == 0
    assert command("mark", out, "--accept", "chair-pine")[0] == 0
    second = picture(out, "chair-oak.webp")
    code, _, told = command(
        "run", matrix(tmp_path, "finish", {"Eiche": "peru", "Kiefer": "tan"}), "--out", out
    )
    assert (code, submits(hosted)) == (0, 3)
    assert (
        "known under another id before: 2 rows, chair-Eiche (was chair-oak), chair-Kiefer (was chair-pine)"
        in told
    )
    assert "are not in this one" not in told
    assert "1 row keeps what was made for it since the manifest was written: chair-Eiche." in told
    assert (seeds(out), picture(out, "chair-Eiche.webp")) == ({"chair-Eiche": 8, "chair-Kiefer": 7}, second)
    assert decisions(out) == {"chair-pine": ["accepted"], "chair-Kiefer": ["accepted"]}
    code, _, told = command("run", tmp_path / "pairs.yaml", "--out", out)
    assert (code, "known under another id" in told, decisions(out)["chair-Kiefer"]) == (
        0,
        False,
        ["accepted"],
    )


@pytest.mark.slow
def test_a_renamed_row_has_not_gone_and_one_that_left_has(hosted, command, pairs, out):
    lines = rows(3)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("mark", out, "--accept", "row-1")[0] == 0
    lines[1]["id"] = "sofa"
    code, _, told = command("run", pairs(lines[:2]), "--out", out)
    assert (code, submits(hosted)) == (0, 3)
    assert "known under another id before: 1 row, sofa (was row-1)." in told
    assert "1 of the 3 rows of the manifest before is not in this one" in told


@pytest.mark.slow
def test_a_new_name_of_an_axis_with_the_same_ids_changes_only_cells(hosted, command, tmp_path, out):
    assert command("run", matrix(tmp_path, "texture", {"oak": "peru", "pine": "tan"}), "--out", out)[0] == 0
    assert command("retry", out, "--only", "chair-oak", "--seed", "+1", "--yes")[0] == 0
    assert command("run", matrix(tmp_path, "finish", {"oak": "peru", "pine": "tan"}), "--out", out)[0] == 0
    assert (seeds(out), submits(hosted)) == ({"chair-oak": 8, "chair-pine": 7}, 3)


# -- and what was decided ---------------------------------------------------------------------------------------------


def decisions(out):
    """Return all that was ever decided of each row."""
    found = {}
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        for row_id, decision in ledger.execute(
            "SELECT r.id, d.decision FROM decisions d JOIN rows r USING (row) ORDER BY d.seq"
        ):
            found.setdefault(row_id, []).append(decision)
    return found


def test_rejected_rows_are_made_again_with_other_seeds(hosted, command, pairs, out):
    assert command("run", pairs(4), "--out", out)[0] == 0
    for row_id in ("row-1", "row-2"):
        assert command("mark", out, "--reject", row_id)[0] == 0
    assert command("mark", out, "--clear", "row-2")[0] == 0
    code, _, told = command("retry", out, "--rejected")
    assert (code, "row-1 (row 3)" in told, "row-2" in told) == (2, True, False)
    assert command("retry", out, "--rejected", "--yes")[0] == 0
    assert {name for name, seed in seeds(out).items() if name != f"row-{seed}"} == {"row-1"}
    assert submits(hosted) == 5
    code, _, told = command("retry", out, "--rejected", "--yes")
    assert (code, submits(hosted)) == (0, 5)
    assert "has no row that is rejected. Nothing will be sent." in told


@pytest.mark.slow
def test_a_rejected_row_that_is_under_way_is_not_chosen_again(hosted, command, pairs, out):
    assert command("run", pairs(1), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-0")[0] == 0
    hosted.settings(latency_s=20.0)
    assert command("retry", out, "--rejected", "--yes", "--job-timeout", "0.2s")[0] == 7
    code, _, told = command("retry", out, "--rejected", "--yes", "--job-timeout", "0.2s")
    assert (code, submits(hosted), "has no row that is rejected" in told) == (7, 2, True)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("words", [[], ["--prompt-append", "glossy"], ["--seed", "+1"], ["--only", "row-0"]])
def test_rejected_rows_take_the_other_words(hosted, command, pairs, out, words):
    assert command("run", pairs(2), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-0")[0] == 0
    assert command("retry", out, "--rejected", *words, "--yes")[0] == 0
    row = by_id(out)["row-0"]
    assert (row["seed"] != "0", row["prompt"]) == (True, "oak 0 glossy" if "glossy" in words else "oak 0")
    assert (row["seed"] == "1") == ("+1" in words)
    assert submits(hosted) == 3


def test_an_accepted_row_is_made_again_only_when_it_is_named(hosted, command, pairs, out):
    assert command("run", pairs(3), "--out", out)[0] == 0
    assert command("mark", out, "--accept", "row-1")[0] == 0
    before = picture(out)
    code, _, told = command("retry", out, "--status", "saved", "--seed", "random", "--yes")
    assert (code, submits(hosted), picture(out)) == (0, 5, before)
    assert (
        "accepted, and left as they are: 1 row, row-1 (row 3). Name them with --only to make them again."
        in told
    )
    code, _, told = command("retry", out, "--only", "row-1")
    assert (code, submits(hosted)) == (2, 5)
    assert (
        "1 row was paid for before and would be made again as other work: row-1 (row 3, accepted). Sending it costs "
        "money again" in told
    )
    assert command("retry", out, "--only", "row-1", "--yes")[0] == 0
    assert (submits(hosted), picture(out) != before) == (6, True)


def test_an_accepted_row_that_is_edited_is_asked_for_and_says_so(hosted, command, pairs, out):
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("mark", out, "--accept", "row-1")[0] == 0
    edited = [line | {"prompt": "walnut"} for line in lines]
    code, _, told = command("run", pairs(edited), "--out", out)
    assert (code, submits(hosted)) == (2, 2)
    assert (
        "2 rows were paid for before and have changed since: row-0 (row 2), row-1 (row 3, accepted)." in told
    )
    assert "changed: row-1 (row 3, accepted)" in command("plan", pairs(edited), "--out", out)[2]


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("redo_first", [True, False])
def test_the_redo_of_a_rejected_row_that_is_edited_in_the_same_hour(hosted, command, pairs, out, redo_first):
    """The edit of the manifest is made and stays; the redo is made where its image was still there to be rejected."""
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-1")[0] == 0
    edited = pairs([lines[0], lines[1] | {"prompt": "walnut"}])
    if redo_first:
        assert command("retry", out, "--rejected", "--yes")[0] == 0
    assert command("run", edited, "--out", out, "--yes")[0] == 0
    if not redo_first:
        code, _, told = command("retry", out, "--rejected", "--yes")
        assert (code, "has no row that is rejected" in told) == (0, True)
    for _ in range(2):
        row = by_id(out)["row-1"]
        assert (row["prompt"], row["seed"], row["manifest_seed"]) == ("walnut", "1", "")
        assert command("run", edited, "--out", out)[0] == 0
    assert (statuses(out), submits(hosted)) == ({"saved": 2}, 4 if redo_first else 3)


def test_a_row_that_asks_for_its_rejected_image_is_made_with_another_seed(hosted, command, pairs, out):
    """Edited to a mistake and back: what lies there is of other work, so the row is a changed one."""
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    rejected = picture(out)
    assert command("mark", out, "--reject", "row-1")[0] == 0
    edited = [lines[0], lines[1] | {"prompt": "walnut"}]
    assert command("run", pairs(edited), "--out", out, "--yes")[0] == 0
    walnut = picture(out)
    manifest = pairs(lines)
    code, _, told = command("run", manifest, "--out", out)
    assert (code, picture(out), submits(hosted)) == (2, walnut, 3)
    assert (
        "asking for an image that was rejected: 1 row, row-1 (row 3). Another one is made, of another seed"
        in told
    )
    assert "changed: row-1 (row 3)" in command("plan", manifest, "--out", out)[2]
    assert command("run", manifest, "--out", out, "--yes")[0] == 0
    row, made = by_id(out)["row-1"], picture(out)
    assert (row["prompt"], row["seed"] != "1", row["manifest_seed"]) == (lines[1]["prompt"], True, "1")
    assert made not in {rejected, walnut}
    for _ in range(2):
        code, _, told = command("run", manifest, "--out", out)
        assert (code, picture(out), submits(hosted), "was rejected" in told) == (0, made, 4, False)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("accepted", [True, False])
def test_an_edit_that_is_taken_back_brings_the_redo_back(hosted, command, pairs, out, accepted):
    lines = rows(2)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-1")[0] == 0
    assert command("retry", out, "--rejected", "--yes")[0] == 0
    redone = picture(out)
    if accepted:
        assert command("mark", out, "--accept", "row-1", "--as", "anna")[0] == 0
    edited = [line | {"prompt": "walnut"} for line in lines]
    assert command("run", pairs(edited), "--out", out, "--yes")[0] == 0
    code, _, told = command("run", pairs(lines), "--out", out)
    assert (code, picture(out), submits(hosted)) == (0, redone, 5)
    assert "having another one of the same work instead: 1 row, row-1 (row 3)" in told
    assert by_id(out)["row-1"]["decision"] == ("accepted" if accepted else "cleared")


@pytest.mark.slow
def test_ids_that_are_exchanged_take_along_what_was_made_and_decided(hosted, command, pairs, out):
    """An Excel sort of one column: each product keeps its image, its redo and its decision under its new id."""
    lines = rows(3)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-1", "--as", "anna")[0] == 0
    assert command("retry", out, "--rejected", "--yes")[0] == 0
    assert command("mark", out, "--accept", "row-1,row-2", "--as", "anna")[0] == 0
    first, second = picture(out, "row-1.webp"), picture(out, "row-2.webp")
    exchanged = [lines[0], lines[1] | {"id": "row-2"}, lines[2] | {"id": "row-1"}]
    code, _, told = command("run", pairs(exchanged), "--out", out)
    assert (code, submits(hosted)) == (0, 4)
    assert "row-2 (was row-1), row-1 (was row-2)" in told
    assert (picture(out, "row-2.webp"), picture(out, "row-1.webp")) == (first, second)
    assert {row_id: row["decision"] for row_id, row in by_id(out).items()} == {
        "row-0": "", "row-1": "accepted", "row-2": "accepted",
    }  # fmt: skip
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert (picture(out, "row-1.webp"), picture(out, "row-2.webp"), submits(hosted)) == (first, second, 4)


def test_a_rejected_image_is_not_put_back_by_a_file(hosted, command, pairs, out):
    assert command("run", pairs(2), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-1")[0] == 0
    back = write_csv(out / "back.csv", report(out))
    assert command("retry", out, "--rejected", "--yes")[0] == 0
    second, row = picture(out), by_id(out)["row-1"]
    code, _, told = command("retry", out, back)
    assert (code, picture(out), by_id(out)["row-1"]["seed"]) == (0, second, row["seed"])
    assert "asking for an image that was rejected" in told
    assert submits(hosted) == 3


@pytest.mark.slow
def test_a_row_whose_rejected_image_was_its_last_stays_failed(hosted, command, pairs, out):
    """A redo that failed does not bring the rejected image back."""
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-0")[0] == 0
    hosted.settings(blocked_words=["glossy"])
    assert command("retry", out, "--rejected", "--prompt-append", "glossy", "--yes")[0] == 1
    assert command("run", manifest, "--out", out)[0] == 1
    assert (statuses(out), support.ids(support.table(out / "failures.csv"))) == ({"failed": 1}, ["row-0"])
    hosted.settings(blocked_words=[])
    assert command("retry", out, "--rejected")[0] == 0
    assert (statuses(out), by_id(out)["row-0"]["prompt"].endswith("glossy")) == ({"saved": 1}, True)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("again", [False, True])
def test_what_an_earlier_version_redid_last_stays_too(hosted, command, pairs, out, again):
    """It noted the redo's work as what the row asks for, and forgot the manifest's fingerprint."""
    manifest = pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    assert command("retry", out, "--only", "row-1", "--yes")[0] == 0
    with closing(sqlite3.connect(out / "ledger.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE rows SET redone=0, manifest_seed=NULL, asked_key=(SELECT payload_key FROM jobs j WHERE j.job=rows.job)"
        )
    if again:
        assert command("retry", out, "--only", "row-1", "--yes")[0] == 0
    redone = picture(out)
    for _ in range(2):
        code, _, told = command("run", manifest, "--out", out)
        assert (code, picture(out), submits(hosted)) == (0, redone, 4 if again else 3)
        assert "1 row keeps what was made for it" in told
    assert by_id(out)["row-1"]["manifest_seed"] == "1"


@pytest.mark.slow
def test_a_rejected_image_that_never_left_is_the_rows_again(hosted, command, pairs, out):
    """What was asked for since made nothing, and the manifest asks for the image that lies there."""
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-0", "--reason", "shape")[0] == 0
    hosted.settings(blocked_words=["glossy"])
    edited = pairs([rows(1)[0] | {"prompt": "glossy"}])
    assert command("run", edited, "--out", out, "--yes")[0] == 1
    code, _, told = command("run", pairs(1), "--out", out)
    assert (code, statuses(out), decisions(out)) == (0, {"saved": 1}, {"row-0": ["rejected"]})
    assert "rejected" not in told
    assert command("retry", out, "--rejected", "--yes")[0] == 0
    assert (by_id(out)["row-0"]["seed"] != "0", submits(hosted)) == (True, 3)


@pytest.mark.slow
def test_restore_leaves_rejected_images_where_they_are_unless_named(hosted, command, pairs, out):
    assert command("run", pairs(2), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-1")[0] == 0
    for path in (out / "images").glob("*.webp"):
        path.unlink()
    code, _, told = command("restore", out)
    assert (code, sorted(path.name for path in (out / "images").glob("*.webp"))) == (0, ["row-0.webp"])
    assert (
        "1 rejected image left where it is: row-1. Name rows with --only to bring their image back." in told
    )
    assert command("restore", out, "--only", "row-1")[0] == 0
    assert (picture(out) != b"", decisions(out)) == (True, {"row-1": ["rejected"]})


# -- rows that failed -------------------------------------------------------------------------------------------------


@pytest.fixture
def half(hosted, command, pairs, out):
    """A folder with two saved rows and two failed ones, whose words are allowed by now."""
    hosted.settings(blocked_words=["oak 1", "oak 3"])
    assert command("run", pairs(4), "--out", out)[0] == 1
    hosted.settings(blocked_words=[])
    return out


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("words", "sent", "changed"),
    [
        pytest.param(["--status", "failed,expired"], ["row-1", "row-3"], {}, id="by status"),
        pytest.param(["--only", "row-3"], ["row-3"], {}, id="by id"),
        pytest.param(["--status", "failed", "--only", "row-1"], ["row-1"], {}, id="by both"),
        pytest.param(
            ["--seed", "+1"], ["row-1", "row-3"], {"row-1": 2, "row-3": 4}, id="all failures, another seed"
        ),
        pytest.param(["--status", "expired"], [], {}, id="none of that status"),
    ],
)
def test_failed_rows_are_chosen_and_need_no_yes(hosted, command, half, words, sent, changed):
    """They were not paid for."""
    code, _, told = command("retry", half, *words)
    assert code == 0, told
    assert {row["id"] for row in report(half) if row["status"] == "saved"} == {"row-0", "row-2", *sent}
    assert seeds(half) == {f"row-{n}": n for n in range(4)} | changed
    assert submits(hosted) == 4 + len(sent)
    assert versions(half) == {}


@pytest.mark.slow
def test_expired_rows_are_chosen_apart_from_failed_ones(hosted, command, half):
    """row-1 was paid, as far as anybody knows; row-3 failed and stays so."""
    hosted.settings(history_lag_s=1e9)  # a history that knew row-1 would bring it back
    with closing(sqlite3.connect(half / "ledger.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE jobs SET state='expired', error_class='expired', cost=30000 "
            "WHERE job = (SELECT job FROM rows WHERE id='row-1')"
        )
    assert command("retry", half, "--status", "expired", "--yes")[0] == 0
    assert statuses(half) == {"saved": 3, "failed": 1}
    assert by_id(half)["row-1"]["status"] == "saved"
    assert submits(hosted) == 4 + 1


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "words", [["--only", "row-1"], ["--status", "failed"], ["--seed", "+1", "--only", "row-1"]]
)
def test_edits_in_failures_csv_count(hosted, command, half, words):
    failures = half / "failures.csv"
    failures.write_text(failures.read_text().replace("oak 1", "walnut"))
    assert command("retry", half, *words)[0] == 0
    assert by_id(half)["row-1"]["prompt"] == "walnut"


def test_a_mistake_in_failures_csv_is_told_with_its_place(hosted, command, half):
    failures = half / "failures.csv"
    lines = support.table(failures)
    lines[1]["quality"] = "best"
    write_csv(failures, lines)
    code, _, told = command("retry", half, "--status", "failed")
    assert (code, submits(hosted)) == (2, 4)
    assert "report.csv:5:quality: (failures.csv, row 3) 'best' is not a whole number." in told


@pytest.mark.slow
def test_an_old_failures_csv_does_not_stand_for_a_saved_row(hosted, command, half):
    old = (half / "failures.csv").read_text()
    (half / "failures.csv").write_text(old.replace("oak 1", "walnut"))
    assert command("retry", half)[0] == 0
    (half / "failures.csv").write_text(old)
    assert command("retry", half, "--only", "row-1", "--seed", "+1", "--yes")[0] == 0
    assert by_id(half)["row-1"]["prompt"] == "walnut"


@pytest.mark.slow
def test_without_failures_csv_the_ledger_knows_the_rows(hosted, command, half):
    (half / "failures.csv").unlink()
    assert command("retry", half, "--status", "failed")[0] == 0
    assert statuses(half) == {"saved": 4}


# -- a file of rows ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_redo_manifest_of_the_contact_sheet_goes_through_retry(hosted, command, pairs, out):
    """It is the rejected rows of the report, in the report's columns, with other seeds."""
    manifest = pairs(4)
    assert command("run", manifest, "--out", out)[0] == 0
    lines = [
        line | {"seed": int(line["seed"]) + 1000} for line in report(out) if line["id"] in {"row-1", "row-3"}
    ]
    redo = write_csv(out / "redo.csv", lines)
    assert command("retry", out, redo)[0] == 2
    assert command("retry", out, redo, "--yes")[0] == 0
    second = picture(out)
    assert seeds(out) == {"row-0": 0, "row-1": 1001, "row-2": 2, "row-3": 1003}
    assert (submits(hosted), sorted(versions(out))) == (6, ["row-1", "row-3"])
    assert command("run", manifest, "--out", out)[0] == 0
    assert (submits(hosted), picture(out)) == (6, second)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("only", [[], ["--only", "row-1"]])
def test_the_words_work_on_a_file_too_and_leave_its_other_rows_alone(hosted, command, pairs, out, only):
    """Here the manifest itself, whose seed comes from the command line."""
    lines = [{name: value for name, value in line.items() if name != "seed"} for line in rows(3)]
    manifest = pairs(lines)
    assert command("run", manifest, "--out", out, "--seed", 7)[0] == 0
    code, _, told = command("retry", out, manifest, "--seed", "random", "--yes", *only)
    assert code == 0, told
    redone = {"row-1"} if only else {"row-0", "row-1", "row-2"}
    assert {name for name, seed in seeds(out).items() if seed != 7} == redone
    assert submits(hosted) == 3 + len(redone)
    assert statuses(out) == {"saved": 3}


@pytest.mark.slow
def test_ids_made_of_the_content_stay_who_they_are(hosted, command, pairs, out):
    lines = [{name: value for name, value in line.items() if name != "id"} for line in rows(2)]
    manifest = pairs(lines)
    assert command("run", manifest, "--out", out)[0] == 0
    ids = support.ids(report(out))
    assert command("retry", out, manifest, "--seed", "+1", "--prompt-append", "glossy", "--yes")[0] == 0
    assert (support.ids(report(out)), submits(hosted)) == (ids, 4)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--only", "Chair, oak"], "put an id with a comma in quotes", id="a comma without quotes"),
        pytest.param(
            ["--only", "row-0", "--seed", "keep"],
            "'row-0' is saved: sent as it is it would be the same work, which is never paid for twice. "
            "Leave --seed keep out, or add --prompt-append",
            id="a saved row unchanged",
        ),
        pytest.param(["--status", "saved", "--seed", "keep"], "'row-0' is saved: sent as it is", id="saved rows unchanged"),
        pytest.param(["--only", "row-0", "--rejected"], "'row-0' is not rejected. --rejected chooses", id="not rejected"),
        pytest.param(["--rejected", "--status", "saved"], "--rejected chooses rows of the folder by itself", id="two choices"),
        pytest.param(["--only", "row-9", "--seed", "+1"], "no row has the id 'row-9'", id="no such row"),
        pytest.param(
            ["--only", "row-0", "--status", "failed"], "'row-0' is saved. --status chooses failed among", id="contradiction"
        ),
        pytest.param(["--status", "fialed"], "--status fialed: is not a status. Known are saved, failed", id="no status"),
        pytest.param(["--status", "unknown"], "`texbatch resolve", id="unknown by status"),
        pytest.param(["--status", ","], "--status: is empty.", id="empty status"),
        pytest.param(["--only", "row-0", "--seed", "7"], "Give --seed random, +1 or keep, or edit a copy", id="a number"),
        pytest.param(["--only", "row-0", "--prompt-append", " "], "'--prompt-append': is empty.", id="empty text"),
        pytest.param(
            ["--only", "row-0", "--prompt-append", "in {colour}"], "report.csv:2:prompt: {colour} is not a column",
            id="no such column",
        ),
        pytest.param(["--only", "row-0", "--prompt-append", "in {"], "--prompt-append: ", id="a broken template"),
    ],
)  # fmt: skip
def test_what_would_send_nothing_or_the_wrong_thing_is_refused(hosted, command, pairs, out, words, told):
    assert command("run", pairs(2), "--out", out)[0] == 0
    code, _, said = command("retry", out, *words, "--yes")
    assert (code, submits(hosted)) == (2, 2)
    assert told in said


@pytest.mark.quick(1)
@pytest.mark.parametrize("words", [["--status", "failed"], ["--rejected"]])
def test_a_choice_of_rows_and_a_file_contradict_each_other(hosted, command, pairs, out, words):
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    code, _, told = command("retry", out, manifest, *words)
    assert (code, f"{words[0]} chooses rows of the folder" in told) == (2, True)


@pytest.mark.parametrize("command_name", ["run", "plan", "validate"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seed", "random"], "--seed random: only `texbatch retry` takes it"),
        (["--seed", "+1"], "--seed +1: only `texbatch retry` takes it"),
        (["--prompt-append", "x"], "No such option"),
        (["--status", "failed"], "No such option"),
    ],
)
def test_the_words_of_a_redo_make_no_sense_elsewhere(hosted, command, pairs, out, command_name, words, told):
    where = [] if command_name == "validate" else ["--out", out]
    code, _, said = command(command_name, pairs(1), *where, *words)
    assert (code, submits(hosted)) == (2, 0)
    assert told.lower() in said.lower()


def test_a_job_file_of_run_cannot_ask_for_a_redo(hosted, command, pairs, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(f"manifest: {pairs(1).name}\nout: out\nseed: random\n")
    code, _, told = command("run", job)
    assert (code, "--seed random: only `texbatch retry`" in told) == (2, True)


@pytest.mark.slow
def test_a_variable_never_asks_for_a_redo(hosted, command, pairs, out, monkeypatch):
    assert command("run", pairs(1), "--out", out)[0] == 0
    monkeypatch.setenv("TEXBATCH_SEED", "random")
    code, _, told = command("retry", out, "--only", "row-0", "--yes")
    assert (code, "TEXBATCH_SEED=random" in told, submits(hosted)) == (2, True, 1)
    monkeypatch.setenv("TEXBATCH_SEED", "7")
    assert command("retry", out)[0] == 0
    assert (seeds(out), submits(hosted)) == ({"row-0": 0}, 1)


@pytest.mark.quick(1)
@pytest.mark.parametrize("words", [("--only", "row-0"), ("--rejected",), ("--status", "saved")])
def test_a_variable_never_pays_for_a_redo(hosted, command, pairs, out, monkeypatch, words):
    assert command("run", pairs(1), "--out", out)[0] == 0
    assert command("mark", out, "--reject", "row-0")[0] == 0
    monkeypatch.setenv("TEXBATCH_YES", "1")
    code, _, told = command("retry", out, *words)
    assert (code, "Add --yes to do it." in told, submits(hosted)) == (2, True, 1)


@pytest.mark.slow
def test_a_variable_names_no_row_for_a_redo(hosted, command, pairs, out, monkeypatch):
    assert command("run", pairs(1), "--out", out)[0] == 0
    monkeypatch.setenv("TEXBATCH_ONLY", "row-0")
    code, _, told = command("retry", out, "--yes")
    assert (code, "TEXBATCH_ONLY: name the rows" in told, submits(hosted)) == (2, True, 1)


def test_a_redo_without_its_folder_is_refused(api, pairs, out):
    """From a script: `run` of another manifest is no redo."""
    manifest = pairs(1)
    with pytest.raises(UsageError, match="it goes with retry, not with run"):
        go(api, manifest, out, redo=Redo(seed="+1", from_folder=False))
    with pytest.raises(UsageError, match="a redo takes random, "):
        RunSettings(out, redo=Redo(seed="7"))


# -- rows that may be at the service ----------------------------------------------------------------------------------


@pytest.fixture
def lost(hosted, command, pairs, out, waits):
    """A folder with a saved row and one that nobody knows about."""
    waits(history_tries=1)
    hosted.faults(
        [
            {"call": "submit", "action": "reset_after", "prompt": "oak 1"},
            {"call": "history", "action": "status", "status": 503},
        ]
    )
    assert command("run", pairs(2), "--out", out)[0] == 4
    return out


@pytest.mark.quick(1)
@pytest.mark.parametrize("words", [[], ["--seed", "random"], ["--prompt-append", "x"]])
def test_an_unknown_row_goes_through_resolve_alone(hosted, command, lost, words):
    code, _, told = command("retry", lost, "--only", "row-1", *words, "--yes")
    assert (code, submits(hosted)) == (2, 2)
    assert "'row-1' may have been accepted although no answer came (unknown). `texbatch resolve" in told


@pytest.mark.slow
def test_an_unknown_row_cannot_slip_through_a_file(hosted, command, lost):
    """A file that calls it failed, or says nothing of it, does not know better than the ledger."""
    line = by_id(lost)["row-1"] | {"status": "failed", "seed": "99"}
    redo = write_csv(lost / "redo.csv", [line])
    code, _, told = command("retry", lost, redo, "--yes")
    assert (code, submits(hosted)) == (2, 2)
    assert "'row-1' has changed, and may be at the service (unknown). Settle it: texbatch resolve" in told


def test_an_interrupted_redo_is_gone_on_with_and_not_counted_up_again(hosted, command, pairs, out):
    assert command("run", pairs(4), "--out", out)[0] == 0
    code, _, told = command("retry", out, "--status", "saved", "--seed", "+1", "--yes", "--pilot", "1")
    assert (code, submits(hosted), statuses(out)) == (7, 5, {"saved": 1, "pending": 3})
    assert f"texbatch retry {out} --status pending" in told
    pending = ",".join(row["id"] for row in report(out) if row["status"] == "pending")
    code, _, told = command("retry", out, "--only", pending, "--seed", "+1", "--yes")
    assert (code, submits(hosted)) == (2, 5)
    assert "has not ended (pending). Let it end first: texbatch retry" in told
    assert command("retry", out, "--status", "pending")[0] == 0
    assert (submits(hosted), statuses(out)) == (8, {"saved": 4})
    assert seeds(out) == {f"row-{n}": n + 1 for n in range(4)}


@pytest.mark.slow
def test_a_redo_that_fails_keeps_the_earlier_picture_where_it_was(hosted, command, pairs, out):
    manifest = pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    first = picture(out)
    hosted.settings(blocked_words=["glossy"])
    assert command("retry", out, "--only", "row-1", "--prompt-append", "glossy", "--yes")[0] == 1
    assert (by_id(out)["row-1"]["status"], picture(out), versions(out)) == ("failed", first, {})
    assert command("run", manifest, "--out", out)[0] == 0
    assert (statuses(out), submits(hosted)) == ({"saved": 2}, 3)


@pytest.mark.slow
def test_the_local_service_redoes_without_a_key(command, tmp_path, out):
    """And without cost; the picture comes back from where it was set aside."""
    for n, name in enumerate(("chair.png", "oak.png")):
        support.picture(tmp_path / name, ("red", "brown")[n], (64, 64))
    manifest = write_csv(
        tmp_path / "pairs.csv",
        [{"id": "a", "image_1": "chair.png", "image_2": "oak.png", "prompt": "x", "seed": 1}],
    )
    assert command("run", manifest, "--out", out, "--local")[0] == 0
    first = picture(out, "a.webp")
    assert command("retry", out, "--only", "a", "--seed", "+1", "--yes")[0] == 0
    with (out / "report.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["2"]
    assert command("run", manifest, "--out", out, "--local")[0] == 0
    assert picture(out, "a.webp") == first
