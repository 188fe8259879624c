"""The figures for Prometheus, read back with Prometheus' own parser."""

import stat

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batch.core.errors import FolderError
from batch.ledger.states import State
from batch.output.metrics import exposition, write_metrics


def families(book, tmp_path):
    return {
        family.name: family for family in text_string_to_metric_families(exposition(book.ledger, tmp_path))
    }


def value(families, name, **labels):
    (found,) = [sample.value for sample in families[name].samples if labels.items() <= sample.labels.items()]
    return found


def run_line(book, **given):
    columns = {"run_id": "run-1", "pid": 1, "started_at": 1_800_000_000.0} | given
    with book.ledger.atomic() as connection:
        connection.execute(
            f"INSERT INTO runs ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            tuple(columns.values()),
        )


@pytest.fixture
def folder(book, payload):
    book.adopt(*(payload(name, prompt=name) for name in "abcde"))
    book.bring("a", State.SAVED, sha256="aa")
    book.keep("a")
    book.bring("b", State.ACCEPTED)
    book.bring("c", State.FAILED, error_class='odd "class"\\\n', error="no")
    return book


def test_every_figure_has_its_type_and_help(folder, tmp_path):
    run_line(folder, ended_at=1_800_000_060.0, exit_code=1, status_calls=7, http_429=2)
    told = families(folder, tmp_path)
    assert {name: family.type for name, family in told.items() if family.type != "gauge"} == {
        "texbatch_spent_usd": "counter"
    }
    assert all(family.documentation.endswith((".", "1.")) for family in told.values())
    assert all(name.startswith("texbatch_") for name in told)
    assert {sample.labels["folder"] for family in told.values() for sample in family.samples} == {
        str(tmp_path)
    }


def test_the_figures_are_the_folders(folder, tmp_path):
    run_line(folder, ended_at=1_800_000_060.0, exit_code=1, status_calls=7, http_429=2)
    told = families(folder, tmp_path)
    assert value(told, "texbatch_rows", status="saved") == 1
    assert value(told, "texbatch_rows", status="pending") == 3
    assert value(told, "texbatch_rows", status="failed") == 1
    assert value(told, "texbatch_rows_with_error", error_class='odd "class"\\\n') == 1
    assert value(told, "texbatch_jobs_in_flight") == 1
    assert value(told, "texbatch_spent_usd", simulated="false") == 0.03
    assert value(told, "texbatch_at_risk_usd") == 0.03  # one in flight, at the price of the last
    assert value(told, "texbatch_run_start_timestamp_seconds") == 1_800_000_000
    assert value(told, "texbatch_run_end_timestamp_seconds") == 1_800_000_060
    assert (value(told, "texbatch_run_exit_code"), value(told, "texbatch_run_http_429_answers")) == (1, 2)


def test_what_is_not_known_is_left_out(folder, tmp_path):
    """No end and no exit code while a run goes on, no last success before there was one."""
    run_line(folder)
    told = families(folder, tmp_path)
    absent = {"run_end_timestamp_seconds", "run_exit_code", "last_success_timestamp_seconds"}
    assert not {f"texbatch_{name}" for name in absent} & set(told)


def test_the_last_success_outlives_later_failures(folder, tmp_path):
    run_line(folder, ended_at=1_800_000_060.0, exit_code=0)
    run_line(folder, run_id="run-2", ended_at=1_800_009_000.0, exit_code=3)
    told = families(folder, tmp_path)
    assert value(told, "texbatch_last_success_timestamp_seconds") == 1_800_000_060
    assert value(told, "texbatch_run_exit_code") == 3


def test_the_file_is_written_whole_for_the_collector_to_read(folder, tmp_path):
    """It runs as another user."""
    path = tmp_path / "texbatch.prom"
    path.write_text("old")
    write_metrics(folder.ledger, tmp_path, path)
    assert path.read_text() == exposition(folder.ledger, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.glob(".texbatch-*")) == []


def test_a_file_that_cannot_be_written_is_told(folder, tmp_path):
    with pytest.raises(FolderError, match=r"--metrics-file .*nowhere"):
        write_metrics(folder.ledger, tmp_path, tmp_path / "nowhere" / "texbatch.prom")
