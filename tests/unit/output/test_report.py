"""report.csv, failures.csv, summary.json: true as manifests, safe in a spreadsheet, whole or not replaced."""

import csv
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tiers import examples

from batch.core.csv_format import OUTCOME_COLUMNS
from batch.core.errors import FolderError
from batch.core.models import Payload, Problem, payload_key
from batch.core.parameters import PARAMETERS
from batch.ledger.states import State
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest
from batch.output import files, images, report
from batch.output.folder import OutputFolder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return OutputFolder(tmp_path / "out")


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_back(path):
    """Read a file of ours as a manifest; no problem is allowed."""
    items = list(Expander(open_manifest(path), overrides={}))
    assert [item for item in items if isinstance(item, Problem) and not item.warning] == []
    return [item for item in items if isinstance(item, Payload)]


def content_of(path):
    import hashlib  # noqa: PLC0415  this helper alone needs it

    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def local_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path)
    return content_of(path)


# -- as a table --------------------------------------------------------------------------------------------------------


def test_columns_are_the_rows_own_then_the_parameters_then_the_outcome(book, payload, folder):
    book.adopt(payload("a", cells={"sku": "007"}), columns=("id", "sku"))
    report.write_report(book.ledger, folder)
    (row,) = table(folder.report)
    expected = ["id", "sku", *(parameter.name for parameter in PARAMETERS), *OUTCOME_COLUMNS]
    assert expected == list(row)
    assert (row["sku"], row["status"], row["base64"], row["cost"]) == ("007", "pending", "false", "")


def test_an_own_column_that_bears_the_name_of_a_later_outcome_keeps_it(book, payload, folder):
    book.adopt(payload("a", cells={"output_state": "mine"}), columns=("id", "output_state"))
    book.bring("a", State.SAVED)
    book.keep("a")
    for name in (folder.report, folder.failures):
        images.check_images(book.ledger, folder.path)
        report.write_report(book.ledger, folder)
        header = name.read_text().splitlines()[0].split(",")
        assert (header[1], header[-1], header.count("output_state")) == (
            "output_state",
            "texbatch_output_state",
            1,
        )
    (row,) = table(folder.report)
    assert (row["output_state"], row["texbatch_output_state"]) == ("mine", "moved")
    manifest = open_manifest(folder.report)
    assert manifest.columns[:2] == ("id", "output_state")
    assert "texbatch_output_state" not in manifest.columns
    assert [entry.cells["output_state"] for entry in manifest.rows()] == ["mine"]


def test_rows_that_are_not_saved_have_no_output_state(book, payload, folder):
    book.adopt(*(payload(str(state), prompt=str(state)) for state in State))
    for state in State:
        book.bring(str(state), state)
    report.write_report(book.ledger, folder)
    assert {row["output_state"] for row in table(folder.report) if row["status"] != "saved"} == {""}


def test_a_saved_row_tells_everything(book, payload, folder):
    book.adopt(payload("a"))
    book.bring("a", State.COMPLETED, cost=36_000, completed_at=1_800_000_000.5, total_s=23.4)
    with book.ledger.atomic():
        book.ledger.transition(book.job("a"), "keep", sha256="ff", width=6, height=4)
    book.keep("a")
    report.write_report(book.ledger, folder)
    (row,) = table(folder.report)
    expected = {
        "status": "saved", "request_id": f"r-{book.job('a')}", "attempts": "1", "cost": "0.036000", "total_s": "23.4",
        "completed_at": "2027-01-15T08:00:00.500Z", "output_path": "images/a.webp", "output_sha256": "ff",
        "width": "6", "height": "4", "payload_key": book.row("a")["payload_key"], "run_id": "run-1", "error": "",
    }  # fmt: skip
    assert expected.items() <= row.items()


def test_failures_hold_the_failed_and_expired_rows_only(book, payload, folder):
    book.adopt(*(payload(str(state), prompt=str(state)) for state in State))
    for state in State:
        book.bring(str(state), state)
    report.write_report(book.ledger, folder)
    assert [row["id"] for row in table(folder.report)] == [str(state) for state in State]
    assert [row["id"] for row in table(folder.failures)] == ["failed", "expired"]


def test_without_failures_there_is_a_header_only(book, payload, folder):
    book.adopt(payload("a"))
    report.write_report(book.ledger, folder)
    (header,) = folder.failures.read_text().splitlines()
    assert header == folder.report.read_text().splitlines()[0]
    assert read_back(folder.failures) == []


def test_rows_in_more_than_one_chunk_come_once_each_in_order(book, payload, folder, monkeypatch):
    monkeypatch.setattr(report, "CHUNK", 3)
    book.adopt(*(payload(f"r{n}", prompt=str(n)) for n in range(10)))
    report.write_report(book.ledger, folder)
    assert [row["id"] for row in table(folder.report)] == [f"r{n}" for n in range(10)]


def test_only_its_user_can_read_a_report(book, payload, folder):
    book.adopt(payload("a"))
    report.write_report(book.ledger, folder)
    assert {path.stat().st_mode & 0o777 for path in (folder.report, folder.failures)} == {0o600}


@pytest.mark.parametrize(
    "name", ["=cmd|'/C calc'!A1", "+1-1", "-x", "@sum", "'=quoted", "\tx", "\rx", "a\rb", "plain"]
)
def test_a_columns_name_cannot_be_a_formula_and_comes_back(book, payload, folder, name):
    """Neutralised in the header as cells are; restored when the report is a manifest."""
    book.adopt(payload("a", cells={name: "=1"}, output="a.webp"), columns=("id", name))
    book.bring("a", State.FAILED, error_class="X", error="y")
    report.write_report(book.ledger, folder)
    for path in (folder.report, folder.failures):
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))
        assert not header[1].startswith(("=", "+", "-", "@", "\t", "\r"))
        (again,) = read_back(path)
        assert again.cells[name] == "=1"


# -- as a manifest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    [
        "plain",
        "=HYPERLINK(1)",
        "+1 chair",
        "-x",
        "@all",
        "\t tab",
        "'=quoted already",
        "''=twice",
        "braces {like} {{these}} }",
        'quotes " and, commas; and\nlines',
        "00123",
        "NA",
        "TRUE",
        "1E5",
        "é 漢字 😀",
        "a\rb",
        "a\r\nb",
    ],
)
def test_a_failed_row_goes_in_as_it_came(book, payload, folder, prompt):
    prompt = prompt.strip()
    book.adopt(payload("a", prompt=prompt, cells={"note": prompt}), columns=("id", "note"))
    book.bring("a", State.FAILED)
    report.write_report(book.ledger, folder)
    (again,) = read_back(folder.failures)
    assert (book.row("a")["payload_key"], prompt, prompt) == (
        payload_key(again.parameters), again.parameters["prompt"], again.cells["note"]
    )  # fmt: skip


TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("{}'=+-@\n\t,\"; "), max_size=30
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(60))
@given(prompt=TEXT, note=TEXT, seed=st.integers(0, 2_147_483_647), quality=st.integers(1, 100))
def test_a_report_read_back_is_the_same_work(book, payload, folder, prompt, note, seed, quality):
    given_prompt = prompt.strip() or "x"
    book.adopt(
        payload("a", prompt=given_prompt, seed=seed, quality=quality, cells={"note": note}),
        columns=("id", "note"),
    )
    report.write_report(book.ledger, folder)
    (again,) = read_back(folder.report)
    assert (book.row("a")["payload_key"], note) == (payload_key(again.parameters), again.cells["note"])


def test_local_images_are_written_relative_to_the_folder(book, payload, folder, tmp_path):
    inside, beside = folder.path / "in {1}.png", tmp_path / "images" / "=chair.png"
    files = {local_image(inside): str(inside)}
    Image.new("RGB", (5, 5), "blue").save(local(beside))
    files |= {content_of(beside): str(beside)}
    (first, second) = files
    book.adopt(payload("a", image_1=first, image_2=second, files=files))
    report.write_report(book.ledger, folder)
    (row,) = table(folder.report)
    assert (row["image_1"], row["image_2"]) == ("in {{1}}.png", "../images/=chair.png")
    (again,) = read_back(folder.report)
    assert book.row("a")["payload_key"] == payload_key(again.parameters)


def local(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_an_id_with_braces_comes_back(book, payload, folder):
    book.adopt(payload("a{1}", output="a.webp"))
    report.write_report(book.ledger, folder)
    assert [again.id for again in read_back(folder.report)] == ["a{1}"]


@pytest.mark.parametrize("state", [State.UNKNOWN, State.ACCEPTED, State.COMPLETED])
def test_a_row_that_may_be_paid_is_refused_as_a_manifest(book, payload, folder, state):
    book.adopt(payload("a"))
    book.bring("a", state)
    report.write_report(book.ledger, folder)
    (problem,) = (
        item
        for item in Expander(open_manifest(folder.report), overrides={})
        if isinstance(item, Problem) and not item.warning
    )
    assert "submitted" in problem.reason


# -- when the disk refuses ---------------------------------------------------------------------------------------------


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["open", "header", "rows", "sync", "rename"])
def test_a_report_that_cannot_be_written_leaves_the_old_one(book, payload, folder, monkeypatch, step):
    book.adopt(payload("a"))
    report.write_report(book.ledger, folder)
    before = {path: path.read_bytes() for path in (folder.report, folder.failures)}
    book.bring("a", State.FAILED)
    csv_lines, calls = report.csv_lines, []

    def fails_at_the_rows(rows):
        calls.append(1)
        if len(calls) > 2:
            full()
        return csv_lines(rows)

    match step:
        case "open":
            monkeypatch.setattr(files.os, "open", full)
        case "header":
            monkeypatch.setattr(report, "csv_lines", full)
        case "rows":
            monkeypatch.setattr(report, "csv_lines", fails_at_the_rows)
        case "sync":
            monkeypatch.setattr(files.os, "fsync", full)
        case "rename":
            monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FolderError, match=r"cannot be written.*Make room"):
        report.write_report(book.ledger, folder)
    monkeypatch.undo()
    assert before == {path: path.read_bytes() for path in (folder.report, folder.failures)}
    assert {path.name for path in folder.path.iterdir()} == {
        "report.csv", "failures.csv", "decisions.csv", "summary.json",
    }  # fmt: skip


def test_a_summary_that_cannot_be_written_leaves_the_old_one(book, payload, folder, monkeypatch):
    report.write_report(book.ledger, folder)
    book.adopt(payload("a"))
    monkeypatch.setattr(report, "atomic_write", full)
    with pytest.raises(FolderError, match=r"summary.json: cannot be written"):
        report.write_report(book.ledger, folder)
    assert json.loads(folder.summary.read_text())["rows"] == 0


# -- figures -----------------------------------------------------------------------------------------------------------


def start_run(book, **columns):
    given = {"run_id": "run-1", "pid": 1, "started_at": book.clock.now - 60, "rows_saved": 3} | columns
    names = ", ".join(given)
    with book.ledger.atomic() as connection:
        connection.execute(
            f"INSERT INTO runs ({names}) VALUES ({','.join('?' * len(given))})", tuple(given.values())
        )


def test_the_folder_in_figures(book, payload, folder):
    book.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3"))
    book.bring("a", State.SAVED)
    book.keep("a")
    book.bring("b", State.FAILED)
    book.bring("c", State.UNKNOWN)
    start_run(book, ended_at=book.clock.now, already_done=30_000, status_calls=9, http_429=2, exit_code=4)
    figures = report.summary(book.ledger, book.clock)
    expected = {
        "rows": 3, "saved": 1, "failed": 1, "expired": 0, "unknown": 1, "pending": 0, "abandoned": 0,
        "spent_usd": 0.03, "at_risk_usd": 0.03, "saved_by_resume_usd": 0.03, "simulated": False,
        "started_at": "2027-01-15T07:59:00.000Z", "ended_at": "2027-01-15T08:00:00.000Z", "seconds": 60.0,
        "rows_per_minute": 3.0, "status_calls": 9, "http_429": 2, "exit_code": 4,
    }  # fmt: skip
    assert expected.items() <= figures.items()
    assert [error["error_class"] for error in figures["top_errors"]] == ["job_failed", "no_answer"]
    json.dumps(figures, allow_nan=False)


def test_a_run_under_way_has_no_end(book):
    start_run(book)
    figures = report.summary(book.ledger, book.clock)
    assert (figures["ended_at"], figures["seconds"], figures["exit_code"]) == (None, 60.0, None)


def test_a_folder_without_a_run_has_no_run_figures(book):
    figures = report.summary(book.ledger, book.clock)
    assert (figures["rows"], figures["started_at"], figures["exit_code"]) == (0, None, None)


@pytest.mark.slow
def test_the_report_takes_no_memory_for_its_rows(book, payload, folder):
    """Five times the rows: it is written in one pass, a chunk at a time."""

    def peak(rows):
        book.adopt(*(payload(f"row-{rows}-{n}", seed=n) for n in range(rows)))
        tracemalloc.start()
        try:
            report.write_report(book.ledger, folder)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports and caches
    small = peak(2_000)
    assert peak(10_000) < small * 2  # two chunks of 2,000 at a time
    assert len(table(folder.report)) == 10_000
