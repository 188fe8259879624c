"""`texbatch mark`: what a person decides of an image is in the ledger and the reports, and holds for that image alone."""

import csv
import getpass
import io
import json
import shutil
import sqlite3
from contextlib import ExitStack, closing

import pytest
import support
from support import by_id, rows, submits, summary, table

from batch.core.errors import FolderError
from batch.ledger import connection, decisions, image_index
from batch.ledger.decisions import Decision
from batch.ledger.ledger import Ledger
from batch.maintenance import mark as marking
from batch.output import reports
from batch.output.folder import OutputFolder
from batch.server import LocalApi

pytestmark = pytest.mark.usefixtures("quick_polls")

NO_DECISION = {"decision": "", "decision_reason": "", "decision_note": "", "decided_by": "", "decided_at": ""}
FAILS = {"call": "submit", "action": "status", "status": 400, "body": {"error": "no"}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick_certificates):
    """A server, and the folder that a run of four rows there left."""
    place = tmp_path_factory.mktemp("finished")
    with LocalApi(**support.QUICK, api_key=support.KEY) as server:
        assert (
            support.go(server, support.write_csv(place / "pairs.csv", rows(4)), place / "out").exit_code == 0
        )
        yield server, place / "out"


@pytest.fixture
def done(finished, monkeypatch, out):
    """A folder with four saved rows: a copy. The server where they were made stays the hosted service."""
    server, made = finished
    shutil.copytree(made, out)
    monkeypatch.setenv("SEGMIND_BASE_URL", server.base_url)
    monkeypatch.setenv("SEGMIND_API_KEY", server.api_key)
    return out


@pytest.fixture
def impatient(monkeypatch):
    """Wait for no other command."""
    monkeypatch.setattr(marking, "FREE_WITHIN_S", 0.0)


def decided(out):
    """Return (decision, reason, note, by) of each row that was ever decided about, by the report."""
    return {
        row["id"]: (row["decision"], row["decision_reason"], row["decision_note"], row["decided_by"])
        for row in support.report(out)
        if row["decision"]
    }


def appended(out):
    """Return the rows of the table of decisions."""
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        return ledger.execute("SELECT decision, reason, note, by FROM decisions ORDER BY seq").fetchall()


def rewrite(path, change, **how):
    """Edit a CSV file as a spreadsheet would: every line goes through `change`."""
    lines = [change(line) or line for line in table(path)]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(lines[0]), delimiter=how.get("delimiter", ","), lineterminator=how.get("end", "\n")
    )
    writer.writeheader()
    writer.writerows(lines)
    path.write_bytes(text.getvalue().encode(how.get("encoding", "utf-8")))


# -- ids on the command line -------------------------------------------------------------------------------------------


def test_decisions_are_in_the_ledger_and_in_every_file(done, command, finished):
    server, _ = finished
    sent = submits(server)
    told = command(
        "mark", done, "--accept", "row-0,row-1", "--reject", "row-2", "--reason", "Shape", "--as", "anna"
    )
    assert told == (0, "2 accepted, 1 rejected\n", "")
    assert decided(done) == {
        "row-0": ("accepted", "", "", "anna"),
        "row-1": ("accepted", "", "", "anna"),
        "row-2": ("rejected", "shape", "", "anna"),
    }
    assert NO_DECISION.items() <= by_id(done)["row-3"].items()
    listed = {line["id"]: line for line in table(done / "decisions.csv")}
    assert list(listed) == ["row-0", "row-1", "row-2"]
    for row_id, line in listed.items():
        row = by_id(done)[row_id]
        assert line == {name: row[name] for name in line}
    assert (done / "decisions.csv").stat().st_mode & 0o777 == 0o600
    figures = summary(done)
    assert (figures["accepted"], figures["rejected"], figures["cost_per_accepted_usd"]) == (2, 1, 0.06)
    assert submits(server) == sent


def test_a_folder_that_nobody_decided_about_has_the_heads_alone(done):
    assert (done / "decisions.csv").read_text(encoding="utf-8") == (
        "id,decision,decision_reason,decision_note,decided_by,decided_at,output_sha256\n"
    )
    assert "cost_per_accepted_usd" not in summary(done)


def test_the_person_at_the_machine_decides_unless_a_name_is_given(done, command, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "otto")
    command("mark", done, "--accept", "row-0", "--note", "fits well")
    assert decided(done) == {"row-0": ("accepted", "", "fits well", "otto")}

    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    code, _, why = command("mark", done, "--accept", "row-1,row-2")
    assert (code, why.count("--as NAME")) == (2, 1)
    assert command("mark", done, "--accept", "row-1", "--as", "eva")[0] == 0


def test_the_same_again_is_not_written_again(done, command):
    words = ("mark", done, "--reject", "row-0", "--reason", "colour", "--note", "too red", "--as", "anna")
    command(*words)
    assert command(*words) == (0, "0 accepted, 0 rejected, 1 unchanged\n", "")
    assert (
        command("mark", done, "--clear", "row-1", "--as", "anna")[1]
        == "0 accepted, 0 rejected, 1 unchanged\n"
    )
    assert len(appended(done)) == 1
    assert command(*words[:-1], "otto")[1] == "0 accepted, 1 rejected\n"
    assert (
        command("mark", done, "--clear", "row-0", "--as", "anna")[1] == "0 accepted, 0 rejected, 1 cleared\n"
    )
    assert decided(done) == {"row-0": ("cleared", "", "", "anna")}


def test_every_problem_is_named_and_nothing_is_written(hosted, command, manifest, out):
    hosted.faults([FAILS | {"prompt": "oak 3"}])
    command("run", manifest, "--out", out)
    before = (out / "report.csv").read_bytes()
    code, told, why = command(
        "mark",
        out,
        "--accept",
        "row-0,nobody",
        "--reject",
        "row-0",
        "--clear",
        "row-3",
        "--accept",
        "row-1",
        "--as",
        "anna",
    )
    assert (code, told) == (2, "")
    assert "--accept:nobody: this folder has no such row." in why
    assert "--clear:row-3: has no image: it is failed." in why
    assert "--accept:row-0: is named with --reject too." in why
    assert why.endswith("3 problems; nothing was written.\n")
    assert (appended(out), (out / "report.csv").read_bytes()) == ([], before)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--accept", "row-0", "--reason", "shape"), "--reason: is for a rejection."),
        (("--reject", "row-0", "--reason", "ugly"), "artefact"),
        (("--note", "good"), "--note: the decisions of a file have their own notes."),
        (("--accept", "row-0", "--note", "a\x07b"), "--note: there is a control character"),
        (("--accept", "@nowhere.txt"), "nowhere.txt: cannot be read (No such file or directory)"),
        (("--accept", " "), "is empty"),
        (("decisions.csv", "--accept", "row-0"), "a file has its own decisions"),
        (("--accept", "row-0", "--encoding", "cp1252"), "--encoding: is for a file"),
    ],
)
def test_wrong_usage_says_what_is_right(done, command, words, reason):
    code, _, why = command("mark", done, *words)
    assert (code, reason in why, appended(done)) == (2, True, [])


def test_a_variable_decides_nothing(done, command, monkeypatch):
    for name in ("ACCEPT", "ACCEPT_UNFLAGGED", "AS", "NOTE", "REASON"):
        monkeypatch.setenv(f"TEXBATCH_{name}", "row-0")
    assert command("mark", done, "--accept", "row-1", "--as", "anna")[:2] == (0, "1 accepted, 0 rejected\n")
    assert decided(done) == {"row-1": ("accepted", "", "", "anna")}


def test_ids_come_with_commas_and_from_files(hosted, command, pairs, out, tmp_path):
    lines = rows(5)
    lines[0]["id"], lines[1]["id"], lines[2]["id"] = "Chair, oak", "@home", "Möbel"
    lines[4]["id"] = "Sofa, oak"
    command("run", pairs(lines), "--out", out)
    some = tmp_path / "some.txt"
    some.write_bytes('\ufeffMöbel\r\n\r\n  row-3  \r\n "Sofa, oak"\r\n'.encode())
    told = command("mark", out, "--accept", '"Chair, oak","@home"', "--reject", f"@{some}", "--as", "anna")
    assert told == (0, "2 accepted, 3 rejected\n", "")
    some.write_bytes(b"\xff\xfe\xff")
    assert "is not UTF-8 text" in command("mark", out, "--accept", f"@{some}")[2]
    some.write_bytes(b"\n")
    assert "contains no id" in command("mark", out, "--accept", f"@{some}")[2]


def test_all_that_is_undecided_can_be_accepted_at_once(hosted, command, pairs, out):
    hosted.faults([FAILS | {"prompt": "oak 4"}])
    command("run", pairs(5), "--out", out)
    command("mark", out, "--reject", "row-0", "--as", "anna")
    command("mark", out, "--accept", "row-1", "--as", "anna")
    command("mark", out, "--clear", "row-1", "--as", "anna")
    told = command(
        "mark", out, "--accept-unflagged", "--reject", "row-2", "--reason", "other", "--as", "otto"
    )
    assert told[:2] == (0, "2 accepted, 1 rejected\n")
    assert {row_id: said[0] for row_id, said in decided(out).items()} == {
        "row-0": "rejected", "row-1": "accepted", "row-2": "rejected", "row-3": "accepted",
    }  # fmt: skip


# -- which image -------------------------------------------------------------------------------------------------------


def test_a_decision_stays_with_its_image_wherever_that_goes(done, command, manifest, tmp_path):
    command("mark", done, "--accept", "row-0", "--as", "anna")
    shop = tmp_path / "shop"
    shutil.move(done / "images" / "row-0.webp", shop)
    command("run", manifest, "--out", done)
    assert (by_id(done)["row-0"]["output_state"], decided(done)) == (
        "moved",
        {"row-0": ("accepted", "", "", "anna")},
    )
    shutil.move(shop, done / "images" / "row-0.webp")
    command("report", done)
    assert (by_id(done)["row-0"]["output_state"], summary(done)["accepted"]) == ("present", 1)


def test_an_image_that_a_person_changed_is_another_one(done, command):
    image = done / "images" / "row-0.webp"
    before = image.read_bytes()
    command("mark", done, "--reject", "row-0", "--reason", "texture", "--as", "anna")
    support.picture(image, "green")
    command("report", done)
    note = "another image than the one that was rejected (texture) by anna"
    assert decided(done) == {"row-0": ("cleared", "", note, "")}
    assert summary(done)["rejected"] == 0
    assert command("mark", done, "--accept", "row-0", "--as", "otto")[0] == 0  # the changed one is good
    assert (decided(done)["row-0"][0], by_id(done)["row-0"]["output_state"]) == ("accepted", "changed")
    image.rename(done / "elsewhere.webp")
    command("report", done)
    assert (decided(done)["row-0"][0], by_id(done)["row-0"]["output_state"]) == ("accepted", "moved")
    image.write_bytes(before)
    command("report", done)
    assert decided(done) == {"row-0": ("rejected", "texture", "", "anna")}


@pytest.mark.slow
def test_a_row_that_was_changed_before_this_version_is_read_once_more(done, command):
    support.picture(done / "images" / "row-0.webp", "green")
    command("report", done)
    support.sql(done, "UPDATE rows SET kept_sha256=NULL")
    command("mark", done, "--accept", "row-0", "--as", "anna")
    assert decided(done) == {"row-0": ("accepted", "", "", "anna")}


def test_a_changed_image_that_cannot_be_read_cannot_be_judged(done, command):
    image = done / "images" / "row-0.webp"
    image.unlink()
    image.mkdir()
    code, _, why = command("mark", done, "--accept", "row-0", "--as", "anna")
    assert (code, "its image was changed and cannot be read" in why) == (2, True)
    assert command("mark", done, "--accept-unflagged", "--as", "anna")[1] == "3 accepted, 0 rejected\n"


@pytest.mark.slow
def test_another_seed_is_undecided_and_the_earlier_image_is_as_it_was(hosted, command, pairs, out):
    lines = rows(2)
    command("run", pairs(lines), "--out", out)
    command("mark", out, "--accept", "row-0", "--note", "fine", "--as", "anna")
    lines[0]["seed"] = 77
    command("run", pairs(lines), "--out", out, "--yes")
    note = "another image than the one that was accepted by anna"
    assert decided(out) == {"row-0": ("cleared", "", note, "")}
    lines[0]["seed"] = 0
    command("run", pairs(lines), "--out", out, "--yes")
    assert decided(out) == {"row-0": ("accepted", "", "fine", "anna")}


# -- decisions.csv and report.csv as a person's file ---------------------------------------------------------------------


@pytest.fixture
def judged(done, command):
    """A folder with an accepted and a rejected row."""
    command(
        "mark",
        done,
        "--accept",
        "row-0",
        "--reject",
        "row-1",
        "--reason",
        "colour",
        "--note",
        "=red",
        "--as",
        "anna",
    )
    return done


def test_a_file_as_it_was_written_says_nothing_new(judged, command):
    for words in ((), (judged / "decisions.csv",), (judged / "report.csv",)):
        assert command("mark", judged, *words) == (0, "0 accepted, 0 rejected, 2 unchanged\n", "")
    assert len(appended(judged)) == 2


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "how",
    [
        {"encoding": "utf-8-sig", "delimiter": ";", "end": "\r\n"},
        {"encoding": "utf-16", "delimiter": "\t", "end": "\r\n"},
        {},
    ],
)
def test_the_folders_own_file_is_taken_as_a_spreadsheet_saves_it(judged, command, how):
    def swap(line):
        if line["id"] == "row-0":
            line |= {"decision": " Rejected ", "decision_reason": "Shape", "decision_note": "zu groß"}
        if line["id"] == "row-1":
            line["decision"] = ""

    rewrite(judged / "decisions.csv", swap, **how)
    assert command("mark", judged, "--as", "otto") == (0, "0 accepted, 1 rejected\n", "")
    assert decided(judged) == {
        "row-0": ("rejected", "shape", "zu groß", "otto"),
        "row-1": ("rejected", "colour", "'=red", "anna"),
    }
    assert command("mark", judged) == (0, "0 accepted, 0 rejected, 2 unchanged\n", "")  # it was written again


def test_a_report_is_such_a_file_with_all_its_columns(judged, command, tmp_path):
    copy = tmp_path / "looked at.csv"
    shutil.copy(judged / "report.csv", copy)
    rewrite(copy, lambda line: line | {"decision": "ACCEPTED"})
    told = command("mark", judged, copy, "--as", "otto")
    assert told[:2] == (0, "3 accepted, 0 rejected, 1 unchanged\n")
    assert decided(judged)["row-1"] == ("accepted", "", "'=red", "otto")  # the reason was for the rejection


def test_two_columns_are_enough(judged, command, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("decision,who,id\nrejected,x,row-3\ncleared,x,row-0\n,x,row-2\n", encoding="utf-8")
    assert command("mark", judged, file, "--as", "otto") == (0, "0 accepted, 1 rejected, 1 cleared\n", "")


def test_every_bad_line_is_named_and_nothing_is_written(judged, command, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text(
        "id,decision,decision_reason\nrow-2,accepted,\nrow-3,fine,\nrow-0,rejected,ugly\n,accepted,\nrow-2,rejected,\n",
        encoding="utf-8",
    )
    code, told, why = command("mark", judged, file)
    assert (code, told) == (2, "")
    assert (
        "mine.csv:3:decision: 'fine' is not a decision. Write accepted, rejected, cleared, or leave it empty."
        in why
    )
    assert "mine.csv:4:decision_reason: 'ugly' is not a reason." in why
    assert "mine.csv:5:id: is empty." in why
    assert "mine.csv:6:id: row-2 is on line 2 already." in why
    file.write_text("id,decision\nrow-2,accepted\nnobody,accepted\nnothing,rejected\n", encoding="utf-8")
    code, _, why = command("mark", judged, file)
    assert code == 2
    assert "mine.csv:3:id: this folder has no row 'nobody'." in why
    assert "mine.csv:4:id: this folder has no row 'nothing'." in why
    file.write_text("row,verdict\n", encoding="utf-8")
    assert "mine.csv:1: there is no column decision." in command("mark", judged, file)[2]
    file.write_bytes("id,decision,decision_note\nrow-2,accepted,groß\n".encode("cp1252"))
    assert "--encoding" in command("mark", judged, file)[2]
    assert len(appended(judged)) == 2
    assert command("mark", judged, file, "--encoding", "cp1252", "--as", "otto")[0] == 0
    assert decided(judged)["row-2"] == ("accepted", "", "groß", "otto")


def test_a_line_for_another_image_is_named_and_the_others_are_taken(judged, command, tmp_path):
    file = tmp_path / "mine.csv"
    other = by_id(judged)["row-2"]["output_sha256"]
    file.write_text(
        f"id,decision,output_sha256\nrow-2,accepted,{other.upper()}\nrow-3,accepted,{other}\n",
        encoding="utf-8",
    )
    code, told, why = command("mark", judged, file, "--as", "otto")
    assert (code, told) == (1, "1 accepted, 0 rejected, 1 line not applied\n")
    assert why == "not applied: row-3 (line 3): it has another image now\n"


def test_a_report_that_knows_of_a_changed_image_speaks_of_that(done, command, tmp_path):
    """Its hash is that of the image as it was saved."""
    support.picture(done / "images" / "row-0.webp", "green")
    command("report", done)
    copy = tmp_path / "report.csv"
    shutil.copy(done / "report.csv", copy)
    rewrite(copy, lambda line: line | {"decision": "accepted"} if line["id"] == "row-0" else line)
    assert command("mark", done, copy, "--as", "otto")[:2] == (0, "1 accepted, 0 rejected\n")
    assert decided(done) == {"row-0": ("accepted", "", "", "otto")}


@pytest.mark.slow
def test_the_note_about_another_image_is_nobodys(judged, command):
    support.picture(judged / "images" / "row-1.webp", "green")
    command("report", judged)
    rewrite(judged / "decisions.csv", lambda line: line | {"decision": "accepted"})
    assert command("mark", judged, "--as", "otto")[:2] == (0, "1 accepted, 0 rejected, 1 unchanged\n")
    assert decided(judged)["row-1"] == ("accepted", "", "", "otto")


@pytest.mark.slow
def test_a_reason_is_for_a_rejection_in_a_file_too(judged, command):
    rewrite(
        judged / "decisions.csv", lambda line: line | {"decision_reason": "shape", "decision": "accepted"}
    )
    code, told, why = command("mark", judged, "--as", "otto")
    assert (code, told) == (1, "0 accepted, 0 rejected, 2 lines not applied\n")
    assert "row-0 (line 2): a reason is for a rejection only, and it is accepted" in why


def test_a_line_that_is_older_than_a_decision_is_a_conflict(judged, command, tmp_path):
    mine = tmp_path / "mine.csv"
    shutil.copy(judged / "decisions.csv", mine)
    command("mark", judged, "--reject", "row-0", "--as", "otto")
    command("mark", judged, "--accept", "row-1", "--as", "otto")
    rewrite(mine, lambda line: line | {"decision_note": "mine"} if line["id"] == "row-0" else line)
    code, told, why = command("mark", judged, mine, "--as", "eva")
    assert (code, told) == (1, "0 accepted, 0 rejected, 1 unchanged, 1 line not applied\n")
    assert why.startswith("not applied: row-0 (line 2): otto has rejected it since (20")
    assert decided(judged)["row-1"][0] == "accepted"  # that line was not edited: it is old


@pytest.mark.slow
def test_a_report_that_is_older_than_a_decision_is_a_conflict_too(done, command, tmp_path):
    mine = tmp_path / "mine.csv"
    shutil.copy(done / "report.csv", mine)
    command("mark", done, "--reject", "row-0", "--as", "otto")
    rewrite(mine, lambda line: line | {"decision": "accepted"} if line["id"] in {"row-0", "row-1"} else line)
    code, told, why = command("mark", done, mine, "--as", "eva")
    assert (code, told) == (1, "1 accepted, 0 rejected, 1 line not applied\n")
    assert "row-0 (line 2): otto has rejected it since" in why


@pytest.mark.quick(1)
@pytest.mark.parametrize("lost", ["reformatted", "no column"])
def test_a_line_that_may_be_older_than_a_decision_is_named(judged, command, tmp_path, lost):
    mine = tmp_path / "mine.csv"
    shutil.copy(judged / "decisions.csv", mine)
    command("mark", judged, "--accept", "row-1", "--as", "otto")

    def lose(line):
        line["decided_at"] = "27.11.2026 17:00"
        return line if lost == "reformatted" else {name: line[name] for name in line if name != "decided_at"}

    rewrite(mine, lambda line: lose(line) | ({"decision": "rejected"} if line["id"] == "row-0" else {}))
    code, told, why = command("mark", judged, mine, "--as", "eva")
    assert (code, told) == (1, "0 accepted, 1 rejected, 1 line not applied\n")
    assert why.startswith("not applied: row-1 (line 3): otto has accepted it since (20")
    assert [said[0] for said in decided(judged).values()] == ["rejected", "accepted"]


def test_who_decided_is_the_cell_where_that_was_edited(judged, command, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "otto")
    rewrite(
        judged / "decisions.csv",
        lambda line: line | ({"decision": "rejected"} if line["id"] == "row-0" else {"decided_by": "eva"}),
    )
    assert command("mark", judged)[:2] == (0, "0 accepted, 2 rejected\n")
    assert {row_id: said[3] for row_id, said in decided(judged).items()} == {"row-0": "otto", "row-1": "eva"}


@pytest.mark.slow
def test_a_row_that_left_the_manifest_stops_no_other_line(judged, command, pairs):
    shutil.copy(judged / "decisions.csv", judged.parent / "mine.csv")
    command("run", pairs(rows(4)[1:]), "--out", judged)
    mine = judged.parent / "mine.csv"
    assert command("mark", judged, mine) == (0, "0 accepted, 0 rejected, 2 unchanged\n", "")
    rewrite(mine, lambda line: line | {"decision": "cleared"})
    code, told, why = command("mark", judged, mine, "--as", "otto")
    assert (code, told) == (1, "0 accepted, 0 rejected, 1 cleared, 1 line not applied\n")
    assert "row-0 (line 2): it is not in the manifest any more" in why
    assert "--clear:row-0: is not in the manifest any more" in command("mark", judged, "--clear", "row-0")[2]


def test_a_column_of_the_manifest_keeps_its_name(hosted, command, pairs, out, tmp_path):
    command("run", pairs(2, decision="buy"), "--out", out)
    command("mark", out, "--accept", "row-0", "--as", "anna")
    row = by_id(out)["row-0"]
    assert (row["decision"], row["texbatch_decision"], row["decided_by"]) == ("buy", "accepted", "anna")
    copy = tmp_path / "report.csv"
    shutil.copy(out / "report.csv", copy)
    rewrite(copy, lambda line: line | {"texbatch_decision": "rejected"})
    assert command("mark", out, copy, "--as", "otto")[:2] == (0, "0 accepted, 2 rejected\n")
    code, _, _ = command("run", out / "report.csv", "--out", tmp_path / "another", "--local", "--dry-run")
    assert code == 0
    _, told, _ = command("plan", out / "report.csv", "--out", out)
    assert "done" in told
    command("run", out / "report.csv", "--out", out)
    assert by_id(out)["row-0"]["decision"] == "buy"


@pytest.mark.slow
def test_ids_with_braces_are_found_in_both_files(hosted, command, pairs, out, tmp_path):
    lines = rows(2)
    lines[0]["id"] = "{{oak}}"
    command("run", pairs(lines), "--out", out)
    assert command("mark", out, "--accept", "{oak}", "--as", "anna")[0] == 0
    for name in ("report.csv", "decisions.csv"):
        assert command("mark", out, out / name) == (0, "0 accepted, 0 rejected, 1 unchanged\n", "")


# -- edits that were not taken in --------------------------------------------------------------------------------------


def edit(out, **cells):
    rewrite(out / "decisions.csv", lambda line: line | cells if line["id"] == "row-0" else line)
    return (out / "decisions.csv").read_bytes()


def test_edits_are_never_written_over(judged, command, manifest, out, monkeypatch):
    monkeypatch.setenv("LOGNAME", "otto")  # a machine may not know its user's name
    edited = edit(judged, decision="rejected")
    notice = (
        f"{out}/decisions.csv was edited: texbatch mark {out} takes the edits in; to drop them, delete the file, then: "
        f"texbatch report {out}\n"
    )
    for words in (
        ("run", manifest, "--out", out),
        ("report", out),
        ("status", out),
        ("mark", out, "--accept", "row-3"),
    ):
        code, _, said = command(*words)
        assert (code, said, (out / "decisions.csv").read_bytes()) == (0, notice, edited)
    assert command("run", manifest, "--out", out, "--quiet") == (0, "", "")
    _, _, logged = command("run", manifest, "--out", out, "--log-format", "json")
    assert [
        line["event"] for line in map(json.loads, logged.splitlines()) if "edited" in line.get("message", "")
    ] == ["run.warning"]
    code, told, said = command("mark", out, "--as", "otto")
    assert (code, told, said) == (0, "0 accepted, 1 rejected, 1 unchanged\n", "")
    assert [line["id"] for line in table(out / "decisions.csv")] == ["row-0", "row-1", "row-3"]


@pytest.mark.slow
def test_edits_that_are_saved_while_the_reports_are_written_are_not_written_over(
    judged, command, monkeypatch
):
    edited = []
    note_file = decisions.note_file

    def saved_at_the_last_moment(*args):
        note_file(*args)
        if not edited:
            edited.append(edit(judged, decision="rejected"))

    monkeypatch.setattr(decisions, "note_file", saved_at_the_last_moment)
    _, _, said = command("report", judged)
    assert said.startswith(f"{judged}/decisions.csv was edited: texbatch mark {judged} takes the edits in; ")
    assert (judged / "decisions.csv").read_bytes() == edited[0]


@pytest.mark.slow
def test_edits_that_say_what_holds_are_written_over(judged, command):
    edit(judged, decision=" ACCEPTED")
    written = (judged / "decisions.csv").read_bytes()
    assert command("report", judged)[2] == ""
    assert (judged / "decisions.csv").read_bytes() != written


def test_another_programs_file_is_left_alone(judged, command):
    (judged / "decisions.csv").write_bytes(b"\x00\xffnot ours")
    said = command("report", judged)[2]
    assert said.startswith(
        f"{judged}/decisions.csv is not a list of decisions, and was left as it is. Move it away"
    )
    assert (judged / "decisions.csv").read_bytes() == b"\x00\xffnot ours"
    code, _, why = command("mark", judged)
    assert (code, "decisions.csv:1:" in why) == (2, True)


@pytest.mark.slow
def test_edits_in_another_encoding_are_edits(judged, command):
    edits = {"decision": "rejected", "decision_note": "zu groß"}
    rewrite(judged / "decisions.csv", lambda line: line | edits, delimiter=";", encoding="cp1252")
    for words in (("report", judged), ("status", judged), ("mark", judged, "--accept", "row-3")):
        said = command(*words)[2]
        assert said.startswith(
            f"{judged}/decisions.csv was edited: texbatch mark {judged} --encoding cp1252 takes the edits in"
        )
    assert command("mark", judged, "--encoding", "cp1252", "--as", "otto")[0] == 0
    assert decided(judged)["row-0"] == ("rejected", "", "zu groß", "otto")


def test_edits_are_dropped_as_it_is_said(judged, command):
    before = table(judged / "decisions.csv")
    edit(judged, decision="rejected")
    assert "to drop them, delete the file, then: texbatch report" in command("status", judged)[2]
    (judged / "decisions.csv").unlink()
    assert command("report", judged)[2] == ""
    assert table(judged / "decisions.csv") == before


@pytest.mark.slow
def test_an_id_that_a_spreadsheet_changed_is_known_by_its_image(hosted, command, pairs, out):
    lines = rows(2)
    lines[0]["id"] = "000123"
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert command("mark", out, "--accept", "000123,row-1", "--as", "anna")[0] == 0
    rewrite(out / "decisions.csv", lambda line: line | {"id": line["id"].lstrip("0"), "decision": "rejected"})
    code, _, why = command("mark", out)
    assert code == 2
    assert (
        "decisions.csv:2:id: this folder has no row '123'. Is it '000123'? A spreadsheet may have changed the id: read "
        "that column as text." in why
    )
    rewrite(out / "decisions.csv", lambda line: line | {"output_sha256": ""})
    assert "no row '123'. Correct the id, or remove the line." in command("mark", out)[2]
    assert len(appended(out)) == 2


def test_what_cannot_be_read_there_stops_no_report(judged, command, manifest):
    (judged / "decisions.csv").unlink()
    (judged / "decisions.csv").mkdir()
    code, _, said = command("run", manifest, "--out", judged)
    assert (code, "is not a list of decisions" in said) == (0, True)


@pytest.mark.slow
def test_edits_with_a_wrong_word_wait_too(judged, command):
    edit(judged, decision="acceptable")
    assert "was edited" in command("report", judged)[2]
    assert "'acceptable' is not a decision" in command("mark", judged)[2]


def test_a_new_folder_that_has_such_a_file_is_refused(hosted, command, manifest, out):
    out.mkdir()
    (out / "decisions.csv").write_text("mine\n", encoding="utf-8")
    code, _, why = command("run", manifest, "--out", out)
    assert (code, "decisions.csv: texbatch did not write it" in why, submits(hosted)) == (2, True, 0)


@pytest.mark.slow
def test_a_process_that_ended_before_it_noted_its_file_has_edited_nothing(judged, command):
    """As a kill leaves it: the file is an older one than the ledger expects."""
    older = (judged / "decisions.csv").read_bytes()
    command("mark", judged, "--accept", "row-2", "--as", "anna")
    (judged / "decisions.csv").write_bytes(older)
    assert command("report", judged)[2] == ""
    assert len(table(judged / "decisions.csv")) == 3


# -- while a run holds the folder ----------------------------------------------------------------------------------------


def test_a_held_folder_takes_decisions_and_says_who_reports_them(done, command, impatient):
    folder = OutputFolder(done)
    before = (done / "report.csv").read_bytes()
    with folder.hold():
        code, told, said = command("mark", done, "--accept", "row-0", "--as", "anna")
        assert (code, told) == (0, "1 accepted, 0 rejected\n")
        assert said.startswith(
            "A run holds this folder: it writes report.csv and decisions.csv when it ends."
        )
        assert (done / "report.csv").read_bytes() == before
        assert json.loads(command("status", done, "--json")[1])["accepted"] == 1
        assert command("report", done)[0] == 0
        assert "anna" in (done / "report.html").read_text(encoding="utf-8")
    assert command("mark", done, "--accept", "row-1", "--as", "otto")[2] == ""
    assert list(decided(done)) == ["row-0", "row-1"]


def test_a_run_waits_for_the_reports_of_a_decision(done, command, manifest, impatient, monkeypatch):
    """A schedule does not fail because somebody decides at night; for another run it does not wait."""
    with ExitStack() as stack:
        stack.enter_context(OutputFolder(done).hold())
        monkeypatch.setattr("batch.output.folder.sleep", lambda _s: None)
        assert command("run", manifest, "--out", done)[0] == 6
        assert command("mark", done, "--accept", "row-0", "--as", "anna")[0] == 0
        naps = iter([lambda: None, lambda: None, stack.close])
        monkeypatch.setattr("batch.output.folder.sleep", lambda _s: next(naps)())
        assert command("run", manifest, "--out", done)[0] == 0
    assert decided(done) == {"row-0": ("accepted", "", "", "anna")}
    support.sql(done, "UPDATE runs SET ended_at=NULL")
    with OutputFolder(done).hold():
        monkeypatch.setattr("batch.output.folder.sleep", lambda _s: None)
        command("mark", done, "--accept", "row-1", "--as", "anna")
        assert command("run", manifest, "--out", done)[0] == 6


def test_what_is_decided_during_a_run_is_in_its_reports(hosted, command, pairs, out, impatient):
    """Before the reports are written, while they are, and in a run that is refused."""
    command("run", pairs(2), "--out", out)
    lines, people = rows(3), iter([("row-0", "anna"), ("row-1", "otto")])

    def decide(*_args, **_options):
        row_id, by = next(people)
        assert (
            marking.mark(
                out, marking.AskedDecisions([marking.Named(row_id, Decision.ACCEPTED, "--accept")], by=by)
            ).reports
            is False
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch.execution.runner.write_sheet", decide)
        assert command("run", pairs(lines), "--out", out)[0] == 0
    assert decided(out) == {"row-0": ("accepted", "", "", "anna")}
    lines[0]["seed"] = 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch.cli.console.confirm", lambda _plan: decide() or False)
        assert command("run", pairs(lines), "--out", out)[0] == 2
    assert list(decided(out)) == ["row-0", "row-1"]


@pytest.mark.slow
def test_a_run_waits_until_the_contact_sheet_shows_the_decision_too(done, command, monkeypatch):
    seen = []
    monkeypatch.setattr(
        reports, "write_sheet", lambda *_, **__: seen.append(OutputFolder(done)._is_reporting())
    )
    assert command("mark", done, "--accept", "row-0", "--as", "anna")[0] == 0
    assert (seen, OutputFolder(done)._is_reporting()) == ([True], False)


def test_two_who_decide_at_once_are_both_in_the_files(done, command, impatient, monkeypatch):
    """The second one appends while the first writes its reports, and finds the folder held."""
    write_report, late = reports.report.write_report, iter([("row-1", "otto")])

    def slow(ledger, folder):
        edited = write_report(ledger, folder)
        for row_id, by in late:
            named = [marking.Named(row_id, Decision.REJECTED, "--reject")]
            assert marking.mark(done, marking.AskedDecisions(named, by=by)).reports is False
        return edited

    monkeypatch.setattr(reports.report, "write_report", slow)
    assert command("mark", done, "--accept", "row-0", "--as", "anna")[0] == 0
    assert decided(done) == {"row-0": ("accepted", "", "", "anna"), "row-1": ("rejected", "", "", "otto")}
    assert [line["decided_by"] for line in table(done / "decisions.csv")] == ["anna", "otto"]


@pytest.mark.slow
def test_two_who_decide_of_the_same_image_follow_each_other(done, command, monkeypatch):
    """Somebody decides between the look at the ledger and the append: it is looked at again."""
    undecided, late = decisions.undecided, iter([("row-1", "otto")])

    def slow(ledger, named):
        found = undecided(ledger, named)
        for row_id, by in late:
            marking.mark(
                done, marking.AskedDecisions([marking.Named(row_id, Decision.REJECTED, "--reject")], by=by)
            )
        return found

    monkeypatch.setattr(decisions, "undecided", slow)
    assert command("mark", done, "--accept-unflagged", "--as", "anna")[:2] == (0, "3 accepted, 0 rejected\n")
    assert decided(done)["row-1"] == ("rejected", "", "", "otto")


# -- the ledger --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_ledger_that_was_closed_clean_still_is(done, command, monkeypatch):
    """So that the next run need not check every page; where another wrote meanwhile nobody vouches for it."""
    command("mark", done, "--accept", "row-0", "--as", "anna")
    checked = []
    monkeypatch.setattr(connection, "_check_pages", lambda *_: checked.append(1))
    connection.for_writing(done / "ledger.sqlite").close()
    assert checked == []


@pytest.mark.slow
def test_nobody_vouches_for_what_another_wrote(done):
    path = done / "ledger.sqlite"
    ledger = Ledger.append_to(path)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO meta VALUES ('other', '1')")
    ledger.close()
    appending, clean = connection.for_appending(path)
    appending.close()
    assert not clean


@pytest.mark.slow
def test_an_older_ledger_is_brought_up_to_date_by_who_holds_the_folder(done, command, impatient):
    support.made_by(done, 8)
    folder = OutputFolder(done)
    with folder.hold():
        assert command("mark", done, "--accept", "row-0", "--as", "anna")[0] == 6
        assert command("report", done)[0] == 0
    assert command("mark", done, "--accept", "row-0", "--as", "anna")[0] == 0
    assert decided(done) == {"row-0": ("accepted", "", "", "anna")}


def test_a_ledger_that_another_program_holds_is_waited_for_and_then_named(done, command, monkeypatch):
    monkeypatch.setattr(connection, "APPENDING_BUSY_S", 0.05)
    with closing(sqlite3.connect(done / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, _, why = command("mark", done, "--accept", "row-0")
    assert (code, "another program holds it" in why, appended(done)) == (2, True, [])


@pytest.mark.slow
def test_more_names_than_a_page_are_looked_up(done, command, monkeypatch):
    monkeypatch.setattr(image_index, "NAMES_A_PAGE", 2)
    support.picture(done / "images" / "row-2.webp", "green")
    assert command("mark", done, "--accept", "row-0,row-1,row-2,row-3", "--as", "anna")[0] == 0
    assert summary(done)["accepted"] == 4


def test_a_folder_without_a_ledger_is_refused_and_not_made(command, tmp_path):
    code, _, why = command("mark", tmp_path / "none", "--accept", "a")
    assert (code, "there is no ledger here" in why, list(tmp_path.iterdir())) == (2, True, [])


def test_a_ledger_that_lost_its_end_takes_no_decision(done, command):
    support.sql(done, "DROP TRIGGER events_no_delete", "DELETE FROM events WHERE seq > 3")
    code, _, why = command("mark", done, "--accept", "row-0")
    assert (code, "has lost what was written last" in why) == (4, True)


def test_decisions_are_in_the_ledger_although_the_disk_is_full(done, command, monkeypatch):
    def full(*_args):
        raise FolderError("report.csv: cannot be written (No space left on device).")

    monkeypatch.setattr(marking, "write_current", full)
    code, _, why = command("mark", done, "--accept", "row-0", "--as", "anna")
    assert (code, "The decisions are in the ledger." in why, len(appended(done))) == (2, True, 1)


# -- figures -----------------------------------------------------------------------------------------------------------


def test_the_cost_of_an_accepted_image_is_said_wherever_money_is(judged, command, manifest, out, tmp_path):
    metrics = tmp_path / "texbatch.prom"
    _, told, _ = command("run", manifest, "--out", out, "--metrics-file", metrics)
    assert "$0.00 this run ($0.12 in all, $0.12 an accepted image)" in told
    lines = metrics.read_text(encoding="utf-8")
    assert f'texbatch_rows_decided{{folder="{out}",decision="rejected"}} 1' in lines
    assert f'texbatch_cost_per_accepted_usd{{folder="{out}",simulated="false"}} 0.12' in lines
    assert "cost_per_accepted_usd  0.12" in command("status", out)[1]
    assert "$0.12 an accepted image" in command("status", out, "--watch")[1]
    _, _, logged = command("run", manifest, "--out", out, "--log-format", "json")
    ended = json.loads(logged.splitlines()[-1])
    assert (ended["event"], ended["accepted"], ended["cost_per_accepted_usd"]) == ("run.ended", 1, 0.12)
    command("mark", out, "--clear", "row-0", "--as", "anna")
    assert "an accepted image" not in command("run", manifest, "--out", out)[1]
