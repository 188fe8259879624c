"""Links and files of other people where a run would write: refused by name, before anything is sent."""

import os
import stat

import pytest
from support import files_in, go, rows, submits, write_csv

from batch import FolderError

PARTS = [
    "thumbs",
    "images",
    "images/.previous",
    "report.csv",
    "failures.csv",
    "summary.json",
    "report.html",
    "ledger.sqlite",
]


@pytest.mark.parametrize("there", [True, False], ids=["to something", "to nothing"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_folder_that_is_a_link_is_refused_and_named(
    hosted, command, pairs, out, tmp_path, part, there
):
    elsewhere = tmp_path / "elsewhere"
    if there and "." in part.removeprefix("images/."):
        elsewhere.write_text("mine")
    elif there:
        elsewhere.mkdir(mode=0o755)
        (elsewhere / "mine.txt").write_text("mine")
    (out / part).parent.mkdir(parents=True, exist_ok=True)
    (out / part).symlink_to(elsewhere)
    before = stat.S_IMODE(elsewhere.stat().st_mode) if there else None
    code, _, told = command("run", pairs(2), "--out", out)
    assert (code, str(out / part) in told, "is a link" in told) == (2, True, True), told
    assert submits(hosted) == 0
    assert elsewhere.exists() == there
    if there:
        assert stat.S_IMODE(elsewhere.stat().st_mode) == before
        assert files_in(elsewhere) == (["mine.txt"] if elsewhere.is_dir() else [])


def test_thumbs_that_become_a_link_later_are_refused_by_every_command(hosted, command, pairs, out, tmp_path):
    manifest = pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    (out / "thumbs").rename(tmp_path / "thumbs")
    (out / "thumbs").symlink_to(tmp_path / "thumbs")
    (tmp_path / "thumbs").chmod(0o755)
    for args in (("run", manifest, "--out", out), ("report", out), ("resolve", out), ("retry", out)):
        code, _, told = command(*args)
        assert (code, "thumbs: is a link" in told) == (2, True), (args, told)
    assert stat.S_IMODE((tmp_path / "thumbs").stat().st_mode) == 0o755
    assert command("status", out)[0] == 0
    assert submits(hosted) == 2


def test_an_output_folder_that_is_a_link_itself_is_used(api, pairs, out, tmp_path):
    (tmp_path / "disk").mkdir()
    out.symlink_to(tmp_path / "disk")
    assert go(api, pairs(2), out).exit_code == 0
    assert (tmp_path / "disk" / "images" / "row-0.webp").is_file()


@pytest.mark.parametrize("part", ["images", "thumbs", "images/.previous"])
def test_a_file_where_a_folder_belongs_is_named(api, pairs, out, part):
    (out / part).parent.mkdir(parents=True)
    (out / part).write_text("mine")
    with pytest.raises(FolderError, match=part):
        go(api, pairs(2), out)
    assert (submits(api), (out / part).read_text()) == (0, "mine")


@pytest.mark.parametrize("name", ["report.csv", "failures.csv", "summary.json", "report.html", "images"])
def test_somebody_elses_file_is_not_overwritten_by_a_report(api, pairs, out, name):
    out.mkdir()
    (out / name).write_text("id,mine\n")
    with pytest.raises(FolderError, match=name) as refused:
        go(api, pairs(2), out)
    assert (refused.value.exit_code, submits(api), (out / name).read_text()) == (2, 0, "id,mine\n")


def other_file(path, _):
    path.write_text("mine\n")


def a_link(path, tmp_path):
    (tmp_path / "target").write_text("mine\n")
    path.symlink_to(tmp_path / "target")


def a_pipe(path, _):
    os.mkfifo(path)


@pytest.mark.parametrize("make", [other_file, a_link, a_pipe])
def test_metrics_are_not_written_over_something_else(hosted, command, pairs, out, tmp_path, make):
    place = tmp_path / "figures.prom"
    make(place, tmp_path)
    code, _, told = command("run", pairs(2), "--out", out, "--metrics-file", place)
    assert (code, f"--metrics-file {place}: is something else" in told, submits(hosted)) == (2, True, 0)
    if make in {other_file, a_link}:
        assert place.read_text() == "mine\n"


@pytest.mark.parametrize("name", ["report.csv", "summary.json", "ledger.sqlite", "ledger.sqlite-wal"])
def test_metrics_are_not_written_where_the_folder_has_its_own(hosted, command, pairs, out, name):
    out.mkdir()
    code, _, told = command("run", pairs(2), "--out", out, "--metrics-file", out / name)
    assert (code, "Give another name" in told, submits(hosted)) == (2, True, 0)


def test_metrics_of_the_run_before_are_replaced(hosted, command, tmp_path, out):
    place = tmp_path / "figures.prom"
    place.write_bytes(b"")
    for count in (1, 2):
        manifest = write_csv(tmp_path / "pairs.csv", rows(count))
        assert command("run", manifest, "--out", out, "--metrics-file", place)[0] == 0
        assert f'status="saved"}} {count}' in place.read_text()
