"""`read_report`: the report as a DataFrame, typed, with the texts that the manifest gave."""

import pandas as pd
import pytest

from batch import FolderError, read_report
from batch.core.csv_format import OUTCOME_COLUMNS, OUTCOMES, TIMESTAMP, Outcome
from batch.core.parameters import PARAMETERS
from batch.ledger.states import State
from batch.output import report


@pytest.fixture
def written(book, payload, folder):
    """Write the report of one saved, one failed and one pending row; give the folder."""
    book.adopt(
        payload("007", prompt="=oak {1}", cells={"sku": "-0012", "+note": "=1+1"}, seed=7),
        payload("b", prompt="'=", cells={"sku": "", "+note": "NA"}),
        payload("c", prompt="3"),
        columns=("id", "sku", "+note"),
    )
    book.bring("007", State.SAVED, sha256="ab", width=600, height=400)
    book.keep("007", "a.webp")
    book.bring(
        "b", State.FAILED, error="the service\nrefused,\rtwice", error_class="refused", http_status=422
    )
    report.write_report(book.ledger, folder)
    return folder


def test_each_column_has_its_type(written):
    frame = read_report(written.path)
    types = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    numbers = {"seed", "quality", "http_status", "attempts", "width", "height", "manifest_seed"}
    assert {name for name, dtype in types.items() if dtype == "Int64"} == numbers
    assert {name for name, dtype in types.items() if dtype == "Float64"} == {
        "queue_s",
        "inference_s",
        "total_s",
        "cost",
    }
    assert {name for name, dtype in types.items() if dtype == "boolean"} == {"base64"}
    times = {name for name, dtype in types.items() if dtype.startswith("datetime64")}
    assert times == {"submitted_at", "completed_at", "decided_at"}
    assert all(str(frame[name].dt.tz) == "UTC" for name in times)
    assert set(types.values()) - {types["submitted_at"]} == {"Int64", "Float64", "boolean", "string"}


def test_each_outcome_is_described(written):
    described = read_report.__doc__ or ""
    assert [name for name in OUTCOME_COLUMNS if name not in described] == []
    assert set(read_report(written.path).columns) >= set(OUTCOME_COLUMNS)


def test_an_outcome_with_a_prefix_has_its_type_and_leaves_the_manifests_own_column_alone(
    written, monkeypatch
):
    later = Outcome("looked_at", TIMESTAMP, added_later=True)
    monkeypatch.setattr(report, "OUTCOMES", (*OUTCOMES, later))
    lines = written.report.read_text(encoding="utf-8").splitlines()
    cells = ["looked_at,texbatch_looked_at", "friday,2026-11-27T08:00:00.000Z"]
    written.report.write_text(
        "".join(f"{a},{b}\n" for a, b in zip(lines, cells, strict=False)), encoding="utf-8"
    )
    frame = read_report(written.path)
    assert frame["looked_at"].tolist() == ["friday"]
    assert frame["texbatch_looked_at"].tolist() == [pd.Timestamp("2026-11-27T08:00:00Z")]


def test_a_report_of_a_version_without_an_outcome_is_read(written, monkeypatch):
    monkeypatch.setattr(report, "OUTCOMES", (*OUTCOMES, Outcome("looked_at", TIMESTAMP, added_later=True)))
    assert "looked_at" not in read_report(written.path)


def test_texts_are_the_manifests_and_empty_cells_are_missing(written):
    frame = read_report(written.path).set_index("id")
    assert frame.index.tolist() == ["007", "b", "c"]
    assert frame["prompt"].tolist() == ["=oak {1}", "'=", "3"]
    assert frame["sku"].tolist() == ["-0012", pd.NA, pd.NA]
    assert frame["+note"].tolist() == ["=1+1", "NA", pd.NA]
    assert frame.loc["b", "error"] == "the service\nrefused,\rtwice"
    assert frame["seed"].tolist()[0] == 7
    assert frame["base64"].tolist() == [False] * 3


def test_outcomes_are_figures(written):
    frame = read_report(written.path).set_index("id")
    assert frame["status"].tolist() == ["saved", "failed", "pending"]
    assert frame["cost"].sum() == pytest.approx(0.03)
    assert frame["http_status"].tolist() == [pd.NA, 422, pd.NA]
    assert frame["width"].sum() == 600
    assert frame.loc["007", "output_path"] == "images/a.webp"
    assert frame["submitted_at"].isna().tolist() == [False, False, True]
    assert frame.loc["007", "submitted_at"] == pd.Timestamp("1970-01-01T00:16:40Z")


def test_a_file_is_read_as_well_as_a_folder(written):
    assert read_report(str(written.path)).equals(read_report(written.report))
    assert read_report(written.failures)["id"].tolist() == ["b"]


def test_a_report_that_a_spreadsheet_saved_is_read(written):
    """With a byte order mark and Windows line ends."""
    before = read_report(written.path)
    data = written.report.read_bytes().replace(b"\n", b"\r\n")
    written.report.write_bytes(b"\xef\xbb\xbf" + data)
    after = read_report(written.path)
    assert before.drop(columns="error").equals(after.drop(columns="error"))


def test_a_report_without_rows_has_its_types(book, folder):
    book.adopt(columns=("id", "sku"))
    report.write_report(book.ledger, folder)
    frame = read_report(folder.path)
    assert len(frame) == 0
    assert {parameter.name for parameter in PARAMETERS} <= set(frame.columns)
    assert str(frame["cost"].dtype) == "Float64"
    assert str(frame["submitted_at"].dt.tz) == "UTC"


@pytest.mark.parametrize("place", [".", "none", "none/report.csv"])
def test_where_there_is_no_report_it_says_so(tmp_path, place):
    with pytest.raises(FolderError, match=r"there is no report.*texbatch report DIR"):
        read_report(tmp_path / place)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("id,prompt\na,b\n", "is not a report of texbatch", id="another CSV file"),
        pytest.param("", "cannot be read as a report", id="empty"),
        pytest.param("payload_key,id\ntb1,a\n", "cannot be read as a report", id="columns taken out"),
        pytest.param('id,payload_key\n"a\n', "cannot be read as a report", id="an open quote"),
    ],
)
def test_what_is_not_a_report_is_refused_with_the_place(tmp_path, text, told):
    (tmp_path / "report.csv").write_text(text, encoding="utf-8")
    with pytest.raises(FolderError, match=told) as why:
        read_report(tmp_path)
    assert str(tmp_path / "report.csv") in str(why.value)


def test_a_cell_of_a_wrong_kind_is_refused(written):
    text = written.report.read_text(encoding="utf-8")
    written.report.write_text(text.replace("422", "teapot"), encoding="utf-8")
    with pytest.raises(FolderError, match=r"report.csv: cannot be read as a report.*teapot"):
        read_report(written.path)
