"""A table under its user's headings: mapped once, remembered by the folder, and the same in every file that texbatch writes."""

import csv
import sqlite3
from contextlib import closing

import pytest
import support
from openpyxl import Workbook

from batch import read_report

OWN = {"Preis": "129,90", "SKU": "007", "Bild 1": support.PRODUCT, "Image 2": support.TEXTURE, "Güte": "80", "PROMPT": "oak 1"}  # fmt: skip
COLUMNS = ("--column", "id=SKU", "--column", "image_1=Bild 1", "--column", "quality=Güte")


def lines(count):
    return [OWN | {"SKU": f"00{n}", "PROMPT": f"oak {n}"} for n in range(count)]


def header(path):
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


@pytest.fixture
def shop(hosted, command, tmp_path):
    """Two rows under their own headings, one of them refused; gives the folder."""
    hosted.settings(blocked_words=["oak 1"])
    manifest = support.write_csv(tmp_path / "shop.csv", lines(2))
    code, _, told = command("run", manifest, "--out", tmp_path / "out", *COLUMNS)
    assert (code, support.submits(hosted)) == (1, 2), told
    hosted.settings(blocked_words=[])
    return tmp_path / "out"


def test_a_report_has_the_users_columns_in_the_users_order(shop, command):
    for name in ("report.csv", "failures.csv"):
        assert header(shop / name)[: len(OWN) + 2] == [*OWN, "image_3", "lora"]
    frame = read_report(shop)
    assert (list(frame["SKU"]), list(frame["Güte"])) == (["000", "001"], [80, 80])
    assert str(frame["Güte"].dtype) == "Int64"
    assert command("mark", shop, "--accept", "000")[0] == 0
    assert header(shop / "decisions.csv")[:2] == ["SKU", "decision"]


def test_a_folder_remembers_which_heading_is_which_parameter(shop, command, hosted):
    """For its own files and for the manifest, without --column."""
    failures = (shop / "failures.csv").read_text().replace("oak 1", "elm")
    (shop / "failures.csv").write_text(failures)
    code, _, told = command("retry", shop)
    assert (code, support.submits(hosted)) == (0, 3), told
    assert "elm" in (shop / "report.csv").read_text()
    code, _, told = command("run", shop.parent / "shop.csv", "--out", shop)
    assert (code, support.submits(hosted)) == (0, 3), told


@pytest.mark.parametrize("names", [("Artikel", "PRODUKT", "image-2"), ("id", "image_1", "IMAGE 2")])
def test_headings_change_nothing_about_what_a_rows_work_is(shop, command, hosted, names):
    """Renamed and in another order: nothing is new or changed, and nothing is paid for."""
    renamed = dict(zip(("SKU", "Bild 1", "Image 2"), names, strict=True))
    again = [{renamed.get(name, name): each[name] for name in reversed(each)} for each in lines(2)]
    manifest = support.write_csv(shop.parent / "again.csv", again)
    given = ("--column", f"id={names[0]}", "--column", f"image_1={names[1]}")
    code, told, why = command("plan", manifest, "--out", shop, *given)
    assert (code, "0 jobs to send" in told, "changed" in why) == (0, True, False), told
    code, _, told = command("run", manifest, "--out", shop, *given)
    assert (code, support.submits(hosted)) == (1, 2), told
    assert header(shop / "report.csv")[: len(OWN)] == list(again[0])


@pytest.mark.slow
def test_an_edited_report_is_taken_in_as_a_list_of_decisions(shop, command):
    frame = support.report(shop)
    frame[0] |= {"decision": "rejected", "decision_reason": "shape"}
    support.write_csv(shop / "mine.csv", frame)
    code, told, why = command("mark", shop, shop / "mine.csv")
    assert (code, "1 rejected" in told) == (0, True), why


def test_a_report_in_another_folder_proposes_what_its_columns_are(shop, command, tmp_path):
    report = (shop / "report.csv").rename(tmp_path / "report.csv")
    code, _, why = command("run", report, "--out", tmp_path / "other")
    assert (code, '--column image_1="Bild 1"' in why) == (2, True), why


def test_a_report_in_another_folder_says_when_its_ids_have_another_heading(command, hosted, tmp_path):
    line = {"SKU": "a", "image_1": support.PRODUCT, "image_2": support.TEXTURE, "prompt": "oak"}
    manifest = support.write_csv(tmp_path / "shop.csv", [line])
    assert command("run", manifest, "--out", tmp_path / "out", "--column", "id=SKU")[0] == 0
    report = (tmp_path / "out" / "report.csv").rename(tmp_path / "report.csv")
    code, _, why = command("run", report, "--out", tmp_path / "other")
    assert (code, support.submits(hosted), "report.csv:1: no column is id" in why) == (2, 1, True), why
    assert command("validate", report, "--column", "id=SKU")[0] == 0


def test_a_folder_of_an_earlier_version_keeps_its_own_columns(hosted, command, tmp_path):
    """It knew the exact names alone: a column ID was the user's, and its rows had derived ids."""
    own = [{"id": "a", "image_1": support.PRODUCT, "image_2": support.TEXTURE, "prompt": "oak", "Aspect - Ratio": "wide"}]  # fmt: skip
    manifest, out = support.write_csv(tmp_path / "shop.csv", own), tmp_path / "out"
    assert command("run", manifest, "--out", out, "--column", "aspect_ratio=")[0] == 0
    with closing(sqlite3.connect(out / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM meta WHERE name IN ('headings', 'imprint')")
    for warned in (True, False):
        code, _, why = command("run", manifest, "--out", out)
        assert (code, support.submits(hosted)) == (0, 1), why
        assert ("--column aspect_ratio=" in why) == warned
    code, _, why = command("run", manifest, "--out", tmp_path / "new")
    assert (code, "shop.csv:2:Aspect - Ratio: 'wide' is not known" in why) == (2, True), why


@pytest.mark.slow
def test_an_id_of_another_column_leaves_decisions_that_nobody_edited_in_use(hosted, command, tmp_path):
    lines = [support.rows(1)[0] | {"id": "", "SKU": "7", "Art": "chair"}]
    manifest, out = support.write_csv(tmp_path / "shop.csv", lines), tmp_path / "out"
    mapped = [{name: cell for name, cell in line.items() if name != "id"} for line in lines]
    support.write_csv(manifest, mapped)
    assert command("run", manifest, "--out", out, "--column", "id=SKU", "--yes")[0] == 0
    code, _, told = command("run", manifest, "--out", out, "--column", "id=Art", "--yes")
    assert (code, support.submits(hosted), "decisions" in told) == (0, 1, False), told
    assert command("mark", out, "--accept", "chair", "--as", "anna")[0] == 0
    assert "chair,accepted" in (out / "decisions.csv").read_text()


@pytest.mark.slow
def test_a_folder_goes_on_with_the_sheet_that_it_has_read(hosted, command, tmp_path):
    """Also where another sheet has the columns by now, and where an earlier version read the first one."""
    book, out = Workbook(), tmp_path / "out"
    for title, prompt in (("One", "oak"), ("Two", "linen")):
        sheet = book.create_sheet(title)
        sheet.append(["id", "image_1", "image_2", "prompt"])
        sheet.append(["a", support.PRODUCT, support.TEXTURE, prompt])
    book.remove(book.worksheets[0])
    path = tmp_path / "shop.xlsx"
    book.save(path)
    assert command("run", path, "--out", out)[0] == 2
    assert command("run", path, "--out", out, "--sheet", "Two", "--yes")[0] == 0
    code, _, told = command("run", path, "--out", out)
    assert (code, support.submits(hosted)) == (0, 1)
    assert "the sheet 'Two' is read, as before; others have the columns too." in told
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("DELETE FROM meta WHERE name IN ('headings', 'sheet')")
    assert "the sheet 'One' is read, as before" in command("plan", path, "--out", out)[2]
