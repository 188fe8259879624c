"""`texbatch report`: the sheet anew at any time, the reports only by the one who holds the folder."""

import pytest

from batch.core.errors import FolderError
from batch.output.folder import OutputFolder
from batch.output.reports import rebuild


def test_a_free_folder_gets_all_its_files(book, payload, tmp_path):
    book.adopt(payload("a"))
    made = rebuild(tmp_path)
    assert (made.reports, made.sheet) == (True, tmp_path / "report.html")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"report.html", "thumbs", "report.csv", "failures.csv", "summary.json"} <= names


def test_while_a_run_holds_it_only_the_sheet_is_written(book, payload, tmp_path):
    book.adopt(payload("a"))
    with OutputFolder(tmp_path).hold():
        made = rebuild(tmp_path)
    assert not made.reports
    assert "Running, as of" in made.sheet.read_text(encoding="utf-8")
    assert not (tmp_path / "report.csv").exists()


def test_where_there_is_no_ledger_nothing_is_made(tmp_path):
    with pytest.raises(FolderError, match="there is no ledger here"):
        rebuild(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote(book, payload, command, tmp_path):
    book.adopt(payload("a"))
    assert command("report", tmp_path) == (0, f"{tmp_path / 'report.html'}\n", "")
    with OutputFolder(tmp_path).hold():
        code, told, said = command("report", tmp_path)
    assert (code, told) == (0, f"{tmp_path / 'report.html'}\n")
    assert said.startswith("A run holds this folder")
    assert command("report", tmp_path / "none")[0] == 2
