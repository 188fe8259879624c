"""What a person decides, lasts: stories of a catalog between a person by day and the nightly job as it is shipped.

Each is told twice: with commands in this process, and with processes of their own, as a shell and cron start them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import support
import yaml
from support import by_id, report, rows, statuses, submits

JOBS = Path(__file__).parents[2] / "jobs"


class Person:
    """Somebody at a shell whose machine also runs the nightly job; `run` gives (exit code, stderr) of a command."""

    def __init__(self, place, run, api):
        self.place, self.run, self.api = place, run, api
        self.out, self.manifest = place / "out", place / "pairs.csv"

    def write(self, lines):
        support.write_csv(self.manifest, lines)

    def night(self, job="nightly.yaml"):
        """Run the shipped job; return its exit code and the ids that it said keep what was made for them, None for no word."""
        code, told = self.run("run", JOBS / job)
        events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        kept = [event["message"] for event in events if event["event"] == "run.kept"]
        assert len(kept) <= 1
        return code, kept[0].partition(": ")[2].partition(". ")[0].split(", ") if kept else None

    def nothing_happens(self, kept):
        """Let a night pass, then a week, in which nothing is asked of the service, and no file of the images changes."""
        before = self.api.stats(jobs=False)["calls"], self.images()
        for job in ("nightly.yaml", "retry.yaml"):
            assert self.night(job) == (0, kept)
        assert (self.api.stats(jobs=False)["calls"], self.images()) == before

    def images(self):
        return {
            str(path.relative_to(self.out)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in (self.out / "images").rglob("*.*")
            if path.is_file()
        }

    def image(self, row_id):
        return (self.out / by_id(self.out)[row_id]["output_path"]).read_bytes()


@pytest.fixture(params=["here", pytest.param("in processes", marks=pytest.mark.slow)])
def person(request, tmp_path, hosted, command, monkeypatch):
    """A person with a catalog of three rows, all made."""
    settings = {
        "CATALOG": str(tmp_path / "pairs.csv"), "CATALOG_OUT": str(tmp_path / "out"), "TEXBATCH_QUIET": "0",
        "TEXBATCH_LOG_FORMAT": "json",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def in_this_process(*args):
        code, _, told = command(*args)
        return code, told

    def in_a_process(*args):
        done = subprocess.run(
            [sys.executable, "-m", "batch", *map(str, args)], env=os.environ, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    someone = Person(tmp_path, in_this_process if request.param == "here" else in_a_process, hosted)
    someone.write(rows(3))
    return someone


@pytest.mark.slow
def test_a_redo_survives_the_night(person):
    assert person.night() == (0, None)
    first = person.image("row-1")
    assert person.run("retry", person.out, "--only", "row-1", "--yes")[0] == 0
    second = person.image("row-1")
    assert submits(person.api) == 4
    person.nothing_happens(kept=["row-1"])
    assert (person.image("row-1"), second != first) == (second, True)
    row = by_id(person.out)["row-1"]
    assert (row["manifest_seed"], row["seed"] != "1") == ("1", True)


@pytest.mark.slow  # its quick sibling is in test_redo.py
def test_a_fix_in_failures_csv_survives_the_night(person):
    person.api.settings(blocked_words=["oak 1"])
    assert person.night()[0] == 1
    failures = person.out / "failures.csv"
    failures.write_text(failures.read_text().replace("oak 1", "walnut"))
    assert person.run("retry", person.out)[0] == 0
    person.nothing_happens(kept=["row-1"])
    assert (by_id(person.out)["row-1"]["prompt"], statuses(person.out)) == ("walnut", {"saved": 3})


@pytest.mark.slow
def test_an_accepted_row_is_left_alone(person):
    """By the nights, and by everything that does not name it."""
    assert person.night()[0] == 0
    accepted = person.image("row-1")
    assert person.run("mark", person.out, "--accept", "row-1", "--as", "anna")[0] == 0
    person.nothing_happens(kept=None)
    code, told = person.run("retry", person.out, "--status", "saved", "--yes")
    assert (code, submits(person.api), person.image("row-1")) == (0, 5, accepted)
    assert "accepted, and left as they are: 1 row, row-1" in told
    person.nothing_happens(kept=["row-0", "row-2"])
    row = by_id(person.out)["row-1"]
    assert (row["decision"], row["decided_by"], row["output_state"]) == ("accepted", "anna", "present")


def test_an_edited_row_is_asked_for_and_then_made(person):
    """A redo ends with it. Without a terminal and without a yes that covers it nothing is sent; the nightly job's covers it."""
    assert person.night()[0] == 0
    assert person.run("retry", person.out, "--only", "row-1", "--yes")[0] == 0
    lines = rows(3)
    lines[1]["prompt"] = "walnut"
    person.write(lines)
    code, told = person.run("run", person.manifest, "--out", person.out)
    assert (code, submits(person.api)) == (2, 4)
    assert (
        "1 row was paid for before and has changed since: row-1 (row 3). Sending it costs money again" in told
    )
    assert person.night() == (0, None)
    row = by_id(person.out)["row-1"]
    assert (row["prompt"], row["seed"], row["manifest_seed"], submits(person.api)) == ("walnut", "1", "", 5)
    person.nothing_happens(kept=None)


@pytest.mark.slow  # its quick sibling is in test_redo.py
@pytest.mark.parametrize("night_first", [False, True])
def test_a_rejected_row_is_made_again_and_edited_in_the_same_hour(person, night_first):
    """What the edit asks for is made and stays, whoever comes first; the rejected image does not come back with the edit."""
    lines = rows(3)
    assert person.night()[0] == 0
    seen = {person.image("row-1")}
    assert person.run("mark", person.out, "--reject", "row-1", "--reason", "texture")[0] == 0
    person.write([lines[0], lines[1] | {"prompt": "walnut"}, lines[2]])
    if night_first:
        assert person.night() == (0, None)
        code, told = person.run("retry", person.out, "--rejected", "--yes")
        assert (code, "has no row that is rejected" in told) == (0, True)
    else:
        assert person.run("retry", person.out, "--rejected", "--yes")[0] == 0
        redone = person.image("row-1")
        assert person.night() == (0, None)
    assert (by_id(person.out)["row-1"]["prompt"], submits(person.api)) == ("walnut", 4 if night_first else 5)
    person.nothing_happens(kept=None)
    seen.add(person.image("row-1"))
    person.write(lines)
    assert person.night() == (0, None)  # the row was edited: what was redone is there, or another one is made
    person.nothing_happens(kept=["row-1"])
    assert submits(person.api) == 5
    if not night_first:
        assert person.image("row-1") == redone
    assert person.image("row-1") not in seen


@pytest.mark.slow  # its quick sibling is in test_redo.py
def test_a_matrix_whose_axis_is_renamed_keeps_what_was_made_and_decided(person, monkeypatch):
    catalog = person.place / "catalog.yaml"
    monkeypatch.setenv("CATALOG", str(catalog))

    def write(axis, names):
        textures = [{axis: name, "image_2": f"https://cdn.example/{n}.png"} for n, name in enumerate(names)]
        defaults = {"prompt": "satin", "image_1": "https://cdn.example/chair.png", "seed": 7}
        content = {"defaults": defaults, "matrix": {axis: textures, "id": f"chair-{{{axis}}}"}}
        catalog.write_text(yaml.safe_dump(content, sort_keys=False))

    write("texture", ["oak", "pine", "ash"])
    assert person.night()[0] == 0
    assert person.run("retry", person.out, "--only", "chair-oak", "--yes")[0] == 0
    assert (
        person.run("mark", person.out, "--accept", "chair-oak", "--reject", "chair-pine", "--as", "anna")[0]
        == 0
    )
    images = {row["id"]: person.image(row["id"]) for row in report(person.out)}
    write("finish", ["Eiche", "Kiefer", "Esche"])
    assert person.night() == (0, ["chair-Eiche"])
    person.nothing_happens(kept=["chair-Eiche"])
    names = {"chair-oak": "chair-Eiche", "chair-pine": "chair-Kiefer", "chair-ash": "chair-Esche"}
    assert {new: person.image(new) for new in names.values()} == {
        names[old]: image for old, image in images.items()
    }
    decided = {row["id"]: (row["decision"], row["decided_by"]) for row in report(person.out)}
    assert decided == {
        "chair-Eiche": ("accepted", "anna"),
        "chair-Kiefer": ("rejected", "anna"),
        "chair-Esche": ("", ""),
    }
    assert submits(person.api) == 4


@pytest.mark.slow  # its quick sibling is in test_redo.py
def test_a_row_that_is_taken_out_and_comes_back_keeps_all(person):
    lines = rows(3)
    assert person.night()[0] == 0
    assert person.run("retry", person.out, "--only", "row-1", "--yes")[0] == 0
    assert person.run("mark", person.out, "--accept", "row-1", "--note", "for the shop")[0] == 0
    second = person.image("row-1")
    person.write([lines[0], lines[2]])
    assert person.night() == (0, None)
    assert support.ids(report(person.out)) == ["row-0", "row-2"]
    person.write(lines)
    person.nothing_happens(kept=["row-1"])
    row = by_id(person.out)["row-1"]
    assert (row["decision"], row["decision_note"], person.image("row-1")) == (
        "accepted",
        "for the shop",
        second,
    )
    assert submits(person.api) == 4
